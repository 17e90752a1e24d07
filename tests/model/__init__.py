"""A model of the protocol: histories of hosts, kills, late requests and edits by the platform, played on real code."""
