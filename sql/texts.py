"""Makes text fit for a database in any encoding, so that one row's text never stops the work on all others.

Only this module decides what a database can hold: texts for people are changed until they fit, all others are stored
exactly or not at all. No byte is lost in either direction, in any encoding.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import psycopg2.extensions

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

PYTHON_CODECS = psycopg2.extensions.encodings
"""By PostgreSQL's names of encodings. psycopg2 looks up a connection's codec here."""

KEEPING = "janitor_keeping_"
"""The name prefix of codecs that preserve undecodable bytes."""


class Told(NamedTuple):
    """A text for people: an error, or a name in a message. Unsupported characters become escapes such as `\\u20ac`."""

    text: str


class ToldJson(NamedTuple):
    """The same for a value that is stored as JSON, at any depth."""

    value: object


def speak_its_encoding(connection: psycopg2.extensions.connection) -> None:
    """Exchange texts with the server in the database's own encoding, unless that is UTF-8 already.

    The server then converts nothing, so one row never makes it refuse a whole result: a database in SQL_ASCII holds any
    bytes that clients sent, and others hold bytes that encode no character. Such bytes are read as `os.fsdecode` reads
    file names, and written back unchanged.
    """
    server_encoding = _server_encoding(connection)
    codec = _codec_of(server_encoding)
    if server_encoding == "UTF8" or codec is None:
        return
    for name in (server_encoding, server_encoding.replace("_", "")):
        PYTHON_CODECS[name] = KEEPING + codec
    connection.set_client_encoding(server_encoding)


def fit_for(text: str, codec: str) -> str:
    """`text` with escapes for characters that a codec cannot encode, and for NUL, which no database can hold."""
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
    """A text adapted for psycopg2, which quotes it once the connection is known."""

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
    """Python's name of an encoding; `None` for the few that Python lacks. SQL_ASCII takes any bytes; most programs
    store UTF-8 in it.
    """
    if server_encoding in ("UTF8", "SQL_ASCII"):
        return "utf_8"
    return PYTHON_CODECS.get(server_encoding, "").removeprefix(KEEPING) or None


@cache
def _keeping_codec(name: str) -> codecs.CodecInfo | None:
    """Python's codec of this name, except that it preserves undecodable bytes as `os.fsdecode` does."""
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
