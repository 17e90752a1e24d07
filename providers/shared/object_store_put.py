"""Fast uploads through obstore: many small files, or parts of large ones, at a tenth of the vendor SDKs' CPU time.

obstore (Rust's `object_store`) only carries the bytes of S3, MinIO and Azure; their own SDKs do everything else.
"""

from __future__ import annotations

import enum
import hashlib
import re
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

from files.descriptors import CHUNK_SIZE_BYTES
from providers.base import (
    CONNECT_TIMEOUT_SECONDS,
    PART_SIZE_BYTES,
    AccessDenied,
    ConditionFailed,
    DestinationMissing,
    IntegrityError,
    InvalidKey,
    ObjectArchived,
    ObjectNotFound,
    ObjectProtected,
    ObjectTooLarge,
    ProviderError,
    ProviderUnavailable,
    SlowDown,
    Source,
    StorageFull,
    memory_share,
    part_size_for,
)
from providers.exact_reading import exact_chunks, run_to_end
from providers.shared.answers import (
    ARCHIVED,
    ARCHIVED_CODES,
    CLOCK_IS_OFF,
    QUICK_SIZE_BYTES,
    clock_is_off,
    deadline_seconds,
    sent_elsewhere,
    unintelligible,
)
from providers.shared.direct_http import LARGEST_BODY_BYTES, LONGEST_IDLE_SECONDS, Answer
from providers.shared.network import NOBODY, Network, any_certificate
from providers.shared.network_errors import PROXY_REFUSES_US, network_error_told_by_rust
from providers.shared.part_buffers import PartBuffers, anonymous_map, fill
from providers.shared.throttling import asks_to_slow_down, pause_seconds

if TYPE_CHECKING:
    from obstore import Attributes
    from obstore.store import ClientConfig, ObjectStore, RetryConfig
    from typing_extensions import Buffer

PARTS_IN_FLIGHT = 4
"""Parts of one large file that travel at once, where they are of the ordinary size."""

MEMORY_BUDGET_BYTES = 96 * 1024 * 1024
"""Bytes of all uploads of one provider that may be in memory at once; further uploads wait."""

PROTECTED_CODES = frozenset(
    {"BlobImmutableDueToPolicy", "BlobImmutableDueToLegalHold", "LeaseIdMissing", "SnapshotsPresent"}
)
"""Codes for what another program, or a rule of the account, keeps from being changed or removed."""

PROTECTED = "una retención, un bloqueo legal, una concesión (lease) o una instantánea protege el objeto"

FULL_CODES = frozenset({"QuotaExceeded", "InsufficientStorage", "XMinioStorageFull"})
"""Error codes of a store without room. `XMinioStorageFull` is MinIO's, `QuotaExceeded` that of several gateways."""

TOO_LARGE_CODES = frozenset({"EntityTooLarge", "RequestBodyTooLarge"})
"""Codes for objects too large for the store or a proxy before it; they also come with status 400."""

DENIED_CODES = frozenset({"ExpiredToken", "InvalidToken", "InvalidAccessKeyId", "AuthorizationHeaderMalformed"})
"""Codes about credentials that S3 sends with status 400."""

DAMAGED_CODES = frozenset({"BadDigest", "IncompleteBody", "XAmzContentSHA256Mismatch", "Md5Mismatch", "Crc64Mismatch"})
"""Codes of S3 and Azure for bytes that differ from the announced ones."""

ABSENT_CODES = frozenset({"NoSuchKey", "BlobNotFound"})
"""Codes of a 404 that means the object; any other one means the bucket or container."""

ERROR_CODE = r"<Code>\s*([A-Za-z]{1,40}(?:\d{1,3}[A-Za-z]{0,40})?)\s*</Code>"

EXISTING_CODES = frozenset({"BlobAlreadyExists", "ResourceAlreadyExists"})
"""Azure's codes, with status 409, for an existing object where none is expected."""

