"""What makes the command line easier to use: completion of words, and a manual page."""
