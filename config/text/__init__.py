"""How things are written for people: amounts, plurals, names that are meant, the reasons of errors."""