TRANSIENT_CODES = frozenset({"RequestTimeout", "NoSuchUpload", "OperationAborted", "ConditionalRequestConflict"})
"""Codes that S3 sends with a 4xx status although restarting the same upload may succeed."""

Hash = TypeVar("Hash")

TOO_MANY_REQUESTS = "el proveedor pide menos peticiones"

BuildStore = Callable[["ClientConfig", "RetryConfig"], "ObjectStore"]
"""Makes the vendor's obstore store from the client and retry options given. No I/O."""

Mode = Literal["create", "overwrite"]
"""Whether an object is stored only where there is none yet, or whatever there is. The words are obstore's."""

SendSmall = Callable[[str, Any, "SentBytes", Mode], None]
"""Stores content, a buffer, under a name, its hashes known. Raises `ProviderError`."""


SendHashedPart = Callable[[int, "Buffer", "str | None"], None]
"""Sends one part, given its number, from 0 on, and its MD5 in hexadecimal digits, where that is computed. The buffer
is the sender's own until it returns.
"""


SendPartByPrefix = Callable[[int, "Buffer", bytes], None]
"""As `SendHashedPart`, but with the SHA-256 of all bytes up to the part's end: a name that no other part has."""


class Md5Of(enum.Enum):
    """Which bytes of an object in parts are hashed by MD5, because the server may show that hash."""

    WHOLE = enum.auto()
    EACH_PART = enum.auto()


@dataclass(frozen=True, slots=True)
class SentBytes:
    """What one upload really sent. The digests are lower-case hex.

    Of what went in parts there are those that were asked for: `md5`, `part_md5s`.
    """

    size_bytes: int
    sha256: str
    md5: str | None
    part_md5s: tuple[str, ...] = ()


