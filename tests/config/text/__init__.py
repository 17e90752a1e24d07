"""Words and amounts, as operators write and read them."""
