"""Makes text fit for a database in any encoding, so that one row's text never stops the work for all others.

Only here is it decided what a database can hold: texts that people read are changed until they fit, all others must be
stored exactly or not at all. In both directions no byte is lost, whatever the encoding.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import psycopg2.extensions

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

PYTHON_CODECS = psycopg2.extensions.encodings
"""By PostgreSQL's names of encodings. psycopg2 looks here which codec a connection uses."""

KEEPING = "janitor_keeping_"
"""How the names of codecs begin that keep what cannot be decoded."""


@dataclass(frozen=True, slots=True)
class Told:
    """A text for people: an error, or a name in a message. What the database cannot hold becomes `\\u20ac`."""

    text: str


@dataclass(frozen=True, slots=True)
class ToldJson:
    """The same for a value that is stored as JSON, at any depth."""

    value: object


def speak_its_encoding(connection: psycopg2.extensions.connection) -> None:
    """Exchange texts with the server in the database's own encoding, unless that is UTF-8 already.

    The server then converts nothing, and so refuses no whole answer because of one row in it: a database in SQL_ASCII
    holds whatever bytes a client once sent, and others hold bytes that stand for no character. They come as
    `os.fsdecode` gives those of file names, and go back as the same bytes.
    """
    server_encoding = _server_encoding(connection)
    codec = _codec_of(server_encoding)
    if server_encoding == "UTF8" or codec is None:
        return
    for name in (server_encoding, server_encoding.replace("_", "")):
        PYTHON_CODECS[name] = KEEPING + codec
    connection.set_client_encoding(server_encoding)


def fit_for(text: str, codec: str) -> str:
    """`text` with escapes in the place of what a codec cannot express and of NUL, which no database can hold."""
    return text.replace("\0", "\\x00").encode(codec, "backslashreplace").decode(codec)


def _fit_json(value: object, codec: str) -> object:
    if isinstance(value, str):
        return fit_for(value, codec)
    if isinstance(value, Mapping):
        return {fit_for(str(key), codec): _fit_json(item, codec) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_fit_json(item, codec) for item in value]
    return value


class _AdaptedText:
    """What psycopg2 puts into a statement, once it knows the connection."""

    def __init__(self, told: object) -> None:
        self._told = told
        self._quoted = b""

    def prepare(self, connection: psycopg2.extensions.connection) -> None:
        codec = _codec_of(_server_encoding(connection)) or "ascii"
        quoted = psycopg2.extensions.QuotedString(self._fitted(codec))
        quoted.prepare(connection)
        self._quoted = quoted.getquoted()

    def _fitted(self, codec: str) -> str:
        if isinstance(self._told, Told):
            return fit_for(self._told.text, codec)
        # Not as escapes: PostgreSQL would have to convert them, and refuses those that its encoding lacks.
        value = self._told.value if isinstance(self._told, ToldJson) else self._told
        return json.dumps(_fit_json(value, codec), ensure_ascii=False)

    def getquoted(self) -> bytes:
        return self._quoted


def _server_encoding(connection: psycopg2.extensions.connection) -> str:
    return connection.get_parameter_status("server_encoding") or "UTF8"


def _codec_of(server_encoding: str) -> str | None:
    """Python's name of an encoding; `None` for the few that Python lacks. SQL_ASCII takes any bytes, and UTF-8 is what
    most programs have put into it.
    """
    if server_encoding in ("UTF8", "SQL_ASCII"):
        return "utf_8"
    return PYTHON_CODECS.get(server_encoding, "").removeprefix(KEEPING) or None


@cache
def _keeping_codec(name: str) -> codecs.CodecInfo | None:
    """Python's codec of this name, but that bytes which stand for no character are kept as `os.fsdecode` keeps them."""
    if not name.startswith(KEEPING):
        return None
    strict = codecs.lookup(name.removeprefix(KEEPING))

    def encode(text: str, _errors: str = "strict", /) -> tuple[bytes, int]:
        return strict.encode(text, "surrogateescape")

    def decode(encoded: Buffer, _errors: str = "strict", /) -> tuple[str, int]:
        return strict.decode(bytes(encoded), "surrogateescape")

    return codecs.CodecInfo(encode, decode, name=name)


codecs.register(_keeping_codec)
for _kind in (Told, ToldJson):
    psycopg2.extensions.register_adapter(_kind, _AdaptedText)
