"""The demonstration: the program at work on an embedded database and store."""
