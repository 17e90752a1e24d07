"""The daemon's tables are made and upgraded by steps, by any number of runs at once, and never by guesswork."""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import psycopg2
import pytest

from demo.servers.postgres import EmbeddedPostgres
from sql.connection import Connection
from sql.errors import DatabaseError, SchemaError
from sql.tables.schema import SAME_TABLES, Upgrade, initialize, known_upgrades, missing_upgrades, require_current

EXTRA = (
    Upgrade(9001, "9001_notes.sql", "CREATE TABLE janitor_notes (id INTEGER PRIMARY KEY, note TEXT);"),
    Upgrade(9002, "9002_more.sql", "ALTER TABLE janitor_notes ADD more TEXT; CREATE INDEX ON janitor_notes (more);"),
)
"""Upgrades as later versions will bring them."""


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    """A connection to an empty database."""
    with closing(Connection(database_url)) as opened:
        yield opened


@pytest.fixture
def dump(postgres: EmbeddedPostgres) -> Callable[[str], str]:
    """A database's schema in SQL, as `pg_dump` writes it."""

    def dump_schema(database_url: str) -> str:
        command = [str(postgres.binaries / "pg_dump"), "--schema-only", "--no-owner", "--dbname", database_url]
        text = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
        return "\n".join(line for line in text.splitlines() if not line.startswith(("--", "\\")))

    return dump_schema


def test_a_new_installation_has_all_tables_and_needs_them_once(connection: Connection) -> None:
    names = tuple(upgrade.name for upgrade in known_upgrades())
    assert names[0] == "0001_runs_migrations_attempts.sql"
    assert initialize(connection, known_upgrades()) == names
    require_current(connection, known_upgrades())
    assert initialize(connection, known_upgrades()) == ()


def test_upgrades_are_numbered_without_gaps() -> None:
    jobs = {upgrade.job for upgrade in known_upgrades()}
    for job in jobs:
        numbers = [upgrade.number for upgrade in known_upgrades() if upgrade.job == job]
        assert numbers == list(range(1, len(numbers) + 1))


OF_JOBS = (
    Upgrade(1, "notes/0001_notes.sql", "CREATE TABLE janitor_remarks (id INTEGER PRIMARY KEY);", "notes"),
    Upgrade(1, "words/0001_words.sql", "CREATE TABLE janitor_words (id INTEGER PRIMARY KEY);", "words"),
    Upgrade(2, "words/0002_more.sql", "ALTER TABLE janitor_words ADD more TEXT;", "words"),
)
"""Upgrades as jobs bring them, each with numbers of its own."""


def test_each_job_has_upgrades_with_numbers_of_its_own(connection: Connection) -> None:
    initialize(connection, (*known_upgrades(), OF_JOBS[1]))
    with pytest.raises(SchemaError, match=r"notes/0001_notes\.sql.*init-db"):
        require_current(connection, (*known_upgrades(), *OF_JOBS))
    assert initialize(connection, (*known_upgrades(), *OF_JOBS)) == ("notes/0001_notes.sql", "words/0002_more.sql")
    assert initialize(connection, (*known_upgrades(), *OF_JOBS)) == ()
    with pytest.raises(SchemaError, match=r"notes/0001_notes\.sql.*versión más nueva"):
        require_current(connection, (*known_upgrades(), *OF_JOBS[1:]))


def test_an_upgrade_of_a_job_that_was_edited_since_is_refused(connection: Connection) -> None:
    initialize(connection, (*known_upgrades(), *OF_JOBS))
    edited = Upgrade(1, OF_JOBS[0].name, OF_JOBS[0].statements + " -- a remark", "notes")
    with pytest.raises(SchemaError, match=r"notes/0001_notes\.sql cambió"):
        require_current(connection, (*known_upgrades(), edited, *OF_JOBS[1:]))


def test_upgrades_of_jobs_are_found_in_their_folders(tmp_path: Path) -> None:
    for job, name in (("words", "0002_more.sql"), ("words", "0001_words.sql"), ("notes", "0001_notes.sql")):
        (tmp_path / job / "upgrades").mkdir(parents=True, exist_ok=True)
        (tmp_path / job / "upgrades" / name).write_text(f"-- {name}")
    (tmp_path / "without").mkdir()
    found = known_upgrades(jobs=tmp_path)[len(known_upgrades(jobs=tmp_path / "without")) :]
    assert [(upgrade.key, upgrade.name) for upgrade in found] == [
        (("notes", 1), "notes/0001_notes.sql"),
        (("words", 1), "words/0001_words.sql"),
        (("words", 2), "words/0002_more.sql"),
    ]


