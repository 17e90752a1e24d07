"""The report on the last days: in the terminal, as a page, and once a week by mail."""
