"""Google Cloud Storage, through Google's own SDK."""

from __future__ import annotations

import base64
import dataclasses
import functools
import hashlib
import json
import mmap
import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import google.auth
import google_crc32c
import requests
import urllib3.exceptions
from google.api_core.exceptions import GoogleAPICallError, NotFound, from_http_response
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, TransportError
from google.auth.transport.requests import AuthorizedSession, Request
from google.cloud.storage import Blob, Client
from google.oauth2 import service_account

from config.fields import FieldError, Fields, is_plain_url
from config.models import ProviderRow, PutReceipt, StoredObject
from providers.answers import CLOCK_IS_OFF, PARSER_ERRORS, deadline_seconds, unintelligible
from providers.base import (
    ANSWER_TIMEOUT_SECONDS,
    CHUNK_SIZE_BYTES,
    CONNECT_TIMEOUT_SECONDS,
    LINE_ENDS,
    PART_SIZE_BYTES,
    AccessDenied,
    BytesSource,
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
    Source,
    StorageFull,
)
from providers.gcs_requests import CONTENT_TYPE, GcsRequests
from providers.paced_requests import mount_paced
from providers.probes import CONDITIONS_NAME, PROBE_CONTENT, Remembered, prefix_of, probe_key

ONE_REQUEST_BYTES = 256 * 1024
"""Up to this size a file is one request. Its body is given to the socket in one piece, and Python counts the time for
all of it against the connect timeout: a larger one would need a fast line."""

SENT_AT_A_TIME_BYTES = 16 * 1024

SESSIONS_AT_ONCE = 8
"""Files in parts that are sent at once: each holds one part in memory."""

ANSWER_TIMEOUTS = (CONNECT_TIMEOUT_SECONDS, ANSWER_TIMEOUT_SECONDS)

GOOGLE_ENDPOINT_URL = "https://storage.googleapis.com"
"""Given to the SDK explicitly, as it would otherwise obey `STORAGE_EMULATOR_HOST`."""

SCOPES = ("https://www.googleapis.com/auth/devstorage.read_write",)

STORAGE_CLASSES = (
    *("STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE"),
    *("MULTI_REGIONAL", "REGIONAL", "DURABLE_REDUCED_AVAILABILITY"),
)
"""All of them can be read at once, ARCHIVE too."""

BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")

CREATE_TRIES = 3
"""The second one is to be refused; another host's probe may have removed the object just before."""

LONGEST_NAME_BYTES = 1024
"""GCS's limit for an object's name, in UTF-8."""

FULL_REASONS = frozenset({"quotaExceeded", "storageQuotaExceeded"})
PROTECTED_REASONS = frozenset({"retentionPolicyNotMet", "objectUnderActiveHold"})
TRANSIENT_REASONS = frozenset({"rateLimitExceeded", "userRateLimitExceeded"})

SHORT_LIVED = "reasonable timeframe"
"""In what Google says of a signed request for access whose time is not its own."""

DAMAGED_MESSAGE = "doesn't match calculated"
"""In the message where other bytes arrived than the checksum belongs to; the reason is only that something is wrong."""

REASON = re.compile(r"[A-Za-z]{1,60}")

# Without this the SDK asks for the bucket in a thread of its own, with its own retries, to describe requests in traces.
os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")