class ObjectStorePut:
    """Uploads to one bucket or container, from any number of threads, within this process's share of
    `MEMORY_BUDGET_BYTES`.

    A client for each class of sizes, because obstore knows only one deadline for a whole request: a provider that
    never answers is given up in seconds on a small file, while a part of a large one has time to travel.
    """

    def __init__(
        self,
        build_store: BuildStore,
        endpoint_url: str | None = None,
        md5s_of_large: Collection[Md5Of] = tuple(Md5Of),
        send_small: SendSmall | None = None,
        largest_small_bytes: int = LARGEST_BODY_BYTES,
    ) -> None:
        """`send_small` carries files of up to `largest_small_bytes` past obstore, where the provider knows a way that
        costs less.
        """
        self.md5s_of_large = md5s_of_large
        """What uploads in parts are hashed for, from now on: MD5 takes longer than anything else here."""

        self._build_store = build_store
        self._endpoint_url = endpoint_url
        self._send_small = send_small
        self._largest_small_bytes = largest_small_bytes
        self._stores: dict[int, ObjectStore] = {}
        self._first_use = threading.Lock()
        self._memory_bytes = memory_share(MEMORY_BUDGET_BYTES)
        self._memory = _MemoryBudget(self._memory_bytes)
        self._ordinary_buffers = PartBuffers(PART_SIZE_BYTES)
        self._store_for(0)  # finds out at once whether there are credentials

    def put(self, name: str, source: Source, attributes: Attributes | None = None) -> SentBytes:
        """Store exactly the bytes of `source` under `name`: in one request up to `PART_SIZE_BYTES`, else in parts.

        `name` is valid Unicode without ASCII control characters: obstore refuses them (`InvalidKey`).
        Raises `ProviderError`, or unchanged what `source` raises; unfinished parts are then discarded.
        """
        if source.size_bytes <= PART_SIZE_BYTES:
            return self.put_small(name, source, attributes)
        return self.put_large(name, source, attributes)

    def put_small(
        self, name: str, source: Source, attributes: Attributes | None = None, mode: Mode = "overwrite"
    ) -> SentBytes:
        """Like `put`, in one request, with the source whole in memory."""
        reader = HashingReader(source)
        with self._memory.reserved(source.size_bytes), _uploading(reader):
            content = reader.whole()
            sent = reader.sent()
            if self._send_small and source.size_bytes <= self._largest_small_bytes:
                self._send_small(name, content, sent, mode)
            else:
                store = self._store_for(source.size_bytes)
                obstore.put(store, name, content, attributes=attributes, mode=mode, use_multipart=False)
        return sent

    def put_large(self, name: str, source: Source, attributes: Attributes | None = None) -> SentBytes:
        """Like `put`, in parts of `part_size_for` the source's size, a few at a time in memory."""
        part_size = part_size_for(source.size_bytes)
        with self._room_for_parts(part_size) as (buffers, parts_in_flight):
            reader = HashingReader(source, self.md5s_of_large)
            with _uploading(reader):
                obstore.put(
                    self._store_for(part_size),
                    name,
                    reader.parts(buffers),
                    attributes=attributes,
                    use_multipart=True,
                    chunk_size=part_size,
                    max_concurrency=parts_in_flight,
                )
        return reader.sent()

    def send_hashed_parts(
        self, source: Source, send: SendHashedPart, md5s_besides: Collection[Md5Of] = ()
    ) -> SentBytes:
        """Have the parts of a source sent by other means, as many at a time as `put_large` sends.

        `md5s_besides` are computed for this source besides those of every large one. Raises what `source` or `send`
        raises, when none is on its way any more.
        """
        reader = HashingReader(source, {*self.md5s_of_large, *md5s_besides})
        return self._send_each_part(source, reader, send, lambda: reader.latest_part_md5)

    def send_parts_by_prefix(self, source: Source, send: SendPartByPrefix) -> SentBytes:
        """As `send_hashed_parts`, each part with the SHA-256 of all bytes up to its end."""
        reader = HashingReader(source, self.md5s_of_large)
        return self._send_each_part(source, reader, send, reader.sha256_so_far)

    def _send_each_part(
        self,
        source: Source,
        reader: HashingReader,
        send: Callable[[int, Buffer, Hash], None],
        hashed: Callable[[], Hash],
    ) -> SentBytes:
        """`hashed` gives what is known of the part that was read last. A single part needs no thread of its own."""
        if 0 < source.size_bytes <= PART_SIZE_BYTES:
            with self._memory.reserved(source.size_bytes):
                send(0, reader.single_part(), hashed())
            return reader.sent()
        with (
            self._room_for_parts(part_size_for(source.size_bytes)) as (buffers, parts_in_flight),
            ThreadPoolExecutor(parts_in_flight) as threads,
        ):
            on_their_way: deque[Future[None]] = deque()
            for number, part in enumerate(reader.parts(buffers)):
                if len(on_their_way) == parts_in_flight:
                    on_their_way.popleft().result()
                on_their_way.append(threads.submit(send, number, part, hashed()))
                del part
            for sent in on_their_way:
                sent.result()
        return reader.sent()

    @contextmanager
    def _room_for_parts(self, part_size: int) -> Iterator[tuple[PartBuffers, int]]:
        """Buffers for parts of this size, and how many may be on their way at once."""
        parts_in_flight = max(1, min(PARTS_IN_FLIGHT, self._memory_bytes // part_size - 1))
        parts_in_memory = parts_in_flight + 1
        buffers = self._ordinary_buffers if part_size == PART_SIZE_BYTES else PartBuffers(part_size)
        with self._memory.reserved(parts_in_memory * part_size), buffers.kept(parts_in_memory):
            yield buffers, parts_in_flight

    def _store_for(self, body_bytes: int) -> ObjectStore:
        """The client whose deadline suits requests with `body_bytes`."""
        class_bytes = QUICK_SIZE_BYTES  # and each class is twice as large as the one before
        while class_bytes < body_bytes:
            class_bytes *= 2
        with self._first_use:
            if class_bytes not in self._stores:
                options = client_options(self._endpoint_url, deadline_seconds(class_bytes))
                self._stores[class_bytes] = self._build_store(options, {"max_retries": 0})
            return self._stores[class_bytes]


class HashingReader:
    """Passes a source's bytes to an upload and hashes the same bytes; raises if there are too few or too many.

    The end is checked before the upload hears of it, so a wrong length aborts it instead of completing it.
    """

    def __init__(self, source: Source, md5s: Collection[Md5Of] = (Md5Of.WHOLE,)) -> None:
        self._source = source
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False) if Md5Of.WHOLE in md5s else None
        self._hashes_parts = Md5Of.EACH_PART in md5s
        self._part_md5s: list[str] = []
        self._size_bytes = 0
        self.failure: Exception | None = None
        """The exception from reading the source, if any."""

    @property
    def latest_part_md5(self) -> str | None:
        """The MD5 of the part yielded last, if requested."""
        return self._part_md5s[-1] if self._part_md5s else None

    def whole(self) -> Buffer:
        """All bytes at once."""
        pieces = self.pieces()
        if self._source.size_bytes <= CHUNK_SIZE_BYTES:
            return b"".join(pieces)
        content = anonymous_map(self._source.size_bytes)
        fill(content, self._source.size_bytes, pieces)
        run_to_end(pieces)
        return content

    def parts(self, buffers: PartBuffers) -> Iterator[Buffer]:
        """The bytes in parts of exactly the size of `buffers` (whole MiB) but for the last one.

        Each part stays as it is for as long as it is held; after that its memory is used for another one.
        """
        pieces = self.pieces()
        for start in range(0, self._source.size_bytes, buffers.size_bytes):
            part = buffers.filled(min(buffers.size_bytes, self._source.size_bytes - start), pieces)
            if self._hashes_parts:
                self._part_md5s.append(hashlib.md5(part, usedforsecurity=False).hexdigest())
            yield part
            del part
        run_to_end(pieces)

    def single_part(self) -> Buffer:
        """All bytes at once, as the only part."""
        part = self.whole()
        if self._hashes_parts:
            self._part_md5s.append(hashlib.md5(part, usedforsecurity=False).hexdigest())
        return part

    def pieces(self) -> Iterator[bytes]:
        """The bytes in pieces of `CHUNK_SIZE_BYTES`."""
        try:
            for piece in exact_chunks(self._source, CHUNK_SIZE_BYTES):
                self._size_bytes += len(piece)
                self._sha256.update(piece)
                if self._md5:
                    self._md5.update(piece)
                yield piece
        except Exception as error:
            self.failure = error
            raise

    def sha256_so_far(self) -> bytes:
        """SHA-256 of the bytes passed on so far."""
        return self._sha256.copy().digest()

    def sent(self) -> SentBytes:
        """The hashes and size, once all bytes were passed on."""
        md5 = self._md5.hexdigest() if self._md5 else None
        return SentBytes(self._size_bytes, self._sha256.hexdigest(), md5, tuple(self._part_md5s))


@contextmanager
def _uploading(reader: HashingReader) -> Iterator[None]:
    """Turn obstore's exceptions into `ProviderError`s; the source's exceptions pass unchanged.

    A source's exception is the cause of every later one: when the source fails while parts are on their way, obstore
    aborts the upload, and a part or the abort may fail and be told of instead.

    The abort may also be told of in place of what led to it, a lost answer for instance: what is then said not to
    exist is the upload that was to be aborted, and no object.
    """
    try:
        with translated_errors():
            yield
    except ObjectNotFound:
        if reader.failure is None:
            raise ProviderUnavailable("la subida por partes se interrumpió en el servidor") from None
        raise reader.failure from None
    except Exception:
        if reader.failure is not None:
            raise reader.failure from None
        raise


def hash_source(source: Source, md5s_of_large: Collection[Md5Of] = tuple(Md5Of)) -> SentBytes:
    """The result that `ObjectStorePut.put` would return for `source`, computed without sending it."""
    if source.size_bytes <= PART_SIZE_BYTES:
        reader = HashingReader(source)
        run_to_end(reader.pieces())
    else:
        reader = HashingReader(source, md5s_of_large)
        run_to_end(reader.parts(PartBuffers(part_size_for(source.size_bytes))))
    return reader.sent()


def multipart_md5(part_md5s: Sequence[str]) -> str:
    """The MD5 over the parts' MD5s and their number, which S3 and its kin show as the ETag of an object in parts."""
    digests = b"".join(bytes.fromhex(md5) for md5 in part_md5s)
    return f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(part_md5s)}"


