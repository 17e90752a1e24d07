"""A session whose snapshot programs share: what it says when there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo.servers.postgres import EmbeddedPostgres
from sql.errors import DatabaseError, DatabaseUnavailable
from sql.snapshots import SnapshotSession, program_address, url_of_database

TORN = (
    "postgresql://u:s3cret@[127.0.0.1/db",
    "postgresql://u:s3cret%zz@127.0.0.1:1/db",
    "host=127.0.0.1 user=u password='s3cret",
    "postgres//u:s3cret@127.0.0.1/db",
    "postgresql://u:12@s3cret@127.0.0.1:1/db",
    "postgresql://u:1/s3cret@127.0.0.1:1/db",
)


@pytest.mark.parametrize("address", TORN)
def test_an_address_that_cannot_be_read_is_refused_without_quoting_it(address: str) -> None:
    """In every function that takes one."""
    for use in (lambda: SnapshotSession(address, Path()), lambda: program_address(address),
                lambda: url_of_database(address, "other")):  # fmt: skip
        with pytest.raises(DatabaseError, match=r"no es una URI|sin codificar") as failure:
            use()
        assert "s3cret" not in f"{failure.value}{failure.value.__cause__}"


def test_why_there_is_no_session_is_said_as_of_every_connection(postgres: EmbeddedPostgres) -> None:
    wrong = postgres.url_of("falta").replace("janitor:", "janitor:x")
    with pytest.raises(DatabaseUnavailable) as failure:
        SnapshotSession(wrong, Path())
    assert str(failure.value).startswith("no se puede usar la base de datos: el usuario o la contraseña no son")


def test_a_server_without_room_for_locks_is_told_from_one_without_memory(postgres: EmbeddedPostgres) -> None:
    """A database of very many tables meets this where it locks them. Only the server's advice names the setting."""
    with SnapshotSession(postgres.database_url, Path()) as session, pytest.raises(DatabaseError) as failure:
        session.run(b"SELECT count(pg_advisory_lock(g)) FROM generate_series(1, 1000000) g")
    assert str(failure.value).endswith(
        "suba max_locks_per_transaction en postgresql.conf (al doble, por ejemplo) y reinícielo"
    )
