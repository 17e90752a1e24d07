"""The program's own directories are not for everybody, whatever the umask."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from config.process.directories import make_directory
from config.process.log_output import configure_logging
from jobs.backups.files.directory import Target, prepare


def mode_of(path: Path) -> int:
    """Its permissions."""
    return stat.S_IMODE(path.stat().st_mode)


def test_a_directory_and_those_above_it_are_closed_to_others(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        make_directory(tmp_path / "a" / "b", 0o750)
        make_directory(tmp_path / "a" / "b", 0o700)
        prepare(Target(tmp_path / "copias" / "base"))
    finally:
        os.umask(before)
    assert [mode_of(tmp_path / name) for name in ("a", "a/b")] == [0o750, 0o750]
    assert [mode_of(tmp_path / name) for name in ("copias", "copias/base")] == [0o700, 0o700]


def test_the_directory_of_the_log_is_closed_to_others(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        configure_logging(tmp_path / "logs", "text", debug=False)
    finally:
        os.umask(before)
        configure_logging(None, "text", debug=False)
    assert mode_of(tmp_path / "logs") == 0o750


def test_what_is_no_directory_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        make_directory(tmp_path / "file", 0o700)
    with pytest.raises(OSError, match="file"):
        make_directory(tmp_path / "file" / "below", 0o700)
