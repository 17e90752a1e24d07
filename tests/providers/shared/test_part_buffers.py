"""Memory that is used again for the parts of uploads: never while somebody can still read it, and not for ever."""

from __future__ import annotations

import itertools
import mmap
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from providers import build_provider
from providers.base import PART_SIZE_BYTES
from providers.shared import part_buffers
from providers.shared.object_store_put import MEMORY_BUDGET_BYTES, HashingReader, Md5Of, hash_source
from providers.shared.part_buffers import PartBuffers, anonymous_map
from tests.destinations import Destination
from tests.executions.sources import PatternSource, sha256_of

SIZE_BYTES = 1024 * 1024
THREADS = 8


class Maps:
    """Counts the maps that are made, and those of them that are still there."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.most_at_once = 0
        self._there: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()

    def make(self, size_bytes: int) -> mmap.mmap:
        made = anonymous_map(size_bytes)
        self.sizes.append(size_bytes)
        self._there.add(made)
        self.most_at_once = max(self.most_at_once, self.there)
        return made

    @property
    def there(self) -> int:
        return len(self._there)


@pytest.fixture
def maps(monkeypatch: pytest.MonkeyPatch) -> Maps:
    """What parts are kept in."""
    counted = Maps()
    monkeypatch.setattr(part_buffers, "anonymous_map", counted.make)
    return counted


def pieces_of(byte: int) -> Iterator[bytes]:
    return itertools.repeat(bytes([byte]) * (SIZE_BYTES // 4))


@pytest.mark.parametrize("holding", ["the part", "a view of a view of it"])
def test_a_part_that_is_held_stays_as_it_is(holding: str) -> None:
    source = PatternSource(5 * SIZE_BYTES + 7)
    buffers = PartBuffers(SIZE_BYTES)
    with buffers.kept(2):
        parts = HashingReader(source).parts(buffers)
        held = memoryview(next(parts))
        if holding == "a view of a view of it":
            held = memoryview(held[1:])[1:]
        before = bytes(held)
        others = [sha256_of([bytes(part)]) for part in parts]
    assert len(others) == len(set(others)) == 5
    assert bytes(held) == before


def test_a_part_that_is_held_stays_as_it_is_when_the_upload_is_over() -> None:
    buffers = PartBuffers(SIZE_BYTES)
    with buffers.kept(1):
        held = buffers.filled(SIZE_BYTES, pieces_of(1))
    with buffers.kept(1):
        other = buffers.filled(SIZE_BYTES, pieces_of(2))
    assert (set(bytes(held)), set(bytes(other))) == ({1}, {2})


def test_threads_never_get_what_another_one_reads() -> None:
    buffers = PartBuffers(SIZE_BYTES)

    def fill_and_read(byte: int) -> set[int]:
        found: set[int] = set()
        held = buffers.filled(SIZE_BYTES, pieces_of(byte))
        for _ in range(100):
            following = buffers.filled(SIZE_BYTES, pieces_of(byte))
            found.update(held[:: SIZE_BYTES // 64], held[-1:])
            held = following
        return found

    with buffers.kept(2 * THREADS), ThreadPoolExecutor(THREADS) as executor:
        assert list(executor.map(fill_and_read, range(THREADS))) == [{byte} for byte in range(THREADS)]


def test_memory_is_used_again_as_soon_as_nobody_holds_it(maps: Maps) -> None:
    source = PatternSource(9 * PART_SIZE_BYTES + 7)
    assert hash_source(source).sha256 == source.sha256()
    assert maps.sizes == [PART_SIZE_BYTES]


def test_parts_of_another_size_have_memory_of_that_size(maps: Maps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("providers.shared.object_store_put.part_size_for", lambda _: 2 * PART_SIZE_BYTES)
    sent = hash_source(PatternSource(5 * PART_SIZE_BYTES), [Md5Of.EACH_PART])
    assert (len(sent.part_md5s), maps.sizes) == (3, [2 * PART_SIZE_BYTES])


def test_a_source_that_fails_leaves_nothing_behind(maps: Maps) -> None:
    buffers = PartBuffers(SIZE_BYTES)
    with pytest.raises(ZeroDivisionError), buffers.kept(1):
        buffers.filled(SIZE_BYTES, (bytes(1 // number) for number in (1, 0)))
    assert (len(maps.sizes), maps.there) == (1, 0)


def test_when_one_of_two_uploads_is_over_its_memory_goes_back(maps: Maps) -> None:
    buffers = PartBuffers(SIZE_BYTES)
    with buffers.kept(1):
        with buffers.kept(3):
            views = [buffers.filled(SIZE_BYTES, pieces_of(number)) for number in range(4)]
            del views[1:]
            assert maps.there == 4
        assert maps.there == 1
        buffers.filled(SIZE_BYTES, pieces_of(5))
    assert maps.there == 1  # the one that is held
    assert set(bytes(views.pop())) == {0}
    assert maps.there == 0


@pytest.mark.parametrize("name", ["s3-rclone", "azure"])
def test_uploads_at_once_share_memory_within_the_budget_and_give_it_back(
    new_destination: Callable[[str], Destination], maps: Maps, name: str
) -> None:
    sources = {f"p/{number}": PatternSource(5 * PART_SIZE_BYTES + 1, seed=number) for number in range(4)}
    with closing(build_provider(new_destination(name).provider_row())) as provider:
        with ThreadPoolExecutor(len(sources)) as executor:
            list(executor.map(provider.put, sources.keys(), sources.values()))
        assert maps.there == 0
        read = {key: sha256_of(provider.open(key)) for key in sources}
    assert read == {key: source.sha256() for key, source in sources.items()}
    assert set(maps.sizes) == {PART_SIZE_BYTES}
    assert len(maps.sizes) < 6 * len(sources)  # which is how many parts there are
    assert maps.most_at_once * PART_SIZE_BYTES <= MEMORY_BUDGET_BYTES
