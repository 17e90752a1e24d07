"""Text for people: amounts, plurals, suggested names, reasons of errors."""
