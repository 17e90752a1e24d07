"""A local directory (a mounted NAS, say) is full, cannot be written, is gone or in the way: nothing is lost."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.destinations import Destination, local_destination
from tests.disks.small_disk import make_read_only, mounted_small_disk
from tests.stories.installation import Installation, Run
from tests.stories.trees import require_stored, snapshot

DISK_SIZE_BYTES = 256 * 1024
LARGER_THAN_THE_DISK = "x" * (2 * DISK_SIZE_BYTES)
NOTHING_UNFINISHED = {"attempts": 0, "leases": 0, "removals": 0}

PERSON_WANTED = ("no existe el directorio", "no queda espacio", "solo lectura")
"""What the reasons say that only a person can mend: then the exit code is 1, though the alternate took everything."""


@pytest.fixture
def faulty_nas(installation: Installation) -> Destination:
    """The primary, in which something will be wrong."""
    return local_destination("roto", installation.directory / "roto")


@pytest.fixture
def directory(installation: Installation, faulty_nas: Destination, nas: Destination) -> Path:
    """An execution, with a directory as the primary and another one as the alternate."""
    primary = installation.add_provider(faulty_nas, "El roto")
    installation.configure(primary, installation.add_provider(nas, "El NAS"))
    return installation.small_execution("uno", a="a" * 100, grande=LARGER_THAN_THE_DISK)


def require_gone_to_the_alternate(
    installation: Installation, run: Run, nas: Destination, directory: Path, reason: str
) -> None:
    """One line names the primary and says why; the copy on the alternate is whole; nothing is unfinished."""
    assert run.exit_code == (1 if run.needs_a_person else 0), str(run)
    is_in_use = "El proveedor El roto sigue en uso" in run.errors  # as it has room for less
    assert run.needs_a_person == (any(part in reason for part in PERSON_WANTED) and not is_in_use), str(run)
    (line,) = [line for line in run.messages("ERROR") if line.startswith("Error subiendo uno a El roto: ")]
    assert reason in line
    assert "Traceback" not in run.errors
    migrated, place, _ = installation.place("uno")
    assert (migrated, place) == (True, "cloud://local/ejecuciones/uno")
    require_stored(nas, "ejecuciones/uno", directory)


def take_all_inodes(directory: Path) -> None:
    used = os.statvfs(directory).f_files - os.statvfs(directory).f_ffree
    subprocess.run(["mount", "-o", f"remount,nr_inodes={used}", str(directory)], check=True, timeout=30)


def nothing(_directory: Path) -> None:
    """The disk is too small, and that is enough."""


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        pytest.param(nothing, "no queda espacio", id="full in the middle"),
        pytest.param(take_all_inodes, "no queda espacio", id="no inodes"),
        pytest.param(make_read_only, "solo lectura", id="read-only"),
    ],
)
def test_a_disk_that_takes_no_more_is_given_up_for_the_alternate(
    installation: Installation,
    faulty_nas: Destination,
    nas: Destination,
    directory: Path,
    trouble: Callable[[Path], None],
    reason: str,
) -> None:
    with mounted_small_disk(faulty_nas.directory, DISK_SIZE_BYTES):
        trouble(faulty_nas.directory)
        run = installation.run(JANITOR_TRANSFERS="1")
        require_gone_to_the_alternate(installation, run, nas, directory, reason)
        for _ in range(2):
            assert installation.run().exit_code == 0
        assert faulty_nas.everything_stored() == set()
    assert installation.unfinished() == NOTHING_UNFINISHED


def test_without_an_alternate_a_full_disk_leaves_the_original_and_no_half_copy(
    installation: Installation, faulty_nas: Destination
) -> None:
    installation.configure(installation.add_provider(faulty_nas, "El roto"), eliminar_despues_de_migrar=True)
    directory = installation.small_execution("uno", a="a" * 100, grande=LARGER_THAN_THE_DISK)
    before = snapshot(directory)
    with mounted_small_disk(faulty_nas.directory, DISK_SIZE_BYTES):
        run = installation.run(JANITOR_TRANSFERS="1")
        assert run.exit_code == 1, str(run)
        (line,) = [line for line in run.messages("ERROR") if line.startswith("No se pudo migrar la ejecución uno")]
        assert "no queda espacio" in line
        assert not list(faulty_nas.directory.rglob("*.part"))
    assert installation.place("uno") == (False, None, None)
    assert snapshot(directory) == before
    run = installation.run()  # with the disk below it, which has room
    assert run.exit_code == 0, str(run)
    assert not directory.exists()
    assert installation.unfinished() == NOTHING_UNFINISHED


def test_a_directory_that_is_not_mounted_is_reported_and_not_made(
    installation: Installation, faulty_nas: Destination, nas: Destination, directory: Path
) -> None:
    faulty_nas.directory.rmdir()
    run = installation.run()
    require_gone_to_the_alternate(installation, run, nas, directory, "no existe el directorio")
    assert not faulty_nas.directory.exists()


@pytest.mark.parametrize("in_the_way", ["ejecuciones", "ejecuciones/uno"])
def test_a_file_where_a_directory_should_be_is_reported_and_kept(
    installation: Installation, faulty_nas: Destination, nas: Destination, directory: Path, in_the_way: str
) -> None:
    path = faulty_nas.directory / in_the_way
    path.parent.mkdir(exist_ok=True)
    path.write_text("de otro")
    run = installation.run()
    require_gone_to_the_alternate(installation, run, nas, directory, "lo que debería ser un directorio es un fichero")
    for _ in range(2):
        assert installation.run().exit_code == 0
    assert path.read_text() == "de otro"
    assert installation.unfinished() == NOTHING_UNFINISHED
