"""Gives one message to one channel, through apprise, and says what became of it.

apprise only says whether all went well. What the server answered, and whether the message may have arrived although it
did not go well, is read from the requests that it makes and from its log.
"""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import apprise
import requests
import urllib3.exceptions

from config.logs import one_line
from config.text.wording import reason_of
from jobs.notify.channels import Channel
from jobs.notify.outbox import LONGEST_RETRY_AFTER_SECONDS
from providers.shared.network_errors import network_error
from providers.shared.throttling import pause_seconds

LONGEST_ERROR = 300
UNCERTAIN_STATUSES = frozenset((408, 502, 504))
"""Answers of somebody between here and the service, which may have passed the message on."""

NOT_UNDERSTOOD = "apprise no entiende su dirección; corríjala en JANITOR_NOTIFY_URLS"


class Result(NamedTuple):
    """What became of a message at one channel."""

    is_delivered: bool
    error: str = ""
    """Why not, in Spanish, without secrets."""
    is_certain: bool = True
    """Whether a message that is not delivered has certainly not arrived."""
    retry_after_seconds: float = 0.0
    """For how long the service asks to be left alone."""


@dataclass
class _Seen:
    """What the requests for one message came to, and what apprise has logged of it."""

    answers: list[requests.Response] = field(default_factory=list)
    errors: list[requests.RequestException] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def has_said(self, beginning: str) -> bool:
        """Whether apprise has logged this."""
        return any(line.startswith(beginning) for line in self.lines)


_seen: ContextVar[_Seen | None] = ContextVar("seen", default=None)
"""apprise works in threads of its own, which it gives the context of the caller."""


def is_understood(channel: Channel) -> bool:
    """Whether apprise knows what to do with the address. Nothing is sent."""
    with _hearing_apprise():
        _load_plugins()
        return apprise.Apprise.instantiate(channel.url) is not None


def send(channel: Channel, title: str, body: str) -> Result:
    """Send one message, once. Raises nothing that the channel or its server could cause."""
    seen = _Seen()
    _seen.set(seen)
    with _hearing_apprise():
        service = apprise.Apprise(asset=apprise.AppriseAsset(async_mode=False, app_id="Janitor", app_desc="Janitor"))
        if not service.add(channel.url):
            return Result(is_delivered=False, error=NOT_UNDERSTOOD)
        try:
            if service.notify(body=body, title=title, body_format=apprise.NotifyFormat.TEXT):
                return Result(is_delivered=True)
        except Exception as error:  # 190 plugins, each with faults of its own
            return Result(is_delivered=False, error=_shortened(f"apprise falló: {error}"), is_certain=False)
        return _failure(seen)


def _failure(seen: _Seen) -> Result:
    has_arrived_somewhere = any(answer.ok for answer in seen.answers) or seen.has_said("Sent Email to")
    refused = [answer for answer in seen.answers if not answer.ok]
    if refused:
        return _refused(refused[-1], is_certain=not has_arrived_somewhere)
    if seen.errors:
        error = seen.errors[-1]
        is_certain = _was_never_sent(error) and not has_arrived_somewhere
        return Result(is_delivered=False, error=_shortened(_in_words(error)), is_certain=is_certain)
    reasons = [
        line.partition(": ")[2] for line in seen.lines if line.startswith(("Socket Exception", "SMTP recipient"))
    ]
    has_not_entered = seen.has_said("Connection error while submitting email") and not has_arrived_somewhere
    what = "no se pudo conectar o entrar" if has_not_entered else "no lo aceptó"
    return Result(
        is_delivered=False,
        error=_shortened(": ".join((what, *reasons[-1:]))),
        is_certain=has_not_entered,
    )


