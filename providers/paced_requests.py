"""Sessions of `requests` for the SDKs that use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.sessions import Session

from providers.answers import paced
from providers.base import ANSWER_TIMEOUT_SECONDS, CONNECT_TIMEOUT_SECONDS

CONNECTIONS = 32
"""Connections that are kept open: more than the threads that anyone uses."""


class PacedAdapter(HTTPAdapter):
    """Gives up on answers that come at a trickle."""

    def __init__(self) -> None:
        super().__init__(pool_maxsize=CONNECTIONS)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = paced(self.poolmanager.pool_classes_by_scheme)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        is_new = proxy not in self.proxy_manager
        manager = super().proxy_manager_for(proxy, **options)
        if is_new:
            manager.pool_classes_by_scheme = paced(manager.pool_classes_by_scheme)
        return manager


def mount_paced(session: Session) -> None:
    """Let all requests of a session go through a `PacedAdapter`."""
    for scheme in ("https://", "http://"):
        session.mount(scheme, PacedAdapter())


class DirectConnections:
    """A session's connections to one server, with its proxies and certificates, but without the work of `requests`.

    That takes as long as the rest of a small request: it looks for proxies in the environment, merges settings, parses
    the address and makes objects, all of it anew each time. No I/O until something is sent.
    """

    timeouts = urllib3.Timeout(connect=CONNECT_TIMEOUT_SECONDS, read=ANSWER_TIMEOUT_SECONDS)
    """Each piece of an answer is a new beginning for the second one; `PacedAdapter` sees to what comes at a trickle."""

    def __init__(self, session: Session, url: str) -> None:
        """The session has been through `mount_paced`."""
        self.url = url
        self._request = requests.Request("GET", url).prepare()
        settings = session.merge_environment_settings(url, {}, None, None, None)
        self._adapter = cast("PacedAdapter", session.get_adapter(url))
        self._connections = self._adapter.get_connection_with_tls_context(
            self._request, settings["verify"], proxies=settings["proxies"], cert=settings["cert"]
        )
        # A path alone, unless it is for a proxy.
        self._address = self._adapter.request_url(self._request, settings["proxies"]).rstrip("/")

    def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None) -> Any:
        """urllib3's response, of which nothing but the head has been read. Raises `urllib3.exceptions.HTTPError`."""
        return self._connections.urlopen(
            method,
            self._address + path,
            body=body,
            headers=headers,
            timeout=self.timeouts,
            retries=False,
            redirect=False,
            assert_same_host=False,
            preload_content=False,
            decode_content=False,
        )

    def as_requests_would(self, response: Any) -> requests.Response:
        """The same response in the form that those expect who know `requests` only."""
        return self._adapter.build_response(self._request, response)
