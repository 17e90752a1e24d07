"""Checks what the program needs to start at all: a recent Python and its packages.

Written in syntax that older Pythons understand, and imported before everything else.
"""

from __future__ import annotations

import os
import sys

OLDEST_PYTHON = (3, 11)
FIRST_PACKAGES = ("click", "psycopg2")
"""The packages that every start needs. An environment with these usually has the others too."""

EXIT_CODE = 2


def require_python_and_packages() -> None:
    """End the process with one line and no traceback if the program was started outside its environment."""
    if sys.version_info < OLDEST_PYTHON:
        _end("hace falta Python {}.{} o más nuevo".format(*OLDEST_PYTHON))
    for name in FIRST_PACKAGES:
        try:
            __import__(name)
        except ImportError:
            _end(f"falta el paquete {name}, o no funciona")


def _end(reason: str) -> None:
    directory = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120
    python = os.path.join(directory, ".venv", "bin", "python")  # noqa: PTH118
    sys.stderr.write(
        f"janitor-daemon no puede empezar: {reason} (con {sys.executable}); "
        f"use {python}, que se crea con 'make venv' en {directory}\n"
    )
    sys.exit(EXIT_CODE)
