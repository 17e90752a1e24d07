"""Google Cloud Storage, through Google's own SDK."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta

from google.cloud.storage import Blob
from google.oauth2 import service_account

from config.fields import Fields
from config.logs import one_line
from config.models import ProviderRow, PutReceipt, StoredObject
from providers.base import PART_SIZE_BYTES, Provider, is_directory_of_keys
from providers.errors import CannotSign, ConditionFailed, IntegrityError, InvalidKey, ObjectNotFound
from providers.gcs.clients import ANSWER_TIMEOUTS, GcsClients
from providers.gcs.errors import translated_errors
from providers.gcs.kept_uploads import KeptUploads
from providers.gcs.settings import read_settings
from providers.gcs.upload_sessions import HashingReader
from providers.gcs.uploads import UploadsInParts
from providers.names import LINE_ENDS, NameEncoding
from providers.probes import CONDITIONS_NAME, PROBE_CONTENT, Remembered, prefix_of, probe_key, remove_probe
from providers.retries import Result, with_retries
from providers.shared.answers import unintelligible
from providers.shared.network import NetworkRules
from providers.shared.resumed_reads import resumed
from providers.sources import BytesSource, Source

ONE_REQUEST_BYTES = 256 * 1024
"""A file of up to this size is one request. Its body goes to the socket in one piece, and Python counts all of that
time against the connect timeout: a larger one would need a fast line."""

LISTING_PAGE = 1000
"""GCS's largest page of a listing."""

NOWHERE = KeptUploads(None)
"""For uploads that no other run continues."""

CREATE_TRIES = 3
"""The second request must be refused; another host's probe may have removed the object just before."""

LONGEST_NAME_BYTES = 1024
"""GCS's limit for an object's name, in UTF-8."""

# Without this the SDK asks for the bucket in a thread of its own, with its own retries, to describe requests in traces.
os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")


