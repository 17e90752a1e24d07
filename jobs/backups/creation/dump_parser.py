"""Takes the data section of a dump apart: tables, their rows by the block, and the statements between them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from jobs.backups.errors import DamagedBackup

NAME = rb'"(?:[^"]|"")*"'
HEADER = re.compile(
    rb"COPY (" + NAME + rb"\." + NAME + rb") ?(?:\(((?:" + NAME + rb"(?:, )?)*)\))? *FROM stdin;\n\Z", re.DOTALL
)
COLUMN = re.compile(NAME)
END_OF_HEADER = b" FROM stdin;\n"
END_OF_ROWS = b"\\.\n"


@dataclass(frozen=True, slots=True)
class Statement:
    """A comment or a statement that carries no rows."""

    text: bytes


@dataclass(frozen=True, slots=True)
class TableBegins:
    """The rows of a table follow: all of them, or those of one of its partitions."""

    table: bytes
    columns: tuple[bytes, ...]
    header: bytes


@dataclass(frozen=True, slots=True)
class Rows:
    """Some whole rows, each with its newline."""

    text: bytes


@dataclass(frozen=True, slots=True)
class TableEnds:
    """No more rows of this table here."""


Event = Statement | TableBegins | Rows | TableEnds


def parsed(blocks: Iterable[bytes]) -> Iterator[Event]:
    """The events of a data section. Raises `DamagedBackup` for one that is cut or not understood."""
    parser = _Parser()
    for block in blocks:
        yield from parser.feed(block)
    parser.require_end()


class _Parser:
    def __init__(self) -> None:
        self._waiting: list[bytes] = []
        """The beginning of a line whose end has not come: rows can be very long."""
        self._statement = b""
        self._in_rows = False

    def feed(self, block: bytes) -> Iterator[Event]:
        self._waiting.append(block)
        if b"\n" not in block:
            return
        buffer = b"".join(self._waiting) if len(self._waiting) > 1 else block
        position = 0
        while (next_one := self._next(buffer, position)) is not None:
            event, position = next_one
            if event is not None:
                yield event
        self._waiting = [buffer[position:]]

    def _next(self, buffer: bytes, position: int) -> tuple[Event | None, int] | None:
        return self._next_rows(buffer, position) if self._in_rows else self._next_line(buffer, position)

    def _next_line(self, buffer: bytes, position: int) -> tuple[Event | None, int] | None:
        end = buffer.find(b"\n", position) + 1
        if end == 0:
            return None
        self._statement += buffer[position:end]
        event = _statement_of(self._statement)
        if event is not None:
            self._statement = b""
            self._in_rows = isinstance(event, TableBegins)
        return event, end

    def _next_rows(self, buffer: bytes, position: int) -> tuple[Event, int] | None:
        """`position` is where a line begins."""
        if buffer.startswith(END_OF_ROWS, position):
            self._in_rows = False
            return TableEnds(), position + len(END_OF_ROWS)
        end = buffer.find(b"\n" + END_OF_ROWS, position) + 1 or buffer.rfind(b"\n", position) + 1
        if end == 0:
            return None
        return Rows(buffer[position:end] if position or end < len(buffer) else buffer), end

    def require_end(self) -> None:
        if self._in_rows or self._statement or any(self._waiting):
            raise DamagedBackup("los datos volcados terminan a la mitad de una tabla o de una orden")


def _statement_of(text: bytes) -> Event | None:
    """What a text is, if it is whole: names and values may hold newlines."""
    if text.startswith(b"COPY "):
        header = HEADER.match(text) if text.endswith(END_OF_HEADER) and text.count(b'"') % 2 == 0 else None
        return TableBegins(header[1], tuple(COLUMN.findall(header[2] or b"")), text) if header else None
    is_whole = text.startswith(b"--") or (text.count(b"'") % 2 == 0 and text.count(b'"') % 2 == 0)
    return Statement(text) if is_whole else None