class GcsProvider(Provider):
    """A bucket of Google Cloud Storage. See `Provider` for what it promises.

    GCS keeps and lists a CRC32C over the whole of every object, and refuses an upload that does not match the one sent
    with it.
    """

    def __init__(self, row: ProviderRow) -> None:
        super().__init__(row.id, row.name, row.kind)
        options = Fields("configuracion", row.options)
        self._bucket_name = _bucket_name(options)
        self._endpoint_url = _endpoint_url(options)
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
        """See `Provider`. What is sent in parts meets the condition, too: `abandon` cannot find its session."""
        only_over = 0 if self._keeps_conditions.get(prefix_of(next(iter(sources), ""))) else None
        for key, source in sources.items():
            yield key, self._send(key, source, only_over)

    def replace(self, key: str, source: Source, expected: StoredObject | None) -> PutReceipt:
        """See `Provider`. The condition is the generation, a number that no other state of any object ever has."""
        if not self._keeps_conditions.get(prefix_of(key)):
            return super().replace(key, source, expected)
        return self._send(key, source, _generation(self._as_seen(expected)))

    def replaces_safely(self, prefix: str = "") -> bool:
        return self._keeps_conditions.get(prefix)

    def creates_safely(self, prefix: str = "") -> bool:
        return self._keeps_conditions.get(prefix)

    def deletes_safely(self, prefix: str = "") -> bool:
        return self._keeps_conditions.get(prefix)

    def _probe_conditions(self, prefix: str) -> bool:
        """Google's own servers need no probe, and would not like it: one object may change once a second."""
        if self._endpoint_url is None:
            return True
        key = probe_key(prefix, CONDITIONS_NAME)
        try:
            for _ in range(CREATE_TRIES):
                self._send(key, BytesSource(PROBE_CONTENT), only_over=0)
        except ConditionFailed:
            return True
        finally:
            self.delete(key)
        return False

    def _send(self, key: str, source: Source, only_over: int | None = None) -> PutReceipt:
        """Store an object, only over this generation where one is given."""
        reader = _HashingReader(source)
        with _translated_errors(missing=DestinationMissing("el bucket no existe (HTTP 404)")):
            if source.size_bytes <= ONE_REQUEST_BYTES:
                self._send_whole(self._stored_name(key), reader, only_over)
            else:
                with self._large_uploads:
                    self._send_in_parts(self._blob(key), reader, source.size_bytes, only_over)
        return reader.receipt()

    def measure(self, source: Source) -> PutReceipt:
        reader = _HashingReader(source)
        for _ in reader.pieces():
            pass
        return reader.receipt()

    def open(self, key: str) -> Iterator[bytes]:
        name = self._stored_name(key)
        with self._object_errors():
            yield from self._requests.read(name)

    def stat(self, key: str) -> StoredObject:
        blob = self._blob(key)
        with self._object_errors():
            blob.reload(timeout=ANSWER_TIMEOUTS, retry=None)
            version = None if blob.generation is None else str(blob.generation)
            return dataclasses.replace(self._stored_object(blob), version=version)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        with _translated_errors(missing=DestinationMissing("el bucket no existe (HTTP 404)")):
            blobs = self._client.list_blobs(
                self._bucket_name,
                prefix=self._names.encode(prefix),
                fields="kind,items(name,size,crc32c),nextPageToken",
                timeout=ANSWER_TIMEOUTS,
                retry=None,
            )
            for page in blobs.pages:
                if "kind" not in page.raw_page:  # for the SDK, whatever else it may be is a listing without entries
                    raise unintelligible("no es un listado")
                yield from map(self._stored_object, page)

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
        except ConditionFailed:  # which may also be how it is told that there is nothing
            if self._look_for(seen) is not None:
                raise

    def abandon(self, prefix: str) -> None:
        """Nothing to do: an unfinished session can be neither seen nor listed, and GCS drops it after a week.

        `put` cancels its own after an error; one that a crash left behind is no object, and costs nothing.
        """

    def close(self) -> None:
        if "_session" in self.__dict__:
            self._session.close()

    def _send_whole(self, name: str, reader: _HashingReader, only_over: int | None) -> None:
        """One request, which carries the CRC32C too: GCS refuses bytes that do not match it."""
        content = b"".join(reader.pieces())
        properties = {"name": name, "crc32c": reader.crc32c}
        if self._storage_class:
            properties["storageClass"] = self._storage_class
        self._requests.put(properties, content, only_over)

    def _send_in_parts(self, blob: Blob, reader: _HashingReader, size_bytes: int, only_over: int | None) -> None:
        if self._storage_class:
            blob.storage_class = self._storage_class
        session_url = blob.create_resumable_upload_session(
            content_type=CONTENT_TYPE,
            size=size_bytes,
            timeout=ANSWER_TIMEOUTS,
            checksum=None,
            retry=None,
            if_generation_match=only_over,
        )
        try:
            answer = self._send_parts(session_url, reader, size_bytes)
        except BaseException:
            self._cancel(session_url)
            raise
        if answer.get("crc32c") != reader.crc32c:
            blob.delete(timeout=ANSWER_TIMEOUTS, retry=None, if_generation_match=answer.get("generation"))
            raise IntegrityError("GCS guardó un contenido distinto del enviado")

    def _send_parts(self, session_url: str, reader: _HashingReader, size_bytes: int) -> Mapping[str, object]:
        """Send part after part; what the last one is answered with is the object. Raises if any falls short."""
        sent_bytes = 0
        for part in reader.parts():
            first_byte, sent_bytes = sent_bytes, sent_bytes + len(part)
            headers = {"Content-Range": f"bytes {first_byte}-{sent_bytes - 1}/{size_bytes}"}
            if sent_bytes == size_bytes:
                headers["X-Goog-Hash"] = f"crc32c={reader.crc32c}"
            timeouts = (CONNECT_TIMEOUT_SECONDS, deadline_seconds(len(part)))
            response = self._session.put(session_url, data=part, headers=headers, timeout=timeouts)
            if sent_bytes < size_bytes:
                _require_kept(response, sent_bytes)
        if response.status_code not in {200, 201}:
            raise from_http_response(response)
        answer: Mapping[str, object] = response.json()
        return answer

    def _cancel(self, session_url: str) -> None:
        """Give the session up: GCS answers 499. If even this fails, GCS forgets it by itself after a week."""
        try:
            self._session.delete(session_url, timeout=ANSWER_TIMEOUTS)
        except (requests.RequestException, GoogleAuthError):
            return

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
        """What carries whole files."""
        with self._found_credentials():
            return self._made_requests

    @contextmanager
    def _found_credentials(self) -> Iterator[None]:
        """What is made within is made at first use, as finding default credentials may ask other machines.

        What kept it from being made is remembered: the search for credentials may take seconds.
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
        mount_paced(asking)
        return functools.partial(Request(asking), timeout=ANSWER_TIMEOUTS)

    @functools.cached_property
    def _session(self) -> AuthorizedSession:
        ask = self._ask_for_token
        session = AuthorizedSession(_credentials(self._credentials, ask), auth_request=ask)
        mount_paced(session)
        return session


class _HashingReader:
    """Hands a source's bytes to an upload and hashes the very same bytes; raises when they are too few or too many."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._sha256 = hashlib.sha256()
        self._crc32c = 0
        self._size_bytes = 0

    @property
    def crc32c(self) -> str:
        """CRC32C of what was handed over, as GCS writes it: base64 of the number, most significant byte first."""
        return base64.b64encode(self._crc32c.to_bytes(4, "big")).decode()

    def receipt(self) -> PutReceipt:
        """What was handed over, once all of it was."""
        return PutReceipt(self._size_bytes, self._sha256.hexdigest(), frozenset({f"crc32c:{self.crc32c}"}))

    def pieces(self) -> Iterator[bytes]:
        """The bytes in pieces of `CHUNK_SIZE_BYTES`."""
        announced_bytes = self._source.size_bytes
        for piece in self._source.chunks(CHUNK_SIZE_BYTES):
            self._size_bytes += len(piece)
            if self._size_bytes > announced_bytes:
                raise IntegrityError(f"se leyeron más de los {announced_bytes} bytes anunciados")
            self._sha256.update(piece)
            self._crc32c = google_crc32c.extend(self._crc32c, piece)
            yield piece
        if self._size_bytes < announced_bytes:
            raise IntegrityError(f"se leyeron {self._size_bytes} de {announced_bytes} bytes anunciados")

    def parts(self) -> Iterator[_Part]:
        """The bytes in parts of `PART_SIZE_BYTES`.

        The last one comes only after the source has said that its end is sound.
        """
        pieces = self.pieces()
        for start in range(0, self._source.size_bytes, PART_SIZE_BYTES):
            size_bytes = min(PART_SIZE_BYTES, self._source.size_bytes - start)
            content = mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            while content.tell() < size_bytes:
                content.write(next(pieces))
            if start + size_bytes == self._source.size_bytes:
                _run_to_end(pieces)
            yield _Part(content)


