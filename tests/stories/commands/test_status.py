"""`status` says first what needs a person, and `health` answers in time, also where much is broken."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from commands import jobs as jobs_command
from commands.status import collect as collecting
from commands.status.attention import needs_a_person
from commands.status.collect import collect
from commands.status.facts import Attention, Disk, Facts, FailureGroup
from commands.status.health import DEGRADED, DOWN, examine
from commands.status.own_log import unrecorded_failure
from commands.status.words import describe_status
from config.errors import unexpected
from config.process.log_output import LOG_FILE_NAME
from config.settings import Settings, load_settings
from config.text.columns import wrapped
from jobs.context import Context
from jobs.findings import Finding, bad, good
from jobs.job import Job, Ref
from jobs.locks import JobLocks
from jobs.settings import settings_of_jobs
from sql import database as database_module
from sql.database import Database, SchemaError, database_identity
from sql.migration import executions as executions_module
from tests.commands.json_schemas import breaches, require_valid
from tests.destinations import Destination, local_destination
from tests.stories.doors import refused_port
from tests.stories.installation import Installation


def settings_of(installation: Installation, **changes: str) -> Settings:
    """The settings of a command there."""
    return load_settings({**installation.environment, **changes}, jobs=settings_of_jobs)


def facts_of(installation: Installation) -> Facts:
    """What `status` knows there, without the start of a process."""
    settings = settings_of(installation)
    with contextlib.closing(Database(settings.database_url, settings.host)) as database:
        return collect(database, settings)


def told(installation: Installation, *, exit_code: int) -> dict[str, Any]:
    """What `status --json` says, which must be as its schema says."""
    run = installation.run("status", "--json")
    assert run.exit_code == exit_code, str(run)
    document: dict[str, Any] = json.loads(run.output)
    require_valid("status", document)
    return document


def codes(installation: Installation) -> list[str]:
    """The causes that need a person."""
    return [each.code for each in needs_a_person(facts_of(installation))]


# What is wrong, and what to do


def test_what_lasts_is_reported_with_its_beginning(installation: Installation, tmp_path: Path) -> None:
    """As far as runs have noted it for the notices: a root that is gone, a full disk, a job that fails."""
    installation.environment["JANITOR_NOTIFY_URLS"] = "json://127.0.0.1:9/"
    began = datetime.now(UTC).replace(microsecond=0) - timedelta(days=3)
    host = settings_of(installation).host
    root, full = str(tmp_path / "gone"), str(installation.temporary)
    for cause in (f"root:{host}:{root}", f"disk:{host}:{full}", f"job:logs:{host}:failing", "job:backup:failing"):
        installation.execute(
            "INSERT INTO janitor_causes (cause, state, severity, text, host, broken_since, told_severity) "
            "VALUES (%s, 'failed', 2, '', %s, %s, 2)",
            (cause, host, began),
        )
    facts = facts_of(installation)
    disks = (Disk(root, "root", None, None, "no existe"), Disk(full, "temp", 100 << 30, 1, None))
    failing = {"on": True, "misconfigured": False, "failed_runs": 2}
    jobs = tuple({**job, **failing} if job["name"] in ("logs", "backup", "temp") else job for job in facts.jobs)
    told = {each.subject: each.since for each in needs_a_person(replace(facts, disks=disks, jobs=jobs))}
    lasting = (f"raíz {root}", f"disco de {full}", "trabajo logs", "trabajo backup", "trabajo temp")
    assert [told[subject] for subject in lasting] == [began] * 4 + [None]
    same = tuple(Disk(str(path), "root", 100 << 30, 1, None, device=7) for path in (tmp_path, tmp_path / "más"))
    named = [each.code for each in needs_a_person(replace(facts, disks=same))]
    assert named.count("disk_nearly_full") == 1, "one disk that holds several directories"


def test_what_the_notices_know_the_beginning_of_has_it_here_too(installation: Installation) -> None:
    """A provider whose row is gone, deletion without roots, a wrong setting of a job."""
    installation.configure(99, eliminar_despues_de_migrar=True)
    installation.environment.update(JANITOR_NOTIFY_URLS="json://127.0.0.1:9/", JANITOR_ROOTS="", TEMP_DIR="/")
    host = settings_of(installation).host
    began = datetime.now(UTC).replace(microsecond=0) - timedelta(days=3)
    for cause in ("provider:99:missing", f"roots:{host}:unset", f"job:temp:{host}:misconfigured"):
        installation.execute(
            "INSERT INTO janitor_causes (cause, state, severity, text, host, broken_since, told_severity) "
            "VALUES (%s, 'needs_person', 3, '', %s, %s, 3)",
            (cause, host, began),
        )
    since = {each.subject: each.since for each in needs_a_person(facts_of(installation))}
    assert since == dict.fromkeys(("proveedor primario borrado (id 99)", "JANITOR_ROOTS", "trabajo temp"), began)


def test_an_outage_is_reported_by_cause_and_provider_and_not_for_each_execution(
    installation: Installation, tmp_path: Path
) -> None:
    """The NAS is gone, and so is the alternate: somebody reads which, since when, why, and what to do."""
    gone = [installation.add_provider(local_destination(name, tmp_path / name), name) for name in ("NAS", "Otro")]
    installation.configure(*gone)
    for name in ("NAS", "Otro"):
        (tmp_path / name).rmdir()
    for number in range(24):
        installation.small_execution(f"e{number:02d}")
    assert installation.run().exit_code == 1
    run = installation.run("status")
    lines = run.output.splitlines()
    assert run.exit_code == 1
    assert lines[0].startswith("Necesita a una persona (")
    assert lines[1].startswith(f"  ! proveedor primario NAS (id {gone[0]}): no existe el destino: ")
    assert all("; por eso siguen sin migrar 24 ejecuciones" in line for line in lines[1:3])
    assert "desde 20" in lines[1]
    assert len([line for line in lines if line.startswith("  ! ")]) == 2
    assert "Qué hacer: monte o cree el destino" in lines[1]
    assert lines[2].startswith(f"  ! proveedor alternativo Otro (id {gone[1]}): ")
    assert len([line for line in lines if "e23" in line or "e00" in line]) <= 10
    document = told(installation, exit_code=1)
    groups = [group for group in document["failure_groups"] if group["kind"] == "migration"]
    assert sum(group["count"] for group in groups) == 24
    assert len(groups) <= 3
    assert document["failures_left_out"] == 4
    assert {each["state"] for each in document["providers"]} == {"unusable"}
    assert (document["migration"]["reason"], document["due"], document["ready"]) == ("no_usable_provider", 24, 0)
    quiet = installation.run("status", "--quiet")
    assert quiet.exit_code == 1
    assert quiet.output.splitlines()[1].startswith(lines[1].partition(", desde")[0])
    assert "Pendientes" not in quiet.output
    assert "se usan los alternativos" not in run.output


def failed_migration(uuid: str, error_code: str | None, error: str, provider: str | None) -> FailureGroup:
    """One execution that failed for days."""
    ago = datetime.now(UTC) - timedelta(days=3)
    return FailureGroup(
        "migration", "failed", error_code, 1 if provider else None, provider, 1, ago, ago, uuid, error, 0
    )


def test_a_failure_without_a_recorded_cause_or_on_this_host_is_reported_as_such(installation: Installation) -> None:
    """A run that crashed records no cause for its executions, but one for its job. A local file is on no provider."""
    facts = facts_of(installation)
    new = replace(failed_migration("u-7", "unavailable", "conexión rechazada", "Cubo"), oldest_at=facts.now)
    silent = list(describe_status(replace(facts, failures=(new,)), (), UTC))
    assert silent[:2] == [
        "Nada necesita a una persona",
        "  1 ejecución sin migrar, y se reintenta en otro ciclo: el proveedor no respondía en Cubo",
    ]
    crashed = failed_migration("u-9", None, "", None)
    unreadable = failed_migration("u-8", "source_unreadable", "permiso denegado", "Cubo")
    broken = unexpected(ImportError("cannot import name 'ssl'"))
    jobs = [{**job, "last_error": str(broken)} if job["name"] == "migration" else job for job in facts.jobs]
    facts = replace(facts, failures=(crashed, unreadable), jobs=tuple(jobs))
    of_crash, of_file = [each for each in needs_a_person(facts) if each.code.startswith("migration_")]
    assert (
        "antes de anotar la causa; por ejemplo u-9; el trabajo migration acabó con: un paquete de Python"
        in of_crash.text
    )
    assert "cannot import name 'ssl'" in of_crash.text
    assert of_file.text == "ficheros que no se pueden leer; por ejemplo u-8: permiso denegado"
    told = "\n".join(describe_status(facts, (), UTC))
    assert "?" not in told
    assert "en Cubo" not in told


def test_where_nothing_needs_a_person_it_is_said_and_quiet_says_nothing(
    installation: Installation, nas: Destination
) -> None:
    installation.configure(installation.add_provider(nas), eliminar_despues_de_migrar=True)
    installation.small_execution("uno", contenido="doce bytes..")
    assert installation.run().exit_code == 0
    assert installation.run("status").output.startswith("Nada necesita a una persona\n")
    assert installation.run("status", "--quiet").output == ""
    document = told(installation, exit_code=0)
    assert document["needs_person"] == []
    assert datetime.fromisoformat(document["last_run"]["started_at"]).tzinfo is not None
    assert "T" in document["last_run"]["started_at"]
    assert document["freed"]["copies_day"] == 12
    assert [(each["state"], each["migrated"], each["debt"]) for each in document["providers"]] == [("usable", 1, 0)]


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("DELETE FROM ejecuciones_config", "no_configuration"),
        ("UPDATE ejecuciones_config SET migrar_automaticamente = false", "switched_off"),
        ("UPDATE ejecuciones_config SET nube_primaria_id = NULL", "no_provider"),
        ("UPDATE cloud_providers SET activo = false", "no_usable_provider"),
        ("UPDATE ejecuciones_config SET tiempo_retencion_local = -1", "unreadable_configuration"),
    ],
    ids=lambda text: text if " " not in text else "",
)
def test_ready_is_never_said_of_what_will_not_happen(
    installation: Installation, nas: Destination, statement: str, reason: str
) -> None:
    installation.configure(installation.add_provider(nas))
    installation.small_execution("uno", age_hours=24 * 9)
    installation.execute(statement)
    facts = facts_of(installation)
    assert (facts.migration.is_on, facts.migration.reason) == (False, reason)
    assert examine(settings_of(installation)).state == DEGRADED
    run = installation.run("status")
    assert run.exit_code == 1, str(run)  # it has been waiting for more than a week
    assert "NO SE MIGRA NADA" in run.output
    assert "listas para migrar" not in run.output


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_run_that_the_database_could_not_record_is_reported(
    installation: Installation, nas: Destination, log_format: str
) -> None:
    """As on a full disk: what can be read is in order, and every run ends as it begins."""
    installation.configure(installation.add_provider(nas))
    assert installation.run(JANITOR_LOG_FORMAT=log_format).exit_code == 0
    assert installation.run("status").exit_code == 0
    installation.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$BEGIN RAISE 'could not extend file' USING ERRCODE = 'disk_full'; END$$; "
        "CREATE TRIGGER full_disk BEFORE INSERT ON janitor_runs EXECUTE FUNCTION refuse()"
    )
    assert installation.run(JANITOR_LOG_FORMAT=log_format).exit_code == 1
    (attention,) = needs_a_person(facts_of(installation))
    assert attention.code == "unrecorded_run"
    assert "el disco del servidor está lleno" in attention.text
    assert attention.since is not None
    installation.execute("DROP TRIGGER full_disk ON janitor_runs")
    assert installation.run(JANITOR_LOG_FORMAT=log_format).exit_code == 0
    assert needs_a_person(facts_of(installation)) == ()


def test_an_error_that_a_finished_run_followed_is_over(tmp_path: Path) -> None:
    """Also where the clocks of host and database differ, so that only the order of the lines counts."""
    error = "2026-11-28 03:00:00,000 - janitor_daemon - ERROR - la base de datos rechazó la operación: lleno\n"
    log = tmp_path / LOG_FILE_NAME
    log.write_text(error)
    assert unrecorded_failure(tmp_path, None) is not None
    log.write_text(f"{error}2026-11-28 03:10:00,000 - janitor_daemon - INFO - Ciclo terminado: 0 migradas\nresto\n")
    assert unrecorded_failure(tmp_path, None) is None


def test_deletion_without_roots_is_no_deletion(installation: Installation, nas: Destination) -> None:
    installation.configure(installation.add_provider(nas), eliminar_despues_de_migrar=True)
    run = installation.run("status", JANITOR_ROOTS="")
    assert run.exit_code == 1, str(run)
    assert "  ! JANITOR_ROOTS: no está definida, " in run.output
    assert "la copia local se conserva" in run.output
    run = installation.run("status")
    assert run.exit_code == 0, str(run)
    assert "la copia local se borra" in run.output


def test_jobs_say_something_of_their_own(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in order is a note, and what is not needs a person, as does one that cannot say anything."""
    monkeypatch.setattr(
        jobs_command,
        "all_jobs",
        lambda: tuple(
            Job(name=name, title=name, status=Ref(f"{__name__}:{name}")) for name in ("contented", "worried", "lost")
        ),
    )
    installation.configure(None)
    facts = facts_of(installation)
    assert facts.notes == ("copias: la última es de hoy",)
    assert [(each.code, each.text) for each in needs_a_person(facts)] == [
        ("job_worried", "falta la de ayer"),
        ("job_lost", "no hay tabla"),
    ]
    error = {"last_error": "falta la de ayer", "last_good_at": None, "last_started_at": None}
    failing = {"name": "worried", "on": True, "misconfigured": False, "failed_runs": 3, **error}
    since = {"job:worried:failing": facts.now - timedelta(days=3), "job:lost:failing": facts.now}
    dated = needs_a_person(replace(facts, jobs=(failing,), broken_since=since))
    assert [each.since for each in dated] == [facts.now - timedelta(days=3), None]
    (other, *_) = needs_a_person(replace(facts, jobs=({**failing, "last_error": "no hay sitio"},)))
    assert other.code == "job_failing"


