"""What the providers that speak HTTP have in common."""
