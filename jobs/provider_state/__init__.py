"""What a run and earlier runs know of providers."""