def contented(_context: Context) -> Iterator[Finding]:
    """A job in order."""
    yield good("copias", "la última es de hoy")


def worried(_context: Context) -> Iterator[Finding]:
    """A job that is not."""
    yield bad("copias", "falta la de ayer")


def lost(_context: Context) -> Iterator[Finding]:
    """A job whose table is gone."""
    raise SchemaError("no hay tabla")


def test_a_root_that_is_gone_keeps_everything_from_being_ready(installation: Installation, nas: Destination) -> None:
    installation.configure(installation.add_provider(nas))
    installation.small_execution("uno")
    installation.executions.rename(installation.directory / "desmontado")
    facts = facts_of(installation)
    assert facts.migration.reason == "roots_missing"
    (attention,) = needs_a_person(facts)
    assert (attention.code, attention.since) == ("root_missing", None), "nobody knows since when, without notices"
    assert attention.text == "no existe; por eso sigue sin migrar 1 ejecución"


def test_pending_executions_are_split_by_what_keeps_them_waiting(installation: Installation, nas: Destination) -> None:
    installation.configure(installation.add_provider(nas), tiempo_retencion_local=24)
    for uuid in ("lista", "retenida", "en cuarentena", "rechazada", "espera", "en marcha"):
        installation.small_execution(uuid, age_hours=24 * 3)
    installation.small_execution("joven", age_hours=1)
    installation.add_execution("ausente", installation.executions / "ausente", age_hours=24 * 40)
    installation.add_execution("sin ficheros", None)
    installation.add_execution("sin fecha", installation.new_directory("sin fecha"))
    installation.execute("UPDATE ejecuciones_yaml SET fecha_ejecucion = NULL WHERE uuid = 'sin fecha'")
    installation.execute(
        "INSERT INTO janitor_holds (execution_id, uuid, reason, host, os_user) "
        "SELECT id, uuid, 'pleito', 'h', 'u' FROM ejecuciones_yaml WHERE uuid = 'retenida'"
    )
    installation.execute(
        "INSERT INTO janitor_migrations (execution_id, uuid, state, host, run_id, fencing_token, directory, "
        "executed_at, lease_expires_at, quarantined_at, next_try_at, error_code) "
        "SELECT id, uuid, CASE uuid WHEN 'en marcha' THEN 'migrating' WHEN 'rechazada' THEN 'refused' ELSE 'failed' "
        "END, 'h', 1, 1, ruta_directorio, fecha_ejecucion::timestamptz, "
        "CASE uuid WHEN 'en marcha' THEN now() + interval '5 minutes' END, "
        "CASE uuid WHEN 'en cuarentena' THEN now() END, CASE uuid WHEN 'espera' THEN now() + interval '1 hour' END, "
        "'source_changed' FROM ejecuciones_yaml WHERE uuid IN ('en cuarentena', 'rechazada', 'espera', 'en marcha')"
    )
    pending = facts_of(installation).pending
    expected = {
        "due": 1,
        "under_way": 1,
        "not_due": 1,
        "put_off": 1,
        "held": 1,
        "quarantined": 1,
        "refused": 1,
        "directory_absent": 1,
        "without_date": 1,
    }
    assert pending.by_state == expected
    assert pending.total == sum(expected.values())
    assert (pending.without_directory, pending.ready) == (1, 1)
    assert sum(pending.by_age.values()) == pending.total - 1  # one has no date
    assert pending.oldest_due is not None
    assert pending.oldest_due.uuid == "lista"


