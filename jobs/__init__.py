"""Every kind of housekeeping that a tick can do, one file each."""
