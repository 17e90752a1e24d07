"""The command line with other values of constants, where the real ones would make a test wait for minutes."""

from __future__ import annotations

from tests.repository import REPOSITORY
from tests.stories.installation import Installation


def use_program_with(installation: Installation, **values: object) -> None:
    """Have the installation's commands use other values, by the constants' names: `config__models__LEASE_SECONDS=6`."""
    lines = [f"import sys\nsys.path.insert(0, {str(REPOSITORY)!r})"]
    for name, value in values.items():
        module, constant = ".".join(name.split("__")[:-1]), name.split("__")[-1]
        lines.append(f"import {module}\nassert hasattr({module}, {constant!r})\n{module}.{constant} = {value!r}")
    installation.program = installation.directory / "programa.py"
    installation.program.write_text("\n".join([*lines, "import janitor_daemon\njanitor_daemon.main()\n"]))
