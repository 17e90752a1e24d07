"""Finds the boundaries between the steps of a run where the program touches the world, and strikes at one of them.

A boundary lies before each SQL statement, each call of a provider, each piece that is read of a file to send, each
request of an SFTP session and each system call of Python's that changes the file system. They are counted as they
come, so a step that is added to the program is covered without anybody naming it.
"""

from __future__ import annotations

import enum
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import providers
import providers.base
from config.models import ContentDigest, ProviderRow, PutReceipt, StoredObject
from providers import build_provider
from providers.base import Provider
from providers.errors import ProviderError
from providers.sources import Source
from sql.connection import Connection

CHANGING_CALLS = (
    "rename",
    "replace",
    "unlink",
    "remove",
    "rmdir",
    "mkdir",
    "link",
    "symlink",
    "fsync",
    "chmod",
    "utime",
)

CHANGING_REQUESTS = ("OPEN", "MKDIR", "RENAME", "REMOVE", "RMDIR", "EXTENDED")


class Boundaries:
    """Counts boundaries; at the chosen one it sends this process a signal. Owned by this module alone."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._count = 0
        self._strike_at: int | None = None
        self._signal_number = 0
        self._record: int | None = None
        self.refused_put = ""

    def begin(self, record: int, strike_at: int | None, signal_number: int, refused_put: str) -> None:
        """Count from one, writing each boundary's name to the descriptor `record`."""
        self._record, self._strike_at, self._signal_number = record, strike_at, signal_number
        self.refused_put = refused_put

    def reach(self, name: str) -> None:
        """Between two steps: the one that comes now is called `name`."""
        if self._record is None:
            return
        with self._turn:
            self._count += 1
            os.write(self._record, f"{name}\n".encode("utf-8", "surrogateescape"))
            if self._count == self._strike_at:
                os.kill(os.getpid(), self._signal_number)


boundaries = Boundaries()


class WatchedProvider(Provider):
    """Passes everything on to another provider. A put to provider 1 whose key ends in the text to be refused fails."""

    def __init__(self, provider: Provider) -> None:
        super().__init__(provider.id, provider.name, provider.kind)
        self.longest_key_bytes = provider.longest_key_bytes  # type: ignore[misc] # one instance's, as another class's
        self.only_conditions_stop_late_puts = provider.only_conditions_stop_late_puts  # type: ignore[misc]
        self.what_is_there_is_durable = provider.what_is_there_is_durable  # type: ignore[misc]
        self._provider = provider

    def put(self, key: str, source: Source) -> PutReceipt:
        boundaries.reach(f"put {key}")
        if self.id == 1 and boundaries.refused_put and key.endswith(boundaries.refused_put):
            raise ProviderError("rechazado a propósito")
        return self._provider.put(key, WatchedSource(key, source))

    def put_new_many(self, sources: Mapping[str, Source]) -> Iterator[tuple[str, PutReceipt]]:
        for key, source in sources.items():
            boundaries.reach(f"put {key}")
            if self.id == 1 and boundaries.refused_put and key.endswith(boundaries.refused_put):
                raise ProviderError("rechazado a propósito")
            yield from self._provider.put_new_many({key: WatchedSource(key, source)})

    def measure(self, source: Source) -> PutReceipt:
        return self._provider.measure(source)

    def open(self, key: str) -> Iterator[bytes]:
        boundaries.reach(f"open {key}")
        return self._provider.open(key)

    def stat(self, key: str) -> StoredObject:
        boundaries.reach(f"stat {key}")
        return self._provider.stat(key)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        boundaries.reach(f"list {prefix}")
        return self._provider.list(prefix)

    def delete(self, key: str) -> None:
        boundaries.reach(f"delete {key}")
        self._provider.delete(key)

    def replace(self, key: str, source: Source, expected: StoredObject | None) -> PutReceipt:
        boundaries.reach(f"replace {key}")
        if self.id == 1 and boundaries.refused_put and key.endswith(boundaries.refused_put):
            raise ProviderError("rechazado a propósito")
        return self._provider.replace(key, WatchedSource(key, source), expected)

    def delete_exactly(self, stored: StoredObject) -> None:
        boundaries.reach(f"delete exactly {stored.key}")
        self._provider.delete_exactly(stored)

    def replaces_safely(self, prefix: str = "") -> bool:
        return self._provider.replaces_safely(prefix)

    def creates_safely(self, prefix: str = "") -> bool:
        return self._provider.creates_safely(prefix)

    def deletes_safely(self, prefix: str = "") -> bool:
        return self._provider.deletes_safely(prefix)

    def folds_names(self, prefix: str = "") -> bool:
        return self._provider.folds_names(prefix)

    def discard_unfinished(self, prefix: str) -> None:
        boundaries.reach(f"abandon {prefix}")
        self._provider.discard_unfinished(prefix)

    def digests(self, keys: Iterable[str]) -> Iterator[ContentDigest]:
        boundaries.reach("digests")
        return self._provider.digests(keys)

    def close(self) -> None:
        self._provider.close()


class WatchedSource:
    """A source with a boundary before each of its pieces but the first, and one after the last."""

    def __init__(self, key: str, source: Source) -> None:
        self._key = key
        self._source = source

    @property
    def size_bytes(self) -> int:
        return self._source.size_bytes

    def chunks(self, chunk_size_bytes: int) -> Iterator[bytes]:
        for chunk in self._source.chunks(chunk_size_bytes):
            yield chunk
            boundaries.reach(f"sent {len(chunk)} bytes of {self._key}")


def watch_everything() -> None:
    """Put the boundaries in. To be called before the modules that build providers are imported."""

    def watched(row: ProviderRow) -> Provider:
        return WatchedProvider(build_provider(row))

    providers.build_provider = watched
    _watch(Connection, "query_once", lambda _connection, name, *_rest: f"sql {name}")
    for name in CHANGING_CALLS:
        _watch(os, name, lambda target, *_rest, name=name, **_named: f"{name} {_shown(target)}")
    from providers.sftp.protocol import SftpSession

    _watch(SftpSession, "post", _changing_request)


def _changing_request(_session: object, packet_type: enum.IntEnum, *_rest: object) -> str | None:
    """Requests that only ask are no steps. Each single request is one in the tests of the provider itself."""
    return f"sftp {packet_type.name}" if packet_type.name in CHANGING_REQUESTS else None


def _watch(owner: Any, attribute: str, describe: Callable[..., str | None]) -> None:
    original = getattr(owner, attribute)

    def watched(*arguments: Any, **named: Any) -> Any:
        name = describe(*arguments, **named)
        if name is not None:
            boundaries.reach(name)
        return original(*arguments, **named)

    setattr(owner, attribute, watched)


def _shown(target: object) -> str:
    return Path(os.fsdecode(target)).name if isinstance(target, (str, bytes, os.PathLike)) else "descriptor"
