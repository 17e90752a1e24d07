"""What is recorded, afterwards, of backups whose runs were killed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from jobs.backups.files.description import FORMAT, Description
from jobs.backups.files.names import description_name
from jobs.backups.keeping.recovery import close_cut_off
from jobs.backups.keeping.shelf import Shelf
from jobs.backups.records import Backup, Records
from jobs.backups.result import Kind
from sql.connection import Row

CONTENT = b"a whole differential"


@pytest.fixture
def cut_off(tmp_path: Path) -> Backup:
    """The row of a differential whose file is whole, as its run was killed before it recorded that."""
    path = tmp_path / "backup_20260310_030000_DIFF.sql.gz"
    path.write_bytes(CONTENT)
    path.with_name(f"{path.name}.sha256").write_text(f"{hashlib.sha256(CONTENT).hexdigest()}  {path.name}\n")
    return Backup(
        id=7, kind=Kind.DIFFERENTIAL, name=path.name, path=path, state="EN_PROCESO",
        made=datetime(2026, 3, 10, 3, tzinfo=UTC), size_bytes=None, error=None, seconds=None, tables=None, rows=None,
        md5=None, base_id=1, is_deleted=False, deleted=None, made_by=None, host="norte", attempt="seven",
        is_being_deleted=False, verified=None, verification_seconds=None, verification_error=None,
    )  # fmt: skip


def closed(*backups: Backup) -> Mapping[object, str]:
    """How the attempts were closed: by the statements that were sent."""
    sent: dict[object, str] = {}

    def note(statement: str, parameters: Mapping[str, object]) -> list[Row]:
        sent[parameters["attempt"]] = statement
        return []

    close_cut_off(Shelf(backups, "norte"), Records(note, "norte"))
    return sent


def test_a_whole_file_of_a_killed_run_is_a_good_backup(cut_off: Backup) -> None:
    assert closed(cut_off) == {"seven": "finish_backup"}


def test_a_whole_file_is_good_also_where_another_host_has_closed_its_row(cut_off: Backup) -> None:
    """It took the job over, and could not see the file."""
    assert closed(replace(cut_off, state="ERROR")) == {"seven": "finish_backup"}


def test_what_a_file_here_is_says_nothing_of_another_hosts_run(cut_off: Backup) -> None:
    """Both hosts may name the same path, each on a disk of its own."""
    assert closed(replace(cut_off, host="sur")) == {"seven": "fail_backup"}


@pytest.mark.parametrize(("described", "closes"), [(CONTENT, "finish_backup"), (b"another one", "fail_backup")])
def test_a_full_one_is_whole_only_with_its_own_description(cut_off: Backup, described: bytes, closes: str) -> None:
    """Without it no differential can be made of it, and nothing tells whether it restores."""
    name = cut_off.name.replace("DIFF", "FULL")
    for suffix in ("", ".sha256"):
        cut_off.path.with_name(cut_off.name + suffix).rename(cut_off.path.with_name(name + suffix))
    description = Description(
        FORMAT, "20260310_030000_0123456789abcdef", name, len(CONTENT), hashlib.sha256(described).hexdigest(), "b" * 32,
        1, 2, 3, "c" * 64, "sage", 5, "UTF8", 18, 18, 1, 1, {}, [],
    )  # fmt: skip
    cut_off.path.with_name(description_name(name)).write_bytes(description.to_bytes())
    full = replace(cut_off, kind=Kind.FULL, name=name, path=cut_off.path.with_name(name), base_id=None)
    assert closed(full) == {"seven": closes}


def test_of_runs_within_one_second_the_last_one_made_the_file(cut_off: Backup) -> None:
    """The names of files have seconds. A run does not choose the name of a file that is there."""
    before = replace(cut_off, id=6, attempt="six")
    assert closed(before, cut_off) == {"six": "fail_backup", "seven": "finish_backup"}


def test_the_file_of_a_good_backup_belongs_to_no_other_row(cut_off: Backup) -> None:
    good = replace(cut_off, id=6, attempt="six", state="COMPLETADO")
    assert closed(good, cut_off) == {"seven": "fail_backup"}


@pytest.mark.parametrize("beside", [b"", b"\xff\xfe\xff"])
def test_a_hash_file_that_nobody_can_read_stops_no_run(cut_off: Backup, beside: bytes) -> None:
    cut_off.path.with_name(f"{cut_off.name}.sha256").write_bytes(beside)
    assert closed(cut_off) == {"seven": "fail_backup"}
