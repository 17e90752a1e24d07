"""Reads one listing of all executions at a provider, however long, and keeps a few numbers of each execution."""

from __future__ import annotations

import hashlib
import threading
from array import array
from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

from config.errors import RunInterrupted
from config.models import EntryKind, StoredObject
from files.tree import Tree
from providers.base import Provider
from providers.retries import with_retries
from storage.keys import MANIFEST_SUFFIX, shared_prefix

DIGESTS = 2**64


class Sums(NamedTuple):
    """Number, bytes and a digest of files, which do not depend on their order. The digest covers names and sizes."""

    file_count: int
    size_bytes: int
    digest: int


def _digest_of(path: str, size_bytes: int) -> int:
    text = f"{size_bytes}/{path}".encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest())


def sums_of(tree: Tree) -> Sums:
    """The sums of the files of a manifest."""
    digests = sum(_digest_of(entry.path, entry.size_bytes) for entry in tree if entry.kind is EntryKind.FILE)
    return Sums(tree.file_count, tree.size_bytes, digests % DIGESTS)


class Survey:
    """What a listing shows of each execution. Packed: the number of objects does not matter for its size."""

    def __init__(self) -> None:
        self._positions: dict[str, int] = {}
        self._counts = array("Q")
        self._sizes = array("Q")
        self._digests = array("Q")
        self._has_manifest = bytearray()

    def note(self, relative_key: str, size_bytes: int) -> None:
        """Note one object by its key below the executions' common prefix. Probes and the like do not count."""
        name, slash, path = relative_key.partition("/")
        if slash:
            position = self._position(name)
            self._counts[position] += 1
            self._sizes[position] += size_bytes
            self._digests[position] = (self._digests[position] + _digest_of(path, size_bytes)) % DIGESTS
        elif name.endswith(MANIFEST_SUFFIX):
            self._has_manifest[self._position(name.removesuffix(MANIFEST_SUFFIX))] = 1

    def _position(self, name: str) -> int:
        position = self._positions.setdefault(name, len(self._has_manifest))
        if position == len(self._has_manifest):
            for numbers in (self._counts, self._sizes, self._digests):
                numbers.append(0)
            self._has_manifest.append(0)
        return position

    def names(self, *, with_manifest: bool) -> list[str]:
        """The executions that have a manifest, or those that have none, in order."""
        return sorted(
            name for name, position in self._positions.items() if bool(self._has_manifest[position]) == with_manifest
        )

    def sums(self, name: str) -> Sums:
        """The sums of an execution's listed files."""
        position = self._positions[name]
        return Sums(self._counts[position], self._sizes[position], self._digests[position])


def survey(provider: Provider, prefix: str, interruption: threading.Event) -> Survey:
    """List everything below the common prefix of all executions. Raises `MigrationError`."""
    beginning = f"{shared_prefix(prefix)}/"
    found = Survey()
    for stored in _listed(provider, beginning, interruption):
        if interruption.is_set():
            raise RunInterrupted("interrumpido")
        found.note(stored.key.removeprefix(beginning), stored.size_bytes)
    return found


def _listed(provider: Provider, prefix: str, interruption: threading.Event) -> Iterator[StoredObject]:
    """A listing whose first page is retried here; the provider itself retries the others."""

    def begun() -> Iterator[StoredObject]:
        listing = iter(provider.list(prefix))
        first = next(listing, None)
        return iter(()) if first is None else chain((first,), listing)

    return with_retries(begun, interruption, provider.progress)