def test_a_database_without_tables_says_what_to_do(connection: Connection) -> None:
    with pytest.raises(SchemaError, match="init-db"):
        require_current(connection, known_upgrades())


def test_an_older_database_says_what_to_do(connection: Connection) -> None:
    initialize(connection, known_upgrades())
    with pytest.raises(SchemaError, match=r"9001_notes\.sql.*init-db"):
        require_current(connection, (*known_upgrades(), *EXTRA))


def test_a_database_from_before_the_upgrades_of_jobs_says_which_it_lacks(
    connection: Connection, database_url: str
) -> None:
    initialize(connection, known_upgrades())
    execute(database_url, "DROP TABLE janitor_job_upgrades; DELETE FROM janitor_upgrades WHERE number >= 5")
    with pytest.raises(SchemaError, match=r"le faltan 0005_jobs\.sql, .*init-db"):
        require_current(connection, known_upgrades())


def test_a_newer_database_is_refused(connection: Connection) -> None:
    initialize(connection, (*known_upgrades(), *EXTRA))
    for ask in (require_current, initialize, missing_upgrades):
        with pytest.raises(SchemaError, match=r"9001_notes\.sql.*versión más nueva"):
            ask(connection, known_upgrades())


def test_an_upgrade_that_was_edited_since_is_refused(connection: Connection) -> None:
    initialize(connection, (*known_upgrades(), *EXTRA))
    edited = Upgrade(9001, "9001_notes.sql", EXTRA[0].statements + "\n-- a harmless remark")
    for ask in (require_current, initialize):
        with pytest.raises(SchemaError, match=r"9001_notes\.sql cambió"):
            ask(connection, (*known_upgrades(), edited, EXTRA[1]))


def test_the_way_out_of_an_edited_upgrade_works(connection: Connection, database_url: str) -> None:
    edited = Upgrade(1, OF_JOBS[0].name, OF_JOBS[0].statements + " -- a remark", "notes")
    also = Upgrade(9001, "9001_notes.sql", EXTRA[0].statements + "\n-- a harmless remark")
    initialize(connection, (*known_upgrades(), EXTRA[0], OF_JOBS[0]))
    for _ in (edited, also):
        with pytest.raises(SchemaError, match=r"git checkout.* UPDATE janitor_") as refused:
            require_current(connection, (*known_upgrades(), also, edited))
        execute(database_url, "UPDATE " + str(refused.value).rpartition("UPDATE ")[2])
    require_current(connection, (*known_upgrades(), also, edited))


def test_a_database_made_by_an_earlier_text_that_made_the_same_tables_is_used(
    connection: Connection, database_url: str
) -> None:
    initialize(connection, known_upgrades())
    for name, hashes in SAME_TABLES.items():
        assert name in {upgrade.name for upgrade in known_upgrades()}
        execute(database_url, f"UPDATE janitor_upgrades SET sha256 = '{hashes[0]}' WHERE name = '{name}'")  # noqa: S608
    require_current(connection, known_upgrades())
    assert initialize(connection, known_upgrades()) == ()


def test_an_upgrade_that_fails_leaves_nothing_of_itself(connection: Connection) -> None:
    broken = Upgrade(9003, "9003_broken.sql", "CREATE TABLE janitor_half (id INTEGER); SELECT no_such_function();")
    with pytest.raises(Exception, match=r"no se pudo aplicar 9003_broken\.sql, .* no_such_function"):
        initialize(connection, (*known_upgrades(), broken))
    require_current(connection, known_upgrades())
    assert initialize(connection, (*known_upgrades(), *EXTRA)) == ("9001_notes.sql", "9002_more.sql")


