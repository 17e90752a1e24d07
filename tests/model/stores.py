"""Stores in memory, each with the guarantees of one kind of destination, and the provider that the daemon uses there.

A request that changes something goes through `Wire`, which may carry it out at once, lose it, or keep it for later:
whoever sent it may be dead by then. What a store promises about it (a condition, a rename) is judged when it arrives.
"""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import providers.base
from config.models import ProviderRow, PutReceipt, StoredObject
from providers.base import CHUNK_SIZE_BYTES, ObjectNotFound, Provider, ProviderError, Source


class _ConditionFailed(ProviderError):
    """Another object lies there than the one that was expected."""

    code = "condition_failed"


ConditionFailed: type[ProviderError] = getattr(providers.base, "ConditionFailed", _ConditionFailed)


@dataclass(frozen=True)
class Held:
    """What a store holds under a key. `version` is another one for every object that was ever stored."""

    key: str
    content: bytes
    version: str


Outcome = Callable[[], object]


class MemoryStore:
    """One bucket, or one directory of a server. Safe to use from several threads."""

    def __init__(self, name: str, *, folds_case: bool = False) -> None:
        self.name = name
        self._folds_case = folds_case
        self._turn = threading.RLock()
        self._objects: dict[str, Held] = {}
        self._unfinished: dict[str, bytes] = {}
        self._numbers = itertools.count(1)

    def _name(self, key: str) -> str:
        return key.lower() if self._folds_case else key

    def get(self, key: str) -> Held | None:
        """What lies there."""
        with self._turn:
            return self._objects.get(self._name(key))

    def below(self, prefix: str) -> list[Held]:
        """What lies below a prefix; in a store that folds case, below any spelling of it, which shows as asked for."""
        with self._turn:
            found = [held for name, held in sorted(self._objects.items()) if name.startswith(self._name(prefix))]
        return [replace(held, key=prefix + held.key[len(prefix) :]) for held in found]

    def put(self, key: str, content: bytes) -> Held:
        """Store, whatever lies there."""
        with self._turn:
            before = self._objects.get(self._name(key))
            held = Held(before.key if before else key, content, f"v{next(self._numbers)}")
            self._objects[self._name(key)] = held
            return held

    def replace(self, key: str, content: bytes, version: str | None) -> Held:
        """Store while exactly this version lies there (`None`: nothing). Raises `ConditionFailed`."""
        with self._turn:
            self._require(key, version)
            return self.put(key, content)

    def delete(self, key: str) -> None:
        """Remove what lies there, if anything does."""
        with self._turn:
            self._objects.pop(self._name(key), None)

    def delete_exactly(self, key: str, version: str | None) -> None:
        """Remove while exactly this version lies there. Nothing there is no error. Raises `ConditionFailed`."""
        with self._turn:
            if self.get(key) is not None:
                self._require(key, version)
                self.delete(key)

    def _require(self, key: str, version: str | None) -> None:
        present = self.get(key)
        if (present.version if present else None) != version:
            raise ConditionFailed("allí hay otro objeto que el esperado")

    def begin(self, key: str, content: bytes) -> str:
        """Store under a temporary name, which is seen in no listing."""
        with self._turn:
            temporary = f"{key}.part{next(self._numbers)}"
            self._unfinished[temporary] = content
            return temporary

    def finish(self, temporary: str, key: str) -> Held:
        """Rename to the final name, in the place of what lies there. Raises `ObjectNotFound`."""
        with self._turn:
            if temporary not in self._unfinished:
                raise ObjectNotFound("no hay ningún fichero temporal")
            return self.put(key, self._unfinished.pop(temporary))

    def abandon(self, prefix: str) -> None:
        """Remove temporary names below a prefix."""
        with self._turn:
            for temporary in [name for name in self._unfinished if self._name(name).startswith(self._name(prefix))]:
                del self._unfinished[temporary]

    def unfinished(self) -> list[str]:
        """The temporary names that are left."""
        with self._turn:
            return sorted(self._unfinished)


@dataclass(frozen=True)
class Request:
    """One request that changes a store, with whatever it needs to be carried out at any later time."""

    name: str
    carry_out: Outcome


class Wire:
    """Carries what a provider asks. This one does so at once; see `tests.model.runs` for one that does not."""

    def reach(self, step: str, detail: str) -> None:
        """A step that changes nothing comes next."""

    def send(self, request: Request) -> object:
        """Have a request carried out, and give what the store answers."""
        return request.carry_out()


@dataclass
class Network:
    """The stores by the names of their buckets, and the wire that leads to them. Made anew for each history."""

    wire: Wire = field(default_factory=Wire)
    stores: dict[str, MemoryStore] = field(default_factory=dict)


network = Network()
"""Where providers that a run builds find their stores: a row of `cloud_providers` can only name them."""


