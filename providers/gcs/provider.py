"""Google Cloud Storage, through Google's own SDK."""

from __future__ import annotations

import functools
import json
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import google.auth
import requests
import urllib3.exceptions
from google.api_core.exceptions import GoogleAPICallError, NotFound
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, TransportError
from google.auth.transport.requests import AuthorizedSession, Request
from google.cloud.storage import Blob, Client
from google.oauth2 import service_account

from config.fields import FieldError, Fields, is_plain_url
from config.logs import one_line
from config.models import ProviderRow, PutReceipt, StoredObject
from providers.base import (
    ANSWER_TIMEOUT_SECONDS,
    CONNECT_TIMEOUT_SECONDS,
    LINE_ENDS,
    PART_SIZE_BYTES,
    AccessDenied,
    BytesSource,
    CannotSign,
    ConditionFailed,
    DestinationMissing,
    IntegrityError,
    InvalidKey,
    InvalidProviderSettings,
    NameEncoding,
    ObjectNotFound,
    ObjectProtected,
    ObjectTooLarge,
    Provider,
    ProviderError,
    ProviderUnavailable,
    SlowDown,
    Source,
    StorageFull,
    is_directory_of_keys,
)
from providers.gcs.kept_uploads import KeptUploads, Terms
from providers.gcs.requests import CONTENT_TYPE, GcsRequests
from providers.gcs.upload_sessions import HashingReader, OtherBytes, SessionLost, UploadSession
from providers.probes import CONDITIONS_NAME, PROBE_CONTENT, Remembered, prefix_of, probe_key, remove_probe
from providers.retries import Result, with_retries
from providers.shared.answers import CLOCK_IS_OFF, PARSER_ERRORS, deadline_seconds, sent_elsewhere, unintelligible
from providers.shared.network import NetworkRules
from providers.shared.network_errors import PROXY_REFUSES_US, network_error
from providers.shared.paced_requests import mount_paced
from providers.shared.resumed_reads import resumed
from providers.shared.throttling import asks_to_slow_down, pause_seconds

ONE_REQUEST_BYTES = 256 * 1024
"""A file of up to this size is one request. Its body goes to the socket in one piece, and Python counts all of that
time against the connect timeout: a larger one would need a fast line."""

SESSIONS_AT_ONCE = 8
"""The number of files sent in parts at once: each holds one part in memory."""

LISTING_PAGE = 1000
"""GCS's largest page of a listing."""

NOWHERE = KeptUploads(None)
"""For uploads that no other run continues."""

ANSWER_TIMEOUTS = (CONNECT_TIMEOUT_SECONDS, ANSWER_TIMEOUT_SECONDS)

GOOGLE_ENDPOINT_URL = "https://storage.googleapis.com"
"""Passed to the SDK explicitly, because it would otherwise obey `STORAGE_EMULATOR_HOST`."""

SCOPES = ("https://www.googleapis.com/auth/devstorage.read_write",)

STORAGE_CLASSES = (
    *("STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE"),
    *("MULTI_REGIONAL", "REGIONAL", "DURABLE_REDUCED_AVAILABILITY"),
)
"""All of them can be read at once, ARCHIVE too."""

BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")

CREATE_TRIES = 3
"""The second request must be refused; another host's probe may have removed the object just before."""

LONGEST_NAME_BYTES = 1024
"""GCS's limit for an object's name, in UTF-8."""

FULL_REASONS = frozenset({"quotaExceeded", "storageQuotaExceeded"})
PROTECTED_REASONS = frozenset({"retentionPolicyNotMet", "objectUnderActiveHold"})
TRANSIENT_REASONS = frozenset({"rateLimitExceeded", "userRateLimitExceeded"})

SHORT_LIVED = "reasonable timeframe"
"""Part of Google's message for a signed access request whose time differs from its own."""

DAMAGED_MESSAGE = "doesn't match calculated"
"""Part of the message when the received bytes do not match the checksum; the reason code is unspecific."""

