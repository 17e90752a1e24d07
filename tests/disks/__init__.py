"""Disks, rights and races as tests need them: full, read-only, in layers, closed, changed by others meanwhile."""
