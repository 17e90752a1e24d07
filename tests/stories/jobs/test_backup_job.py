"""The job `backup` as operators use it: by the tick, by its commands, and as the platform's tables show it."""

from __future__ import annotations

import contextlib
import json
import shlex
import signal
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg2
import pytest

from config.logs import one_line
from config.text.times import Clock
from demo.servers.postgres import EmbeddedPostgres
from jobs.backups.listing import describe_backup, lines_of
from sql.database import database_identity
from tests.commands.json_schemas import require_valid
from tests.databases.lent_databases import DISCONNECTED
from tests.disks.small_disk import MEBIBYTE, mounted_small_disk
from tests.processes import is_alive, wait_until
from tests.stories.doors import refused_port
from tests.stories.installation import Installation, Run

FULL, DIFFERENTIAL = "COMPLETO", "DIFERENCIAL"
DONE, FAILED, UNDER_WAY = "COMPLETADO", "ERROR", "EN_PROCESO"

SLOW_DUMP = """#!/bin/sh
[ "$1" = --version ] || while [ -e {gate} ]; do sleep 0.05; done
exec {program} "$@"
"""


@pytest.fixture
def sage(installation: Installation, postgres: EmbeddedPostgres) -> Installation:
    """An installation whose database is backed up, with a table that changes."""
    installation.environment.update(
        BACKUP_ENABLED="true",
        BACKUP_PATH=str(installation.directory / "copias"),
        BACKUP_PG_BIN=str(postgres.binaries),
        BACKUP_VERIFY_DAYS="0",
    )
    for number in range(3):
        installation.small_execution(f"e-{number}")
    installation.environment.pop("JANITOR_ROOTS")
    return installation


@pytest.fixture
def empty_database(
    postgres: EmbeddedPostgres, database_administrator: Callable[[str], None], database_numbers: Iterator[int]
) -> Iterator[str]:
    """The libpq URI of an empty database."""
    name = f"empty_{next(database_numbers)}"
    database_administrator(f"CREATE DATABASE {name}")
    yield postgres.url_of(name)
    database_administrator(DISCONNECTED.format(name=name))
    database_administrator(f"DROP DATABASE {name} WITH (FORCE)")


def copies(installation: Installation) -> Path:
    """The directory of the backups."""
    return Path(installation.environment["BACKUP_PATH"])


def history(installation: Installation) -> list[tuple[str, str]]:
    """Kind and state of every row, in order."""
    rows = installation.rows("SELECT tipo, estado FROM historial_backup ORDER BY id_backup")
    return [(row["tipo"], row["estado"]) for row in rows]


def notices(installation: Installation) -> list[tuple[str, str]]:
    """Title and colour of every notification, in order."""
    rows = installation.rows("SELECT tipo, titulo, semaforo FROM notificaciones ORDER BY id")
    assert all(row["tipo"] == "BACKUP" for row in rows)
    return [(row["titulo"], row["semaforo"]) for row in rows]


def done(run: Run) -> Run:
    """A run that ended well."""
    assert run.exit_code == 0, str(run)
    return run


def value_in(database_url: str, question: str) -> Any:
    """The one value that a question has."""
    with contextlib.closing(psycopg2.connect(database_url)) as connection, connection.cursor() as cursor:
        cursor.execute(question)
        ((value,),) = cursor.fetchall()
        return value


