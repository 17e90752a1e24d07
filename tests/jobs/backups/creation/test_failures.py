"""What goes wrong leaves nothing that looks whole and is not, and says in one line what to do."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import itertools
import mmap
import os
import shlex
import shutil
import signal
import tempfile
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2
import psycopg2.extensions
import pytest

from jobs.backups.creation.full import make_full_once
from jobs.backups.creation.make import make_full
from jobs.backups.errors import (
    BackupError,
    BackupInterrupted,
    DumpFailed,
    NoFittingProgram,
    NotEnoughSpace,
    TablesBusy,
)
from jobs.backups.files.directory import Target
from jobs.backups.reading.programs import READ_COMPLAINT_BYTES, complaints_in, find_programs
from jobs.backups.reading.source import Source
from jobs.backups.result import BackupFile
from sql.errors import DatabaseUnavailable
from tests.disks.small_disk import mounted_small_disk
from tests.jobs.backups.lying_programs import IS_OF_ANOTHER_DATABASE, LIES, lying_programs
from tests.jobs.backups.pairs import FIRST, Pair, run

MEBIBYTE = 1024 * 1024
PAGE_BYTES = mmap.PAGESIZE


@pytest.fixture
def filled(pair: Pair) -> Pair:
    """With some rows."""
    pair.change(
        "CREATE TABLE a (id integer PRIMARY KEY, b text)",
        "INSERT INTO a SELECT g, md5(g::text) FROM generate_series(1, 1000) g",
    )
    return pair


def full_with(pair: Pair, programs: Path, target: Target | None = None) -> BackupFile:
    """Make a full backup with other programs."""
    source = dataclasses.replace(pair.source, programs=programs)
    return make_full(source, target or pair.target, pair.when(), threading.Event())


def files_of(pair: Pair) -> list[str]:
    """What is in the directory of the backups, hidden or not."""
    return sorted(path.name for path in pair.directory.iterdir()) if pair.directory.exists() else []


def require_one_line(error: BaseException, *words: str) -> None:
    """Fail unless the message is one line with all of these words."""
    assert "\n" not in str(error)
    assert [word for word in words if word not in str(error)] == []


@pytest.mark.parametrize(
    ("lie", "section"),
    [
        *((lie, "data") for lie in LIES),
        *itertools.product(("fails at the end", "ends early with 0"), ("pre-data", "post-data")),
    ],
)
def test_a_dump_that_is_not_whole_is_no_backup(filled: Pair, tmp_path: Path, lie: str, section: str) -> None:
    programs = lying_programs(filled.binaries, tmp_path / "programs", section, LIES[lie])
    with pytest.raises(BackupError) as failure:
        full_with(filled, programs)
    require_one_line(failure.value)
    assert files_of(filled) == []


def full_of_locks(flag: Path) -> str:
    """How `pg_dump` ends where the server has no room for more locks: while this file is there, once."""
    told = ("pg_dump: error: query failed: ERROR:  out of shared memory",
            'HINT:  You might need to increase "max_locks_per_transaction".',
            'pg_dump: detail: Query was: LOCK TABLE "public"."a" IN ACCESS SHARE MODE')  # fmt: skip
    said = "".join(f"echo {shlex.quote(line)} >&2; " for line in told)
    return f'if rm {shlex.quote(str(flag))} 2>/dev/null; then {said}exit 1; fi; exec "$true" "$@"'


def test_programs_whose_locks_have_no_room_together_run_in_turn(
    filled: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One `pg_dump` alone can back the database up: then this program can, and does not wait for others to end."""
    monkeypatch.setattr("jobs.backups.creation.make.TRIES", 1)
    flag = tmp_path / "flag"
    flag.touch()
    programs = lying_programs(filled.binaries, tmp_path / "programs", "post-data", full_of_locks(flag))
    full_with(filled, programs)
    assert not flag.exists()
    assert len(files_of(filled)) == 3


