"""The small program that sends the pings of one run, so that a slow server cannot delay its work or keep a lock.

It reads messages from its standard input, one JSON object per line, and answers each with a line: why it could not be
sent, or null. When the input ends without a last message, the run was killed, and it sends that.
"""

from __future__ import annotations

import json
import queue
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from http import HTTPStatus
from http.client import HTTPException
from typing import NamedTuple

from config.fields import FieldError, Fields
from config.text.wording import reason_of
from providers.shared.network import NetworkRules

TRIES = 3
TRY_SECONDS = 5.0
PAUSES_SECONDS = (0.5, 1.0)
LONGEST_SECONDS = TRIES * TRY_SECONDS + sum(PAUSES_SECONDS)

KILLED = "/137"
"""The exit code of a process that SIGKILL has ended, as a shell shows it."""

TOO_MANY_REQUESTS = HTTPStatus.TOO_MANY_REQUESTS


class Ping(NamedTuple):
    """One request."""

    suffix: str
    body: str = ""
    is_last: bool = False


class PingRefused(Exception):
    """The server refused it, and would again."""


def address_of(url: str, suffix: str) -> str:
    """The address of one kind of ping: the suffix ends the path, before any parameters."""
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit(parts._replace(path=parts.path.rstrip("/") + suffix))


def serve() -> None:
    """Send what is asked for until the run's process has said its last, or is gone."""
    url = json.loads(sys.stdin.readline())
    asked: queue.SimpleQueue[Ping | None] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(asked,), daemon=True).start()
    while True:
        ping = asked.get()
        if ping is None:
            ping = Ping(KILLED, "El ciclo se cortó sin acabar: SIGKILL, falta de memoria o un apagado.", is_last=True)
        if ping.suffix:
            _answer(send(url, ping, asked))
        if ping.is_last:
            return


def _read(asked: queue.SimpleQueue[Ping | None]) -> None:
    for line in sys.stdin:
        asked.put(Ping(*json.loads(line)))
    asked.put(None)


def _answer(problem: str | None) -> None:
    try:
        print(json.dumps(problem), flush=True)  # noqa: T201 this is how it answers
    except OSError:
        return  # the run's process is gone


def send(url: str, ping: Ping, asked: queue.SimpleQueue[Ping | None]) -> str | None:
    """Send it, at most three times; a start that is late is given up. Return why it was not sent."""
    problem: str | None = None
    for number in range(TRIES):
        if number:
            time.sleep(PAUSES_SECONDS[number - 1])
            if not ping.is_last and not asked.empty():
                return problem
        try:
            problem = _try(url, ping)
        except PingRefused as refused:
            return str(refused)
        if problem is None:
            return None
    return problem


def _try(url: str, ping: Ping) -> str | None:
    """One try in a thread, because a name server or a trickling answer keep no time limit. Raises `PingRefused`."""
    results: queue.SimpleQueue[str | PingRefused | None] = queue.SimpleQueue()
    threading.Thread(target=lambda: results.put(_requested(url, ping)), daemon=True).start()
    try:
        result = results.get(timeout=TRY_SECONDS)
    except queue.Empty:
        return f"no contestó en {TRY_SECONDS:.0f} s"
    if isinstance(result, PingRefused):
        raise result
    return result


def _requested(url: str, ping: Ping) -> str | PingRefused | None:
    try:
        opener = _opener(url)
        request = urllib.request.Request(address_of(url, ping.suffix))  # noqa: S310 http or https, by its parser
        request.add_header("User-Agent", "janitor-daemon")
        if ping.is_last:
            request.data = ping.body.encode()
            request.add_header("Content-Type", "text/plain; charset=utf-8")
        with opener.open(request, timeout=TRY_SECONDS) as answer:
            answer.read(1024)
    except urllib.error.HTTPError as error:
        reason = f"contestó {error.code}"
        is_final = error.code < HTTPStatus.INTERNAL_SERVER_ERROR and error.code != TOO_MANY_REQUESTS
        return PingRefused(reason) if is_final else reason
    except FieldError as error:
        return PingRefused(str(error))
    except OSError as error:
        return _why_not_connected(error)
    except (HTTPException, ValueError) as error:
        return f"la respuesta no se entiende ({type(error).__name__})"
    return None


def _why_not_connected(error: OSError) -> str:
    from providers.shared.network_errors import network_error  # for failures only, as it imports a good deal

    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if (known := network_error(error)) is not None or (known := network_error(_exception_of(cause))) is not None:
        return str(known)
    return reason_of(cause) if isinstance(cause, OSError) else "no se pudo conectar"


def _exception_of(cause: object) -> BaseException:
    return cause if isinstance(cause, BaseException) else OSError(str(cause))


def _opener(url: str) -> urllib.request.OpenerDirector:
    """With the certificates and the proxy of this program's other requests. Raises `FieldError`."""
    network = NetworkRules(Fields("JANITOR_PING_URL", {})).for_url(url)
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler(network.proxies)]
    if network.is_secure or (network.proxy is not None and network.proxy.is_secure):
        handlers.append(urllib.request.HTTPSHandler(context=network.trust.context))
    return urllib.request.build_opener(*handlers)
