"""What `status` and `check` say of the backups: ages, sizes, proofs, room."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from config.text.times import Clock
from jobs.backups.errors import DiskError
from jobs.backups.keeping.shelf import AS_OWNER, Shelf, UnknownBackup, require_directory
from jobs.backups.keeping.summary import describe, describe_room, findings, room, summarize
from jobs.backups.listing import entry_of
from jobs.backups.records import Backup
from jobs.backups.result import Kind
from tests.disks.privileges import unprivileged

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
MEBIBYTE = 1024 * 1024


def backup(directory: Path, number: int, days: float, size_bytes: int, kind: Kind = Kind.FULL) -> Backup:
    """One that was made some days ago, with its file."""
    path = directory / f"backup_{number}.sql.gz"
    with path.open("wb") as file:
        file.truncate(size_bytes)
    return Backup(
        id=number, kind=kind, name=path.name, path=path, state="COMPLETADO", made=NOW - timedelta(days=days),
        size_bytes=size_bytes, error=None, seconds=1.0, tables=1, rows=1, md5=None,
        base_id=None if kind is Kind.FULL else 1, is_deleted=False, deleted=None, made_by=None, host="norte",
        attempt=str(number), is_being_deleted=False, verified=None, verification_seconds=None, verification_error=None,
    )  # fmt: skip


def told(*backups: Backup, verify_days: int = 7) -> list[str]:
    """The lines, with their marks."""
    findings = describe(summarize(Shelf(backups, "norte")), verify_days, Clock(NOW, UTC))
    return [f"{finding.mark.strip()}: {finding.text}" for finding in findings]


def test_without_any_backup_it_says_so() -> None:
    assert told() == ["aviso: todavía no hay ninguna completa"]


def test_ages_and_what_was_never_proven(tmp_path: Path) -> None:
    ages, proof = told(backup(tmp_path, 1, 2, 100), backup(tmp_path, 2, 1, 10, Kind.DIFFERENTIAL))
    assert ages.startswith("bien: última completa 2026-03-08 12:00 (hace 2 d), ")
    assert ages.endswith(", última comprobada ninguna")
    assert "última diferencial 2026-03-09 12:00 (hace 24 h)" in ages
    assert proof.startswith("aviso: ninguna está comprobada")


def test_a_week_without_a_full_one_is_wrong(tmp_path: Path) -> None:
    assert told(backup(tmp_path, 1, 9, 100))[0].startswith("ERROR: ")
    assert told(backup(tmp_path, 1, 8.5, 100))[0].startswith("bien: ")


def test_what_this_user_may_not_look_at_is_not_taken_for_lost(tmp_path: Path) -> None:
    """An operator who reads that backups are lost marks them as deleted."""
    directory = tmp_path / "copias"
    directory.mkdir()
    made = backup(directory, 1, 1, 100)
    shelf = Shelf((made,), "norte")
    directory.chmod(0)
    with unprivileged():
        assert shelf.missing() == []
        told = [finding.text for finding in findings(shelf, tmp_path, 0, Clock(NOW, UTC))]
        with pytest.raises(UnknownBackup, match=r"no se sabe si la copia 1 está en .*: .*; ejecute la orden"):
            shelf.chain(made)
        assert entry_of(made, "norte")["en_disco"] is None
    assert f"no se sabe si 1 copia está en {directory}: {AS_OWNER}" in told
    assert not any("en ningún proveedor" in text for text in told)
    directory.chmod(0o700)
    made.path.unlink()
    assert entry_of(made, "norte")["en_disco"] is False
    assert shelf.missing() == [made]
    with pytest.raises(UnknownBackup, match="devuélvalo, o elija otra con 'backup list'"):
        shelf.chain(made)


def test_what_a_disk_does_not_tell_is_not_taken_for_lost(tmp_path: Path) -> None:
    """A stale mount, say; a link to itself gives an error as odd."""
    directory = tmp_path / "copias"
    directory.mkdir()
    made = backup(directory, 1, 1, 100)
    made.path.unlink()
    directory.rmdir()
    directory.symlink_to(directory)
    shelf = Shelf((made,), "norte")
    assert shelf.missing() == []
    told = [finding.text for finding in findings(shelf, tmp_path, 0, Clock(NOW, UTC))]
    assert [text for text in told if "no se sabe si 1 copia está" in text and text.endswith("compruebe ese disco")]
    assert not any("en ningún proveedor" in text for text in told)
    assert entry_of(made, "norte")["en_disco"] is None


def test_what_was_not_made_is_told_with_where_its_reason_stands(tmp_path: Path) -> None:
    failed = replace(backup(tmp_path, 1, 1, 100), state="ERROR")
    with pytest.raises(UnknownBackup, match=r"está en ERROR \('backup show 1'\): elija otra con 'backup list'"):
        Shelf((failed,), "norte").chain(failed)


def test_a_directory_that_is_gone_with_its_backups_is_not_made_again(tmp_path: Path) -> None:
    """It may be an unmounted disk: the next backup would fill the one below it."""
    directory = tmp_path / "copias"
    nothing_yet = Shelf((), "norte")
    require_directory(directory, nothing_yet)
    assert [finding.in_order for finding in describe_room(directory, nothing_yet)] == [True]
    directory.mkdir()
    made = backup(directory, 1, 1, 100)
    require_directory(directory, Shelf((made,), "norte"))
    made.path.unlink()
    directory.rmdir()
    with pytest.raises(DiskError, match="monte su disco o corrija BACKUP_PATH"):
        require_directory(directory, Shelf((made,), "norte"))
    (finding,) = findings(Shelf((made,), "norte"), directory, 0, Clock(NOW, UTC))
    assert (finding.in_order, "no existe" in finding.text) == (False, True)
    require_directory(directory, Shelf((replace(made, was_found_at_provider=True),), "norte"))
    require_directory(tmp_path / "otro", Shelf((made,), "norte"))


def test_what_is_gone_from_the_disk_does_not_count(tmp_path: Path) -> None:
    gone = backup(tmp_path, 1, 1, 100)
    gone.path.unlink()
    assert told(gone) == ["aviso: todavía no hay ninguna completa"]


@pytest.mark.parametrize(
    ("size_bytes", "mark"), [(20, "bien"), (39, "bien"), (41, "aviso"), (11, "bien"), (9, "aviso"), (0, "aviso")]
)
def test_a_sudden_change_of_the_size_is_a_warning(tmp_path: Path, size_bytes: int, mark: str) -> None:
    """Beside the median of those before: one that was odd itself changes nothing."""
    before = [backup(tmp_path, number, 30 - number, 20 * MEBIBYTE) for number in range(1, 5)]
    odd = backup(tmp_path, 5, 8, 900 * MEBIBYTE)
    _, sizes, _ = told(*before, odd, backup(tmp_path, 6, 1, size_bytes * MEBIBYTE))
    assert sizes.startswith(f"{mark}: la última completa ocupa")
    assert "las anteriores, 900.00 MB, 20.00 MB" in sizes
    assert ("un cambio brusco" in sizes) == (mark == "aviso")


def test_an_almost_empty_database_may_double(tmp_path: Path) -> None:
    assert told(backup(tmp_path, 1, 8, 1000), backup(tmp_path, 2, 1, 9000))[1].startswith("bien: ")


def test_the_newest_proof_is_shown_with_its_age_or_its_failure(tmp_path: Path) -> None:
    made = backup(tmp_path, 1, 1, 100)
    proven = replace(made, verified=NOW - timedelta(days=3), verification_seconds=4.0)
    assert told(proven)[-1] == "bien: la copia 1 se restauró y comparó en 4 s"
    late = replace(made, verified=NOW - timedelta(days=20), verification_seconds=4.0)
    assert told(late)[-1].startswith("aviso: la última comprobación es de hace 20 días")
    assert told(late, verify_days=0)[-1].startswith("bien: ")
    doubtful = replace(made, verification_error="faltan filas")
    assert told(doubtful)[-1].startswith("ERROR: la copia 1 no se pudo comprobar: faltan filas; haga otra")


def test_room_for_the_next_one(tmp_path: Path) -> None:
    assert room(tmp_path, Shelf((backup(tmp_path, 1, 1, 100),), "norte")).needed_bytes == 120
    tmp_path.chmod(0o700)
    (fits,) = describe_room(tmp_path, Shelf((), "norte"))
    assert fits.in_order
    huge = replace(backup(tmp_path, 2, 1, 10), size_bytes=10**18)
    shelf = Shelf((huge,), "norte")
    (too_large,) = describe_room(tmp_path, shelf)
    assert not too_large.in_order
    assert "libere espacio" in too_large.text
