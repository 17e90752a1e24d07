"""What an operator sees who brings several executions back: where they go, what continues, what stops nothing."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.destinations import Destination
from tests.stories.installation import Installation, Run
from tests.stories.trees import make_usual_tree, snapshot

MARK = ".janitor-restore-incomplete"
UUIDS = ("uno", "dos", "tres")


@pytest.fixture
def migrated(installation: Installation, nas: Destination) -> Installation:
    """Three executions in the cloud and still here, of three days."""
    installation.configure(installation.add_provider(nas))
    for day, uuid in enumerate(UUIDS, 1):
        installation.small_execution(uuid)
        dated = (f"2024-05-0{day} 10:00", uuid)
        installation.execute("UPDATE ejecuciones_yaml SET fecha_ejecucion = %s WHERE uuid = %s", dated)
    make_usual_tree(installation.executions / "tres")
    assert installation.run().exit_code == 0
    return installation


def restored(installation: Installation, *options: str, **environment: str | None) -> Run:
    """Run `restore` with these options."""
    return installation.run("restore", *options, **environment)


def are_equal(installation: Installation, target: Path, uuids: Sequence[str]) -> bool:
    """Whether each was restored below the target, identical."""
    return all(snapshot(target / uuid) == snapshot(installation.executions / uuid) for uuid in uuids)


def test_one_that_fails_stops_no_other_and_the_same_command_continues(migrated: Installation, nas: Destination) -> None:
    target = migrated.directory / "recuperadas"
    stored = nas.directory / "ejecuciones" / "dos" / "tabla.txt"
    stored.rename(nas.directory / "apartado")

    run = restored(migrated, *UUIDS, "no-hay", "--to", str(target))
    assert run.exit_code == 1, str(run)
    lost, unknown = run.messages("ERROR")
    assert lost.startswith("la ejecución dos no se pudo restaurar de nas: tabla.txt: ")
    assert unknown == "no hay ninguna ejecución con el uuid no-hay"
    assert are_equal(migrated, target, ["uno", "tres"])
    assert (target / "dos" / MARK).exists()
    lines = run.output.splitlines()
    assert lines[0] == f"[1 de 4] Ejecución uno restaurada en {target / 'uno'}: 2 ficheros, 25 bytes"
    assert lines[-1].startswith("Restaurado: 2 ejecuciones; en total ")
    assert lines[-1].endswith("; 2 fallaron, arriba dice por qué: la misma orden sigue donde quedó")

    (nas.directory / "apartado").rename(stored)
    run = restored(migrated, *UUIDS, "--to", str(target))
    assert run.exit_code == 0, str(run)
    assert are_equal(migrated, target, UUIDS)
    noted = migrated.rows("SELECT uuid FROM janitor_audit WHERE event = 'restored' ORDER BY id")
    assert [row["uuid"] for row in noted[2:]] == ["dos"]
    assert {row["uuid"] for row in noted[:2]} == {"uno", "tres"}  # at the same time
    lines = run.output.splitlines()
    assert lines[0] == f"[1 de 3] Ejecución uno: ya estaba en {target / 'uno'}, comprobada"
    assert lines[1].endswith("2 ficheros, 25 bytes; 1 ya estaba y se comprobó")
    assert lines[-1].startswith("Restaurado: 1 ejecución; 2 ya estaban enteras; en total ")


def test_what_is_there_is_recognised_by_its_contents_and_never_replaced(migrated: Installation) -> None:
    target = migrated.directory / "recuperadas"
    assert restored(migrated, "uno", "dos", "--to", str(target)).exit_code == 0
    changed = target / "uno" / "tabla.txt"
    status = changed.stat()
    changed.write_text(changed.read_text().upper())
    (target / "dos" / "nota.txt").write_text("de otro")
    before = snapshot(target)
    run = restored(migrated, "uno", "dos", "--to", str(target))
    assert (run.exit_code, changed.stat().st_size) == (1, status.st_size), str(run)
    (error,) = run.messages("ERROR")
    assert error.startswith(f"la ejecución uno: el destino {target / 'uno'} no está vacío")
    assert "tabla.txt" in error
    assert "Ejecución dos: ya estaba" in run.output
    assert snapshot(target) == before


def test_executions_are_chosen_by_period_provider_or_a_file(migrated: Installation) -> None:
    (zone,) = migrated.rows("SHOW timezone")
    listed = migrated.directory / "lista"
    listed.write_text("# las de hoy\n\ntres\n uno \ntres\n", encoding="utf-8")
    provider_id = str(migrated.place("uno")[2])
    for options, expected in (
        (("--since", "2024-05-02"), {"dos", "tres"}),
        (("--until", "2024-05-02"), {"uno", "dos"}),
        (("--since", "2024-05-01 10:01", "--until", "2024-05-02 10:00"), {"dos"}),
        (("--provider", "nas", "--until", "2024-05-01"), {"uno"}),
        (("--provider", provider_id), set(UUIDS)),
        (("--from-file", str(listed)), {"tres", "uno"}),
    ):
        run = restored(migrated, *options, "--check-only", JANITOR_TIMEZONE=zone["TimeZone"])
        assert run.exit_code == 0, str(run)
        assert {uuid for uuid in UUIDS if f"Ejecución {uuid}: leída" in run.output} == expected, options
    run = restored(migrated, "--since", "2030-01-01", "--check-only")
    assert (run.exit_code, run.output) == (1, ""), str(run)
    assert "no hay ninguna ejecución migrada" in run.messages("ERROR")[0]


def test_in_place_fills_only_what_is_missing_or_empty_inside_the_roots(migrated: Installation) -> None:
    expected = {uuid: snapshot(migrated.executions / uuid) for uuid in UUIDS}
    shutil.rmtree(migrated.executions / "uno")
    shutil.rmtree(migrated.executions / "dos")
    (migrated.executions / "dos").mkdir()
    nested = migrated.executions / "2024" / "05" / "cuatro"
    shutil.copytree(migrated.executions / "tres", nested, symlinks=True)
    migrated.add_execution("cuatro", nested)
    migrated.add_execution("fuera", migrated.executions / "tres")
    assert migrated.run("--migrate-only").exit_code in (0, 1)
    expected["2024/05/cuatro"] = snapshot(nested)
    shutil.rmtree(migrated.executions / "2024")
    migrated.execute("UPDATE ejecuciones_yaml SET ruta_directorio = '/srv/otra' WHERE uuid = 'tres'")

    run = restored(migrated, "uno", "dos", "tres", "cuatro", "--in-place")
    assert run.exit_code == 1, str(run)
    (error,) = run.messages("ERROR")
    assert error == "la ejecución tres: ruta_directorio está fuera de JANITOR_ROOTS: /srv/otra; use --to DIRECTORIO"
    assert {name: snapshot(migrated.executions / name) for name in expected} == expected

    (migrated.executions / "uno" / "tabla.txt").write_text("otra cosa")
    run = restored(migrated, "uno", "dos", "--in-place")
    assert run.exit_code == 1, str(run)
    assert "Ejecución dos: ya estaba" in run.output
    assert (migrated.executions / "uno" / "tabla.txt").read_text() == "otra cosa"


def test_in_place_refuses_the_directory_of_a_row_that_is_still_to_be_migrated(migrated: Installation) -> None:
    shutil.rmtree(migrated.executions / "uno")
    shutil.rmtree(migrated.executions / "dos")
    other = migrated.add_execution("otra", migrated.executions / "uno")
    migrated.add_execution("dentro", migrated.executions / "dos" / "parte")
    run = restored(migrated, "uno", "dos", "--in-place")
    assert run.exit_code == 1, str(run)
    first, second = run.messages("ERROR")
    assert first.startswith(f"la ejecución uno: la ejecución otra (id {other}), sin migrar, tiene un directorio que es")
    assert f"{migrated.executions / 'uno'}; use --to DIRECTORIO" in first
    assert "la ejecución dentro" in second
    assert not (migrated.executions / "uno").exists()
    assert not (migrated.executions / "dos").exists()


def test_in_place_follows_no_link_and_needs_roots_that_are_there(migrated: Installation) -> None:
    shutil.rmtree(migrated.executions / "uno")
    elsewhere = migrated.directory / "otro-sitio"
    elsewhere.mkdir()
    (migrated.executions / "enlace").symlink_to(elsewhere)
    path = migrated.executions / "enlace" / "uno"
    migrated.execute("UPDATE ejecuciones_yaml SET ruta_directorio = %s WHERE uuid = 'uno'", [str(path)])
    run = restored(migrated, "uno", "--in-place")
    assert (run.exit_code, list(elsewhere.iterdir())) == (1, []), str(run)

    run = restored(migrated, "uno", "--in-place", JANITOR_ROOTS=None)
    assert run.exit_code == 2, str(run)
    assert "JANITOR_ROOTS" in run.messages("ERROR")[0]
    missing = migrated.directory / "sin-montar"
    migrated.execute("UPDATE ejecuciones_yaml SET ruta_directorio = %s WHERE uuid = 'uno'", [str(missing / "uno")])
    run = restored(migrated, "uno", "--in-place", JANITOR_ROOTS=str(missing))
    assert (run.exit_code, missing.exists()) == (1, False), str(run)


def test_in_place_waits_for_a_removal_that_is_not_finished(migrated: Installation) -> None:
    shutil.rmtree(migrated.executions / "uno")
    migrated.execute("UPDATE janitor_migrations SET local_copy = 'deleting' WHERE uuid = 'uno'")
    run = restored(migrated, "uno", "--in-place")
    assert run.exit_code == 1, str(run)
    assert "está por borrar" in run.messages("ERROR")[0]
    assert not (migrated.executions / "uno").exists()


def test_only_what_is_included_comes_back_and_other_patterns_do_not_mix(
    migrated: Installation, nas: Destination
) -> None:
    target = migrated.directory / "parte"
    assert restored(migrated, "uno", str(target), "--include", "tab*").exit_code == 0
    assert [path.name for path in target.iterdir()] == ["tabla.txt"]
    run = restored(migrated, "uno", "tres", "--to", str(migrated.directory / "partes"), "--include", "registro.log")
    assert run.exit_code == 1, str(run)
    assert run.messages("ERROR") == [
        "la ejecución uno: ningún fichero de la ejecución coincide con --include registro.log; véalos con ls"
    ]
    assert "1 fichero, " in run.output
    stored = nas.directory / "ejecuciones" / "uno" / "tabla.txt"
    stored.rename(nas.directory / "apartado")
    begun = migrated.directory / "empezada"
    assert restored(migrated, "uno", str(begun), "--include", "*.txt").exit_code == 1
    run = restored(migrated, "uno", str(begun))
    assert run.exit_code == 2, str(run)
    assert "de esta copia, con otros --include" in run.messages("ERROR")[0]


def test_check_only_reads_everything_back_and_writes_nothing(migrated: Installation, nas: Destination) -> None:
    before = set(migrated.executions.rglob("*"))
    rows = migrated.everything_in_the_database()
    run = restored(migrated, *UUIDS, "--check-only")
    assert run.exit_code == 0, str(run)
    assert run.output.splitlines()[-1].startswith("Leído e igual al manifiesto: 3 ejecuciones, ")
    damaged = nas.directory / "ejecuciones" / "dos" / "tabla.txt"
    damaged.write_bytes(bytes(reversed(damaged.read_bytes())))
    run = restored(migrated, *UUIDS, "--check-only")
    assert run.exit_code == 1, str(run)
    (error,) = run.messages("ERROR")
    assert error.startswith("la ejecución dos no se pudo leer de nas: tabla.txt: lo leído difiere del manifiesto")
    assert migrated.everything_in_the_database() == rows
    assert set(migrated.executions.rglob("*")) == before


def test_a_provider_that_is_down_is_not_tried_for_each_of_its_executions(
    migrated: Installation, nas: Destination
) -> None:
    for number in range(3):
        migrated.small_execution(f"más-{number}")
    assert migrated.run("--migrate-only").exit_code == 0
    nas.directory.rename(nas.directory.with_name("desmontado"))
    run = restored(migrated, "--provider", "nas", "--to", str(migrated.directory / "recuperadas"))
    assert run.exit_code == 1, str(run)
    errors = run.messages("ERROR")
    assert ["no existe el directorio" in error for error in errors] == [True] * 3 + [False] * 3
    assert all("falló ya 3 veces seguidas" in error for error in errors[3:])


def test_an_order_that_is_not_clear_is_a_usage_error(installation: Installation) -> None:
    for options, told in (
        (("uno", "dos", "tres"), "Sobran argumentos: tres"),
        (("--since", "2024-05-01"), "diga a dónde"),
        (("--to", "x", "--in-place", "uno"), "no se pueden usar juntas"),
        (("--to", "no-hay/x", "uno"), "no existe no-hay"),
        (("--in-place",), "diga qué ejecuciones"),
        (("--in-place", "uno", "--since", "2024-05-01"), "diga qué ejecuciones"),
        (("--in-place", "--since", "ayer"), "debe ser un día"),
        (("--in-place", "uno", "--include", "[z-a]"), "no es un patrón"),
        (("--in-place", "--from-file", "no-hay"), "no se puede leer no-hay"),
        (("--in-place", "--from-file", "-"), "no hay ningún UUID"),
        (("uno",), "Falta el argumento 'DESTINO'"),
        ((), "Falta el argumento 'UUID'"),
    ):
        run = restored(installation, *options)
        assert run.exit_code == 2, (options, str(run))
        assert told in run.errors, (options, str(run))


def test_an_unknown_provider_is_named_with_those_that_there_are(migrated: Installation) -> None:
    run = restored(migrated, "--provider", "mns", "--check-only")
    assert run.exit_code == 2, str(run)
    assert "(nas)" in run.messages("ERROR")[0]
