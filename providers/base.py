"""The contract of every destination, its limits, and the rules for object keys."""

from __future__ import annotations

import abc
import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol

from config.logs import one_line
from config.models import EVERYTHING, ContentDigest, Evidence, PutReceipt, Span, StoredObject
from files.descriptors import CHUNK_SIZE_BYTES
from providers.errors import (
    CannotSign,
    CannotUnarchive,
    ConditionFailed,
    IntegrityError,
    ObjectNotFound,
    ProviderError,
    naming_object,
)
from providers.progress import Progress
from providers.sources import BytesSource, Source

PART_SIZE_BYTES = 8 * 1024 * 1024
"""Files up to this size go up in one request; larger ones in parts of this size (see `part_size_for`)."""

MAXIMUM_PARTS = 10_000
"""S3's limit of parts in one multipart upload, the lowest of the providers' limits."""

SMALL_TOGETHER_BYTES = 4 * 1024 * 1024
"""The most bytes in total that one call of `put_many` gets."""

SPANS_AT_ONCE = 4
"""How many parts of a listing are requested at once; a server may then take this many times as long for each."""

CONNECT_TIMEOUT_SECONDS = 4.0
"""How long a connection may take to open."""

ANSWER_TIMEOUT_SECONDS = 6.0
"""How long a provider may take to begin its answer to a request without a file: including the connection, a provider
that never answers is given up in under fifteen seconds."""

TRANSFER_TIMEOUT_SECONDS = 120.0
"""How long one request that carries up to a part's bytes may take."""

SLOWEST_HASHING_BYTES_PER_SECOND = 20 * 1024 * 1024
"""A server that computes requested checksums more slowly than this is not waited for."""


class RecordedCopy(NamedTuple):
    """Where a copy is that the database says is stored: the key of its manifest, and how those of its files begin."""

    manifest_key: str
    files_prefix: str


class Recorded(Protocol):
    """Asks the database for copies that it says are stored at a provider."""

    def __call__(self, most: int, /) -> Sequence[RecordedCopy]:
        """Up to `most` of the newest. Raises errors of the database."""


class Right(NamedTuple):
    """A right that a run needs at a provider: its name, the effect of lacking it (in Spanish), and a way to try it."""

    name: str
    consequence: str
    use: Callable[[], object]


