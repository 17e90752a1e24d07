"""Stores in memory, each with the guarantees of one kind of destination, and the provider that the daemon uses there.

A request that changes something goes through `Wire`, which may carry it out at once, lose it, or keep it for later:
its sender may be dead by then. What a store promises about it (a condition, a rename) is judged when it arrives.
"""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

from config.models import ProviderRow, PutReceipt, StoredObject
from files.descriptors import CHUNK_SIZE_BYTES
from providers.base import Provider, is_directory_of_keys
from providers.errors import ConditionFailed, ObjectNotFound
from providers.sources import Source


@dataclass(frozen=True)
class Held:
    """What a store holds under a key. `version` is another one for every object that was ever stored."""

    key: str
    content: bytes
    version: str


class MemoryStore:
    """One bucket, or one directory of a server. Safe to use from several threads."""

    def __init__(self, name: str, *, folds_case: bool = False) -> None:
        self.name = name
        self.folds_case = folds_case
        self.turn = threading.RLock()
        self._objects: dict[str, Held] = {}
        self._unfinished: dict[str, tuple[str, bytes]] = {}
        self._numbers = itertools.count(1)

    def _name(self, key: str) -> str:
        return key.lower() if self.folds_case else key

    def get(self, key: str) -> Held | None:
        """What is there."""
        with self.turn:
            return self._objects.get(self._name(key))

    def below(self, prefix: str) -> list[Held]:
        """What lies below a prefix; in a store that folds case, below any spelling of it, which shows as asked for."""
        with self.turn:
            found = [held for name, held in sorted(self._objects.items()) if name.startswith(self._name(prefix))]
        return [replace(held, key=prefix + held.key[len(prefix) :]) for held in found]

    def put(self, key: str, content: bytes) -> Held:
        """Store, whatever is there."""
        with self.turn:
            before = self._objects.get(self._name(key))
            held = Held(before.key if before else key, content, f"v{next(self._numbers)}")
            self._objects[self._name(key)] = held
            return held

    def delete(self, key: str) -> None:
        """Remove what is there, if anything is."""
        with self.turn:
            self._objects.pop(self._name(key), None)

    def begin(self, key: str, content: bytes) -> str:
        """Store under a temporary name, which is seen in no listing."""
        with self.turn:
            temporary = f"{key}.part{next(self._numbers)}"
            self._unfinished[temporary] = (key, content)
            return temporary

    def finish(self, temporary: str, key: str) -> Held:
        """Rename to the final name, in the place of what is there. Raises `ObjectNotFound`."""
        with self.turn:
            if temporary not in self._unfinished:
                raise ObjectNotFound("no hay ningún fichero temporal")
            return self.put(key, self._unfinished.pop(temporary)[1])

    def finish_new(self, temporary: str, key: str) -> Held:
        """The same where nothing has that name. Raises `ConditionFailed`, `ObjectNotFound`."""
        with self.turn:
            if self.get(key) is not None:
                raise ConditionFailed("allí hay ya un objeto")
            return self.finish(temporary, key)

    def discard_unfinished(self, prefix: str) -> None:
        """Remove temporary names: of one key, or of all below a prefix that ends in a slash."""
        with self.turn:
            for temporary, (key, _) in list(self._unfinished.items()):
                if key == prefix or (is_directory_of_keys(prefix) and key.startswith(prefix)):
                    del self._unfinished[temporary]

    def unfinished(self) -> list[str]:
        """The temporary names that are left."""
        with self.turn:
            return sorted(self._unfinished)


@dataclass(frozen=True)
class Request:
    """One request that changes a store, with whatever it needs to be carried out at any later time.

    One that names a condition may be on its way for ever, any other for an hour: this is what the program counts on.
    """

    name: str
    carry_out: Callable[[], object]
    has_condition: bool = False


class Wire:
    """Carries what a provider asks. This one does so at once; see `tests.model.runs` for one that does not."""

    def reach(self, step: str, detail: str) -> None:
        """A step that changes nothing comes next."""

    def send(self, request: Request) -> object:
        """Have a request carried out, and give what the store answers."""
        return request.carry_out()


@dataclass
class Network:
    """The stores by the names of their buckets, and the wire that leads to them. Made again for each history."""

    wire: Wire = field(default_factory=Wire)
    stores: dict[str, MemoryStore] = field(default_factory=dict)


network = Network()
"""Where providers that a run builds find their stores: a row of `cloud_providers` can only name them."""


