"""Whole ticks at places that are somebody else's: told, passed over, and never written to."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.databases.lent_databases import DISCONNECTED
from tests.destinations import Destination
from tests.processes import wait_until
from tests.stories.doors import Door
from tests.stories.installation import Installation
from tests.stories.trees import copy_tree, require_stored, snapshot

DELETION_OF_THE_MANIFEST = rb"DELETE /[^ ]*\.manifest\.json"


def test_a_place_of_somebody_else_is_reported_and_the_alternate_takes_over(
    installation: Installation, new_destination: Callable[[str], Destination]
) -> None:
    """The run ends with 1 although everything is migrated: somebody has to look at what is there."""
    primary, alternate = new_destination("s3-swift"), new_destination("local")
    first, second = installation.add_provider(primary), installation.add_provider(alternate)
    installation.configure(first, second, eliminar_despues_de_migrar=True)
    directory = installation.small_execution("uno")
    original = copy_tree(directory, installation.directory / "original")
    foreign = installation.directory / "tabla.txt"
    foreign.write_text("de otro")
    primary.rclone("copyto", str(foreign), primary.rclone_remote("ejecuciones/uno/tabla.txt"))
    run = installation.run()
    assert run.exit_code == 1, run
    errors = [message for message in run.messages("ERROR") if message.startswith("Error subiendo uno a s3-swift: ")]
    assert len(errors) == 1, run
    assert "no se sobrescriben" in errors[0]
    assert run.said("INFO", "Intentando migrar al proveedor alternativo: local")
    assert installation.place("uno") == (True, "cloud://local/ejecuciones/uno", second)
    require_stored(alternate, "ejecuciones/uno", original)
    assert primary.rclone("cat", primary.rclone_remote("ejecuciones/uno/tabla.txt")) == "de otro"
    again = installation.run()
    assert again.exit_code == 0, again
    assert installation.unfinished() == {"attempts": 0, "leases": 0, "removals": 0}


def test_staging_on_the_bucket_of_production_writes_over_nothing(
    installation: Installation,
    new_destination: Callable[[str], Destination],
    database_administrator: Callable[[str], None],
) -> None:
    """A clone of the database, with other files below the same uuids; also after production has migrated more."""
    bucket = new_destination("s3-rclone")
    installation.configure(installation.add_provider(bucket), eliminar_despues_de_migrar=True)
    directory = installation.small_execution("uno")
    original = copy_tree(directory, installation.directory / "original")
    installation.close()
    name = installation.database_url.rpartition("/")[2].partition("?")[0]
    database_administrator(f"CREATE DATABASE staging_{name} TEMPLATE {name}")
    try:
        installation.connect()
        assert installation.run().exit_code == 0
        stored = bucket.everything_stored()
        url = installation.database_url.replace(f"/{name}", f"/staging_{name}")
        with contextlib.closing(Installation(installation.directory / "staging", url)) as staging:
            own = staging.new_directory("uno")
            (own / "tabla.txt").write_text("otra cosa")
            staging.execute("UPDATE ejecuciones_yaml SET ruta_directorio = %s", (str(own),))
            before = snapshot(staging.executions)
            run = staging.run()
            assert run.exit_code == 1, run
            assert "es de otra copia" in "".join(run.messages("ERROR")), run
            assert snapshot(staging.executions) == before
        assert bucket.everything_stored() == stored
        require_stored(bucket, "ejecuciones/uno", original)
    finally:
        database_administrator(DISCONNECTED.format(name=f"staging_{name}"))
        database_administrator(f"DROP DATABASE IF EXISTS staging_{name} WITH (FORCE)")


def change(directory: Path) -> None:
    (directory / "tabla.txt").write_text("ha cambiado")


def test_a_deletion_of_an_old_manifest_that_comes_late_hits_no_new_one(
    installation: Installation, new_destination: Callable[[str], Destination]
) -> None:
    """An execution that is migrated again loses its old manifest first; that request is on its way when its run dies.

    On a server that keeps no conditions. What another run stores meanwhile must not be what it hits: so nothing is
    stored there until it cannot arrive any more.
    """
    bucket, alternate = new_destination("s3-rclone"), new_destination("local")
    provider, second = installation.add_provider(bucket), installation.add_provider(alternate)
    installation.configure(provider, second, eliminar_despues_de_migrar=False)
    directory = installation.small_execution("uno")
    assert installation.run().exit_code == 0
    installation.execute("UPDATE ejecuciones_yaml SET migrado_a_nube = false")
    change(directory)
    changed = copy_tree(directory, installation.directory / "changed")
    installation.configure(provider, second, eliminar_despues_de_migrar=True)
    endpoint = str(bucket.options["endpoint_url"])
    lead_to = (
        "UPDATE cloud_providers SET configuracion = jsonb_set(configuracion, '{endpoint_url}', to_jsonb(%s::text)) "
    )
    lead_to += "WHERE id = %s"
    with Door(int(endpoint.rpartition(":")[2]), hold=DELETION_OF_THE_MANIFEST) as door:
        installation.execute(lead_to, (door.url, provider))
        with installation.start() as command:
            wait_until(lambda: door.met.is_set() or command.process.poll() is not None, 60)
            assert door.met.is_set(), command.errors()
            command.stop(signal.SIGKILL)
        installation.execute(lead_to, (endpoint, provider))
        run = installation.run()
        assert run.exit_code == 1, run
        assert "puede llegar aún algo que envió" in "".join(run.messages("ERROR")), run
        assert installation.place("uno") == (True, "cloud://local/ejecuciones/uno", second)
        door.open()
        wait_until(lambda: "ejecuciones/uno.manifest.json" not in bucket.everything_stored(), 30)
    assert not directory.exists()
    require_stored(alternate, "ejecuciones/uno", changed)


@pytest.mark.parametrize("is_ours", [True, False])
def test_an_equal_copy_of_which_the_database_does_not_know_is_recorded(
    installation: Installation, new_destination: Callable[[str], Destination], is_ours: bool
) -> None:
    """The database was restored from an older backup, by itself or as that of another installation. A copy of others
    may go at any time: then the local one stays, though the policy says otherwise.
    """
    destination = new_destination("local")
    provider = installation.add_provider(destination)
    installation.configure(provider, eliminar_despues_de_migrar=False)
    directory = installation.small_execution("uno")
    original = copy_tree(directory, installation.directory / "original")
    assert installation.run().exit_code == 0
    installation.execute(
        "UPDATE ejecuciones_yaml SET migrado_a_nube = false, ruta_nube = NULL, nube_provider_id = NULL"
    )
    installation.execute("DELETE FROM janitor_attempts")
    installation.execute("DELETE FROM janitor_migrations")
    if not is_ours:
        installation.execute("UPDATE janitor_installation SET installation = 'another'")
    installation.configure(provider, eliminar_despues_de_migrar=True)
    run = installation.run()
    assert run.exit_code == 0, run
    assert ("ya estaba entera e igual" in run.errors) == (not is_ours), run
    assert installation.place("uno") == (True, "cloud://local/ejecuciones/uno", provider)
    assert directory.exists() == (not is_ours)
    require_stored(destination, "ejecuciones/uno", original)
