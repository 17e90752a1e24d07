"""Sessions of `requests` for the SDKs that use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.sessions import Session

from config.fields import FieldError
from providers.base import ANSWER_TIMEOUT_SECONDS, CONNECT_TIMEOUT_SECONDS
from providers.errors import InvalidProviderSettings
from providers.shared.answers import paced
from providers.shared.network import Network, NetworkRules

CONNECTIONS = 32
"""Connections kept open: more than the threads in use."""


class PacedAdapter(HTTPAdapter):
    """Gives up on trickling answers; uses the certificates and proxy that the rules name for each address."""

    def __init__(self, rules: NetworkRules) -> None:
        self._rules = rules
        super().__init__(pool_maxsize=CONNECTIONS)

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        """See `HTTPAdapter`. Ignores the caller's certificates and proxies."""
        del verify, proxies
        return super().send(request, stream, timeout, True, cert, self.network_for(str(request.url)).proxies)

    def network_for(self, url: str) -> Network:
        """The decision of the rules for an address. Raises `InvalidProviderSettings`."""
        try:
            return self._rules.for_url(url)
        except FieldError as error:
            raise InvalidProviderSettings(str(error)) from None

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Nothing to do: the pool's context has the certificates, and a file would be read each time."""

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """See `HTTPAdapter`."""
        host, pool = super().build_connection_pool_key_attributes(request, verify, cert)
        network = self.network_for(str(request.url))
        return host, ({**pool, "ssl_context": network.trust.context} if network.is_secure else pool)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = paced(self.poolmanager.pool_classes_by_scheme)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        is_new = proxy not in self.proxy_manager
        if proxy.startswith("https:"):
            options["proxy_ssl_context"] = self.network_for(proxy).trust.context
        manager = super().proxy_manager_for(proxy, **options)
        if is_new:
            manager.pool_classes_by_scheme = paced(manager.pool_classes_by_scheme)
        return manager


def _nowhere(_answer: requests.Response) -> None:
    """Where a redirection leads: it is an answer like any other. See `answers.sent_elsewhere`."""


def mount_paced(session: Session, rules: NetworkRules) -> None:
    """Send all requests of a session through a `PacedAdapter`, unaffected by `.netrc`, and follow no redirection."""
    session.trust_env = False
    session.get_redirect_target = _nowhere  # type: ignore[assignment, method-assign]
    for scheme in ("https://", "http://"):
        session.mount(scheme, PacedAdapter(rules))


class DirectConnections:
    """A session's connections to one server, with its proxies and certificates, but without the work of `requests`.

    That takes as long as the rest of a small request: it looks for proxies in the environment, merges settings, parses
    the address and makes objects for every request. No I/O until something is sent.
    """

    timeouts = urllib3.Timeout(connect=CONNECT_TIMEOUT_SECONDS, read=ANSWER_TIMEOUT_SECONDS)
    """Each piece of an answer is a new beginning for the second one; `PacedAdapter` sees to what comes at a trickle."""

    def __init__(self, session: Session, url: str) -> None:
        """The session must be prepared with `mount_paced`."""
        self.url = url
        self._request = requests.Request("GET", url).prepare()
        self._adapter = cast("PacedAdapter", session.get_adapter(url))
        proxies = self._adapter.network_for(url).proxies
        self._connections = self._adapter.get_connection_with_tls_context(self._request, True, proxies=proxies)
        # A path alone, unless it is for a proxy.
        self._address = self._adapter.request_url(self._request, proxies).rstrip("/")

    def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None) -> Any:
        """urllib3's response with only its head read. Raises `urllib3.exceptions.HTTPError`."""
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
        """The same response in the form of `requests`."""
        return self._adapter.build_response(self._request, response)
