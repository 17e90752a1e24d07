"""What PostgreSQL says reaches operators with a sentence in their language before it, if it is known what it means."""

from __future__ import annotations

import socket
from contextlib import closing
from urllib.parse import urlsplit

import pytest

from demo.servers.postgres import EmbeddedPostgres
from sql.connection import Connection
from sql.database_messages import in_spanish
from sql.errors import DatabaseError, DatabaseUnavailable


def url_with(url: str, **parts: str) -> str:
    """An address of which some parts are others."""
    found = urlsplit(url)
    user, host = parts.get("user", found.username), parts.get("host", found.hostname)
    return f"postgresql://{user}:{found.password}@{host}:{found.port}/{parts.get('database', found.path[1:])}"


def reason_why_not(url: str) -> str:
    with closing(Connection(url)) as connection, pytest.raises(DatabaseUnavailable) as refused:
        connection.connect()
    return str(refused.value)


@pytest.mark.parametrize(
    ("part", "value", "meaning"),
    [
        ("database", "falta", "no existe esa base de datos (servidor 127.0.0.1, puerto "),
        ("user", "nadie", "el usuario o la contraseña no son correctos (servidor 127.0.0.1, puerto "),
        ("host", "no-existe.invalid", "el nombre del servidor no se encuentra (DNS) (could not translate host name"),
    ],
)
def test_why_a_server_cannot_be_used(postgres: EmbeddedPostgres, part: str, value: str, meaning: str) -> None:
    told = reason_why_not(url_with(postgres.database_url, **{part: value}))
    assert told.startswith(f"no se puede usar la base de datos: {meaning}")
    assert value in told


def test_a_port_on_which_nobody_listens() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as gone:
        port = gone.getsockname()[1]
    told = reason_why_not(f"postgresql://janitor@127.0.0.1:{port}/sage")
    assert told.endswith(
        f"en esa dirección y ese puerto no escucha ningún servidor (servidor 127.0.0.1, puerto {port})"
    )


REFUSED = 'connection to server at "db" (::1), port 5432 failed: Connection refused'


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        (
            'connection to server at "db" (10.0.0.7), port 5432 failed: FATAL:  role "ana" does not exist',
            "no existe ese usuario de la base de datos (servidor db, puerto 5432, usuario ana)",
        ),
        (
            'connection to server on socket "/run/x/.s.PGSQL.5432" failed: No such file or directory',
            "no hay ningún servidor local en ese directorio (en /run/x/.s.PGSQL.5432)",
        ),
        (
            'connection to server at "db", port 5432 failed: FATAL:  no pg_hba.conf entry for host "1.2.3.4"',
            'no pg_hba.conf entry for host "1.2.3.4")',
        ),
        (
            f"{REFUSED}\n{REFUSED}",
            f"({REFUSED}\n{REFUSED})",
        ),
    ],
)  # fmt: skip
def test_english_is_left_out_where_nothing_else_is_in_it(told: str, kept: str) -> None:
    """Each name stays: server, user, database. What says more, or of several addresses, stays whole."""
    assert in_spanish(None, told).endswith(kept)


def test_a_statement_that_breaks_a_rule_of_its_table(postgres: EmbeddedPostgres) -> None:
    with (
        closing(Connection(postgres.database_url)) as connection,
        pytest.raises(DatabaseError, match=r"no cumplen una restricción de la tabla \(null value in column"),
    ):
        connection.execute_script("CREATE TEMP TABLE made (one INT NOT NULL); INSERT INTO made VALUES (NULL)")


@pytest.mark.parametrize(
    ("sqlstate", "told", "meaning"),
    [
        (None, 'x failed: FATAL:  password authentication failed for user "u"', "el usuario o la contraseña no son"),
        (None, "x failed: fe_sendauth: no password supplied", "el servidor pide una contraseña"),
        (None, 'x failed: FATAL:  no pg_hba.conf entry for host "1"', "el servidor no admite a ese usuario"),
        (None, "x failed: FATAL:  sorry, too many clients already", "el servidor no admite más conexiones"),
        (None, "x failed: FATAL:  the database system is starting up", "el servidor está arrancando"),
        (None, "x failed: server does not support SSL, but SSL was required", "se pide una conexión segura"),
        (None, "x failed: SSL error: certificate verify failed", "el certificado del servidor no es de confianza"),
        (None, "x failed: timeout expired", "el servidor no contesta a tiempo"),
        ("57P01", "terminating connection due to administrator command", "el servidor cerró la conexión"),
        ("53100", "could not extend file", "el disco del servidor está lleno"),
    ],
)
def test_what_is_known_stands_before_what_was_said(sqlstate: str | None, told: str, meaning: str) -> None:
    assert in_spanish(sqlstate, told).startswith(meaning)
    assert in_spanish(sqlstate, told).endswith(f" ({told})")


@pytest.mark.parametrize(
    ("sqlstate", "told"),
    [(None, "something else"), ("42601", "syntax error: failed: Connection refused"), (None, "see timeout expired?")],
)
def test_what_is_not_known_for_sure_stays_as_it_was_said(sqlstate: str | None, told: str) -> None:
    """The words of a statement's error may be those of a row: there the code alone tells."""
    assert in_spanish(sqlstate, told) == told