class _Part:
    """A part in memory, which `requests` sends in small pieces, each with its own timeout.

    It begins anew each time: a token that expired makes the SDK fetch another one and send the part again, and of a
    file that had been read to its end it would send nothing.
    """

    def __init__(self, content: mmap.mmap) -> None:
        self._content = content

    def __len__(self) -> int:
        return len(self._content)

    def __iter__(self) -> Iterator[bytes]:
        for start in range(0, len(self._content), SENT_AT_A_TIME_BYTES):
            yield self._content[start : start + SENT_AT_A_TIME_BYTES]


def _run_to_end(pieces: Iterator[bytes]) -> None:
    for _ in pieces:
        pass


def _require_kept(response: requests.Response, sent_bytes: int) -> None:
    """A session answers 308 and how much it has; less than was sent would leave a gap."""
    if response.status_code != 308:
        raise from_http_response(response)
    if response.headers.get("Range") != f"bytes=0-{sent_bytes - 1}":
        raise ProviderUnavailable("GCS no guardó una parte completa")


def _generation(expected: StoredObject | None) -> int:
    """The number that stands for what is expected to lie there; 0 for nothing."""
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
    except (ValueError, TypeError):  # what the key's reader raises; its message may quote the key
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
    except (OSError, ValueError):
        raise InvalidProviderSettings("credenciales: no se puede leer el archivo de la cuenta de servicio") from None
    if not isinstance(info, dict):
        raise InvalidProviderSettings("credenciales: el archivo no contiene una cuenta de servicio")
    try:
        return _service_account(info)
    except FieldError as error:
        raise InvalidProviderSettings(str(error)) from None


