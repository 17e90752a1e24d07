"""The pace of what is sent."""
