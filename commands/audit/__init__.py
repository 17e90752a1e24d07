"""The order `audit`: what the database says, compared with what the providers hold."""
