"""A provider that goes wrong as told, and says afterwards whether it did."""

from __future__ import annotations

import fnmatch
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from config.errors import MigrationError
from config.models import ContentDigest, PutReceipt, StoredObject
from files.descriptors import CHUNK_SIZE_BYTES
from providers.base import Provider
from providers.errors import ObjectNotFound
from providers.sources import BytesSource, Source

EVERY_CALL = range(1, 1_000_000)


@dataclass(frozen=True)
class Call:
    """One call of a method, which a fault may let through or answer itself."""

    provider: Provider
    method: str
    arguments: tuple[Any, ...]

    @property
    def content(self) -> bytes:
        """What a `put` was to store."""
        return b"".join(self.arguments[1].chunks(CHUNK_SIZE_BYTES))

    def proceed(self) -> Any:
        """Do what was asked."""
        if self.method == "put_new":
            key, source = self.arguments
            return dict(self.provider.put_new_many({key: source}))[key]
        return getattr(self.provider, self.method)(*self.arguments)


Effect = Callable[[Call], Any]


@dataclass(frozen=True)
class Fault:
    """What happens to certain calls of a method: those on keys that match the pattern, counted from one."""

    method: str
    effect: Effect
    key: str = "*"
    calls: Sequence[int] = (1,)


PLAIN_METHODS = {"replace": "put", "put_new": "put", "delete_exactly": "delete"}
"""What is done under a condition counts, and goes wrong, like the same without one."""


class FaultyProvider(Provider):
    """Passes everything on to another provider, but for the faults; leaving the context fails for those not met.

    `calls` tells what was asked of it: method and key (or prefix), in order; see `PLAIN_METHODS`.
    """

    def __init__(self, provider: Provider, faults: Iterable[Fault] = ()) -> None:
        super().__init__(provider.id, provider.name, provider.kind)
        self.longest_key_bytes = provider.longest_key_bytes  # type: ignore[misc] # one instance's, as another class's
        self.only_conditions_stop_late_puts = provider.only_conditions_stop_late_puts  # type: ignore[misc]
        self.what_is_there_is_durable = provider.what_is_there_is_durable  # type: ignore[misc]
        self.may_be_unmounted = provider.may_be_unmounted  # type: ignore[misc]
        self.store = provider.store
        self.calls: list[tuple[str, str]] = []
        self.provider = provider
        self._faults = tuple(faults)
        self._seen = [0] * len(self._faults)
        self._hit = [False] * len(self._faults)
        self._turn = threading.Lock()

    def keys(self, method: str) -> list[str]:
        """The last parts of the keys with which a method was called, sorted."""
        return sorted(key.rpartition("/")[2] for name, key in self.calls if name == method)

    def _call(self, method: str, *arguments: Any) -> Any:
        call = Call(self.provider, method, arguments)
        subject = arguments[0].key if isinstance(arguments[0], StoredObject) else str(arguments[0])
        effect = self._effect(PLAIN_METHODS.get(method, method), subject)
        return effect(call) if effect else call.proceed()

    def _effect(self, method: str, key: str) -> Effect | None:
        with self._turn:
            self.calls.append((method, key))
            for number, fault in enumerate(self._faults):
                if fault.method == method and fnmatch.fnmatchcase(key, fault.key):
                    self._seen[number] += 1
                    if self._seen[number] in fault.calls:
                        self._hit[number] = True
                        return fault.effect
        return None

    def put(self, key: str, source: Source) -> PutReceipt:
        receipt: PutReceipt = self._call("put", key, source)
        return receipt

    def put_new_many(self, sources: Mapping[str, Source]) -> Iterator[tuple[str, PutReceipt]]:
        for key, source in sources.items():
            yield key, self._call("put_new", key, source)

    def measure(self, source: Source) -> PutReceipt:
        return self.provider.measure(source)

    def open(self, key: str) -> Iterator[bytes]:
        yield from self._call("open", key)

    def open_from(self, key: str, size_bytes: int, start_bytes: int) -> Iterator[bytes]:
        yield from self._call("open_from", key, size_bytes, start_bytes)

    def stat(self, key: str) -> StoredObject:
        stored: StoredObject = self._call("stat", key)
        return stored

    def list(self, prefix: str) -> Iterator[StoredObject]:
        yield from self._call("list", prefix)

    def top_names(self) -> Sequence[str]:
        return self.provider.top_names()

    def delete(self, key: str) -> None:
        self._call("delete", key)

    def replace(self, key: str, source: Source, expected: StoredObject | None) -> PutReceipt:
        receipt: PutReceipt = self._call("replace", key, source, expected)
        return receipt

    def delete_exactly(self, stored: StoredObject) -> None:
        self._call("delete_exactly", stored)

    def replaces_safely(self, prefix: str = "") -> bool:
        return bool(self._call("replaces_safely", prefix))

    def creates_safely(self, prefix: str = "") -> bool:
        return bool(self._call("creates_safely", prefix))

    def deletes_safely(self, prefix: str = "") -> bool:
        return bool(self._call("deletes_safely", prefix))

    def folds_names(self, prefix: str = "") -> bool:
        return bool(self._call("folds_names", prefix))

    def discard_unfinished(self, prefix: str) -> None:
        self._call("discard_unfinished", prefix)

    def digests(self, keys: Iterable[str]) -> Iterator[ContentDigest]:
        for key in keys:
            yield from self._call("digests", [key])

    def close(self) -> None:
        self.provider.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
        missed = [fault for fault, hit in zip(self._faults, self._hit, strict=True) if not hit]
        assert kind is not None or not missed, f"never happened: {missed}"


