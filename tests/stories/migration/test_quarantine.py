"""An execution that fails again and again is left alone, and one that an operator holds is not touched."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from commands.orders.wording import describe_retried
from config.process.person import Person
from sql.database import Database
from tests.destinations import Destination
from tests.stories.installation import Installation, Run
from tests.stories.trees import require_stored

TIMES_OUT = "UPDATE janitor_migrations SET next_try_at = now() WHERE next_try_at IS NOT NULL"
"""The pause after the last failure is over."""


@pytest.fixture
def bad(installation: Installation, nas: Destination) -> Path:
    """One execution that no provider takes: its place is a file of somebody else's. Another one is good."""
    installation.configure(installation.add_provider(nas, "El NAS"))
    installation.small_execution("buena")
    bad = installation.small_execution("mala")
    (nas.directory / "ejecuciones").mkdir()
    (nas.directory / "ejecuciones" / "mala").write_text("de otro")
    return bad


def _next_try(installation: Installation) -> Run:
    installation.execute(TIMES_OUT)
    return installation.run("--migrate-only", JANITOR_MAX_ATTEMPTS="3")


def _make_room(nas: Destination) -> None:
    (nas.directory / "ejecuciones" / "mala").unlink()


def test_an_execution_that_fails_in_too_many_runs_is_reported_once_and_left_alone(
    installation: Installation, nas: Destination, bad: Path
) -> None:
    """It waits longer each time, and `retry` brings it back."""
    for failures in (1, 2, 3):
        run = _next_try(installation)
        assert run.exit_code == 1, str(run)
        assert installation.migration("mala")["failed_runs"] == failures
        told = [line for line in run.messages("ERROR") if "cuarentena" in line]
        assert len(told) == (1 if failures == 3 else 0), str(run)
    assert "retry mala" in told[0]
    assert installation.place("buena")[0] is True
    run = _next_try(installation)
    assert run.exit_code == 0, str(run)
    assert installation.migration("mala")["failed_runs"] == 3
    _make_room(nas)
    assert installation.run("retry", "mala").exit_code == 0
    assert installation.run("--migrate-only").exit_code == 0
    require_stored(nas, "ejecuciones/mala", bad)
    assert installation.migration("mala")["failed_runs"] == 0


def _quarantine(installation: Installation, nas: Destination) -> None:
    """Two executions in quarantine, one of which is held, and one that has failed once."""
    installation.configure(installation.add_provider(nas, "El NAS"))
    (nas.directory / "ejecuciones").mkdir()
    for uuid in ("una", "otra"):
        installation.small_execution(uuid)
        (nas.directory / "ejecuciones" / uuid).write_text("de otro")
    for _ in range(3):
        assert _next_try(installation).exit_code == 1
    assert installation.run("hold", "otra", "--reason", "la mira el juzgado").exit_code == 0
    installation.small_execution("nueva")
    (nas.directory / "ejecuciones" / "nueva").write_text("de otro")
    assert installation.run("--migrate-only").exit_code == 1


def _failed_runs(installation: Installation) -> dict[str, int]:
    return {uuid: installation.migration(uuid)["failed_runs"] for uuid in ("una", "otra", "nueva")}


def test_all_in_quarantine_are_taken_up_by_one_order_that_says_first_which(
    installation: Installation, nas: Destination
) -> None:
    """What is only waiting for its next try is not among them, and what is held stays so."""
    assert "No hay ninguna ejecución en cuarentena" in installation.run("retry", "--all").output
    _quarantine(installation, nas)
    assert "retry --all" in installation.run("status", "--quiet").output
    asked = installation.run("retry", "--all")
    assert "2 ejecuciones: el proveedor no admite algún nombre de fichero; por ejemplo " in asked.errors
    assert asked.exit_code == 2, "nobody can answer"
    assert "no se cambió nada, porque aquí nadie puede contestar: añada --yes\n" in asked.errors
    assert _failed_runs(installation) == {"una": 3, "otra": 3, "nueva": 1}, "nobody said yes"
    run = installation.run("retry", "--all", "--yes")
    assert run.exit_code == 0, str(run)
    assert run.output.splitlines() == [
        "Fuera de la cuarentena: 2 ejecuciones; el próximo ciclo lo vuelve a intentar",
        "1 sigue retenida: antes hay que ejecutar release",
    ]
    assert _failed_runs(installation) == {"una": 0, "otra": 0, "nueva": 1}
    assert {row for row in _audit(installation) if row[0] == "retried"} == {
        ("retried", uuid, "janitor-daemon retry --all --yes") for uuid in ("una", "otra")
    }
    (nas.directory / "ejecuciones" / "una").unlink()
    installation.run("--migrate-only")
    assert [installation.place(uuid)[0] for uuid in ("una", "otra")] == [True, False]


