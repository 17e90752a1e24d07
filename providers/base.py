"""The contract every destination keeps, the errors it may raise, and the rules for object keys."""

from __future__ import annotations

import abc
import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

from config.errors import MigrationError
from config.logs import one_line
from config.models import EVERYTHING, ContentDigest, Evidence, PutReceipt, Span, StoredObject
from files.descriptors import CHUNK_SIZE_BYTES
from providers.progress import Progress

PART_SIZE_BYTES = 8 * 1024 * 1024
"""Files up to this size go up in one request; larger ones in parts of this size (see `part_size_for`)."""

MAXIMUM_PARTS = 10_000
"""S3's limit of parts in one multipart upload, the lowest of the providers' limits."""

SMALL_TOGETHER_BYTES = 4 * 1024 * 1024
"""Up to this many bytes in all go to `put_many` in one call."""

SPANS_AT_ONCE = 4
"""How many parts of a listing are asked for at the same time; for each a server may then take so many times as long."""

CONNECT_TIMEOUT_SECONDS = 4.0
"""How long a connection may take to open."""

ANSWER_TIMEOUT_SECONDS = 6.0
"""How long a provider may take to begin to answer a request that carries no file: with the connection, a provider
that never answers is given up in under fifteen seconds."""

TRANSFER_TIMEOUT_SECONDS = 120.0
"""How long one request that carries up to a part's bytes may take."""

SLOWEST_HASHING_BYTES_PER_SECOND = 20 * 1024 * 1024
"""A server that computes checksums more slowly than this, when it is asked for them, is not waited for."""


class ProviderError(MigrationError):
    """A provider could not do what was asked."""

    code = "provider_error"
    try_next_provider = True


class ProviderUnavailable(ProviderError):
    """Network failure, 5xx, throttling or a deadline: worth another try here, then on the next provider."""

    code = "unavailable"
    tries = 5
    provider_wide = True


