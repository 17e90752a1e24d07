"""Uploads in parts to Google Cloud Storage: each part is retried alone, and the next run continues a session."""

from __future__ import annotations

import functools
import threading
from collections.abc import Mapping
from contextlib import suppress

import requests
from google.auth.exceptions import GoogleAuthError
from google.cloud.storage import Blob
from google.oauth2 import service_account

from config.models import PutReceipt
from providers.base import CONNECT_TIMEOUT_SECONDS, PART_SIZE_BYTES
from providers.errors import IntegrityError, ProviderError, ProviderUnavailable
from providers.gcs.clients import ANSWER_TIMEOUTS, GcsClients
from providers.gcs.errors import translated_errors
from providers.gcs.kept_uploads import KeptUploads, Terms
from providers.gcs.requests import CONTENT_TYPE
from providers.gcs.settings import GcsSettings
from providers.gcs.upload_sessions import HashingReader, OtherBytes, SessionLost, UploadSession
from providers.retries import Repeated
from providers.shared.answers import deadline_seconds
from providers.sources import Source

UPLOADS_AT_ONCE = 8
"""The number of files sent in parts at once: each holds one part in memory."""


class UploadsInParts:
    """Stores large objects of one bucket. Safe for several threads, each with a different name."""

    def __init__(self, clients: GcsClients, settings: GcsSettings, repeated: Repeated) -> None:
        self._clients = clients
        self._settings = settings
        self._repeated = repeated
        self._turns = threading.BoundedSemaphore(UPLOADS_AT_ONCE)

    @property
    def store(self) -> str:
        """What names this bucket in the terms of a session."""
        return f"{self._settings.server_url}/{self._settings.bucket}"

    def put(self, name: str, source: Source, only_over: int | None, kept: KeptUploads) -> PutReceipt:
        """Store exactly the bytes of `source`; if a generation is given, only over that one.

        Continues the session that `kept` notes on the same terms, and notes a new one there. Raises `ProviderError`,
        the SDK's exceptions, or unchanged what `source` raises.
        """
        with self._turns:
            return self._put(self._clients.blob(name), source, only_over, kept)

    def _put(self, blob: Blob, source: Source, only_over: int | None, kept: KeptUploads) -> PutReceipt:
        storage_class = self._settings.storage_class
        if storage_class:
            blob.storage_class = storage_class
        terms = Terms(self.store, blob.name, source.size_bytes, only_over, storage_class, self._account_name)
        session = self._continued(kept, terms)
        if session is not None:
            with suppress(OtherBytes):
                return self._complete(blob, session, source)._replace(sent_whole=False)
        return self._complete(blob, self._begun(blob, kept, terms), source)

    def cancel(self, session_url: str) -> None:
        """Ask for a session to be cancelled, whatever the answer is: one that stays hits nothing, and not every server
        can cancel one.
        """
        self._clients.session.delete(session_url, timeout=ANSWER_TIMEOUTS)

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
        response = self._clients.session.put(session.url, headers=session.question(), timeout=ANSWER_TIMEOUTS)
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
            sent = self._repeated(send)
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
            with translated_errors(missing=SessionLost("GCS ya no tiene la subida (HTTP 404)")):
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
        stored = session.noted(self._clients.session.put(session.url, data=rest, headers=headers, timeout=timeouts))
        if stored is None and session.kept_bytes < session.added_bytes:
            raise ProviderUnavailable("GCS no guardó una parte completa")
        return stored or {}

    def _ask_how_far(self, session: UploadSession) -> Mapping[str, object] | None:
        """The object, if it is complete though no answer said so."""
        response = self._clients.session.put(session.url, headers=session.question(), timeout=ANSWER_TIMEOUTS)
        return session.noted(response)

    def _give_up(self, session: UploadSession) -> None:
        """Cancel the session: GCS answers 499. If this fails, GCS drops the session after a week."""
        session.forget()
        with suppress(requests.RequestException, GoogleAuthError):
            self.cancel(session.url)

    @property
    def _account_name(self) -> str:
        """Who stores, where the settings say it."""
        given = self._settings.credentials
        return str(given.service_account_email) if isinstance(given, service_account.Credentials) else ""