REASON = re.compile(r"[A-Za-z]{1,60}")

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
        options = Fields("configuracion", row.options)
        self._bucket_name = _bucket_name(options)
        self._endpoint_url = _endpoint_url(options)
        self._rules = NetworkRules(options)
        self._rules.for_url(self._endpoint_url or GOOGLE_ENDPOINT_URL)  # checks the rules at once
        self._project = options.text("project")
        self._storage_class = _storage_class(options)
        self._credentials = _given_credentials(row.credentials, anonymous=self._endpoint_url is not None)
        self._names = NameEncoding(LINE_ENDS)
        self._keeps_conditions = Remembered(self._probe_conditions)
        self._first_use = threading.Lock()
        self._first_error: ProviderError | None = None
        self._large_uploads = threading.BoundedSemaphore(SESSIONS_AT_ONCE)

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
        if self._endpoint_url is None:
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
        with _translated_errors(missing=DestinationMissing("el bucket no existe (HTTP 404)")):
            if source.size_bytes <= ONE_REQUEST_BYTES:
                reader = HashingReader(source)
                self._send_whole(self._stored_name(key), reader, only_over)
                return reader.receipt()
            if source.size_bytes <= PART_SIZE_BYTES:  # a note would cost more than sending it again
                kept = NOWHERE
            with self._large_uploads:
                return self._send_in_parts(self._blob(key), source, only_over, kept)

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
            yield from self._requests.read(reading.name, reading.note_checksum, position, generation)

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
        blobs = self._client.list_blobs(
            self._bucket_name,
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
            with _translated_errors(missing=DestinationMissing("el bucket no existe (HTTP 404)")):
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
        for upload in self._kept_uploads.all_of(self._store_in_terms):
            key = self._names.decode(upload.terms.name)
            if not (key.startswith(prefix) if is_directory_of_keys(prefix) else key == prefix):
                continue
            if is_wanted(key):
                is_any_wanted = True
            else:
                self._repeated(functools.partial(self._cancel, upload.url))
                upload.forget()
        return is_any_wanted

    @property
    def _kept_uploads(self) -> KeptUploads:
        return KeptUploads(self.unfinished_directory)

    @property
    def _store_in_terms(self) -> str:
        return f"{self._endpoint_url or GOOGLE_ENDPOINT_URL}/{self._bucket_name}"

    def _signed_url(self, key: str, seconds: int) -> str:
        """Only the key of a service account signs here; other credentials would have to ask Google for it."""
        blob = self._blob(key)
        credentials = self._session.credentials
        if not isinstance(credentials, service_account.Credentials):
            raise CannotSign(
                "estas credenciales no pueden firmar; hace falta el JSON de una cuenta de servicio, con su private_key"
            )
        url: str = blob.generate_signed_url(
            version="v4",
            expiration=timedelta(seconds=seconds),
            api_access_endpoint=self._endpoint_url or GOOGLE_ENDPOINT_URL,
            credentials=credentials,
        )
        return url

    def close(self) -> None:
        if "_session" in self.__dict__:
            self._session.close()

    def _send_whole(self, name: str, reader: HashingReader, only_over: int | None) -> None:
        """One request, which carries the CRC32C too: GCS refuses bytes that do not match it."""
        content = b"".join(reader.pieces())
        properties = {"name": name, "crc32c": reader.crc32c}
        if self._storage_class:
            properties["storageClass"] = self._storage_class
        self._requests.put(properties, content, only_over)

    def _send_in_parts(self, blob: Blob, source: Source, only_over: int | None, kept: KeptUploads) -> PutReceipt:
        if self._storage_class:
            blob.storage_class = self._storage_class
        terms = Terms(
            self._store_in_terms, blob.name, source.size_bytes, only_over, self._storage_class, self._account_name
        )
        session = self._continued(kept, terms)
        if session is not None:
            with suppress(OtherBytes):
                return self._complete(blob, session, source)._replace(sent_whole=False)
        return self._complete(blob, self._begun(blob, kept, terms), source)

    def _continued(self, kept: KeptUploads, terms: Terms) -> UploadSession | None:
        """The session that an earlier run began on the same terms, if the server has a part of it at least.

        Any other session of the object that is noted here is cancelled.
        """
        noted = kept.of(terms.store, terms.name)
        if noted is None:
            return None
        session = UploadSession(noted.url, terms.size_bytes, noted)
        look = functools.partial(self._is_worth_continuing, session)
        if noted.terms == terms and self._repeated(look):
            return session
        self._give_up(session)
        return None

    def _is_worth_continuing(self, session: UploadSession) -> bool:
        response = self._session.put(session.url, headers=session.question(), timeout=ANSWER_TIMEOUTS)
        return session.is_open(response) and session.kept_bytes >= PART_SIZE_BYTES

    def _begun(self, blob: Blob, kept: KeptUploads, terms: Terms) -> UploadSession:
        begin = functools.partial(
            blob.create_resumable_upload_session,
            content_type=CONTENT_TYPE,
            size=terms.size_bytes,
            timeout=ANSWER_TIMEOUTS,
            checksum=None,
            retry=None,
            if_generation_match=terms.only_over,
        )
        url = self._repeated(begin)
        return UploadSession(url, terms.size_bytes, kept.begin(terms, url))

    def _complete(self, blob: Blob, session: UploadSession, source: Source) -> PutReceipt:
        """Send what the session lacks. Raises `OtherBytes` if what it has is not of this source."""
        reader = HashingReader(source)
        try:
            answer = self._send_parts(session, reader)
        except BaseException as error:
            if not session.is_of_use_after(error):
                self._give_up(session)
            raise
        session.forget()
        if answer.get("crc32c") != reader.crc32c:
            blob.delete(timeout=ANSWER_TIMEOUTS, retry=None, if_generation_match=answer.get("generation"))
            raise IntegrityError("GCS guardó un contenido distinto del enviado")
        return reader.receipt()

    def _send_parts(self, session: UploadSession, reader: HashingReader) -> Mapping[str, object]:
        """Send part after part; the last one's answer is the object. Each part is retried by itself, from the position
        that the session reports.
        """
        answer: Mapping[str, object] = {}
        for part in reader.parts():
            session.add(part, reader.sha256_so_far())
            send = functools.partial(self._send_rest_of_part, session, reader)
            sent = with_retries(send, self.progress.interruption, self.progress)
            if isinstance(sent, ProviderError):
                raise sent
            answer = sent
        return answer

    def _send_rest_of_part(
        self, session: UploadSession, reader: HashingReader
    ) -> Mapping[str, object] | SessionLost | IntegrityError:
        """Send the missing rest of the part added last. Returns the object once complete, or an error that only another
        session can resolve.
        """
        try:
            with _translated_errors(missing=SessionLost("GCS ya no tiene la subida (HTTP 404)")):
                if not session.is_position_known:
                    stored = self._ask_how_far(session)
                    if stored is not None:
                        return stored
                return self._put_rest(session, reader)
        except (SessionLost, IntegrityError) as error:
            return error

    def _put_rest(self, session: UploadSession, reader: HashingReader) -> Mapping[str, object]:
        if session.has_latest_part:
            return {}
        rest = session.rest()
        headers = {"Content-Range": f"bytes {session.kept_bytes}-{session.added_bytes - 1}/{session.size_bytes}"}
        if session.added_bytes == session.size_bytes:
            headers["X-Goog-Hash"] = f"crc32c={reader.crc32c}"
        timeouts = (CONNECT_TIMEOUT_SECONDS, deadline_seconds(len(rest)))
        session.is_position_known = False
        stored = session.noted(self._session.put(session.url, data=rest, headers=headers, timeout=timeouts))
        if stored is None and session.kept_bytes < session.added_bytes:
            raise ProviderUnavailable("GCS no guardó una parte completa")
        return stored or {}

    def _ask_how_far(self, session: UploadSession) -> Mapping[str, object] | None:
        """The object, if it is complete though no answer said so."""
        return session.noted(self._session.put(session.url, headers=session.question(), timeout=ANSWER_TIMEOUTS))

    def _give_up(self, session: UploadSession) -> None:
        """Cancel the session: GCS answers 499. If this fails, GCS drops the session after a week."""
        session.forget()
        with suppress(requests.RequestException, GoogleAuthError):
            self._cancel(session.url)

    def _cancel(self, session_url: str) -> None:
        """Whatever the answer is: a session that stays hits nothing, and not every server can cancel one."""
        with self._found_credentials():
            session = self._session
        session.delete(session_url, timeout=ANSWER_TIMEOUTS)

    @property
    def _account_name(self) -> str:
        """Who stores, where the settings say it."""
        given = self._credentials
        return str(given.service_account_email) if isinstance(given, service_account.Credentials) else ""

    def _stored_object(self, blob: Blob) -> StoredObject:
        if blob.size is None:
            raise unintelligible("no describe ningún objeto")
        checksum = f"crc32c:{blob.crc32c}" if blob.crc32c else None
        return StoredObject(self._names.decode(blob.name), blob.size, checksum)

    def _blob(self, key: str) -> Blob:
        return self._client.bucket(self._bucket_name).blob(self._stored_name(key))

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
            with _translated_errors(missing=ObjectNotFound("el objeto no existe (HTTP 404)")):
                yield
        except ObjectNotFound:
            self._require_bucket()
            raise

    def _require_bucket(self) -> None:
        """Not every server says in a 404 what is missing; a listing's 404 leaves no doubt."""
        with _translated_errors(missing=DestinationMissing("el bucket no existe (HTTP 404)")):
            next(
                iter(self._client.list_blobs(self._bucket_name, max_results=1, timeout=ANSWER_TIMEOUTS, retry=None)),
                None,
            )

    @property
    def _client(self) -> Client:
        """The SDK's client."""
        with self._found_credentials():
            return self._made_client

    @property
    def _requests(self) -> GcsRequests:
        """The client for whole files."""
        with self._found_credentials():
            return self._made_requests

    @contextmanager
    def _found_credentials(self) -> Iterator[None]:
        """For creating clients at first use, because finding default credentials may contact other machines.

        A failure is remembered: the search for credentials may take seconds.
        """
        with self._first_use:
            if self._first_error is not None:
                raise self._first_error
            try:
                yield
            except ProviderError as error:
                self._first_error = error
                raise

    @functools.cached_property
    def _made_client(self) -> Client:
        return Client(
            project=self._project,
            credentials=self._session.credentials,
            _http=self._session,
            client_options={"api_endpoint": self._endpoint_url or GOOGLE_ENDPOINT_URL},
        )

    @functools.cached_property
    def _made_requests(self) -> GcsRequests:
        endpoint_url = self._endpoint_url or GOOGLE_ENDPOINT_URL
        return GcsRequests(self._session, self._ask_for_token, endpoint_url, self._bucket_name)

    @functools.cached_property
    def _ask_for_token(self) -> Any:
        asking = requests.Session()
        mount_paced(asking, self._rules)
        return functools.partial(Request(asking), timeout=ANSWER_TIMEOUTS)

    @functools.cached_property
    def _session(self) -> AuthorizedSession:
        ask = self._ask_for_token
        session = AuthorizedSession(_credentials(self._credentials, ask), auth_request=ask)
        mount_paced(session, self._rules)
        return session


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


def _bucket_name(options: Fields) -> str:
    name = options.required_text("bucket")
    if not BUCKET_NAME.fullmatch(name):
        raise FieldError("configuracion.bucket: no es un nombre de bucket de GCS")
    return name


def _endpoint_url(options: Fields) -> str | None:
    url = options.text("endpoint_url")
    if url is None:
        return None
    if not is_plain_url(url):
        raise FieldError("configuracion.endpoint_url: debe ser una dirección http(s) sin parámetros ni usuario")
    return url.rstrip("/")


def _storage_class(options: Fields) -> str | None:
    name = options.text("storage_class")
    if name is None or name.upper() in STORAGE_CLASSES:
        return name and name.upper()
    raise FieldError(f"configuracion.storage_class: debe ser una de {', '.join(STORAGE_CLASSES[:4])}")


GivenCredentials = AnonymousCredentials | service_account.Credentials | Path | None
"""Credentials, or the file in which they are, or `None` for Google's application default credentials."""


def _given_credentials(credentials: Mapping[str, object] | str | None, *, anonymous: bool) -> GivenCredentials:
    if not credentials:
        return AnonymousCredentials() if anonymous else None
    if isinstance(credentials, str):
        return Path(credentials)
    return _service_account(credentials)


def _service_account(info: Mapping[str, object]) -> service_account.Credentials:
    fields = Fields("credenciales", info)
    if fields.required_text("type") != "service_account":
        raise FieldError("credenciales.type: debe ser service_account")
    for name in ("client_email", "token_uri", "private_key"):
        fields.required_text(name)
    try:
        credentials: service_account.Credentials = service_account.Credentials.from_service_account_info(
            dict(info), scopes=SCOPES
        )
    except (ValueError, TypeError):  # from parsing the key; the message may quote it
        raise FieldError("credenciales.private_key: no es una clave privada válida") from None
    return credentials


def _credentials(given: GivenCredentials, ask: Any) -> Any:
    if isinstance(given, Path):
        return _service_account_file(given)
    if given is not None:
        return given
    try:
        credentials, _ = google.auth.default(scopes=SCOPES, request=ask)
    except DefaultCredentialsError:
        raise AccessDenied("no hay credenciales predeterminadas de Google en este equipo") from None
    except GoogleAuthError as error:
        raise ProviderUnavailable(f"no se pudieron obtener credenciales de Google ({type(error).__name__})") from None
    return credentials


def _service_account_file(path: Path) -> service_account.Credentials:
    try:
        info = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        raise InvalidProviderSettings("credenciales: no se puede leer el archivo de la cuenta de servicio") from None
    if not isinstance(info, dict):
        raise InvalidProviderSettings("credenciales: el archivo no contiene una cuenta de servicio")
    try:
        return _service_account(info)
    except FieldError as error:
        raise InvalidProviderSettings(str(error)) from None


@contextmanager
def _translated_errors(missing: ProviderError) -> Iterator[None]:
    """Turn the SDK's exceptions into `ProviderError`s: `missing` for a 404."""
    try:
        yield
    except NotFound as error:
        if "bucket does not exist" in str(error):
            raise DestinationMissing("el bucket no existe (HTTP 404)") from None
        raise missing from None
    except GoogleAPICallError as error:
        # Not chained: the SDK's messages hold addresses of upload sessions, which are as good as a password.
        raise _answer_error(error) from None
    except requests.exceptions.InvalidJSONError as error:
        raise unintelligible(type(error).__name__) from None
    except (requests.RequestException, urllib3.exceptions.HTTPError, TransportError) as error:
        failed = ProviderUnavailable(f"fallo de red con GCS ({type(error).__name__})")
        raise network_error(error) or failed from None
    except GoogleAuthError as error:
        if error.retryable:
            raise ProviderUnavailable(f"Google no pudo dar acceso ahora ({type(error).__name__})") from None
        reason = CLOCK_IS_OFF if SHORT_LIVED in str(error) else "Google no aceptó las credenciales"
        raise AccessDenied(f"{reason} ({type(error).__name__})") from None
    except PARSER_ERRORS as error:
        raise unintelligible(type(error).__name__) from None


def _answer_error(error: GoogleAPICallError) -> ProviderError:
    status = error.code
    detail = _detail(error)
    reason = detail.get("reason", "")
    answer = f"HTTP {status} {reason}".strip()
    if status is not None and status < 300:
        return unintelligible(answer)
    is_damaged = status == 400 and (reason == "parseError" or DAMAGED_MESSAGE in detail.get("message", ""))
    headers: Mapping[str, str] = error.response.headers if isinstance(error.response, requests.Response) else {}
    moved = sent_elsewhere(status or 0, headers.get("Location"))
    if moved is not None:
        return moved
    retry_after = headers.get("Retry-After")
    if reason in TRANSIENT_REASONS or (status is not None and asks_to_slow_down(status, None, retry_after)):
        return SlowDown(f"GCS pide menos peticiones ({answer})", pause_seconds(retry_after, headers.get("Date")))
    is_unavailable = status is None or status == 408 or status >= 500
    for applies, error_class, text in (
        (is_damaged, IntegrityError, "los datos llegaron dañados al servidor"),
        (status == 507 or reason in FULL_REASONS, StorageFull, "el destino no tiene espacio o cuota"),
        (status == 413, ObjectTooLarge, "el destino no admite objetos tan grandes"),
        (is_unavailable, ProviderUnavailable, "GCS no pudo atender la petición"),
        (status == 407, AccessDenied, PROXY_REFUSES_US),
        (reason in PROTECTED_REASONS, ObjectProtected, "una retención protege el objeto"),
        (status in {401, 403}, AccessDenied, "acceso denegado por GCS"),
        (status == 412, ConditionFailed, "el objeto ya no es el que había"),
    ):
        if applies:
            return error_class(f"{text} ({answer})")
    return ProviderError(f"GCS rechazó la petición ({answer})")


def _detail(error: GoogleAPICallError) -> Mapping[str, str]:
    """`reason`, GCS's code for the error, and `message`. After an upload the SDK leaves them in the answer."""
    details = error.errors
    if not details and isinstance(error.response, requests.Response):
        try:
            details = error.response.json()["error"]["errors"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return {}
    return next((detail for detail in details if REASON.fullmatch(str(detail.get("reason")))), {})
