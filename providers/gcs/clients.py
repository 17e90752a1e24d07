"""The clients of one bucket on Google Cloud Storage. They share a session, which signs with the credentials found."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests
from google.auth.transport.requests import AuthorizedSession, Request
from google.cloud.storage import Blob, Client

from providers.base import ANSWER_TIMEOUT_SECONDS, CONNECT_TIMEOUT_SECONDS
from providers.errors import ProviderError
from providers.gcs.requests import GcsRequests
from providers.gcs.settings import GcsSettings, find_credentials
from providers.shared.network import NetworkRules
from providers.shared.paced_requests import mount_paced

ANSWER_TIMEOUTS = (CONNECT_TIMEOUT_SECONDS, ANSWER_TIMEOUT_SECONDS)


class GcsClients:
    """The SDK's client, its session, and the client for whole files: each is made when it is first used.

    Safe to use from several threads.
    """

    def __init__(self, settings: GcsSettings, rules: NetworkRules) -> None:
        self._settings = settings
        self._rules = rules
        self._first_use = threading.Lock()
        self._first_error: ProviderError | None = None

    def blob(self, name: str) -> Blob:
        """The SDK's object for a stored name. No request is made for it."""
        return self.sdk.bucket(self._settings.bucket).blob(name)

    @property
    def sdk(self) -> Client:
        """The SDK's client."""
        with self._found_credentials():
            return self._made_client

    @property
    def requests(self) -> GcsRequests:
        """The client for whole files."""
        with self._found_credentials():
            return self._made_requests

    @property
    def session(self) -> AuthorizedSession:
        """The session that signs every request."""
        with self._found_credentials():
            return self._made_session

    def close(self) -> None:
        """Close connections."""
        if "_made_session" in self.__dict__:
            self._made_session.close()

    @contextmanager
    def _found_credentials(self) -> Iterator[None]:
        """Inside this context clients are made: finding default credentials may contact other machines.

        A failure is remembered, because the search may take seconds.
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
            project=self._settings.project,
            credentials=self._made_session.credentials,
            _http=self._made_session,
            client_options={"api_endpoint": self._settings.server_url},
        )

    @functools.cached_property
    def _made_requests(self) -> GcsRequests:
        return GcsRequests(self._made_session, self._ask_for_token, self._settings.server_url, self._settings.bucket)

    @functools.cached_property
    def _ask_for_token(self) -> Any:
        asking = requests.Session()
        mount_paced(asking, self._rules)
        return functools.partial(Request(asking), timeout=ANSWER_TIMEOUTS)

    @functools.cached_property
    def _made_session(self) -> AuthorizedSession:
        ask = self._ask_for_token
        session = AuthorizedSession(find_credentials(self._settings.credentials, ask), auth_request=ask)
        mount_paced(session, self._rules)
        return session