@contextmanager
def _translated_errors(missing: ProviderError) -> Iterator[None]:
    """Turn what the SDK raises within into a `ProviderError`: `missing` where the answer is 404."""
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
        raise ProviderUnavailable(f"fallo de red con GCS ({type(error).__name__})") from None
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
    is_unavailable = status is None or status in {408, 429} or status >= 500 or reason in TRANSIENT_REASONS
    for applies, error_class, text in (
        (is_damaged, IntegrityError, "los datos llegaron dañados al servidor"),
        (status == 507 or reason in FULL_REASONS, StorageFull, "el destino no tiene espacio o cuota"),
        (status == 413, ObjectTooLarge, "el destino no admite objetos tan grandes"),
        (is_unavailable, ProviderUnavailable, "GCS no pudo atender la petición"),
        (reason in PROTECTED_REASONS, ObjectProtected, "una retención protege el objeto"),
        (status in {401, 403}, AccessDenied, "acceso denegado por GCS"),
        (status == 412, ConditionFailed, "el objeto ya no es el que había"),
    ):
        if applies:
            return error_class(f"{text} ({answer})")
    return ProviderError(f"GCS rechazó la petición ({answer})")


def _detail(error: GoogleAPICallError) -> Mapping[str, str]:
    """`reason`, the word by which GCS says why, and `message`. After an upload the SDK leaves them in the answer."""
    details = error.errors
    if not details and isinstance(error.response, requests.Response):
        try:
            details = error.response.json()["error"]["errors"]
        except (ValueError, KeyError, TypeError):
            return {}
    return next((detail for detail in details if REASON.fullmatch(str(detail.get("reason")))), {})