# Runs and hosts


def add_run(installation: Installation, host: str, process_id: int, lease: str | None, job: str | None) -> int:
    """A run without an end, which does a job."""
    (row,) = installation.rows(
        "INSERT INTO janitor_runs (host, process_id, mode, version, started_at, lease_expires_at) "
        "VALUES (%s, %s, 'tick', 'v', now() - interval '5 hours', now() + %s::interval) RETURNING id",
        (host, process_id, lease),
    )
    if job is not None:
        installation.execute(
            "INSERT INTO janitor_jobs (job, host, run_id, held_by, fencing_token, tries, last_started_at) "
            "VALUES (%s, %s, %s, %s, 1, 1, now() - interval '5 hours')",
            (job, host, row["id"], host),
        )
    return int(row["id"])


def test_a_run_under_way_is_distinguished_from_one_that_was_killed_and_from_one_that_hangs(
    installation: Installation,
) -> None:
    settings = settings_of(installation)
    here = settings.host
    nobody = 2**22 + 1  # beyond the highest process number of Linux
    expected = {
        add_run(installation, here, nobody, "-1 minute", "temp"): "killed",
        add_run(installation, here, nobody, "5 minutes", "migration"): "running",
        add_run(installation, here, nobody, "-1 minute", "logs"): "hung",
        add_run(installation, "lejos", 7, "5 minutes", "migration"): "running",
        add_run(installation, "muerto", 7, "-1 minute", "migration"): "silent",
        add_run(installation, "antiguo", 7, None, "migration"): "running",
    }
    add_run(installation, here, nobody, "5 minutes", None)  # killed, and a later run has done its jobs
    locks = JobLocks(settings.lock_directory, here)
    try:
        for job in ("migration", "logs"):
            assert locks.take(database_identity(settings.database_url), job)
        assert {run.run_id: run.state for run in facts_of(installation).runs} == expected
    finally:
        locks.release_all()
    after = {run.run_id: run.state for run in facts_of(installation).runs}
    assert [after[each] for each in expected] == ["killed", "killed", "killed", "running", "silent", "running"]
    assert codes(installation) == ["no_configuration", "silent_run"]


