"""Writes what the program knows of itself as a text file that Prometheus' node_exporter reads."""