def test_a_tick_makes_a_full_one_then_a_differential_and_both_restore(
    sage: Installation, empty_database: str, postgres: EmbeddedPostgres
) -> None:
    done(sage.run())
    assert history(sage) == [(FULL, DONE)]
    done(sage.run())
    assert history(sage) == [(FULL, DONE)]  # not due twice a day
    sage.execute("DELETE FROM ejecuciones_yaml WHERE uuid = 'e-0'")
    done(sage.run("backup", "run"))
    assert history(sage) == [(FULL, DONE), (DIFFERENTIAL, DONE)]
    assert notices(sage) == [
        ("✅ Backup COMPLETO completado", "VERDE"),
        ("✅ Backup DIFERENCIAL completado", "VERDE"),
    ]
    full, differential = sage.rows("SELECT * FROM historial_backup ORDER BY id_backup")
    assert (full["ejecutado_por"], differential["id_backup_base"]) == ("SCHEDULER", full["id_backup"])
    assert differential["ejecutado_por"] not in ("SCHEDULER", None, "")
    assert copies(sage).stat().st_mode & 0o777 == 0o700
    for row in (full, differential):
        path = Path(row["ruta_archivo"])
        assert path.name == row["nombre_archivo"]
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.stat().st_size == row["tamanio_bytes"]
        md5 = subprocess.run(["md5sum", path], check=True, capture_output=True, text=True).stdout.split()[0]
        assert md5 == row["hash_md5"]
        assert row["tablas_respaldadas"] > 5
        assert row["registros_totales"] > 3
        assert row["duracion_segundos"] > 0
        restore = f"gunzip -c {shlex.quote(str(path))} | {postgres.binaries}/psql -qX -v ON_ERROR_STOP=1"
        subprocess.run(["bash", "-o", "pipefail", "-c", f"{restore} {shlex.quote(empty_database)}"], check=True)
    assert value_in(empty_database, "SELECT count(*) FROM ejecuciones_yaml") == 2


def test_an_index_that_lacks_rows_is_told_until_it_is_rebuilt(sage: Installation) -> None:
    """The count by the index and what `pg_dump` read of the table differ: the backup is good, the database is not."""
    for statement in (
        "CREATE TABLE broad (id integer PRIMARY KEY, v text)",
        "INSERT INTO broad SELECT g, repeat('x', 900) FROM generate_series(1, 1000) g",
        "UPDATE pg_index SET indisready = false WHERE indexrelid = 'broad_pkey'::regclass",
        "INSERT INTO broad SELECT g, repeat('x', 900) FROM generate_series(1001, 1009) g",
        "UPDATE pg_index SET indisready = true WHERE indexrelid = 'broad_pkey'::regclass",
        "ANALYZE broad",
    ):
        sage.execute(statement)
    with contextlib.closing(psycopg2.connect(sage.environment["DATABASE_URL"])) as connection:
        connection.autocommit = True
        connection.cursor().execute("VACUUM broad")  # an index is used once all rows are visible to everybody
    run = done(sage.run("backup", "run"))
    (warning,) = run.messages("WARNING")
    assert 'un índice de "public"."broad" no tiene tantas entradas' in warning
    assert history(sage) == [(FULL, DONE)]
    causes = "SELECT state FROM janitor_causes WHERE cause = 'backup:damaged_index'"
    assert sage.rows(causes) == [{"state": "needs_person"}]
    sage.execute("REINDEX TABLE broad")
    assert done(sage.run("backup", "run")).messages("WARNING") == []
    assert sage.rows(causes) == [{"state": "ok"}]


def test_statistics_and_lists_show_what_there_is(sage: Installation) -> None:
    done(sage.run("backup", "run", "--full"))
    stats = json.loads(done(sage.run("backup", "stats", "--json")).output)
    assert {
        "total_backups", "backups_completos", "backups_diferenciales", "espacio_usado_bytes", "espacio_usado_legible",
        "ultimo_backup_completo", "ultimo_backup_diferencial", "dias_retencion",
    } <= stats.keys()  # fmt: skip
    assert (stats["total_backups"], stats["ultimo_backup_diferencial"], stats["dias_retencion"]) == (1, None, 90)
    require_valid("backup_stats", stats)
    listing = json.loads(done(sage.run("backup", "list", "--json")).output)
    require_valid("backups", listing)
    (listed,) = listing
    assert (listed["tipo"], listed["estado"], listed["en_disco"]) == (FULL, DONE, True)
    assert json.loads(done(sage.run("backup", "show", "1", "--json")).output) == listed
    assert sage.run("backup", "show", "77").exit_code == 1
    clock = Clock.of_this_host(UTC)
    shown = "\n".join(lines_of(listed, clock))
    assert f"fecha_creacion: {clock.when_written(listed['fecha_creacion'])}" in shown
    assert f"1  {clock.when_written(listed['fecha_creacion'])}  COMPLETO" in describe_backup(listed, clock)
    assert "en_disco: sí" in shown
    assert "eliminado: no" in shown
    assert "copias: " not in shown
    checked = sage.run("check").output
    assert "bien   copias de seguridad: servidor " in checked
    assert "bien   copias de seguridad: última completa 20" in checked
    assert "aviso  copias de seguridad: ninguna está comprobada" in checked