class MemoryProvider(Provider):
    """What all kinds have in common: a store, found by the name that the row gives it, and no conditions."""

    executions_at_once: ClassVar[int] = 1
    """One after the other, so that the same history takes the same way each time."""

    location_field: ClassVar[str] = "bucket"

    def __init__(self, row: ProviderRow) -> None:
        super().__init__(row.id, row.name, row.kind)
        self.bucket = network.stores[str(row.options[self.location_field])]

    def put(self, key: str, source: Source) -> PutReceipt:
        content, receipt = self._read(source)
        self._send("put", key, lambda: self.bucket.put(key, content))
        return receipt

    def delete(self, key: str) -> None:
        self._send("delete", key, lambda: self.bucket.delete(key))

    def measure(self, source: Source) -> PutReceipt:
        return self._read(source)[1]

    def open(self, key: str) -> Iterator[bytes]:
        network.wire.reach("open", key)
        yield self._held(key).content

    def stat(self, key: str) -> StoredObject:
        network.wire.reach("stat", key)
        held = self._held(key)
        return StoredObject(key, len(held.content), self.checksum(held.content), self.version(held))

    def list(self, prefix: str) -> Iterator[StoredObject]:
        network.wire.reach("list", prefix)
        return iter(
            [
                StoredObject(held.key, len(held.content), self.checksum(held.content))
                for held in self.bucket.below(prefix)
            ]
        )

    def folds_names(self, prefix: str = "") -> bool:
        del prefix
        return self.bucket.folds_case

    def discard_unfinished(self, prefix: str) -> None:
        self._send("discard_unfinished", prefix, lambda: self.bucket.discard_unfinished(prefix))

    def close(self) -> None:
        """Nothing: the store outlives the run."""

    def _send(self, step: str, key: str, carry_out: Callable[[], object], *, has_condition: bool = False) -> None:
        name = f"{step} {key} at {self.bucket.name}"
        network.wire.send(Request(name, carry_out, has_condition=has_condition))

    def _held(self, key: str) -> Held:
        held = self.bucket.get(key)
        if held is None:
            raise ObjectNotFound("no hay ningún objeto")
        return held

    def _read(self, source: Source) -> tuple[bytes, PutReceipt]:
        content = b"".join(source.chunks(CHUNK_SIZE_BYTES))
        checksum = self.checksum(content)
        checksums = frozenset() if checksum is None else frozenset((checksum,))
        return content, PutReceipt(len(content), hashlib.sha256(content).hexdigest(), checksums)

    def checksum(self, content: bytes) -> str | None:
        """What a listing shows of an object with these bytes."""
        return f"etag:{hashlib.md5(content, usedforsecurity=False).hexdigest()}"

    def version(self, held: Held) -> str:
        """What a condition names an object by."""
        return held.version


class PlainS3(MemoryProvider):
    """S3 on a server that ignores conditions: a request that arrives late does what it was sent for."""


class Conditional(MemoryProvider):
    """A store that judges conditions when a request arrives."""

    def replace(self, key: str, source: Source, expected: StoredObject | None) -> PutReceipt:
        seen = self._as_seen(expected)
        content, receipt = self._read(source)
        self._send("replace", key, lambda: self._replace(key, content, seen), has_condition=True)
        return receipt

    def put_new_many(self, sources: Mapping[str, Source]) -> Iterator[tuple[str, PutReceipt]]:
        for key, source in sources.items():
            yield key, self._put_new(key, source)

    def _put_new(self, key: str, source: Source) -> PutReceipt:
        content, receipt = self._read(source)
        self._send("put_new", key, lambda: self._replace(key, content, None), has_condition=True)
        return receipt

    def delete_exactly(self, stored: StoredObject) -> None:
        seen = stored if stored.version else self._look_for(stored)
        if seen is not None:
            self._send("delete_exactly", stored.key, lambda: self._delete(seen), has_condition=True)

    def replaces_safely(self, prefix: str = "") -> bool:
        del prefix
        return True

    def creates_safely(self, prefix: str = "") -> bool:
        del prefix
        return True

    def deletes_safely(self, prefix: str = "") -> bool:
        del prefix
        return True

    def _replace(self, key: str, content: bytes, seen: StoredObject | None) -> None:
        with self.bucket.turn:
            self._require(key, seen)
            self.bucket.put(key, content)

    def _delete(self, seen: StoredObject) -> None:
        with self.bucket.turn:
            if self.bucket.get(seen.key) is not None:
                self._require(seen.key, seen)
                self.bucket.delete(seen.key)

    def _require(self, key: str, seen: StoredObject | None) -> None:
        held = self.bucket.get(key)
        if (self.version(held) if held else None) != (seen.version if seen else None):
            raise ConditionFailed("allí hay otro objeto que el esperado")


class ConditionalS3(Conditional):
    """S3 with If-Match and If-None-Match, also for deletions. Equal bytes have equal ETags."""

    def version(self, held: Held) -> str:
        return hashlib.md5(held.content, usedforsecurity=False).hexdigest()


class Azure(Conditional):
    """Azure Blob Storage: an ETag of its own for each write, and an MD5."""

    location_field = "container"

    def checksum(self, content: bytes) -> str | None:
        return f"md5:{hashlib.md5(content, usedforsecurity=False).hexdigest()}"


class Gcs(Conditional):
    """Google Cloud Storage: generations, and a checksum so short that different bytes share it.

    This one is the first byte, where the real one has 32 bits: files of one size that carry their own collide there.
    """

    def checksum(self, content: bytes) -> str | None:
        return f"crc32c:{content[:1].hex()}"


class Files(MemoryProvider):
    """SFTP: a temporary name, then a rename, which may come late, but finds nothing once that name was discarded."""

    location_field = "base_path"
    only_conditions_stop_late_puts = False

    def put(self, key: str, source: Source) -> PutReceipt:
        content, receipt = self._read(source)
        temporary = self.bucket.begin(key, content)
        self._send("put", key, lambda: self.bucket.finish(temporary, key))
        return receipt

    def put_new_many(self, sources: Mapping[str, Source]) -> Iterator[tuple[str, PutReceipt]]:
        for key, source in sources.items():
            yield key, self._put_new(key, source)

    def _put_new(self, key: str, source: Source) -> PutReceipt:
        content, receipt = self._read(source)
        temporary = self.bucket.begin(key, content)
        self._send("put_new", key, lambda: self.bucket.finish_new(temporary, key))
        return receipt

    def replaces_safely(self, prefix: str = "") -> bool:
        del prefix
        return True

    def creates_safely(self, prefix: str = "") -> bool:
        del prefix
        return True

    def checksum(self, content: bytes) -> str | None:
        return None


KINDS = {"s3": ConditionalS3, "minio": PlainS3, "azure": Azure, "gcs": Gcs, "sftp": Files}
"""What takes the place of the real provider of each kind."""
