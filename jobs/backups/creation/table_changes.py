"""The statements that turn the full backup's rows of one table into the present ones."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from jobs.backups.creation.comparison import TableComparison, write_line
from jobs.backups.reading.dump_parser import TableBegins
from jobs.backups.reading.large_objects import Write
from jobs.backups.reading.source import Key, Table
from jobs.backups.templates import literal, render

DIGEST_BYTES = 16
COPY_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Change:
    """How the rows of a table differ from those of the full backup.

    `digest` is the sum of the hashes of all new rows less that of all vanished ones, modulo 2^128: added to the sum
    over the rows of the full backup, it gives the sum over the present ones, in whatever order.
    """

    table: bytes
    gone: int
    new: int
    digest: int
    changed_bytes: int

    def comment(self) -> bytes:
        """One line of SQL comment that `verify` reads."""
        facts = {
            "table": self.table.decode("utf-8", "surrogateescape"), "gone": self.gone, "new": self.new,
            "digest": f"{self.digest:032x}",
        }  # fmt: skip
        return b"-- change " + json.dumps(facts, sort_keys=True).encode() + b"\n"


def digest_of(rows: Iterable[tuple[bytes, int]]) -> int:
    """The sum of the hashes of rows, each as many times as it is said, modulo 2^128."""
    total = 0
    for row, count in rows:
        total += int.from_bytes(hashlib.blake2b(row, digest_size=DIGEST_BYTES).digest()) * count
    return total % (1 << 8 * DIGEST_BYTES)


@dataclass(frozen=True, slots=True)
class TableWriter:
    """Writes the changes of one table; files beside the backups hold what is not written yet."""

    facts: Table
    begins: TableBegins
    key: Key | None
    condition: bytes
    """Which rows of an extension's table are dumped, as a WHERE clause."""
    directory: Path

    def write(self, comparison: TableComparison, write_deletion: Write, write_rows: Write) -> Change:
        """Write the statements, none if nothing differs: those that delete apart from those that bring new rows."""
        with tempfile.TemporaryFile(dir=self.directory) as gone, tempfile.TemporaryFile(dir=self.directory) as new:
            change = self._sort_out(comparison, gone, new)
            if change.gone:
                self._write_deletion(gone, change.gone, write_deletion)
            if change.new:
                write_rows(self.begins.header)
                _copy(new, write_rows)
                write_rows(b"\\.\n")
            return change

    def _sort_out(self, comparison: TableComparison, gone: BinaryIO, new: BinaryIO) -> Change:
        gone_count = new_count = digest = changed_bytes = 0
        identified = self._identification()
        for difference in comparison.differences():
            for row, count in difference.gone.items():
                write_line(gone.write, identified(row), count)
                gone_count += count
                changed_bytes += len(row) * count
            for row, count in difference.new.items():
                write_line(new.write, row, count)
                new_count += count
                changed_bytes += len(row) * count
            digest += digest_of(difference.new.items()) - digest_of(difference.gone.items())
        digest %= 1 << 8 * DIGEST_BYTES
        return Change(self.begins.table, gone_count, new_count, digest, changed_bytes)

    def _identification(self) -> Callable[[bytes], bytes]:
        """A function from a row to the columns that identify it."""
        if self.key is None:
            return bytes
        places = [self.begins.columns.index(column) for column in self.key.columns]
        last = max(places)

        def identified(row: bytes) -> bytes:
            values = row.split(b"\t", last + 1)
            return b"\t".join([values[place] for place in places])

        return identified

    def _write_deletion(self, gone: BinaryIO, count: int, write: Write) -> None:
        columns = b", ".join(self.key.columns if self.key else self.begins.columns)
        table = {"only": b"" if self.facts.is_partitioned else b"ONLY ", "table": self.begins.table}
        column_list = b"(" + columns + b") " if columns else b""
        write(render("vanished_begin", columns=columns, column_list=column_list, **table))
        _copy(gone, write)
        if self.key:
            parts = zip(self.key.columns, self.key.operators, self.key.columns, self.key.collations, strict=True)
            condition = b" AND ".join(b"t.%b %b d.%b%b" % part for part in parts)
            deletion = render("delete_by_key", condition=condition, **table)
        else:
            row = b"ROW(" + columns + b')::text COLLATE pg_catalog."C"'
            deletion = render("delete_by_row", row=row, condition=self.condition, **table)
        name = literal(self.begins.table)
        write(render("vanished_end", deletion=deletion.rstrip(), count=count, name=name))


def _copy(spool: BinaryIO, write: Write) -> None:
    spool.seek(0)
    while block := spool.read(COPY_BYTES):
        write(block)