class Provider(abc.ABC):
    """A place where executions are kept.

    Promises of every implementation, held by `tests/providers/test_provider_contract.py`:

    - The constructor checks the settings, imports the vendor's SDK, does no I/O; it raises `InvalidProviderSettings`.
    - Every method may be called from several threads at once, and ends within a deadline.
    - A key is relative, `/` between its parts, and may hold any name that a Linux file can have, as `os.fsdecode`
      returns it. Names that the store cannot hold literally are stored encoded, and decoded again: see
      `providers.names`.
    - After an error or a crash no reader can see a half-written object.
    - Once `put` has returned, `stat`, `list` and `open` see the object at once.
    - Only `MigrationError`s are raised; errors of a `Source` pass unchanged.
    - No error message holds a secret.
    - The SDK's own retries are off. The caller repeats a single request, or the first of several; `with_retries`
      repeats each later one by itself, so that completed work is not repeated.
    """

    longest_key_bytes: ClassVar[int] = 1024
    """S3's and GCS's limit, in UTF-8 (Azure's is 1,024 characters)."""

    executions_at_once: ClassVar[int] = 4
    """The best number of executions to send at a time: one can use the time that another spends waiting."""

    listed_at_once: ClassVar[int | None] = None
    """How many objects one request lists, if several parts of a listing can be requested at once."""

    offload_threshold_bytes: ClassVar[int | None] = None
    """From this many bytes in the large files of one execution, other processes are faster although starting one takes
    half a second, because all bytes pass through the interpreter. `None`: never.
    """

    only_conditions_stop_late_puts: ClassVar[bool] = True
    """Whether an unconditional `put` that arrives late overwrites what others have stored. False if objects appear by
    renaming an unfinished file: `discard_unfinished` has removed that file.
    """

    what_is_there_is_durable: ClassVar[bool] = True
    """Whether a visible object survives a power failure, even if the run that stored it was killed."""

    may_be_unmounted: ClassVar[bool] = False
    """Whether it keeps objects in a directory, which is there, and empty, while its disk is not mounted: see
    `providers.mounts`.
    """

    longest_signature_seconds: ClassVar[int] = 0
    """How long an address of `signed_url` may be valid; 0 for a kind that has none."""

    store: str = ""
    """The bucket, container or directory behind it: see `providers.stores`. '' if unknown."""

    def __init__(self, provider_id: int, name: str, kind: str) -> None:
        self.id = provider_id
        self.name = name
        self.kind = kind
        self.progress = Progress()
        """What its requests have shown of it. The run sets `interruption` there."""
        self.unfinished_directory: Path | None = None
        """Where it may note, on this host, the unfinished uploads that the provider itself does not list."""
        self.told: set[str] = set()
        """Messages about it that operators see only once: see `storage.optional_steps`."""
        self.recorded: Recorded | None = None
        """The copies that the database says are stored in it; `None`: nobody asks. See `providers.mounts`."""

    @property
    def objects_at_once(self) -> int:
        """The best number of small objects for one `put_many`: more than one if storing them together costs less.

        May contact the provider; raises `ProviderError`.
        """
        return 1

    def check(self, prefix: str = "") -> None:
        """Write, read, list and delete one small object below `prefix`. Raises `ProviderError` for the first failure.

        Removes the object in every case.
        """
        key = f"{prefix}/.janitor-check-{os.urandom(8).hex()}".lstrip("/")
        content = b"janitor-daemon"
        self.put(key, BytesSource(content))
        try:
            if b"".join(self.open(key)) != content:
                raise IntegrityError("el objeto de prueba se leyó distinto de como se escribió")
            if not any(stored.key == key for stored in self.list(key)):
                raise IntegrityError("el objeto de prueba no aparece al listar")
        except BaseException:
            with contextlib.suppress(ProviderError):  # report the first error
                self.delete(key)
            raise
        self.delete(key)

    def free_bytes(self) -> int | None:
        """How many bytes still fit, at one cheap request at most; `None` where the store does not say.

        Raises `ProviderError`.
        """
        return None

    def further_rights(self, key: str) -> Iterator[Right]:
        """Rights that this kind needs besides writing, reading, listing and deleting, in the order to try them.

        `key` names a probe object; nothing else is touched.
        """
        yield Right(
            "retirar lo que quede sin terminar",
            "lo que deja un intento interrumpido se queda allí",
            lambda: self.discard_unfinished(key),
        )

    @abc.abstractmethod
    def put(self, key: str, source: Source) -> PutReceipt:
        """Store exactly the bytes of `source` under `key`, replacing any object. Never holds a large source in memory.

        Raises `ProviderError`, or whatever `source` raises; then it leaves no new object.
        `PutReceipt.left_unfinished`, or any error, means that an unfinished upload may remain.
        """

    def put_many(self, sources: Mapping[str, Source]) -> Iterator[tuple[str, PutReceipt]]:
        """As `put`, for several objects of small total size; yields each key when its object is stored.

        After an error, the objects of yielded keys are stored; any of the others may be, and then completely.
        """
        for key, source in sources.items():
            yield key, self.put(key, source)

    def put_new_many(self, sources: Mapping[str, Source]) -> Iterator[tuple[str, PutReceipt]]:
        """As `put_many`, for keys that held no object when the caller looked.

        If the store supports it, the server stores each only if its key still holds nothing when the request arrives;
        otherwise raises `ConditionFailed`. `creates_safely` says whether this stops late requests.
        """
        return self.put_many(sources)

    def request_restore(self, key: str) -> bool:
        """Request that an archived object becomes readable for some days; return whether it is archived.

        An object already requested counts as archived until it can be read. Raises `ProviderError`, and
        `CannotUnarchive` where nothing is ever archived.
        """
        del key
        raise CannotUnarchive("en este tipo de destino no se archiva nada")

    def signed_url(self, key: str, seconds: int) -> str:
        """An address at which the object under `key` can be read for some seconds, without credentials. It is a secret:
        do not log it. The provider is not asked whether there is such an object.

        Raises `CannotSign` if this kind has no such addresses, for a time that it does not allow, or for credentials
        that cannot sign; and `ProviderError`.
        """
        if not self.longest_signature_seconds:
            raise CannotSign("en este tipo de destino nada se firma; use restore --include")
        if not 1 <= seconds <= self.longest_signature_seconds:
            raise CannotSign(
                f"valen como mucho {self.longest_signature_seconds // 86400} días; indique menos en --expires"
            )
        return self._signed_url(key, seconds)

    def _signed_url(self, key: str, seconds: int) -> str:
        """As `signed_url`, for a time that is allowed."""
        raise NotImplementedError

    def measure(self, source: Source) -> PutReceipt:
        """The receipt that `put` would return for `source`, computed without sending it. Raises what `source` raises.

        It holds the checksum that the provider's listings would show, if any, so that an object stored by an
        earlier attempt need not be sent again.
        """
        digest = hashlib.sha256()
        for chunk in source.chunks(CHUNK_SIZE_BYTES):
            digest.update(chunk)
        return PutReceipt(source.size_bytes, digest.hexdigest())

    @abc.abstractmethod
    def open(self, key: str) -> Iterator[bytes]:
        """Yield the stored bytes in order. Raises `ObjectNotFound` (at the latest at the first byte)."""

    def open_sized(self, key: str, size_bytes: int) -> Iterator[bytes]:
        """As `open`, for an object expected to have `size_bytes`; a large one may take several requests.

        The caller checks the number of bytes; if there are too few, this may raise `IntegrityError`.
        """
        del size_bytes  # most send an object of any size at once
        return self.open(key)

    def open_from(self, key: str, size_bytes: int, start_bytes: int) -> Iterator[bytes]:
        """As `open_sized`, but skips the first `start_bytes`, which must be fewer than `size_bytes`.

        The caller checks by a hash of the whole that it is the object whose beginning it has.
        """
        unwanted_bytes = start_bytes
        for chunk in self.open_sized(key, size_bytes):
            if unwanted_bytes < len(chunk):
                yield chunk[unwanted_bytes:]
            unwanted_bytes = max(0, unwanted_bytes - len(chunk))

    @abc.abstractmethod
    def stat(self, key: str) -> StoredObject:
        """Look up the object under `key` by a new request. Raises `ObjectNotFound`."""

    @abc.abstractmethod
    def list(self, prefix: str) -> Iterator[StoredObject]:
        """List by new requests every object whose key starts with `prefix` (a plain string prefix), on all pages.

        Unfinished uploads and the provider's own temporary names do not appear. The order is not promised.
        """

    def top_names(self) -> Sequence[str]:
        """The names in the directory that holds all objects, if `may_be_unmounted`. Raises `ProviderError`."""
        return ()

    def list_patiently(self, prefix: str, size_bytes: int, span: Span = EVERYTHING) -> Iterator[StoredObject]:
        """As `list`, for objects of `size_bytes` in total: gives a server that computes checksums only on request the
        time for it.

        A `span` limits the listing to a range in the store's own order, which the caller cannot rely on: every listed
        object exists, but unlisted ones may exist in the range too. Only if `listed_at_once` is known.
        """
        del size_bytes, span  # most store checksums with the objects, or have none
        return self.list(prefix)

    @abc.abstractmethod
    def delete(self, key: str) -> None:
        """Remove the object, and directories that this leaves empty. A missing object is not an error."""

    def replace(self, key: str, source: Source, expected: StoredObject | None) -> PutReceipt:
        """As `put`, only if `key` holds exactly `expected` (`None`: nothing); otherwise raises `ConditionFailed`.

        `replaces_safely` says whether others can interfere between the check and the write.
        """
        self._require_expected(key, expected)
        return self.put(key, source)

    def delete_exactly(self, stored: StoredObject) -> None:
        """As `delete`, only if this very object is under its key.

        A missing object is not an error. Raises `ConditionFailed` for a different object, which stays.
        """
        if self._look_for(stored) is not None:
            self.delete(stored.key)

    def replaces_safely(self, prefix: str = "") -> bool:
        """Whether it is proven that a late `replace` changes nothing once others have replaced the object or discarded
        the unfinished upload by `discard_unfinished`.

        May probe the provider once with an object below `prefix`, and remembers the answer. Raises `ProviderError`.
        """
        del prefix
        return False

    def creates_safely(self, prefix: str = "") -> bool:
        """Whether it is proven that a late `put_new_many` or `replace` changes nothing once others have discarded the
        unfinished upload by `discard_unfinished` and stored an object under the key. Otherwise as `replaces_safely`.
        """
        del prefix
        return False

    def deletes_safely(self, prefix: str = "") -> bool:
        """Whether it is proven that a late `delete_exactly` changes nothing once others have replaced the object.
        Otherwise as `replaces_safely`.
        """
        del prefix
        return False

    def folds_names(self, prefix: str = "") -> bool:
        """Whether two keys that differ only in case, or in how Unicode composes a character, can be one object here.

        May probe the provider once with objects below `prefix`, and remembers the answer. Raises `ProviderError`.
        """
        del prefix
        return False

    def _look_for(self, stored: StoredObject) -> StoredObject | None:
        """The object as `stat` returns it, `None` if there is none. Raises `ConditionFailed` for a different one."""
        try:
            found = self.stat(stored.key)
        except ObjectNotFound:
            return None
        require_expected(stored.key, found, stored)
        return found

    def _as_seen(self, expected: StoredObject | None) -> StoredObject | None:
        """The expected object with its version, which a listing may lack. Raises `ConditionFailed`."""
        if expected is None or expected.version is not None:
            return expected
        found = self._look_for(expected)
        if found is None:
            raise ConditionFailed(f"ya no está el objeto que había: {one_line(expected.key)}")
        return found

    def _require_expected(self, key: str, expected: StoredObject | None) -> None:
        """Look up `key`, and raise `ConditionFailed` unless it holds exactly `expected`."""
        try:
            require_expected(key, self.stat(key), expected)
        except ObjectNotFound:
            require_expected(key, None, expected)

    @abc.abstractmethod
    def discard_unfinished(self, prefix: str) -> None:
        """Discard unfinished uploads: of all keys below a directory if `prefix` ends in `/` (of all keys if it is
        empty), otherwise of exactly the key `prefix`, not of longer keys.

        Covers multipart uploads, uncommitted blocks and partial files; finished objects stay. Must not be called during
        a `put` of such a key. Raises `CannotDiscard` if the provider does not allow it.
        """

    def discard_unfinished_but_for(self, prefix: str, is_wanted: Callable[[str], bool]) -> bool:
        """As `discard_unfinished`, but keeps unfinished uploads of wanted keys, which the next `put_new_many` or
        `replace` of the key by this provider object continues, and perhaps of others. Returns whether it kept any.

        `PutReceipt.sent_whole` marks objects stored that way. The caller discards the remaining ones by
        `discard_unfinished` before it trusts any object there.
        """
        del is_wanted  # most cannot continue any upload
        self.discard_unfinished(prefix)
        return False

    def hand_over_unfinished(self, keys: Iterable[str]) -> Sequence[object]:
        """What `discard_unfinished_but_for` kept of some keys, for `continue_with` of another process that stores them.
        This provider object does not continue it any more.
        """
        del keys  # most continue uploads in any process, or none
        return ()

    def continue_with(self, kept: Sequence[object]) -> None:
        """Continue with what another process of this run kept; see `hand_over_unfinished`."""
        del kept

    def digests(self, keys: Iterable[str]) -> Iterator[ContentDigest]:
        """SHA-256 of the object under each key, by new requests: read back, unless the provider can compute it.
        Raises `ObjectNotFound`.
        """
        for key in keys:
            digest = hashlib.sha256()
            with naming_object(key):
                for chunk in self.open(key):
                    digest.update(chunk)
            yield ContentDigest(key, digest.hexdigest(), Evidence.READ_BACK)

    @abc.abstractmethod
    def close(self) -> None:
        """Close connections. Nothing may be called afterwards."""


def require_expected(key: str, found: StoredObject | None, expected: StoredObject | None) -> None:
    """Raises `ConditionFailed` unless the object found under a key is the expected one."""
    if found is None and expected is None:
        return
    if expected is None:
        raise ConditionFailed(f"ya hay un objeto con ese nombre: {one_line(key)}")
    if found is None:
        raise ConditionFailed(f"ya no está el objeto que había: {one_line(key)}")
    if not found.is_same_as(expected):
        raise ConditionFailed(f"el objeto ya no es el que había: {one_line(key)}")


def is_directory_of_keys(prefix: str) -> bool:
    """Whether `Provider.discard_unfinished` takes this as all keys below it rather than as one key."""
    return not prefix or prefix.endswith("/")


def part_size_for(size_bytes: int) -> int:
    """Size of each part of a multipart upload: `PART_SIZE_BYTES`, or more (whole MiB) if 10,000 are too few."""
    mebibyte = 1024 * 1024
    smallest_mebibytes = -(-size_bytes // (MAXIMUM_PARTS * mebibyte))
    return max(PART_SIZE_BYTES, smallest_mebibytes * mebibyte)
