"""Uploads to S3, MinIO and Azure within one budget of memory, each file hashed while it is read.

A small file goes through `SendSmall`, or else through obstore (Rust's `object_store`), at a tenth of the vendor SDKs'
CPU time. A large one is cut into parts, which the provider sends.
"""

from __future__ import annotations

import enum
import hashlib
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import obstore

from files.descriptors import CHUNK_SIZE_BYTES
from providers.base import CONNECT_TIMEOUT_SECONDS, PART_SIZE_BYTES, part_size_for
from providers.memory_budget import MemoryBudget, memory_share
from providers.shared.answers import QUICK_SIZE_BYTES, deadline_seconds
from providers.shared.direct_http import LARGEST_BODY_BYTES, LONGEST_IDLE_SECONDS
from providers.shared.network import NOBODY, Network, any_certificate
from providers.shared.object_store_errors import translated_errors
from providers.shared.part_buffers import PartBuffers, anonymous_map, fill
from providers.sources import Source, exact_chunks, run_to_end

if TYPE_CHECKING:
    from obstore import Attributes
    from obstore.store import ClientConfig, ObjectStore, RetryConfig
    from typing_extensions import Buffer

PARTS_IN_FLIGHT = 4
"""Parts of one large file that travel at once, where they are of the ordinary size."""

MEMORY_BUDGET_BYTES = 96 * 1024 * 1024
"""Bytes of all uploads of one provider that may be in memory at once; further uploads wait."""

Hash = TypeVar("Hash")

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
    """What one upload really sent. The digests are lower-case hex. Of an upload in parts, `md5` and `part_md5s` are
    there if they were requested.
    """

    size_bytes: int
    sha256: str
    md5: str | None
    part_md5s: tuple[str, ...] = ()


class ObjectStorePut:
    """Uploads to one bucket or container, from any number of threads, within this process's share of
    `MEMORY_BUDGET_BYTES`.

    obstore knows only one deadline for a whole request, so there is a client for each class of sizes: a provider that
    never answers is given up in seconds on a small file, while a larger one has time to travel.
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
        self._memory = MemoryBudget(self._memory_bytes)
        self._ordinary_buffers = PartBuffers(PART_SIZE_BYTES)
        self._store_for(0)  # finds out at once whether there are credentials

    def put_small(
        self, name: str, source: Source, attributes: Attributes | None = None, mode: Mode = "overwrite"
    ) -> SentBytes:
        """Store exactly the bytes of `source`, up to `PART_SIZE_BYTES`, under `name` in one request.

        obstore refuses ASCII control characters in a name (`InvalidKey`). Raises `ProviderError`, or unchanged what
        `source` raises.
        """
        reader = HashingReader(source)
        with self._memory.reserved(source.size_bytes):
            content = reader.whole()
            sent = reader.sent()
            self._send(name, content, sent, attributes, mode)
        return sent

    def _send(self, name: str, content: Buffer, sent: SentBytes, attributes: Attributes | None, mode: Mode) -> None:
        with translated_errors():
            if self._send_small and sent.size_bytes <= self._largest_small_bytes:
                self._send_small(name, content, sent, mode)
            else:
                store = self._store_for(sent.size_bytes)
                obstore.put(store, name, content, attributes=attributes, mode=mode, use_multipart=False)

    def send_hashed_parts(
        self, source: Source, send: SendHashedPart, md5s_besides: Collection[Md5Of] = ()
    ) -> SentBytes:
        """Send a source in parts of `part_size_for` its size, a few at a time in memory.

        `md5s_besides` are computed for this source in addition to those of every large one. Raises what `source` or
        `send` raises, once no part is on its way any more.
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
            self._buffers_for_parts(part_size_for(source.size_bytes)) as (buffers, parts_in_flight),
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
    def _buffers_for_parts(self, part_size: int) -> Iterator[tuple[PartBuffers, int]]:
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
        """The bytes in parts of exactly the size of `buffers` (whole MiB), except the last one.

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
        for piece in exact_chunks(self._source, CHUNK_SIZE_BYTES):
            self._size_bytes += len(piece)
            self._sha256.update(piece)
            if self._md5:
                self._md5.update(piece)
            yield piece

    def sha256_so_far(self) -> bytes:
        """SHA-256 of the bytes passed on so far."""
        return self._sha256.copy().digest()

    def sent(self) -> SentBytes:
        """The hashes and size, once all bytes were passed on."""
        md5 = self._md5.hexdigest() if self._md5 else None
        return SentBytes(self._size_bytes, self._sha256.hexdigest(), md5, tuple(self._part_md5s))


def hash_source(source: Source, md5s_of_large: Collection[Md5Of] = tuple(Md5Of)) -> SentBytes:
    """The result that `ObjectStorePut` would return for `source`, computed without sending it."""
    if source.size_bytes <= PART_SIZE_BYTES:
        reader = HashingReader(source)
        run_to_end(reader.pieces())
    else:
        reader = HashingReader(source, md5s_of_large)
        run_to_end(reader.parts(PartBuffers(part_size_for(source.size_bytes))))
    return reader.sent()


def multipart_md5(part_md5s: Sequence[str]) -> str:
    """The MD5 over the parts' MD5s and their number: the ETag that S3 and compatible servers show of such an object."""
    digests = b"".join(bytes.fromhex(md5) for md5 in part_md5s)
    return f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(part_md5s)}"


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
