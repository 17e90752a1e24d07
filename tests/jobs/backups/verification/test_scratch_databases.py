"""What a proof needs of a server is gone afterwards: when it ends, when it fails, and when the program is killed."""

from __future__ import annotations

import dataclasses
import errno
import os
import re
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path

import psycopg2
import pytest

from demo.servers.postgres import EmbeddedPostgres
from jobs.backups.errors import BackupInterrupted, NoScratchServer, RestoreFailed
from jobs.backups.files.description import Description, Locale, read_description
from jobs.backups.reading.dump import environment
from jobs.backups.reading.programs import find_programs, inherited_environment
from jobs.backups.verification import scratch_server
from jobs.backups.verification.confinement import version_of_landlock
from jobs.backups.verification.proof import Proof, prove
from jobs.backups.verification.scratch_server import scratch_database, scratch_database_on
from sql.snapshots import ProgramAddress
from tests.jobs.backups.pairs import Pair, run
from tests.processes import wait_until

ROLE = "role_that_only_the_backup_knows"


@pytest.fixture
def description(pair: Pair) -> Description:
    """That of a full backup with a role that the other server has not."""
    pair.change("CREATE TABLE a AS SELECT g AS id FROM generate_series(1, 100) g")
    full = pair.full()
    found = read_description(full.path.with_name(full.path.name.replace(".sql.gz", ".json")))
    return dataclasses.replace(found, roles=[*found.roles, ROLE])


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary directory of its own, into which the server's account may write; short, for the socket's name."""
    with tempfile.TemporaryDirectory(prefix="jv-") as name:
        Path(name).chmod(0o777)
        monkeypatch.setattr(tempfile, "tempdir", name)
        yield Path(name)


def left_on(server: EmbeddedPostgres) -> list[str]:
    """Databases and roles of proofs."""
    question = (
        "SELECT datname FROM pg_database WHERE datname LIKE 'janitor\\_verify\\_%%' "
        "UNION ALL SELECT rolname FROM pg_roles WHERE rolname = %s"
    )
    with closing(psycopg2.connect(server.database_url)) as connection, connection.cursor() as cursor:
        cursor.execute(question, (ROLE,))
        return [str(name) for (name,) in cursor.fetchall()]


def killed_within(scratch: Callable[[], AbstractContextManager[str]]) -> None:
    """Kill a process that has a scratch database."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with scratch():
                os.write(writing, b"x")
                signal.pause()
        finally:
            os._exit(1)
    os.close(writing)
    assert os.read(reading, 1) == b"x"
    os.close(reading)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def test_a_server_of_its_own_is_gone_after_a_kill_before_it_is_ready(
    pair: Pair, description: Description, temporary: Path
) -> None:
    """Nobody reads then that it is ready."""
    programs = find_programs(18, "18", pair.binaries)
    child = os.fork()
    if child == 0:
        with scratch_database(programs, description, threading.Event()):
            os._exit(1)
    wait_until(lambda: any(temporary.glob("*/data/*")), 60)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL, "it was not ready yet"
    wait_until(lambda: not list(temporary.iterdir()), 120)


def test_a_server_of_its_own_is_gone_after_a_kill(pair: Pair, description: Description, temporary: Path) -> None:
    programs = find_programs(18, "18", pair.binaries)
    killed_within(lambda: scratch_database(programs, description, threading.Event()))
    wait_until(lambda: list(temporary.iterdir()) == [], 60)


