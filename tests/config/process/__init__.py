"""The process: its directories, its memory."""
