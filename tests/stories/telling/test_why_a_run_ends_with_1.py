"""What makes a run end with 1 is said in its last line, by `status`, and in the report of the run."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.migration.messages import Messages
from jobs.report import JobDone, TickReport
from tests.destinations import Destination, local_destination
from tests.stories.installation import PROGRAM, Installation, Run

NOTHING_WRONG = (
    "Ciclo terminado: 1 migrada (2 ficheros, 0.00 MB), 0 con error, 0 sin directorio, 0 copias locales borradas"
)


@pytest.mark.parametrize(
    ("jobs", "told"),
    [
        ((), "Ciclo terminado: interrumpido antes del primer trabajo"),
        (("done",), "Ciclo terminado: interrumpido entre dos trabajos"),
        (("done", "interrupted"), "Ciclo terminado: interrumpido: sin terminar trabajo-1, 1 ejecución a medias"),
    ],
)
def test_a_run_that_a_signal_ended_does_not_say_that_all_is_well(
    jobs: tuple[str, ...], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="janitor_daemon")
    report = TickReport()
    report.note_signal(2)
    report.count(put_off=1)
    report.jobs += [JobDone(f"trabajo-{number}", outcome, 1.0) for number, outcome in enumerate(jobs)]
    Messages(report).run_finished(("backup",))
    assert caplog.messages == [told]


def last_line(run: Run) -> str:
    """The sums at the end of a run."""
    (line,) = [line for line in run.messages("INFO") if line.startswith("Ciclo terminado: ")]
    return line


def status_of(installation: Installation) -> list[str]:
    """The lines of `status`."""
    run = installation.run("status")
    assert run.exit_code == ("Nada necesita a una persona" not in run.output), str(run)
    return run.output.splitlines()


def require_told(installation: Installation, run: Run, problem: str) -> None:
    """One problem was counted and named at the end of the run, in its report and by `status`."""
    assert run.exit_code == 1, str(run)
    assert last_line(run).endswith(f"; {problem}"), str(run)
    (recorded,) = installation.rows("SELECT exit_code, report FROM janitor_runs ORDER BY id DESC LIMIT 1")
    assert (recorded["exit_code"], recorded["report"]["problems"]) == (1, [problem])
    assert status_of(installation)[-1] == f"  {problem}"


# Executions without files


def test_a_row_without_a_directory_is_no_error(installation: Installation, nas: Destination) -> None:
    """Neither where such a row is new, nor where an earlier version had refused it; `--all-dirs` does not try it."""
    installation.configure(installation.add_provider(nas))
    installation.small_execution("uno")
    for number in range(2):
        execution = installation.add_execution(f"sin-ficheros-{number}", None)
        installation.execute(
            "INSERT INTO janitor_migrations (execution_id, uuid, state, host, run_id, fencing_token, error_code) "
            "VALUES (%s, %s, 'refused', 'norte', 1, 1, 'unsafe_source')",
            (execution, f"sin-ficheros-{number}"),
        )
    run = installation.run("--all-dirs")
    assert run.exit_code == 0, str(run)
    assert last_line(run) == NOTHING_WRONG
    assert "sin-ficheros" not in run.errors
    assert installation.run("--dry-run", "--all-dirs").exit_code == 0
    lines = status_of(installation)
    assert {
        "Pendientes: 0 (listas para migrar ahora: 0)",
        "Sin ficheros (ruta_directorio es NULL, no hay nada que migrar): 2",
    } <= set(lines)
    assert "Con error: 0" in lines
    assert "sin-ficheros" not in "".join(lines)


# Providers that need a person


def _no_directory(installation: Installation, nas: Destination) -> int:
    return installation.add_provider(nas.with_options(ruta=str(installation.directory / "no-está")), "Mala")


def _no_setting(installation: Installation, _nas: Destination) -> int:
    return installation.add_provider_row("Mala", "local", None, {})


def _no_key_for_its_secret(installation: Installation, _nas: Destination) -> int:
    credentials = {"access_key": "AKIAEXAMPLEEXAMPLE", "secret_key": {"secreto": "nadie"}}
    return installation.add_provider_row("Mala", "s3", credentials, {"bucket": "cubo"})


NEEDS_A_PERSON: dict[str, tuple[Callable[[Installation, Destination], int], str]] = {
    "no directory": (_no_directory, "no existe el destino"),
    "no setting": (_no_setting, "configuración"),
    "no key for its secret": (_no_key_for_its_secret, "configuración"),
}


@pytest.mark.parametrize("name", NEEDS_A_PERSON)
def test_a_provider_that_only_a_person_can_mend_is_named_though_the_alternate_took_everything(
    installation: Installation, nas: Destination, name: str
) -> None:
    """Also looked for where several processes share the work, whose reports are put together."""
    make, reason = NEEDS_A_PERSON[name]
    bad, good = make(installation, nas), installation.add_provider(nas, "Buena")
    installation.configure(bad, good)
    installation.small_execution("uno")
    run = installation.run()
    assert installation.place("uno")[2] == good
    require_told(installation, run, f"1 proveedor que alguien tiene que arreglar: Mala ({reason})")


def test_what_a_process_of_the_run_finds_out_of_a_provider_is_reported_by_the_run(
    installation: Installation, nas: Destination
) -> None:
    bad, good = _no_directory(installation, nas), installation.add_provider(nas, "Buena")
    installation.configure(bad, good)
    for number in range(40):
        installation.small_execution(f"e{number:02d}")
    run = installation.run(JANITOR_PROCESSES="2")
    require_told(installation, run, "1 proveedor que alguien tiene que arreglar: Mala (no existe el destino)")


@pytest.mark.parametrize("why", ["not named by the policy", "switched off", "nothing to migrate"])
def test_a_provider_that_nobody_needs_makes_no_run_end_with_1(
    installation: Installation, nas: Destination, why: str
) -> None:
    bad, good = _no_directory(installation, nas), installation.add_provider(nas, "Buena")
    if why == "not named by the policy":
        installation.configure(good)
    else:
        installation.configure(bad, good)
    if why == "switched off":
        installation.execute("UPDATE cloud_providers SET activo = false WHERE id = %s", (bad,))
    if why != "nothing to migrate":
        installation.small_execution("uno")
    run = installation.run()
    assert run.exit_code == 0, str(run)


def test_executions_that_failed_are_named_and_status_says_why(installation: Installation, nas: Destination) -> None:
    installation.configure(installation.add_provider(nas))
    for uuid in ("dos", "uno"):
        installation.add_execution(uuid, installation.executions / f"no-está-{uuid}")
    run = installation.run("--all-dirs", JANITOR_TRANSFERS="1")
    (named,) = installation.rows("SELECT report FROM janitor_runs")[0]["report"]["problems"]
    require_told(installation, run, named)
    assert sorted(named.removeprefix("2 ejecuciones con error: ").split(", ")) == ["dos", "uno"]
    (group,) = [line for line in status_of(installation) if line.startswith("  2 ejecuciones: no está el directorio")]
    reasons = [
        f"{uuid}: no existe el directorio {installation.executions / f'no-está-{uuid}'}" for uuid in ("dos", "uno")
    ]
    assert any(group.endswith(f"p. ej. {reason}") for reason in reasons)


def test_a_temporary_directory_that_cannot_be_used_is_named(installation: Installation) -> None:
    """It passed for a file that could not be deleted."""
    installation.configure(None)
    link = installation.directory / "enlace"
    link.symlink_to(installation.temporary)
    run = installation.run(TEMP_DIR=str(link))
    require_told(installation, run, f"1 directorio temporal que no se puede usar: {link}")


# Places of others, and local copies that stay


def test_a_place_that_others_have_is_named_though_the_alternate_took_the_execution(
    installation: Installation, nas: Destination
) -> None:
    first = local_destination("primera", installation.directory / "primera")
    place = Path(str(first.options["ruta"]), "ejecuciones", "uno")
    place.mkdir(parents=True)
    (place / "tabla.txt").write_text("de otro")
    installation.configure(installation.add_provider(first, "Primera"), installation.add_provider(nas, "Buena"))
    installation.small_execution("uno")
    run = installation.run()
    assert installation.place("uno")[0] is True
    require_told(installation, run, "1 lugar ocupado por objetos de otros: uno en Primera")
    (warning,) = [line for line in run.messages("WARNING") if "ya había" in line]
    assert "ya había 1 objeto que este programa no guardó" in warning
    assert "Intentos con restos por limpiar" not in "".join(status_of(installation))


def test_a_local_copy_that_could_not_be_removed_is_named(installation: Installation, nas: Destination) -> None:
    installation.configure(installation.add_provider(nas), eliminar_despues_de_migrar=True)
    directory = installation.small_execution("uno")
    with (directory / "tabla.txt").open("a"):  # a program that still has it open for writing
        run = installation.run()
    require_told(installation, run, "1 copia local que no se pudo borrar: uno")
    lines = status_of(installation)
    assert lines.index("Copias locales por borrar: 1") == lines.index("Con error: 0") + 1
    assert lines[lines.index("Copias locales por borrar: 1") + 1].startswith("  1 ejecución: ")


def test_an_attempt_that_sent_nothing_leaves_nothing_to_clear_away(
    installation: Installation, nas: Destination
) -> None:
    installation.configure(_no_directory(installation, nas))
    installation.small_execution("uno")
    assert installation.run().exit_code == 1
    assert installation.attempts("uno") != []
    assert "Intentos con restos por limpiar" not in "".join(status_of(installation))


# Roots


@pytest.mark.parametrize("arguments", [[], ["--all-dirs"], ["--dry-run"]], ids=str)
def test_a_root_that_is_missing_is_reported_and_what_is_in_it_is_left_alone(
    installation: Installation, nas: Destination, arguments: list[str]
) -> None:
    """Its disk is not mounted: neither is anything in it taken for missing, nor a removal in it for done."""
    unmounted = installation.directory / "disco"
    installation.configure(installation.add_provider(nas), eliminar_despues_de_migrar=True)
    installation.add_execution("en-el-disco", unmounted / "en-el-disco")
    directory = unmounted / "medio-borrada"
    directory.mkdir(parents=True)
    (directory / "datos.txt").write_text("datos")
    installation.add_execution("medio-borrada", directory)
    roots = f"{installation.executions}:{unmounted}"
    with (directory / "datos.txt").open("a"):
        assert installation.run(JANITOR_ROOTS=roots).exit_code == 1
    unmounted.rename(installation.directory / "desmontado")
    installation.small_execution("uno")
    before = installation.migration("medio-borrada")

    run = installation.run(*arguments, JANITOR_ROOTS=roots)

    assert run.exit_code == 1, str(run)
    (error,) = run.messages("ERROR")
    assert error.startswith(f"La raíz {unmounted} de JANITOR_ROOTS no está")
    assert not [line for line in run.messages() if "Directorio no encontrado" in line]
    assert installation.migration("medio-borrada") == before
    assert installation.place("uno")[0] is (arguments != ["--dry-run"])
    assert installation.rows("SELECT FROM janitor_migrations WHERE uuid = 'en-el-disco'") == []
    if arguments != ["--dry-run"]:
        assert last_line(run).endswith(f"0 sin directorio, 1 copia local borrada; "
                                       f"1 raíz de JANITOR_ROOTS que no está: {unmounted}")  # fmt: skip
        (installation.directory / "desmontado").rename(unmounted)
        assert installation.run(JANITOR_ROOTS=roots).exit_code == 0
        assert os.listdir(unmounted) == []


def test_removals_in_a_root_that_is_missing_stay_as_they_are_where_deletion_was_switched_off(
    installation: Installation, nas: Destination
) -> None:
    """The switching off gives back its name to what was set aside, which cannot be seen now."""
    provider = installation.add_provider(nas)
    installation.configure(provider, eliminar_despues_de_migrar=True)
    directory = installation.small_execution("uno")
    with (directory / "tabla.txt").open("a"):
        assert installation.run().exit_code == 1
    installation.executions.rename(installation.directory / "desmontado")
    installation.configure(provider, eliminar_despues_de_migrar=False)
    assert installation.run().exit_code == 1
    assert installation.migration("uno")["local_copy"] == "deleting"


# Removals that are not wanted any more, and those that have no time

TWO_SECONDS_LATER = f"""
import sys
sys.path.insert(0, {str(PROGRAM.parent)!r})
import janitor_daemon, jobs.report
jobs.report.TickReport.elapsed_seconds = property(lambda report: 2.0)
janitor_daemon.main()
"""
"""The program in a run that has taken two seconds to find out what there is to do."""


@pytest.mark.parametrize("removed", [0, 1])
def test_what_is_gone_of_a_local_copy_that_stays_is_said(
    installation: Installation, nas: Destination, removed: int
) -> None:
    """An earlier run was killed in the middle of the removal, and deletion was switched off before this one."""
    provider = installation.add_provider(nas)
    installation.configure(provider)
    directory = installation.small_execution("uno")
    assert installation.run().exit_code == 0
    installation.execute("UPDATE janitor_migrations SET local_copy = 'deleting'")
    if removed:
        (directory / "tabla.txt").unlink()
    run = installation.run()
    assert run.exit_code == 0, str(run)
    (line,) = [line for line in run.messages() if line.startswith("La copia local de la ejecución uno se queda: ")]
    assert run.messages("WARNING") == ([line] if removed else [])
    assert line.endswith(
        "le falta 1 de sus 2 ficheros, que ya se habían borrado; su copia probada está entera: restore la trae"
        if removed
        else "está entera"
    )


def test_what_failed_attempts_left_is_cleared_away_only_while_the_run_has_time(
    installation: Installation, nas: Destination
) -> None:
    first = local_destination("primera", installation.directory / "primera")
    place = Path(str(first.options["ruta"]), "ejecuciones", "uno")
    primary, alternate = installation.add_provider(first, "Primera"), installation.add_provider(nas, "Buena")
    installation.configure(alternate)
    installation.small_execution("uno")
    assert installation.run().exit_code == 0
    installation.execute(
        "INSERT INTO janitor_attempts (execution_id, run_id, host, fencing_token, provider_id, key_prefix, state, "
        "foreign_objects) SELECT execution_id, run_id, host, fencing_token, %s, 'ejecuciones/uno', 'abandoned', false "
        "FROM janitor_migrations",
        (primary,),
    )
    place.mkdir(parents=True)
    (place / "tabla.txt").write_text("resto")
    assert "Intentos con restos por limpiar: 1" in status_of(installation)
    usual, installation.program = installation.program, installation.directory / "programa.py"
    installation.program.write_text(TWO_SECONDS_LATER)
    run = installation.run("--max-duration", "1s")
    assert run.exit_code == 0, str(run)
    assert "; se alcanzó --max-duration" in last_line(run)
    assert (place / "tabla.txt").exists()
    installation.program = usual
    assert installation.run().exit_code == 0
    assert not place.exists()