def test_a_long_migration_is_not_hidden_behind_a_later_run(installation: Installation, nas: Destination) -> None:
    installation.configure(installation.add_provider(nas))
    number = add_run(installation, "lejos", 7, "5 minutes", "migration")
    assert installation.run("--clean-only").exit_code == 0
    lines = installation.run("status").output.splitlines()
    assert [line for line in lines if line.startswith(f"Ciclo {number} en lejos: en marcha (proceso 7, trabajo migra")]
    assert [line for line in lines if line.startswith("Última ejecución del programa: ")]


def test_a_host_that_stopped_running_is_reported_and_one_that_was_retired_is_not(installation: Installation) -> None:
    for host, age in (("puntual", "2 hours"), ("callada", "5 days"), ("retirada", "50 days")):
        installation.execute(
            "INSERT INTO janitor_runs (host, process_id, mode, version, started_at, finished_at, exit_code) "
            "SELECT %s, 1, 'tick', 'v', began, began, 0 FROM generate_series(9, 0, -1) AS number "
            "CROSS JOIN LATERAL (SELECT now() - %s::interval - number * interval '6 hours' AS began) AS made",
            (host, age),
        )
    facts = facts_of(installation)
    assert [(host.host, host.is_silent, host.is_retired) for host in facts.hosts] == [
        ("callada", True, False),
        ("puntual", False, False),
        ("retirada", False, True),
    ]
    assert [each.subject for each in needs_a_person(facts)] == ["migración", "máquina callada"]


