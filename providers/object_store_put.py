"""Fast uploads through obstore: many small files, or parts of large ones, at a tenth of the vendor SDKs' CPU time.

obstore (Rust's `object_store`) only carries the bytes of S3, MinIO and Azure; their own SDKs do everything else.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

from providers.base import (
    ANSWER_TIMEOUT_SECONDS,
    CONNECT_TIMEOUT_SECONDS,
    PART_SIZE_BYTES,
    TRANSFER_TIMEOUT_SECONDS,
    AccessDenied,
    DestinationMissing,
    IntegrityError,
    InvalidKey,
    ProviderError,
    ProviderUnavailable,
    Source,
    StorageFull,
    part_size_for,
)

if TYPE_CHECKING:
    from obstore import Attributes
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

QUICK_SIZE_BYTES = 256 * 1024
"""Up to this size a request's body does not count: it gets the deadline of a request without one."""

PARTS_IN_FLIGHT = 4
"""Parts of one large file that travel at once, where they are of the ordinary size."""

MEMORY_BUDGET_BYTES = 96 * 1024 * 1024
"""Bytes of all uploads of one provider that may be in memory at once; who finds no room waits."""

FULL_CODES = frozenset({"QuotaExceeded", "InsufficientStorage", "XMinioStorageFull"})
"""Error codes of a store without room. `XMinioStorageFull` is MinIO's, `QuotaExceeded` that of several gateways."""

DENIED_CODES = frozenset({"ExpiredToken", "InvalidToken", "InvalidAccessKeyId", "AuthorizationHeaderMalformed"})
"""Codes about credentials that S3 sends with status 400."""

TRANSIENT_CODES = frozenset({"RequestTimeout", "NoSuchUpload", "OperationAborted"})
"""Codes that S3 sends with a 4xx status although the same upload, begun anew, may succeed."""

BuildStore = Callable[["ClientConfig", "RetryConfig"], "ObjectStore"]
"""Makes the vendor's obstore store from the client and retry options given. No I/O."""


@dataclass(frozen=True, slots=True)
class SentBytes:
    """What one upload really sent. The digests are lower-case hex; `part_md5s` is empty where it was one request."""

    size_bytes: int
    sha256: str
    md5: str
    part_md5s: tuple[str, ...] = ()


