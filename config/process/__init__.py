"""The process itself: early signals, rights and streams, required packages, system directories."""