class _MemoryBudget:
    """A semaphore that counts bytes. More than the whole budget counts as the whole budget."""

    def __init__(self, total_bytes: int) -> None:
        self._total_bytes = total_bytes
        self._free_bytes = total_bytes
        self._freed = threading.Condition()
        self._turn = threading.Lock()

    @contextmanager
    def reserved(self, wanted_bytes: int) -> Iterator[None]:
        """Wait until so much is free, and hold it. Only one waits inside, so small requests overtake no large one."""
        size_bytes = min(wanted_bytes, self._total_bytes)
        with self._turn, self._freed:
            self._freed.wait_for(lambda: self._free_bytes >= size_bytes)
            self._free_bytes -= size_bytes
        try:
            yield
        finally:
            with self._freed:
                self._free_bytes += size_bytes
                self._freed.notify()


def client_options(endpoint_url: str | None, timeout_seconds: float) -> ClientConfig:
    """obstore's client options: deadlines for connecting and for a whole request; http only where the endpoint is."""
    return {
        "allow_http": endpoint_url is not None and endpoint_url.lower().startswith("http://"),
        "connect_timeout": timedelta(seconds=CONNECT_TIMEOUT_SECONDS),
        "timeout": timedelta(seconds=timeout_seconds),
        "pool_idle_timeout": timedelta(seconds=LONGEST_IDLE_SECONDS),
    }


