"""This host's files, by descriptor: walking, opening, comparing, mounts, leases of the kernel."""
