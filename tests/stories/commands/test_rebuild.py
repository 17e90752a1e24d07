"""What an operator does whose database is gone, or has lost rows: the copies know what the rows said."""

from __future__ import annotations

import json
import re
import shutil
from datetime import UTC

import pytest

from tests.commands.json_schemas import require_valid
from tests.destinations import Destination
from tests.stories.installation import Installation
from tests.stories.trees import make_usual_tree, snapshot

UUIDS = ("uno", "dos", "tres")
ROW = "uuid::text, ruta_directorio, migrado_a_nube, ruta_nube, nube_provider_id"


@pytest.fixture
def migrated(installation: Installation, nas: Destination) -> Installation:
    """Three executions below a prefix on a provider."""
    installation.configure(installation.add_provider(nas), prefijo_ruta_nube="sage/p")
    for uuid in UUIDS[:2]:
        installation.small_execution(uuid)
    make_usual_tree(installation.new_directory("tres"))
    installation.add_execution("tres", installation.executions / "tres")
    assert installation.run("--migrate-only").exit_code == 0
    return installation


def lose_rows(installation: Installation) -> list[dict[str, object]]:
    """Lose all rows of executions, and what the daemon knows of them; give the rows as they were."""
    rows = installation.rows(f"SELECT {ROW} FROM ejecuciones_yaml ORDER BY uuid")  # noqa: S608 our own names
    for table in ("ejecuciones_yaml", "janitor_migrations", "janitor_attempts", "janitor_installation"):
        installation.execute(f"DELETE FROM {table}")  # noqa: S608 our own names
    return rows


def rows_now(installation: Installation) -> list[dict[str, object]]:
    """The rows of executions."""
    return installation.rows(f"SELECT {ROW} FROM ejecuciones_yaml ORDER BY uuid")  # noqa: S608 our own names


def test_lost_rows_are_shown_first_and_then_written_as_they_were(migrated: Installation) -> None:
    lost = lose_rows(migrated)
    before = migrated.everything_in_the_database()
    run = migrated.run("rebuild", "--provider", "nas")
    assert run.exit_code == 0, str(run)
    assert len([line for line in run.output.splitlines() if line.startswith("Se escribiría ")]) == 3
    assert run.output.splitlines()[-1].startswith("3 filas perdidas; 0 tienen ya la suya; ")
    assert migrated.everything_in_the_database() == before
    nothing_there = migrated.run("rebuild", "--provider", "nas", "--prefix", "otro")
    assert "no hay ninguna copia: " in nothing_there.output
    assert nothing_there.output.endswith("dígalo con --prefix\n")

    run = migrated.run("rebuild", "--provider", "nas", "--write", "--json")
    assert run.exit_code == 0, str(run)
    assert rows_now(migrated) == lost
    written = json.loads(run.output)
    require_valid("rebuild", written)
    assert written["sums"] == {"lost": 3, "known": 0, "left": 0, "unusable": 0}
    dates = migrated.rows("SELECT uuid, fecha_ejecucion::timestamptz AS at FROM ejecuciones_yaml ORDER BY uuid")
    for row in dates:
        oldest = min(file.stat().st_mtime for file in (migrated.executions / row["uuid"]).rglob("*") if file.is_file())
        assert row["at"].timestamp() == int(oldest)
    shown = {execution["execution"]: execution["executed_at"] for execution in written["executions"]}
    assert {row["uuid"]: row["at"].astimezone(UTC).isoformat() for row in dates} == shown
    again = migrated.run("rebuild", "--provider", "nas", "--write")
    assert again.output == "0 filas escritas; 3 tienen ya la suya; 0 se dejan como están; 0 copias no valen\n"
    assert rows_now(migrated) == lost


def test_what_is_rebuilt_can_be_restored_and_its_place_is_its_own(migrated: Installation) -> None:
    expected = snapshot(migrated.executions / "tres")
    lose_rows(migrated)
    assert migrated.run("rebuild", "--provider", "nas", "--write").exit_code == 0
    shutil.rmtree(migrated.executions / "tres")
    assert migrated.run("restore", "tres", "--in-place").exit_code == 0
    assert snapshot(migrated.executions / "tres") == expected
    assert migrated.migration("tres")["evidence"] is None
    assert migrated.attempts("tres") == [(migrated.place("tres")[2], "committed")]
    migrated.execute(
        "UPDATE ejecuciones_yaml SET migrado_a_nube = false, fecha_ejecucion = now() - interval '2 days' "
        "WHERE uuid = 'tres'"
    )
    run = migrated.run("--migrate-only")
    assert run.exit_code == 0, str(run)
    assert migrated.place("tres")[0]