CUT_OFF = "se quedó a medias: el proceso que la hacía terminó antes de acabarla; 'backup run' borra"


def test_a_killed_run_leaves_an_error_and_the_next_one_a_backup(sage: Installation, postgres: EmbeddedPostgres) -> None:
    gate = sage.directory / "gate"
    gate.touch()
    programs = sage.directory / "programs"
    programs.mkdir()
    (programs / "psql").symlink_to(postgres.binaries / "psql")
    slow = programs / "pg_dump"
    slow.write_text(SLOW_DUMP.format(gate=shlex.quote(str(gate)), program=postgres.binaries / "pg_dump"))
    slow.chmod(0o755)
    with sage.start("backup", "run", BACKUP_PG_BIN=str(programs)) as running:
        wait_until(lambda: history(sage) == [(FULL, UNDER_WAY)], 30)
        assert sage.run("backup", "run").exit_code == 75
        refused = sage.run("backup", "clean")
        assert (refused.exit_code, "repita la orden cuando acabe" in str(refused)) == (75, True)
        assert CUT_OFF not in sage.run("status").output
        running.stop(signal.SIGKILL)
    gate.unlink()
    sage.execute("UPDATE janitor_jobs SET lease_expires_at = now() WHERE job = 'backup'")
    assert CUT_OFF in sage.run("status").output
    done(sage.run("backup", "run"))
    assert CUT_OFF not in sage.run("status").output
    assert history(sage) == [(FULL, FAILED), (FULL, DONE)]
    (killed, _) = sage.rows("SELECT mensaje_error FROM historial_backup ORDER BY id_backup")
    assert "(kill, corte de luz) o perdió la base de datos" in killed["mensaje_error"]
    assert [colour for _, colour in notices(sage)] == ["ROJO", "VERDE"]
    assert not [path for path in copies(sage).iterdir() if path.name.startswith(".")]


def test_a_backup_that_a_killed_run_had_finished_is_recorded(sage: Installation) -> None:
    done(sage.run("backup", "run"))
    (before,) = sage.rows("SELECT * FROM historial_backup")
    sage.execute(
        "UPDATE historial_backup SET estado = 'EN_PROCESO', tamanio_bytes = NULL, hash_md5 = NULL, "
        "tablas_respaldadas = NULL, registros_totales = NULL"
    )
    done(sage.run("backup", "run"))
    assert history(sage) == [(FULL, DONE), (DIFFERENTIAL, DONE)]
    after = sage.rows("SELECT * FROM historial_backup ORDER BY id_backup")[0]
    for column in ("tamanio_bytes", "hash_md5", "tablas_respaldadas", "registros_totales"):
        assert after[column] == before[column]


def test_rows_of_another_program_are_left_alone(sage: Installation) -> None:
    old = sage.directory / "ajena.sql.gz"
    old.write_bytes(b"x")
    sage.execute(
        "INSERT INTO historial_backup (tipo, nombre_archivo, ruta_archivo, estado, fecha_creacion) VALUES "
        "('COMPLETO', 'ajena.sql.gz', %s, 'COMPLETADO', now() - interval '5 years'), "
        "('COMPLETO', 'en-marcha.sql.gz', '/x', 'EN_PROCESO', now())",
        (str(old),),
    )
    done(sage.run("backup", "run"))
    done(sage.run("backup", "clean"))
    assert history(sage) == [(FULL, DONE), (FULL, UNDER_WAY), (FULL, DONE)]
    assert sage.rows("SELECT FROM historial_backup WHERE eliminado") == []
    assert old.exists()


def test_what_fails_is_recorded_and_notified(sage: Installation) -> None:
    sage.environment["BACKUP_PG_BIN"] = str(sage.directory)
    tick = sage.run()
    assert tick.exit_code == 1, tick
    assert history(sage) == [(FULL, FAILED)]
    assert notices(sage) == [("❌ Error en Backup COMPLETO", "ROJO")]
    (row,) = sage.rows("SELECT mensaje_error FROM historial_backup")
    assert "BACKUP_PG_BIN" in row["mensaje_error"]
    assert row["mensaje_error"] in tick.errors