def fail(error: MigrationError) -> Effect:
    """Refuse, without doing anything."""

    def effect(_call: Call) -> Any:
        raise error

    return effect


def given_up(error: MigrationError) -> MigrationError:
    """The error of a provider that has repeated the request in vain: its caller does not."""
    error.given_up = True
    return error


def lose_answer(error: MigrationError) -> Effect:
    """Do it, and fail all the same."""

    def effect(call: Call) -> Any:
        call.proceed()
        raise error

    return effect


def after(action: Callable[[], object]) -> Effect:
    """Do it once something else has happened."""

    def effect(call: Call) -> Any:
        action()
        return call.proceed()

    return effect


def store(change: Callable[[bytes], bytes]) -> Effect:
    """Store other bytes than those that were sent, and answer success."""

    def effect(call: Call) -> PutReceipt:
        key, source = call.arguments[:2]
        call.provider.put(key, BytesSource(change(call.content)))
        return call.provider.measure(source)

    return effect


def flip_bit(content: bytes) -> bytes:
    """The same size, one bit different."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0x10]) + content[middle + 1 :]


def truncate(content: bytes) -> bytes:
    """All but the last byte."""
    return content[:-1]


def store_nothing(call: Call) -> PutReceipt:
    """Answer success."""
    return call.provider.measure(call.arguments[1])


def not_found(_call: Call) -> Any:
    """Deny that there is such an object."""
    raise ObjectNotFound("no hay ningún objeto")


def list_as(change: Callable[[StoredObject], StoredObject | None], name: str) -> Effect:
    """List objects of a name otherwise than they are; `None` hides them."""

    def effect(call: Call) -> Iterator[StoredObject]:
        for stored in call.proceed():
            shown = change(stored) if stored.key.endswith(f"/{name}") else stored
            if shown is not None:
                yield shown

    return effect


def hide(name: str) -> Effect:
    """Leave an object out of a listing."""
    return list_as(lambda _stored: None, name)


def lie_about_size(name: str) -> Effect:
    """Say in a listing that an object has a byte more."""
    return list_as(lambda stored: stored._replace(size_bytes=stored.size_bytes + 1), name)


def lie_about_checksum(name: str) -> Effect:
    """Show in a listing the checksum of other bytes."""
    return list_as(lambda stored: stored._replace(checksum="etag:" + "0" * 32), name)
