"""Lets an SSH server compute the SHA-256 of files, by the best command that is proven to work there."""

from __future__ import annotations

import hashlib
import re
import secrets
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from providers.sftp.ssh import CommandFailed, CommandUnanswered

COMMANDS_AT_ONCE = 2

PROBE_SECONDS = 20.0
"""How long a login shell may take to hash one small file before it is left alone."""

HASH_LENGTH = 64
HASH = re.compile(rb"[0-9a-f]{64}")

RunCommand = Callable[[str, bytes, float], bytes]
"""Runs a command line with standard input and a deadline in seconds; returns its output. Raises `CommandFailed`."""

StoreBeside = Callable[[str, bytes], AbstractContextManager[bytes]]
"""Stores content temporarily in a key's directory, and yields its path. Raises `CommandUnanswered`."""


@dataclass(frozen=True, slots=True)
class HashCommand:
    """One command that hashes files. Safe in any login shell and for any name: names go by standard input."""

    program: str
    line: str
    before_name: tuple[bytes, ...]
    """The possible separators between a hash and a name."""
    terminator: bytes
    """The terminator of each output line."""
    names: re.Pattern[bytes]
    """Matches names that it accepts and prints unchanged."""

    def can_name(self, paths: Sequence[bytes]) -> bool:
        """Whether the output for these paths would be unescaped."""
        return all(self.names.fullmatch(path) for path in paths)

    def standard_input(self, paths: Sequence[bytes]) -> bytes:
        """The names in the format of `xargs -0`."""
        return b"".join(path + b"\0" for path in paths)

    def hashes(self, answer: bytes, paths: Sequence[bytes]) -> Sequence[str]:
        """The hashes in the output for these paths. Raises `CommandFailed` unless it is plain, complete and in their
        order. Skips text that a login shell printed before.
        """
        lines = answer.split(self.terminator)[-len(paths) - 1 :]
        if len(lines) != len(paths) + 1 or lines[-1]:
            raise CommandFailed("la respuesta no es la esperada")
        lines[0] = self._without_what_was_printed(lines[0], paths[0])
        return [self._hash(line, path) for line, path in zip(lines, paths, strict=False)]

    def _without_what_was_printed(self, line: bytes, path: bytes) -> bytes:
        """The first line, without shell output before it that lacks the command's line terminator."""
        ends = (separator + path for separator in self.before_name)
        length = next((HASH_LENGTH + len(end) for end in ends if line.endswith(end)), len(line))
        return line[-length:]

    def _hash(self, line: bytes, path: bytes) -> str:
        sha256, rest = line[:HASH_LENGTH], line[HASH_LENGTH:]
        if not HASH.fullmatch(sha256) or rest not in [separator + path for separator in self.before_name]:
            raise CommandFailed("la respuesta no es la esperada")
        return sha256.decode()


HASH_COMMANDS = (
    HashCommand("openssl", "xargs -0 openssl dgst -sha256 -r", (b" *",), b"\n", re.compile(rb"/[^\n\\]*")),
    HashCommand("sha256sum", "xargs -0 sha256sum -z --", (b"  ", b" *"), b"\0", re.compile(rb"[^\0]+")),
)
"""The best first. OpenSSL uses the processor's instructions for SHA-256, coreutils only where it was built with it,
which Debian's is not: measured, 0.47 and 2.8 s for 512 MiB. OpenSSL's releases differ in how they write a line end in a
name (newer ones escape it, with a backslash before the hash), and none specifies how it writes a backslash;
`sha256sum -z` writes every name unchanged.
"""


class ServerHashing:
    """Runs one server's hash commands and remembers which work. Safe for several threads."""

    def __init__(self, run: RunCommand, store_beside: StoreBeside) -> None:
        self._run_command = run
        self._store_beside = store_beside
        self._failures: dict[HashCommand, str | None] = {}
        """Why a command cannot be used, `None` if it can; untried commands are missing."""
        self._probing = threading.Lock()
        self._commanding = threading.Semaphore(COMMANDS_AT_ONCE)

    def require_hope(self) -> None:
        """Raises `CommandFailed` if every command has failed already."""
        failures = [self._failures.get(command) for command in HASH_COMMANDS]
        if None not in failures:
            raise CommandFailed("; ".join(filter(None, dict.fromkeys(failures))))

    def hash_files(self, key: str, paths: Sequence[bytes], deadline_seconds: float) -> Sequence[str]:
        """SHA-256 of files, `key` one of them, in order, by the best command that can be used.

        Raises `CommandFailed` if none gives a plain and complete answer. A failed command is not used again.
        """
        failures = []
        for command in HASH_COMMANDS:
            if not command.can_name(paths):
                failures.append(f"{command.program}: no sirve para esos nombres")
                continue
            try:
                self._require_tried(command, key)
                return self._run(command, paths, deadline_seconds)
            except CommandUnanswered as error:
                self._failures = {each: str(error) for each in HASH_COMMANDS}
                raise
            except CommandFailed as error:
                self._failures[command] = str(error)
                failures.append(f"{command.program}: {error}")
        raise CommandFailed("; ".join(failures))

    def _run(self, command: HashCommand, paths: Sequence[bytes], deadline_seconds: float) -> Sequence[str]:
        with self._commanding:
            self._require_no_failure(command)  # waiting threads need not all try it themselves
            answer = self._run_command(command.line, command.standard_input(paths), deadline_seconds)
        return command.hashes(answer, paths)

    def _require_no_failure(self, command: HashCommand) -> None:
        failure = self._failures.get(command)
        if failure is not None:
            raise CommandFailed(failure)

    def _require_tried(self, command: HashCommand, key: str) -> None:
        """Raises `CommandFailed` unless a command runs and sees the same files as SFTP: probed once, with a file of
        random content in the directory of `key`.
        """
        if command in self._failures:
            return
        with self._probing:
            if command not in self._failures:
                self._probe(command, key)
                self._failures[command] = None

    def _probe(self, command: HashCommand, key: str) -> None:
        content = secrets.token_bytes(32)
        with self._store_beside(key, content) as path:
            if self._run(command, [path], PROBE_SECONDS) != [hashlib.sha256(content).hexdigest()]:
                raise CommandFailed("las órdenes no ven los mismos ficheros que SFTP")
