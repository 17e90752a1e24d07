"""Where backups may be: outside of the roots, and where this user can write, as `check` and `status` say beforehand."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from config.errors import ConfigurationError
from config.settings import load_settings
from config.text.times import Clock
from jobs.backups.errors import DiskError
from jobs.backups.files.directory import Target, disk_errors, prepare
from jobs.backups.files.drafts import Draft
from jobs.backups.job import JOB
from jobs.backups.keeping.place import open_to_others, require_outside_roots
from jobs.backups.keeping.shelf import Shelf, require_directory
from jobs.backups.keeping.summary import findings
from jobs.tick import plan_of
from tests.disks.privileges import unprivileged


@pytest.mark.parametrize("path", ["raiz", "raiz/copias", "raiz/uuid/copias", "enlace/copias"])
def test_a_directory_in_a_root_is_refused(tmp_path: Path, path: str) -> None:
    """An execution that holds it, or is it, would take the backups along."""
    (tmp_path / "raiz").mkdir()
    (tmp_path / "enlace").symlink_to("raiz")
    settings = load_settings(
        {
            "JANITOR_ROOTS": f"{tmp_path / 'otra'}:{tmp_path / 'raiz'}",
            "BACKUP_PATH": str(tmp_path / path),
            "BACKUP_ENABLED": "true",
        }
    )
    with pytest.raises(ConfigurationError, match=r"^BACKUP_PATH: .* fuera de las raíces"):
        plan_of(JOB, settings)


def test_without_a_working_directory_only_the_job_itself_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its settings are read before all jobs of a tick."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    require_outside_roots(load_settings({"JANITOR_ROOTS": str(tmp_path / "raiz"), "BACKUP_PATH": "copias"}))


@pytest.mark.parametrize(
    "address", ["sage", "mysql://u:s3cret@h/x", "postgresql://u:12@s3cret@127.0.0.1/x", "postgresql://u:1/s3cret@h/x"]
)
def test_an_address_that_cannot_be_read_is_refused_by_its_name_and_not_quoted(address: str) -> None:
    """Before libpq looks for a server whose name is a part of the password, and says so."""
    with pytest.raises(ConfigurationError, match=r"^BACKUP_DATABASE_URL") as refusal:
        plan_of(JOB, load_settings({"BACKUP_ENABLED": "true", "BACKUP_DATABASE_URL": address}))
    assert "s3cret" not in f"{refusal.value}{refusal.value.__cause__}"


@pytest.mark.parametrize("path", ["copias", "raiz-2", ".", "raiz/../copias"])
def test_a_directory_beside_the_roots_is_taken(tmp_path: Path, path: str) -> None:
    (tmp_path / "raiz").mkdir()
    require_outside_roots(load_settings({"JANITOR_ROOTS": str(tmp_path / "raiz"), "BACKUP_PATH": str(tmp_path / path)}))


def _a_file(directory: Path) -> Path:
    path = directory / "copias"
    path.touch()
    return path


def _below_a_file(directory: Path) -> Path:
    return _a_file(directory) / "diarias"


def _a_link_to_nothing(directory: Path) -> Path:
    path = directory / "copias"
    path.symlink_to("falta")
    return path


def _of_somebody_else(directory: Path) -> Path:
    path = directory / "copias"
    path.mkdir(mode=0o500)
    return path


def _to_be_made_in_one_of_somebody_else(directory: Path) -> Path:
    return _of_somebody_else(directory) / "diarias"


def _in_one_that_may_not_be_entered(directory: Path) -> Path:
    path = directory / "copias"
    (path / "diarias").mkdir(parents=True)
    path.chmod(0)
    return path / "diarias"


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (_a_file, "no es un directorio; indique otro directorio en BACKUP_PATH"),
        (_below_a_file, "copias no es un directorio: quítelo, o indique otro directorio en BACKUP_PATH"),
        (_a_link_to_nothing, "no es un directorio; indique otro directorio en BACKUP_PATH"),
        (_of_somebody_else, "permiso denegado; "),
        (_to_be_made_in_one_of_somebody_else, "permiso denegado; "),
        (_in_one_that_may_not_be_entered, "permiso denegado; "),
    ],
)
def test_what_keeps_a_run_from_writing_is_found_beforehand(make: Callable[[Path], Path], why: str) -> None:
    """And a run says so, too."""
    with tempfile.TemporaryDirectory() as above:  # everybody may pass there, unlike pytest's own directories
        Path(above).chmod(0o755)
        directory = make(Path(above))
        with unprivileged():
            *_, finding = findings(Shelf((), "norte"), directory, 0, Clock(datetime.now(UTC), UTC))
            with pytest.raises(DiskError, match=f"no se puede escribir en {directory}"):
                _begin_in(directory)
        if (Path(above) / "copias").is_dir():
            (Path(above) / "copias").chmod(0o700)
    assert not finding.in_order
    assert finding.text.startswith(f"no se puede escribir en {directory} (BACKUP_PATH): ")
    assert why in finding.text


def _begin_in(directory: Path) -> None:
    require_directory(directory, Shelf((), "norte"))
    prepare(Target(directory))
    with disk_errors(directory), Draft(directory, "backup_1"):
        pass


def test_nobody_is_told_to_close_a_directory_of_others(tmp_path: Path) -> None:
    """What is `/tmp` to the system must stay open."""
    tmp_path.chmod(0o755)
    assert "ejecute chmod 700 en él" in str(open_to_others(tmp_path))
    tmp_path.chmod(0o700)
    assert open_to_others(tmp_path) is None
    tmp_path.chmod(0o2700)  # as made where the group is inherited, which `chmod 700` leaves as it is
    assert open_to_others(tmp_path) is None
    for path in ("/", "/tmp", "/var/tmp", "/etc"):  # noqa: S108
        assert str(open_to_others(Path(path))).endswith("(BACKUP_PATH); indique uno solo para ellas, de este usuario")


def test_nothing_is_made_to_find_out(tmp_path: Path) -> None:
    *_, finding = findings(Shelf((), "norte"), tmp_path / "copias/diarias", 0, Clock(datetime.now(UTC), UTC))
    assert (finding.in_order, "la primera copia lo crea" in finding.text) == (True, True)
    assert list(tmp_path.iterdir()) == []
