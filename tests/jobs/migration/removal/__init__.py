"""Local copies that are removed, or stay."""
