"""PostgreSQL servers, and ways to them."""
