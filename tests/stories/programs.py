"""The command line with other values of constants, where the real ones would make a test wait for minutes."""

from __future__ import annotations

from tests.constants import A_TENTH_OF_THE_PATIENCE
from tests.repository import REPOSITORY
from tests.stories.installation import Installation


def change_constants(installation: Installation, **values: float) -> None:
    """Have the installation's commands use other values, by the constants' names: `sql__watchdog__TRIES=6`.

    For constants that the program reads when it needs them, as nearly all are: commands stay forked.
    """
    installation.constants = values


def lose_patience_soon(installation: Installation) -> None:
    """Have the installation's commands give providers that fail a tenth of the time, and as many tries."""
    change_constants(installation, **A_TENTH_OF_THE_PATIENCE)


def use_program_with(installation: Installation, **values: object) -> None:
    """The same for constants of which others are computed, `config__models__LEASE_SECONDS=6`: a Python of its own."""
    lines = [f"import sys\nsys.path.insert(0, {str(REPOSITORY)!r})"]
    for name, value in values.items():
        module, constant = ".".join(name.split("__")[:-1]), name.split("__")[-1]
        lines.append(f"import {module}\nassert hasattr({module}, {constant!r})\n{module}.{constant} = {value!r}")
    installation.program = installation.directory / "programa.py"
    installation.program.write_text("\n".join([*lines, "import janitor_daemon\njanitor_daemon.main()\n"]))
