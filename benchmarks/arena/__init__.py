"""Where they compete: the files, the servers, the database, the platform, and a line to somewhere far away."""
