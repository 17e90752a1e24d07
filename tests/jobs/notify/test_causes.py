"""Each kind of trouble is found where it is, and nowhere else, and its end is found, too."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from jobs.notify.causes.every_kind import find_causes
from jobs.notify.causes.of_hosts import GIGABYTE
from jobs.report import JobDone, Named, Observed
from sql.memory.notices import Cause
from tests.databases.platform_database import Platform
from tests.jobs.notify.conftest import Teller

ADD_PROVIDER = (
    "INSERT INTO janitor_provider_health (provider_id, settings, error_code, error, needs_a_person, host) "
    "VALUES (%s, '', 'access_denied', 'acceso denegado', %s, 'norte')"
)
ADD_JOB = (
    "INSERT INTO janitor_jobs (job, host, run_id, held_by, fencing_token, tries, last_started_at, last_good_at, "
    "finished_at, last_outcome, last_error) VALUES (%(job)s, %(host)s, 1, 'norte', 1, %(tries)s, "
    "now() - make_interval(hours => %(started)s), now() - make_interval(hours => %(good)s), "
    "CASE WHEN %(outcome)s IS NOT NULL THEN now() END, %(outcome)s, %(error)s)"
)
ADD_ATTEMPT = (
    "INSERT INTO janitor_attempts "
    "(execution_id, run_id, host, fencing_token, provider_id, key_prefix, state, finished_at) "
    "VALUES (1, 1, 'norte', 1, 1, 'p', 'committed', now() - make_interval(days => %s))"
)


@pytest.fixture
def teller(platform: Platform, tmp_path: Path) -> Teller:
    """A host that has a channel."""
    return Teller(platform, tmp_path, {"JANITOR_NOTIFY_URLS": "json://127.0.0.1:9"})


def found(teller: Teller, **more: str) -> Mapping[str, str]:
    """The state of each cause, noted as a run would."""
    context = teller.context(**more)
    now = find_causes(context)
    context.database.notices.note(now)
    return {cause.key: cause.state for cause in now}


def use(platform: Platform, *, automatic: bool = True) -> tuple[int, int]:
    """Two providers, the first of which is the primary one."""
    first, second = (platform.add_provider("local", {"ruta": "/nas"}) for _ in range(2))
    platform.sql(
        "INSERT INTO ejecuciones_config (nube_primaria_id, nubes_alternativas, migrar_automaticamente) "
        "VALUES (%s, %s, %s)",
        *(first, [second], automatic),
    )
    return first, second


def add_job(platform: Platform, job: str, host: str = "norte", **columns: object) -> None:
    """What is known of the runs of a job."""
    known = {"tries": 0, "started": 0, "good": 0, "outcome": "done", "error": None, **columns}
    with_names = {"job": job, "host": host, **known}
    statement, values = ADD_JOB, []
    for name in ("job", "host", "tries", "started", "good", "outcome", "outcome", "error"):
        statement = statement.replace(f"%({name})s", "%s", 1)
        values.append(with_names[name])
    platform.sql(statement, *values)


def test_nothing_is_found_where_nothing_is_wrong(teller: Teller) -> None:
    assert found(teller) == {}


def test_a_provider_of_the_policy_that_fails_until_it_works(teller: Teller, platform: Platform) -> None:
    first, second = use(platform)
    unused = platform.add_provider("local", {"ruta": "/otro"})
    for provider_id, needs_a_person in ((first, True), (second, False), (unused, True)):
        platform.sql(ADD_PROVIDER, provider_id, needs_a_person)
    expected = {f"provider:{first}:unusable": "needs_person", f"provider:{second}:unusable": "failed"}
    assert found(teller) == expected
    platform.sql("DELETE FROM janitor_provider_health WHERE provider_id = %s", second)
    assert found(teller) == {**expected, f"provider:{second}:unusable": "ok"}
    platform.sql("UPDATE cloud_providers SET activo = false WHERE id = %s", first)
    assert found(teller) == {f"provider:{first}:unusable": "ok"}
    assert found(teller) == {}


def test_a_provider_of_the_policy_without_a_row_until_it_has_one(teller: Teller, platform: Platform) -> None:
    _, second = use(platform)
    platform.sql("UPDATE ejecuciones_config SET nubes_alternativas = %s", [second, 97, 98])
    expected = {f"provider:{gone}:missing": "needs_person" for gone in (97, 98)}
    assert found(teller) == expected
    platform.sql("UPDATE ejecuciones_config SET nubes_alternativas = %s", [second])
    assert found(teller) == dict.fromkeys(expected, "ok")
    platform.sql("UPDATE ejecuciones_config SET nubes_alternativas = NULL, nube_primaria_id = 99")
    assert found(teller) == {"provider:99:missing": "needs_person"}


def test_a_run_that_gives_no_sign_and_is_there_until_it_is_gone(teller: Teller, platform: Platform) -> None:
    """This process stands for the hung one; another has ended, and is no cause."""
    for run_id, process_id, job in ((71, os.getpid(), "migration"), (72, 2**22 + 1, "temp")):
        platform.sql(
            "INSERT INTO janitor_runs (id, host, process_id, mode, version, lease_expires_at) "
            "OVERRIDING SYSTEM VALUE VALUES (%s, 'norte', %s, '', '', now() - interval '1 hour')",
            *(run_id, process_id),
        )
        add_job(platform, job, tries=1, outcome=None)
        platform.sql("UPDATE janitor_jobs SET run_id = %s WHERE job = %s", run_id, job)
    assert found(teller) == {"run:norte:71:hung": "needs_person"}
    platform.sql("UPDATE janitor_runs SET lease_expires_at = now() + interval '1 hour'")
    assert found(teller) == {"run:norte:71:hung": "ok"}


def test_an_alternate_in_use_until_the_primary_takes_something(teller: Teller, platform: Platform) -> None:
    first, second = use(platform)
    teller.report.observe(Observed.WAS_REPLACED, first, "azure-frío")
    teller.report.observe(Observed.WORKED, second, "")
    assert found(teller) == {f"provider:{first}:replaced": "degraded"}
    assert "azure-frío" in platform.value("SELECT text FROM janitor_causes")
    later = Teller(platform, teller.directory, teller.channels)
    assert found(later) == {}
    later.report.observe(Observed.WORKED, first, "")
    assert found(later) == {f"provider:{first}:replaced": "ok"}


def test_a_primary_that_is_one_no_more_is_not_waited_for(teller: Teller, platform: Platform) -> None:
    first, _ = use(platform)
    teller.report.observe(Observed.WAS_REPLACED, first, "azure-frío")
    found(teller)
    use(platform)
    assert found(Teller(platform, teller.directory, teller.channels)) == {f"provider:{first}:replaced": "ok"}


def test_each_execution_in_quarantine_and_very_many_together(teller: Teller, platform: Platform) -> None:
    def quarantine(number: int) -> None:
        execution = platform.add_execution(uuid=f"u-{number}")
        platform.sql(
            "INSERT INTO janitor_migrations "
            "(execution_id, uuid, state, host, run_id, fencing_token, error, quarantined_at) "
            "VALUES (%s, %s, 'failed', 'norte', 1, 1, 'no se puede leer', now())",
            *(execution.id, execution.uuid),
        )

    for number in range(2):
        quarantine(number)
    assert found(teller) == {f"execution:u-{number}:quarantined": "needs_person" for number in range(2)}
    platform.sql("UPDATE janitor_migrations SET quarantined_at = NULL WHERE uuid = 'u-0'")
    assert found(teller) == {"execution:u-0:quarantined": "ok", "execution:u-1:quarantined": "needs_person"}
    for number in range(2, 30):
        quarantine(number)
    assert found(teller) == {"executions:quarantined": "needs_person"}
    platform.sql("UPDATE ejecuciones_yaml SET migrado_a_nube = true")
    assert found(teller) == {"execution:u-1:quarantined": "ok", "executions:quarantined": "ok"}


def test_a_root_that_is_absent_until_it_is_back(teller: Teller, tmp_path: Path) -> None:
    there, absent = tmp_path / "there", tmp_path / "absent"
    there.mkdir()
    roots = {"JANITOR_ROOTS": f"{there}:{absent}"}
    assert found(teller, **roots) == {f"root:norte:{absent}": "needs_person"}
    absent.mkdir()
    assert found(teller, **roots) == {f"root:norte:{absent}": "ok"}
    absent.rmdir()
    found(teller, **roots)
    assert found(teller, JANITOR_ROOTS=str(there)) == {f"root:norte:{absent}": "ok"}


def test_nothing_migrated_for_days_though_something_here_is_due(
    teller: Teller, platform: Platform, tmp_path: Path
) -> None:
    use(platform)
    (tmp_path / "due").mkdir()
    platform.add_execution(tmp_path / "gone", uuid="gone")
    assert found(teller) == {}, "its directory is on no disk of this host"
    platform.add_execution(tmp_path / "due", uuid="due")
    assert found(teller) == {"migration:norte:stalled": "failed"}
    assert "la más antigua es due, del 01/01/2020" in platform.value("SELECT text FROM janitor_causes")
    platform.sql(ADD_ATTEMPT, 4)
    assert found(teller) == {"migration:norte:stalled": "failed"}
    platform.sql(ADD_ATTEMPT, 1)
    assert found(teller) == {"migration:norte:stalled": "ok"}
    assert found(teller) == {}


def test_what_another_run_is_working_on_is_not_missed(teller: Teller, platform: Platform, tmp_path: Path) -> None:
    """The first tick of a second host: the lease of the first is no older than a notice could be."""
    use(platform)
    execution = platform.add_execution(tmp_path, uuid="due")
    platform.sql(
        "INSERT INTO janitor_migrations (execution_id, uuid, state, host, run_id, fencing_token, lease_expires_at) "
        "VALUES (%s, 'due', 'migrating', 'sur', 1, 1, now() + interval '1 minute')",
        execution.id,
    )
    assert found(teller) == {}
    platform.sql("UPDATE janitor_migrations SET lease_expires_at = now() - interval '1 minute'")
    assert found(teller) == {"migration:norte:stalled": "failed"}


def test_a_backlog_that_every_run_leaves_is_told_until_a_run_does_without_its_limit(
    teller: Teller, platform: Platform, tmp_path: Path
) -> None:
    use(platform)
    platform.sql(ADD_ATTEMPT, 1)
    platform.add_execution(tmp_path, uuid="due")
    teller.report.limit_reached = "--max-bytes"
    assert found(teller) == {}, "this tick did not migrate"
    teller.report.jobs.append(JobDone("migration", "done", 1.0))
    assert found(teller) == {"migration:norte:behind": "degraded"}
    assert "queda por migrar due, del 01/01/2020; suba el límite" in platform.value("SELECT text FROM janitor_causes")
    teller.report.limit_reached = None
    assert found(teller) == {"migration:norte:behind": "ok"}


def test_a_large_table_is_not_read_for_what_is_due(
    teller: Teller, platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the last look found is asked instead, and whether it is still to be migrated."""
    monkeypatch.setattr("jobs.notify.causes.seen.LARGE_TABLE_BYTES", 0)
    use(platform)
    seen, unseen = platform.add_execution(tmp_path, uuid="seen"), platform.add_execution(tmp_path, uuid="unseen")
    assert found(teller) == {}
    platform.sql(
        "INSERT INTO janitor_looks (id, table_state, looked_at, execution_ids, executed_at) "
        "VALUES (1, '', now(), %s, %s::timestamptz[])",
        *([seen.id], ["2020-01-01"]),
    )
    assert found(teller) == {"migration:norte:stalled": "failed"}
    platform.sql("UPDATE ejecuciones_yaml SET migrado_a_nube = true WHERE id <> %s", unseen.id)
    assert found(teller) == {"migration:norte:stalled": "ok"}


