"""This host's files, by descriptor: walking, opening, comparing, mounts, kernel leases."""
