"""A differential is refused by a database it does not belong on, and becomes a full one where it cannot be exact."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.backups.creation.differential import Limits
from jobs.backups.errors import FullBackupNeeded
from jobs.backups.result import BackupFile, Kind
from tests.jobs.backups.pairs import Pair, PsqlFailed

FORCED = {"PGOPTIONS": "-c janitor.force=on"}


@pytest.fixture
def filled(pair: Pair) -> Pair:
    """With some rows, and some that point to them."""
    pair.change(
        "CREATE TABLE a (id integer PRIMARY KEY, b text)",
        "CREATE TABLE c (a integer REFERENCES a)",
        "INSERT INTO a SELECT g, md5(g::text) FROM generate_series(1, 1000) g",
        "INSERT INTO c SELECT g FROM generate_series(1, 500) g",
    )
    return pair


@pytest.fixture
def full(filled: Pair) -> BackupFile:
    """A full backup of them."""
    return filled.full()


@pytest.fixture
def differential(filled: Pair, full: BackupFile) -> BackupFile:
    """What changed since."""
    filled.change("DELETE FROM c WHERE a = 7", "DELETE FROM a WHERE id = 7", "UPDATE a SET b = 'x' WHERE id = 8")
    return filled.differential(full)


def require_refused(pair: Pair, path: Path, words: str, **environment: str) -> None:
    """Fail unless `psql` refuses a file, and nothing changes."""
    before = pair.contents(pair.names[1])
    with pytest.raises(PsqlFailed, match=words):
        pair.psql(path, **environment)
    assert pair.contents(pair.names[1]) == before


def test_a_second_time_changes_nothing(filled: Pair, full: BackupFile, differential: BackupFile) -> None:
    filled.restore(full, differential)
    require_refused(filled, differential.path, "this differential belongs on the full backup")
    filled.require_equal()


def test_another_full_backup_is_not_the_base(filled: Pair, differential: BackupFile) -> None:
    """Also when it holds the very same rows."""
    filled.restore(filled.full())
    require_refused(filled, differential.path, "this differential belongs on the full backup")


def test_an_unknown_database_takes_it_only_when_forced(
    filled: Pair, full: BackupFile, differential: BackupFile
) -> None:
    filled.restore(full)
    filled.administer(f"COMMENT ON DATABASE {filled.names[1]} IS NULL")
    require_refused(filled, differential.path, "holds none")
    filled.psql(differential.path, **FORCED)
    filled.require_equal()


def test_even_when_forced_the_rows_are_counted(filled: Pair, full: BackupFile, differential: BackupFile) -> None:
    filled.restore(full, differential)
    require_refused(filled, differential.path, "not the right base: 0 of 1 rows found", **FORCED)
    filled.change_restored("SET session_replication_role = replica", "INSERT INTO c VALUES (7)")
    require_refused(filled, differential.path, "not the right base: 1 of 2 rows found", **FORCED)


def test_orphans_are_found_also_by_a_superuser(filled: Pair, full: BackupFile, differential: BackupFile) -> None:
    """Triggers do not act then, and those of foreign keys are some of them."""
    filled.restore(full)
    filled.change_restored("SET session_replication_role = replica", "INSERT INTO c VALUES (4711)")
    require_refused(filled, differential.path, "violates foreign key constraint")


def test_the_comment_of_the_database_is_kept(filled: Pair, full: BackupFile, differential: BackupFile) -> None:
    filled.administer(f"COMMENT ON DATABASE {filled.names[1]} IS 'for ''reports'''")
    filled.restore(full, differential)
    assert filled.comment_of_restored().startswith("for 'reports' janitor.backup=")
    assert filled.comment_of_restored().count("janitor.backup=") == 1


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.97])
def test_a_cut_file_changes_nothing(
    filled: Pair, full: BackupFile, differential: BackupFile, tmp_path: Path, share: float
) -> None:
    filled.restore(full)
    before = filled.contents(filled.names[1])
    plain = gzip.decompress(differential.path.read_bytes())
    cut = tmp_path / "cut.sql.gz"
    cut.write_bytes(gzip.compress(plain[: int(len(plain) * share)]))
    filled.psql_whatever_comes(cut)
    assert filled.contents(filled.names[1]) == before


def in_description(path: Path, **facts: object) -> None:
    """Change what the file beside a full backup says."""
    description = path.with_name(path.name.removesuffix(".sql.gz") + ".json")
    description.write_text(json.dumps({**json.loads(description.read_text()), **facts}))


def flip(path: Path, share: float) -> None:
    """Damage one byte."""
    data = bytearray(path.read_bytes())
    data[int(len(data) * share)] ^= 0x10
    path.write_bytes(data)


def description_of(path: Path) -> Path:
    """The file beside a full backup."""
    return path.with_name(path.name.removesuffix(".sql.gz") + ".json")


ANOTHER_ID = "20260101_030000_0123456789abcdef"
DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no description": (lambda path: description_of(path).unlink(), "no se puede leer"),
    "an empty description": (lambda path: description_of(path).write_text(""), "está dañado"),
    "a description of another version": (lambda path: in_description(path, format=99), "otra versión del programa"),
    "another fingerprint": (lambda path: in_description(path, fingerprint="x"), "cambió el esquema"),
    "another database": (lambda path: in_description(path, database_oid=1), "cambió el oid de la base de datos"),
    "another encoding": (lambda path: in_description(path, encoding="LATIN1"), "cambió la codificación"),
    "another server": (lambda path: in_description(path, server_major=15), "cambió la versión del servidor"),
    "another pg_dump": (lambda path: in_description(path, dump_major=15), "cambió la versión de pg_dump"),
    "another id": (lambda path: in_description(path, id=ANOTHER_ID), "no es el completo de su descripción"),
    "no file": (lambda path: path.unlink(), "no se puede leer"),
    "a cut file": (lambda path: path.write_bytes(path.read_bytes()[:-9]), "no tiene el tamaño"),
    "damaged tables": (lambda path: flip(path, 0.01), "dañado"),
    "damaged rows": (lambda path: flip(path, 0.5), "dañado|cortado"),
    "a damaged end": (lambda path: flip(path, 0.995), "dañado"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_has_no_exact_differential_becomes_a_full_backup(filled: Pair, full: BackupFile, damage: str) -> None:
    harm, reason = DAMAGES[damage]
    harm(full.path)
    with pytest.raises(FullBackupNeeded, match=reason) as needed:
        filled.differential(full)
    assert "\n" not in str(needed.value)
    assert [path for path in filled.directory.iterdir() if "DIFF" in path.name] == []


def test_the_full_backup_says_why(filled: Pair, full: BackupFile) -> None:
    filled.change("ALTER TABLE a ADD later text")
    made = filled.differential_or_full()
    assert (made.kind, made.reason) == (Kind.FULL, "cambió el esquema de la base de datos desde el último completo")
    assert filled.differential_or_full().kind is Kind.DIFFERENTIAL


def test_without_any_full_backup_one_is_made(filled: Pair) -> None:
    made = filled.differential_or_full()
    assert (made.kind, made.reason) == (Kind.FULL, "no hay ningún completo en el directorio")


@pytest.mark.parametrize("change", ["UPDATE a SET b = b || 'x'", "CLUSTER a", "TRUNCATE a, c"])
def test_when_too_much_changed_a_full_backup_is_made(filled: Pair, change: str) -> None:
    """Rows that only moved are no change; but when all of them did, looking for them costs more than a full backup."""
    filled.change("CLUSTER a USING a_pkey", "UPDATE a SET b = b WHERE id < 500")
    filled.full()
    filled.change(change)
    made = filled.differential_or_full(Limits(largest_share=0.1, smallest_bytes=1000))
    assert (made.kind, made.reason[:28]) == (Kind.FULL, "cambió, o se movió, más del ")


def test_a_table_in_another_order_is_given_up_before_most_of_it_is_compared(pair: Pair) -> None:
    """That it was written anew, and its size, say what is to come: what waits is within these limits to the end."""
    insert = "INSERT INTO big SELECT g, md5(g::text) FROM generate_series(1, 20000) g"
    pair.change("CREATE TABLE big (id integer, b text)", insert)
    full = pair.full()
    limits = Limits(largest_share=1, smallest_bytes=100_000)
    pair.change("DELETE FROM big WHERE id < 1000", "VACUUM FULL big")
    assert pair.differential(full, limits).kind is Kind.DIFFERENTIAL
    pair.change("TRUNCATE big", f"{insert} ORDER BY g DESC")
    made = pair.differential_or_full(limits)
    assert (made.kind, made.reason[:28]) == (Kind.FULL, "cambió, o se movió, más del ")


def test_a_table_that_changed_all_over_is_given_up_before_most_of_it_is_compared(pair: Pair) -> None:
    """Each changed row costs far more than an equal one. Many that went together do not: the rest may be as it was."""
    pair.change(
        "CREATE TABLE big (id integer, b text)",
        "INSERT INTO big SELECT g, md5(g::text) FROM generate_series(1, 40000) g",
    )
    full = pair.full()
    limits = Limits(looked_at_rows=1000)
    pair.change("DELETE FROM big WHERE id <= 15000", "UPDATE big SET b = 'x' WHERE id % 50 = 0")
    assert pair.differential(full, limits).kind is Kind.DIFFERENTIAL
    pair.full()
    pair.change("UPDATE big SET b = 'y' WHERE id % 2 = 0")
    made = pair.differential_or_full(limits)
    assert (made.kind, made.reason[:22]) == (Kind.FULL, "cambiaron tantas filas")


def test_a_differential_of_nothing_is_small(filled: Pair, full: BackupFile) -> None:
    differential = filled.differential(full)
    assert differential.contents.size_bytes < 2048
    filled.restore(full, differential)
    filled.require_equal()