@pytest.mark.parametrize("age", ["now() - interval '2 days'", "NULL"])
def test_what_is_not_long_due_is_not_missed(teller: Teller, platform: Platform, tmp_path: Path, age: str) -> None:
    use(platform)
    platform.add_execution(tmp_path, executed_at=platform.value(f"SELECT ({age})::text"))
    assert found(teller) == {}


@pytest.mark.parametrize(("is_configured", "why"), [(True, "migrar_automaticamente"), (False, "ninguna fila")])
def test_what_is_due_where_migration_is_off_is_reported(
    teller: Teller, platform: Platform, tmp_path: Path, is_configured: bool, why: str
) -> None:
    """A row that was lost is no purpose, and of a purpose one notice reminds."""
    if is_configured:
        use(platform, automatic=False)
    assert found(teller) == {}
    platform.add_execution(tmp_path)
    assert found(teller) == {"migration:norte:stalled": "needs_person"}
    assert why in platform.value("SELECT text FROM janitor_causes")


def test_deletion_that_is_asked_for_without_roots_is_reported(
    teller: Teller, platform: Platform, tmp_path: Path
) -> None:
    use(platform)
    assert found(teller) == {}
    platform.sql("UPDATE ejecuciones_config SET eliminar_despues_de_migrar = true")
    assert found(teller) == {"roots:norte:unset": "needs_person"}
    (tmp_path / "raíz").mkdir()
    assert found(teller, JANITOR_ROOTS=str(tmp_path / "raíz")) == {"roots:norte:unset": "ok"}


