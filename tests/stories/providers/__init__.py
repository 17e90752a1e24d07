"""Stories of providers that fail, and of lines to them."""
