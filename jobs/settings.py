"""Collects the settings of the program and its jobs: for `--help`, `check`, the documents and unknown names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from config.declared import Variable, variables_of
from config.settings import Settings
from jobs.registry import all_jobs


class Group(NamedTuple):
    """The settings of the whole program, or of one job."""

    name: str
    """The job's name; empty for the whole program."""
    title: str
    """The title for operators, in Spanish."""
    kind: type
    """The dataclass that declares them."""


WHOLE_PROGRAM = Group("", "todo el programa", Settings)


def groups_of_jobs() -> Sequence[Group]:
    """One for each job with settings, in the order of a tick; jobs that share settings have the first one's."""
    groups: dict[type, Group] = {}
    for job in all_jobs():
        kind = job.settings_class
        if kind is not None:
            groups.setdefault(kind, Group(job.name, job.title, kind))
    return list(groups.values())


def all_groups() -> Sequence[Group]:
    """The whole program's, then each job's."""
    return (WHOLE_PROGRAM, *groups_of_jobs())


def settings_of_jobs() -> Sequence[type]:
    """The dataclasses of the jobs' settings, as `load_settings` needs them."""
    return [group.kind for group in groups_of_jobs()]


def variables_by_title() -> Mapping[str, Iterable[Variable[Any]]]:
    """The environment variables of each group, under its Spanish heading, for `--help`."""
    return {f"Variables de entorno ({group.title})": variables_of(group.kind) for group in all_groups()}
