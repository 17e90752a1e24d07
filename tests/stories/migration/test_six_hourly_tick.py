"""What cron starts every six hours, on every kind of destination, from first look to restored copy."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Callable
from pathlib import Path

from tests.destinations import Destination
from tests.servers.swift import NAMES_IN_A_PAGE
from tests.stories.installation import Installation
from tests.stories.trees import copy_tree, make_odd_tree, make_usual_tree, require_stored, snapshot

ROOTS_WARNING = "JANITOR_ROOTS no está definida"


def _restore(installation: Installation, uuid: str) -> Path:
    destination = installation.directory / "restaurada" / uuid
    destination.parent.mkdir(exist_ok=True)
    run = installation.run("restore", uuid, str(destination))
    assert run.exit_code == 0, str(run)
    return destination


def _keep_original(installation: Installation, uuid: str) -> Path:
    """A copy of an execution to compare with, made before the daemon comes."""
    original = installation.directory / "original" / uuid
    original.parent.mkdir(exist_ok=True)
    return copy_tree(installation.executions / uuid, original)


NAMES_THAT_A_SERVER_REFUSES = {"s3-moto": ["salto\nde línea"]}  # moto finds no route to it and answers 404


def test_a_tick_moves_executions_to_every_kind_of_destination(
    installation: Installation, destinations: Destination
) -> None:
    provider = installation.add_provider(destinations)
    installation.configure(provider, prefijo_ruta_nube="/sage//producción/", eliminar_despues_de_migrar=True)
    uuids = ("1234-abcd", "rara", "vacia")
    for uuid in uuids:
        installation.add_execution(uuid, installation.new_directory(uuid))
    make_usual_tree(installation.executions / "1234-abcd")
    make_odd_tree(installation.executions / "rara", NAMES_THAT_A_SERVER_REFUSES.get(destinations.name, ()))
    originals = {uuid: _keep_original(installation, uuid) for uuid in uuids}

    run = installation.run()

    assert run.exit_code == 0, str(run)
    for uuid, original in originals.items():
        uri = f"cloud://{destinations.kind}/sage/producción/ejecuciones/{uuid}"
        assert installation.place(uuid) == (True, uri, provider)
        assert run.said("INFO", f"Migrando ejecución {uuid} a la nube")
        assert run.said("INFO", f"Ejecución {uuid} migrada exitosamente a {uri}")
        if uuid != "vacia":  # there is nothing under the prefix for rclone to find
            require_stored(destinations, f"sage/producción/ejecuciones/{uuid}", original)
        assert installation.migration(uuid)["evidence"] in ("checksum", "read-back")
        assert snapshot(_restore(installation, uuid)) == snapshot(original)
    assert run.messages("WARNING") == run.messages("ERROR") == []
    assert os.listdir(installation.executions) == []
    assert installation.unfinished() == {"attempts": 0, "leases": 0, "removals": 0}


def test_without_a_prefix_executions_are_at_the_top_and_a_second_tick_does_nothing(
    installation: Installation, destinations: Destination
) -> None:
    provider = installation.add_provider(destinations)
    installation.configure(provider, eliminar_despues_de_migrar=True)
    installation.small_execution("1234-abcd")
    original = _keep_original(installation, "1234-abcd")
    assert installation.run().exit_code == 0
    assert installation.place("1234-abcd") == (True, f"cloud://{destinations.kind}/ejecuciones/1234-abcd", provider)
    require_stored(destinations, "ejecuciones/1234-abcd", original)
    stored = destinations.everything_stored()
    assert stored == {
        "ejecuciones/1234-abcd.manifest.json",
        "ejecuciones/1234-abcd/ejecucion.txt",
        "ejecuciones/1234-abcd/tabla.txt",
    }
    platform = installation.rows("SELECT * FROM ejecuciones_yaml ORDER BY id")

    again = installation.run()

    assert again.exit_code == 0, str(again)
    assert not [line for line in again.messages() if "Migrando" in line]
    assert destinations.everything_stored() == stored
    assert installation.rows("SELECT * FROM ejecuciones_yaml ORDER BY id") == platform


def test_status_shows_what_a_tick_did(installation: Installation, nas: Destination) -> None:
    provider = installation.add_provider(nas, "NAS del sótano")
    installation.configure(provider, tiempo_retencion_local=24)
    installation.small_execution("uno", contenido="doce bytes..")
    installation.small_execution("dos", contenido="doce bytes..")
    installation.small_execution("joven", age_hours=1)
    installation.add_execution("mala", "/etc")
    assert "Pendientes: 4 (listas para migrar ahora: 3)" in installation.run("status").output
    assert installation.run().exit_code == 1

    run = installation.run("status")
    assert run.exit_code == 1, str(run)  # somebody has to correct the row that was refused
    assert run.output.splitlines()[1].startswith("  ! 1 ejecución sin migrar: el directorio no se puede tocar")
    assert "Pendientes: 2 (listas para migrar ahora: 0)" in run.output
    assert "Migradas: 2" in run.output
    assert f"en NAS del sótano (local, id {provider}): 2 ejecuciones, 2 ficheros" in run.output
    assert "Con error: 1" in run.output
    assert "mala: " in run.output

    report = json.loads(installation.run("status", "--json").output)
    counts = {name: report[name] for name in ("pending", "due", "migrated", "failed", "deletions_unfinished")}
    assert counts == {"pending": 2, "due": 1, "migrated": 2, "failed": 1, "deletions_unfinished": 0}
    expected = {
        "provider_id": provider,
        "name": "NAS del sótano",
        "kind": "local",
        "migrated": 2,
        "file_count": 2,
        "size_bytes": 24,
    }
    (told,) = report["providers"]
    assert {name: told[name] for name in expected} == expected
    assert [failure["uuid"] for failure in report["failures"]] == ["mala"]
    assert report["last_run"]["exit_code"] == 1


def test_an_execution_of_more_files_than_a_page_of_a_listing(
    installation: Installation, new_destination: Callable[[str], Destination]
) -> None:
    """The test's Swift answers with a hundred names at a time. Azure does with five thousand, which its own test makes
    fewer.
    """
    destination = new_destination("s3-swift")
    installation.configure(installation.add_provider(destination), eliminar_despues_de_migrar=True)
    directory = installation.new_directory("enorme")
    for number in range(NAMES_IN_A_PAGE + 10):
        (directory / f"{number:04d}.txt").write_text(f"fichero {number}")
    installation.add_execution("enorme", directory)
    original = _keep_original(installation, "enorme")

    run = installation.run()

    assert run.exit_code == 0, str(run)
    require_stored(destination, "ejecuciones/enorme", original)
    assert len(destination.everything_stored()) == NAMES_IN_A_PAGE + 11
    assert not directory.exists()


def test_a_file_that_goes_up_in_parts(installation: Installation, destinations: Destination) -> None:
    installation.configure(installation.add_provider(destinations), eliminar_despues_de_migrar=True)
    directory = installation.new_directory("grande")
    (directory / "datos.bin").write_bytes(os.urandom(20_000_000))
    installation.add_execution("grande", directory)
    original = _keep_original(installation, "grande")

    run = installation.run()

    assert run.exit_code == 0, str(run)
    require_stored(destinations, "ejecuciones/grande", original)
    assert len(destinations.everything_stored()) == 2
    assert not directory.exists()
    assert snapshot(_restore(installation, "grande")) == snapshot(original)


def test_local_copies_stay_where_deletion_is_off(installation: Installation, nas: Destination) -> None:
    installation.configure(installation.add_provider(nas), eliminar_despues_de_migrar=False)
    directory = installation.new_directory("rara")
    make_odd_tree(directory)
    installation.add_execution("rara", directory)
    before = snapshot(directory)
    for _ in range(2):
        assert installation.run().exit_code == 0
    assert installation.place("rara")[0] is True
    assert snapshot(directory) == before
    assert installation.migration("rara")["local_copy"] == "kept"


def test_without_roots_local_copies_stay_and_one_warning_says_what_to_set(
    installation: Installation, nas: Destination
) -> None:
    installation.configure(installation.add_provider(nas), eliminar_despues_de_migrar=True)
    directories = [installation.small_execution(uuid) for uuid in ("uno", "dos")]
    run = installation.run(JANITOR_ROOTS=None)
    assert run.exit_code == 0, str(run)
    (warning,) = run.messages("WARNING")
    assert warning.startswith(ROOTS_WARNING)
    assert [installation.place(uuid)[0] for uuid in ("uno", "dos")] == [True, True]
    assert all(list(directory.iterdir()) for directory in directories)

    later = installation.run()  # roots set afterwards concern what is migrated from now on
    assert later.exit_code == 0, str(later)
    assert all(directory.exists() for directory in directories)


def test_the_log_file_holds_what_the_console_shows(installation: Installation, nas: Destination) -> None:
    installation.configure(installation.add_provider(nas))
    installation.small_execution("uno")
    first = installation.run()
    second = installation.run()
    assert installation.log_file.read_text() == first.errors + second.errors
    assert "Traceback" not in first.errors
    assert len(first.messages()) == len(first.errors.splitlines())


def test_a_restore_needs_neither_the_platforms_rows_nor_a_writable_place(
    installation: Installation, nas: Destination
) -> None:
    installation.configure(installation.add_provider(nas))
    installation.small_execution("uno")
    assert installation.run().exit_code == 0
    full = installation.directory / "llena"
    full.mkdir()
    (full / "algo").touch()
    for uuid, destination, exit_code in (("uno", full, 2), ("no-hay", full.parent / "nueva", 1)):
        run = installation.run("restore", uuid, str(destination))
        assert run.exit_code == exit_code, str(run)
        assert len(run.messages("ERROR")) == 1
    assert os.listdir(full) == ["algo"]


def test_a_restore_of_a_copy_that_was_damaged_fails_loudly(installation: Installation, nas: Destination) -> None:
    installation.configure(installation.add_provider(nas))
    installation.small_execution("uno", tabla="los bytes de siempre")
    assert installation.run().exit_code == 0
    stored = nas.directory / "ejecuciones" / "uno" / "tabla.txt"
    stored.write_text("otros bytes, tantos.")
    destination = installation.directory / "restaurada"
    run = installation.run("restore", "uno", str(destination))
    assert run.exit_code == 1, str(run)
    assert "tabla.txt" in run.messages("ERROR")[0]
    assert ".janitor-restore-incomplete" in os.listdir(destination)


def test_an_idle_tick_starts_quickly(installation: Installation, new_destination: Callable[[str], Destination]) -> None:
    """By the processor's time, which a busy machine hardly changes."""
    installation.configure(installation.add_provider(new_destination("s3-rclone")))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with installation.start() as command:
        assert command.finish().exit_code == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2
