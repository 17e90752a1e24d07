"""Files that operators write."""
