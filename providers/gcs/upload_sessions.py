"""The parts of a large upload to Google Cloud Storage, and the session that takes them."""

from __future__ import annotations

import base64
import hashlib
import mmap
import re
from collections.abc import Iterator, Mapping

import google_crc32c
import requests
from google.api_core.exceptions import from_http_response

from config.errors import SourceError
from config.models import PutReceipt
from files.descriptors import CHUNK_SIZE_BYTES
from providers.base import PART_SIZE_BYTES
from providers.errors import ProviderError, ProviderUnavailable
from providers.gcs.kept_uploads import KeptUpload
from providers.shared.answers import unintelligible
from providers.sources import Source, exact_chunks, run_to_end

SENT_AT_A_TIME_BYTES = 16 * 1024

LOST = frozenset((404, 410, 499))
"""Answers for a session that is gone; the last one after somebody has cancelled it.

Source: "HTTP status and error codes for JSON", Cloud Storage documentation.
"""


class HashingReader:
    """Passes a source's bytes to an upload and hashes the same bytes; raises if there are too few or too many."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._sha256 = hashlib.sha256()
        self._crc32c = 0
        self._size_bytes = 0

    @property
    def crc32c(self) -> str:
        """CRC32C of the bytes passed on, in GCS's notation: base64 of the number, most significant byte first."""
        return base64.b64encode(self._crc32c.to_bytes(4, "big")).decode()

    def sha256_so_far(self) -> bytes:
        """SHA-256 of the bytes passed on so far."""
        return self._sha256.copy().digest()

    def receipt(self) -> PutReceipt:
        """The receipt, once all bytes were passed on."""
        return PutReceipt(self._size_bytes, self._sha256.hexdigest(), frozenset({f"crc32c:{self.crc32c}"}))

    def pieces(self) -> Iterator[bytes]:
        """The bytes in pieces of `CHUNK_SIZE_BYTES`."""
        for piece in exact_chunks(self._source, CHUNK_SIZE_BYTES):
            self._size_bytes += len(piece)
            self._sha256.update(piece)
            self._crc32c = google_crc32c.extend(self._crc32c, piece)
            yield piece

    def parts(self) -> Iterator[Part]:
        """The bytes in parts of `PART_SIZE_BYTES`.

        The last one comes only after the source has validated its end.
        """
        pieces = self.pieces()
        for start in range(0, self._source.size_bytes, PART_SIZE_BYTES):
            size_bytes = min(PART_SIZE_BYTES, self._source.size_bytes - start)
            content = mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            while content.tell() < size_bytes:
                content.write(next(pieces))
            if start + size_bytes == self._source.size_bytes:
                run_to_end(pieces)
            yield Part(content)


class Part:
    """A part in memory, which `requests` sends in small pieces, each with its own timeout.

    Each iteration starts from the beginning: after an expired token the SDK fetches a new one and sends the part again,
    and would send nothing of a file already read to its end.
    """

    def __init__(self, content: mmap.mmap, start: int = 0) -> None:
        self._content = content
        self._start = start

    def __len__(self) -> int:
        return len(self._content) - self._start

    def __iter__(self) -> Iterator[bytes]:
        for start in range(self._start, len(self._content), SENT_AT_A_TIME_BYTES):
            yield self._content[start : start + SENT_AT_A_TIME_BYTES]

    def behind(self, size_bytes: int) -> Part:
        """The part without its first `size_bytes`."""
        return Part(self._content, self._start + size_bytes)


class SessionLost(ProviderUnavailable):
    """An upload in parts is gone and must start again."""


class OtherBytes(ProviderUnavailable):
    """An upload in parts was begun with other bytes: it is of no use."""


