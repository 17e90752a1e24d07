"""Tells operators of each change of state of a cause of trouble, by the channels that they chose."""
