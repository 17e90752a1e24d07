"""Checks the operators' settings: variables, `janitor.toml`, and the settings of each job."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from config.declared import variables_of
from config.errors import ConfigurationError
from config.logs import one_line
from config.settings import Settings
from jobs.findings import Finding, bad, good
from jobs.settings import Group, all_groups

OPEN_TO_WRITERS = stat.S_IWGRP | stat.S_IWOTH


def check_settings(settings: Settings, groups: Iterable[Group] | None = None) -> Iterator[Finding]:
    """Which variables are set, never their values; which names are unknown; which job settings are wrong."""
    groups = all_groups() if groups is None else tuple(groups)
    names = [variable.name for group in groups for variable in variables_of(group.kind)]
    given = [name for name in dict.fromkeys(names) if settings.sources.environment.get(name)]
    yield good("variables", f"definidas: {', '.join(given) or 'ninguna'}")
    for text in settings.unknown_variables:
        yield bad("entorno", text)
    yield from _check_config_file(settings)
    for group in groups:
        try:
            settings.of(group.kind)
        except ConfigurationError as error:
            yield bad(f"trabajo {group.name}", str(error))


def _check_config_file(settings: Settings) -> Iterator[Finding]:
    """Only its owner may write it, as with `.env`: its contents decide what is done on this host."""
    path = settings.sources.file.path
    if path is None:
        yield good(one_line(settings.config_file), "no existe, y no hace falta: no hay ninguna lista propia")
        return
    file = Path(path).absolute()
    mode = stat.S_IMODE(file.stat().st_mode)
    if mode & OPEN_TO_WRITERS:
        yield bad(
            one_line(path),
            f"tiene modo {mode:o} y otros usuarios lo pueden cambiar; ejecute chmod go-w {one_line(file)}",
        )
    else:
        yield good(one_line(path), f"se leyó {one_line(file)}; solo lo cambia su dueño (modo {mode:o})")
