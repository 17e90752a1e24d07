"""Sources, copies and manifests as tests need them, and what may happen to a directory meanwhile."""
