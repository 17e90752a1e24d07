"""Amazon S3 and compatible servers: MinIO, Ceph, Swift and others.

`DirectHttp` sends files and parts, or `S3Requests` where a proxy is in the way. obstore reads objects of up to
`RANGE_SIZE_BYTES`; `S3Requests` reads larger ones and those whose names obstore refuses, lists, looks up and deletes.
boto3 finds credentials and Amazon's addresses.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import re
import threading
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import botocore.exceptions

from config.errors import MigrationError
from config.fields import Fields
from config.models import EVERYTHING, ProviderRow, PutReceipt, Span, StoredObject
from providers.base import (
    ANSWER_TIMEOUT_SECONDS,
    PART_SIZE_BYTES,
    SLOWEST_HASHING_BYTES_PER_SECOND,
    SPANS_AT_ONCE,
    Provider,
    Right,
    is_directory_of_keys,
)
from providers.errors import ConditionFailed, ObjectNotFound, ProviderError
from providers.names import NameEncoding
from providers.probes import CONDITIONS_NAME, Remembered, prefix_of, probe_key
from providers.retries import with_retries
from providers.s3.access import BucketAccess
from providers.s3.conditions import Conditions, probe_conditions
from providers.s3.errors import is_optional_refusal, is_unexplained, refused_as_optional, translated_errors
from providers.s3.reading import ObjectReading
from providers.s3.requests import LOST_UPLOADS, Listed, NoSuchUpload, S3Requests, Unfinished, content_md5
from providers.s3.settings import read_settings
from providers.s3.signature import UNSIGNED_PAYLOAD, RequestSigner
from providers.s3.uploads import Ending, UploadLost, UploadsInParts, lost_uploads
from providers.shared.answers import QUICK_SIZE_BYTES, unintelligible
from providers.shared.network import NetworkRules
from providers.shared.object_store_errors import refusal_code, require_stored
from providers.shared.object_store_put import (
    HashingReader,
    Md5Of,
    Mode,
    ObjectStorePut,
    SentBytes,
    hash_source,
    multipart_md5,
)
from providers.shared.resumed_reads import resumed
from providers.sources import Source

if TYPE_CHECKING:
    from typing_extensions import Buffer

CONTROL_CHARACTER = re.compile("[\x00-\x1f\x7f]")
"""Characters that obstore refuses in a name."""

NOT_IMPLEMENTED = 501
"""How `rclone serve s3` refuses a second body for a part."""

STANDARD = "STANDARD"
"""The storage class of objects that name none."""

CONDITIONS_OF_MODES: Mapping[Mode, Mapping[str, str]] = {"overwrite": {}, "create": {"if-none-match": "*"}}

RANGE_SIZE_BYTES = 64 * 1024 * 1024
"""Larger objects are read in ranges of this size: a server that reads a whole answer before sending it then has less to
read at once, and sends one object's bytes while it reads another's."""


class S3Provider(Provider):
    """A bucket on S3. See `Provider` for what it promises."""

    endpoint_required = False

    listed_at_once = 1000

    longest_signature_seconds = 7 * 86400
    """Source: "Authenticating Requests: Using Query Parameters", Amazon S3 API Reference."""

    def __init__(self, row: ProviderRow) -> None:
        super().__init__(row.id, row.name, row.kind)
        self._settings = read_settings(row, endpoint_required=self.endpoint_required)
        self._access = BucketAccess(self._settings, NetworkRules(Fields("configuracion", row.options)), self._repeated)
        self._names = NameEncoding()
        self._conditions = Remembered(self._probe_conditions)
        self._first_use = threading.Lock()
        self._not_yet_learnt = threading.Lock()
        """Acquired by the first probe and never released: some servers read the whole object to answer."""

    def put(self, key: str, source: Source) -> PutReceipt:
        if source.size_bytes <= PART_SIZE_BYTES:
            return _receipt(self._upload.put_small(self._names.encode(key), source))
        return self._put_in_parts(key, source, Ending())

    def _put_in_parts(self, key: str, source: Source, ending: Ending) -> PutReceipt:
        name = self._names.encode(key)
        stored = self._in_parts.put(name, source, self._object_headers, ending)
        sent = stored.sent
        if sent.md5 and sent.part_md5s and self._not_yet_learnt.acquire(blocking=False):
            self._learn_which_md5_is_shown(key, sent.md5, sent.part_md5s)
        return _receipt(sent, stored.sent_whole, stored.left_unfinished)

    def put_new_many(self, sources: Mapping[str, Source]) -> Iterator[tuple[str, PutReceipt]]:
        """See `Provider`. Sends the condition only to servers observed to honour it, because others may refuse an
        unknown one.
        """
        if not self._conditions.get(prefix_of(next(iter(sources), ""))).on_put:
            yield from self.put_many(sources)
            return
        for key, source in sources.items():
            yield key, self._put_new(key, source)

    def _put_new(self, key: str, source: Source) -> PutReceipt:
        """The completion of an upload in parts carries the condition too: `discard_unfinished` may be refused. If the
        server supports it only for PUT, the key is looked up just before.
        """
        if source.size_bytes > PART_SIZE_BYTES:
            look = partial(self._require_expected, key, None)
            return self._put_in_parts(key, source, Ending(_condition(None), require_instead=look))
        return _receipt(self._upload.put_small(self._names.encode(key), source, mode="create"))

    def replace(self, key: str, source: Source, expected: StoredObject | None) -> PutReceipt:
        """See `Provider`. The condition goes with the request that makes the object visible.

        A server without such conditions gets every object in parts, however small: a run that takes over discards the
        parts by `discard_unfinished`, and then they can no longer become an object.
        """
        conditions = self._conditions.get(prefix_of(key))
        with translated_errors(), _missing_as_failed_condition(expected):
            if source.size_bytes > PART_SIZE_BYTES or (source.size_bytes and not conditions.on_put):
                return self._replace_in_parts(key, source, expected, conditions)
            if not conditions.on_put:
                self._require_expected(key, expected)
            reader = HashingReader(source)
            content = bytes(reader.whole())
            sent = reader.sent()
            headers = {**self._object_headers, **content_md5(sent.md5)}
            condition = _condition(expected) if conditions.on_put else {}
            self._access.requests.put(self._names.encode(key), content, {**headers, **condition})
            return _receipt(sent)

    def _replace_in_parts(
        self, key: str, source: Source, expected: StoredObject | None, conditions: Conditions
    ) -> PutReceipt:
        """Check just before the parts become an object, because some servers support conditions only for PUT."""
        condition = _condition(expected) if conditions.on_put else {}
        ending = Ending(condition, lambda: self._require_expected(key, expected))
        stored = self._in_parts.put(self._names.encode(key), source, self._object_headers, ending)
        return _receipt(stored.sent, stored.sent_whole, stored.left_unfinished)

    def replaces_safely(self, prefix: str = "") -> bool:
        conditions = self._conditions.get(prefix)
        return conditions.on_put or conditions.on_uploads

    def creates_safely(self, prefix: str = "") -> bool:
        return self._conditions.get(prefix).on_put

    def deletes_safely(self, prefix: str = "") -> bool:
        return self._conditions.get(prefix).on_delete

    def _probe_conditions(self, prefix: str) -> Conditions:
        with translated_errors():
            return probe_conditions(self._access.requests, self._names.encode(probe_key(prefix, CONDITIONS_NAME)))

    def _learn_which_md5_is_shown(self, key: str, md5: str, part_md5s: Sequence[str]) -> None:
        """S3 shows the MD5 of the parts' MD5s, other servers that of the whole: from now on only that one is computed.

        Objects for which the server shows another value are read back.
        """
        with contextlib.suppress(ProviderError):
            shown = self.stat(key).checksum
            if shown == _checksum(multipart_md5(part_md5s)):
                self._upload.md5s_of_large = (Md5Of.EACH_PART,)
            elif shown == _checksum(md5):
                self._upload.md5s_of_large = (Md5Of.WHOLE,)

    def measure(self, source: Source) -> PutReceipt:
        return _receipt(hash_source(source))

    def open(self, key: str) -> Iterator[bytes]:
        """See `Provider`. After a cut, reads the rest by range requests."""
        name = self._names.encode(key)
        reading = ObjectReading(self._access.requests, name, None, None)
        if CONTROL_CHARACTER.search(name):
            return resumed(reading.pieces_from, self.progress)
        return resumed(reading.beginning_with(lambda: self._access.download.begin(name)), self.progress)

    def open_sized(self, key: str, size_bytes: int) -> Iterator[bytes]:
        """See `Provider`. Above `RANGE_SIZE_BYTES`, reads ranges of this size one after another."""
        if size_bytes <= RANGE_SIZE_BYTES:
            return self.open(key)
        return self.open_from(key, size_bytes, 0)

    def open_from(self, key: str, size_bytes: int, start_bytes: int) -> Iterator[bytes]:
        reading = ObjectReading(self._access.requests, self._names.encode(key), size_bytes, RANGE_SIZE_BYTES)
        return resumed(lambda position: reading.pieces_from(start_bytes + position), self.progress)

    def stat(self, key: str) -> StoredObject:
        with translated_errors():
            found = self._look_at(self._names.encode(key))
            return StoredObject(key, found.size_bytes, _checksum(found.etag), found.etag)

    def _look_at(self, name: str) -> Listed:
        """The object by HEAD, or by a listing if the server refuses HEAD: the listing also states the reason, which an
        answer to HEAD cannot, because it has no body.
        """
        try:
            return self._access.requests.head(name)
        except botocore.exceptions.ClientError as error:
            if not is_optional_refusal(error) and not is_unexplained(error):
                raise
        first = next(self._access.requests.list(name), None)
        if first is None or first.name != name:
            raise ObjectNotFound("el objeto no existe")
        return first

    def list(self, prefix: str) -> Iterator[StoredObject]:
        with translated_errors():
            yield from self._listed(self._access.requests, prefix)

    def list_patiently(self, prefix: str, size_bytes: int, span: Span = EVERYTHING) -> Iterator[StoredObject]:
        """See `Provider`. rclone's server, for example, reads every object for its ETag and scans the whole bucket for
        each page.
        """
        hashing_seconds = size_bytes / SLOWEST_HASHING_BYTES_PER_SECOND
        if hashing_seconds <= ANSWER_TIMEOUT_SECONDS and span == EVERYTHING:
            yield from self.list(prefix)
            return
        at_once = 1 if span == EVERYTHING else SPANS_AT_ONCE
        patience_seconds = ANSWER_TIMEOUT_SECONDS * at_once + hashing_seconds
        with (
            translated_errors(),
            contextlib.closing(self._access.new_requests(patience_seconds)) as requests,
        ):
            yield from self._listed(requests, prefix, span)

    def _listed(self, requests: S3Requests, prefix: str, span: Span = EVERYTHING) -> Iterator[StoredObject]:
        """S3 lists in the order of UTF-8, like Python's strings; some other servers do not."""
        after, up_to = (None if key is None else self._names.encode(key) for key in (span.after, span.up_to))
        for found in requests.list(self._names.encode(prefix), after):
            if after is not None and found.name <= after:
                continue
            if up_to is None or found.name <= up_to:
                yield StoredObject(self._names.decode(found.name), found.size_bytes, _checksum(found.etag))
            if up_to is not None and found.name >= up_to:
                return

    def delete(self, key: str) -> None:
        with translated_errors():
            self._access.requests.delete(self._names.encode(key))

    def delete_exactly(self, stored: StoredObject) -> None:
        etag = _etag(stored)
        if etag is None or not self._conditions.get(prefix_of(stored.key)).on_delete:
            super().delete_exactly(stored)
            return
        try:
            with translated_errors():
                self._access.requests.delete_if(self._names.encode(stored.key), etag)
        except ObjectNotFound:
            return
        except ConditionFailed:
            # Some servers answer so if there is no object; Swift does for objects in parts, for which it compares
            # another ETag than it shows.
            super().delete_exactly(stored)

    def request_restore(self, key: str) -> bool:
        with translated_errors():
            return self._access.requests.request_restore(self._names.encode(key))

    def _signed_url(self, key: str, seconds: int) -> str:
        with translated_errors():
            return self._access.signer().signed_url(self._names.encode(key), seconds)

    def discard_unfinished(self, prefix: str) -> None:
        self.discard_unfinished_but_for(prefix, lambda _: False)

    def discard_unfinished_but_for(self, prefix: str, is_wanted: Callable[[str], bool]) -> bool:
        """See `Provider`. Keeps the latest of several uploads of one key."""
        with translated_errors(), refused_as_optional("s3:ListBucketMultipartUploads"):
            found = self._unfinished_uploads(prefix)
        kept: dict[str, Unfinished] = {}
        for upload in sorted(found, key=lambda upload: upload.begun_at):
            if is_wanted(self._names.decode(upload.name)) and self._continues_as_it_would_begin(upload):
                kept[upload.name] = upload
        for upload in found:
            if kept.get(upload.name) is not upload:
                self._repeated(partial(self._discard, upload))
        self._in_parts.forget(lambda name: name.startswith(self._names.encode(prefix)))
        self._in_parts.keep(kept.values())
        return bool(kept)

    def _discard(self, upload: Unfinished) -> None:
        with refused_as_optional("s3:AbortMultipartUpload"):
            self._access.requests.abort(upload)

    def _continues_as_it_would_begin(self, upload: Unfinished) -> bool:
        """Not if the row sets encryption: no server shows which encryption an upload was begun with."""
        wanted_class = self._settings.storage_class or STANDARD
        return not self._settings.encryption and (upload.storage_class or STANDARD) == wanted_class

    def _repeated(self, step: Callable[[], Any]) -> Any:
        """One request of several, retried by itself."""

        def translated() -> Any:
            with translated_errors():
                return step()

        return with_retries(translated, self.progress.interruption, self.progress)

    def further_rights(self, key: str) -> Iterator[Right]:
        name = self._names.encode(key)
        begun: list[Unfinished] = []
        unfinished = "las subidas sin terminar se quedan y se pagan; ponga una regla de ciclo de vida que las borre"

        def use(request: Callable[[], object]) -> Callable[[], object]:
            def translated() -> None:
                with translated_errors():
                    request()

            return translated

        try:
            begin = use(lambda: begun.append(self._access.requests.begin_upload(name, self._object_headers)))
            yield Right("empezar subidas por partes (s3:PutObject)", "no van los ficheros de más de 8 MiB", begin)
            look = use(lambda: self._unfinished_uploads(key))
            yield Right("listar subidas por partes (s3:ListBucketMultipartUploads)", unfinished, look)
            if begun:
                abort = use(lambda: self._access.requests.abort(begun.pop()))
                yield Right(
                    "abandonar subidas por partes (s3:AbortMultipartUpload)",
                    f"{unfinished} (queda una, la de esta prueba)",
                    abort,
                )
        finally:
            for upload in begun:
                with contextlib.suppress(MigrationError), translated_errors():
                    self._access.requests.abort(upload)

    def _unfinished_uploads(self, prefix: str) -> Sequence[Unfinished]:
        """Collected before the first is aborted, because aborting would shift the following pages.

        Swift also lists the upload of the key equal to the prefix without its final slash.
        """
        found: list[Unfinished] = []
        name = self._names.encode(prefix)
        with contextlib.suppress(NoSuchUpload):
            found.extend(self._access.requests.unfinished_uploads(name))
        if is_directory_of_keys(prefix):
            return [upload for upload in found if upload.name.startswith(name)]
        return [upload for upload in found if upload.name == name]

    def close(self) -> None:
        self._access.close()

    @functools.cached_property
    def _obstore_upload(self) -> ObjectStorePut:
        send = self._send_small if self._access.is_reached_directly else self._send_small_by_session
        return ObjectStorePut(
            self._access.build_store, self._settings.endpoint_url, send_small=send, largest_small_bytes=PART_SIZE_BYTES
        )

    def _send_small(self, name: str, content: Buffer, sent: SentBytes, mode: Mode) -> None:
        path, headers = self._signers[mode].sign(name, sent.sha256, content_md5(sent.md5))
        require_stored(self._access.direct.put(path, headers, content))

    def _send_small_by_session(self, name: str, content: Buffer, sent: SentBytes, mode: Mode) -> None:
        """Through a proxy, say."""
        headers = {**CONDITIONS_OF_MODES[mode], **self._object_headers, **content_md5(sent.md5)}
        is_quick = sent.size_bytes <= QUICK_SIZE_BYTES
        with translated_errors():
            (self._access.requests if is_quick else self._access.patient_requests).put(name, bytes(content), headers)

    @functools.cached_property
    def _uploads_in_parts(self) -> UploadsInParts:
        put_part = self._put_part if self._access.is_reached_directly else self._put_part_by_session
        return UploadsInParts(
            self._obstore_upload,
            self._access.requests,
            self._access.patient_requests,
            put_part,
            self._repeated,
        )

    def _put_part(self, upload: Unfinished, number: int, content: Buffer, md5: str | None) -> str:
        """Over TLS the bytes need no hash of their own for the signature."""
        is_secure = self._access.bucket_url.startswith("https:")
        sha256 = UNSIGNED_PAYLOAD if is_secure else hashlib.sha256(content).hexdigest()
        query = f"partNumber={number}&uploadId={urllib.parse.quote(upload.upload_id, safe='')}"
        path, headers = self._part_signer.sign(upload.name, sha256, content_md5(md5), query)
        answer = self._access.direct.put(path, headers, content)
        if refusal_code(answer) in LOST_UPLOADS or answer.status == NOT_IMPLEMENTED:
            raise UploadLost("el servidor ya no tiene la subida, o no admite otra vez una parte suya")
        require_stored(answer)
        if "etag" not in answer.headers:
            raise unintelligible("no dice cómo llama a la parte")
        return answer.headers["etag"]

    def _put_part_by_session(self, upload: Unfinished, number: int, content: Buffer, md5: str | None) -> str:
        """Through a proxy, say."""
        with translated_errors(), lost_uploads():
            return self._access.patient_requests.put_part(upload, number, bytes(content), content_md5(md5))

    @functools.cached_property
    def _signers(self) -> Mapping[Mode, RequestSigner]:
        modes = CONDITIONS_OF_MODES.items()
        return {mode: self._access.signer({**condition, **self._object_headers}) for mode, condition in modes}

    @functools.cached_property
    def _part_signer(self) -> RequestSigner:
        return self._access.signer()

    @property
    def _object_headers(self) -> dict[str, str]:
        settings = {
            "x-amz-storage-class": self._settings.storage_class,
            "x-amz-server-side-encryption": self._settings.encryption.get("sse"),
            "x-amz-server-side-encryption-aws-kms-key-id": self._settings.encryption.get("kms_key_id"),
        }
        return {name: value for name, value in settings.items() if value is not None}

    @property
    def _upload(self) -> ObjectStorePut:
        with self._first_use, translated_errors():
            return self._obstore_upload

    @property
    def _in_parts(self) -> UploadsInParts:
        with self._first_use, translated_errors():
            return self._uploads_in_parts


