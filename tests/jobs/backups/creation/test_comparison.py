"""The comparison of two dumps gives exactly their difference, whatever their order, blocks and memory."""

from __future__ import annotations

import random
import tempfile
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.backups.creation.comparison import Memory, TableComparison
from jobs.backups.creation.table_changes import TableWriter
from jobs.backups.errors import DamagedBackup
from jobs.backups.reading.dump_parser import Event, Rows, TableBegins, parsed, parsed_in_parts
from jobs.backups.reading.source import Table

rows = st.lists(st.sampled_from([b"", b"a", b"b", b"a\tb", b"\\N", b"x" * 50, b"y" * 3000, b"\\\\."]), max_size=60)
edits = st.lists(st.tuples(st.integers(0, 60), st.sampled_from(("drop", "add", "swap"))), max_size=8)


def blocks(lines: list[bytes], size: int) -> Iterator[bytes]:
    """Whole rows, this many to a block."""
    for first in range(0, len(lines), size):
        yield b"".join(line + b"\n" for line in lines[first : first + size])


def edited(lines: list[bytes], changes: list[tuple[int, str]]) -> list[bytes]:
    """A later state of a table."""
    later = list(lines)
    for place, what in changes:
        if what == "add":
            later.insert(place, b"new")
        elif place < len(later):
            dropped = later.pop(place)
            if what == "swap":
                later.append(dropped)
    return later


@settings(deadline=None)
@given(rows, edits, st.integers(1, 7), st.integers(1, 7), st.sampled_from((0, 3, 1000)), st.sampled_from((0, 1, 64)))
def test_the_difference_is_exact(
    old: list[bytes], changes: list[tuple[int, str]], old_size: int, new_size: int, rows_in_memory: int, misses: int
) -> None:
    new = edited(old, changes)
    with (
        tempfile.TemporaryDirectory() as directory,
        patch("jobs.backups.creation.comparison.MISSES_IN_ORDER", misses),
    ):
        comparison = TableComparison(Memory(Path(directory), rows=rows_in_memory))
        comparison.begin(blocks(old, old_size))
        for block in blocks(new, new_size):
            comparison.feed(block)
        comparison.end()
        gone: Counter[bytes] = Counter()
        came: Counter[bytes] = Counter()
        for difference in comparison.differences():
            gone.update(difference.gone)
            came.update(difference.new)
        comparison.close()
    assert gone == Counter(old) - Counter(new)
    assert came == Counter(new) - Counter(old)


def test_of_a_table_in_another_order_only_what_changed_differs(tmp_path: Path) -> None:
    """More rows than it takes to give their order up; in blocks of different sizes."""
    old = [b"%d" % number * (number % 9 + 1) for number in range(5000)]
    later = [*old[10:], b"new"]
    random.Random(1).shuffle(later)  # noqa: S311 not a secret
    comparison = TableComparison(Memory(tmp_path))
    comparison.begin(blocks(old, 300))
    for block in blocks(later, 700):
        comparison.feed(block)
    comparison.end()
    (difference,) = comparison.differences()
    assert (set(difference.gone), set(difference.new)) == (set(old[:10]), {b"new"})


@settings(deadline=None)
@given(rows, st.integers(1, 40))
def test_a_dump_is_understood_however_it_is_cut_into_blocks(lines: list[bytes], size: int) -> None:
    text = b"--\n\n" + b'COPY "s"."t\nt" ("a", "FROM stdin;\n") FROM stdin;\n'
    text += b"".join(line + b"\n" for line in lines) + b"\\.\n\n-- end\n"
    pieces = [text[first : first + size] for first in range(0, len(text), size)]
    found = [event for event in parsed(pieces) if isinstance(event, Rows)]
    assert b"".join(event.text for event in found) == b"".join(line + b"\n" for line in lines)
    assert sum(event.count() for event in found) == len(lines)


@pytest.mark.parametrize("row_bytes", [1, 2, 31, 32, 33, 200])
def test_all_rows_of_a_part_of_a_block_are_counted(row_bytes: int) -> None:
    """Whatever stands around them, and whether the first one is shorter than the others."""
    row = b"x" * (row_bytes - 1) + b"\n"
    block = b"before\n" + row * 7 + b"\n" + row * 3 + b"after\n"
    start, end = len(b"before\n"), len(block) - len(b"after\n")
    assert Rows(block, start, end).count() == 11
    assert Rows(block, start + 7 * row_bytes, end).count() == 4
    assert Rows(block, 0, len(block)).count() == 13


@pytest.mark.parametrize(("old_first", "new_first"), [(0, 1500), (1500, 0)], ids=["rows went", "rows came"])
def test_after_many_rows_together_the_rest_is_in_order_again(tmp_path: Path, old_first: int, new_first: int) -> None:
    """As when a table loses its oldest rows: all that follow would else be looked up one by one."""
    every = [b"%d" % number for number in range(10_000, 20_000)]
    old, new = every[old_first:], every[new_first:]
    comparison = TableComparison(Memory(tmp_path))
    comparison.begin(blocks(old, 100))
    for block in blocks(new, 130):
        comparison.feed(block)
    comparison.end()
    (difference,) = comparison.differences()
    assert list(difference.gone) == every[old_first:new_first]
    assert list(difference.new) == every[new_first:old_first]
    assert comparison.unordered_bytes < comparison.fed_bytes / 4


