"""Command lines of other programs that do the product's work, or the part of it that they can."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.measuring.machine import s5cmd_program
from benchmarks.measuring.results import NO_GOALS, Goals
from demo.servers.s3 import rclone_program
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


def rclone_check(files: Path, destination: Destination) -> Command:
    """`rclone check` of names and sizes, with one listing of the bucket: nothing is downloaded."""
    quick = ("--size-only", "--fast-list", "--checkers", "16")
    return _rclone("check", *quick, str(files), destination.rclone_remote("ejecuciones"))


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


def rclone_move_other_file_system(files: Path, destination: Destination) -> Command:
    """`rclone move` to a directory, as to another file system: on the same one it would rename and copy nothing."""
    return _rclone("move", "--checksum", "--disable", "move,dirmove", str(files), destination.rclone_remote())


def rclone_move_over_ssh(files: Path, destination: Destination) -> Command:
    """`rclone move` to `:sftp:` as it comes: after each file it asks the server for its checksum by a command."""
    return _rclone("move", "--checksum", str(files), destination.remote.replace(",shell_type='none'", ""))


def openssh_put(files: Path, destination: Destination) -> Command:
    """OpenSSH's own client with a batch of `put -p`, and then `rm`. It proves nothing."""
    account = destination.credentials or {}
    identity, known_hosts, batch = (files.with_name(name) for name in ("identity", "known_hosts", "batch"))
    identity.touch(mode=0o600)
    identity.write_text(account["private_key"])
    known_hosts.write_text(f"[{account['host']}]:{account['port']} {account['host_key']}\n")
    batch.write_text(
        "".join(f"put -pR {directory} {destination.directory}/\n" for directory in sorted(files.iterdir()))
    )
    sftp = ["sftp", "-b", batch, "-P", account["port"], "-i", identity, "-o", f"UserKnownHostsFile={known_hosts}"]
    login = f"{account['username']}@{account['host']}"
    return _shell(shlex.join(map(str, [*sftp, login])), shlex.join(["rm", "-r", str(files)]))


def shell_move(files: Path, destination: Destination) -> Command:
    """What a careful person types: copy, compare the checksums of both, remove."""
    return _careful_move(files, destination, and_then=[])


def shell_move_synced(files: Path, destination: Destination) -> Command:
    """The same by somebody who also fears for the power, as the product does."""
    return _careful_move(files, destination, and_then=[f"sync -f {shlex.quote(str(destination.directory))}"])


def _careful_move(files: Path, destination: Destination, and_then: Sequence[str]) -> Command:
    source, target = shlex.quote(str(files)), shlex.quote(str(destination.directory))
    checksums = "find . -type f -print0 | xargs -0 sha256sum | sort"
    return _shell(
        f"cp -a {source}/. {target}",
        *and_then,
        f"here=$(cd {source} && {checksums})",
        f"there=$(cd {target} && {checksums})",
        'test "$here" = "$there"',
        f"rm -rf {source}",
    )


def _shell(*steps: str) -> Command:
    return Command(["sh", "-c", " && ".join(steps)])