class SlowDown(ProviderUnavailable):
    """The provider asks for fewer requests, or for none at all for a while (HTTP 429, or 503 with its own code)."""

    def __init__(self, message: str, pause_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.pause_seconds = pause_seconds
        """For how long the server asked to be left alone (`Retry-After`); 0 where it did not say."""


class AccessDenied(ProviderError):
    """Credentials missing, wrong, expired or not sufficient; or a host key that is not the expected one."""

    code = "access_denied"
    provider_wide = True


class ConnectionDenied(AccessDenied):
    """A connection was refused by one of its ends, whatever was to be asked through it: a host key or a certificate
    that is not believed, or a login that is not accepted.
    """


class DestinationMissing(ProviderError):
    """The bucket, container or base directory does not exist. It is never created silently."""

    code = "destination_missing"
    provider_wide = True


class InvalidProviderSettings(ProviderError):
    """A field of `credenciales` or `configuracion` is missing or wrong. Names the field, never its value."""

    code = "invalid_settings"
    provider_wide = True


class StorageFull(ProviderError):
    """The destination has no room or no quota left."""

    code = "storage_full"
    provider_wide = True


class IntegrityError(ProviderError):
    """What the provider holds is not what was sent."""

    code = "integrity"
    tries = 2


class ObjectNotFound(ProviderError):
    """There is no object under this key."""

    code = "object_not_found"


class ConditionFailed(ProviderError):
    """What lies under a key is not what was expected there. Nothing was changed.

    After an answer that was lost, it may be the object that this very caller stored: who repeats a request looks.
    """

    code = "condition_failed"


class UnsafeDestination(ProviderError):
    """What lies at the place is not known to be this execution's own: nothing is written there, and a person looks."""

    code = "unsafe_destination"


class InvalidKey(ProviderError):
    """This provider cannot hold an object of this name."""

    code = "invalid_key"


class ObjectTooLarge(ProviderError):
    """This provider holds no object of this size, whatever room it has."""

    code = "object_too_large"


class ObjectProtected(ProviderError):
    """The provider keeps this object as it is: a retention, a legal hold."""

    code = "object_protected"


class ObjectArchived(ProviderError):
    """The object was moved to a storage class that cannot be read at once: it must be asked back first."""

    code = "object_archived"


class CannotDiscard(ProviderError):
    """The provider does not let unfinished uploads be listed or discarded. The message says what is missing.

    Whoever does not depend on their being gone can do without: see `Provider.discard_unfinished`.
    """

    code = "cannot_discard"


class Source(Protocol):
    """Bytes to send: a file opened without following links, or a manifest in memory."""

    @property
    def size_bytes(self) -> int:
        """How many bytes `chunks` yields, neither more nor fewer."""

    def chunks(self, chunk_size_bytes: int) -> Iterator[bytes]:
        """Yield the bytes from the beginning, in pieces of exactly `chunk_size_bytes` but for the last one.

        May be called again, to send again. An empty source yields nothing. Raises `SourceError` as soon as the
        file is seen to differ from what was announced, at the latest after its last byte.
        """


class BytesSource:
    """A `Source` over bytes in memory."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    @property
    def size_bytes(self) -> int:
        return len(self._content)

    def chunks(self, chunk_size_bytes: int) -> Iterator[bytes]:
        for start in range(0, len(self._content), chunk_size_bytes):
            yield self._content[start : start + chunk_size_bytes]


@dataclass(frozen=True, slots=True)
class Right:
    """Something that a run does at a provider: its name, what follows without it (in Spanish), and a way to try it."""

    name: str
    consequence: str
    use: Callable[[], object]


class Provider(abc.ABC):
    """A place where executions are kept.

    Promises of every implementation, held by `tests/providers/test_provider_contract.py`:

    - The constructor checks the settings, imports the vendor's SDK, does no I/O; it raises `InvalidProviderSettings`.
    - Every method may be called from several threads at once, and ends within a deadline.
    - A key is relative, `/` between its parts, and may hold any name that a Linux file can have, as `os.fsdecode`
      gives it. What the store cannot hold literally is written as `encode_name` writes it, and read back so.
    - After an error or a crash no reader can see a half-written object.
    - When `put` has returned, `stat`, `list` and `open` see the object at once.
    - Nothing raises anything but `MigrationError`s; errors of a `Source` come out unchanged.
    - No error message holds a secret.
    - The SDK's own retries are off. A single request, and the first of several, is for the caller to repeat; those
      that follow are repeated by themselves, by `with_retries`, so that what is done already is not done again.
    """

    longest_key_bytes: ClassVar[int] = 1024
    """S3's and GCS's limit, in UTF-8 (Azure's is 1,024 characters)."""

    executions_at_once: ClassVar[int] = 4
    """How many executions had best be on their way here at a time: what one waits for, others can use."""

    listed_at_once: ClassVar[int | None] = None
    """How many objects one request lists, where several parts of a listing can be asked for at the same time."""

    offload_threshold_bytes: ClassVar[int | None] = None
    """From how many bytes on, in the large files of one execution, other processes carry them sooner, though it takes
    half a second to start one: where all bytes pass through the interpreter. `None`: never.
    """

    only_conditions_stop_late_puts: ClassVar[bool] = True
    """Whether a `put` that arrives late lies over what others have stored unless a condition goes with it. Not where an
    object appears by a name that an unfinished file is given: `discard_unfinished` has taken that file away.
    """

    what_is_there_is_durable: ClassVar[bool] = True
    """Whether an object that can be seen survives a power failure, also where the run that stored it was killed."""

    store: str = ""
    """The bucket, container or directory behind it: see `providers.stores`. '' where nobody has said."""

    def __init__(self, provider_id: int, name: str, kind: str) -> None:
        self.id = provider_id
        self.name = name
        self.kind = kind
        self.progress = Progress()
        """What its requests have shown of it. The run sets `interruption` there."""
        self.told: set[str] = set()
        """What has been said of it to operators that is to be said once: see `storage.optional_steps`."""

    @property
    def objects_at_once(self) -> int:
        """How many small objects `put_many` had best be given: more than one where storing them together costs less.

        Raises `ProviderError`, as it may have to be looked at.
        """
        return 1

    def check(self, prefix: str = "") -> None:
        """Write, read, list and delete one small object below `prefix`. Raises `ProviderError` for what fails first.

        The object is removed however this ends.
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
            with contextlib.suppress(ProviderError):  # the first error is the one to tell
                self.delete(key)
            raise
        self.delete(key)

    def further_rights(self, key: str) -> Iterator[Right]:
        """What this kind of provider needs beside writing, reading, listing and deleting, to be tried in this order.

        `key` is that of a probe object; nothing else is touched.
        """
        yield Right(
            "retirar lo que quede sin terminar",
            "lo que deja un intento interrumpido se queda allí",
            lambda: self.discard_unfinished(key),
        )

    @abc.abstractmethod
    def put(self, key: str, source: Source) -> PutReceipt:
        """Store exactly the bytes of `source` under `key`, replacing what was there, never whole in memory if large.

        Raises `ProviderError`, or what `source` raises; then no object is left that was not there before.
        What was begun and may still be there is told by `PutReceipt.left_unfinished`, or by any error.
        """

    def put_many(self, sources: Mapping[str, Source]) -> Iterator[tuple[str, PutReceipt]]:
        """As `put`, for several objects that are small together; yields each key when its object is stored.

        After an error those whose keys were yielded are stored, and of the others any may be, each of them whole.
        """
        for key, source in sources.items():
            yield key, self.put(key, source)

    def put_new_many(self, sources: Mapping[str, Source]) -> Iterator[tuple[str, PutReceipt]]:
        """As `put_many`, for keys under which nothing lay when the caller looked.

        Where the store can, each is stored only if there still is nothing, by the server's own judgement when the
        request arrives; otherwise `ConditionFailed`. Whether this keeps late requests off is what `creates_safely`
        says.
        """
        return self.put_many(sources)

    def request_restore(self, key: str) -> bool:
        """Ask for an archived object to be made readable, for some days; whether it is archived.

        One that was asked for already counts as archived until it can be read. Raises `ProviderError`.
        """
        del key
        raise ProviderError("en este tipo de destino no se archiva nada")

    def measure(self, source: Source) -> PutReceipt:
        """What `put` would give back for `source`, by reading it without sending it. Raises what `source` raises.

        Providers whose listings show a checksum say here which one they would show, so that an object that an
        earlier attempt stored need not be sent again.
        """
        digest = hashlib.sha256()
        for chunk in source.chunks(CHUNK_SIZE_BYTES):
            digest.update(chunk)
        return PutReceipt(source.size_bytes, digest.hexdigest())

    @abc.abstractmethod
    def open(self, key: str) -> Iterator[bytes]:
        """Yield the stored bytes in order. Raises `ObjectNotFound` (at the latest at the first byte)."""

    def open_sized(self, key: str, size_bytes: int) -> Iterator[bytes]:
        """As `open`, for an object that should have so many bytes, which may come by several requests if it is large.

        Whether there are just as many is for the caller to see; where there are too few it may raise `IntegrityError`.
        """
        del size_bytes  # most send an object of any size at once
        return self.open(key)

    def open_from(self, key: str, size_bytes: int, start_bytes: int) -> Iterator[bytes]:
        """As `open_sized`, without so many bytes at the beginning, of which there must be more.

        Whether it is the object whose beginning the caller has is for the caller to see, by a hash of the whole.
        """
        unwanted_bytes = start_bytes
        for chunk in self.open_sized(key, size_bytes):
            if unwanted_bytes < len(chunk):
                yield chunk[unwanted_bytes:]
            unwanted_bytes = max(0, unwanted_bytes - len(chunk))

    @abc.abstractmethod
    def stat(self, key: str) -> StoredObject:
        """Ask anew what is stored under `key`. Raises `ObjectNotFound`."""

    @abc.abstractmethod
    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Ask anew for every object whose key starts with `prefix` (a plain string prefix), however many pages.

        Unfinished uploads and the provider's own temporary names do not appear. The order is not promised.
        """

    def list_patiently(self, prefix: str, size_bytes: int, span: Span = EVERYTHING) -> Iterator[StoredObject]:
        """As `list`, where objects of so many bytes in all may lie: a server that computes their checksums only when it
        is asked for them has the time for it.

        Of a `span` only what lies in it need be there, in the order of the store, which the caller cannot rely on: what
        is found lies there, but what is not found may lie there, too. Only where `listed_at_once` is known.
        """
        del size_bytes, span  # most keep checksums beside the objects, or have none
        return self.list(prefix)

    @abc.abstractmethod
    def delete(self, key: str) -> None:
        """Remove the object, and directories that this left empty. What is not there is no error."""

    def replace(self, key: str, source: Source, expected: StoredObject | None) -> PutReceipt:
        """As `put`, only while exactly `expected` (`None`: nothing) lies under `key`; otherwise `ConditionFailed`.

        Whether others can come in between the look and the storing is what `replaces_safely` says.
        """
        self._require_expected(key, expected)
        return self.put(key, source)

    def delete_exactly(self, stored: StoredObject) -> None:
        """As `delete`, only while it is this very object that lies under its key.

        What is gone already is no error. Raises `ConditionFailed` for another object, which stays.
        """
        if self._look_for(stored) is not None:
            self.delete(stored.key)

    def replaces_safely(self, prefix: str = "") -> bool:
        """Whether a `replace` that arrives late, when others have replaced the object or discarded the unfinished
        upload by `discard_unfinished`, is shown to change nothing.

        May ask the provider, by a probe object below `prefix`, once: the answer is remembered. Raises `ProviderError`.
        """
        del prefix
        return False

    def creates_safely(self, prefix: str = "") -> bool:
        """Whether a `put_new_many` or a `replace` that arrives late, when others have stored an object under the key
        (and before that discarded the unfinished upload by `discard_unfinished`), is shown to change nothing. As
        `replaces_safely` otherwise.
        """
        del prefix
        return False

    def deletes_safely(self, prefix: str = "") -> bool:
        """Whether a `delete_exactly` that arrives late, when others have replaced the object, is shown to change
        nothing. As `replaces_safely` otherwise.
        """
        del prefix
        return False

    def folds_names(self, prefix: str = "") -> bool:
        """Whether two keys that differ only in case, or in how Unicode composes a character, can be one object here.

        May ask the provider, by probe objects below `prefix`, once: the answer is remembered. Raises `ProviderError`.
        """
        del prefix
        return False

    def _look_for(self, stored: StoredObject) -> StoredObject | None:
        """The object as `stat` gives it, `None` where there is nothing. Raises `ConditionFailed` for another one."""
        try:
            found = self.stat(stored.key)
        except ObjectNotFound:
            return None
        require_expected(stored.key, found, stored)
        return found

    def _as_seen(self, expected: StoredObject | None) -> StoredObject | None:
        """What was expected, with its version, for which a listing may have had no room. Raises `ConditionFailed`."""
        if expected is None or expected.version is not None:
            return expected
        found = self._look_for(expected)
        if found is None:
            raise ConditionFailed(f"ya no está el objeto que había: {one_line(expected.key)}")
        return found

    def _require_expected(self, key: str, expected: StoredObject | None) -> None:
        """Look, and raise `ConditionFailed` unless exactly `expected` lies under `key`."""
        try:
            require_expected(key, self.stat(key), expected)
        except ObjectNotFound:
            require_expected(key, None, expected)

    @abc.abstractmethod
    def discard_unfinished(self, prefix: str) -> None:
        """Discard unfinished uploads: of all keys below a directory, where `prefix` ends in `/` (or is empty: of all
        keys), otherwise of exactly the key `prefix`, and of none that only begins so.

        Multipart uploads, uncommitted blocks, partial files: finished objects stay. Must not be called while a `put` of
        such a key runs. Raises `CannotDiscard` where the provider does not allow it.
        """

    def discard_unfinished_but_for(self, prefix: str, is_wanted: Callable[[str], bool]) -> bool:
        """As `discard_unfinished`, but for unfinished uploads of wanted keys that the next `put_new_many` or `replace`
        of the key, by this very provider, goes on with; and say whether there are any.

        What is stored so is told by `PutReceipt.sent_whole`. Whoever has called this discards what is left of them by
        `discard_unfinished` before anything that lies there is believed.
        """
        del is_wanted  # most cannot go on with anything
        self.discard_unfinished(prefix)
        return False

    def digests(self, keys: Iterable[str]) -> Iterator[ContentDigest]:
        """SHA-256 of what is stored under each key, learnt by new requests: read back, unless the provider can be
        asked to compute it. Raises `ObjectNotFound`.
        """
        for key in keys:
            digest = hashlib.sha256()
            with naming_object(key):
                for chunk in self.open(key):
                    digest.update(chunk)
            yield ContentDigest(key, digest.hexdigest(), Evidence.READ_BACK)

    @abc.abstractmethod
    def close(self) -> None:
        """Give connections back. Nothing may be called afterwards."""


def is_refusal(error: ProviderError) -> bool:
    """Whether the provider would not do something, though it could: it would not the next time, either."""
    return isinstance(error, AccessDenied | ObjectProtected) or type(error) is ProviderError


def name_object(error: ProviderError, key: str) -> None:
    """Let the message of a refusal say which object was refused: a provider in which others are stored says no more."""
    told = one_line(key)
    if isinstance(error, ConnectionDenied):  # it is of no object
        return
    if (is_refusal(error) or isinstance(error, StorageFull | ObjectTooLarge)) and told not in str(error):
        error.args = (f"{error}, en {told}",)


@contextlib.contextmanager
def naming_object(key: str) -> Iterator[None]:
    """Within, what is refused is refused of one object: see `name_object`."""
    try:
        yield
    except ProviderError as error:
        name_object(error, key)
        raise


def require_expected(key: str, found: StoredObject | None, expected: StoredObject | None) -> None:
    """Raises `ConditionFailed` unless what was found under a key is what was expected there."""
    if found is None and expected is None:
        return
    if expected is None:
        raise ConditionFailed(f"ya hay un objeto con ese nombre: {one_line(key)}")
    if found is None:
        raise ConditionFailed(f"ya no está el objeto que había: {one_line(key)}")
    if not found.is_same_as(expected):
        raise ConditionFailed(f"el objeto ya no es el que había: {one_line(key)}")


_processes_of_the_run = 1


def split_memory_budget(processes: int) -> None:
    """Let this process, one of so many of one run, use no more than its part of what the run may use."""
    global _processes_of_the_run  # noqa: PLW0603 a property of the process
    _processes_of_the_run = processes


def memory_share(size_bytes: int) -> int:
    """This process's part of the bytes that a run may use for something."""
    return size_bytes // _processes_of_the_run


def is_directory_of_keys(prefix: str) -> bool:
    """Whether `Provider.discard_unfinished` takes this for all keys below it, and not for one key."""
    return not prefix or prefix.endswith("/")


def part_size_for(size_bytes: int) -> int:
    """Size of each part of a multipart upload: `PART_SIZE_BYTES`, or more (whole MiB) where 10,000 would not do."""
    mebibyte = 1024 * 1024
    smallest_mebibytes = -(-size_bytes // (MAXIMUM_PARTS * mebibyte))
    return max(PART_SIZE_BYTES, smallest_mebibytes * mebibyte)


QUOTE = "\u201b"
"""rclone's quote character: introduces an encoded byte, or a character that would be read as encoded."""

BACKSLASH = {"\\": "\uff3c"}
DELETE_CHARACTER = {"\x7f": "\u2421"}
CONTROL_CHARACTERS = {chr(code): chr(0x2400 + code) for code in range(0x20)}
LINE_ENDS = {"\r": "\u240d", "\n": "\u240a"}
FINAL_PERIOD = "\uff0e"


class NameEncoding:
    """Writes the names that a store cannot hold literally, reversibly, as rclone writes them for that kind of store.

    So a copy can be read and compared with its original by a program that is not ours. `replacements` are the
    characters that the store refuses, `final_period` says that it drops one at the end of a name. A byte that is no
    UTF-8 becomes the quote character and two hexadecimal digits. All other names stay as they are.
    Source: rclone's "Overview of cloud storage systems", sections "Restricted filenames" and "Invalid UTF-8 bytes".
    """

    def __init__(self, *replacements: dict[str, str], final_period: bool = False) -> None:
        self._encoded = {plain: text for mapping in replacements for plain, text in mapping.items()}
        self._plain = {text: plain for plain, text in self._encoded.items()}
        self._final_period = final_period
        self._encoded_ascii = frozenset(filter(str.isascii, self._encoded))

    def encode(self, key: str) -> str:
        """The name under which the store holds `key`: valid Unicode, reversible."""
        if key.isascii() and self._encoded_ascii.isdisjoint(key) and not self._final_period:
            return key
        return "/".join(self._encode_part(part) for part in key.split("/"))

    def decode(self, stored_name: str) -> str:
        """The key that `encode` turned into `stored_name`."""
        if stored_name.isascii():  # whatever `encode` puts in place of something else is not
            return stored_name
        return "/".join(self._decode_part(part) for part in stored_name.split("/"))

    def _encode_part(self, part: str) -> str:
        text = "".join(self._encode_character(character) for character in part)
        if self._final_period and part.endswith("."):
            return text[:-1] + FINAL_PERIOD
        if self._final_period and part.endswith(FINAL_PERIOD):
            return text[:-1] + QUOTE + FINAL_PERIOD
        return text

    def _encode_character(self, character: str) -> str:
        if "\udc80" <= character <= "\udcff":  # a byte that is no UTF-8, as PEP 383 carries it
            return f"{QUOTE}{ord(character) - 0xDC00:02X}"
        if character == QUOTE or character in self._plain:
            return QUOTE + character
        return self._encoded.get(character, character)

    def _decode_part(self, part: str) -> str:
        plain = bytearray()
        position = 0
        while position < len(part):
            text, position = self._decode_one(part, position)
            plain += text
        return plain.decode("utf-8", "surrogateescape")

    def _decode_one(self, part: str, position: int) -> tuple[bytes, int]:
        character = part[position]
        if character == QUOTE:
            digits = part[position + 1 : position + 3]
            if len(digits) == 2 and all(digit in "0123456789ABCDEF" for digit in digits):
                return bytes.fromhex(digits), position + 3
            return part[position + 1 : position + 2].encode(), position + 2
        if character == FINAL_PERIOD and self._final_period and position == len(part) - 1:
            return b".", position + 1
        return self._plain.get(character, character).encode(), position + 1