# Large tables


def test_over_large_tables_the_look_of_the_last_run_and_later_rows_are_counted(
    installation: Installation, nas: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executions_module, "LARGE_TABLE_BYTES", 0)
    monkeypatch.setattr(collecting, "LARGE_TABLE_BYTES", 0)
    installation.configure(installation.add_provider(nas))
    installation.small_execution("vieja")
    installation.add_execution("migrada", "/x", migrated=True)
    assert facts_of(installation).pending.basis == "counted", "nobody has looked yet"
    monkeypatch.setattr(collecting, "HUGE_TABLE_BYTES", 0)
    sampled = facts_of(installation)
    assert (sampled.pending.basis, sampled.pending.is_exact, sampled.pending.ready) == ("sample", False, 1)
    told = list(describe_status(sampled, (), UTC))
    assert "Pendientes: unas 1 (listas para migrar ahora: unas 1)" in told
    assert [line for line in told if line.startswith("  estimado: ")]
    assert [line for line in told if line.startswith("  a la más antigua de las leídas, vieja, ")]
    with contextlib.closing(Database(installation.database_url, "h")) as database:
        database.start_run(1, "tick", "test")
        assert [[each.uuid for each in page] for page in database.candidates(0)] == [["vieja"]]
    installation.small_execution("nueva")
    facts = facts_of(installation)
    assert facts.pending.basis == "last_look"
    assert (facts.pending.total, facts.pending.ready, facts.pending.without_directory) == (2, 2, None)
    assert (facts.migrated, facts.is_exact) == (1, False)
    assert facts.providers[0].migrated == 0
    installation.execute("UPDATE ejecuciones_yaml SET migrado_a_nube = true WHERE uuid = 'vieja'")
    assert facts_of(installation).pending.total == 1


