"""Command lines of other programs that do the product's work, or the part of it that they can."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.machine import s5cmd_program
from benchmarks.results import NO_GOALS, Goals
from jobs.embedded_s3 import rclone_program
from tests.destinations import Destination

TRANSFERS = "16"
"""As many as the product has by default."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command line, and what it needs in its environment besides this process' own."""

    arguments: Sequence[str]
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> Mapping[str, str]:
        """All of its environment."""
        return {**os.environ, **self.variables}


@dataclass(frozen=True, slots=True)
class Peer:
    """A program that moves the files in a directory to a destination."""

    name: str
    command: Callable[[Path, Destination], Command]
    goals: Goals = NO_GOALS


def rclone_move(files: Path, destination: Destination) -> Command:
    """`rclone move`, which compares each file's checksum where the store knows one."""
    return _rclone("move", "--checksum", str(files), destination.rclone_remote())


def rclone_copy(source: str, target: Path) -> Command:
    """`rclone copy` from a remote."""
    return _rclone("copy", "--checksum", source, str(target))


def _rclone(*arguments: str) -> Command:
    return Command([str(rclone_program()), *arguments, "--transfers", TRANSFERS], {"RCLONE_CONFIG": ""})


def s5cmd_move(files: Path, destination: Destination) -> Command:
    """`s5cmd mv`, without the line that it prints for each file."""
    credentials = destination.credentials or {}
    return Command(
        [s5cmd_program(), "--log", "error", "mv", f"{files}/", f"s3://{destination.options['bucket']}/"],
        {
            "S3_ENDPOINT_URL": destination.options["endpoint_url"],
            "AWS_ACCESS_KEY_ID": credentials["access_key"],
            "AWS_SECRET_ACCESS_KEY": credentials["secret_key"],
            "AWS_REGION": "us-east-1",
        },
    )
