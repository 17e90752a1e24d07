"""The servers that the demonstration starts."""