@pytest.mark.parametrize(
    ("lost", "cause", "way_out"),
    [
        (1, "9001_notes.sql", "ALTER TABLE IF EXISTS janitor_notes SET SCHEMA anterior"),
        (2, "9002_more.sql", "ALTER TABLE janitor_notes RENAME COLUMN more TO more_anterior"),
        (3, "9003_index.sql", "borre janitor_by_note"),
    ],
)
def test_what_is_there_without_its_upgrade_is_named_with_a_way_out(
    connection: Connection, database_url: str, lost: int, cause: str, way_out: str
) -> None:
    """As after somebody has removed the upgrade's row; what is told helps."""
    index = Upgrade(9003, "9003_index.sql", "CREATE INDEX janitor_by_note ON janitor_notes (note);")
    upgrades = (*known_upgrades(), *EXTRA, index)
    initialize(connection, upgrades)
    execute(database_url, f"DELETE FROM janitor_upgrades WHERE number >= {9000 + lost}")  # noqa: S608
    missing = ", ".join(upgrade.name for upgrade in upgrades if upgrade.number >= 9000 + lost)
    with pytest.raises(SchemaError, match=re.escape(f"{missing}; ejecute 'init-db'")):
        require_current(connection, upgrades)
    with pytest.raises(DatabaseError, match=f"no se pudo aplicar {cause}, .* already exists") as raised:
        initialize(connection, upgrades)
    assert way_out in str(raised.value)
    if lost == 1:
        execute(database_url, "CREATE SCHEMA anterior; ALTER TABLE IF EXISTS janitor_notes SET SCHEMA anterior")
        assert initialize(connection, upgrades)[0] == cause


def test_upgrades_one_by_one_equal_a_new_installation(
    postgres: EmbeddedPostgres, connection: Connection, database_url: str, dump: Callable[[str], str]
) -> None:
    upgrades = (*known_upgrades(), *EXTRA, *OF_JOBS)
    fresh_url = postgres.new_database("fresh")
    with closing(Connection(fresh_url)) as fresh:
        initialize(fresh, upgrades)
    for count in range(1, len(upgrades) + 1):
        initialize(connection, upgrades[:count])
    assert dump(database_url) == dump(fresh_url)
    assert "CREATE TABLE public.janitor_notes" in dump(database_url)


def test_existing_platform_tables_are_left_as_they_are(
    connection: Connection, database_url: str, dump: Callable[[str], str]
) -> None:
    execute(
        database_url,
        "CREATE TABLE ejecuciones_yaml (id BIGINT PRIMARY KEY, uuid UUID NOT NULL, ruta_directorio TEXT, "
        "fecha_ejecucion TIMESTAMPTZ, migrado_a_nube BOOLEAN, ruta_nube TEXT, nube_provider_id INTEGER, extra TEXT)",
    )
    before = dump(database_url)
    initialize(connection, known_upgrades())
    after = dump(database_url)
    start = before.index("CREATE TABLE public.ejecuciones_yaml")
    assert before[start : before.index(");", start)] in after


def execute(database_url: str, statement: str) -> None:
    with closing(psycopg2.connect(database_url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement)


def test_several_at_once_take_turns(database_url: str) -> None:
    upgrades = (*known_upgrades(), *EXTRA)
    runs = 4
    start = threading.Barrier(runs)

    def initialize_at_once(_number: int) -> None:
        with closing(Connection(database_url)) as connection:
            connection.connect()
            start.wait()
            initialize(connection, upgrades)
            require_current(connection, upgrades)

    with ThreadPoolExecutor(runs) as executor:
        list(executor.map(initialize_at_once, range(runs)))
    with closing(Connection(database_url)) as connection:
        applied = [row["name"] for row in connection.query("list_upgrades")]
    assert applied == [upgrade.name for upgrade in sorted(upgrades, key=lambda upgrade: upgrade.key)]


def test_only_well_named_files_are_upgrades(tmp_path: Path) -> None:
    for name in ("0002_second.sql", "0001_first.sql", "0003_third.sql.bak", "README.md", "3_short.sql", "0004_Up.sql"):
        (tmp_path / name).write_text(f"-- {name}")
    found = known_upgrades(tmp_path, jobs=tmp_path)
    assert [(upgrade.number, upgrade.name) for upgrade in found] == [(1, "0001_first.sql"), (2, "0002_second.sql")]


def test_rights_that_a_role_lacks_are_named(database_url: str) -> None:
    execute(database_url, "DROP ROLE IF EXISTS reader")
    execute(database_url, "CREATE ROLE reader LOGIN PASSWORD 'reader'")
    parts = urlsplit(database_url)
    url = parts._replace(netloc=f"reader:reader@{parts.hostname}:{parts.port}").geturl()
    with closing(Connection(url)) as connection, pytest.raises(SchemaError, match="permiso"):
        initialize(connection, known_upgrades())
    execute(database_url, "DROP ROLE reader")
