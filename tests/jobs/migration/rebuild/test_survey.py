"""What is kept of a listing of all executions: little, and whatever the order of the listing is."""

from __future__ import annotations

import random
import sys

from config.models import Entry, EntryKind
from files.tree import Tree
from jobs.migration.rebuild.survey import Survey, sums_of

NAMES = ["uno", "uno-b", "uno.c", "dos"]


def listed(names: list[str]) -> list[tuple[str, int]]:
    """The keys and sizes of some executions, each with a manifest and five files, and a probe."""
    files = [(f"{name}/d/{number}", number + len(name)) for name in names for number in range(5)]
    return [*files, *((f"{name}.manifest.json", 100) for name in names), ("uno.janitor-probe-1", 14)]


def surveyed(objects: list[tuple[str, int]]) -> Survey:
    """All of them noted."""
    found = Survey()
    for key, size_bytes in objects:
        found.note(key, size_bytes)
    return found


def tree_of(name: str) -> Tree:
    """The files that `listed` has of an execution."""
    entries = [
        Entry(f"d/{number}", EntryKind.FILE, 0o644, 0, number + len(name), sha256="0" * 64) for number in range(5)
    ]
    top = [Entry(path, EntryKind.DIRECTORY, 0o755, 0) for path in ("", "d")]
    return Tree([*top, *entries])


def test_the_order_of_a_listing_does_not_matter() -> None:
    objects = listed(NAMES)
    for seed in range(20):
        random.Random(seed).shuffle(objects)  # noqa: S311 no secret depends on it
        found = surveyed(objects)
        assert found.names(with_manifest=True) == sorted(NAMES)
        assert found.names(with_manifest=False) == []
        assert all(found.sums(name) == sums_of(tree_of(name)) for name in NAMES)


def test_a_name_a_size_or_a_file_that_differs_shows() -> None:
    objects = listed(["uno"])
    whole = sums_of(tree_of("uno"))
    for change in (("uno/d/x", 3), ("uno/d/0", 4), None):
        others = [*([change] if change else []), *objects[1:]]
        assert surveyed(others).sums("uno") != whole, change
    exchanged = [("uno/d/1", 3), ("uno/d/0", 4), *objects[2:]]
    assert surveyed(exchanged).sums("uno") != whole


def test_memory_does_not_grow_with_the_number_of_objects() -> None:
    found = Survey()
    for number in range(20_000):
        found.note(f"uno/{number}", number)
    assert sum(sys.getsizeof(value) for value in vars(found).values()) < 2_000
