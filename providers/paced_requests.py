"""Sessions of `requests` for the SDKs that use it."""

from __future__ import annotations

from typing import Any

from requests.adapters import HTTPAdapter
from requests.sessions import Session

from providers.answers import paced

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