def test_only_complete_copies_count_and_rows_that_exist_are_left(migrated: Installation, nas: Destination) -> None:
    copies = nas.directory / "sage" / "p" / "ejecuciones"
    migrated.execute("DELETE FROM ejecuciones_yaml WHERE uuid IN ('dos', 'tres')")
    (copies / "dos" / "tabla.txt").write_text("ni todo")
    (copies / "tres" / "de-otro.txt").write_text("no estorba")
    shutil.copytree(copies / "uno", copies / "a-medias")
    (copies / "ilegible.manifest.json").write_text("{}")
    (copies / "de-otro.manifest.json").write_bytes((copies / "uno.manifest.json").read_bytes())
    run = migrated.run("rebuild", "--provider", "nas", "--prefix", "/sage//p/", "--write")
    assert run.exit_code == 1, str(run)
    lines = run.output.splitlines()
    assert lines[:-1] == [
        "No vale de-otro: su manifiesto es de otra ejecución, uno",
        "No vale dos: no está entera: faltan o tienen otro tamaño 1 de 2 ficheros (tabla.txt)",
        "No vale ilegible: su manifiesto no se puede leer",
        lines[3],
        "No vale a-medias: no tiene manifiesto: su copia no se terminó (2 ficheros)",
    ]
    assert lines[3].startswith("Escrita tres: cloud://local/sage/p/ejecuciones/tres: ")
    assert lines[-1] == "1 fila escrita; 1 tiene ya la suya; 0 se dejan como están; 4 copias no valen"
    assert [row["uuid"] for row in rows_now(migrated)] == ["tres", "uno"]


def test_rows_that_say_something_else_are_named_and_not_touched(migrated: Installation) -> None:
    migrated.execute("UPDATE ejecuciones_yaml SET ruta_nube = 'cloud://s3/otra/ejecuciones/uno' WHERE uuid = 'uno'")
    migrated.execute("UPDATE ejecuciones_yaml SET migrado_a_nube = false WHERE uuid = 'dos'")
    migrated.execute("UPDATE ejecuciones_yaml SET uuid = 'otra' WHERE uuid = 'tres'")
    before = rows_now(migrated)
    run = migrated.run("rebuild", "--provider", "nas", "--write")
    assert run.exit_code == 1, str(run)
    assert "está sin migrar; no se toca" in run.output
    assert "está migrada en otro sitio, cloud://s3/otra/ejecuciones/uno" in run.output
    assert "de la ejecución otra, dice estar aquí; no se toca" in run.output
    assert rows_now(migrated) == before


def test_one_row_that_the_platform_refuses_stops_no_other(migrated: Installation) -> None:
    lose_rows(migrated)
    migrated.execute("ALTER TABLE ejecuciones_yaml ADD CONSTRAINT corto CHECK (length(uuid) <> 4)")
    run = migrated.run("rebuild", "--provider", "nas", "--write")
    assert run.exit_code == 1, str(run)
    assert "No vale tres: la base de datos rechazó la operación" in run.output
    assert [row["uuid"] for row in rows_now(migrated)] == ["dos", "uno"]


def test_a_missing_right_is_named_before_anything_is_read(migrated: Installation) -> None:
    lose_rows(migrated)
    role = f"{migrated.rows('SELECT current_database() AS name')[0]['name']}_reader"
    migrated.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'reader'")
    migrated.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    url = re.sub(r"://[^@]*@", f"://{role}:reader@", migrated.database_url)
    try:
        run = migrated.run("rebuild", "--provider", "nas", "--write", DATABASE_URL=url)
        shown = migrated.run("rebuild", "--provider", "nas", DATABASE_URL=url)
    finally:
        migrated.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
    assert (run.exit_code, run.output) == (2, ""), str(run)
    assert "INSERT en ejecuciones_yaml" in run.messages("ERROR")[0]
    assert shown.exit_code == 0, str(shown)


def test_an_id_that_was_in_use_before_takes_over_nothing_of_the_earlier_row(migrated: Installation) -> None:
    migrated.execute("UPDATE janitor_migrations SET quarantined_at = now(), failed_runs = 9, local_copy = 'deleting'")
    migrated.execute("TRUNCATE ejecuciones_yaml RESTART IDENTITY")
    assert migrated.run("rebuild", "--provider", "nas", "--write").exit_code == 0
    rows = migrated.rows("SELECT uuid, local_copy, failed_runs, quarantined_at FROM janitor_migrations")
    assert sorted(row["uuid"] for row in rows) == sorted(UUIDS)
    assert {(row["local_copy"], row["failed_runs"], row["quarantined_at"]) for row in rows} == {("kept", 0, None)}


def test_a_uuid_column_gets_what_fits_it(migrated: Installation, nas: Destination) -> None:
    lose_rows(migrated)
    copies = nas.directory / "sage" / "p" / "ejecuciones"
    name = "3b241101-e2bb-4255-8caf-4136c566a962"
    manifest = json.loads((copies / "uno.manifest.json").read_bytes())
    (copies / f"{name}.manifest.json").write_text(json.dumps({**manifest, "execution": name}))
    shutil.copytree(copies / "uno", copies / name)
    migrated.execute("ALTER TABLE ejecuciones_yaml ALTER COLUMN uuid TYPE uuid USING uuid::uuid")
    run = migrated.run("rebuild", "--provider", "nas", "--write")
    assert run.exit_code == 1, str(run)
    assert [row["uuid"] for row in rows_now(migrated)] == [name]


@pytest.mark.parametrize("command", [("rebuild",), ("backup", "rebuild")])
def test_a_provider_without_a_row_is_a_mistake_that_says_what_to_add(
    installation: Installation, nas: Destination, command: tuple[str, ...]
) -> None:
    run = installation.run(*command, "--provider", "NAS")
    assert (run.exit_code, "no tiene ninguna fila: añada la del proveedor" in run.errors) == (2, True), str(run)
    installation.add_provider(nas, "Otro")
    run = installation.run(*command, "--provider", "NAS")
    assert (run.exit_code, "o el nombre NAS; hay 1 (Otro)" in run.errors) == (2, True), str(run)
