"""The files of a backup. None has its final name before it was read back and is on the disk."""
