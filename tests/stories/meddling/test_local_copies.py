"""Local copies that are not what the proven copy is: they stay, and the operator is told."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.destinations import Destination
from tests.processes import wait_until
from tests.stories.doors import Door
from tests.stories.installation import Installation
from tests.stories.trees import make_odd_tree, snapshot

Change = Callable[[Path], None]


def _add_a_file(directory: Path) -> None:
    (directory / "nuevo.txt").write_text("llegó tarde")


def _add_an_empty_directory(directory: Path) -> None:
    (directory / "nuevo").mkdir()


def _change_bytes_and_keep_size_and_time(directory: Path) -> None:
    path = directory / "resultados" / "tabla.csv"
    times = path.stat()
    path.write_bytes(b"X" + path.read_bytes()[1:])
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def _replace_a_file_by_a_link(directory: Path) -> None:
    (directory / "registro.log").unlink()
    (directory / "registro.log").symlink_to("/etc/hostname")


def _turn_a_link(directory: Path) -> None:
    (directory / "enlace colgante").unlink()
    (directory / "enlace colgante").symlink_to("otro sitio")


CHANGES: dict[str, tuple[Change, str]] = {
    "a new file": (_add_a_file, "nuevo.txt"),
    "a new directory": (_add_an_empty_directory, "nuevo"),
    "other bytes of the same size and time": (_change_bytes_and_keep_size_and_time, "resultados/tabla.csv"),
    "a link for a file": (_replace_a_file_by_a_link, "registro.log"),
    "another target of a link": (_turn_a_link, "enlace colgante"),
}


@pytest.fixture(params=CHANGES)
def change(request: pytest.FixtureRequest) -> tuple[Change, str]:
    """What happens to a local copy, and what the operator must read of it."""
    return CHANGES[request.param]


def test_what_changes_between_the_last_look_and_the_deletion_stays_and_is_reported(
    installation: Installation, new_destination: Callable[[str], Destination], change: tuple[Change, str]
) -> None:
    real = new_destination("s3-rclone")
    directory = installation.new_directory("uno")
    make_odd_tree(directory)
    installation.add_execution("uno", directory)
    with Door(int(str(real.options["endpoint_url"]).rpartition(":")[2]), hold=rb"PUT /[^ ]*\.manifest\.json") as door:
        provider = installation.add_provider(real.with_options(endpoint_url=door.url))
        installation.configure(provider, eliminar_despues_de_migrar=True)
        with installation.start() as command:
            wait_until(door.met.is_set, 30)
            change[0](directory)
            changed = snapshot(installation.executions)
            door.open()
            run = command.finish()
        assert run.exit_code == 1, str(run)
        assert installation.place("uno")[0] is True  # what was there before is whole and proven
        (error,) = run.messages("ERROR")
        assert error.startswith("No se borró la copia local de la ejecución uno: ")
        assert change[1] in error
        assert _without_top_times(snapshot(installation.executions)) == _without_top_times(changed)

        again = installation.run()
        assert again.exit_code == 1, str(again)
        assert _without_top_times(snapshot(installation.executions)) == _without_top_times(changed)
        assert "Copias locales por borrar: 1" in installation.run("status").output


def _without_top_times(tree: dict[bytes, tuple[object, ...]]) -> dict[bytes, tuple[object, ...]]:
    """Setting a directory aside and giving it its name back changes the time of its parent."""
    return {path: content for path, content in tree.items() if path != b""}


def test_once_the_difference_is_gone_the_next_tick_deletes_the_rest(
    installation: Installation, nas: Destination
) -> None:
    installation.configure(installation.add_provider(nas), eliminar_despues_de_migrar=False)
    directory = installation.small_execution("uno")
    assert installation.run().exit_code == 0
    installation.execute("UPDATE janitor_migrations SET local_copy = 'deleting'")  # as after a death right then
    installation.configure(1, eliminar_despues_de_migrar=True)
    _add_a_file(directory)
    assert installation.run().exit_code == 1
    (directory / "nuevo.txt").unlink()
    run = installation.run()
    assert run.exit_code == 0, str(run)
    assert not directory.exists()
    assert "Copias locales por borrar" not in installation.run("status").output


def test_a_local_copy_stays_as_long_as_the_proven_one_cannot_be_seen(
    installation: Installation, nas: Destination
) -> None:
    provider = installation.add_provider(nas)
    installation.configure(provider, eliminar_despues_de_migrar=False)
    directory = installation.small_execution("uno")
    for file in directory.iterdir():
        file.chmod(0o644)  # whatever the umask
    assert installation.run().exit_code == 0
    before = snapshot(directory)
    installation.execute("UPDATE janitor_migrations SET local_copy = 'deleting'")
    installation.configure(provider, eliminar_despues_de_migrar=True)
    manifest = nas.directory / "ejecuciones" / "uno.manifest.json"
    content = manifest.read_text()
    for wrong in (None, "", "{}", content.replace('"0644"', '"0600"')):
        manifest.unlink(missing_ok=True)
        if wrong is not None:
            manifest.write_text(wrong)
        run = installation.run()
        assert run.exit_code == 1, str(run)
        assert snapshot(directory) == before
        installation.let_pauses_end()
    installation.execute("UPDATE cloud_providers SET activo = false")
    manifest.write_text(content)
    assert installation.run().exit_code == 1
    assert snapshot(directory) == before
    installation.execute("UPDATE cloud_providers SET activo = true")
    installation.let_pauses_end()
    assert installation.run().exit_code == 0
    assert not directory.exists()


def test_a_file_that_keeps_changing_is_left_for_later(
    installation: Installation, new_destination: Callable[[str], Destination]
) -> None:
    real = new_destination("s3-rclone")
    directory = installation.small_execution("uno")
    with Door(int(str(real.options["endpoint_url"]).rpartition(":")[2]), hold=rb"PUT /[^ ]*/uno/tabla") as door:
        provider = installation.add_provider(real.with_options(endpoint_url=door.url))
        installation.configure(provider, eliminar_despues_de_migrar=True)
        with installation.start() as command:
            wait_until(door.met.is_set, 30)
            (directory / "tabla.txt").write_text("otra cosa, más larga que lo que había")
            door.open()
            run = command.finish()
    assert run.exit_code == 0, str(run)  # the second attempt met a quiet file
    restored = installation.directory / "restaurada"
    installation.execute(
        "UPDATE cloud_providers SET configuracion = jsonb_set(configuracion, '{endpoint_url}', to_jsonb(%s::text))",
        (real.options["endpoint_url"],),
    )
    assert installation.run("restore", "uno", str(restored)).exit_code == 0
    assert (restored / "tabla.txt").read_text() == "otra cosa, más larga que lo que había"
    assert not directory.exists()


def test_deletion_never_leaves_the_execution(installation: Installation, nas: Destination) -> None:
    """Links in an execution go, what they point to stays."""
    target = installation.directory / "de otros"
    target.mkdir()
    (target / "importante.txt").write_text("no tocar")
    directory = installation.new_directory("uno")
    (directory / "enlace").symlink_to(target)
    (directory / "enlace a fichero").symlink_to(target / "importante.txt")
    os.link(target / "importante.txt", directory / "enlace duro")
    installation.add_execution("uno", directory)
    installation.configure(installation.add_provider(nas), eliminar_despues_de_migrar=True)
    run = installation.run()
    assert run.exit_code == 0, str(run)
    assert not directory.exists()
    assert (target / "importante.txt").read_text() == "no tocar"
    assert (nas.directory / "ejecuciones" / "uno" / "enlace duro").read_text() == "no tocar"


def test_beside_an_equal_copy_of_another_installation_the_local_one_stays(
    installation: Installation, nas: Destination
) -> None:
    """That one may remove its copy, and asks nobody here."""
    directory = installation.small_execution("uno")
    provider = installation.add_provider(nas, "nas")
    installation.configure(provider, eliminar_despues_de_migrar=False)
    assert installation.run("--migrate-only").exit_code == 0
    installation.execute("TRUNCATE janitor_migrations, janitor_attempts, janitor_installation")
    installation.execute(
        "UPDATE ejecuciones_yaml SET migrado_a_nube = false, ruta_nube = NULL, nube_provider_id = NULL"
    )
    installation.configure(provider, eliminar_despues_de_migrar=True)
    for _ in range(2):
        run = installation.run("--migrate-only")
        assert (run.exit_code, run.messages("ERROR")) == (0, []), str(run)
    assert installation.place("uno")[0] is True
    assert (directory / "tabla.txt").exists()
