"""The channels by which notices go, each with a name that shows no secret."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from config.logs import learn_secrets
from config.text.secrecy import SHORTEST_SECRET, may_be_a_secret
from jobs.notify.settings import NotifySettings

WITH_A_HOST = frozenset(
    ("form", "forms", "gotify", "gotifys", "json", "jsons", "mailto", "mailtos", "xml", "xmls"),
)
"""Schemes whose addresses name a host. In those of other services a token may have its place."""

PLAIN_PARAMETERS = frozenset(
    ("bcc", "cc", "format", "from", "method", "mode", "name", "overflow", "reply", "smtp", "to")
)
SAYS_THAT_IT_IS_SECRET = re.compile("auth|clave|cookie|cred|key|pass|secret|sig|token", re.IGNORECASE)


class Channel(NamedTuple):
    """One address to which every notice goes."""

    name: str
    """Scheme and host; of several that are alike, with a number."""
    url: str

    def __repr__(self) -> str:
        return f"Channel({self.name})"


def channels_of(settings: NotifySettings) -> tuple[Channel, ...]:
    """All of them, Telegram first; what is secret in their addresses is known to the redactor from then on."""
    counted: Counter[str] = Counter()
    channels = []
    for url in _urls(settings):
        learn_secrets(list(_secrets_in(url)))
        name = _name_of(url)
        counted[name] += 1
        channels.append(Channel(name if counted[name] == 1 else f"{name}#{counted[name]}", url))
    return tuple(channels)


def _urls(settings: NotifySettings) -> Iterator[str]:
    if settings.telegram_token and settings.telegram_chat:
        yield f"tgram://{settings.telegram_token}/{settings.telegram_chat}/"
    yield from settings.urls


def _name_of(url: str) -> str:
    scheme = url.partition(":")[0].lower()
    return f"{scheme}://{_host_of(url)}" if scheme in WITH_A_HOST else scheme


def _host_of(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "?"
    return f"{parts.hostname or '?'}{f':{port}' if port else ''}"


def _secrets_in(url: str) -> Iterator[str]:
    """Every part that may be one, also where a service shows only that part.

    A plain word is none: what hides it would hide it in every path and name, too. A password is one in any case, and a
    value whose name says so.
    """
    scheme, _, rest = url.partition("://")
    try:
        parts = urlsplit(url)
    except ValueError:  # whatever it is, it is no address to which anything is sent
        yield from filter(may_be_a_secret, re.split("[][/@?&=:]", rest))
        return
    found = [parts.username or "", *parts.path.split("/")]
    if scheme.lower() not in WITH_A_HOST:
        found += [*re.split("[/@?]", rest.partition("?")[0])]
    given = [(name, value) for name, value in parse_qsl(parts.query) if name not in PLAIN_PARAMETERS]
    found += [value for _, value in given]
    certain = [value for name, value in given if SAYS_THAT_IT_IS_SECRET.search(name) and len(value) >= SHORTEST_SECRET]
    for part in (parts.password or "", *certain, *filter(may_be_a_secret, found)):
        yield from (part, unquote(part))
