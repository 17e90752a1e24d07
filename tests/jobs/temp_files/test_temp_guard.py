"""A `TEMP_DIR` in which others keep their files is refused before anything is deleted.

By whatever path it is reached. Looked for in everything that has a directory of its own: the system, users, the
program, its log, lock and backups, roots, copies, Python.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from config.errors import ConfigurationError
from config.settings import Settings, load_settings
from jobs.temp_files.guard import PROGRAM, require_temp_directory_apart, temp_directory_fault

SYSTEM = (
    *("/", "/etc", "/etc/cron.d", "/usr", "/usr/bin", "/bin", "/sbin", "/lib", "/boot", "/dev", "/dev/shm", "/proc"),  # noqa: S108
    *("/sys", "/run", "/run/lock", "/var", "/var/log", "/var/lib", "/home", "/home/sage", "/root", "/opt", "/srv"),
    *("/tmp", "/var/tmp", "/media", "/mnt"),  # noqa: S108
    *("/var/mail", "/var/spool", "/var/spool/cron", "/var/backups", "/var/backups/x", "/var/lib/postgresql/16/main"),
)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A program at work in a directory of its own, with everything else beside it."""
    for name in ("trabajo", "trabajo/tmp", "raiz", "raiz/uuid", "logs", "lock", "backups", "casa", "temporales"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "trabajo")
    monkeypatch.setenv("HOME", str(tmp_path / "casa"))
    return load_settings(
        {
            "TEMP_DIR": str(tmp_path / "temporales"),
            "JANITOR_ROOTS": str(tmp_path / "raiz"),
            "JANITOR_LOG_DIR": str(tmp_path / "logs"),
            "JANITOR_LOCK_DIR": str(tmp_path / "lock"),
            "BACKUP_PATH": str(tmp_path / "backups"),
        }
    )


def refused(settings: Settings, path: Path | str) -> bool:
    """Whether this would be no `TEMP_DIR`."""
    return temp_directory_fault(replace(settings, temp_directory=Path(path))) is not None


def test_a_directory_of_its_own_is_taken(settings: Settings, tmp_path: Path) -> None:
    require_temp_directory_apart(settings)
    for path in ("tmp", "./tmp", tmp_path / "trabajo/tmp", tmp_path / "falta", PROGRAM / "tmp", tmp_path / "lock-2"):
        assert not refused(settings, path), path


@pytest.mark.parametrize("path", SYSTEM)
def test_the_systems_own_directories_are_refused(settings: Settings, path: str) -> None:
    """As in rows; `/tmp` and `/var/tmp` are everybody's, a directory in them is not."""
    with pytest.raises(ConfigurationError, match=r"^TEMP_DIR: .* del sistema"):
        require_temp_directory_apart(replace(settings, temp_directory=Path(path)))


@pytest.mark.parametrize(
    "path",
    [
        *(".", "..", "tmp/..", "../raiz", "../raiz/uuid", "../logs", "../logs/x", "../lock", "../backups"),
        *("../backups/x", "../casa"),
        *(str(PROGRAM / part) for part in ("", "config", "docs", "sql/queries", ".git")),
        str(PROGRAM.parent),
        *(str(Path(os.__file__).parent), str(Path(pytest.__file__).parent)),
    ],
)
@pytest.mark.parametrize("way", ["as it is", "absolute", "link", "link above"])
def test_what_others_keep_is_refused_by_whatever_path(settings: Settings, tmp_path: Path, path: str, way: str) -> None:
    if way == "absolute":
        path = os.path.realpath(path)
    elif way == "link":
        (tmp_path / "enlace").symlink_to(os.path.realpath(path))
        path = str(tmp_path / "enlace")
    elif way == "link above":
        (tmp_path / "enlace").symlink_to(os.path.realpath(Path(path, "..")))
        path = str(tmp_path / "enlace" / Path(os.path.realpath(path)).name)
    assert refused(settings, path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_a_bind_mount_is_known_by_what_it_shows(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "raiz/e1/datos").mkdir(parents=True)
    for kept in ("raiz", "raiz/e1", "raiz/e1/datos", "trabajo", "logs"):
        subprocess.run(["mount", "--bind", str(tmp_path / kept), str(tmp_path / "temporales")], check=True)
        try:
            assert refused(settings, tmp_path / "temporales")
        finally:
            subprocess.run(["umount", str(tmp_path / "temporales")], check=True)
    assert not refused(settings, tmp_path / "temporales")


@pytest.mark.parametrize("name", [".git", ".env", "PG_VERSION", "janitor_daemon.py"])
def test_what_is_somebodys_by_what_it_holds_is_refused(settings: Settings, tmp_path: Path, name: str) -> None:
    """Sources, settings, a database, another copy of the program: wherever they are."""
    (tmp_path / "temporales" / name).touch()
    assert refused(settings, tmp_path / "temporales")
    assert not refused(settings, tmp_path / "temporales/datos")


@pytest.mark.parametrize("below", [".git", ".git/refs/heads"])
def test_the_inside_of_a_repository_is_refused(settings: Settings, tmp_path: Path, below: str) -> None:
    (tmp_path / "otro" / below).mkdir(parents=True)
    assert refused(settings, tmp_path / "otro" / below)
    assert not refused(settings, tmp_path / "otro/tmp")


def test_a_copy_of_an_execution_is_refused(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "temporales.manifest.json").touch()
    assert refused(settings, tmp_path / "temporales")
    assert refused(settings, tmp_path / "temporales/datos")


def test_directories_that_hold_much_else_may_hold_it_too(settings: Settings, tmp_path: Path) -> None:
    """The lock of a host without a better place for it lies in `/tmp`, and a log may lie in the working directory."""
    for much_else in (tmp_path / "trabajo", Path("/tmp")):  # noqa: S108
        shared = replace(settings, lock_directory=much_else, log_directory=much_else)
        assert not refused(shared, tmp_path / "trabajo/tmp")
        assert refused(shared, much_else)
