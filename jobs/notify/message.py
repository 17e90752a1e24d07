"""Makes one message of several notices, short enough for every channel."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Sequence
from datetime import datetime, tzinfo
from typing import NamedTuple

from config.text.plurals import counted

LONGEST_MESSAGE = 4096
"""The limit of Telegram, in UTF-16 units of the text as HTML has it, and of ntfy, in bytes of UTF-8."""

LONGEST_JSON = 7400
"""A text that is longer as ASCII JSON goes to ntfy as an attachment, which most servers of their own refuse. Some
hundred characters are left for its topic and title.
"""

MOST_PER_CHARACTER = 7
"""One character takes no more of the limit: twelve ASCII characters as JSON has it, or six as HTML escapes it."""

RESERVED = 160
"""What is kept for the last line, and for the marks that a channel adds."""

LINE_BREAK = len("<br />\r\n")
STATES = ("needs_person", "failed", "degraded", "ok")
SIGNS = {"needs_person": "🆘", "failed": "🔴", "degraded": "🟡", "ok": "✅"}
KINDS = {
    "first": "",
    "worse": "Empeora: ",
    "recovered": "Resuelto: ",
    "unstable": "Inestable, cambia a menudo: ",
    "reminder": "Sigue: ",
}
UNSTABLE_NOW_WELL = "Inestable, cambia a menudo; ahora va bien: "


class Notice(NamedTuple):
    """One thing to be told."""

    id: int
    kind: str
    state: str
    text: str
    host: str
    broken_since: datetime
    created_at: datetime


class Message(NamedTuple):
    """What one channel is given at once."""

    title: str
    body: str
    notice_ids: tuple[int, ...]
    """The notices that are in it. Those that did not fit go with the next one."""


def compose(notices: Sequence[Notice], zone: tzinfo) -> Message:
    """One message with as many of these notices as fit, at least one; the worst first, then the oldest."""
    in_order = sorted(notices, key=lambda notice: (STATES.index(notice.state), notice.id))
    title = _title(in_order)
    room = LONGEST_MESSAGE - length(title) - RESERVED
    lines: list[str] = []
    for notice in in_order:
        line = _shortened(_line(notice, zone), room) if not lines else _line(notice, zone)
        if length(line) > room:
            break
        room -= length(line)
        lines.append(line)
    left = len(in_order) - len(lines)
    if left:
        lines.append(
            f"… y {counted(left, 'aviso', 'avisos')} más, en el próximo mensaje; 'janitor-daemon status' dice todo"
        )
    return Message(title, "\n".join(lines), tuple(notice.id for notice in in_order[: len(in_order) - left]))


def length(text: str) -> int:
    """How much of the limit a line takes, at the channel at which it takes most."""
    of_telegram = len(html.escape(text).encode("utf-16-le")) // 2
    of_ntfy = max(len(text.encode()), math.ceil(len(json.dumps(text)) * LONGEST_MESSAGE / LONGEST_JSON))
    return max(of_telegram, of_ntfy) + LINE_BREAK


def _title(notices: Sequence[Notice]) -> str:
    trouble = sum(notice.state != "ok" for notice in notices)
    solved = len(notices) - trouble
    parts = [counted(trouble, "problema", "problemas")] if trouble else []
    parts += [counted(solved, "resuelto", "resueltos")] if solved else []
    return f"Janitor: {', '.join(parts)}"


def _line(notice: Notice, zone: tzinfo) -> str:
    since, until = (f"{when.astimezone(zone):%d/%m %H:%M}" for when in (notice.broken_since, notice.created_at))
    when = f"de {since} a {until}" if notice.state == "ok" else f"desde {since}"
    kind = UNSTABLE_NOW_WELL if notice.kind == "unstable" and notice.state == "ok" else KINDS[notice.kind]
    return f"{SIGNS[notice.state]} {kind}{notice.text} ({when}, {notice.host}) [aviso {notice.id}]"


def _shortened(line: str, room: int) -> str:
    """The line, or as much of its beginning as fits."""
    if length(line) <= room:
        return line
    kept = line[:room]
    while length(f"{kept}…") > room:
        kept = kept[: -max(1, (length(f"{kept}…") - room) // MOST_PER_CHARACTER)]
    return f"{kept}…"