def test_too_many_locks_are_reported_with_the_setting_and_not_as_those_of_others(filled: Pair, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    flag.touch()
    lie = full_of_locks(flag).replace("rm ", "test -e ")
    programs = lying_programs(filled.binaries, tmp_path / "programs", "data", lie)
    with pytest.raises(DumpFailed) as failure:
        full_with(filled, programs)
    require_one_line(failure.value, "max_locks_per_transaction", "suba")
    assert files_of(filled) == []


@pytest.mark.parametrize("lie", LIES)
def test_a_differential_of_a_dump_that_is_not_whole_leaves_the_full_one_alone(
    filled: Pair, tmp_path: Path, lie: str
) -> None:
    full = filled.full()
    before = files_of(filled)
    filled.use_programs(lying_programs(filled.binaries, tmp_path / "programs", "data", LIES[lie]))
    with pytest.raises(BackupError):
        filled.differential(full)
    assert files_of(filled) == before


@pytest.mark.parametrize("left_out", ["everything", "a table"])
def test_a_dump_of_other_tables_is_no_backup(filled: Pair, tmp_path: Path, left_out: str) -> None:
    """Whole, with 0 and its last line: of another database, or without one of the tables."""
    filled.change("CREATE TABLE b (id integer)")
    lies = {"everything": IS_OF_ANOTHER_DATABASE, "a table": 'exec "$true" "$@" --exclude-table-data=b'}
    programs = lying_programs(filled.binaries, tmp_path / "programs", "data", lies[left_out])
    with pytest.raises(DumpFailed) as failure:
        full_with(filled, programs)
    require_one_line(failure.value, str(programs / "pg_dump"), "las 2 de la base de datos", "BACKUP_PG_BIN")
    assert files_of(filled) == []


def test_why_a_dump_failed_is_reported(filled: Pair, tmp_path: Path) -> None:
    programs = lying_programs(filled.binaries, tmp_path / "programs", "data", LIES["fails at the end"])
    with pytest.raises(DumpFailed, match=r"^pg_dump terminó con 1: pg_dump: error: it went wrong$"):
        full_with(filled, programs)


def test_an_older_program_is_refused_before_anything_is_written(filled: Pair, tmp_path: Path) -> None:
    programs = lying_programs(filled.binaries, tmp_path / "programs", "none", "", version="15.4 (Debian 15.4-1)")
    with pytest.raises(NoFittingProgram) as failure:
        full_with(filled, programs)
    require_one_line(failure.value, "15.4", f"{programs}/pg_dump", "18.", "BACKUP_PG_BIN", "postgresql-client-18")
    assert not filled.directory.exists()


def test_a_missing_program_is_reported_before_anything_is_written(filled: Pair, tmp_path: Path) -> None:
    with pytest.raises(NoFittingProgram) as failure:
        full_with(filled, tmp_path)
    require_one_line(failure.value, str(tmp_path), "BACKUP_PG_BIN", "postgresql-client-18")
    assert not filled.directory.exists()


def test_the_servers_own_version_is_preferred(filled: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A newer `pg_dump` writes what an older server does not read."""
    directories = [
        lying_programs(filled.binaries, tmp_path / version, "none", "", version=f"{version}.1")
        for version in ("19", "16", "17", "15")
    ]
    monkeypatch.setenv("PATH", ":".join(map(str, directories)), prepend=":")
    assert find_programs(16, "16.2").directory == tmp_path / "16"
    assert find_programs(18, "18.0").directory == tmp_path / "19"


@pytest.mark.parametrize("size_bytes", [16 * 1024, MEBIBYTE])
def test_a_full_disk_leaves_nothing(filled: Pair, tmp_path: Path, size_bytes: int) -> None:
    filled.change("INSERT INTO a SELECT g, md5(g::text) || md5(g::text || 'x') FROM generate_series(2000, 60000) g")
    filled.directory.mkdir()
    with mounted_small_disk(filled.directory, size_bytes):
        with pytest.raises(NotEnoughSpace) as failure:
            filled.full()
        require_one_line(failure.value, str(filled.directory), "libere espacio")
        assert files_of(filled) == []


@pytest.mark.parametrize("pages_for_companions", range(4))
def test_a_disk_that_is_full_at_the_very_end_leaves_nothing(filled: Pair, pages_for_companions: int) -> None:
    """What lies beside a backup has its name before it: it goes again where the rest has no room."""
    size_bytes = filled.full().path.stat().st_size
    shutil.rmtree(filled.directory)
    filled.directory.mkdir()
    pages = -(-size_bytes // PAGE_BYTES) + pages_for_companions
    with mounted_small_disk(filled.directory, pages * PAGE_BYTES):
        with contextlib.suppress(NotEnoughSpace):
            filled.full()
        assert len(files_of(filled)) in (0, len((".json", ".sql.gz", ".sql.gz.sha256")))


def test_a_disk_for_temporary_files_that_is_full_is_the_one_that_is_named(
    filled: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setenv("TMPDIR", "/somewhere/else")
    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(BackupError) as failure:
        filled.full()
    require_one_line(failure.value, "/somewhere/else", "(TMPDIR)", "libere espacio")
    assert str(filled.directory) not in str(failure.value)
    assert files_of(filled) == []


def test_too_little_space_is_noticed_before_anything_is_written(filled: Pair) -> None:
    target = Target(filled.directory, expected_bytes=1 << 60)
    with pytest.raises(NotEnoughSpace):
        make_full(filled.source, target, filled.when(), threading.Event())
    assert files_of(filled) == []


class Releasing(threading.Event):
    """Ends another session's transaction while the engine pauses."""

    def __init__(self, other: psycopg2.extensions.connection) -> None:
        super().__init__()
        self._other = other

    def wait(self, timeout: float | None = None) -> bool:
        self._other.rollback()
        return False


@pytest.fixture
def altering(filled: Pair) -> Iterator[psycopg2.extensions.connection]:
    """A session that alters a table and does not end."""
    other = psycopg2.connect(filled.source_url)
    other.cursor().execute("ALTER TABLE a ADD c text")
    yield other
    other.close()


def test_a_lock_that_others_hold_is_not_waited_for_without_end(
    filled: Pair, altering: psycopg2.extensions.connection
) -> None:
    source = dataclasses.replace(filled.source, lock_wait_seconds=0.1)
    with pytest.raises(TablesBusy) as failure:
        make_full_once(source, filled.target, filled.when(), threading.Event(), "")
    require_one_line(failure.value, "bloqueo")
    assert files_of(filled) == []


def test_a_lock_that_others_hold_is_tried_again(filled: Pair, altering: psycopg2.extensions.connection) -> None:
    source = dataclasses.replace(filled.source, lock_wait_seconds=0.1)
    full = make_full(source, filled.target, filled.when(), Releasing(altering))
    filled.restore(full)
    filled.require_equal()


class ToldToStop(threading.Event):
    """Is set while the engine pauses."""

    pauses = 0

    def wait(self, timeout: float | None = None) -> bool:
        self.pauses += 1
        return True


def test_who_is_told_to_stop_waits_for_no_lock_any_more(filled: Pair, altering: psycopg2.extensions.connection) -> None:
    source = dataclasses.replace(filled.source, lock_wait_seconds=0.1)
    stop = ToldToStop()
    with pytest.raises(TablesBusy):
        make_full(source, filled.target, filled.when(), stop)
    assert stop.pauses == 1


def test_a_session_that_was_lost_makes_no_backup(filled: Pair, tmp_path: Path) -> None:
    """With it, the locks were gone: a table may have been emptied between the sections."""
    statement = tmp_path / "end.sql"
    statement.write_text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'janitor_daemon backup';"
    )
    ends = f'"$true" "$@"; {filled.binaries}/psql -qX -o /dev/null -f {statement} "{filled.source_url}"'
    programs = lying_programs(filled.binaries, tmp_path / "programs", "data", ends)
    with pytest.raises(DatabaseUnavailable):
        full_with(filled, programs)
    assert files_of(filled) == []


def test_who_wants_to_change_a_table_meanwhile_does_not_stop_the_end(filled: Pair, tmp_path: Path) -> None:
    """It waits for the backup's locks, and whatever asks for a lock after it waits behind it."""
    psql = f'{filled.binaries}/psql -XqAt "{filled.source_url}"'
    waits = "SELECT 'yes' FROM pg_locks JOIN pg_database d ON d.oid = database WHERE NOT granted AND datname = '{}'"
    waiting = tmp_path / "waiting.sql"
    waiting.write_text(waits.format(psycopg2.extensions.parse_dsn(filled.source_url)["dbname"]))
    alters = f"{psql} -c 'ALTER TABLE a ADD c text' > {tmp_path}/altered 2>&1 &"
    until_it_waits = f"until {psql} -f {waiting} | grep -q yes; do sleep 0.05; done"
    lie = f'"$true" "$@" > {tmp_path}/rows; {alters} {until_it_waits}; cat {tmp_path}/rows'
    full = full_with(filled, lying_programs(filled.binaries, tmp_path / "programs", "data", lie))
    assert full.rows == 1000


def test_an_unreachable_database_is_reported_without_its_password(tmp_path: Path) -> None:
    source = Source("postgresql://u:very-secret@127.0.0.1:1/x")
    with pytest.raises(DatabaseUnavailable) as failure:
        make_full(source, Target(tmp_path / "b"), FIRST, threading.Event())
    require_one_line(failure.value)
    assert "very-secret" not in str(failure.value)


def test_an_interruption_leaves_nothing(filled: Pair) -> None:
    interruption = threading.Event()
    interruption.set()
    with pytest.raises(BackupInterrupted):
        make_full(filled.source, filled.target, filled.when(), interruption)
    assert files_of(filled) == []


def test_the_password_is_in_no_command_line(filled: Pair, tmp_path: Path) -> None:
    """`ps` shows those of everybody."""
    shows = f'printf "%s\\n" "$@" > {tmp_path}/arguments; exec "$true" "$@"'
    programs = lying_programs(filled.binaries, tmp_path / "programs", "data", shows)
    full_with(filled, programs)
    password = psycopg2.extensions.parse_dsn(filled.source_url)["password"]
    assert password not in (tmp_path / "arguments").read_text()


def test_two_backups_of_one_second_do_not_replace_each_other(filled: Pair) -> None:
    """As when an hour comes twice in autumn."""
    when = filled.when()
    first, second = (make_full(filled.source, filled.target, when, threading.Event()) for _ in range(2))
    assert first.path != second.path
    assert first.path.exists()
    assert second.path.exists()


def test_what_pg_dump_has_started_does_not_keep_a_backup_from_ending(
    filled: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may hold the pipe open for ever; all that `pg_dump` wrote is in it once that has ended."""
    monkeypatch.setattr("jobs.backups.reading.dump.SILENCE_SECONDS", 3)
    lie = f'"$true" "$@"; sleep 600 & echo $! > {tmp_path}/started; exit 0'
    full = full_with(filled, lying_programs(filled.binaries, tmp_path / "programs", "data", lie))
    os.kill(int((tmp_path / "started").read_text()), signal.SIGKILL)
    filled.restore(full)
    filled.require_equal()


def test_complaints_without_end_do_not_fill_the_disk(
    filled: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.backups.reading.dump.SILENCE_SECONDS", 3)
    monkeypatch.setattr("jobs.backups.reading.dump.MOST_COMPLAINT_BYTES", MEBIBYTE)
    lie = f"yes 'pg_dump: warning: again' | head -c {2 * MEBIBYTE} >&2; exec sleep 600"
    with pytest.raises(DumpFailed, match=r"no deja de quejarse") as failure:
        full_with(filled, lying_programs(filled.binaries, tmp_path / "programs", "data", lie))
    require_one_line(failure.value, "warning: again")
    assert files_of(filled) == []


def test_of_what_a_program_complains_only_the_end_is_read() -> None:
    with tempfile.TemporaryFile() as complaints:
        complaints.write(b"x" * READ_COMPLAINT_BYTES + b"the end")
        said = complaints_in(complaints)
    assert len(said) == READ_COMPLAINT_BYTES
    assert said.endswith("xthe end")


def test_why_a_dump_failed_is_found_among_its_warnings(filled: Pair, tmp_path: Path) -> None:
    lie = 'yes "pg_dump: warning: circular keys" | head -n 5 >&2; echo "pg_dump: error: it went wrong" >&2; exit 1'
    programs = lying_programs(filled.binaries, tmp_path / "programs", "data", lie)
    with pytest.raises(DumpFailed, match=r"^pg_dump terminó con 1: pg_dump: error: it went wrong$"):
        full_with(filled, programs)


def test_a_row_of_any_length_takes_little_memory(filled: Pair) -> None:
    """For a full backup rows are only counted."""
    filled.change("INSERT INTO a VALUES (0, repeat('0123456789', 8 * 1024 * 1024))")
    tracemalloc.start()
    try:
        full = filled.full()
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert full.rows == 1001
    assert peak_bytes < 40 * MEBIBYTE


@pytest.mark.parametrize("is_differential", [False, True])
def test_what_pg_dump_leaves_out_and_warns_of_is_reported(new_pair: Callable[..., Pair], is_differential: bool) -> None:
    """It ends with 0: only a superuser may read subscriptions."""
    pair = new_pair(is_owner=True)
    subscribe = (
        "CREATE SUBSCRIPTION s CONNECTION 'host=127.0.0.1' PUBLICATION p WITH (connect = false, slot_name = NONE)"
    )
    run(pair.source.database_url, subscribe)
    pair.backed_up_by_owner = True
    try:
        full = pair.full()
        made = pair.differential(full) if is_differential else full
    finally:
        pair.backed_up_by_owner = False
        run(pair.source.database_url, "DROP SUBSCRIPTION s")
    (remark,) = made.remarks
    assert remark.text == "pg_dump avisa: subscriptions not dumped because current user is not a superuser"