class ObjectStorePut:
    """Uploads to one bucket or container, from any number of threads, within `MEMORY_BUDGET_BYTES`.

    Two clients, because obstore knows only one deadline for a whole request: a provider that never answers is
    given up in seconds on a small file, while a part of a large one has time to travel.
    """

    def __init__(self, build_store: BuildStore, endpoint_url: str | None = None) -> None:
        retry: RetryConfig = {"max_retries": 0}
        self._quick = build_store(client_options(endpoint_url, CONNECT_TIMEOUT_SECONDS + ANSWER_TIMEOUT_SECONDS), retry)
        self._patient = build_store(client_options(endpoint_url, TRANSFER_TIMEOUT_SECONDS), retry)
        self._memory = _MemoryBudget(MEMORY_BUDGET_BYTES)

    def put(self, name: str, source: Source, attributes: Attributes | None = None) -> SentBytes:
        """Store exactly the bytes of `source` under `name`: in one request up to `PART_SIZE_BYTES`, else in parts.

        `name` is valid Unicode without ASCII control characters: obstore refuses them (`InvalidKey`).
        Raises `ProviderError`, or unchanged what `source` raises; unfinished parts are then discarded.
        """
        if source.size_bytes <= PART_SIZE_BYTES:
            return self.put_small(name, source, attributes)
        return self.put_large(name, source, attributes)

    def put_small(self, name: str, source: Source, attributes: Attributes | None = None) -> SentBytes:
        """Like `put`, in one request, with the source whole in memory."""
        with self._memory.reserved(source.size_bytes):
            reader = _HashingReader(source, max(source.size_bytes, 1))
            content = b"".join(reader)  # of one piece, as here, `join` makes no second copy
            store = self._quick if len(content) <= QUICK_SIZE_BYTES else self._patient
            with translated_errors():
                obstore.put(store, name, content, attributes=attributes, use_multipart=False)
        return SentBytes(reader.size_bytes, reader.sha256, reader.md5)

    def put_large(self, name: str, source: Source, attributes: Attributes | None = None) -> SentBytes:
        """Like `put`, in parts of `part_size_for` the source's size, a few at a time in memory."""
        part_size = part_size_for(source.size_bytes)
        parts_in_flight = max(1, min(PARTS_IN_FLIGHT, MEMORY_BUDGET_BYTES // part_size - 1))
        with self._memory.reserved((parts_in_flight + 1) * part_size):
            reader = _HashingReader(source, part_size)
            with translated_errors():
                obstore.put(
                    self._patient,
                    name,
                    iter(reader),
                    attributes=attributes,
                    use_multipart=True,
                    chunk_size=part_size,
                    max_concurrency=parts_in_flight,
                )
        return SentBytes(reader.size_bytes, reader.sha256, reader.md5, reader.part_md5s)


class _HashingReader:
    """Hands a source's bytes to an upload and hashes the very same buffers; raises when they are not all, or too many.

    The end is checked before the upload hears of it, so a wrong length aborts it instead of completing it.
    """

    def __init__(self, source: Source, part_size_bytes: int) -> None:
        self._source = source
        self._part_size_bytes = part_size_bytes
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._part_md5s: list[str] = []
        self.size_bytes = 0

    def __iter__(self) -> Iterator[bytes]:
        for part in self._source.chunks(self._part_size_bytes):
            self._count(len(part))
            self._sha256.update(part)
            self._md5.update(part)
            if self._source.size_bytes > self._part_size_bytes:
                self._part_md5s.append(hashlib.md5(part, usedforsecurity=False).hexdigest())
            yield part
        if self.size_bytes != self._source.size_bytes:
            raise IntegrityError(f"se leyeron {self.size_bytes} de {self._source.size_bytes} bytes")

    def _count(self, size_bytes: int) -> None:
        self.size_bytes += size_bytes
        if self.size_bytes > self._source.size_bytes:
            raise IntegrityError(f"se leyeron más de los {self._source.size_bytes} bytes anunciados")

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    @property
    def md5(self) -> str:
        return self._md5.hexdigest()

    @property
    def part_md5s(self) -> tuple[str, ...]:
        return tuple(self._part_md5s)


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
    }


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turn what obstore raises within into a `ProviderError`; whatever else is raised comes out unchanged."""
    try:
        yield
    except (BaseError, FileNotFoundError, ValueError) as error:
        # Not chained: obstore's messages hold request addresses with signatures, and whole answers.
        raise provider_error(error) from None


def provider_error(error: Exception) -> ProviderError:
    """The `ProviderError` for an error of an upload, its message reduced to the status and the store's error code."""
    text = str(error)
    status = _first_group(r"status code: (\d{3})", text)
    code = _first_group(r"<Code>\s*(\w{1,80})\s*</Code>", text)
    if status is None and code is None:
        return _error_without_answer(error, text)
    answer = " ".join(part for part in (status and f"HTTP {status}", code) if part)
    if status == "507" or code in FULL_CODES:
        return StorageFull(f"el destino no tiene espacio o cuota ({answer})")
    if code in TRANSIENT_CODES or status is None or status in {"408", "429"} or status.startswith("5"):
        return ProviderUnavailable(f"el proveedor no pudo atender la subida ({answer})")
    if code in DENIED_CODES or isinstance(error, PermissionDeniedError | UnauthenticatedError):
        return AccessDenied(f"acceso denegado al subir ({answer})")
    if isinstance(error, FileNotFoundError):
        return DestinationMissing(f"el bucket o contenedor no existe ({answer})")
    return ProviderError(f"el proveedor rechazó la subida ({answer})")


def _error_without_answer(error: Exception, text: str) -> ProviderError:
    """No answer of the store is in the message: the connection failed, or the request was never sent."""
    if isinstance(error, ValueError):
        return InvalidKey("el nombre del objeto contiene caracteres que no se pueden enviar")
    kind = _first_group(r"kind: (Timeout|Connect|Interrupted|Request|Decode)\b", text)
    reasons = {"Timeout": "se agotó el tiempo de espera", "Connect": "no se pudo conectar"}
    if kind is not None:
        return ProviderUnavailable(f"fallo de red al subir: {reasons.get(kind, 'se cortó la conexión')}")
    if isinstance(error, PermissionDeniedError | UnauthenticatedError):
        return AccessDenied("acceso denegado al subir")
    return ProviderError(f"la subida falló ({type(error).__name__})")


def _first_group(pattern: str, text: str) -> str | None:
    match = re.search(pattern, text)
    return match.group(1) if match else None