def test_a_job_that_fails_until_it_ends_well(teller: Teller, platform: Platform) -> None:
    add_job(platform, "temp", tries=1, outcome="failed", error="no se puede borrar")
    add_job(platform, "history", "", tries=1, outcome="failed", error="sin permiso")
    add_job(platform, "temp", "sur", tries=1, outcome="failed", error="lo dice la otra")
    add_job(platform, "backup", "", tries=1, outcome="failed", error="aquí no está activado")
    expected = {"job:temp:norte:failing": "failed", "job:history:failing": "failed"}
    assert found(teller) == expected
    platform.sql("UPDATE janitor_jobs SET last_outcome = 'put_off' WHERE job = 'temp'")
    assert found(teller) == {"job:history:failing": "failed"}
    platform.sql("UPDATE janitor_jobs SET last_outcome = 'done'")
    assert found(teller) == dict.fromkeys(expected, "ok")


def test_one_cause_that_fails_two_jobs_and_makes_them_late_is_reported_once(teller: Teller, platform: Platform) -> None:
    """Looked for in what fails and is late, in what fails for the same reason, and in what no provider takes."""
    on = {"BACKUP_ENABLED": "true"}
    why = "pg_dump 15 es anterior al servidor 18"
    add_job(platform, "backup", "", good=216, tries=2, outcome="failed", error=f"no se pudo hacer la copia: {why}")
    add_job(
        platform,
        "verify",
        "",
        good=216,
        tries=2,
        outcome="failed",
        error=f"la copia 2 (x) no se pudo comprobar: {why}; mire",
    )
    assert found(teller, **on) == {"job:backup:failing": "failed"}
    assert "falla (la última vez bien, el " in platform.value("SELECT text FROM janitor_causes")
    platform.sql("UPDATE janitor_jobs SET last_outcome = 'done', last_good_at = now() WHERE job = 'backup'")
    assert found(teller, **on) == {"job:backup:failing": "ok", "job:verify:failing": "failed"}


