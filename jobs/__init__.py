"""The jobs of a tick, one folder each, and the frame that runs them."""
