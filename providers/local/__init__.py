"""A directory of this host, such as a mounted NAS."""
