"""The SQL that backups consist of: the files in `statements`, with their gaps filled."""

from __future__ import annotations

import functools
import re
import secrets
from collections.abc import Iterable
from pathlib import Path

QUERIES = Path(__file__).parent / "queries"
FOLDER = Path(__file__).parent / "statements"
REVOCATION = b"\nREVOKE "
GAP = re.compile(rb"\{\{(\w+)\}\}")


def render(statement: str, /, **parts: bytes | str | int) -> bytes:
    """The text of `statements/{statement}.sql` with its gaps filled.

    `{{tag}}` is a dollar quote that occurs nowhere else.
    """
    return filled(_text(FOLDER / f"{statement}.sql"), **parts)


def filled(text: bytes, /, **parts: bytes | str | int) -> bytes:
    """A text with each `{{gap}}` filled; what is put in is not looked at again."""
    known = {"tag": f"$j{secrets.token_hex(8)}$", **parts}
    return GAP.sub(lambda gap: _encoded(known[gap[1].decode()]), text)


def filled_views(post_data: bytes, views: Iterable[bytes]) -> list[bytes]:
    """Which of these materialised views a dump fills, in its order: one may read another, which may be empty."""
    places = {view: post_data.rfind(b"\n" + render("refresh_of_dump", view=view)) for view in views}
    return sorted((view for view, place in places.items() if place >= 0), key=places.__getitem__)


def refresh(view: bytes, settings: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The statement that refreshes a view under some settings, or warns that its query fails."""
    values = b", ".join(b"(%b, %b)" % (literal(name), literal(value)) for name, value in settings)
    return render("refresh", view=view, name=literal(view), settings=values)


def lending(pre_data: bytes) -> bytes:
    """The statements that give owners rights they have revoked from themselves, if any may have; see `returning`."""
    return render("lend_rights") if REVOCATION in pre_data else b""


def returning(pre_data: bytes) -> bytes:
    """The statements that revoke the lent rights again."""
    return render("return_rights") if REVOCATION in pre_data else b""


def literal(text: bytes) -> bytes:
    """A name or a text as an SQL literal, the same whether `standard_conforming_strings` is on or off."""
    quoted = b"'" + text.replace(b"'", b"''") + b"'"
    return b" E" + quoted.replace(b"\\", b"\\\\") if b"\\" in text else quoted


def _encoded(part: bytes | str | int) -> bytes:
    return part if isinstance(part, bytes) else str(part).encode()


@functools.cache
def _text(path: Path) -> bytes:
    return path.read_bytes()
