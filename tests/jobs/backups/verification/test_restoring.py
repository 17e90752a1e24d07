"""A restore is all or nothing: what fails, or is stopped, leaves the database as it was."""

from __future__ import annotations

import errno
import gzip
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.backups.errors import BackupInterrupted, RestoreFailed
from jobs.backups.files.compression import note_nothing
from jobs.backups.reading.programs import Programs, find_programs
from jobs.backups.verification.progress import ReadProgress
from jobs.backups.verification.restoring import restore_at_once
from jobs.backups.verification.restricted import restraint_by
from jobs.backups.verification.using import AS_BEFORE, DatabaseNotEmpty, require_empty, restore_chain
from tests.jobs.backups.desk import Desk
from tests.jobs.backups.pairs import Pair

HANGS = "CREATE TABLE public.begun (); SELECT pg_sleep(600);\n"


@pytest.fixture
def programs(pair: Pair) -> Programs:
    """Those of the server."""
    return find_programs(18, "18", pair.binaries)


def file_with(directory: Path, *statements: str) -> Path:
    """A file as of a backup."""
    path = directory / "statements.sql.gz"
    path.write_bytes(gzip.compress("\n".join(statements).encode()))
    return path


def test_both_files_with_every_oddity_restore_in_one_transaction(pair: Pair, programs: Programs) -> None:
    pair.change_by_script("odd_schema")
    pair.change_by_script("odd_rows")
    full = pair.full()
    pair.change_by_script("odd_changes")
    differential = pair.differential(full)
    read: list[int] = []
    files = [full.path, differential.path]
    restore_at_once(programs, restraint_by(programs), pair.restored_url, files, threading.Event(), read.append)
    pair.require_equal()
    assert sum(read) == sum(file.stat().st_size for file in files)


def test_a_full_one_alone_is_committed(pair: Pair, programs: Programs) -> None:
    pair.change("CREATE TABLE a (b text)", "INSERT INTO a VALUES ('one')")
    restore_at_once(
        programs, restraint_by(programs), pair.restored_url, [pair.full().path], threading.Event(), note_nothing
    )
    pair.require_equal()


def test_what_fails_at_its_end_leaves_nothing(pair: Pair, programs: Programs, tmp_path: Path) -> None:
    pair.change("CREATE TABLE a (b text)", "INSERT INTO a VALUES ('one')")
    wrong = file_with(tmp_path, "CREATE TABLE c ();", "SELECT 1 / 0;")
    with pytest.raises(RestoreFailed, match="division by zero"):
        restore_at_once(
            programs,
            restraint_by(programs),
            pair.restored_url,
            [pair.full().path, wrong],
            threading.Event(),
            note_nothing,
        )
    require_empty(pair.restored_url)
    pair.change_restored("CREATE TABLE there ()")
    with pytest.raises(DatabaseNotEmpty):
        require_empty(pair.restored_url)


@pytest.mark.parametrize(
    ("statements", "advice"),
    [
        (
            ("CREATE TABLE c ();", "ALTER TABLE c OWNER TO {other};"),
            'ejecute como superusuario GRANT "{other}" TO "{own}"',
        ),
        (
            ("CREATE TABLE c ();", "ALTER TABLE c OWNER TO {member};"),
            'GRANT CREATE ON schema "public" TO {member}, y repita',
        ),
        (("CREATE TABLE c ();", "ALTER TABLE c OWNER TO nobody_here;"), 'CREATE ROLE "nobody_here"'),
        (("CREATE TABLE c ();", "CREATE TABLE c ();"), "donde nada se llame igual; cree otra con createdb"),
        (("COMMENT ON SCHEMA pg_catalog IS 'x';",), 'el dueño de la base de datos (ALTER DATABASE … OWNER TO "{own}")'),
        (("SET TRANSACTION READ ONLY;", "CREATE TABLE c ();"), "solo admite lecturas, como una réplica: restaure en"),
    ],
)
def test_what_an_owner_may_not_do_is_reported_with_what_to_do(
    new_pair: Callable[..., Pair], tmp_path: Path, statements: tuple[str, ...], advice: str
) -> None:
    """Looked for: members of roles, roles, rights of owners where a thing is made, names that are taken, what only
    owners may do, and servers that only read.
    """
    plain_owner = new_pair(is_owner=True)
    own = plain_owner.role
    names = {"own": own, "other": f"other_than_{own}", "member": f"with_{own}"}
    if "{other}" in advice:
        plain_owner.administer(f"CREATE ROLE {names['other']}")
    if "{member}" in advice:
        plain_owner.administer(f"CREATE ROLE {names['member']} ROLE {own}")
    file = file_with(tmp_path, *(statement.format(**names) for statement in statements))
    programs = find_programs(18, "18", plain_owner.binaries)
    with pytest.raises(RestoreFailed) as raised:
        restore_at_once(
            programs, restraint_by(programs), plain_owner.restored_url, [file], threading.Event(), note_nothing
        )
    assert advice.format(**names) in str(raised.value)


def test_a_statement_that_takes_long_is_stopped_and_leaves_nothing(
    pair: Pair, programs: Programs, tmp_path: Path
) -> None:
    interruption = threading.Event()
    threading.Timer(0.5, interruption.set).start()
    with pytest.raises(BackupInterrupted):
        restore_at_once(
            programs,
            restraint_by(programs),
            pair.restored_url,
            [file_with(tmp_path, HANGS)],
            interruption,
            note_nothing,
        )
    require_empty(pair.restored_url)


def test_a_disk_that_cannot_be_read_is_not_called_unwritable(
    desk: Desk, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose_the_disk(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    made = desk.make(content=b"-- nothing\n")
    monkeypatch.setattr("jobs.backups.verification.using.restore_at_once", lose_the_disk)
    with pytest.raises(RestoreFailed, match=f"no se puede leer lo que hay en {made.path.parent}: .*{AS_BEFORE}"):
        restore_chain([made], pair.restored_url, pair.binaries, threading.Event())


def test_the_progress_shows_what_was_read_and_what_is_left() -> None:
    moments = iter([0.0, 10.0, 20.0])
    progress = ReadProgress("Restaurando", 3 * 1024 * 1024, lambda: next(moments))
    progress.note(1024 * 1024)
    assert progress.text() == "Restaurando: 1.0 MB de 3.0 MB (33 %), 102 KB/s, faltan unos 20 s"
    progress.note(2 * 1024 * 1024)
    assert progress.text().endswith("leído; falta que el servidor termine")