def test_copies_that_an_audit_found_bad_are_reported_once(teller: Teller, platform: Platform) -> None:
    """Not as a job that fails, too, unless it fails for another reason."""
    on = {"JANITOR_AUDIT_DAYS": "90"}
    teller.note("needs_person", "audit:copies", "2 copias guardadas no están enteras")
    add_job(platform, "audit", "", tries=1, outcome="failed", error="2 copias no están enteras")
    assert found(teller, **on) == {}
    unread = "2 copias no están enteras; 1 copia no se pudo leer de vuelta"
    platform.sql("UPDATE janitor_jobs SET last_error = %s", unread)
    assert found(teller, **on) == {"job:audit:failing": "failed"}


def test_two_full_disks_are_two_causes(teller: Teller, platform: Platform, tmp_path: Path) -> None:
    """A backup that fails is never left out, whatever else fails for the same reason."""
    full = "no queda espacio en el dispositivo"
    where = {"logs": ("norte", "/var/log/sage"), "backup": ("", "/copias")}
    for job, (host, directory) in where.items():
        error = f"no se pudo acabar: no se puede escribir en {directory}: {full}"
        add_job(platform, job, host, good=216, tries=2, outcome="failed", error=error)
    on = {"BACKUP_ENABLED": "true", "LOGS_PATH": str(tmp_path)}
    assert found(teller, **on) == {"job:logs:norte:failing": "failed", "job:backup:failing": "failed"}


