"""What is special to directories on this host."""