def test_another_database_that_cannot_be_reached_is_a_failure_of_this_job_alone(sage: Installation) -> None:
    tick = sage.run(BACKUP_DATABASE_URL="postgresql://nobody:secret-word@127.0.0.1:1/none")
    assert tick.exit_code == 1, tick
    assert history(sage) == [(FULL, FAILED)]
    assert "secret-word" not in tick.errors


@pytest.mark.parametrize("days", ["0", "-1", "many"])
def test_a_retention_that_means_nothing_deletes_nothing(sage: Installation, days: str) -> None:
    done(sage.run("backup", "run"))
    sage.execute("UPDATE historial_backup SET fecha_creacion = fecha_creacion - interval '10 years'")
    assert sage.run("backup", "run", BACKUP_RETENTION_DAYS=days).exit_code == 2
    assert sage.run("backup", "clean", BACKUP_RETENTION_DAYS=days).exit_code == 2
    assert len(list(copies(sage).iterdir())) == 3


def test_retention_deletes_old_chains_and_keeps_the_newest(sage: Installation) -> None:
    for kind in ("--full", "--diff", "--full"):
        done(sage.run("backup", "run", kind))
    sage.execute("UPDATE historial_backup SET fecha_creacion = fecha_creacion - interval '100 days'")
    preview = done(sage.run("backup", "clean", "--dry-run"))
    assert "FULL" in preview.output
    assert "Se borrarían: 2 copias, " in preview.output
    assert "(de más de 90 días, y que no hacen falta)" in preview.output
    assert "se haría una copia de seguridad" in done(sage.run("run", "backup", "--dry-run")).errors
    assert len(list(copies(sage).glob("*.gz"))) == 3
    done(sage.run("backup", "clean"))
    rows = sage.rows("SELECT eliminado, fecha_eliminacion, nombre_archivo FROM historial_backup ORDER BY id_backup")
    assert [row["eliminado"] for row in rows] == [True, True, False]
    assert [row["fecha_eliminacion"] is None for row in rows] == [False, False, True]
    newest = rows[2]["nombre_archivo"].removesuffix(".sql.gz")
    assert all(path.name.startswith(newest) for path in copies(sage).iterdir())


def test_a_backup_that_others_remove_is_reported_once_and_replaced(sage: Installation) -> None:
    done(sage.run("backup", "run"))
    (file,) = copies(sage).glob("*.gz")
    elsewhere = file.rename(sage.directory / file.name)
    second = sage.run("backup", "run")
    assert second.exit_code == 1, str(second)
    assert "Falta una copia: el archivo de la copia de seguridad 1 no está" in second.errors
    status = sage.run("status", "--quiet")
    assert status.exit_code == 1, str(status)
    assert "1 copia hecha no está en el disco ni en ningún proveedor: 1 (" in " ".join(status.output.split())
    done(sage.run("backup", "run"))
    assert [kind for kind, _ in history(sage)] == [FULL, FULL, DIFFERENTIAL]
    assert [colour for _, colour in notices(sage)] == ["VERDE", "VERDE", "AMARILLO", "VERDE"]
    elsewhere.rename(file)
    done(sage.run("backup", "download", "1", str(sage.directory / "downloaded")))
    assert "ni en ningún proveedor" not in sage.run("status", "--quiet").output


def test_a_full_one_missed_on_its_day_is_made_later(sage: Installation) -> None:
    done(sage.run("backup", "run"))
    sage.execute("UPDATE historial_backup SET fecha_creacion = fecha_creacion - interval '8 days'")
    done(sage.run("backup", "run"))
    done(sage.run("backup", "run"))
    assert [kind for kind, _ in history(sage)] == [FULL, FULL, DIFFERENTIAL]


