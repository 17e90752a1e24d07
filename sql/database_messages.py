"""Translates messages of PostgreSQL and libpq into Spanish, but only those whose meaning is certain."""

from __future__ import annotations

import re

BY_SQLSTATE = {
    "28000": "el servidor no admite a ese usuario",
    "28P01": "el usuario o la contraseña no son correctos",
    "3D000": "no existe esa base de datos",
    "53100": "el disco del servidor está lleno",
    "53200": "el servidor se quedó sin memoria",
    "53300": "el servidor no admite más conexiones",
    "57P01": "el servidor cerró la conexión por orden de su administrador",
    "57P02": "el servidor cerró la conexión porque falló otro de sus procesos",
    "57P03": "el servidor está arrancando o parándose",
}
"""Source: PostgreSQL documentation, appendix A. A class whose errors share one meaning is in `BY_CLASS`."""

SETTING_FOR_LOCKS = "max_locks_per_transaction"
"""PostgreSQL names it in a hint, in any language, where it has no memory for another lock; the code says less."""

NO_ROOM_FOR_LOCKS = (
    f"el servidor no tiene sitio para tantos bloqueos: suba {SETTING_FOR_LOCKS} en postgresql.conf (al doble, por "
    "ejemplo) y reinícielo"
)

BY_CLASS = {
    "22": "un valor no cabe en su columna o no es de su tipo",
    "23": "los datos no cumplen una restricción de la tabla",
    "XX": "el servidor tuvo un fallo interno",
}

BY_TEXT = (
    (r"could not translate host name", "el nombre del servidor no se encuentra (DNS)"),
    (r"failed: Connection refused$", "en esa dirección y ese puerto no escucha ningún servidor"),
    (r"failed: No such file or directory$", "no hay ningún servidor local en ese directorio"),
    (r"failed: (?:No route to host|Network is unreachable)$", "no hay camino en la red hasta el servidor"),
    (r"(?:timeout expired|failed: Connection timed out)$", "el servidor no contesta a tiempo"),
    (r"FATAL:  password authentication failed for user", BY_SQLSTATE["28P01"]),
    (r"fe_sendauth: no password supplied$", "el servidor pide una contraseña y no se le da ninguna"),
    (r'FATAL:  database ".*" does not exist$', BY_SQLSTATE["3D000"]),
    (r'FATAL:  role ".*" does not exist$', "no existe ese usuario de la base de datos"),
    (r"FATAL:  no pg_hba\.conf entry", "el servidor no admite a ese usuario desde este equipo (pg_hba.conf)"),
    (r"FATAL:  (?:sorry, too many clients|remaining connection slots|too many connections)", BY_SQLSTATE["53300"]),
    (r"FATAL:  the database system is", BY_SQLSTATE["57P03"]),
    (r"server does not support SSL", "se pide una conexión segura (sslmode), y el servidor no la tiene"),
    (r"SSL error: certificate verify failed", "el certificado del servidor no es de confianza"),
    (r"server closed the connection unexpectedly", "el servidor cerró la conexión"),
)
"""By what libpq says itself, and by the server's words where it refuses a connection, which comes without a code.
Compiled only once there is an error: every tick would pay for it.
"""


PLACE = (
    r'connection to server (?:at "(?P<host>[^"]*)"(?: \([^)]*\))?, port (?P<port>\d+)|on socket "(?P<socket>[^"]*)") '
    r"failed: (?:FATAL:  )?(?P<reason>.*)"
)
SAID_BY_ITS_MEANING = (
    r"Connection refused|No such file or directory|No route to host|Network is unreachable|Connection timed out|"
    r"timeout expired|fe_sendauth: no password supplied|sorry, too many clients already|"
    r'password authentication failed for user "(?P<user>[^"]*)"|role "(?P<role>[^"]*)" does not exist|'
    r'database "(?P<database>[^"]*)" does not exist'
)
"""Reasons of which nothing is left to say once their meaning and what they name are said."""


def in_spanish(sqlstate: str | None, told: str) -> str:
    """The database's message, preceded by its meaning if that is known, or only what it names besides."""
    meaning = _meaning(sqlstate, told)
    return told if meaning is None else f"{meaning} ({_what_is_named(told) or told})"


def _what_is_named(told: str) -> str | None:
    """Where the server was looked for, and as whom; `None` for a message that says more than that and its meaning."""
    place = re.fullmatch(PLACE, told)
    reason = re.fullmatch(SAID_BY_ITS_MEANING, place["reason"]) if place else None
    if place is None or reason is None:
        return None
    server = f"servidor {place['host']}, puerto {place['port']}" if place["port"] else f"en {place['socket']}"
    user, database = reason["user"] or reason["role"], reason["database"]
    named = f", usuario {user}" if user else f", base de datos {database}" if database else ""
    return f"{server}{named}"


def _meaning(sqlstate: str | None, told: str) -> str | None:
    if sqlstate is not None:
        return BY_SQLSTATE.get(sqlstate) or BY_CLASS.get(sqlstate[:2])
    return next((meaning for text, meaning in BY_TEXT if re.search(text, told)), None)
