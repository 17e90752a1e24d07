"""Writes the rows of copies that the database has lost, from their manifests."""
