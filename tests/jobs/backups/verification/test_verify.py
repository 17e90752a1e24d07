"""A backup is proven by restoring it, and one that does not give what it should is found."""

from __future__ import annotations

import gzip
import re
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from jobs.backups.errors import NoScratchServer, NotProven
from jobs.backups.files.compression import note_nothing
from jobs.backups.files.description import read_description
from jobs.backups.reading.programs import find_programs
from jobs.backups.result import BackupFile
from jobs.backups.verification.proof import Proof, prove
from jobs.backups.verification.restoring import restore
from jobs.backups.verification.scratch_server import scratch_database
from tests.jobs.backups.pairs import Pair


@pytest.fixture
def filled(pair: Pair) -> Pair:
    """With every oddity."""
    pair.change_by_script("odd_schema")
    pair.change_by_script("odd_rows")
    return pair


def proven(pair: Pair, full: BackupFile, differential: BackupFile | None) -> Proof:
    """Prove a backup in a server of its own."""
    programs = find_programs(18, "18", pair.binaries)
    description = read_description(pair.directory / full.path.name.replace(".sql.gz", ".json"))
    with scratch_database(programs, description, threading.Event()) as url:
        return prove(
            programs, url, description, full.path, differential.path if differential else None, threading.Event()
        )


def test_a_backup_is_proven_in_a_server_of_its_own(filled: Pair) -> None:
    full = filled.full()
    assert proven(filled, full, None).rows == full.rows
    filled.change_by_script("odd_changes")
    differential = filled.differential(full)
    assert proven(filled, full, differential).rows == differential.rows


def test_a_server_of_its_own_has_the_tablespaces(new_pair: Callable[..., Pair]) -> None:
    """Also one whose name is a text in the encoding of its database alone."""
    pair = new_pair(locale="C", encoding="LATIN1")
    name = f'"r\xe1pido ""{pair.names[0]}"""'
    options = "-c allow_in_place_tablespaces=on"
    with closing(psycopg2.connect(pair.source_url, options=options, client_encoding="LATIN1")) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE TABLESPACE {name} LOCATION ''")
            cursor.execute(f"CREATE TABLE a (b integer) TABLESPACE {name}")
            cursor.execute(f"CREATE TABLE c (d integer); CREATE INDEX ON c (d) TABLESPACE {name}")
            assert proven(pair, pair.full(), None).tables == 2
            cursor.execute("DROP TABLE a, c")
            cursor.execute(f"DROP TABLESPACE {name}")


@pytest.mark.parametrize(
    ("statement", "advice"),
    [
        ("SET default_tablespace = nowhere", 'CREATE TABLESPACE "nowhere"'),
        ("CREATE EXTENSION of_elsewhere", "paquete de la extensión of_elsewhere"),
        ("CREATE FUNCTION f() RETURNS integer LANGUAGE c AS '$libdir/of_elsewhere'", "la biblioteca of_elsewhere"),
    ],
)
def test_what_a_server_lacks_says_nothing_against_the_backup(
    pair: Pair, tmp_path: Path, statement: str, advice: str
) -> None:
    """A backup of an older version names no tablespaces, and of a given server the operator takes care."""
    file = tmp_path / "backup.sql.gz"
    file.write_bytes(gzip.compress(f"{statement};\n".encode()))
    programs = find_programs(18, "18", pair.binaries)
    with pytest.raises(NoScratchServer, match=re.escape(advice)):
        restore(programs, pair.restored_url, file, threading.Event(), note_nothing)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        ("DELETE FROM public.a WHERE b = 'one'", "tiene 1 filas y debía tener 2"),
        ("UPDATE public.a SET b = 'x'", "no son las que"),
    ],
)
def test_what_was_restored_otherwise_is_found(pair: Pair, tmp_path: Path, harm: str, words: str) -> None:
    """By its count, and where that is right by its rows. A `psql` that changes what it restores is the fault."""
    pair.change("CREATE TABLE a (b text)", "INSERT INTO a VALUES ('one'), ('two')")
    full = pair.full()
    (tmp_path / "pg_dump").symlink_to(pair.binaries / "pg_dump")
    true = pair.binaries / "psql"
    (tmp_path / "psql").write_text(f'#!/bin/bash\n{true} "$@" && {true} -qX "${{@: -1}}" -c "{harm}"\n')
    (tmp_path / "psql").chmod(0o755)
    description = read_description(full.path.with_name(full.path.name.replace(".sql.gz", ".json")))
    programs = find_programs(18, "18", tmp_path)
    with pytest.raises(NotProven, match=words):
        prove(programs, pair.restored_url, description, full.path, None, threading.Event())


def test_rows_that_look_like_what_a_differential_says_of_itself_are_rows(pair: Pair) -> None:
    """The one of them is no JSON, the other one would be believed."""
    pair.change("CREATE TABLE p (v text)", "INSERT INTO p VALUES ('a'), ('b')")
    full = pair.full()
    pair.change(
        "INSERT INTO p VALUES ('-- change of address'), "
        """('-- change {"digest": "00", "gone": 1, "new": 0, "table": "\\"public\\".\\"p\\""}')"""
    )
    differential = pair.differential(full)
    description = read_description(full.path.with_name(full.path.name.replace(".sql.gz", ".json")))
    programs = find_programs(18, "18", pair.binaries)
    proof = prove(programs, pair.restored_url, description, full.path, differential.path, threading.Event())
    assert proof.rows == 4


def test_programs_of_a_client_alone_are_reported(pair: Pair, tmp_path: Path) -> None:
    full = pair.full()
    description = read_description(full.path.with_name(full.path.name.replace(".sql.gz", ".json")))
    for name in ("pg_dump", "psql"):
        (tmp_path / name).symlink_to(pair.binaries / name)
    programs = find_programs(18, "18", tmp_path)
    with (
        pytest.raises(NoScratchServer, match=r"initdb.*postgresql-18.*--server"),
        scratch_database(programs, description, threading.Event()),
    ):
        pass