class MinioProvider(S3Provider):
    """A bucket on MinIO, or on another server with its own address."""

    endpoint_required = True


def _receipt(sent: SentBytes, sent_whole: bool = True, left_unfinished: bool = False) -> PutReceipt:
    """The ETags that a server may show: the MD5, or usually that of the parts' MD5s for a multipart object."""
    checksums = {_checksum(sent.md5)} if sent.md5 else set()
    if sent.part_md5s:
        checksums.add(_checksum(multipart_md5(sent.part_md5s)))
    return PutReceipt(sent.size_bytes, sent.sha256, frozenset(checksums), sent_whole, left_unfinished)


@contextlib.contextmanager
def _missing_as_failed_condition(expected: StoredObject | None) -> Iterator[None]:
    """Turn the refusal to replace a missing object into `ConditionFailed`."""
    try:
        with translated_errors():
            yield
    except ObjectNotFound as error:
        if expected is None:
            raise
        raise ConditionFailed(f"ya no está el objeto que había: {error}") from None


def _condition(expected: StoredObject | None) -> dict[str, str]:
    """The header that requires the expected object."""
    etag = expected and _etag(expected)
    return {"If-Match": etag} if etag else {"If-None-Match": "*"}


def _etag(stored: StoredObject) -> str | None:
    """As the server shows it."""
    if stored.version is None and stored.checksum:
        return f'"{stored.checksum.removeprefix("etag:")}"'
    return stored.version


def _checksum(etag: str) -> str:
    return "etag:" + etag.strip('"').lower()
