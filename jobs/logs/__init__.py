"""Keeps logs small: compresses old ones, with proof, and deletes compressed ones that are older still."""