def test_nothing_migrated_for_want_of_providers_is_reported_by_them(
    teller: Teller, platform: Platform, tmp_path: Path
) -> None:
    first, second = use(platform)
    platform.add_execution(tmp_path)
    for provider_id in (first, second):
        platform.sql(ADD_PROVIDER, provider_id, True)
    assert set(found(teller)) == {f"provider:{provider_id}:unusable" for provider_id in (first, second)}
    platform.sql("DELETE FROM janitor_provider_health WHERE provider_id = %s", second)
    assert found(teller)["migration:norte:stalled"] == "failed"


def test_a_job_that_is_switched_off_is_not_waited_for(teller: Teller, platform: Platform) -> None:
    on = {"BACKUP_ENABLED": "true"}
    add_job(platform, "backup", "", good=60, tries=1, outcome="failed", error="sin sitio")
    assert found(teller, **on) == {"job:backup:failing": "failed"}
    teller.note("failed", "backup:too_old", "de antes de que fallara")
    teller.note("failed", "job:temp:sur:failing", "de otra máquina")
    assert found(teller) == {"job:backup:failing": "ok", "backup:too_old": "ok"}


def test_a_job_that_is_misconfigured_until_it_is_not(teller: Teller) -> None:
    """A wrong setting that decides no exit code, too."""
    keys = [f"job:{name}:norte:misconfigured" for name in ("temp", "report")]
    assert found(teller, TEMP_DIR="/", JANITOR_REPORT_DAY="9") == dict.fromkeys(keys, "needs_person")
    assert found(teller) == dict.fromkeys(keys, "ok")


def test_a_job_that_is_killed_each_time(teller: Teller, platform: Platform) -> None:
    add_job(platform, "migration", tries=3, outcome=None)
    assert found(teller) == {}
    platform.sql("UPDATE janitor_jobs SET tries = 4")
    assert found(teller) == {"job:migration:norte:failing": "failed"}


def test_a_migration_that_fails_for_its_provider_is_reported_once(teller: Teller, platform: Platform) -> None:
    first, _ = use(platform)
    add_job(platform, "migration", tries=1, outcome="failed", error="1 ejecución con error: u-1")
    platform.sql(ADD_PROVIDER, first, True)
    assert found(teller) == {f"provider:{first}:unusable": "needs_person"}
    platform.sql("DELETE FROM janitor_provider_health")
    assert found(teller)["job:migration:norte:failing"] == "failed"


