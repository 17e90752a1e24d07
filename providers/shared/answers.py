"""Checks that servers' answers arrive at a minimum pace and make sense.

The SDKs' timeouts restart with every byte, so a trickling answer would keep them waiting for ever. And they do not
always report an answer that is damaged or made up by a proxy: it becomes any exception of their parsers, or an empty
listing.
"""

from __future__ import annotations

import http.client
import io
import re
import socket
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import urllib3.exceptions

from config.logs import one_line
from providers.base import ANSWER_TIMEOUT_SECONDS, CONNECT_TIMEOUT_SECONDS, PART_SIZE_BYTES, TRANSFER_TIMEOUT_SECONDS
from providers.connecting import connect
from providers.errors import InvalidProviderSettings, ProviderError, ProviderUnavailable
from providers.shared.throttling import UNINTELLIGIBLE_DATE

if TYPE_CHECKING:
    from typing_extensions import Buffer

PARSER_ERRORS = (AttributeError, LookupError, TypeError, ValueError, RecursionError)
"""Exceptions that the SDKs raise unintentionally for an unexpected answer."""

QUICK_SIZE_BYTES = 256 * 1024
"""Up to this size a request's body does not count: it gets the deadline of a request without one."""

SLOWEST_UPLOAD_BYTES_PER_SECOND = PART_SIZE_BYTES / TRANSFER_TIMEOUT_SECONDS
"""How fast a larger body must travel."""

PATIENCE_SECONDS = CONNECT_TIMEOUT_SECONDS + ANSWER_TIMEOUT_SECONDS
SLOWEST_ANSWER_BYTES_PER_SECOND = 4096
"""A sixteenth of a line of half a megabit per second: sixteen answers may share one."""


def deadline_seconds(body_bytes: int) -> float:
    """How long a request with `body_bytes` may take until it is answered."""
    travel_seconds = body_bytes / SLOWEST_UPLOAD_BYTES_PER_SECOND if body_bytes > QUICK_SIZE_BYTES else 0
    return CONNECT_TIMEOUT_SECONDS + ANSWER_TIMEOUT_SECONDS + travel_seconds


CLOCK_TOLERANCE_SECONDS = 300.0
"""Stores refuse requests whose time differs by five to fifteen minutes from theirs."""

CLOCK_IS_OFF = "el reloj de este equipo no va con el del proveedor: póngalo en hora (NTP)"
NO_REGION = "la región no es la del bucket: corrija credenciales.region"
ARCHIVED = (
    "el objeto está archivado: pida que se saque del archivo con restore --request-restore, "
    "y repita cuando haya terminado"
)
ARCHIVED_CODES = frozenset(("InvalidObjectState", "BlobArchived", "BlobBeingRehydrated"))
"""S3's code for reading an archived object, and Azure's; the last one while it is on its way back."""

REGION = re.compile(r"[a-z]{2}[a-z0-9-]{2,30}")


def clock_is_off(date: str | None) -> bool:
    """Whether the `Date` of an answer says that this machine's clock is wrong by more than stores put up with."""
    try:
        told = parsedate_to_datetime(date or "").timestamp()
    except UNINTELLIGIBLE_DATE:
        return False
    return abs(told - time.time()) > CLOCK_TOLERANCE_SECONDS


def wrong_region(region: str) -> str:
    """The message for a bucket in another region, whose name the answer gives."""
    if not REGION.fullmatch(region):
        return NO_REGION
    return f"el bucket está en la región {region}: ponga credenciales.region = {region}"


MOVED_FOR_GOOD = frozenset((301, 308))
MOVED_FOR_NOW = frozenset((302, 303, 307))


