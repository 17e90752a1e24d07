"""Removals that an earlier run began: none keeps other work waiting, and what is absent is not called deleted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.destinations import Destination
from tests.processes import wait_until
from tests.stories.doors import Door
from tests.stories.installation import Installation
from tests.stories.trees import snapshot

MANIFEST_OF_THE_FIRST = rb"GET /[^ ]*uno\.manifest\.json"


@pytest.fixture
def unfinished(installation: Installation, nas: Destination) -> Path:
    """The directory of an execution that a run migrated, and was killed before it removed anything of it."""
    return leave_unfinished(installation, installation.add_provider(nas), "uno")


def leave_unfinished(installation: Installation, provider: int, uuid: str) -> Path:
    installation.configure(provider, eliminar_despues_de_migrar=False)
    directory = installation.small_execution(uuid)
    assert installation.run().exit_code == 0
    installation.execute("UPDATE janitor_migrations SET local_copy = 'deleting' WHERE uuid = %s", (uuid,))
    installation.configure(provider, eliminar_despues_de_migrar=True)
    return directory


def test_new_work_is_done_beside_a_removal_that_takes_long(
    installation: Installation, new_destination: Callable[[str], Destination]
) -> None:
    real = new_destination("s3-rclone")
    with Door(int(str(real.options["endpoint_url"]).rpartition(":")[2]), hold=MANIFEST_OF_THE_FIRST) as door:
        provider = installation.add_provider(real.with_options(endpoint_url=door.url))
        leave_unfinished(installation, provider, "uno")
        installation.small_execution("dos")
        with installation.start() as command:
            wait_until(door.met.is_set, 30)
            wait_until(lambda: installation.migration("dos")["local_copy"] == "deleted", 30)
            assert installation.migration("uno")["local_copy"] == "deleting"
            door.open()
            run = command.finish()
    assert run.exit_code == 0, str(run)
    assert list(installation.executions.iterdir()) == []


def test_a_removal_that_failed_several_times_waits_and_is_not_forgotten(
    installation: Installation, unfinished: Path
) -> None:
    (unfinished / "tabla.txt").write_text("otra cosa")
    before = snapshot(unfinished)
    for _ in range(4):
        run = installation.run()
        assert run.exit_code == 1, str(run)
        assert run.messages("ERROR")[0].startswith("No se borró la copia local de la ejecución uno: tabla.txt")
    installation.small_execution("dos")
    waiting = installation.run()
    assert waiting.exit_code == 1, str(waiting)
    assert waiting.messages("ERROR") == []
    assert waiting.messages("WARNING")[0].startswith("Queda 1 copia local sin borrar")
    assert installation.migration("dos")["local_copy"] == "deleted"
    assert snapshot(unfinished) == before
    status = installation.run("status").output
    assert "Copias locales por borrar: 1" in status
    assert "tabla.txt" in status
    installation.execute("UPDATE ejecuciones_config SET eliminar_despues_de_migrar = false")
    assert installation.run().exit_code == 0  # what is not to go any more waits for nothing
    assert installation.migration("uno")["local_copy"] == "kept"


@pytest.mark.parametrize(
    ("what", "told"),
    [("its directory", "no consta que lo borrara este programa"), ("what holds it", "La raíz ")],
    ids=["its directory", "what holds it"],
)
def test_what_is_absent_is_not_called_deleted(
    installation: Installation, unfinished: Path, what: str, told: str
) -> None:
    """The disk is not mounted, or somebody moved it; once it is back it goes."""
    moved = unfinished if what == "its directory" else installation.executions
    away = moved.rename(installation.directory / "fuera")
    absent = installation.run()
    assert absent.exit_code == 1, str(absent)
    assert [message for message in absent.messages("ERROR") if told in message]
    assert not [message for message in absent.messages() if "borrada" in message and "Copia local" in message]
    assert installation.migration("uno")["local_copy"] == "deleting"
    away.rename(moved)
    back = installation.run()
    assert back.exit_code == 0, str(back)
    assert back.said("INFO", "Copia local de la ejecución uno borrada")
    assert not unfinished.exists()


def test_a_removal_does_not_take_the_directory_of_a_new_row(installation: Installation, unfinished: Path) -> None:
    before = snapshot(unfinished)
    installation.add_execution("la-nueva", unfinished, age_hours=0)
    run = installation.run("--retention-hours", "24")
    assert run.exit_code == 1, str(run)
    assert [message for message in run.messages("ERROR") if "la-nueva" in message]
    assert snapshot(unfinished) == before
    installation.execute("DELETE FROM ejecuciones_yaml WHERE uuid = 'la-nueva'")
    assert installation.run().exit_code == 0
    assert not unfinished.exists()
