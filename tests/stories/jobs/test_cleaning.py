"""The temporary directory: old regular files directly in it go, and nothing else anywhere."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.destinations import Destination
from tests.stories.installation import Installation


def _age(path: Path, hours: float) -> None:
    then_ns = time.time_ns() - int(hours * 3600e9)
    os.utime(path, ns=(then_ns, then_ns), follow_symlinks=False)


def _temporary_file(installation: Installation, name: str, hours: float, size_bytes: int = 10) -> Path:
    path = installation.temporary / name
    path.write_bytes(b"x" * size_bytes)
    _age(path, hours)
    return path


def test_only_old_regular_files_directly_in_it_are_deleted(installation: Installation) -> None:
    _temporary_file(installation, "viejo.tmp", 25, 1024 * 1024)
    _temporary_file(installation, ".viejo oculto\ncon salto", 1000, 512 * 1024)
    os.close(os.open(os.fsencode(installation.temporary) + b"/viejo \xff", os.O_CREAT | os.O_WRONLY))
    os.utime(os.fsencode(installation.temporary) + b"/viejo \xff", (0, 0))
    _temporary_file(installation, "nuevo.tmp", 23)
    outside = installation.directory / "fuera.txt"
    outside.write_text("de otros")
    _age(outside, 1000)
    os.link(outside, installation.temporary / "enlace duro")
    (installation.temporary / "enlace").symlink_to(outside)
    (installation.temporary / "directorio").mkdir()
    _temporary_file(installation, "directorio/viejo dentro", 1000)
    os.mkfifo(installation.temporary / "tubo")
    for name in ("enlace", "directorio", "tubo"):
        _age(installation.temporary / name, 1000)

    run = installation.run("--clean-only")

    assert run.exit_code == 0, str(run)
    assert sorted(os.listdir(installation.temporary)) == ["directorio", "enlace", "nuevo.tmp", "tubo"]
    assert (installation.temporary / "directorio" / "viejo dentro").exists()
    assert outside.read_text() == "de otros"
    assert run.said("INFO", "Limpieza completada: 4 archivos temporales eliminados (1.50 MB)")


def test_a_directory_with_nothing_old_is_reported_too(installation: Installation) -> None:
    run = installation.run("--clean-only")
    assert run.exit_code == 0, str(run)
    assert run.said("INFO", "Limpieza completada: 0 archivos temporales eliminados (0.00 MB)")
    assert run.said("INFO", "Ciclo terminado: sin problemas")  # no sums of migrations that nobody asked for


@pytest.mark.parametrize(("hours", "kept"), [("0", []), ("0.5", ["un minuto"]), ("24", ["dos horas", "un minuto"])])
def test_the_retention_of_temporary_files_is_set_in_the_environment(
    installation: Installation, hours: str, kept: list[str]
) -> None:
    _temporary_file(installation, "un minuto", 1 / 60)
    _temporary_file(installation, "dos horas", 2)
    _temporary_file(installation, "dos días", 48)
    assert installation.run("--clean-only", TEMP_RETENTION_HOURS=hours).exit_code == 0
    assert sorted(os.listdir(installation.temporary)) == kept


@pytest.mark.parametrize("hours", ["-1", "nan", "inf", "un día"])
def test_a_retention_that_is_no_number_of_hours_deletes_nothing(installation: Installation, hours: str) -> None:
    _temporary_file(installation, "viejo", 1000)
    run = installation.run("--clean-only", TEMP_RETENTION_HOURS=hours)
    assert run.exit_code == 2, str(run)
    assert "TEMP_RETENTION_HOURS" in run.errors
    assert os.listdir(installation.temporary) == ["viejo"]


def test_a_missing_temporary_directory_is_a_warning(installation: Installation) -> None:
    installation.temporary.rmdir()
    run = installation.run("--clean-only")
    assert run.exit_code == 0, str(run)
    (warning,) = run.messages("WARNING")
    assert str(installation.temporary) in warning
    assert run.messages("ERROR") == []
    assert not installation.temporary.exists()


@pytest.mark.parametrize("where", ["itself", "on the way"])
def test_a_temporary_directory_behind_a_link_is_refused(installation: Installation, where: str) -> None:
    real = installation.directory / "de verdad" / "tmp"
    real.mkdir(parents=True)
    victim = real / "viejo"
    victim.touch()
    _age(victim, 1000)
    link = installation.directory / "enlace"
    link.symlink_to(real if where == "itself" else real.parent)
    run = installation.run("--clean-only", TEMP_DIR=str(link if where == "itself" else link / "tmp"))
    assert run.exit_code == 1, str(run)
    (error,) = run.messages("ERROR")
    assert "enlace" in error
    assert victim.exists()


def test_cleaning_works_with_no_provider_at_all_and_no_configuration(installation: Installation) -> None:
    _temporary_file(installation, "viejo", 25)
    run = installation.run("--clean-only")
    assert run.exit_code == 0, str(run)
    assert run.messages("WARNING") == run.messages("ERROR") == []
    assert os.listdir(installation.temporary) == []


def test_cleaning_neither_loads_nor_contacts_any_provider(
    installation: Installation, new_destination: Callable[[str], Destination]
) -> None:
    broken = installation.add_provider_row("Rota", "s3", "{", [])
    installation.execute("UPDATE cloud_providers SET configuracion = '5'")
    installation.configure(broken, installation.add_provider(new_destination("s3-rclone")))
    installation.small_execution("uno")
    _temporary_file(installation, "viejo", 25)
    run = installation.run("--clean-only", PYTHONPROFILEIMPORTTIME="1")
    assert run.exit_code == 0, str(run)
    assert len(run.messages("INFO")) == 2
    assert run.messages("WARNING") == run.messages("ERROR") == []
    assert os.listdir(installation.temporary) == []
    assert installation.place("uno") == (False, None, None)
    assert not [line for line in run.errors.splitlines() if "boto" in line or "paramiko" in line or "azure" in line]


def test_a_broken_configuration_does_not_stop_the_cleaning_of_a_tick(installation: Installation) -> None:
    installation.configure(1, prefijo_ruta_nube="a/../b")
    _temporary_file(installation, "viejo", 25)
    run = installation.run()
    assert run.exit_code == 2, str(run)
    assert run.said("INFO", "Limpieza completada: 1 archivos temporales eliminados (0.00 MB)")


def test_the_default_temporary_directory_is_tmp_in_the_working_directory(installation: Installation) -> None:
    home = Path(installation.environment["HOME"])
    (home / "tmp").mkdir()
    (home / "tmp" / "viejo").touch()
    _age(home / "tmp" / "viejo", 25)
    assert installation.run("--clean-only", TEMP_DIR=None).exit_code == 0
    assert os.listdir(home / "tmp") == []
