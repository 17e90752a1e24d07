"""The copy at another provider as the original of a new copy: streamed, and held against its manifest."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from typing import NamedTuple

from config.errors import RunInterrupted, SourceError
from config.logs import one_line
from config.models import Entry
from files.tree import Tree
from providers.base import Provider
from providers.errors import ProviderError, ProviderUnavailable
from providers.sources import Source
from storage.keys import Place


class OldCopyUnavailable(SourceError):
    """The provider that has the old copy does not answer. The new one is not to blame."""

    code = "old_copy_unavailable"
    tries = 3


class OldCopyDamaged(SourceError):
    """The old copy does not hold what its manifest says: it is not copied any further."""

    code = "old_copy_damaged"


class StoredOriginal(NamedTuple):
    """See `storage.sending.Original`. Nothing is written to this host's disk."""

    provider: Provider
    place: Place

    @property
    def descriptor(self) -> int:
        """See `Original`: no directory of this host."""
        return -1

    def source(self, entry: Entry, interruption: threading.Event) -> Source:
        """See `Original`."""
        return StoredSource(self.provider, self.place.key_of(entry.path), entry, interruption)

    def require_unchanged(self, tree: Tree) -> None:
        """See `Original`: each file was held against the hash in the manifest while it was read."""


class StoredSource:
    """The bytes of one stored object: exactly those whose hash the manifest has, or an error."""

    def __init__(self, provider: Provider, key: str, entry: Entry, interruption: threading.Event) -> None:
        self._provider = provider
        self._key = key
        self._entry = entry
        self._interruption = interruption

    @property
    def size_bytes(self) -> int:
        return self._entry.size_bytes

    def chunks(self, chunk_size_bytes: int) -> Iterator[bytes]:
        """See `Source`. Raises `OldCopyDamaged`, before the last piece; `OldCopyUnavailable`, `RunInterrupted`."""
        digest = hashlib.sha256()
        pending = bytearray()
        sent_bytes = 0
        for chunk in self._stored():
            digest.update(chunk)
            pending += chunk
            if sent_bytes + len(pending) > self.size_bytes:
                raise self._damaged()
            while len(pending) >= chunk_size_bytes and sent_bytes + len(pending) < self.size_bytes:
                yield bytes(pending[:chunk_size_bytes])
                sent_bytes += chunk_size_bytes
                del pending[:chunk_size_bytes]
        if sent_bytes + len(pending) != self.size_bytes or digest.hexdigest() != self._entry.sha256:
            raise self._damaged()
        for start in range(0, len(pending), chunk_size_bytes):
            yield bytes(pending[start : start + chunk_size_bytes])

    def _stored(self) -> Iterator[bytes]:
        try:
            for chunk in self._provider.open_sized(self._key, self.size_bytes):
                if self._interruption.is_set():
                    raise RunInterrupted("interrumpido")
                yield chunk
        except ProviderUnavailable as error:
            raise OldCopyUnavailable(f"no se puede leer {one_line(self._key)} de {self._name}: {error}") from error
        except ProviderError as error:
            raise OldCopyDamaged(f"{one_line(self._key)} no se puede leer de {self._name}: {error}") from error

    @property
    def _name(self) -> str:
        return one_line(self._provider.name)

    def _damaged(self) -> OldCopyDamaged:
        return OldCopyDamaged(
            f"{one_line(self._key)} de {self._name} no es lo que dice su manifiesto; audit dice qué más le falta"
        )
