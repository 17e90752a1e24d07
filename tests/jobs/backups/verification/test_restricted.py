"""What is restored cannot run programs by commands of `psql`, and what only looks like one is restored as it was."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.backups.errors import NoFittingProgram, RestoreFailed
from jobs.backups.files.compression import note_nothing
from jobs.backups.reading.programs import Programs, find_programs
from jobs.backups.verification.restoring import restore, restore_at_once
from jobs.backups.verification.restricted import Restricted, restraint_by
from jobs.backups.verification.using import restore_chain
from tests.jobs.backups.desk import Desk
from tests.jobs.backups.pairs import Pair

COMMANDS = (
    "\\! touch {made}",
    "SELECT 1 \\! touch {made}",
    "\\copy pg_temp.t from program 'touch {made}'",
    "\\o |touch {made}",
    "\\set x `touch {made}`",
    "\\i {made}",
    "SELECT 'SELECT 1' \\gexec",
    "SELECT 1 \\g |touch {made}",
    "\\set ON_ERROR_STOP off",
    "\\unrestrict 0123456789abcdef0123456789abcdef",
    "DO $$ BEGIN END $$; \\! touch {made}",
    "SELECT '\n\\o\n', \"\n\\o\n\"\n\\! touch {made}",
    "CREATE TEMP TABLE a ();\nCOPY pg_temp.a FROM stdin;\n\\.\n\\! touch {made}",
    "CREATE FUNCTION f() RETURNS integer BEGIN ATOMIC\nCOPY x FROM stdin;\n\\! touch {made}\n\\.\nSELECT 1; END;",
    "\\restrict mine\n\\unrestrict mine\n\\! touch {made}",
    "\\restrict mine\n\\! touch {made}\n\\unrestrict mine",
)


@pytest.fixture
def programs(pair: Pair) -> Programs:
    """Those of the server."""
    return find_programs(18, "18", pair.binaries)


def test_a_file_that_would_run_programs_is_refused(pair: Pair, programs: Programs, tmp_path: Path) -> None:
    file, made = tmp_path / "changed.sql.gz", tmp_path / "made"
    for command in COMMANDS:
        text = "-- Janitor FULL x\n\\set ON_ERROR_STOP on\n" + command.format(made=made) + "\n"
        file.write_bytes(gzip.compress(text.encode()))
        with pytest.raises(RestoreFailed, match="tiene órdenes de psql"):
            restore(programs, pair.restored_url, file, threading.Event(), note_nothing)
        assert not made.exists(), command
    with pytest.raises(RestoreFailed, match="tiene órdenes de psql"):
        restore_at_once(programs, Restricted(), pair.restored_url, [file], threading.Event(), note_nothing)


def test_what_only_looks_like_a_command_is_restored_as_it_was(pair: Pair, programs: Programs) -> None:
    """In rows, names, functions and comments; a carriage return at the beginning of a row is written as `\\r`."""
    looks = "'x\n\\restrict abc\n\\o\n\\unrestrict abc\n--\nCOPY \"a\" FROM stdin;\n'"
    pair.change(
        "CREATE TABLE rows (t text)",
        "INSERT INTO rows VALUES (E'\\restrict abc'), ('\\o'), (E'--\\n'), ('\\.')",
        'CREATE TABLE "COPY x\n\\o\n FROM stdin;\n" ("n\n\\set QUIET on\n\\o\n" text PRIMARY KEY, v text)',
        "INSERT INTO \"COPY x\n\\o\n FROM stdin;\n\" VALUES ('a', E'\\restrict x'), ('b', 'c')",
        f"CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $f$SELECT {looks}$f$",
        f"COMMENT ON TABLE rows IS {looks}",
        "SELECT lo_from_bytea(90001, 'large')",
        f"COMMENT ON LARGE OBJECT 90001 IS {looks}",
    )
    full = pair.full()
    pair.change(
        "DELETE FROM rows WHERE t IN (E'\\restrict abc', '\\o')",
        "INSERT INTO rows VALUES (E'\\restrict def'), ('')",
        "UPDATE \"COPY x\n\\o\n FROM stdin;\n\" SET v = E'\\r' WHERE v = 'c'",
        "SELECT lo_from_bytea(90002, 'larger')",
        f"COMMENT ON LARGE OBJECT 90002 IS {looks}",
    )
    files = [full.path, pair.differential(full).path]
    restore_at_once(programs, restraint_by(programs), pair.restored_url, files, threading.Event(), note_nothing)
    pair.require_equal()


DUMP = (
    b"-- Janitor FULL 1\n\\set ON_ERROR_STOP on\nSET a = 'b';\n--\n\n\\restrict k1\n\nCREATE TABLE x ();\n"
    b"COMMENT ON TABLE x IS '\n\\restrict k2\n';\n\n\\unrestrict k1\n\n\\restrict k3\nCOPY x FROM stdin;\n\\.\n"
    b'\\unrestrict k3\nSELECT $t$\n\\o\n$t$;\nCOPY "q" ("a\n") FROM stdin;\n\\restrict k4\n--\n\'\n\\.\nCOMMIT;\n\\o\n'
)
LEFT = (
    b"-- Janitor FULL 1\nSET a = 'b';\n--\n\n\n\nCREATE TABLE x ();\nCOMMENT ON TABLE x IS '\n\\restrict k2\n';\n\n\n\n"
    b'COPY x FROM stdin;\n\\.\nSELECT $t$\n\\o\n$t$;\nCOPY "q" ("a\n") FROM stdin;\n\\restrict k4\n--\n\'\n\\.\n'
    b"COMMIT;\n"
)


@pytest.mark.parametrize("size_bytes", [1, 2, 7, 1000])
def test_only_the_usual_commands_are_left_out_however_the_text_is_cut(size_bytes: int) -> None:
    def blocks() -> Iterator[bytes]:
        for start in range(0, len(DUMP), size_bytes):
            yield DUMP[start : start + size_bytes]

    assert b"".join(Restricted().text_of(blocks())) == LEFT


def test_an_older_psql_restores_no_backup_of_which_nothing_proves_who_wrote_it(
    desk: Desk, pair: Pair, tmp_path: Path
) -> None:
    """It knows no restraint: what `backup rebuild` found is refused, and what this program made is not."""
    older = tmp_path / "older"
    older.mkdir()
    (older / "pg_dump").symlink_to(pair.binaries / "pg_dump")
    (older / "psql").write_text(
        f'#!/bin/bash\n[ "$1" = --help=commands ] && exec echo "\\\\! [COMMAND]"\nexec {pair.binaries}/psql "$@"\n'
    )
    (older / "psql").chmod(0o755)
    made = desk.make(content=b"-- nothing\n")
    found = replace(made, was_found_at_provider=True)
    with pytest.raises(NoFittingProgram, match=r"la encontró 'backup rebuild'.*actualice el paquete postgresql-client"):
        restore_chain([found], pair.restored_url, older, threading.Event())
    restore_chain([made], pair.restored_url, older, threading.Event())
    restore_chain([found], pair.restored_url, pair.binaries, threading.Event())
