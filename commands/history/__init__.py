"""The order `history`: runs, one job's runs, the whole life of one execution."""
