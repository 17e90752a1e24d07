"""What may be wrong: a function for each kind of cause, in modules by what it is about."""
