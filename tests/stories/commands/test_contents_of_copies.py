"""What an operator sees of a copy without restoring it: `ls` and `url`."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable

import pytest

from tests.commands.json_schemas import require_valid
from tests.destinations import Destination
from tests.stories.installation import Installation


@pytest.fixture
def migrated(installation: Installation, new_destination: Callable[[str], Destination]) -> Installation:
    """One execution, `uno`, on an S3 server, and one, `dos`, on a mounted directory."""
    nas = installation.add_provider(new_destination("local"), "nas")
    installation.configure(installation.add_provider(new_destination("s3-rclone"), "nube"))
    directory = installation.small_execution("uno")
    (directory / "vacío").mkdir()
    (directory / "último").symlink_to("tabla.txt")
    assert installation.run("--migrate-only").exit_code == 0
    installation.small_execution("dos")
    installation.configure(nas)
    assert installation.run("--migrate-only").exit_code == 0
    return installation


def test_ls_shows_what_the_manifest_names(migrated: Installation) -> None:
    run = migrated.run("ls", "uno")
    assert run.exit_code == 0, str(run)
    lines = run.output.splitlines()
    assert [line.split()[-1] for line in lines[:2]] == ["ejecucion.txt", "tabla.txt"]
    assert lines[0].split()[0] == f"{(migrated.executions / 'uno' / 'ejecucion.txt').stat().st_mode & 0o7777:04o}"
    assert lines[2].endswith("vacío/")
    assert lines[3].endswith("último -> tabla.txt")
    assert lines[4] == "2 ficheros, 25 B"

    found = json.loads(migrated.run("ls", "uno", "--json").output)
    require_valid("ls", found)
    assert (found["execution"], found["provider"], found["file_count"]) == ("uno", "nube", 2)
    assert found["uri"] == migrated.place("uno")[1]
    (entry,) = [entry for entry in found["entries"] if entry["path"] == "tabla.txt"]
    assert entry.keys() == {"path", "kind", "mode", "mtime_ns", "size_bytes", "sha256"}
    assert [entry["target"] for entry in found["entries"] if entry["kind"] == "link"] == ["tabla.txt"]
    assert migrated.run("ls", "no-hay").exit_code == 1


def test_url_gives_an_address_on_the_standard_output_only(migrated: Installation) -> None:
    run = migrated.run("--debug", "url", "uno", "tabla.txt", "--expires", "30m")
    assert run.exit_code == 0, str(run)
    address = run.output.strip()
    with urllib.request.urlopen(address, timeout=30) as answer:  # noqa: S310 an address of a local test server
        assert answer.read() == (migrated.executions / "uno" / "tabla.txt").read_bytes()
    assert address.rpartition("X-Amz-Signature=")[2] not in run.errors
    (noted,) = migrated.rows("SELECT details, command FROM janitor_audit WHERE event = 'url_signed'")
    assert noted["details"] == {"path": "tabla.txt", "seconds": 1800}
    assert run.said("INFO", "Dirección de tabla.txt, de la ejecución uno, firmada para 30 min")


def test_what_has_no_address_is_refused(migrated: Installation) -> None:
    for arguments, exit_code, told in (
        (("uno", "no-hay.txt"), 1, "la ejecución uno: no-hay.txt no está en su manifiesto; véalos con ls"),
        (("uno", "vacío"), 1, "la ejecución uno: vacío no es un fichero; véalos con ls"),
        (("uno", "tabla.txt", "--expires", "8d"), 1, "nube no da direcciones: valen como mucho 7 días"),
        (("dos", "tabla.txt"), 1, "nas no da direcciones: en este tipo de destino nada se firma"),
        (("uno", "tabla.txt", "--expires", "off"), 2, "sin plazo"),
        (("uno", "tabla.txt", "--expires", "pronto"), 2, "debe ser una duración"),
    ):
        run = migrated.run("url", *arguments)
        assert (run.exit_code, run.output) == (exit_code, ""), str(run)
        assert told in run.errors, str(run)