def network_options(network: Network) -> ClientConfig:
    """obstore's client options about certificates and proxies, all of them: it would look for others elsewhere."""
    needs_trust = network.is_secure or (network.proxy is not None and network.proxy.is_secure)
    # Where the system has no certificates, obstore does not begin without one, even for a server without TLS.
    certificates = network.trust.pem if needs_trust else any_certificate()
    options: ClientConfig = {"allow_invalid_certificates": False, "root_certificate": certificates}
    if network.proxy is None:
        options |= {"proxy_url": NOBODY, "proxy_excludes": network.host}
    else:
        options |= {"proxy_url": network.proxy.url, "proxy_excludes": ""}
    return options


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turn obstore's exceptions into `ProviderError`s; all others pass unchanged."""
    try:
        yield
    except (BaseError, FileNotFoundError, ValueError) as error:
        # Not chained: obstore's messages hold request addresses with signatures, and whole answers.
        raise provider_error(error) from None


def provider_error(error: Exception) -> ProviderError:
    """The `ProviderError` for an error of obstore, its message reduced to the status and the store's error code."""
    text = str(error)
    status = _first_group(r"status code: (\d{3})", text)
    code = _first_group(ERROR_CODE, text)
    if status is None and code is None:
        return _error_without_answer(error, text)
    moved = sent_elsewhere(int(status or 0), "")  # obstore does not show whereto
    if moved is not None:
        return moved
    answer = " ".join(part for part in (status and f"HTTP {status}", code) if part)
    denied = isinstance(error, PermissionDeniedError | UnauthenticatedError)
    absent = isinstance(error, FileNotFoundError)
    error_class, reason = _meaning(int(status or 500), code, denied=denied, absent=absent)
    return error_class(f"{reason} ({answer})")