class MemoryProvider(Provider):
    """What all kinds have in common: a store, found by the name that the row gives it."""

    executions_at_once: ClassVar[int] = 1
    """One after the other, so that the same history takes the same way each time."""

    replaces_safely: ClassVar[bool] = True
    location_field: ClassVar[str] = "bucket"

    def __init__(self, row: ProviderRow) -> None:
        super().__init__(row.id, row.name, row.kind)
        self.store = network.stores[str(row.options[self.location_field])]

    def put(self, key: str, source: Source) -> PutReceipt:
        content, receipt = self._read(source)
        self._send("put", key, lambda: self.store.put(key, content))
        return receipt

    def replace(self, key: str, source: Source, expected: StoredObject | None) -> PutReceipt:
        """Store while exactly `expected` (`None`: nothing) lies there. Raises `ConditionFailed`."""
        content, receipt = self._read(source)
        self._send("replace", key, lambda: self.store.replace(key, content, version_of(expected)))
        return receipt

    def delete(self, key: str) -> None:
        self._send("delete", key, lambda: self.store.delete(key))

    def delete_exactly(self, stored: StoredObject) -> None:
        """Remove while this very object lies there. Raises `ConditionFailed`."""
        self._send("delete_exactly", stored.key, lambda: self.store.delete_exactly(stored.key, version_of(stored)))

    def measure(self, source: Source) -> PutReceipt:
        return self._read(source)[1]

    def open(self, key: str) -> Iterator[bytes]:
        network.wire.reach("open", key)
        yield self._held(key).content

    def stat(self, key: str) -> StoredObject:
        network.wire.reach("stat", key)
        return self._shown(replace(self._held(key), key=key))

    def list(self, prefix: str) -> Iterator[StoredObject]:
        network.wire.reach("list", prefix)
        return iter([self._shown(held) for held in self.store.below(prefix)])

    def abandon(self, prefix: str) -> None:
        self._send("abandon", prefix, lambda: self.store.abandon(prefix))

    def close(self) -> None:
        """Nothing: the store outlives the run."""

    def _send(self, step: str, key: str, carry_out: Outcome) -> None:
        network.wire.send(Request(f"{step} {key} at {self.store.name}", carry_out))

    def _held(self, key: str) -> Held:
        held = self.store.get(key)
        if held is None:
            raise ObjectNotFound("no hay ningún objeto")
        return held

    def _read(self, source: Source) -> tuple[bytes, PutReceipt]:
        content = b"".join(source.chunks(CHUNK_SIZE_BYTES))
        checksum = self.checksum(content)
        checksums = frozenset() if checksum is None else frozenset((checksum,))
        return content, PutReceipt(len(content), hashlib.sha256(content).hexdigest(), checksums)

    def _shown(self, held: Held) -> StoredObject:
        shown = StoredObject(held.key, len(held.content), self.checksum(held.content))
        return with_version(shown, held.version)

    def checksum(self, content: bytes) -> str | None:
        """What a listing shows of an object with these bytes."""
        return f"etag:{hashlib.md5(content, usedforsecurity=False).hexdigest()}"


class ConditionalS3(MemoryProvider):
    """S3 with If-Match and If-None-Match, also for deletions."""


class Azure(MemoryProvider):
    """Azure Blob Storage: an ETag of its own for each write, and an MD5."""

    location_field = "container"

    def checksum(self, content: bytes) -> str | None:
        return f"md5:{hashlib.md5(content, usedforsecurity=False).hexdigest()}"


class Gcs(MemoryProvider):
    """Google Cloud Storage: generations, and a checksum so short that different bytes share it.

    This one is the first byte, where the real one has 32 bits: files of one size that carry their own collide there.
    """

    def checksum(self, content: bytes) -> str | None:
        return f"crc32c:{content[:1].hex()}"


class PlainS3(MemoryProvider):
    """S3 on a server that ignores conditions: a request that arrives late does what it was sent for."""

    replaces_safely = False

    def replace(self, key: str, source: Source, expected: StoredObject | None) -> PutReceipt:
        """As far as it can be told before the request leaves."""
        self._require(key, expected)
        return self.put(key, source)

    def delete_exactly(self, stored: StoredObject) -> None:
        """As far as it can be told before the request leaves."""
        if self.store.get(stored.key) is not None:
            self._require(stored.key, stored)
            self.delete(stored.key)

    def _require(self, key: str, expected: StoredObject | None) -> None:
        network.wire.reach("look", key)
        held = self.store.get(key)
        if (held.version if held else None) != version_of(expected):
            raise ConditionFailed("allí hay otro objeto que el esperado")


class Files(PlainS3):
    """SFTP and `local`: a temporary name, then a rename; no checksum in a listing; a rename may come late."""

    location_field = "base_path"

    def put(self, key: str, source: Source) -> PutReceipt:
        content, receipt = self._read(source)
        temporary = self.store.begin(key, content)
        self._send("put", key, lambda: self.store.finish(temporary, key))
        return receipt

    def checksum(self, content: bytes) -> str | None:
        return None


KINDS = {"s3": ConditionalS3, "minio": PlainS3, "azure": Azure, "gcs": Gcs, "sftp": Files}
"""What takes the place of the real provider of each kind."""


def version_of(stored: StoredObject | None) -> str | None:
    """What tells an object from any other that ever had its key; `None` for no object."""
    return None if stored is None else getattr(stored, "version", None)


def with_version(stored: StoredObject, version: str) -> StoredObject:
    """The same, with its version where the contract has one."""
    if "version" not in StoredObject.__dataclass_fields__:
        return stored
    other: dict[str, Any] = {"version": version}
    return replace(stored, **other)
