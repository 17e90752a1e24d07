"""Platforms of other ages: columns that are missing, more of them, or of other types."""

from __future__ import annotations

import os
import uuid

import pytest

from tests.destinations import Destination
from tests.stories.installation import Installation

WITHOUT_DELETION = (
    "DEFAULT true,\n    eliminar_despues_de_migrar BOOLEAN DEFAULT false\n",
    "DEFAULT true\n",
)


def test_an_install_without_the_deletion_column_keeps_local_copies(
    bare_installation: Installation, nas: Destination
) -> None:
    bare_installation.install(WITHOUT_DELETION)
    bare_installation.configure(bare_installation.add_provider(nas))
    directory = bare_installation.small_execution("uno")
    run = bare_installation.run()
    assert run.exit_code == 0, str(run)
    assert run.messages("WARNING") == run.messages("ERROR") == []
    assert bare_installation.place("uno")[0] is True
    assert directory.exists()


def test_an_install_with_the_least_of_columns_works(bare_installation: Installation, nas: Destination) -> None:
    bare_installation.execute(
        "CREATE TABLE cloud_providers (id INT, nombre TEXT, tipo TEXT, credenciales TEXT, "
        "configuracion TEXT, activo BOOL);"
        "CREATE TABLE ejecuciones_config (id INT, nube_primaria_id INT);"
        "CREATE TABLE ejecuciones_yaml (id BIGINT, uuid TEXT, ruta_directorio TEXT, fecha_ejecucion TIMESTAMP, "
        "migrado_a_nube BOOL, ruta_nube TEXT, nube_provider_id INT)"
    )
    assert bare_installation.run("init-db").exit_code == 0
    bare_installation.execute(
        "INSERT INTO cloud_providers VALUES (7, 'NAS', 'local', NULL, %s, true); "
        "INSERT INTO ejecuciones_config VALUES (1, 7); "
        "INSERT INTO ejecuciones_yaml VALUES (5000000000, 'uno', %s, now() - interval '1 day', NULL)",
        (f'{{"ruta": "{nas.directory}"}}', str(bare_installation.new_directory("uno"))),
    )
    run = bare_installation.run()
    assert run.exit_code == 0, str(run)
    assert bare_installation.place("uno") == (True, "cloud://local/ejecuciones/uno", 7)


@pytest.mark.parametrize("column_type", ["JSON", "TEXT", "VARCHAR"])
def test_credentials_and_options_may_be_json_or_text(
    bare_installation: Installation, nas: Destination, column_type: str
) -> None:
    bare_installation.install(
        ("credenciales  JSONB", f"credenciales {column_type}"), ("configuracion JSONB", f"configuracion {column_type}")
    )
    bare_installation.configure(bare_installation.add_provider(nas))
    bare_installation.small_execution("uno")
    run = bare_installation.run()
    assert run.exit_code == 0, str(run)
    assert bare_installation.place("uno")[0] is True


@pytest.mark.parametrize("column_type", ["TIMESTAMP", "TIMESTAMPTZ"])
@pytest.mark.parametrize("database_zone", ["UTC", "America/Bogota", "Pacific/Kiritimati"])
def test_the_age_of_an_execution_does_not_depend_on_the_time_zone_of_this_process(
    bare_installation: Installation, nas: Destination, column_type: str, database_zone: str
) -> None:
    (row,) = bare_installation.rows("SELECT current_database() AS name")
    bare_installation.execute(f"ALTER DATABASE {row['name']} SET timezone TO '{database_zone}'")
    bare_installation.execute(f"SET timezone TO '{database_zone}'")  # for rows that this test adds
    bare_installation.install(("fecha_ejecucion  TIMESTAMP", f"fecha_ejecucion {column_type}"))
    bare_installation.configure(bare_installation.add_provider(nas), tiempo_retencion_local=3)
    for minutes in (170, 190):
        bare_installation.small_execution(f"hace {minutes} minutos", age_hours=minutes / 60)
    for zone in ("Asia/Tokyo", "America/Los_Angeles"):
        run = bare_installation.run(PGTZ=zone, TZ=zone)
        assert run.exit_code == 0, str(run)
    assert bare_installation.place("hace 170 minutos")[0] is False
    assert bare_installation.place("hace 190 minutos")[0] is True


def test_uuids_may_be_of_type_uuid(bare_installation: Installation, nas: Destination) -> None:
    bare_installation.install(("uuid             VARCHAR(64)", "uuid UUID"))
    name = str(uuid.uuid4())
    provider = bare_installation.add_provider(nas)
    bare_installation.configure(provider, eliminar_despues_de_migrar=True)
    directory = bare_installation.small_execution(name)
    run = bare_installation.run()
    assert run.exit_code == 0, str(run)
    assert bare_installation.place(name) == (True, f"cloud://local/ejecuciones/{name}", provider)
    assert not directory.exists()
    restored = bare_installation.directory / "restaurada"
    assert bare_installation.run("restore", name, str(restored)).exit_code == 0
    assert sorted(os.listdir(restored)) == ["ejecucion.txt", "tabla.txt"]


