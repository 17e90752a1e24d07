"""What is kept of the backups, for how long, and what is said of them."""
