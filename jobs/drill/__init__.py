"""Restores some executions at random, as an operator would, and compares them with their manifests."""
