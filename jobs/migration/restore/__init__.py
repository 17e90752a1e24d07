"""Brings a migrated execution back to this host."""
