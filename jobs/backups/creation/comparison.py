"""Tells which rows of a table went and which came, comparing two dumps of it as text.

Both dumps come in the order of the heap, in which rows that did not change keep their places: equal runs are found by
comparing memory. A row that does not meet its partner there waits in a dictionary and, above a limit, in files. The
order only makes it fast: the result never depends on it.
"""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

BUCKETS = 128
LOOK_AHEAD_BYTES = 2048
FIRST_STEP_BYTES = 8192
STEP_GROWTH = 4
PIECE_BYTES = 1024 * 1024
MISSES_IN_ORDER = 64
"""After this many differences in a row that nothing in sight explains, rows are taken to have moved."""


Counts = dict[bytes, int]
"""Rows, without their newline, and how many times each."""


@dataclass(frozen=True, slots=True)
class Memory:
    """How much of what waits is held in memory, and where the rest goes."""

    directory: Path
    rows: int = 250_000
    size_bytes: int = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Difference:
    """Rows that are only in the old dump, and rows that are only in the new one."""

    gone: Counts
    new: Counts


class TableComparison:
    """Compares one table: for each of its parts `begin`, `feed` and `end`, then `differences`."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._gone: Counts = {}
        self._new: Counts = {}
        self._held_bytes = 0
        self._spilled_bytes = 0
        self._buckets: list[BinaryIO] = []
        self._old_blocks: Iterator[bytes] = iter(())
        self._old = b""
        self._at = 0
        """Where the first row of `_old` begins that was not compared yet."""
        self._old_index: dict[bytes, int] | None = None
        self._misses = 0
        """How many differences nothing in sight explained since the last one that something did."""
        self.fed_bytes = 0
        """How much of the new dump was compared."""
        self.unordered_bytes = 0
        """How much of that stood where the old one has something else, for long: it costs ten times as much."""

    @property
    def waiting_bytes(self) -> int:
        """How much did not meet its partner yet."""
        return self._held_bytes + self._spilled_bytes

    def begin(self, old_blocks: Iterator[bytes]) -> None:
        """Compare what is fed from now on with these blocks of whole rows."""
        self._old_blocks = old_blocks
        self._take(b"")

    def feed(self, new: bytes) -> None:
        """Compare some whole rows of the new dump."""
        at = 0
        self.fed_bytes += len(new)
        new_index: dict[bytes, int] = {}
        while at < len(new):
            if self._at == len(self._old) and not self._load():
                self._note(self._new, self._gone, new[at:-1].split(b"\n"))
                break
            at = self._pass_equal_rows(new, at)
            if at < len(new) and self._at < len(self._old):
                in_order = self._misses < MISSES_IN_ORDER
                at = self._pass_difference(new, at, new_index) if in_order else self._pass_without_order(new, at)
        self._spill_above_limit()

    def end(self) -> None:
        """What is left of the old blocks has no partner here."""
        while self._at < len(self._old) or self._load():
            self._note(self._gone, self._new, self._old[self._at : -1].split(b"\n"))
            self._at = len(self._old)
            self._spill_above_limit()

    def differences(self) -> Iterator[Difference]:
        """All that differs, in portions of which none holds a row of another one."""
        if not self._buckets:
            yield Difference(self._gone, self._new)
            return
        self._spill()
        for bucket in self._buckets:
            with bucket:
                bucket.seek(0)
                yield self._difference_of(bucket)

    def close(self) -> None:
        """Give the files back."""
        for bucket in self._buckets:
            with contextlib.suppress(OSError):  # what it could not write is not wanted any more
                bucket.close()

    def _take(self, block: bytes) -> None:
        self._old, self._at, self._old_index = block, 0, None

    def _load(self) -> bool:
        self._take(next(self._old_blocks, b""))
        return bool(self._old)

    def _pass_equal_rows(self, new: bytes, at: int) -> int:
        """Go on to the first row that differs, in both; where that is in the new one. Gallops, then halves.

        `startswith` compares memory without copying it; two slices would be copies.
        """
        old, start, view = self._old, self._at, memoryview(new)
        longest = min(len(new) - at, len(old) - start)
        equal, step, gallops = 0, FIRST_STEP_BYTES, True
        while equal < longest:
            step = min(step, longest - equal)
            if old.startswith(view[at + equal : at + equal + step], start + equal):
                equal += step
                step = step * STEP_GROWTH if gallops else step
            elif step == 1:
                break
            else:
                step //= 2
                gallops = False
        whole_rows = old.rfind(b"\n", start, start + equal) + 1
        if whole_rows:
            at += whole_rows - start
            self._at = whole_rows
        return at

    def _pass_difference(self, new: bytes, at: int, new_index: dict[bytes, int]) -> int:
        """Go on to where both agree again, if that is in sight; where that is in the new one."""
        old, start = self._old, self._at
        old_end, new_end = old.index(b"\n", start), new.index(b"\n", at)
        old_row, new_row = old[start:old_end], new[at:new_end]
        old_again = old.find(b"\n" + new_row + b"\n", old_end, old_end + LOOK_AHEAD_BYTES)
        new_again = new.find(b"\n" + old_row + b"\n", new_end, new_end + LOOK_AHEAD_BYTES)
        if old_again < 0 and new_again < 0:
            old_again = _found_after(old_end, self._indexed_old(), new_row)
            new_again = _found_after(new_end, _indexed(new, new_index), old_row)
        if old_again >= 0 and (new_again < 0 or old_again - start <= new_again - at):
            self._misses = 0
            self._note(self._gone, self._new, old[start:old_again].split(b"\n"))
            self._at = old_again + 1
            return at
        if new_again >= 0:
            self._misses = 0
            self._note(self._new, self._gone, new[at:new_again].split(b"\n"))
            return new_again + 1
        self._misses += 1
        self._note(self._gone, self._new, (old_row,))
        self._note(self._new, self._gone, (new_row,))
        self._at = old_end + 1
        return new_end + 1

    def _pass_without_order(self, new: bytes, at: int) -> int:
        """Let all rows of the next stretch wait, as long in both; where the new one continues. Then look again.

        A table that was rewritten in another order costs a third so of what looking for each of its rows would.
        """
        passed, at = self._catch_up(new, at)
        if passed > MISSES_IN_ORDER:
            self._misses = MISSES_IN_ORDER - 1
            return at
        old, start = self._old, self._at
        stretch = min(len(new) - at, len(old) - start)
        old_end = old.rfind(b"\n", start, start + stretch)
        new_end = new.rfind(b"\n", at, at + stretch)
        if old_end >= 0:
            self._note(self._gone, self._new, old[start:old_end].split(b"\n"))
            self._at = old_end + 1
        if new_end >= 0:
            self._note(self._new, self._gone, new[at:new_end].split(b"\n"))
            self.unordered_bytes += new_end - at
            at = new_end + 1
        self._misses = MISSES_IN_ORDER - 1
        return at

    def _catch_up(self, new: bytes, at: int) -> tuple[int, int]:
        """Pass rows whose partners wait already; how many they are, and where the new one goes on.

        One dump is ahead of the other after many rows that stood together went, or came: both agree again from here.
        """
        passed_old, passed_new = 0, 0
        if self._old[self._at : self._old.index(b"\n", self._at)] in self._new:
            passed_old, self._at = self._pass_partners(self._gone, self._new, self._old, self._at)
        if at < len(new) and new[at : new.index(b"\n", at)] in self._gone:
            passed_new, at = self._pass_partners(self._new, self._gone, new, at)
        return passed_old + passed_new, at

    def _pass_partners(self, mine: Counts, others: Counts, block: bytes, at: int) -> tuple[int, int]:
        passed = list(itertools.takewhile(others.__contains__, block[at:-1].split(b"\n")))
        self._note(mine, others, passed)
        return len(passed), at + sum(map(len, passed)) + len(passed)

    def _indexed_old(self) -> dict[bytes, int]:
        if self._old_index is None:
            self._old_index = {}
        return _indexed(self._old, self._old_index)

    def _note(self, mine: Counts, others: Counts, rows: Iterable[bytes]) -> None:
        """Rows meet their partners, or wait."""
        held = 0
        for row in rows:
            partners = others.get(row)
            if partners is None:
                mine[row] = mine.get(row, 0) + 1
                held += len(row)
                continue
            if partners == 1:
                del others[row]
            else:
                others[row] = partners - 1
            held -= len(row)
        self._held_bytes += held

    def _spill_above_limit(self) -> None:
        if len(self._gone) + len(self._new) > self._memory.rows or self._held_bytes > self._memory.size_bytes:
            self._spill()

    def _spill(self) -> None:
        """Move what waits to files, in which a row and its partner meet again."""
        if not self._buckets:
            directory = self._memory.directory
            self._buckets = [tempfile.TemporaryFile(dir=directory) for _ in range(BUCKETS)]  # noqa: SIM115 see close
        for side, rows in ((b"-", self._gone), (b"+", self._new)):
            for row, count in rows.items():
                write_line(self._buckets[hash(row) % BUCKETS].write, side + row, count)
        self._gone.clear()
        self._new.clear()
        self._spilled_bytes += self._held_bytes
        self._held_bytes = 0

    def _difference_of(self, bucket: BinaryIO) -> Difference:
        found = Difference({}, {})
        for line in bucket:
            if line[:1] == b"+":
                self._note(found.new, found.gone, (line[1:-1],))
            else:
                self._note(found.gone, found.new, (line[1:-1],))
        return found


def write_line(write: Callable[[bytes], object], line: bytes, count: int) -> None:
    """Write a line `count` times; its newline is added here. Takes no more memory than one piece, or one line."""
    line += b"\n"
    if count == 1:  # nearly always, and millions of times
        write(line)
        return
    at_once = max(1, PIECE_BYTES // len(line))
    piece = line * min(at_once, count)
    for _ in range(count // at_once):
        write(piece)
    write(line * (count % at_once))


def _indexed(block: bytes, index: dict[bytes, int]) -> dict[bytes, int]:
    """Where the rows of a block begin, looked up once."""
    if not index:
        at = 0
        for row in block[:-1].split(b"\n"):
            index[row] = at
            at += len(row) + 1
    return index


def _found_after(end: int, index: dict[bytes, int], row: bytes) -> int:
    """The newline before a row that comes after `end`, -1 if there is none."""
    newline = index.get(row, 0) - 1
    return newline if newline >= end else -1