@pytest.mark.parametrize(
    ("last_run", "advice"),
    [
        (None, "no consta ningún ciclo: ponga la línea de cron"),
        ({"report": {"limit_reached": "--max-bytes"}}, "llegó a su límite (--max-bytes)"),
        ({"report": None}, "ningún ciclo ha hecho la migración"),
    ],
)
def test_what_waits_for_long_says_how_to_continue(
    installation: Installation, nas: Destination, last_run: dict[str, object] | None, advice: str
) -> None:
    installation.configure(installation.add_provider(nas))
    installation.small_execution("uno", age_hours=20 * 24)
    (attention,) = needs_a_person(replace(facts_of(installation), last_run=last_run))
    assert (attention.code, advice in attention.advice) == ("stalled", True), attention


# Broken installations


def test_what_somebody_removed_is_named_and_not_blamed_on_the_platform(
    bare_installation: Installation,
) -> None:
    """A column first, which a run meets under an alias of its table; then a whole table."""
    bare_installation.install()
    bare_installation.configure(1)
    bare_installation.execute("ALTER TABLE janitor_migrations RENAME COLUMN quarantined_at TO otra")
    bare_installation.small_execution("uno")
    _require_named(bare_installation, "la columna quarantined_at de la tabla janitor_migrations", ("--migrate-only",))
    bare_installation.execute("ALTER TABLE janitor_migrations RENAME COLUMN otra TO quarantined_at")
    assert bare_installation.run("init-db").exit_code == 0
    bare_installation.execute("DROP TABLE janitor_looks")
    _require_named(bare_installation, "la tabla janitor_looks", ("status",))
    _require_named(bare_installation, "la tabla janitor_looks", ("init-db",))


