"""The order `report`: what happened in the last days, for a terminal or as one file of HTML."""