def require_stored(answer: Answer) -> None:
    """Raises the `ProviderError` for an answer to a PUT that is none of success, as `provider_error` has it."""
    if 200 <= answer.status < 300:
        return
    if answer.status < 200:
        raise unintelligible(f"HTTP {answer.status}")
    moved = sent_elsewhere(answer.status, answer.headers.get("location"))
    if moved is not None:
        raise moved
    code = refusal_code(answer)
    told = " ".join(filter(None, (f"HTTP {answer.status}", code)))
    retry_after = answer.headers.get("retry-after")
    if asks_to_slow_down(answer.status, code, retry_after):
        raise SlowDown(f"{TOO_MANY_REQUESTS} ({told})", pause_seconds(retry_after, answer.headers.get("date")))
    refused = answer.status in {401, 403}
    error_class, reason = _meaning(answer.status, code, denied=refused, absent=answer.status == 404)
    if error_class is AccessDenied and clock_is_off(answer.headers.get("date")):
        reason = CLOCK_IS_OFF
    raise error_class(f"{reason} ({told})")


def refusal_code(answer: Answer) -> str | None:
    """The store's error code in an answer to a PUT."""
    text = f"<Code>{answer.headers.get('x-ms-error-code', '')}</Code>{answer.content.decode('latin-1')}"
    return _first_group(ERROR_CODE, text)


def _meaning(status: int, code: str | None, *, denied: bool, absent: bool) -> tuple[type[ProviderError], str]:
    """What an answer of the store means: the first line that applies."""
    unavailable = status == 408 or status >= 500
    for applies, error_class, reason in (
        (code in PROTECTED_CODES, ObjectProtected, PROTECTED),
        (status == 412 or code in EXISTING_CODES, ConditionFailed, "ya hay un objeto con ese nombre"),
        (status == 507 or code in FULL_CODES, StorageFull, "el destino no tiene espacio o cuota"),
        (status == 413 or code in TOO_LARGE_CODES, ObjectTooLarge, "el destino no admite objetos tan grandes"),
        (code in DAMAGED_CODES, IntegrityError, "los datos llegaron dañados al servidor"),
        (asks_to_slow_down(status, code), SlowDown, TOO_MANY_REQUESTS),
        (unavailable or code in TRANSIENT_CODES, ProviderUnavailable, "el proveedor no pudo atender la petición"),
        (status == 407, AccessDenied, PROXY_REFUSES_US),
        (code in ARCHIVED_CODES, ObjectArchived, ARCHIVED),
        (code == "RequestTimeTooSkewed", AccessDenied, CLOCK_IS_OFF),
        (denied or code in DENIED_CODES, AccessDenied, "acceso denegado"),
        (code in ABSENT_CODES, ObjectNotFound, "el objeto no existe"),
        (absent, DestinationMissing, "el bucket o contenedor no existe"),
    ):
        if applies:
            return error_class, reason
    return ProviderError, "el proveedor rechazó la petición"


def _error_without_answer(error: Exception, text: str) -> ProviderError:
    """No answer of the store is in the message: the connection failed, or the request was never sent."""
    if isinstance(error, ValueError):
        return InvalidKey("el nombre del objeto contiene caracteres que no se pueden enviar")
    told = network_error_told_by_rust(text)
    if told is not None:
        return told
    kind = _first_group(r"kind: (Timeout|Connect|Interrupted|Request|Decode)\b", text)
    reasons = {"Timeout": "se agotó el tiempo de espera", "Connect": "no se pudo conectar"}
    if kind is not None:
        return ProviderUnavailable(f"fallo de red: {reasons.get(kind, 'se cortó la conexión')}")
    if isinstance(error, PermissionDeniedError | UnauthenticatedError):
        return AccessDenied("acceso denegado")
    return unintelligible(type(error).__name__)


def _first_group(pattern: str, text: str) -> str | None:
    match = re.search(pattern, text)
    return match.group(1) if match else None
