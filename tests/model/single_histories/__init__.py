"""Histories told one by one, each for what it once lost or must never lose."""
