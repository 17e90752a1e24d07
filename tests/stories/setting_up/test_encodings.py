"""Databases in other encodings than UTF-8: a text that does not fit, or cannot be read, is one execution's own matter.

Looked for in every write and read of `sql/`: errors of executions, attempts and removals, the host's name,
the run's report, names of secrets, and the texts of the platform's rows.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from demo.servers.postgres import EmbeddedPostgres
from sql.database import Database
from sql.errors import DatabaseError
from tests.databases.lent_databases import DISCONNECTED
from tests.databases.platform_database import Platform, claim_one, open_attempt
from tests.destinations import Destination
from tests.servers.postgres.pgbouncer import PgBouncer
from tests.stories.forked import ForkedCommands
from tests.stories.installation import Installation

ENCODINGS = ["LATIN1", "SQL_ASCII", "WIN1252", "LATIN9", "EUC_JP", "UTF8"]


@pytest.fixture(params=ENCODINGS)
def encoding(request: pytest.FixtureRequest) -> str:
    """PostgreSQL's name of one encoding after the other."""
    return str(request.param)


@pytest.fixture
def encoded_url(
    encoding: str,
    postgres: EmbeddedPostgres,
    database_administrator: Callable[[str], None],
    database_numbers: Iterator[int],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[str]:
    """The URI of an empty database in that encoding."""
    name = f"test_{next(database_numbers)}"
    monkeypatch.setenv("PGCLIENTENCODING", "UTF8")  # for the test's own connections
    options = f"ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    database_administrator(f"CREATE DATABASE {name} {options}")
    yield postgres.url_of(name)
    database_administrator(DISCONNECTED.format(name=name))
    database_administrator(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def encoded(tmp_path: Path, encoded_url: str, forked_commands: ForkedCommands) -> Iterator[Installation]:
    """An installation on such a database."""
    with contextlib.closing(Installation(tmp_path / "sage", encoded_url)) as installation:
        installation.install()
        installation.forked = forked_commands
        yield installation


@pytest.fixture
def platform(encoded_url: str) -> Iterator[Platform]:
    """The tables on such a database."""
    with contextlib.closing(Platform(encoded_url)) as opened:
        yield opened


def test_an_error_text_that_does_not_fit_stops_no_other_execution(encoded: Installation, nas: Destination) -> None:
    encoded.configure(encoded.add_provider(nas))
    for number in range(10):
        directory = encoded.small_execution(f"uuid-{number}", age_hours=100 - number)
        if number == 1:
            os.mkfifo(directory / "precio en €")
            os.mkfifo(directory / os.fsdecode(b"un byte suelto: \xff"))
    run = encoded.run()
    assert run.exit_code == 1
    assert [encoded.place(f"uuid-{number}")[0] for number in range(10)] == [number != 1 for number in range(10)]
    assert "precio en" in encoded.migration("uuid-1")["error"]
    assert encoded.unfinished() == {"attempts": 0, "leases": 0, "removals": 0}
    assert encoded.rows("SELECT exit_code FROM janitor_runs") == [{"exit_code": 1}]


@pytest.mark.parametrize("encoding", ["LATIN1"], indirect=True)
def test_what_does_not_fit_is_kept_as_an_escape_and_the_rest_as_it_is(platform: Platform) -> None:
    database = platform.run("máquina €")
    claim = claim_one(database, platform.add_execution())
    attempt = open_attempt(database, claim)
    database.abandon_attempt(attempt, "code", "no cabe: ñ € \udcff")
    database.fail_migration(claim, "failed", "code", "no cabe: ñ € \udcff")
    database.finish_run(0, {"nota €": ["ñ", "€", "\0", "\ud83d"]})
    attempts = platform.sql("SELECT error, host FROM janitor_attempts")
    assert attempts == [{"error": "no cabe: ñ \\u20ac \\xff", "host": "máquina \\u20ac"}]
    assert platform.value("SELECT error FROM janitor_migrations") == "no cabe: ñ \\u20ac \\xff"
    assert platform.value("SELECT report FROM janitor_runs") == {"nota \\u20ac": ["ñ", "\\u20ac", "\\x00", "\\ud83d"]}


def test_a_host_with_any_name_finds_its_own_work_again(platform: Platform) -> None:
    """Every statement that names the host names it in the same form."""
    execution = platform.add_execution()
    claim_one(platform.run("máquina €"), execution)
    assert list(platform.run("otra").candidates(0)) == []
    assert list(platform.run("máquina €").candidates(0)) == [[execution]]


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "WIN1252"], indirect=True)
def test_a_row_whose_text_cannot_be_read_stops_no_other(encoded: Installation, nas: Destination) -> None:
    """A byte that stands for no character, in the uuid of one row, in the directory of another one, in a provider."""
    encoded.configure(encoded.add_provider(nas))
    for number in range(4):
        encoded.small_execution(f"uuid-{number}")
    odd_byte = "convert_from('\\x81', getdatabaseencoding())"
    for column, uuid in (("uuid", "uuid-1"), ("ruta_directorio", "uuid-2")):
        encoded.execute(
            f"UPDATE ejecuciones_yaml SET {column} = {column} || {odd_byte} WHERE uuid = %s",  # noqa: S608 our own
            (uuid,),
        )
    other = encoded.add_provider(nas)
    encoded.execute(f"UPDATE cloud_providers SET nombre = nombre || {odd_byte} WHERE id = %s", (other,))  # noqa: S608
    run = encoded.run("--all-dirs")
    assert run.exit_code == 1
    assert [encoded.place(f"uuid-{number}")[0] for number in (0, 3)] == [True, True]
    assert encoded.rows("SELECT state FROM janitor_migrations WHERE state <> 'migrated'") == [
        {"state": "refused"},
        {"state": "refused"},
    ]
    assert encoded.unfinished() == {"attempts": 0, "leases": 0, "removals": 0}


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII", "UTF8"], indirect=True)
@pytest.mark.parametrize("text", ["con \0", "con \ud800"])
def test_what_must_be_exact_is_never_changed_in_silence(platform: Platform, text: str) -> None:
    with pytest.raises(DatabaseError, match="no cabe en la codificación"):
        platform.run().stored_executions.with_uuid(text)


@pytest.mark.parametrize("encoding", ["LATIN1"], indirect=True)
def test_a_secret_is_stored_under_its_own_name_or_not_at_all(platform: Platform) -> None:
    database = platform.run()
    database.stored_secrets.store("señal", "token")
    with pytest.raises(DatabaseError, match="no cabe en la codificación"):
        database.stored_secrets.store("precio en €", "token")
    assert [secret.name for secret in database.stored_secrets.all()] == ["señal"]


@pytest.mark.parametrize("encoding", ["LATIN1"], indirect=True)
def test_a_transaction_pooler_keeps_the_encoding(platform: Platform, pgbouncer: PgBouncer) -> None:
    """PgBouncer hands one connection's statements to many sessions, and each must speak the same encoding."""
    execution = platform.add_execution(uuid="ñandú")
    with contextlib.closing(Database(pgbouncer.url_of(platform.database_url), "h")) as database:
        database.start_run(1, "tick", "test")
        for _ in range(3):
            claim = claim_one(database, execution)
            assert claim.execution.uuid == "ñandú"
            database.fail_migration(claim, "failed", "code", "ñ €")
    assert platform.value("SELECT error FROM janitor_migrations") == "ñ \\u20ac"