class GcsProvider(Provider):
    """A bucket of Google Cloud Storage. See `Provider` for what it promises.

    GCS keeps and lists a CRC32C of every whole object, and refuses an upload that does not match the CRC32C sent with
    it.
    """

    longest_signature_seconds = 7 * 86400
    """Source: "Signed URLs", Cloud Storage documentation (V4)."""

    def __init__(self, row: ProviderRow) -> None:
        super().__init__(row.id, row.name, row.kind)
        self._settings = read_settings(row)
        rules = NetworkRules(Fields("configuracion", row.options))
        rules.for_url(self._settings.server_url)  # checks the rules at once
        self._names = NameEncoding(LINE_ENDS)
        self._keeps_conditions = Remembered(self._probe_conditions)
        self._clients = GcsClients(self._settings, rules)
        self._in_parts = UploadsInParts(self._clients, self._settings, self._repeated)

    def put(self, key: str, source: Source) -> PutReceipt:
        return self._send(key, source)

    def put_new_many(self, sources: Mapping[str, Source]) -> Iterator[tuple[str, PutReceipt]]:
        """See `Provider`. Uploads in parts carry the condition too: `discard_unfinished` finds only the sessions that
        this host has noted.
        """
        only_over = 0 if self._keeps_conditions.get(prefix_of(next(iter(sources), ""))) else None
        for key, source in sources.items():
            yield key, self._send(key, source, only_over, self._kept_uploads)

    def replace(self, key: str, source: Source, expected: StoredObject | None) -> PutReceipt:
        """See `Provider`. The condition is the generation, a number that no other state of any object ever has."""
        if not self._keeps_conditions.get(prefix_of(key)):
            return super().replace(key, source, expected)
        return self._send(key, source, _generation(self._as_seen(expected)), self._kept_uploads)

    def replaces_safely(self, prefix: str = "") -> bool:
        return self._keeps_conditions.get(prefix)

    def creates_safely(self, prefix: str = "") -> bool:
        return self._keeps_conditions.get(prefix)

    def deletes_safely(self, prefix: str = "") -> bool:
        return self._keeps_conditions.get(prefix)

    def _probe_conditions(self, prefix: str) -> bool:
        """Google's own servers need no probe, and would throttle it: one object may change once a second."""
        if self._settings.endpoint_url is None:
            return True
        key = probe_key(prefix, CONDITIONS_NAME)
        try:
            for _ in range(CREATE_TRIES):
                self._send(key, BytesSource(PROBE_CONTENT), only_over=0)
        except ConditionFailed:
            return True
        finally:
            remove_probe(lambda: self.delete(key))
        return False

    def _send(self, key: str, source: Source, only_over: int | None = None, kept: KeptUploads = NOWHERE) -> PutReceipt:
        """Store an object; if a generation is given, only over that one. Large ones are continued from, and noted in,
        what is kept.
        """
        with translated_errors():
            if source.size_bytes <= ONE_REQUEST_BYTES:
                reader = HashingReader(source)
                self._send_whole(self._stored_name(key), reader, only_over)
                return reader.receipt()
            if source.size_bytes <= PART_SIZE_BYTES:  # a note would cost more than sending it again
                kept = NOWHERE
            return self._in_parts.put(self._stored_name(key), source, only_over, kept)

    def measure(self, source: Source) -> PutReceipt:
        reader = HashingReader(source)
        for _ in reader.pieces():
            pass
        return reader.receipt()

    def open(self, key: str) -> Iterator[bytes]:
        return self.open_from(key, 0, 0)

    def open_from(self, key: str, size_bytes: int, start_bytes: int) -> Iterator[bytes]:
        reading = _Reading(key, self._stored_name(key))
        return resumed(lambda position: self._read_from(reading, start_bytes + position), self.progress)

    def _read_from(self, reading: _Reading, position: int) -> Iterator[bytes]:
        """The bytes of one object from a position on. Raises `IntegrityError` if it is a different object by now."""
        generation = None
        if position:
            now = self.stat(reading.key)
            reading.require_same(now)
            if position >= now.size_bytes:
                return
            generation = now.version
        with self._object_errors():
            yield from self._clients.requests.read(reading.name, reading.note_checksum, position, generation)

    def stat(self, key: str) -> StoredObject:
        blob = self._blob(key)
        with self._object_errors():
            blob.reload(timeout=ANSWER_TIMEOUTS, retry=None)
            version = None if blob.generation is None else str(blob.generation)
            return self._stored_object(blob)._replace(version=version)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        token: str | None = None
        while True:
            objects, token = self._repeated(functools.partial(self._page, prefix, token))
            yield from objects
            if not token:
                return

    def _page(self, prefix: str, token: str | None) -> tuple[Sequence[StoredObject], str | None]:
        """One page of a listing, and the token that requests the next one."""
        blobs = self._clients.sdk.list_blobs(
            self._settings.bucket,
            prefix=self._names.encode(prefix),
            fields="kind,items(name,size,crc32c),nextPageToken",
            page_token=token,
            page_size=LISTING_PAGE,
            timeout=ANSWER_TIMEOUTS,
            retry=None,
        )
        page = next(blobs.pages)
        if "kind" not in page.raw_page:  # the SDK treats any other answer as a listing without entries
            raise unintelligible("no es un listado")
        following = blobs.next_page_token
        if following and following == token:
            raise unintelligible("un listado que no avanza")
        return [self._stored_object(blob) for blob in page], following

    def _repeated(self, request: Callable[[], Result]) -> Result:
        """One request of several, retried while its error allows. Raises `ProviderError`."""

        def ask() -> Result:
            with translated_errors():
                return request()

        return with_retries(ask, self.progress.interruption, self.progress)

    def delete(self, key: str) -> None:
        blob = self._blob(key)
        try:
            with self._object_errors():
                blob.delete(timeout=ANSWER_TIMEOUTS, retry=None)
        except ObjectNotFound:
            return

    def delete_exactly(self, stored: StoredObject) -> None:
        seen = stored if stored.version else self._look_for(stored)
        if seen is None:
            return
        if not self._keeps_conditions.get(prefix_of(seen.key)):
            super().delete_exactly(seen)
            return
        blob = self._blob(seen.key)
        try:
            with self._object_errors():
                blob.delete(timeout=ANSWER_TIMEOUTS, retry=None, if_generation_match=_generation(seen))
        except ObjectNotFound:
            return
        except ConditionFailed:  # may also mean that there is no object
            if self._look_for(seen) is not None:
                raise

    def discard_unfinished(self, prefix: str) -> None:
        self.discard_unfinished_but_for(prefix, lambda _: False)

    def discard_unfinished_but_for(self, prefix: str, is_wanted: Callable[[str], bool]) -> bool:
        """See `Provider`. Only sessions that this host has noted can be found: GCS lists none. Others are not objects
        and cost nothing, and GCS drops them after a week; if they end late, their condition fails.
        """
        is_any_wanted = False
        for upload in self._kept_uploads.all_of(self._in_parts.store):
            key = self._names.decode(upload.terms.name)
            if not (key.startswith(prefix) if is_directory_of_keys(prefix) else key == prefix):
                continue
            if is_wanted(key):
                is_any_wanted = True
            else:
                self._repeated(functools.partial(self._in_parts.cancel, upload.url))
                upload.forget()
        return is_any_wanted

    @property
    def _kept_uploads(self) -> KeptUploads:
        return KeptUploads(self.unfinished_directory)

    def _signed_url(self, key: str, seconds: int) -> str:
        """Only the key of a service account signs here; other credentials would have to ask Google for it."""
        blob = self._blob(key)
        credentials = self._clients.session.credentials
        if not isinstance(credentials, service_account.Credentials):
            raise CannotSign(
                "estas credenciales no pueden firmar; hace falta el JSON de una cuenta de servicio, con su private_key"
            )
        url: str = blob.generate_signed_url(
            version="v4",
            expiration=timedelta(seconds=seconds),
            api_access_endpoint=self._settings.server_url,
            credentials=credentials,
        )
        return url

    def close(self) -> None:
        self._clients.close()

    def _send_whole(self, name: str, reader: HashingReader, only_over: int | None) -> None:
        """One request, which carries the CRC32C too: GCS refuses bytes that do not match it."""
        content = b"".join(reader.pieces())
        properties = {"name": name, "crc32c": reader.crc32c}
        if self._settings.storage_class:
            properties["storageClass"] = self._settings.storage_class
        self._clients.requests.put(properties, content, only_over)

    def _stored_object(self, blob: Blob) -> StoredObject:
        if blob.size is None:
            raise unintelligible("no describe ningún objeto")
        checksum = f"crc32c:{blob.crc32c}" if blob.crc32c else None
        return StoredObject(self._names.decode(blob.name), blob.size, checksum)

    def _blob(self, key: str) -> Blob:
        return self._clients.blob(self._stored_name(key))

    def _stored_name(self, key: str) -> str:
        name = self._names.encode(key)
        size_bytes = len(name.encode())
        if size_bytes > LONGEST_NAME_BYTES:
            raise InvalidKey(f"el nombre ocuparía {size_bytes} bytes y GCS admite {LONGEST_NAME_BYTES}")
        return name

    @contextmanager
    def _object_errors(self) -> Iterator[None]:
        """Translate errors of requests about one object, where 404 may mean the object or the bucket."""
        try:
            with translated_errors(missing=ObjectNotFound("el objeto no existe (HTTP 404)")):
                yield
        except ObjectNotFound:
            self._require_bucket()
            raise

    def _require_bucket(self) -> None:
        """Not every server says in a 404 what is missing; a listing's 404 leaves no doubt."""
        with translated_errors():
            bucket = self._settings.bucket
            listed = self._clients.sdk.list_blobs(bucket, max_results=1, timeout=ANSWER_TIMEOUTS, retry=None)
            next(iter(listed), None)


class _Reading:
    """An object read by several requests if needed, all of which must find the same object."""

    def __init__(self, key: str, name: str) -> None:
        self.key = key
        self.name = name
        self._is_begun = False
        self._checksum: str | None = None

    def note_checksum(self, header: str) -> None:
        """Remember `X-Goog-Hash` of the first answer, which identifies the object."""
        self._is_begun = True
        crc32c = re.search(r"\bcrc32c=([A-Za-z0-9+/]{6}==)", header)
        self._checksum = f"crc32c:{crc32c.group(1)}" if crc32c else None

    def require_same(self, stored: StoredObject) -> None:
        """Raises `IntegrityError` unless it is the object that was read first. Called before reading from a later
        position.
        """
        if not self._is_begun:
            self._is_begun, self._checksum = True, stored.checksum
        if self._checksum is None or stored.checksum != self._checksum:
            raise IntegrityError(f"el objeto cambió mientras se leía: {one_line(self.key)}")


def _generation(expected: StoredObject | None) -> int:
    """The generation of the expected object; 0 for none."""
    return int(expected.version or 0) if expected else 0