def test_verify_proves_download_and_restore_give_back(sage: Installation, empty_database: str) -> None:
    done(sage.run("backup", "run", "--full"))
    sage.execute("DELETE FROM ejecuciones_yaml WHERE uuid = 'e-1'")
    done(sage.run("backup", "run", "--diff"))
    assert "Copia 2 comprobada" in done(sage.run("backup", "verify")).output
    (row,) = sage.rows("SELECT verified_at, verification_error FROM janitor_backups WHERE id_backup = 2")
    assert (row["verified_at"] is not None, row["verification_error"]) == (True, None)
    elsewhere = sage.directory / "otro"
    done(sage.run("backup", "download", "2", str(elsewhere)))
    assert sorted(path.name for path in elsewhere.iterdir()) == sorted(path.name for path in copies(sage).iterdir())
    for hashes in elsewhere.glob("*.sha256"):
        subprocess.run(["sha256sum", "-c", "--quiet", hashes], check=True, cwd=elsewhere)
    repeated = done(sage.run("backup", "download", "2", str(elsewhere)))
    assert repeated.errors == "5 ficheros ya estaban allí, y son iguales\n"
    done(sage.run("backup", "restore", "2", "--to", empty_database))
    assert value_in(empty_database, "SELECT count(*) FROM ejecuciones_yaml") == 2
    refused = sage.run("backup", "restore", "2", "--to", empty_database)
    assert refused.exit_code == 1
    assert "no está vacía; cree otra" in refused.errors
    assert one_line(database_identity(empty_database)) in refused.errors
    unknown = sage.run("backup", "restore", "99", "--to", empty_database)
    assert (unknown.exit_code, "vacía" in unknown.errors) == (1, False), str(unknown)


def test_a_restore_that_is_stopped_ends_as_signals_do_and_leaves_nothing(
    sage: Installation, empty_database: str, postgres: EmbeddedPostgres
) -> None:
    done(sage.run("backup", "run"))
    programs, begun = sage.directory / "programs", sage.directory / "begun"
    programs.mkdir()
    (programs / "pg_dump").symlink_to(postgres.binaries / "pg_dump")
    slow = programs / "psql"
    slow.write_text(
        f'#!/bin/sh\ncase "$1" in --help*) exec {postgres.binaries}/psql "$@";; esac\n'
        f"echo $$ > {shlex.quote(str(begun))}\nexec sleep 600\n"
    )
    slow.chmod(0o755)
    arguments = ("backup", "restore", "1", "--to", empty_database)
    with sage.start(*arguments, BACKUP_PG_BIN=str(programs)) as running:
        wait_until(lambda: begun.exists() and begun.read_text().endswith("\n"), 60)
        run = running.stop(signal.SIGINT)
    assert run.exit_code == 130, str(run)
    (told,) = run.messages("WARNING")
    assert "entró entera o no entró nada" in told  # its COMMIT may have been under way
    assert "continúa" not in told
    assert not is_alive(int(begun.read_text()))
    done(sage.run(*arguments))


@pytest.mark.parametrize("end", ["exit 2", "kill -9 $$"])
def test_a_restore_whose_end_nobody_has_told_is_not_called_undone(
    sage: Installation, empty_database: str, postgres: EmbeddedPostgres, end: str
) -> None:
    """The answer to the COMMIT was lost, or `psql` was killed before it could tell: everything is there."""
    done(sage.run("backup", "run"))
    programs = sage.directory / "programs"
    programs.mkdir()
    (programs / "pg_dump").symlink_to(postgres.binaries / "pg_dump")
    program = programs / "psql"
    program.write_text(
        f'#!/bin/sh\ncase "$1" in --help*) exec {postgres.binaries}/psql "$@";; esac\n'
        f'{postgres.binaries}/psql "$@"\n{end}\n'
    )
    program.chmod(0o755)
    run = sage.run("backup", "restore", "1", "--to", empty_database, BACKUP_PG_BIN=str(programs))
    assert run.exit_code == 1, str(run)
    (told,) = run.messages("ERROR")
    assert "está como antes" not in told
    assert "entró entera o no entró nada" in told
    assert value_in(empty_database, "SELECT count(*) FROM ejecuciones_yaml") == 3


def test_a_run_whose_directory_is_gone_fills_no_disk_below_it(sage: Installation) -> None:
    """Its disk is not mounted."""
    done(sage.run("backup", "run"))
    elsewhere = copies(sage).rename(copies(sage).with_name("elsewhere"))
    run = sage.run("backup", "run")
    assert run.exit_code == 1, str(run)
    assert not copies(sage).exists()
    assert "monte su disco" in run.messages("ERROR")[0]
    elsewhere.rename(copies(sage))
    done(sage.run("backup", "run"))
    assert history(sage) == [(FULL, DONE), (FULL, FAILED), (DIFFERENTIAL, DONE)]