def _require_named(installation: Installation, what: str, command: tuple[str, ...]) -> None:
    run = installation.run(*command)
    assert run.exit_code == 2, str(run)
    (error,) = run.messages("ERROR")
    assert f"falta {what}, que este programa había creado" in error
    assert "plataforma" not in error
    assert "al día" not in run.output


def test_without_the_database_it_is_said_when_a_run_last_ended_here(
    installation: Installation, nas: Destination
) -> None:
    installation.configure(installation.add_provider(nas))
    assert installation.run().exit_code == 0
    parts = urlsplit(installation.database_url)
    wrong = parts._replace(netloc=parts.netloc.replace(str(parts.password), "otra")).geturl()
    silent = _at(parts.geturl(), refused_port())
    for url, reason, to_do in (
        (wrong, "contraseña", "corrija el usuario y la contraseña de DATABASE_URL"),
        (silent, "no escucha ningún servidor", "arranque su servidor o corrija DATABASE_URL"),
    ):
        run = installation.run("status", DATABASE_URL=url)
        assert run.exit_code == 3, str(run)
        (error,) = run.messages("ERROR")
        assert reason in error
        first, what, last = run.output.splitlines()[:3]
        assert first == "Necesita a una persona (1):"
        assert what.startswith(f"  ! base de datos: {error}. Qué hacer: {to_do}")
        assert last.startswith("Último ciclo terminado en esta máquina, según su registro: 20")
    document = json.loads(installation.run("status", "--json", DATABASE_URL=wrong).output)
    (attention,) = document["needs_person"]
    assert attention["code"] == "database"
    assert attention["advice"]


def _at(url: str, port: int) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{port}").geturl()


# Health


def require_health(document: Mapping[str, Any], state: str, *broken: str) -> None:
    """The state of the whole, and which parts are not in order."""
    require_valid("health", document)
    assert document["state"] == state
    assert [name for name, part in document["parts"].items() if part["state"] != "ok"] == list(broken)


def test_health_is_the_worst_of_its_parts(installation: Installation, nas: Destination) -> None:
    provider = installation.add_provider(nas)
    installation.configure(provider)
    run = installation.run("health", "--json")
    assert run.exit_code == 0, str(run)
    require_health(json.loads(run.output), "ok")
    installation.execute("UPDATE cloud_providers SET activo = false")
    installation.executions.rename(installation.directory / "desmontado")
    run = installation.run("health")
    assert run.exit_code == 1
    assert run.output.startswith("Estado: degradado\n")
    require_health(examine(settings_of(installation)).as_json(), DEGRADED, "disks", "providers")
    run = installation.run("health", DATABASE_URL=_at(installation.database_url, refused_port()))
    assert "no escucha ningún servidor" in run.output, str(run)
    run = installation.run("health", "--json", DATABASE_URL=_at(installation.database_url, refused_port()))
    assert run.exit_code == 3
    broken = ("database", "jobs", "disks", "providers", "migration", "copies")
    require_health(json.loads(run.output), "caido", *broken)


def test_status_and_health_need_a_person_for_the_same_of_migration(
    installation: Installation, nas: Destination
) -> None:
    """A row is missing though nothing is due, deletion is asked for without roots, a backlog that nothing explains."""
    installation.configure(installation.add_provider(nas), eliminar_despues_de_migrar=True)
    without_roots = settings_of(installation, JANITOR_ROOTS="")
    assert examine(without_roots).parts["migration"].texts[0].startswith("JANITOR_ROOTS: no está definida")
    assert [each.code for each in _needed(without_roots)] == ["roots_unset"]
    settings = settings_of(installation)
    assert examine(settings).state == "ok"
    installation.small_execution("uno", age_hours=24 * 9)
    assert [each.code for each in _needed(settings)] == ["stalled"]
    assert examine(settings).parts["migration"].texts == ("migración: a la ejecución uno le toca y sigue sin migrar",)
    installation.execute("DELETE FROM ejecuciones_config; DELETE FROM ejecuciones_yaml")
    assert [each.code for each in _needed(settings)] == ["no_configuration"]
    assert examine(settings).parts["migration"].state == DEGRADED


