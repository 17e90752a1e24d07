"""Uploads in parts to S3: each part is one request, repeated alone, and finished parts are used by the next attempt."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from config.errors import RunInterrupted
from providers.base import (
    PART_SIZE_BYTES,
    AccessDenied,
    ConditionFailed,
    IntegrityError,
    ProviderError,
    ProviderUnavailable,
    SlowDown,
    Source,
)
from providers.s3.conditions import ConditionUnknown, refused_as_unknown
from providers.s3.errors import translated_errors
from providers.s3.requests import LostUpload, Repeated, S3Requests, StoredPart, Unfinished
from providers.shared.object_store_put import Md5Of, ObjectStorePut, SentBytes, multipart_md5

if TYPE_CHECKING:
    from typing_extensions import Buffer

PutPart = Callable[[Unfinished, int, "Buffer", "str | None"], str]
"""Stores a part by one request, its number from 1 on and its MD5 known or not, and gives its ETag.

Raises `UploadLost`, or another `ProviderError`.
"""

LookForPart = Callable[[Unfinished, int], "StoredPart | None"]
"""The part of this number as the server has it. Raises what `S3Requests` raises."""

FINISHED_PARTS_STAY = (ProviderUnavailable, AccessDenied, RunInterrupted)
"""After one of these the parts that the server has are left there: the next attempt goes on with them."""


class UploadLost(ProviderError):
    """The server no longer has an unfinished upload, or a part of it: the file is to be sent from its beginning."""

    code = "upload_lost"


@dataclass(frozen=True, slots=True)
class Ending:
    """What the request that makes one object of the parts depends on."""

    condition: Mapping[str, str] = field(default_factory=dict)
    """Its headers."""
    require: Callable[[], None] = lambda: None
    """What is to be looked at just before."""
    require_instead: Callable[[], None] = lambda: None
    """What is looked at in place of the condition, where the server knows none of this request."""


@dataclass(frozen=True, slots=True)
class StoredInParts:
    """What one call has stored."""

    sent: SentBytes
    sent_whole: bool
    """Whether all of it was sent by this very call."""
    left_unfinished: bool
    """Whether an upload of the name may be there still, as what should have discarded or ended it was not answered."""


class UploadsInParts:
    """Stores large objects of one bucket. Safe for several threads, each with a name of its own."""

    def __init__(
        self,
        buffers: ObjectStorePut,
        requests: S3Requests,
        patient_requests: S3Requests,
        put_part: PutPart,
        repeated: Repeated,
    ) -> None:
        """`patient_requests` are for the answer to the end of an upload, `repeated` for one step of several."""
        self._buffers = buffers
        self._requests = requests
        self._patient_requests = patient_requests
        self._put_part = put_part
        self._repeated = repeated
        self._kept: dict[str, Unfinished] = {}
        self._knows_conditions = True
        """Whether the end of an upload may depend on a condition, as far as the server has told."""
        self._left: set[str] = set()
        """The names of which an upload may be there that nobody goes on with."""

    def keep(self, uploads: Iterable[Unfinished]) -> None:
        """Go on with these when an object of that name is stored next."""
        self._kept.update((upload.name, upload) for upload in uploads)

    def forget(self, is_meant: Callable[[str], bool]) -> None:
        """Go on with none of the names that are meant."""
        for name in filter(is_meant, list(self._kept)):
            self._kept.pop(name, None)

    def put(self, name: str, source: Source, headers: Mapping[str, str], ending: Ending) -> StoredInParts:
        """Store exactly the bytes of `source`.

        An upload that the server has lost meanwhile is begun once more. Raises `ProviderError`, or unchanged what
        `source` raises; then an upload may be there still.
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
            # One that was taken over and does not get on would be taken over for ever.
            is_of_use = parts.were_sent or (bool(there) and isinstance(error, RunInterrupted))
            if isinstance(error, FINISHED_PARTS_STAY) and source.size_bytes > PART_SIZE_BYTES and is_of_use:
                self.keep([upload])
            else:
                self._try_to_abort(upload)
            raise
        # An equal object may be that of another upload, and this one still be there.
        left_unfinished = name in self._left or not was_answered
        return StoredInParts(sent, was_answered and not parts.were_there, left_unfinished)

    def _kept_or_begun(self, name: str, headers: Mapping[str, str]) -> tuple[Unfinished, Mapping[int, StoredPart]]:
        kept = self._kept.pop(name, None)
        if kept is not None:
            try:
                return kept, self._repeated(partial(self._parts_there, kept))
            except ProviderError:  # they spare work, and are not needed
                self._try_to_abort(kept)
        with translated_errors():
            return self._requests.begin_upload(name, headers), {}

    def _try_to_abort(self, upload: Unfinished) -> None:
        """Once: what may be left is noted, and discarded by `discard_unfinished`."""
        try:
            with translated_errors():
                self._requests.abort(upload)
        except ProviderError:
            self._left.add(upload.name)

    def _parts_there(self, upload: Unfinished) -> Mapping[int, StoredPart]:
        with translated_errors(), lost_uploads():
            return {part.number: part for part in self._requests.parts(upload)}

    def _end(self, upload: Unfinished, etags: Sequence[str], sent: SentBytes, ending: Ending) -> bool:
        """Make the object, as `_complete`. Where the server refuses the condition itself, it is asked without one from
        then on, right after a look, as one that knows no conditions at all.
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
        """Make the object of its parts, and say whether that was answered: where an answer was lost, the object that
        lies there by then may be this one.
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
    """One part on its way, maybe by several requests."""

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
        """Send it, unless the server has it since a request whose answer was lost: there are some (`rclone serve s3`)
        that take no second body for a part. Gives its ETag; raises `ProviderError`.
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
        """A server that refuses a body before it has read it may be heard here only. Raises `UploadLost`."""
        try:
            with translated_errors(), lost_uploads():
                return self._look_for_part(self._upload, self._number)
        except UploadLost:
            raise
        except ProviderError:
            return None  # it is sent again


class _Parts:
    """The parts of one upload on their way."""

    def __init__(
        self,
        upload: Unfinished,
        there: Mapping[int, StoredPart],
        put_part: PutPart,
        look_for_part: LookForPart,
        repeated: Repeated,
    ) -> None:
        self.were_there = False
        """Whether the server had any of them before."""
        self.were_sent = False
        """Whether any of them was sent, and answered."""
        self._upload = upload
        self._there = there
        self._put_part = put_part
        self._look_for_part = look_for_part
        self._repeated = repeated
        self._etags: dict[int, str] = {}

    def send(self, number: int, part: Buffer, md5: str | None) -> None:
        """Store a part, its number from 0 on, unless the server has it.

        Raises `UploadLost` where it has another one: late requests of the earlier attempt would carry other bytes, and
        Swift, for one, takes them even when the upload is completed.
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
        """By them the upload is completed."""
        return [self._etags[number] for number in sorted(self._etags)]


def _is_same(stored: StoredPart, part: Buffer, md5: str | None) -> bool:
    return stored.size_bytes == memoryview(part).nbytes and stored.etag.strip('"').lower() == md5


@contextlib.contextmanager
def lost_uploads() -> Iterator[None]:
    """Turn what is said of an upload that cannot be completed any more into `UploadLost`."""
    try:
        yield
    except LostUpload:
        raise UploadLost("el servidor ya no tiene la subida o una de sus partes") from None