def _refused(answer: requests.Response, *, is_certain: bool) -> Result:
    told = _told_by(answer)
    reasons = (told.get(name) for name in ("description", "error"))
    description = next((reason for reason in reasons if isinstance(reason, str) and reason), answer.reason or "")
    parameters = told.get("parameters")
    asked = parameters.get("retry_after") if isinstance(parameters, dict) else None
    pause = pause_seconds(answer.headers.get("Retry-After"), answer.headers.get("Date"))
    if isinstance(asked, int | float) and asked >= 0:  # JSON as Python reads it has NaN and -Infinity
        pause = float(min(asked, LONGEST_RETRY_AFTER_SECONDS))
    return Result(
        is_delivered=False,
        error=_shortened(f"respondió {answer.status_code}: {_in_spanish(answer, description)}"),
        is_certain=is_certain and answer.status_code not in UNCERTAIN_STATUSES,
        retry_after_seconds=pause,
    )


REASONS = {
    401: "no acepta el usuario, la contraseña o el token",
    403: "no da permiso",
    404: "no existe esa dirección",
    429: "demasiados mensajes",
    500: "fallo interno del servicio",
    502: "el servicio no está disponible",
    503: "el servicio no está disponible",
    504: "el servicio no está disponible",
}
"""What the standard words for an answer mean. What a service says in words of its own stays as it is."""


def _in_spanish(answer: requests.Response, description: str) -> str:
    if description.casefold() == (answer.reason or "").casefold():
        return REASONS.get(answer.status_code, description)
    return description


def _told_by(answer: requests.Response) -> dict[str, Any]:
    try:
        told = answer.json()
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _was_never_sent(error: requests.RequestException) -> bool:
    """Whether no connection was made, so that nothing can have gone over it."""
    if isinstance(error, requests.ConnectTimeout | requests.exceptions.SSLError | requests.exceptions.ProxyError):
        return True
    cause = error.args[0] if error.args else None
    return isinstance(getattr(cause, "reason", None), urllib3.exceptions.NewConnectionError)


def _in_words(error: requests.RequestException) -> str:
    known = network_error(error)
    if known is not None:
        return str(known)
    if isinstance(error, requests.Timeout):
        return "no respondió a tiempo"
    current: BaseException | None = error
    while current is not None:
        if isinstance(current, OSError) and current.errno:
            return f"fallo de red: {reason_of(current)}"
        current = current.__cause__ or current.__context__
    return "fallo de red: se cortó la conexión"


def _shortened(text: str) -> str:
    return one_line(text)[:LONGEST_ERROR]


@contextlib.contextmanager
def watching_requests() -> Iterator[None]:
    """Within, note what requests come to. Certificates are those of SSL_CERT_FILE, as they are for mail.

    apprise makes its requests itself and keeps no answer: this is the one place where all of them pass.
    """
    _load_plugins()
    original = requests.Session.send

    def send_and_note(session: requests.Session, request: requests.PreparedRequest, **options: Any) -> Any:
        if options.get("verify") is True and (trusted := os.environ.get("SSL_CERT_FILE")):
            options["verify"] = trusted
        try:
            answer = original(session, request, **options)
        except requests.RequestException as error:
            if (seen := _seen.get()) is not None:
                seen.errors.append(error)
            raise
        if (seen := _seen.get()) is not None:
            seen.answers.append(answer)
        return answer

    requests.Session.send = send_and_note  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        requests.Session.send = original  # type: ignore[method-assign]


def _load_plugins() -> None:
    """Have apprise load all of its plugins, before there are threads. What they warn of concerns their authors."""
    with _hearing_apprise(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        apprise.Apprise.instantiate("json://localhost")


class _Listening(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if (seen := _seen.get()) is not None:
            seen.lines.append(record.getMessage())


@contextlib.contextmanager
def _hearing_apprise() -> Iterator[None]:
    """Within, keep what apprise logs in this thread. It goes nowhere else, because it may show addresses."""
    logger = logging.getLogger("apprise")
    logger.propagate = False
    logger.setLevel(logging.DEBUG)
    if not any(isinstance(handler, _Listening) for handler in logger.handlers):
        logger.addHandler(_Listening())
    yield
