"""Shell commands that compute the SHA-256 of files on a server, and the format of their output."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from providers.sftp.ssh import CommandFailed

HASH_LENGTH = 64
HASH = re.compile(rb"[0-9a-f]{64}")


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
