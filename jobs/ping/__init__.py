"""Tells a monitoring service that a run has begun and how it ended, by requests to an address of its own."""
