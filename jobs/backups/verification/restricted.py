r"""Keeps what is restored from running programs: `psql` has commands of its own that do, such as `\!`.

After `\restrict KEY` it refuses all of them until the same key comes. Those few that a backup made here holds change
nothing that matters then, and are left out; so are the lines with which `pg_dump` does the same with a key of its own.
"""

from __future__ import annotations

import functools
import re
import secrets
import subprocess
from collections.abc import Iterable, Iterator
from typing import Protocol

from config.logs import one_line
from config.text.wording import reason_of
from jobs.backups.errors import NoFittingProgram
from jobs.backups.reading.programs import Programs, inherited_environment

OWN_COMMANDS = (
    *(b"\\set ON_ERROR_STOP on\n", b"\\set AUTOCOMMIT on\n", b"\\set QUIET on\n"),
    b"SELECT 'COMMIT' WHERE NOT :'AUTOCOMMIT'::pg_catalog.bool \\gexec\n",
    *(b"\\o /dev/null\n", b"\\o\n"),
)
RESTRICT = re.compile(rb"\\restrict (\w+)\n")
END_OF_COPY_HEADER = b" FROM stdin;\n"
END_OF_ROWS = b"\n\\.\n"
OPENING = re.compile(rb"--|'|\"|\$(?:[A-Za-z_\x80-\xff][\w\x80-\xff]*)?\$")
"""A comment, a text, a name, a text in dollar quotes."""

KEY_BYTES = 16
HELP_TIMEOUT_SECONDS = 30


class Restraint(Protocol):
    """What `psql` reads before a file, and how the file itself is changed."""

    def beginning(self) -> bytes:
        """The text that `psql` reads first."""

    def text_of(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """The file's text as `psql` reads it."""


class Unrestricted:
    """Passes a file on unchanged: its author may run programs."""

    def beginning(self) -> bytes:
        """Nothing."""
        return b""

    def text_of(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """The same."""
        yield from blocks


class Restricted:
    r"""Every command of `psql` fails, for a file cannot know the key that ends that."""

    def __init__(self) -> None:
        self._key = secrets.token_hex(KEY_BYTES)

    def beginning(self) -> bytes:
        """The text that makes `psql` refuse its own commands."""
        return f"\\restrict {self._key}\n".encode()

    def text_of(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """The file without the `psql` commands that backups and dumps legitimately contain."""
        return _without_usual_commands(_Text(blocks))


def restraint_by(programs: Programs) -> Restraint:
    """The strictest way that this `psql` knows. Raises `NoFittingProgram`."""
    return Restricted() if can_restrict(programs.psql) else Unrestricted()


@functools.cache
def can_restrict(psql: str) -> bool:
    r"""Whether a `psql` knows `\restrict`: all minor versions since August 2025. Raises `NoFittingProgram`."""
    try:
        answer = subprocess.run(  # noqa: S603 a program of PostgreSQL
            [psql, "--help=commands"], check=False, capture_output=True, timeout=HELP_TIMEOUT_SECONDS,
            env=inherited_environment(is_client=True),
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = reason_of(error) if isinstance(error, OSError) else "no responde"
        raise NoFittingProgram(f"no se puede ejecutar {one_line(psql)}: {reason}") from error
    return b"\\restrict" in answer.stdout


class _Text:
    """Reads lines from a text that arrives in blocks."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = iter(blocks)
        self._ahead = b""
        self._at = 0  # what is ahead is not copied for each line

    def line(self) -> bytes:
        """The next line with its newline; nothing at the end."""
        parts = []
        while (end := self._ahead.find(b"\n", self._at) + 1) == 0:
            parts.append(self._ahead[self._at :])
            self._ahead, self._at = next(self._blocks, b""), 0
            if not self._ahead:
                return b"".join(parts)
        parts.append(self._ahead[self._at : end])
        self._at = end
        return b"".join(parts)

    def up_to(self, mark: bytes) -> Iterator[bytes]:
        """Everything up to a mark that begins with a newline. The line before it has just been read."""
        self._at -= 1  # the newline of that line
        while (place := self._ahead.find(mark, self._at)) < 0:
            known = max(len(self._ahead) - len(mark) + 1, self._at)
            yield self._ahead[self._at : known]
            block = next(self._blocks, b"")
            self._ahead, self._at = self._ahead[known:] + block, 0
            if not block:
                yield self._ahead
                self._ahead = b""
                return
        yield self._ahead[self._at : place]
        self._at = place + len(mark)


def _without_usual_commands(text: _Text) -> Iterator[bytes]:
    """Leave out what is a line of its own, outside of rows, texts and names."""
    inside: bytes | None = None
    begins_rows = False
    while line := text.line():
        is_beginning, inside = inside is None, _inside_after(line, inside)
        restrict = RESTRICT.fullmatch(line) if is_beginning else None
        begins_rows = line.startswith(b"COPY ") if is_beginning else begins_rows
        if restrict is not None:
            yield from text.up_to(b"\n\\unrestrict %b\n" % restrict[1])
            yield b"\n"
        elif begins_rows and inside is None and line.endswith(END_OF_COPY_HEADER):
            yield line[:-1]
            yield from text.up_to(END_OF_ROWS)
            yield END_OF_ROWS
        elif not (is_beginning and line in OWN_COMMANDS):
            yield line


def _inside_after(line: bytes, inside: bytes | None) -> bytes | None:
    """The delimiter of the text or name that is still open at the end of a line; `None` if none is open."""
    at = 0
    while True:
        if inside is None:
            opening = OPENING.search(line, at)
            if opening is None or opening[0] == b"--":
                return None
            inside, at = opening[0], opening.end()
        else:
            place = line.find(inside, at)
            if place < 0:
                return inside
            at = place + len(inside)
            inside = None
