"""What the tables of the program look like."""