def _needed(settings: Settings) -> tuple[Attention, ...]:
    with contextlib.closing(Database(settings.database_url, settings.host)) as database:
        return needs_a_person(collect(database, settings))


def test_a_database_that_accepts_and_never_answers_is_given_up(installation: Installation) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        settings = settings_of(installation, DATABASE_URL=_at(installation.database_url, mute.getsockname()[1]))
        found = examine(settings, limit_seconds=0.5)
    assert found.state == DOWN
    assert found.parts["database"].texts == ("la base de datos no contesta en 0.5 s",)
    assert found.parts["disks"].state == "ok"


def test_a_statement_that_waits_is_given_up_by_the_server(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sql.connection.TRIES_WHEN_BUSY", 1)  # each waits for a second
    settings = settings_of(installation)
    with contextlib.closing(Database(settings.database_url, settings.host)) as database:
        database.limit_statements(1)
        with (
            pytest.raises(database_module.DatabaseBusy, match="statement timeout"),
            _locked(installation, "cloud_providers"),
        ):
            database.ask("load_providers")


@contextlib.contextmanager
def _locked(installation: Installation, table: str) -> Iterator[None]:
    """Somebody has altered a table and not committed."""
    installation.execute(f"BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
    try:
        yield
    finally:
        installation.execute("ROLLBACK")


# How it reads


def test_lines_fit_a_narrow_terminal_in_any_locale(installation: Installation, nas: Destination) -> None:
    installation.configure(installation.add_provider(nas), tiempo_retencion_local=1)
    installation.add_execution("mala", "/etc")
    assert installation.run().exit_code == 1
    done = subprocess.run(
        [sys.executable, str(installation.program), "status"],
        env={**installation.environment, "COLUMNS": "60", "LANG": "C"},
        cwd=installation.directory, capture_output=True, text=True, encoding="utf-8", check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 60
    assert "Qué hacer: " in " ".join(done.stdout.split())


def test_what_continues_a_line_is_indented_further() -> None:
    assert list(wrapped(["  uno dos tres cuatro cinco seis siete ocho"], 30)) == [
        "  uno dos tres cuatro cinco",
        "      seis siete ocho",
    ]
    assert list(wrapped(["corta", "x" * 70], None)) == ["corta", "x" * 70]


@pytest.mark.parametrize(
    ("total", "free", "is_nearly_full"),
    [(100, 5, False), (100, 4, True), (2**40, 2**36, False), (2**40, 2**29, True), (2**30, 2**29, False)],
)
def test_when_a_disk_is_nearly_full(total: int, free: int, is_nearly_full: bool) -> None:
    assert Disk("/srv", "root", total, free, None).is_nearly_full is is_nearly_full


def test_a_disk_that_is_nearly_full_needs_a_person(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _path: os.statvfs_result((4096, 4096, 1000, 20, 20, 1, 1, 1, 0, 255)))
    (attention, *_) = [one for one in needs_a_person(facts_of(installation)) if one.code == "disk_nearly_full"]
    assert attention.text == "quedan 80.00 KB de 3.91 MB"
    assert examine(settings_of(installation)).parts["disks"].state == DEGRADED


def test_the_checker_of_schemas_finds_what_is_wrong() -> None:
    described = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    assert breaches(described, {"a": 1}) == []
    assert [len(breaches(described, document)) for document in ({}, {"a": "1"}, {"a": True}, {"a": 1, "b": 2})] == [
        *(1, 1, 1, 1),
    ]


def test_a_disk_that_does_not_answer_is_not_waited_for(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network file system without its server lets the call wait for ever; here as long as a pipe stays open."""
    reader, writer = os.pipe()

    def wait(_path: str) -> None:
        os.read(reader, 1)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "statvfs", wait)
    try:
        found = examine(settings_of(installation), limit_seconds=10)
        assert "no contesta" in found.parts["disks"].texts[0]
    finally:
        os.close(writer)
        monkeypatch.undo()
        os.close(reader)
