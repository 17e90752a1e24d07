"""A mounted file system that fails for a moment: the file that it concerned is done once more, and no other one.

Looked for at each thing that is done with one file of many: writing, bringing to the disk, looking, reading, proving.
What concerns many at once (names, syncing all) is repeated for the batch by the caller.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Container, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from config.models import ProviderRow
from files.descriptors import CHUNK_SIZE_BYTES
from providers.errors import IntegrityError, ProviderUnavailable
from providers.local.provider import LocalProvider
from providers.sources import BytesSource, Source
from tests.executions.sources import PatternSource, sha256_of

PASSING = [errno.EIO, errno.ESTALE, errno.EINTR, errno.ETIMEDOUT]
KEYS = [f"a/{number}" for number in range(8)]


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[LocalProvider]:
    """A provider for an empty directory."""
    with closing(LocalProvider(ProviderRow(1, "NAS", "local", None, {"ruta": str(tmp_path)}, active=True))) as made:
        yield made


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Counter[str]]:
    """Let certain calls of a function of `os` fail; how many calls there were is counted."""
    calls: Counter[str] = Counter()

    def fail(function: str, number: int, on: Container[int], only_files: bool = False) -> Counter[str]:
        original = getattr(os, function)

        def call(first: Any, *arguments: Any, **options: Any) -> Any:
            if not only_files or (isinstance(first, str) and first.isdigit()):
                calls[function] += 1
                if calls[function] in on:
                    raise OSError(number, os.strerror(number))
            return original(first, *arguments, **options)

        monkeypatch.setattr(os, function, call)
        return calls

    return fail


class Counted(BytesSource):
    """Counts how often it is read."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.readings = 0

    def chunks(self, chunk_size_bytes: int) -> Iterator[bytes]:
        """See `Source`."""
        self.readings += 1
        return super().chunks(chunk_size_bytes)


@pytest.mark.parametrize("number", PASSING)
@pytest.mark.parametrize("function", ["write", "fstat"])
def test_one_file_that_cannot_be_written_is_written_again(
    provider: LocalProvider, failing: Callable[..., Counter[str]], tmp_path: Path, function: str, number: int
) -> None:
    sources = {key: Counted(key.encode() * 100) for key in KEYS}
    some: dict[str, Source] = dict(sources)
    failing(function, number, on=(5,))
    receipts = dict(provider.put_many(some))
    assert sorted(source.readings for source in sources.values()) == [1] * (len(KEYS) - 1) + [2]
    for key, source in sources.items():
        content = b"".join(source.chunks(CHUNK_SIZE_BYTES))
        assert (tmp_path / key).read_bytes() == content
        assert receipts[key].sha256 == hashlib.sha256(content).hexdigest()
    assert {path.name for path in (tmp_path / "a").iterdir()} == {key.rpartition("/")[2] for key in KEYS}


def test_bytes_that_did_not_reach_the_disk_are_written_once_more(
    provider: LocalProvider, failing: Callable[..., Counter[str]], tmp_path: Path
) -> None:
    """To sync again proves nothing: what could not be written is forgotten by the kernel, and the next sync is good."""
    source = Counted(b"x" * 1000)
    calls = failing("fsync", errno.EIO, on=(1,))
    provider.put("file", source)
    assert source.readings == 2
    assert calls["fsync"] == 3, "that which failed, that of the second file, and that of its directory"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_disk_that_always_fails_is_given_up(
    provider: LocalProvider, failing: Callable[..., Counter[str]], tmp_path: Path
) -> None:
    calls = failing("write", errno.EIO, on=range(1, 1000))
    with pytest.raises(ProviderUnavailable) as caught:
        provider.put("a/file", BytesSource(b"x"))
    assert caught.value.given_up
    assert calls["write"] == ProviderUnavailable.tries
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("number", PASSING)
def test_a_reading_continues_where_it_failed(
    provider: LocalProvider, failing: Callable[..., Counter[str]], number: int
) -> None:
    source = PatternSource(8 * CHUNK_SIZE_BYTES)
    provider.put("file", source)
    calls = failing("read", number, on=(5, 7))
    assert sha256_of(provider.open("file")) == source.sha256()
    assert calls["read"] == 8 + 2 + 1


def test_another_file_is_not_read_on(
    provider: LocalProvider, failing: Callable[..., Counter[str]], tmp_path: Path
) -> None:
    provider.put("file", PatternSource(8 * CHUNK_SIZE_BYTES))
    failing("read", errno.EIO, on=(5,))
    reading = provider.open("file")
    next(reading)
    (tmp_path / "another").write_bytes(b"another one" * CHUNK_SIZE_BYTES)
    (tmp_path / "another").replace(tmp_path / "file")
    with pytest.raises(IntegrityError, match="cambió"):
        sha256_of(reading)


def test_one_file_that_cannot_be_proven_is_read_again(
    provider: LocalProvider, failing: Callable[..., Counter[str]]
) -> None:
    for key in KEYS:
        provider.put(key, BytesSource(key.encode()))
    calls = failing("read", errno.ESTALE, on=(3,))
    found = {digest.key: digest.sha256 for digest in provider.digests(KEYS)}
    assert found == {key: hashlib.sha256(key.encode()).hexdigest() for key in KEYS}
    assert calls["read"] == len(KEYS) + 1


def test_one_name_that_cannot_be_looked_at_is_looked_at_again(
    provider: LocalProvider, failing: Callable[..., Counter[str]]
) -> None:
    for key in KEYS:
        provider.put(key, BytesSource(key.encode()))
    calls = failing("stat", errno.ESTALE, on=(3,), only_files=True)
    assert sorted(stored.key for stored in provider.list("")) == KEYS
    assert calls["stat"] == len(KEYS) + 1