def test_what_a_killed_run_left_takes_no_room_from_the_next_backup(sage: Installation) -> None:
    copies(sage).mkdir()
    with mounted_small_disk(copies(sage), MEBIBYTE):
        left = copies(sage) / ".backup_20260302_030000_FULL.sql.gz.part"
        left.write_bytes(bytes(MEBIBYTE))
        done(sage.run("backup", "run"))
        assert history(sage) == [(FULL, DONE)]
        assert not left.exists()


def test_what_another_user_left_unfinished_stops_no_backup_and_is_named(sage: Installation) -> None:
    """Root's, by hand, that was killed. Whether somebody still writes it only its owner can find out."""
    done(sage.run("backup", "run"))
    left = copies(sage) / ".backup_20260302_030000_FULL.sql.gz.part"
    left.touch(mode=0)
    run = done(sage.run_as_ordinary_user("backup", "run"))
    assert history(sage) == [(FULL, DONE), (DIFFERENTIAL, DONE)]
    (told,) = run.messages("WARNING")
    assert left.name in told
    assert left.exists()


def test_a_damaged_backup_is_never_handed_out(sage: Installation, empty_database: str) -> None:
    done(sage.run("backup", "run"))
    path = next(copies(sage).glob("*.gz"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    for arguments in (
        ("verify",),
        ("download", "1", str(sage.directory / "otro")),
        ("restore", "1", "--to", empty_database),
    ):
        run = sage.run("backup", *arguments)
        assert run.exit_code == 1, run
        assert "su hash no es el de" in run.errors
    assert value_in(empty_database, "SELECT count(*) FROM pg_class WHERE relname = 'ejecuciones_yaml'") == 0
    (row,) = sage.rows("SELECT verified_at, verification_error FROM janitor_backups")
    assert (row["verified_at"], "hash" in row["verification_error"]) == (None, True)


def test_it_is_off_until_it_is_enabled(sage: Installation) -> None:
    del sage.environment["BACKUP_ENABLED"]
    done(sage.run())
    assert history(sage) == []
    refused = sage.run("backup", "run")
    assert refused.exit_code == 2
    assert "BACKUP_ENABLED=true" in refused.errors


def test_a_dry_run_changes_nothing(sage: Installation) -> None:
    before = sage.everything_in_the_database()
    assert "se haría una copia de seguridad COMPLETO" in done(sage.run("--dry-run")).errors
    assert sage.everything_in_the_database() == before
    assert not copies(sage).exists()


def test_two_options_that_exclude_each_other_are_a_usage_error(sage: Installation) -> None:
    assert sage.run("backup", "run", "--full", "--diff").exit_code == 2


def test_the_tick_proves_what_it_has_made_and_so_does_an_order_on_a_given_server(
    sage: Installation, postgres: EmbeddedPostgres
) -> None:
    tick = done(sage.run(BACKUP_VERIFY_DAYS="7"))
    assert "Copia 1 comprobada: backup_" in tick.errors
    runs = sage.rows("SELECT job, outcome FROM janitor_job_runs WHERE job IN ('backup', 'verify') ORDER BY started_at")
    assert [(row["job"], row["outcome"]) for row in runs] == [("backup", "done"), ("verify", "done")]
    assert notices(sage) == [("✅ Backup COMPLETO completado", "VERDE")]
    assert "bien   copias de seguridad: la copia 1 se restauró y comparó en " in sage.run("check").output
    assert "copias de seguridad: última completa 20" in sage.run("status").output
    sage.execute("UPDATE janitor_backups SET verified_at = NULL")
    assert "Copia 1 comprobada" in done(sage.run("backup", "verify", "--server", postgres.database_url)).output
    assert sage.rows("SELECT FROM pg_database WHERE datname LIKE 'janitor\\_verify\\_%%'") == []
    (row,) = sage.rows("SELECT verified_at FROM janitor_backups")
    assert row["verified_at"] is not None


def test_settings_with_which_no_backup_is_made_are_found_by_each_command(sage: Installation) -> None:
    """In a root it would be migrated with an execution; a password that libpq cuts in two is shown to nobody."""
    sage.environment["JANITOR_ROOTS"] = str(sage.executions)
    inside = {"BACKUP_PATH": str(sage.executions / "copias")}
    torn = {"BACKUP_DATABASE_URL": "postgresql://janitor:12@s3cret@127.0.0.1:1/sage"}
    for variable, changed in (("BACKUP_PATH", inside), ("BACKUP_DATABASE_URL", torn)):
        for command, exit_code in ((("run", "backup"), 2), (("jobs",), 0), (("check",), 1), (("health",), 1)):
            run = sage.run(*command, **changed)
            assert (run.exit_code, f"{variable}: " in str(run), "s3cret" in str(run)) == (exit_code, True, False), run
    assert history(sage) == []


def test_where_nothing_can_be_written_a_dry_run_and_check_say_so(sage: Installation) -> None:
    copies(sage).touch()
    for command in (("run", "backup", "--dry-run"), ("check",), ("run", "backup")):
        run = sage.run(*command)
        assert (run.exit_code, f"escribir en {copies(sage)}" in str(run), "no es un directorio" in str(run)) == (
            1, True, True,
        ), run  # fmt: skip
        assert "chmod" not in str(run)


def test_without_pg_dump_a_dry_run_says_that_a_run_would_fail(sage: Installation) -> None:
    (sage.directory / "vacio").mkdir()
    run = sage.run("run", "backup", "--dry-run", BACKUP_PG_BIN=str(sage.directory / "vacio"))
    assert run.exit_code == 1, str(run)
    (error,) = run.messages("ERROR")
    assert error.startswith("[simulación] no hay pg_dump y psql en ")
    assert "BACKUP_PG_BIN" in error


@pytest.fixture
def reader_url(sage: Installation) -> Iterator[str]:
    """The address of the database that is backed up, for a role that may only connect."""
    sage.execute("CREATE ROLE reader_of_backups LOGIN PASSWORD 'bare'")
    address = urlsplit(sage.environment["DATABASE_URL"])
    yield address._replace(netloc=f"reader_of_backups:bare@{address.hostname}:{address.port}").geturl()
    sage.execute("DROP OWNED BY reader_of_backups; DROP ROLE reader_of_backups")


def test_what_the_role_may_not_read_is_said_before_a_run_fails_for_it(sage: Installation, reader_url: str) -> None:
    sage.execute("CREATE TABLE secreta (a int); ALTER TABLE secreta ENABLE ROW LEVEL SECURITY")
    sage.execute("SELECT lo_from_bytea(4711, 'x')")
    table, of_large_object = '"public"."secreta"', "GRANT SELECT ON LARGE OBJECT 4711 TO reader_of_backups"
    steps = (
        (" tablas o secuencias, como ", "GRANT pg_read_all_data TO reader_of_backups"),
        (f" no puede leer 1 tabla o secuencia, como {table}: ", "ALTER ROLE reader_of_backups BYPASSRLS"),
        (f" no puede leer 1 objeto grande, como 4711: {of_large_object}", of_large_object),
    )
    for told, grant in steps:
        for command in (("check",), ("run", "backup", "--dry-run")):
            run = sage.run(*command, BACKUP_DATABASE_URL=reader_url)
            assert run.exit_code == 1, str(run)
            assert told in str(run), run
        sage.execute(grant)
    assert "no puede leer" not in str(sage.run("check", BACKUP_DATABASE_URL=reader_url))
    done(sage.run("run", "backup", "--dry-run", BACKUP_DATABASE_URL=reader_url))
    done(sage.run("backup", "run", BACKUP_DATABASE_URL=reader_url))
    assert history(sage) == [(FULL, DONE)]


def test_health_says_what_status_says_of_backups(sage: Installation) -> None:
    done(sage.run("backup", "run"))
    assert "copies: " not in sage.run("health").output
    (row,) = sage.rows("SELECT ruta_archivo FROM historial_backup")
    Path(row["ruta_archivo"]).unlink()
    run = sage.run("health")
    assert (run.exit_code, "copies: copias de seguridad: 1 copia hecha no está en el disco" in run.output) == (1, True)


def test_which_address_leads_nowhere_is_said_where_another_database_is_backed_up(sage: Installation) -> None:
    elsewhere = f"postgresql://janitor@127.0.0.1:{refused_port()}/sage"
    for command in (("check",), ("run", "backup", "--dry-run"), ("run", "backup")):
        run = sage.run(*command, BACKUP_DATABASE_URL=elsewhere)
        assert run.exit_code == 1, str(run)
        assert "BACKUP_DATABASE_URL: no se puede usar la base de datos: en esa dirección" in str(run)
    assert history(sage) == [(FULL, FAILED)]