def test_a_server_of_its_own_is_gone_when_it_is_asked_to_stop_or_cannot_begin(
    pair: Pair, description: Description, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = find_programs(18, "18", pair.binaries)
    interruption = threading.Event()
    interruption.set()
    with (
        pytest.raises(BackupInterrupted),
        scratch_database(programs, description, interruption) as url,
    ):
        prove(programs, url, description, next(pair.directory.glob("*.gz")), None, interruption)
    monkeypatch.setattr(scratch_server, "SETTINGS", ("no_such_setting=1",))
    with (
        pytest.raises(NoScratchServer, match="no_such_setting"),
        scratch_database(programs, description, threading.Event()),
    ):
        pass
    assert list(temporary.iterdir()) == []


def test_no_server_is_begun_where_the_backup_has_no_room(pair: Pair, description: Description) -> None:
    large = dataclasses.replace(description, data_bytes=10**18)
    programs = find_programs(18, "18", pair.binaries)
    with pytest.raises(NoScratchServer, match="TMPDIR"), scratch_database(programs, large, threading.Event()):
        pass


def test_a_temporary_directory_that_cannot_be_used_says_nothing_of_the_backups_directory(
    pair: Pair, description: Description, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_directory() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", no_directory)
    programs = find_programs(18, "18", pair.binaries)
    with (
        pytest.raises(NoScratchServer, match="indique otro en TMPDIR"),
        scratch_database(programs, description, threading.Event()),
    ):
        pass


def test_a_user_without_a_name_is_reported_with_what_to_do(
    pair: Pair, description: Description, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a container may run the program."""
    monkeypatch.setattr(os, "geteuid", lambda: 4_000_000_000)
    programs = find_programs(18, "18", pair.binaries)
    with (
        pytest.raises(NoScratchServer, match=r"4000000000 no figura en /etc/passwd.*--server URL"),
        scratch_database(programs, description, threading.Event()),
    ):
        pass


def test_a_database_on_a_given_server_proves_the_backup_and_is_dropped(
    pair: Pair, description: Description, postgres: EmbeddedPostgres
) -> None:
    programs = find_programs(18, "18", pair.binaries)
    with scratch_database_on(postgres.database_url, programs, description, threading.Event()) as url:
        assert len(left_on(postgres)) == 2
        proof = prove(programs, url, description, next(pair.directory.glob("*.gz")), None, threading.Event())
        assert (proof.tables, proof.rows) == (1, 100)
    assert left_on(postgres) == []


def test_a_database_on_a_given_server_is_dropped_with_its_subscriptions(
    pair: Pair, description: Description, postgres: EmbeddedPostgres
) -> None:
    """They keep it from being dropped. The slot elsewhere is that of the original: nobody asks for it."""
    programs = find_programs(18, "18", pair.binaries)
    with scratch_database_on(postgres.database_url, programs, description, threading.Event()) as url:
        run(
            url,
            "CREATE SUBSCRIPTION \"it's\" CONNECTION 'host=127.0.0.1 port=1' PUBLICATION p "
            "WITH (connect = false, slot_name = 'of_the_original')",
        )
    assert left_on(postgres) == []


def test_a_database_on_a_given_server_is_dropped_after_a_kill(
    pair: Pair, description: Description, postgres: EmbeddedPostgres
) -> None:
    programs = find_programs(18, "18", pair.binaries)
    killed_within(lambda: scratch_database_on(postgres.database_url, programs, description, threading.Event()))
    wait_until(lambda: left_on(postgres) == [], 60)


def test_a_server_that_does_not_let_it_is_reported(
    pair: Pair, description: Description, postgres: EmbeddedPostgres
) -> None:
    programs = find_programs(18, "18", pair.binaries)
    run(postgres.database_url, "CREATE ROLE proof_without_rights LOGIN PASSWORD 'bare'")
    try:
        url = re.sub(r"://[^@]*@", "://proof_without_rights:bare@", postgres.database_url)
        with (
            pytest.raises(NoScratchServer, match=r"permission denied.*hace falta CREATEDB"),
            scratch_database_on(url, programs, description, threading.Event()),
        ):
            pass
    finally:
        run(postgres.database_url, "DROP ROLE proof_without_rights")
    assert left_on(postgres) == []


def test_a_proof_orders_and_writes_values_as_the_database_does(
    new_pair: Callable[..., Pair], postgres: EmbeddedPostgres
) -> None:
    """Where the server has no such locale, what fails in another one says nothing against the backup."""
    pair = new_pair(locale="C.UTF-8")
    pair.change(
        "CREATE TABLE people (name text CHECK (name ~ '^[[:alpha:]]+$'), amount money, picture bytea)",
        "INSERT INTO people VALUES ('Peña', 7, '\\x00ff')",
        f"ALTER DATABASE {pair.names[0]} SET bytea_output = escape",
        f"ALTER DATABASE {pair.names[0]} SET lc_monetary = 'POSIX'",
    )
    full = pair.full()
    description = read_description(full.path.with_name(full.path.name.replace(".sql.gz", ".json")))
    assert description.settings == {"bytea_output": "escape", "lc_monetary": "POSIX"}
    programs = find_programs(18, "18", pair.binaries)

    def proven(description: Description) -> Proof:
        with scratch_database_on(postgres.database_url, programs, description, threading.Event()) as url:
            return prove(programs, url, description, full.path, None, threading.Event())

    assert proven(description).rows == 1
    elsewhere = dataclasses.replace(description, locale=Locale("c", "xx_XX.UTF-8", "xx_XX.UTF-8"))
    with pytest.raises(NoScratchServer, match=r"violates check constraint.*\(xx_XX.UTF-8, xx_XX.UTF-8\): instálela"):
        proven(elsewhere)
    with pytest.raises(RestoreFailed, match="violates check constraint"):
        proven(dataclasses.replace(description, locale=Locale("c", "C", "C")))


HOSTILE = """CREATE FUNCTION public.checked(i int) RETURNS bool LANGUAGE plpgsql AS $$
DECLARE attempt text;
BEGIN
  IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN
    FOREACH attempt IN ARRAY ARRAY['PROGRAM ''touch {0}/by_program''', 'PROGRAM ''echo > {0}/by_shell''',
                                   'PROGRAM ''rm -r {0}/kept''', '''{0}/by_server'''] LOOP
      BEGIN
        EXECUTE pg_catalog.format('COPY (SELECT 1) TO %s', attempt);
      EXCEPTION WHEN OTHERS THEN NULL;
      END;
    END LOOP;
  END IF;
  RETURN true;
END $$"""


def test_what_a_dump_runs_as_superuser_changes_nothing_outside(new_pair: Callable[..., Pair]) -> None:
    """The function of a table's owner is run by the superuser of the server in which a backup is tried."""
    pair = new_pair(is_owner=True)
    with tempfile.TemporaryDirectory(dir="/var/tmp") as outside:
        Path(outside).chmod(0o777)
        (Path(outside) / "kept").touch()
        pair.change(HOSTILE.format(outside))
        pair.change("CREATE TABLE a (b int CHECK (public.checked(b)))", "INSERT INTO a VALUES (1)")
        full = pair.full()
        description = read_description(full.path.with_name(full.path.name.replace(".sql.gz", ".json")))
        programs = find_programs(18, "18", pair.binaries)
        with scratch_database(programs, description, threading.Event()) as url:
            prove(programs, url, description, full.path, None, threading.Event())
        left = [path.name for path in Path(outside).iterdir()]
        assert left == ["kept"] or version_of_landlock() < 1


def test_a_server_of_its_own_runs_no_program_and_reaches_no_other_server(
    pair: Pair, description: Description, temporary: Path
) -> None:
    """A superuser needs neither a shell nor `psql` to use a server by its socket: a subscription does it, too."""
    programs = find_programs(18, "18", pair.binaries)
    other_directory = temporary / "other"
    other_directory.mkdir()
    other = f"host={other_directory} dbname=x connect_timeout=5"
    with (
        closing(socket.socket(socket.AF_UNIX)) as listener,
        scratch_database(programs, description, threading.Event()) as url,
    ):
        listener.bind(str(other_directory / ".s.PGSQL.5432"))
        listener.listen()
        (other_directory / ".s.PGSQL.5432").chmod(0o777)
        other_directory.chmod(0o777)
        with pytest.raises(psycopg2.Error, match="Permission denied"):
            run(url, "SET statement_timeout = '20s'", f"CREATE SUBSCRIPTION s CONNECTION '{other}' PUBLICATION p")
        for program in ("true", str(programs.psql)) if version_of_landlock() >= 1 else ():
            with pytest.raises(psycopg2.Error, match=r"could not execute command|program .* failed"):
                run(url, f"COPY (SELECT 1) TO PROGRAM '{program} >&2'")


def test_programs_of_postgresql_get_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("JANITOR_SECRET_KEYS", "DATABASE_URL", "TELEGRAM_TOKEN", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "a secret")
    monkeypatch.setenv("PGSSLROOTCERT", "root.pem")
    for_client = environment(ProgramAddress("host=127.0.0.1", "password"))
    for_server = inherited_environment(is_client=False)
    assert "a secret" not in {*for_client.values(), *for_server.values()}
    assert (for_client["PGSSLROOTCERT"], for_client["PGPASSWORD"]) == ("root.pem", "password")
    assert not any(name.startswith("PG") for name in for_server)


def test_a_server_of_its_own_has_room_for_the_locks_of_all_tables(pair: Pair, description: Description) -> None:
    programs = find_programs(18, "18", pair.binaries)
    many = dataclasses.replace(description, tables=20_000)
    with (
        scratch_database(programs, many, threading.Event()) as url,
        closing(psycopg2.connect(url)) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SHOW max_locks_per_transaction")
        ((locks,),) = cursor.fetchall()
        assert int(locks) >= 2000
