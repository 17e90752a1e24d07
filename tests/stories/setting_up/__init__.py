"""Stories of a first day: installations, settings, providers' rows, secrets, the network around."""
