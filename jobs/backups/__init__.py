"""The database as files: how a backup is made, proven and thrown away."""
