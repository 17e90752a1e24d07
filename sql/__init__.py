"""All SQL statements and the class that runs them."""
