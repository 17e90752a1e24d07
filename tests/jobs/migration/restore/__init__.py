"""Copies brought back."""