def test_after_many_rows_together_rows_may_differ_here_and_there(tmp_path: Path) -> None:
    """As when a table loses its oldest rows and some of the others changed: the rest is in order again all the same."""
    every = [b"%d" % number for number in range(10_000, 20_000)]
    old, new = every, [b"x" + row if row.endswith(b"7") else row for row in every[1500:]]
    comparison = compared(tmp_path, old, new)
    (difference,) = comparison.differences()
    assert (set(difference.gone), set(difference.new)) == (set(old) - set(new), set(new) - set(old))
    assert comparison.unordered_bytes < comparison.fed_bytes / 4


def compared(directory: Path, old: list[bytes], new: list[bytes]) -> TableComparison:
    """In blocks of different sizes."""
    comparison = TableComparison(Memory(directory))
    comparison.begin(blocks(old, 300))
    for block in blocks(new, 700):
        comparison.feed(block)
    comparison.end()
    return comparison


def without(rows: list[bytes]) -> list[bytes]:
    """One of ten is not there any more."""
    return [row for number, row in enumerate(rows) if number % 10 != 3]


def replaced(rows: list[bytes]) -> list[bytes]:
    """One of ten has something else in its place."""
    return [b"x" + row if number % 10 == 3 else row for number, row in enumerate(rows)]


@pytest.mark.parametrize("later", [without, replaced])
def test_rows_that_changed_here_and_there_are_found_where_they_were(
    tmp_path: Path, later: Callable[[list[bytes]], list[bytes]]
) -> None:
    """Each is one place; no row beside them is looked up."""
    old = [b"%d" % number * 9 for number in range(3000)]
    new = later(old)
    comparison = compared(tmp_path, old, new)
    (difference,) = comparison.differences()
    assert (set(difference.gone), set(difference.new)) == (set(old) - set(new), set(new) - set(old))
    assert 250 < comparison.places <= 300
    assert comparison.unordered_bytes == 0


@pytest.mark.parametrize("rows_in_memory", [100_000, 2])
def test_equal_rows_take_no_more_memory_than_a_few(tmp_path: Path, rows_in_memory: int) -> None:
    """Those that went and those that came, from memory and from files."""
    went, came = b"w" * 9_999, b"c" * 2_000_000
    comparison = TableComparison(Memory(tmp_path, rows_in_memory, 4_000_000))
    writer = TableWriter(
        Table(1, False, 1), TableBegins(b"t", (b"a",), b"COPY t (a) FROM stdin;\n"), None, b"", tmp_path
    )
    written = 0

    def count(text: bytes) -> None:
        nonlocal written
        written += len(text)

    tracemalloc.start()
    comparison.begin(iter([(went + b"\n") * 100] * 32))
    for _ in range(10):
        comparison.feed(came + b"\n")
    comparison.end()
    change = writer.write(comparison, count, count)
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    comparison.close()
    assert (change.gone, change.new) == (3_200, 10)
    assert written > 3_200 * 10_000 + 10 * 2_000_000
    assert most_bytes < 16_000_000


def section_of(chances: random.Random) -> bytes:
    """Some tables with short and long rows."""
    tables = [b'COPY "public"."%d" ("a") FROM stdin;\n' % number for number in range(3)]
    rows = [b"x" * chances.choice((0, 1, 2, 70, 300)) + b"\\\\.\n" for _ in range(30)]
    return b"".join(table + b"".join(rows[: chances.randrange(30)]) + b"\\.\n" for table in tables)


@pytest.mark.parametrize("seed", range(50))
def test_rows_in_parts_are_the_same_rows(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.backups.reading.dump_parser.LONG_ROW_BYTES", 64)
    chances = random.Random(seed)  # noqa: S311 not a secret
    section, largest = section_of(chances), chances.choice((1, 7, 90, 1000))
    blocks = [section[at : at + largest] for at in range(0, len(section), largest)]

    def seen(events: Iterator[Event]) -> list[tuple[object, bytes, int]]:
        found: list[tuple[object, bytes, int]] = []
        for event in events:
            if isinstance(event, Rows):
                table, text, count = found.pop()
                found.append((table, text + event.text, count + event.count()))
            else:
                found.append((event, b"", 0))
        return found

    assert seen(parsed_in_parts(blocks)) == seen(parsed(blocks))
    lengths = [len(event.text) for event in parsed_in_parts(blocks) if isinstance(event, Rows)]
    assert max(lengths, default=0) <= 64 + 2 * largest


def test_a_row_in_parts_that_does_not_end_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.backups.reading.dump_parser.LONG_ROW_BYTES", 64)
    blocks = [b'COPY "public"."a" ("a") FROM stdin;\n', b"x" * 100, b"x" * 100]
    with pytest.raises(DamagedBackup):
        list(parsed_in_parts(blocks))
