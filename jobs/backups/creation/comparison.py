"""Tells which rows of a table went and which came, comparing two dumps of it as text.

Both dumps come in the order of the heap, in which rows that did not change keep their places: equal runs are found by
comparing memory. A row that does not meet its partner there waits in a dictionary and, above a limit, in files. The
order only makes it fast: the result never depends on it.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

BUCKETS = 128
LOOK_AHEAD_BYTES = 2048
FIRST_STEP_BYTES = 8192
LAST_STEP_BYTES = 128
"""A difference within so few bytes is looked for row by row."""

STEP_GROWTH = 4
PIECE_BYTES = 1024 * 1024
MISSES_IN_ORDER = 64
"""After this many differences in a row that nothing in sight explains, rows are taken to have moved."""


Counts = dict[bytes, int]
"""Rows, without their newline, and how many times each."""


@dataclass(frozen=True, slots=True)
class Memory:
    """How many bytes of waiting rows are held in memory, and where the rest is written."""

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
        self._first_step_bytes = FIRST_STEP_BYTES
        self._misses = 0
        """How many differences in a row were not explained by anything in sight."""
        self.fed_bytes = 0
        """How much of the new dump was compared."""
        self.unordered_bytes = 0
        """How much of that stood where the old one has something else, for long: it costs ten times as much."""
        self.places = 0
        """How many times both soon agreed again: each row that was changed, where rows change here and there."""

    @property
    def waiting_bytes(self) -> int:
        """The size of all rows that have not met their partner yet."""
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

    def pass_rest(self) -> bool:
        """Let the rest of an old block wait, as nothing more is fed. Return whether there was any."""
        if self._at == len(self._old) and not self._load():
            return False
        self._note(self._gone, self._new, self._old[self._at : -1].split(b"\n"))
        self._at = len(self._old)
        self._spill_above_limit()
        return True

    def end(self) -> None:
        """End a part: the rest of the old blocks has no partner in it."""
        while self.pass_rest():
            pass

    def differences(self) -> Iterator[Difference]:
        """All differences, in portions that have no row in common."""
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
        """Go on to the first row that differs, and return its place in the new block. Gallops, then halves.

        `startswith` compares memory without copying it; two slices would be copies. The first step is as long as the
        last equal stretch: where many rows changed, all stretches are short.
        """
        old, start, view = self._old, self._at, memoryview(new)
        longest = min(len(new) - at, len(old) - start)
        equal, step, gallops = 0, self._first_step_bytes, True
        while equal < longest and step >= LAST_STEP_BYTES:
            end = equal + min(step, longest - equal)
            if old.startswith(view[at + equal : at + end], start + equal):
                equal = end
                step = step * STEP_GROWTH if gallops else step
            else:
                step //= 2
                gallops = False
        self._first_step_bytes = min(max(LAST_STEP_BYTES, 2 * equal), FIRST_STEP_BYTES)
        whole_rows = old.rfind(b"\n", start, start + equal) + 1
        self._at = max(start, whole_rows)
        return self._pass_single_rows(new, at + self._at - start)

    def _pass_single_rows(self, new: bytes, at: int) -> int:
        """The same, row by row."""
        old, start = self._old, self._at
        while (end := old.find(b"\n", start) + 1) and new.startswith(old[start:end], at):
            at += end - start
            start = end
        self._at = start
        return at

    def _pass_difference(self, new: bytes, at: int, new_index: dict[bytes, int]) -> int:
        """Go on to where both agree again, if that is in sight. Return that place in the new block."""
        old, start = self._old, self._at
        old_end, new_end = old.index(b"\n", start) + 1, new.index(b"\n", at) + 1
        old_row, new_row = old[start:old_end], new[at:new_end]
        old_again = _in_sight(old, old_end, new_row)
        new_again = 0 if old_again == old_end else _in_sight(new, new_end, old_row)
        if not old_again and not new_again:
            if self._agree(new, old_end, new_end):
                return self._pass_place(new, at, old_end, new_end)
            old_again = _found_after(old_end, self._indexed_old(), new_row[:-1])
            new_again = _found_after(new_end, _indexed(new, new_index), old_row[:-1])
        if old_again and (not new_again or old_again - start <= new_again - at):
            return self._pass_place(new, at, old_again, at)
        if new_again:
            return self._pass_place(new, at, start, new_again)
        self._misses += 1
        return self._let_wait(new, at, old_end, new_end)

    def _pass_place(self, new: bytes, at: int, old_end: int, new_end: int) -> int:
        """Go on to where both agree again. Return that place in the new block."""
        self._misses = 0
        self.places += 1
        return self._let_wait(new, at, old_end, new_end)

    def _agree(self, new: bytes, old_at: int, new_at: int) -> bool:
        """Whether the same row begins at these places."""
        end = self._old.find(b"\n", old_at) + 1
        return end > 0 and new.startswith(self._old[old_at:end], new_at)

    def _let_wait(self, new: bytes, at: int, old_end: int, new_end: int) -> int:
        """Let all rows before these places wait for their partners. Return where the new block continues."""
        if old_end > self._at:
            self._note(self._gone, self._new, self._old[self._at : old_end - 1].split(b"\n"))
            self._at = old_end
        if new_end > at:
            self._note(self._new, self._gone, new[at : new_end - 1].split(b"\n"))
        return new_end

    def _pass_without_order(self, new: bytes, at: int) -> int:
        """Let the next stretch of both blocks wait, then look again. Return where the new block continues.

        A table that was rewritten in another order costs a third so of what looking for each of its rows would.
        """
        self._misses = MISSES_IN_ORDER - 1
        passed, at = self._catch_up(new, at)
        if passed > MISSES_IN_ORDER:
            return at
        stretch = min(len(new) - at, len(self._old) - self._at)
        old_end = self._old.rfind(b"\n", self._at, self._at + stretch) + 1
        new_end = new.rfind(b"\n", at, at + stretch) + 1
        self.unordered_bytes += max(0, new_end - at)
        return self._let_wait(new, at, old_end, max(at, new_end))

    def _catch_up(self, new: bytes, at: int) -> tuple[int, int]:
        """Pass rows whose partners wait already. Return how many they are, and where the new block continues.

        One dump is ahead of the other after many rows that stood together went, or came: both agree again from here.
        """
        passed_old, passed_new = 0, 0
        if self._old[self._at : self._old.index(b"\n", self._at)] in self._new:
            passed_old, self._at = self._pass_partners(self._gone, self._new, self._old, self._at)
        if at < len(new) and new[at : new.index(b"\n", at)] in self._gone:
            passed_new, at = self._pass_partners(self._new, self._gone, new, at)
        return passed_old + passed_new, at

    def _pass_partners(self, mine: Counts, others: Counts, block: bytes, at: int) -> tuple[int, int]:
        """The same in one block, up to the last row whose partner waits, if most rows before it have one, too."""
        rows = block[at:-1].split(b"\n")
        met = [place for place, row in enumerate(rows) if row in others]
        passed = rows[: met[-1] + 1]
        if 2 * len(met) < len(passed):
            return 0, at
        self._note(mine, others, passed)
        return len(met), at + sum(map(len, passed)) + len(passed)

    def _indexed_old(self) -> dict[bytes, int]:
        if self._old_index is None:
            self._old_index = {}
        return _indexed(self._old, self._old_index)

    def _note(self, mine: Counts, others: Counts, rows: Iterable[bytes]) -> None:
        """Match rows with waiting partners; let the others wait."""
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
        writes = [bucket.write for bucket in self._buckets]
        for side, rows in ((b"-", self._gone), (b"+", self._new)):
            for row, count in rows.items():
                write_line(writes[hash(row) % BUCKETS], side + row, count)
        self._gone.clear()
        self._new.clear()
        self._spilled_bytes += self._held_bytes
        self._held_bytes = 0

    def _difference_of(self, bucket: BinaryIO) -> Difference:
        found = Difference({}, {})
        while lines := bucket.readlines(PIECE_BYTES):
            self._note(found.new, found.gone, [line[1:-1] for line in lines if line.startswith(b"+")])
            self._note(found.gone, found.new, [line[1:-1] for line in lines if line.startswith(b"-")])
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


def _in_sight(block: bytes, end: int, row: bytes) -> int:
    """Where a row begins that comes soon after `end`, 0 if none does. The next one is nearly always it."""
    if block.startswith(row, end):
        return end
    return block.find(b"\n" + row, end, end + LOOK_AHEAD_BYTES) + 1


def _found_after(end: int, index: dict[bytes, int], row: bytes) -> int:
    """Where a row begins that comes after `end`, 0 if none does."""
    place = index.get(row, 0)
    return place if place >= end else 0