def sent_elsewhere(status: int, location: str | None) -> ProviderError | None:
    """The error for an answer that sends the client to another server, as proxies do from http to https; `None` for
    any other answer.

    No client follows: a signature is valid for one server only, and a followed PUT becomes a GET. The message shows
    the server, but neither the path nor the query, which may hold a secret.
    """
    if location is None or status not in MOVED_FOR_GOOD | MOVED_FOR_NOW:
        return None
    try:
        parts = urlsplit(location)
        server = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.netloc else "otra dirección"
    except ValueError:
        server = "otra dirección"
    told = f"el servidor no atiende la petición y manda a {one_line(server)} (HTTP {status})"
    if status in MOVED_FOR_NOW:
        return ProviderUnavailable(told)
    return InvalidProviderSettings(f"{told}: si es suya, corrija la dirección en configuracion")


def unintelligible(detail: object) -> ProviderUnavailable:
    """The error for an unintelligible answer; the next one may be valid."""
    return ProviderUnavailable(f"la respuesta del servidor no se entiende ({detail})")


class Pace:
    """Counts arrived bytes and the time spent waiting for them; the reader's own time does not count."""

    def __init__(self, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._patience_seconds = patience_seconds
        self._arrived_bytes = 0
        self._waited_seconds = 0.0

    def note(self, arrived_bytes: int, waited_seconds: float) -> None:
        """Raises `TimeoutError` if bytes arrive too slowly once the patience has passed."""
        self._arrived_bytes += arrived_bytes
        self._waited_seconds += waited_seconds
        if self._waited_seconds > self._patience_seconds + self._arrived_bytes / SLOWEST_ANSWER_BYTES_PER_SECOND:
            raise TimeoutError("timed out")


def paced_chunks(chunks: Iterator[Buffer]) -> Iterator[bytes]:
    """The same chunks. Raises `TimeoutError` if they arrive too slowly."""
    pace = Pace()
    started = time.monotonic()
    for chunk in chunks:
        content = bytes(chunk)
        pace.note(len(content), time.monotonic() - started)
        yield content
        started = time.monotonic()


class _PacedFile(io.RawIOBase):
    """A socket's readable end, at a pace."""

    def __init__(self, raw: io.RawIOBase, pace: Pace) -> None:
        self._raw = raw
        self._pace = pace

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        started = time.monotonic()
        arrived_bytes = cast("int | None", self._raw.readinto(buffer))
        self._pace.note(arrived_bytes or 0, time.monotonic() - started)
        return arrived_bytes

    def close(self) -> None:
        self._raw.close()
        super().close()


class PacedResponse(http.client.HTTPResponse):
    """An answer whose status, headers and body must come at a pace."""

    patience_seconds = PATIENCE_SECONDS

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.fp = io.BufferedReader(_PacedFile(cast("Any", self.fp).detach(), Pace(self.patience_seconds)))


class _QuickToConnect:
    """A connection of urllib3's that waits no longer for a name of many addresses than for one address.

    As in urllib3's own `SOCKSConnection`, that is what `_new_conn` is replaced for.
    """

    def _new_conn(self: Any) -> socket.socket:
        try:
            connected = connect(self._dns_host.strip("[]"), self.port, CONNECT_TIMEOUT_SECONDS)
        except socket.gaierror as error:
            raise urllib3.exceptions.NameResolutionError(self.host, self, error) from error
        except TimeoutError as error:
            raise urllib3.exceptions.ConnectTimeoutError(self, "timed out") from error
        except OSError as error:
            raise urllib3.exceptions.NewConnectionError(self, str(error)) from error
        for option in self.socket_options or ():
            connected.setsockopt(*option)
        return connected


def paced(pool_classes: Mapping[str, type[Any]], patience_seconds: float = PATIENCE_SECONDS) -> dict[str, type[Any]]:
    """urllib3's classes of connection pools by scheme, or an SDK's own, changed to connect within a time, and to read
    `PacedResponse`s.
    """
    response_class = type("PacedResponse", (PacedResponse,), {"patience_seconds": patience_seconds})
    return {
        scheme: type(
            pool.__name__,
            (pool,),
            {
                "ConnectionCls": type(
                    "PacedConnection", (_QuickToConnect, pool.ConnectionCls), {"response_class": response_class}
                )
            },
        )
        for scheme, pool in pool_classes.items()
    }
