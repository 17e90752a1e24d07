"""Uploads in parts to S3: each part is one request, retried alone, and the next attempt reuses finished parts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from config.errors import RunInterrupted
from providers.base import PART_SIZE_BYTES
from providers.errors import AccessDenied, ConditionFailed, IntegrityError, ProviderError, ProviderUnavailable, SlowDown
from providers.retries import Repeated
from providers.s3.conditions import ConditionUnknown, refused_as_unknown
from providers.s3.errors import translated_errors
from providers.s3.requests import LostUpload, S3Requests, StoredPart, Unfinished
from providers.shared.object_store_put import Md5Of, ObjectStorePut, SentBytes, multipart_md5
from providers.sources import Source

if TYPE_CHECKING:
    from typing_extensions import Buffer

PutPart = Callable[[Unfinished, int, "Buffer", "str | None"], str]
"""Stores a part by one request, given its number from 1 on and its MD5 if known, and returns its ETag.

Raises `UploadLost`, or another `ProviderError`.
"""

LookForPart = Callable[[Unfinished, int], "StoredPart | None"]
"""The stored part with this number. Raises as `S3Requests`."""

FINISHED_PARTS_STAY = (ProviderUnavailable, AccessDenied, RunInterrupted)
"""After one of these errors, stored parts are kept: the next attempt continues with them."""


class UploadLost(ProviderError):
    """The server has lost an unfinished upload or a part of it: the file must be sent from its beginning."""

    code = "upload_lost"


@dataclass(frozen=True, slots=True)
class Ending:
    """The conditions of the request that completes an upload."""

    condition: Mapping[str, str] = field(default_factory=dict)
    """Its headers."""
    require: Callable[[], None] = lambda: None
    """A check to run just before."""
    require_instead: Callable[[], None] = lambda: None
    """A check that replaces the condition, if the server supports none on this request."""


@dataclass(frozen=True, slots=True)
class StoredInParts:
    """The result of one call."""

    sent: SentBytes
    sent_whole: bool
    """Whether this call sent all of it."""
    left_unfinished: bool
    """Whether an upload of the name may remain, because the request to discard or complete it got no answer."""


class UploadsInParts:
    """Stores large objects of one bucket. Safe for several threads, each with a different name."""

    def __init__(
        self,
        buffers: ObjectStorePut,
        requests: S3Requests,
        patient_requests: S3Requests,
        put_part: PutPart,
        repeated: Repeated,
    ) -> None:
        """`patient_requests` complete uploads; `repeated` retries one step of several."""
        self._buffers = buffers
        self._requests = requests
        self._patient_requests = patient_requests
        self._put_part = put_part
        self._repeated = repeated
        self._kept: dict[str, Unfinished] = {}
        self._knows_conditions = True
        """Whether the server is assumed to support a condition on completion."""
        self._left: set[str] = set()
        """Names that may have an abandoned upload."""

    def keep(self, uploads: Iterable[Unfinished]) -> None:
        """Continue these uploads when an object of that name is stored next."""
        self._kept.update((upload.name, upload) for upload in uploads)

    def forget(self, is_meant: Callable[[str], bool]) -> None:
        """Continue no upload of the names that `is_meant` selects."""
        for name in filter(is_meant, list(self._kept)):
            self._kept.pop(name, None)

    def put(self, name: str, source: Source, headers: Mapping[str, str], ending: Ending) -> StoredInParts:
        """Store exactly the bytes of `source`.

        Restarts once an upload that the server has lost meanwhile. Raises `ProviderError`, or unchanged what `source`
        raises; then an upload may remain.
        """
        self._left.discard(name)
        try:
            return self._put_once(name, source, headers, ending)
        except UploadLost:
            pass
        try:
            return self._put_once(name, source, headers, ending)
        except UploadLost:
            raise ProviderUnavailable("la subida por partes se interrumpió en el servidor") from None

    def _put_once(self, name: str, source: Source, headers: Mapping[str, str], ending: Ending) -> StoredInParts:
        upload, there = self._kept_or_begun(name, headers)
        parts = _Parts(upload, there, self._put_part, self._requests.part, self._repeated)
        try:
            sent = self._buffers.send_hashed_parts(source, parts.send, [Md5Of.EACH_PART] if there else [])
            ending.require()
            was_answered = self._end(upload, parts.etags_in_order(), sent, ending)
        except Exception as error:
            # Otherwise an upload that was continued without success would be continued for ever.
            is_of_use = parts.were_sent or (bool(there) and isinstance(error, RunInterrupted))
            if isinstance(error, FINISHED_PARTS_STAY) and source.size_bytes > PART_SIZE_BYTES and is_of_use:
                self.keep([upload])
            else:
                self._try_to_abort(upload)
            raise
        # An equal object may come from another upload, and this one may remain.
        left_unfinished = name in self._left or not was_answered
        return StoredInParts(sent, was_answered and not parts.were_there, left_unfinished)

    def _kept_or_begun(self, name: str, headers: Mapping[str, str]) -> tuple[Unfinished, Mapping[int, StoredPart]]:
        kept = self._kept.pop(name, None)
        if kept is not None:
            try:
                return kept, self._repeated(partial(self._parts_there, kept))
            except ProviderError:  # stored parts save work, but are not required
                self._try_to_abort(kept)
        with translated_errors():
            return self._requests.begin_upload(name, headers), {}

    def _try_to_abort(self, upload: Unfinished) -> None:
        """Try once: a possible remainder is noted, and `discard_unfinished` discards it."""
        try:
            with translated_errors():
                self._requests.abort(upload)
        except ProviderError:
            self._left.add(upload.name)

    def _parts_there(self, upload: Unfinished) -> Mapping[int, StoredPart]:
        with translated_errors(), lost_uploads():
            return {part.number: part for part in self._requests.parts(upload)}

    def _end(self, upload: Unfinished, etags: Sequence[str], sent: SentBytes, ending: Ending) -> bool:
        """Complete the upload as `_complete`. If the server refuses the condition itself, later requests omit it and
        follow a check instead, as for a server without conditions.
        """
        if self._knows_conditions or not ending.condition:
            try:
                return self._complete(upload, etags, sent, ending.condition)
            except ConditionUnknown:
                pass
        ending.require_instead()
        was_answered = self._complete(upload, etags, sent, {})
        self._knows_conditions = False
        return was_answered

    def _complete(
        self, upload: Unfinished, etags: Sequence[str], sent: SentBytes, condition: Mapping[str, str]
    ) -> bool:
        """Make the object of its parts, and return whether an answer came: after a lost answer, the object found there
        may be this one.
        """
        was_unanswered = False

        def complete() -> bool:
            nonlocal was_unanswered
            try:
                with translated_errors(), lost_uploads(), refused_as_unknown(condition):
                    self._patient_requests.complete(upload, etags, condition)
            except ProviderUnavailable:
                was_unanswered = True
                raise
            except (UploadLost, ConditionFailed):
                if was_unanswered and self._is_stored(upload.name, sent):
                    return False
                raise
            return True

        return bool(self._repeated(complete))

    def _is_stored(self, name: str, sent: SentBytes) -> bool:
        with translated_errors():
            found = self._requests.head(name)
        shown = {sent.md5, multipart_md5(sent.part_md5s) if sent.part_md5s else None}
        return found.size_bytes == sent.size_bytes and found.etag.strip('"').lower() in shown


class _Sending:
    """One part being sent, possibly by several requests."""

    def __init__(
        self,
        upload: Unfinished,
        number: int,
        part: Buffer,
        md5: str | None,
        put_part: PutPart,
        look_for_part: LookForPart,
    ) -> None:
        self._upload = upload
        self._number = number
        self._part = part
        self._md5 = md5
        self._put_part = put_part
        self._look_for_part = look_for_part
        self._was_unanswered = False
        self._was_damaged = False

    def send(self) -> str:
        """Send it, unless the server has it from a request whose answer was lost: some (`rclone serve s3`) take no
        second body for a part. Returns its ETag; raises `ProviderError`.
        """
        stored = self._looked_for() if self._was_unanswered else None
        if stored is not None and _is_same(stored, self._part, self._md5):
            return stored.etag
        try:
            return self._put_part(self._upload, self._number, self._part, self._md5)
        except SlowDown:
            raise
        except ProviderUnavailable as error:
            if self._was_damaged:
                raise UploadLost(str(error)) from None
            self._was_unanswered = True
            raise
        except IntegrityError:
            self._was_damaged = True
            raise

    def _looked_for(self) -> StoredPart | None:
        """May be the only way to learn why a server refused a body before reading it. Raises `UploadLost`."""
        try:
            with translated_errors(), lost_uploads():
                return self._look_for_part(self._upload, self._number)
        except UploadLost:
            raise
        except ProviderError:
            return None  # send it again


class _Parts:
    """The parts of one running upload."""

    def __init__(
        self,
        upload: Unfinished,
        there: Mapping[int, StoredPart],
        put_part: PutPart,
        look_for_part: LookForPart,
        repeated: Repeated,
    ) -> None:
        self.were_there = False
        """Whether the server already had some of them."""
        self.were_sent = False
        """Whether at least one was sent and answered."""
        self._upload = upload
        self._there = there
        self._put_part = put_part
        self._look_for_part = look_for_part
        self._repeated = repeated
        self._etags: dict[int, str] = {}

    def send(self, number: int, part: Buffer, md5: str | None) -> None:
        """Store a part, given its number from 0 on, unless the server has it.

        Raises `UploadLost` if it has a different one: late requests of the earlier attempt would carry other bytes, and
        Swift, for example, accepts them even after completion.
        """
        stored = self._there.get(number + 1)
        if stored is not None:
            if not _is_same(stored, part, md5):
                raise UploadLost("la subida que quedó a medias es de otro contenido")
            self.were_there = True
            self._etags[number] = stored.etag
            return
        sending = _Sending(self._upload, number + 1, part, md5, self._put_part, self._look_for_part)
        self._etags[number] = self._repeated(sending.send)
        self.were_sent = True

    def etags_in_order(self) -> list[str]:
        """The ETags that complete the upload."""
        return [self._etags[number] for number in sorted(self._etags)]


def _is_same(stored: StoredPart, part: Buffer, md5: str | None) -> bool:
    return stored.size_bytes == memoryview(part).nbytes and stored.etag.strip('"').lower() == md5


@contextlib.contextmanager
def lost_uploads() -> Iterator[None]:
    """Turn errors of an upload that can no longer be completed into `UploadLost`."""
    try:
        yield
    except LostUpload:
        raise UploadLost("el servidor ya no tiene la subida o una de sus partes") from None
