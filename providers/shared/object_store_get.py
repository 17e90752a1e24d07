"""Downloads through obstore from S3, MinIO and Azure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import obstore

from providers.base import ANSWER_TIMEOUT_SECONDS
from providers.errors import ProviderUnavailable
from providers.shared.answers import paced_chunks
from providers.shared.object_store_errors import translated_errors
from providers.shared.object_store_put import BuildStore, client_options

if TYPE_CHECKING:
    from obstore import GetResult

STANDSTILL_TIMEOUT = timedelta(seconds=ANSWER_TIMEOUT_SECONDS)
"""How long a download may stand still, and how long its beginning may take."""

DOWNLOAD_TIMEOUT_SECONDS = 24 * 3600
"""How long a download that moves may take in all: obstore's own default, half a minute, is for small ones."""


@dataclass(frozen=True, slots=True)
class Download:
    """An object on its way: its size and ETag as the server shows them, and its bytes."""

    size_bytes: int
    etag: str | None
    pieces: Iterator[bytes]


class ObjectStoreGet:
    """Downloads from one bucket or container, from any number of threads.

    One request for each object, whatever its size: some servers (`rclone serve s3`) answer a request for a part with
    status 200, which obstore takes for an answer to something else.
    """

    def __init__(self, build_store: BuildStore, endpoint_url: str | None = None) -> None:
        options = client_options(endpoint_url, DOWNLOAD_TIMEOUT_SECONDS)
        options["read_timeout"] = STANDSTILL_TIMEOUT
        self._store = build_store(options, {"max_retries": 0})

    def open(self, name: str) -> Iterator[bytes]:
        """Yield the stored bytes in order, as they arrive, a few hundred KiB at a time in memory.

        `name` is valid Unicode without ASCII control characters: obstore refuses them (`InvalidKey`).
        Raises `ProviderError`, at the latest at the first byte.
        """
        yield from self.begin(name).pieces

    def begin(self, name: str) -> Download:
        """As `open`, once the beginning of the answer is there."""
        with translated_errors():
            answer = obstore.get(self._store, name)
            return Download(answer.meta["size"], answer.meta["e_tag"], _pieces(answer))


def _pieces(answer: GetResult) -> Iterator[bytes]:
    try:
        with translated_errors():
            # Any arrived bytes, because a larger piece might take for ever to fill.
            yield from paced_chunks(iter(answer.stream(min_chunk_size=1)))
    except TimeoutError:
        raise ProviderUnavailable("fallo de red: los datos llegan demasiado despacio") from None
