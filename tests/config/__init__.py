"""What operators write, read into settings."""