def test_a_backup_that_fails_for_its_providers_alone_is_reported_once(teller: Teller, platform: Platform) -> None:
    on = {"BACKUP_ENABLED": "true"}
    failures = ["no se sabe qué tiene nas: no responde; se intentará otra vez", "no se pudo guardar en lejos"]
    add_job(platform, "backup", "", tries=1, outcome="failed", error=f"sin sitio; {'; '.join(failures)}")
    for number, failure in enumerate(failures):
        teller.note("failed", f"backup:copies:{number}", f"Copias de seguridad en proveedores: {failure}")
    assert found(teller, **on) == {"job:backup:failing": "failed"}
    platform.sql("UPDATE janitor_jobs SET last_error = %s", "; ".join(failures))
    assert found(teller, **on) == {"job:backup:failing": "ok"}
    assert found(teller, **on) == {}
    platform.sql("UPDATE janitor_jobs SET last_error = 'falta la copia 7; ' || last_error")
    assert found(teller, **on) == {"job:backup:failing": "failed"}


def test_a_failing_migration_says_of_one_execution_why(teller: Teller, platform: Platform) -> None:
    """So that operators know where to look: a server that does not answer is no cause of its own at once."""
    execution = platform.add_execution(uuid="u-1")
    platform.sql(
        "INSERT INTO janitor_migrations (execution_id, uuid, state, host, run_id, fencing_token, error) "
        "VALUES (%s, 'u-1', 'failed', 'norte', 1, 1, 'MinIO: conexión rechazada')",
        execution.id,
    )
    add_job(platform, "migration", tries=1, outcome="failed", error="1 ejecución con error: u-1")
    teller.report.name(Named.FAILED, "u-1")
    assert found(teller) == {"job:migration:norte:failing": "failed"}
    text = platform.value("SELECT text FROM janitor_causes")
    assert text == "El trabajo de migración falla: 1 ejecución con error: u-1; u-1: MinIO: conexión rechazada"


def test_a_provider_without_room_is_told_of_by_its_name(teller: Teller, platform: Platform) -> None:
    """The executions that had no room are no cause of their own."""
    first, _ = use(platform)
    add_job(platform, "migration", tries=1, outcome="failed", error="5 ejecuciones con error: u-1")
    platform.sql(ADD_PROVIDER, first, True)
    platform.sql("UPDATE janitor_provider_health SET error_code = 'storage_full', error = 'sin espacio (quedan 1 B)'")
    assert found(teller) == {f"provider:{first}:unusable": "needs_person"}
    text = platform.value("SELECT text FROM janitor_causes")
    assert re.fullmatch("Al proveedor .* le falta espacio: sin espacio .quedan 1 B.; libere espacio .*", text)


def test_a_quarantine_is_reported_once_and_no_later_run_solves_it(teller: Teller, platform: Platform) -> None:
    execution = platform.add_execution(uuid="u-1")
    platform.sql(
        "INSERT INTO janitor_migrations "
        "(execution_id, uuid, state, host, run_id, fencing_token, error, quarantined_at) "
        "VALUES (%s, 'u-1', 'failed', 'norte', 1, 1, 'no se puede leer', now())",
        execution.id,
    )
    add_job(platform, "migration", tries=1, outcome="failed", error="1 ejecución con error: u-1")
    teller.report.name(Named.FAILED, "u-1")
    assert found(teller) == {"execution:u-1:quarantined": "needs_person"}
    teller.note("failed", "job:migration:norte:failing", "de antes")
    platform.sql("UPDATE janitor_jobs SET last_outcome = 'done' WHERE job = 'migration'")
    assert found(teller) == {"execution:u-1:quarantined": "needs_person"}
    platform.sql("UPDATE janitor_migrations SET quarantined_at = NULL, next_try_at = now() + interval '1 hour'")
    assert found(teller) == {"execution:u-1:quarantined": "ok"}
    platform.sql("UPDATE janitor_migrations SET next_try_at = NULL")
    assert found(teller) == {"job:migration:norte:failing": "ok"}


