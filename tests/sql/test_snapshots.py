"""A session whose snapshot programs share: what it says when there is none."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path

import psycopg2.extensions
import pytest

from demo.servers.postgres import EmbeddedPostgres
from sql.errors import DatabaseError, DatabasePooled, DatabaseUnavailable
from sql.snapshots import SnapshotSession, program_address, url_of_database
from tests.constants import change_constant
from tests.servers.postgres.pgbouncer import PgBouncer
from tests.servers.postgres.postgres_proxy import Accident, PostgresProxy

TORN = (
    "postgresql://u:s3cret@[127.0.0.1/db",
    "postgresql://u:s3cret%zz@127.0.0.1:1/db",
    "host=127.0.0.1 user=u password='s3cret",
    "postgres//u:s3cret@127.0.0.1/db",
    "postgresql://u:12@s3cret@127.0.0.1:1/db",
    "postgresql://u:1/s3cret@127.0.0.1:1/db",
)

TRAP = b"""
CREATE FUNCTION public.trap(text, text) RETURNS boolean LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION 'an operator of the owner was used'; END $$;
CREATE OPERATOR public.= (LEFTARG = text, RIGHTARG = text, FUNCTION = public.trap);
"""


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


def test_a_server_that_is_lost_between_two_transactions_is_told_as_one(
    postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    """The end of a transaction asks the server, too."""
    with (
        SnapshotSession(postgres.database_url, tmp_path) as session,
        SnapshotSession(postgres.database_url, tmp_path) as other,
    ):
        ((process,),) = session.run(b"SELECT pg_backend_pid()")
        other.run(b"SELECT pg_terminate_backend(%d, 60000)" % process)
        with pytest.raises(DatabaseUnavailable):
            session.begin_read_only()


def test_an_owners_operator_stands_in_for_none_of_postgresqls(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    """A session with all rights calls no function of a schema's owner, whatever search path the database sets."""
    own = url_of_database(postgres.database_url, "owned")
    (tmp_path / "compare.sql").write_text("SELECT 'a'::text = 'a'::text")
    with SnapshotSession(postgres.database_url, tmp_path) as session:
        session.commit_each()
        session.run(b"CREATE DATABASE owned")
        session.run(b"ALTER DATABASE owned SET search_path = public, pg_catalog")
    try:
        with SnapshotSession(own, tmp_path) as session:
            session.run(TRAP)
            session.begin_read_only()
        with SnapshotSession(own, tmp_path) as session:
            assert session.query("compare") == [(True,)]
            session.begin_read_only()
            assert session.query("compare") == [(True,)]
    finally:
        with SnapshotSession(postgres.database_url, tmp_path) as session:
            session.commit_each()
            session.run(b"DROP DATABASE owned WITH (FORCE)")


def test_no_room_for_locks_is_reported_with_the_setting(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    with SnapshotSession(postgres.database_url, tmp_path) as session, pytest.raises(DatabaseError) as failure:
        session.run(b"SELECT pg_advisory_xact_lock(g) FROM generate_series(1, 10000000) g")
    assert str(failure.value).startswith(
        "el servidor no tiene sitio para tantos bloqueos: suba max_locks_per_transaction"
    )


def test_behind_a_transaction_pooler_there_is_no_session(postgres: EmbeddedPostgres, pgbouncer: PgBouncer) -> None:
    """What `pg_dump` sets there would be set for the next program that gets the same connection."""
    with pytest.raises(DatabasePooled) as failure:
        SnapshotSession(pgbouncer.url_of(postgres.database_url), Path())
    assert "BACKUP_DATABASE_URL" in str(failure.value)


def test_programs_go_to_the_server_that_a_session_has_found(postgres: EmbeddedPostgres) -> None:
    """Of several servers in one address, each connection takes one: a snapshot is of one of them."""
    parts = psycopg2.extensions.parse_dsn(postgres.database_url)
    one, port = psycopg2.extensions.make_dsn(**parts), int(parts["port"])
    several = psycopg2.extensions.make_dsn(**{**parts, "host": "127.0.0.1,localhost", "port": f"1,{port}"})
    with SnapshotSession(several, Path()) as session:
        assert session.place == {"host": "localhost", "port": port}
        found = psycopg2.extensions.parse_dsn(program_address(several, **session.place).parameters)
        assert (found["host"], found["port"]) == ("localhost", str(port))
    with SnapshotSession(one, Path()) as session:
        assert session.place == {}


USES: dict[bytes, Callable[[SnapshotSession], object]] = {
    b"pg_backend_pid": lambda _: None,  # asked to open a session
    b"SELECT 1 AS held": lambda session: session.run(b"SELECT 1 AS held"),
    b"COMMIT": lambda session: session.begin_read_only(),
    b"DECLARE": lambda session: list(session.each("numbers", 2)),
    b"FETCH": lambda session: list(session.each("numbers", 2)),
    b"CLOSE": lambda session: list(session.each("numbers", 2)),
}


@pytest.mark.parametrize("held", USES, ids=bytes.decode)
def test_a_server_that_is_connected_and_silent_is_not_waited_for_without_end(
    postgres: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: bytes
) -> None:
    """Whatever it is asked: a run renews its lease meanwhile."""
    (tmp_path / "numbers.sql").write_text("SELECT generate_series(1, 5)")
    change_constant("sql__watchdog__ANSWER_TIMEOUT_SECONDS", 1.0, monkeypatch.setattr)
    change_constant("sql__snapshots__PORTION_TIMEOUT_SECONDS", 1.0, monkeypatch.setattr)
    with PostgresProxy(postgres.database_url, held, Accident.HELD) as proxy, contextlib.ExitStack() as stack:
        answer = threading.Timer(20, proxy.release)  # so that this test fails, and does not hang
        answer.start()
        stack.callback(answer.cancel)
        with (
            pytest.raises(DatabaseUnavailable, match="mantiene la conexión y no contesta"),
            SnapshotSession(proxy.url, tmp_path) as session,
        ):
            USES[held](session)
        assert proxy.struck == 1


def test_what_may_take_long_is_waited_for(
    postgres: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A count takes as long as the table is large, and many large objects as long as they are."""
    (tmp_path / "numbers.sql").write_text("SELECT pg_sleep(0.15), g FROM generate_series(1, 5) g")
    with SnapshotSession(postgres.database_url, tmp_path) as session:
        change_constant("sql__watchdog__ANSWER_TIMEOUT_SECONDS", 0.2, monkeypatch.setattr)
        session.run_long(b"SELECT pg_sleep(0.7)")
        assert session.count_copied(b"COPY (SELECT pg_sleep(0.35) FROM generate_series(1, 2)) TO STDOUT") == 2
        assert len(list(session.each("numbers", 2))) == 5