class UploadSession:
    """An upload in parts, and how far it has come. For one thread."""

    def __init__(self, url: str, size_bytes: int, note: KeptUpload | None) -> None:
        self.url = url
        self.size_bytes = size_bytes
        self.kept_bytes = 0
        """How many bytes the server is known to have."""
        self.is_position_known = True
        self.added_bytes = 0
        """The end of the part added last."""
        self.has_advanced = False
        """Whether the server has kept anything that was sent here."""
        self._part: Part | None = None
        self._note = note
        self._parts_of_earlier_runs = len(note.hashes) if note else 0

    @property
    def is_noted(self) -> bool:
        """Whether the next run can continue it."""
        return self._note is not None and self._note.is_noted

    def is_of_use_after(self, error: BaseException) -> bool:
        """Whether the next run can continue an upload that ended with an error. One that was only stopped is of use;
        one that gets nowhere is not, or it would be continued for ever.
        """
        if not self.is_noted or isinstance(error, SourceError | SessionLost | OtherBytes):
            return False
        if isinstance(error, ProviderUnavailable):
            return self.has_advanced
        return not isinstance(error, ProviderError)

    def forget(self) -> None:
        """Let no other run continue it."""
        if self._note is not None:
            self._note.forget()

    def question(self) -> Mapping[str, str]:
        """The headers of the request that asks how far it is."""
        return {"Content-Range": f"bytes */{self.size_bytes}"}

    def is_open(self, response: requests.Response) -> bool:
        """Whether the answer to the question shows a session that continues. Notes how far it is."""
        if _is_passing(response):
            raise from_http_response(response)
        if response.status_code != 308:  # lost, complete or refused
            return False
        self.kept_bytes = _kept_bytes(response)
        return self.kept_bytes < self.size_bytes

    def add(self, part: Part, sha256_so_far: bytes) -> None:
        """Continue with another part: the server has all bytes before it.

        Raises `OtherBytes` if an earlier run has sent other bytes up to its end, or the server has what nobody noted.
        """
        number, start = self.added_bytes // PART_SIZE_BYTES, self.added_bytes
        self._part = part
        self.added_bytes += len(part)
        if self._note is None:
            return
        if number < len(self._note.hashes):
            if self._note.hashes[number] != sha256_so_far.hex():
                raise OtherBytes("la subida empezada es de otro contenido")
        elif start < self.kept_bytes:
            raise OtherBytes("el servidor tiene más de lo que se anotó")
        else:
            self._note.note_part(sha256_so_far)

    @property
    def has_latest_part(self) -> bool:
        """Whether the server has the part added last, and more is to follow."""
        if self.added_bytes == self.size_bytes:
            return False
        is_of_earlier_run = self.added_bytes <= self._parts_of_earlier_runs * PART_SIZE_BYTES
        return self.added_bytes == self.kept_bytes or (is_of_earlier_run and self.added_bytes < self.kept_bytes)

    def rest(self) -> Part:
        """The bytes of the part that the server lacks. Raises `SessionLost` if it also lacks earlier bytes."""
        part = self._part or Part(mmap.mmap(-1, 1))
        behind_bytes = self.kept_bytes - (self.added_bytes - len(part))
        if not 0 <= behind_bytes < len(part):
            raise SessionLost("GCS ya no tiene lo que había confirmado de una subida")
        return part.behind(behind_bytes)

    def noted(self, response: requests.Response) -> Mapping[str, object] | None:
        """The object in an answer, if complete; otherwise notes how many bytes the server has."""
        if response.status_code in LOST:
            raise SessionLost(f"GCS ya no tiene la subida (HTTP {response.status_code})")
        if response.status_code == 308:
            kept_bytes = _kept_bytes(response)
            self.has_advanced = self.has_advanced or kept_bytes > self.kept_bytes
            self.kept_bytes = kept_bytes
            self.is_position_known = True
            return None
        if response.status_code not in {200, 201} or self.added_bytes < self.size_bytes:
            raise from_http_response(response)
        answer: Mapping[str, object] = response.json()
        return answer


def _is_passing(response: requests.Response) -> bool:
    """Whether the same request may get another answer later."""
    return response.status_code in {408, 429, 500, 502, 503, 504}


def _kept_bytes(response: requests.Response) -> int:
    """How many bytes a session reports: its 308 names the range, or none if it has nothing."""
    kept = response.headers.get("Range", "")
    if not kept:
        return 0
    if not re.fullmatch(r"bytes=0-\d{1,18}", kept):
        raise unintelligible("una subida que no dice cuánto tiene")
    return int(kept.rpartition("-")[2]) + 1
