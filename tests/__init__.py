"""The tests: every promise on real servers of each kind, all on 127.0.0.1."""
