"""botocore's HTTP session, with the certificates, the proxy and the patience that apply here."""

from __future__ import annotations

import ssl
from typing import Any

from botocore.httpsession import URLLib3Session

from providers.base import ANSWER_TIMEOUT_SECONDS, CONNECT_TIMEOUT_SECONDS
from providers.shared.answers import paced
from providers.shared.network import Network

CONNECTIONS = 32
"""Connections kept open: more than the threads in use."""


def new_session(network: Network, answer_timeout_seconds: float = ANSWER_TIMEOUT_SECONDS) -> Any:
    """A botocore session that follows a `Network` and gives up on trickling answers."""
    session = _SessionOfNetwork(network, answer_timeout_seconds)
    _use_paced_connections(session, CONNECT_TIMEOUT_SECONDS + answer_timeout_seconds)
    return session


class _SessionOfNetwork(URLLib3Session):
    """Uses the certificates and proxy of a `Network`.

    botocore would read its certificate file for each new connection, which takes longer than connecting.
    """

    def __init__(self, network: Network, answer_timeout_seconds: float) -> None:
        self._network = network
        beginning: Any = super().__init__  # its stubs know neither two timeouts nor what a proxy's certificate is for
        beginning(
            proxies=network.proxies,
            timeout=(CONNECT_TIMEOUT_SECONDS, answer_timeout_seconds),
            max_pool_connections=CONNECTIONS,
        )

    def _get_ssl_context(self) -> Any:
        return self._network.trust.context if self._network.is_secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    def _setup_ssl_cert(self, conn: Any, url: str, verify: object) -> None:
        """Nothing to do: the context has the certificates already."""

    def _setup_proxy_ssl_context(self, proxy_url: str) -> Any:
        return self._network.trust.context if proxy_url.startswith("https:") else None


def _use_paced_connections(session: Any, patience_seconds: float) -> None:
    """Make a botocore session give up on trickling answers.

    botocore has no setting for this; `tests/providers/shared/test_answers.py` notices if its internals move.
    """
    session._pool_classes_by_scheme.update(paced(session._pool_classes_by_scheme, patience_seconds))
