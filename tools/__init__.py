"""What is used to build the program and to write its documents; nothing here is installed."""
