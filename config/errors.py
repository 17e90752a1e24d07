"""What keeps the program from using what it was told."""

from __future__ import annotations


class ConfigurationError(Exception):
    """The settings cannot be used. The message is in Spanish: what is wrong and what to do, without secrets."""