def test_a_backup_that_is_too_old(teller: Teller, platform: Platform) -> None:
    add_job(platform, "backup", "", good=49)
    add_job(platform, "history", "", good=51)
    on = {"BACKUP_ENABLED": "true"}
    assert found(teller, **on) == {"job:history:late": "failed"}
    platform.sql("UPDATE janitor_jobs SET last_good_at = last_good_at - interval '2 hours' WHERE job = 'backup'")
    assert found(teller, **on) == {"job:history:late": "failed", "backup:too_old": "failed"}
    platform.sql("UPDATE janitor_jobs SET last_good_at = now()")
    assert found(teller, **on) == {"job:history:late": "ok", "backup:too_old": "ok"}


def test_a_host_that_is_silent_until_it_is_back_or_retired(teller: Teller, platform: Platform) -> None:
    add_job(platform, "temp", "sur", started=27)
    add_job(platform, "migration", "sur", started=30)
    add_job(platform, "temp", "este", started=25)
    add_job(platform, "temp", "oeste", started=24 * 31)
    assert found(teller) == {"host:sur:silent": "failed"}
    assert found(teller, JANITOR_SILENT_HOURS="28") == {"host:sur:silent": "ok"}
    found(teller)
    platform.sql("UPDATE janitor_jobs SET last_started_at = now() - interval '31 days'")
    assert found(teller) == {"host:sur:silent": "ok"}
    platform.sql("UPDATE janitor_jobs SET last_started_at = now() - interval '30 hours' WHERE host = 'sur'")
    assert found(teller) == {"host:sur:silent": "failed"}
    platform.sql("DELETE FROM janitor_jobs WHERE host = 'sur'")
    assert found(teller) == {"host:sur:silent": "ok"}


@pytest.mark.parametrize(
    ("free_gigabytes", "all_gigabytes", "state"),
    [(1.9, 100, "needs_person"), (4.9, 100, "degraded"), (5.1, 100, None), (1.9, 10, None), (0.9, 10, "degraded")],
)
def test_a_disk_that_is_nearly_full(
    teller: Teller, monkeypatch: pytest.MonkeyPatch, free_gigabytes: float, all_gigabytes: float, state: str | None
) -> None:
    """A small disk may be fuller than a large one."""
    block = 4096
    blocks = [int(gigabytes * GIGABYTE / block) for gigabytes in (all_gigabytes, free_gigabytes, free_gigabytes)]
    monkeypatch.setattr(os, "statvfs", lambda _path: os.statvfs_result((block, block, *blocks, 0, 0, 0, 0, 255)))
    assert found(teller, DISK_WARNING_GB="5", DISK_CRITICAL_GB="2") == (
        {f"disk:norte:{teller.directory}/temporales": state} if state else {}
    )


def test_the_disk_of_each_of_the_programs_directories_is_looked_at(
    teller: Teller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of the log, too: while it is full, the console is the only log, and cron shows nobody that."""
    monkeypatch.setattr(os, "statvfs", lambda _path: os.statvfs_result((4096, 4096, 1 << 30, 1, 1, 0, 0, 0, 0, 255)))
    for name in ("temporales", "copias", "registros"):
        expected = {f"disk:norte:{teller.directory}/{name}": "needs_person"}
        assert found(teller, DISK_WARNING_GB="5", DISK_CRITICAL_GB="2") == expected
        teller.platform.sql("DELETE FROM janitor_causes")
        (teller.directory / name).rmdir()


def test_texts_of_causes_are_fit_to_be_read(teller: Teller, platform: Platform) -> None:
    add_job(platform, "temp", tries=1, outcome="failed", error="uno\ndos")
    (cause,) = find_causes(teller.context())
    platform.database("norte").notices.note([cause, Cause("watch:x", "failed", "\x1b[31mrojo")])
    texts = [row["text"] for row in platform.sql("SELECT text FROM janitor_causes ORDER BY cause")]
    assert texts == ["El trabajo de limpieza falla: uno\\ndos", "\\x1b[31mrojo"]
