"""How these tests are run: in which order, where, and what a run prints."""
