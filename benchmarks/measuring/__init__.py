"""How product and peers are made to compete, measured, and what is kept of it."""
