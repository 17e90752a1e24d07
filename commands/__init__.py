"""The orders of the command line that belong to no job."""
