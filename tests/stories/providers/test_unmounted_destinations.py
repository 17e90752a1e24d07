"""The disk of a destination is not mounted: nothing goes below its mount point, and nothing counts as lost.

Looked for besides: `check`, the audit, a restore, an alternate's copies, the removal of local copies, a dry run.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.destinations import Destination
from tests.stories.installation import Installation
from tests.stories.trees import require_stored, snapshot

IS_IT_MOUNTED = "está vacío, aunque consta 1 copia en él: ¿está montado?"


def unmount(destination: Destination) -> Path:
    """Leave only the mount point, and give where the disk is."""
    away = destination.directory.with_name(f"{destination.directory.name}-away")
    destination.directory.rename(away)
    destination.directory.mkdir(mode=0o777)
    return away


def mount(destination: Destination, away: Path) -> None:
    destination.directory.rmdir()
    away.rename(destination.directory)


@pytest.fixture(params=["local", "sftp"])
def primary(request: pytest.FixtureRequest, new_destination: Callable[[str], Destination]) -> Destination:
    """A directory on this machine or on a server."""
    return new_destination({"local": "local", "sftp": "sftp-openssh"}[request.param])


def test_a_disk_that_is_not_mounted_is_neither_written_to_nor_believed(
    installation: Installation, primary: Destination, nas: Destination, tmp_path: Path
) -> None:
    number = installation.add_provider(primary, "El grande")
    installation.configure(number, installation.add_provider(nas, "El NAS"), eliminar_despues_de_migrar=True)
    before = snapshot(installation.small_execution("uno"))
    assert installation.run().exit_code == 0

    away = unmount(primary)
    directory = installation.small_execution("dos")
    run = installation.run()
    assert run.exit_code == 1, str(run)
    assert run.needs_a_person
    (line,) = [line for line in run.messages("ERROR") if line.startswith("Error subiendo dos a El grande: ")]
    assert IS_IT_MOUNTED in line
    assert installation.place("dos") == (True, "cloud://local/ejecuciones/dos", number + 1)
    assert not directory.exists()
    assert "El grande (sin montar)" in run.messages("INFO")[-1]

    check = installation.run("check")
    assert check.exit_code == 1, str(check)
    assert IS_IT_MOUNTED in check.output
    audit = installation.run("audit", "--all", "--json")
    assert audit.exit_code == 1, str(audit)
    assert json.loads(audit.output)["findings"] == []
    restore = installation.run("restore", "uno", str(tmp_path / "uno"))
    assert restore.exit_code == 1, str(restore)
    assert IS_IT_MOUNTED in restore.errors
    assert list(primary.directory.iterdir()) == []

    mount(primary, away)
    installation.small_execution("tres")
    run = installation.run()
    assert run.exit_code == 0, str(run)
    assert "El proveedor El grande vuelve a funcionar" in run.errors
    assert installation.place("tres")[2] == number
    assert installation.run("restore", "uno", str(tmp_path / "uno")).exit_code == 0
    assert snapshot(tmp_path / "uno") == before
    assert installation.unfinished() == {"attempts": 0, "leases": 0, "removals": 0}


def test_check_says_before_the_first_copy_that_a_directory_is_on_the_disk_of_the_system(
    installation: Installation, nas: Destination
) -> None:
    installation.configure(installation.add_provider(nas, "El NAS"))
    told = "está en el mismo sistema de ficheros que"
    check = installation.run("check")
    assert check.exit_code == 0, str(check)
    (line,) = [line for line in check.output.splitlines() if told in line]
    assert line.startswith("aviso"), line
    directory = installation.small_execution("uno")
    assert installation.run().exit_code == 0
    require_stored(nas, "ejecuciones/uno", directory)
    assert told not in installation.run("check").output
