"""How these tests are run: in which order, where, and what is told of it."""
