"""The commands that belong to no job."""