def _old_temporary_file(installation: Installation) -> None:
    path = installation.temporary / "viejo"
    path.touch()
    os.utime(path, (0, 0))


def _require_nothing_but_cleaning(installation: Installation, nas: Destination) -> None:
    assert installation.place("uno") == (False, None, None)
    assert nas.everything_stored() == set()
    assert os.listdir(installation.temporary) == []


def test_without_a_row_of_configuration_there_is_a_warning_and_still_a_cleaning(
    installation: Installation, nas: Destination
) -> None:
    installation.add_provider(nas)
    installation.small_execution("uno")
    _old_temporary_file(installation)
    run = installation.run()
    assert run.exit_code == 0, str(run)
    assert [line for line in run.messages("WARNING") if "ejecuciones_config" in line]
    _require_nothing_but_cleaning(installation, nas)


@pytest.mark.parametrize(("off", "word"), [("automatic", "automática"), ("primary", "primaria")])
def test_where_migration_is_off_the_log_says_so_and_cleaning_continues(
    installation: Installation, nas: Destination, off: str, word: str
) -> None:
    provider = installation.add_provider(nas)
    if off == "automatic":
        installation.configure(provider, migrar_automaticamente=False)
    else:
        installation.configure(None, provider)
    installation.small_execution("uno")
    _old_temporary_file(installation)
    run = installation.run()
    assert run.exit_code == 0, str(run)
    assert [line for line in run.messages("INFO") if word in line]
    _require_nothing_but_cleaning(installation, nas)


def test_the_row_with_the_highest_id_rules(installation: Installation, nas: Destination) -> None:
    provider = installation.add_provider(nas)
    installation.configure(None, prefijo_ruta_nube="vieja", migrar_automaticamente=False)
    installation.configure(provider, prefijo_ruta_nube="nueva")
    installation.execute("UPDATE ejecuciones_config SET prefijo_ruta_nube = 'vieja' WHERE id = 1")  # moves the row
    installation.small_execution("uno")
    assert installation.run().exit_code == 0
    assert installation.place("uno")[1] == "cloud://local/nueva/ejecuciones/uno"


def test_null_means_the_default_everywhere(installation: Installation, nas: Destination) -> None:
    installation.configure(
        installation.add_provider(nas),
        tiempo_retencion_local=None,
        prefijo_ruta_nube=None,
        migrar_automaticamente=None,
        eliminar_despues_de_migrar=None,
    )
    directory = installation.new_directory("uno")
    installation.add_execution("uno", directory, migrated=None)
    run = installation.run()
    assert run.exit_code == 0, str(run)
    assert installation.place("uno")[:2] == (True, "cloud://local/ejecuciones/uno")
    assert directory.exists()


def test_rows_of_a_grown_platform_keep_what_the_daemon_does_not_know(
    bare_installation: Installation, nas: Destination
) -> None:
    bare_installation.install(
        ("nube_provider_id INTEGER\n", "nube_provider_id INTEGER,\n usuario TEXT NOT NULL DEFAULT 'ana', n SERIAL\n"),
        ("activo        BOOLEAN DEFAULT true", "activo BOOLEAN, creado TIMESTAMPTZ NOT NULL DEFAULT now()"),
    )
    bare_installation.configure(bare_installation.add_provider(nas))
    bare_installation.small_execution("uno")
    before = bare_installation.execution("uno")
    assert bare_installation.run().exit_code == 0
    after = bare_installation.execution("uno")
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"migrado_a_nube", "ruta_nube", "nube_provider_id"}


def test_rows_that_were_migrated_by_an_older_program_are_left_alone(
    installation: Installation, nas: Destination
) -> None:
    installation.configure(installation.add_provider(nas), eliminar_despues_de_migrar=True)
    directory = installation.new_directory("vieja")
    installation.add_execution("vieja", directory, migrated=True)
    installation.execute("UPDATE ejecuciones_yaml SET ruta_nube = 's3://antiguo/vieja'")
    run = installation.run()
    assert run.exit_code == 0, str(run)
    assert installation.place("vieja") == (True, "s3://antiguo/vieja", None)
    assert directory.exists()
    assert installation.run("status").exit_code == 0
    restore = installation.run("restore", "vieja", str(installation.directory / "restaurada"))
    assert restore.exit_code == 1, str(restore)
    assert len(restore.messages("ERROR")) == 1
