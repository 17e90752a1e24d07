"""Every SQL statement, and the one class that runs them."""