def test_what_left_the_quarantine_since_it_was_listed_is_left_alone(
    installation: Installation, nas: Destination
) -> None:
    _quarantine(installation, nas)
    with contextlib.closing(Database(installation.database_url, "norte")) as database:
        database.connect()
        chosen = database.orders.quarantined()
        assert {each.uuid for each in chosen} == {"una", "otra"}
        installation.execute("UPDATE janitor_migrations SET lease_expires_at = now() + interval '5 minutes' "
                             "WHERE uuid = 'una'")  # fmt: skip
        installation.execute("UPDATE ejecuciones_yaml SET migrado_a_nube = true WHERE uuid = 'otra'")
        held = database.orders.retry_quarantined(chosen, Person("ana", "retry --all"))
    assert list(describe_retried(held, len(chosen))) == [
        "Sin cambios, porque un ciclo se ocupa ya o no hace falta: 2 ejecuciones",
    ]
    assert _failed_runs(installation) == {"una": 3, "otra": 3, "nueva": 1}


def test_pauses_begin_after_the_second_failure(installation: Installation, nas: Destination, bad: Path) -> None:
    """So what somebody mends at once is done by the next run."""
    assert bad.exists()
    for exit_code in (1, 1, 0):
        assert installation.run("--migrate-only").exit_code == exit_code
    _make_room(nas)
    assert installation.run("--migrate-only").exit_code == 0
    assert installation.place("mala")[0] is False
    assert _next_try(installation).exit_code == 0
    assert installation.place("mala")[0] is True


def test_a_changed_row_is_another_execution(installation: Installation, bad: Path) -> None:
    """What was noted of the row as it was says nothing about it."""
    for _ in range(2):
        assert installation.run("--migrate-only").exit_code == 1
    moved = bad.with_name("movida")
    bad.rename(moved)
    installation.execute(
        "UPDATE ejecuciones_yaml SET ruta_directorio = %s, uuid = 'otra' WHERE uuid = 'mala'", (str(moved),)
    )
    assert installation.run("--migrate-only").exit_code == 0
    assert installation.place("otra")[0] is True


def test_a_providers_failures_put_nothing_in_quarantine(installation: Installation, nas: Destination) -> None:
    """Else an outage of some days would leave everything to be taken up by hand."""
    installation.configure(installation.add_provider(nas))
    installation.small_execution("una")
    shutil.rmtree(nas.directory)
    for _ in range(4):
        installation.execute("UPDATE janitor_provider_health SET until = now()")
        assert _next_try(installation).exit_code == 1
    assert installation.migration("una")["failed_runs"] == 0
    nas.directory.mkdir()
    installation.execute("UPDATE janitor_provider_health SET until = now()")
    assert _next_try(installation).exit_code == 0
    assert installation.place("una")[0] is True


def _audit(installation: Installation) -> list[tuple[str, str, str]]:
    rows = installation.rows("SELECT event, uuid, command FROM janitor_audit WHERE os_user IS NOT NULL ORDER BY id")
    return [(row["event"], row["uuid"], row["command"]) for row in rows]


def test_a_held_execution_is_neither_migrated_nor_removed(installation: Installation, nas: Destination) -> None:
    """Until it is released: each order is recorded with the person who gave it."""
    installation.configure(installation.add_provider(nas), eliminar_despues_de_migrar=True)
    directory = installation.small_execution("una")
    run = installation.run("hold", "una", "--reason", "la mira el juzgado")
    assert run.exit_code == 0, str(run)
    assert installation.run("--migrate-only").exit_code == 0
    assert installation.place("una")[0] is False
    assert sorted(path.name for path in directory.iterdir()) == ["ejecucion.txt", "tabla.txt"]
    assert installation.run("release", "una").exit_code == 0
    assert installation.run("--migrate-only").exit_code == 0
    assert installation.place("una")[0] is True
    assert not directory.exists()
    assert _audit(installation) == [
        ("held", "una", "janitor-daemon hold una --reason la mira el juzgado"),
        ("released", "una", "janitor-daemon release una"),
    ]
    deleted = installation.rows("SELECT details FROM janitor_audit WHERE event = 'local_copy_deleted'")
    assert [row["details"] for row in deleted] == [{"directory": str(directory)}]


def test_a_removal_that_was_cut_off_gives_a_held_directory_its_name_back(
    installation: Installation, nas: Destination
) -> None:
    """Its copy is proven, but the operator who holds it looks for the directory where it was."""
    installation.configure(installation.add_provider(nas), eliminar_despues_de_migrar=True)
    directory = installation.small_execution("una")
    installation.run("hold", "una", "--reason", "primero la copia")
    installation.execute("DELETE FROM janitor_holds")
    installation.execute("UPDATE ejecuciones_config SET eliminar_despues_de_migrar = false")
    assert installation.run("--migrate-only").exit_code == 0
    row = installation.execution("una")
    aside = directory.with_name(f".janitor-trash-{row['id']}-una")
    installation.execute("UPDATE ejecuciones_config SET eliminar_despues_de_migrar = true")
    directory.rename(aside)
    installation.execute(
        "UPDATE janitor_migrations SET local_copy = 'deleting', deletion_token = fencing_token, set_aside_inode = %s",
        (str(aside.stat().st_ino),),
    )
    run = installation.run("hold", "una", "--reason", "la mira el juzgado")
    assert "ya está migrada" in run.output, str(run)
    for _ in range(2):
        run = installation.run("--migrate-only")
        assert run.exit_code == 0, str(run)
    assert len(list(directory.iterdir())) == 2
    assert not aside.exists()
    assert installation.run("release", "una").exit_code == 0
    assert installation.run("--migrate-only").exit_code == 0
    assert not directory.exists()


def _migrated(installation: Installation) -> None:
    installation.add_execution("x", "/srv/x", migrated=True)


def _failed_twice_with_one_uuid(installation: Installation) -> None:
    for number in (1, 2):
        installation.add_execution("x", f"/srv/{number}")


@pytest.mark.parametrize(
    ("prepare", "order", "exit_code", "told"),
    [
        (None, ("hold", "x", "--reason", "r"), 1, "no hay ninguna ejecución con uuid x"),
        (None, ("release", "x"), 1, "no hay ninguna ejecución con uuid x"),
        (None, ("retry", "x"), 1, "no hay ninguna ejecución con uuid x"),
        (_migrated, ("hold", "x", "--reason", "r"), 1, "ya está migrada y su copia local se conserva"),
        (_migrated, ("release", "x"), 1, "no está retenida"),
        (_migrated, ("retry", "x"), 1, "ya está migrada: no hay nada que reintentar"),
        (_failed_twice_with_one_uuid, ("hold", "x", "--reason", "r"), 0, "una de 2 con ese uuid"),
        (_failed_twice_with_one_uuid, ("retry", "x"), 1, "no tiene fallos que olvidar"),
        (None, ("hold", "x"), 2, "Falta la opción '--reason'"),
        (None, ("retry",), 2, "UUID... o --all"),
        (None, ("retry", "x", "--all"), 2, "UUID... o --all"),
    ],
)
def test_an_order_that_cannot_be_followed_says_why(
    installation: Installation,
    prepare: Callable[[Installation], None] | None,
    order: tuple[str, ...],
    exit_code: int,
    told: str,
) -> None:
    if prepare is not None:
        prepare(installation)
    run = installation.run(*order)
    assert run.exit_code == exit_code, str(run)
    assert told in run.output + run.errors, str(run)
    assert len((run.output + run.errors).splitlines()) <= 3, str(run)


def test_a_dry_run_is_a_plan_and_changes_nothing(installation: Installation, nas: Destination, bad: Path) -> None:
    """Counts, bytes, destination, order, time, and what is left out with its reason."""
    for _ in range(2):
        assert installation.run("--migrate-only").exit_code == 1
    installation.small_execution("nueva", age_hours=30)
    installation.small_execution("vieja", age_hours=40)
    installation.small_execution("retenida")
    assert installation.run("hold", "retenida", "--reason", "r").exit_code == 0
    installation.add_execution("fuera", bad.parent.parent / "fuera")
    (bad.parent.parent / "fuera").mkdir()
    before = installation.everything_in_the_database(), nas.everything_stored()
    run = installation.run("--dry-run", "--migrate-only")
    assert run.exit_code == 0, str(run)
    assert (installation.everything_in_the_database(), nas.everything_stored()) == before
    named = [line for line in run.messages() if "la ejecución" in line]
    assert ["fuera" in named[0], "vieja" in named[1], "nueva" in named[2]] == [True] * 3, str(run)
    (total,) = [line for line in run.messages("INFO") if "En total" in line]
    assert "2 ejecuciones (4 ficheros" in total
    assert "a El NAS, de la más antigua a la más nueva" in total
    assert "menos de un minuto" in total
    assert total.endswith("no se migrarían: 1 rechazada, 1 retenida (hold), 1 en pausa tras fallar")


def test_a_dry_run_names_no_provider_that_is_paused(installation: Installation, nas: Destination) -> None:
    provider_id = installation.add_provider(nas, "El NAS")
    installation.configure(provider_id)
    installation.small_execution("una")
    shutil.rmtree(nas.directory)
    for _ in range(2):
        assert installation.run("--migrate-only").exit_code == 1
    run = installation.run("--dry-run", "--migrate-only")
    (paused,) = [line for line in run.messages("WARNING") if "se deja en paz hasta" in line]
    assert "El NAS" in paused
    assert "check" in paused
    assert "a ningún proveedor" in run.messages("INFO")[-1]
    nas.directory.mkdir()
    assert installation.run("check").exit_code == 0
    assert installation.run("--migrate-only").exit_code == 0
    assert installation.place("una")[0] is True
