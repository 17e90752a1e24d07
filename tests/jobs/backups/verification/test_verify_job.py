"""The job `verify`: when a proof is due, what it records, and what it leaves to others."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from config.errors import RunInterrupted
from config.exit_codes import EXIT_DATABASE
from config.settings import load_settings
from demo.servers.postgres import EmbeddedPostgres
from jobs.backups import run as backups
from jobs.backups.choice import Wish
from jobs.backups.errors import BackupInterrupted
from jobs.backups.job import JOB, VERIFY, verifies
from jobs.backups.result import Kind
from jobs.backups.settings import BackupSettings
from jobs.backups.verification import run as proofs
from jobs.context import Context
from jobs.job import Job
from jobs.report import TickReport
from jobs.signals import Interruption
from tests.databases.platform_database import Platform
from tests.destinations import local_destination
from tests.faults.faulty_provider import flip_bit
from tests.jobs.backups.lying_programs import lying_programs

NewContext = Callable[..., Context]
NOT_MADE = {"verified": 0}


@pytest.fixture
def platform(initialized_database_url: str) -> Iterator[Platform]:
    """A database of the platform, which is the one that is backed up."""
    with closing(Platform(initialized_database_url)) as made:
        yield made


@pytest.fixture
def context_of(platform: Platform, tmp_path: Path, postgres: EmbeddedPostgres) -> NewContext:
    """Take a job up: `context_of(VERIFY)`, `context_of(VERIFY, BACKUP_VERIFY_DAYS="30")`."""

    def take_up(job: Job, **variables: str) -> Context:
        environment = {
            "DATABASE_URL": platform.database_url,
            "JANITOR_LOCK_DIR": str(tmp_path),
            "BACKUP_ENABLED": "true",
            "BACKUP_PATH": str(tmp_path / "copias"),
            "BACKUP_PG_BIN": str(postgres.binaries),
            "JANITOR_HOST": "host-1",
            **variables,
        }
        settings = load_settings(environment, jobs=lambda: [BackupSettings])
        database = platform.database()
        seen = database.start_run(1, "tick", "test")
        token = database.job_records.claim(job.name, is_platform=True, seen_token=None)
        assert token is not None
        own = settings.of(BackupSettings)
        return Context(job, settings, own, database, seen.now, Interruption(), fencing_token=token)

    return take_up


def proof_of(platform: Platform) -> tuple[bool, str | None]:
    """Whether the newest backup is proven, and what was wrong with it."""
    rows = platform.sql("SELECT verified_at, verification_error FROM janitor_backups ORDER BY id_backup DESC LIMIT 1")
    return rows[0]["verified_at"] is not None, rows[0]["verification_error"]


def red_notices(platform: Platform) -> list[str]:
    """The titles of what went wrong."""
    return [row["titulo"] for row in platform.sql("SELECT titulo FROM notificaciones WHERE semaforo = 'ROJO'")]


def due_again(*_arguments: object) -> None:
    """Stands for a proof, which takes a server and so its time."""
    raise BackupInterrupted("due again")


def test_a_database_that_is_lost_half_way_ends_the_run_as_without_one(
    context_of: NewContext, postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    """What libpq adds to that is a guess of several lines, and is not repeated."""
    says = "pg_dump: error: FATAL:  terminating connection\\n\\tThis probably means the server ended\\n"
    programs = lying_programs(postgres.binaries, tmp_path / "programs", "data", f"printf '{says}' >&2; exit 1")
    report = TickReport()
    (failure,) = backups.run(context_of(JOB, BACKUP_PG_BIN=str(programs))._replace(report=report)).failures
    assert "mientras pg_dump la leía (pg_dump: error: FATAL: terminating connection); el log del servidor" in failure
    assert failure.endswith("hágala con 'backup run'")
    assert report.exit_code == EXIT_DATABASE


def test_the_newest_backup_is_proven_and_again_when_that_is_too_long_ago(
    platform: Platform, context_of: NewContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert proofs.run(context_of(VERIFY)).counts == NOT_MADE
    backups.run(context_of(JOB))
    first = proofs.run(context_of(VERIFY))
    assert first.counts["verified"] == 1
    assert first.counts["tables"] > 5
    assert proof_of(platform) == (True, None)
    assert proofs.run(context_of(VERIFY)).counts == NOT_MADE
    platform.sql("UPDATE janitor_backups SET verified_at = verified_at - interval '7 days'")
    monkeypatch.setattr(proofs, "verify", due_again)
    assert proofs.run(context_of(VERIFY, BACKUP_VERIFY_DAYS="30")).counts == NOT_MADE
    with pytest.raises(RunInterrupted, match="due again"):
        proofs.run(context_of(VERIFY))
    assert red_notices(platform) == []


def test_a_chain_of_which_a_proof_failed_is_no_base_any_more(platform: Platform, context_of: NewContext) -> None:
    for kind in ("full", "differential"):
        assert backups.run(context_of(JOB)).counts[kind] == 1
    platform.sql("UPDATE janitor_backups SET verification_error = 'mal' WHERE id_backup = 2")
    assert backups.run(context_of(JOB)).counts["full"] == 1


def test_a_backup_that_does_not_restore_is_reported_once(
    platform: Platform, context_of: NewContext, tmp_path: Path
) -> None:
    backups.run(context_of(JOB))
    path = next((tmp_path / "copias").glob("*.gz"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    for _ in range(2):
        (failure,) = proofs.run(context_of(VERIFY)).failures
        assert "su hash no es el de" in failure
        assert "backup run --full" in failure
    proven, error = proof_of(platform)
    assert not proven
    assert "hash" in str(error)
    assert red_notices(platform) == ["❌ Error al comprobar Backup COMPLETO"]


def test_without_the_programs_of_a_server_it_warns_and_says_nothing_against_the_backup(
    platform: Platform, context_of: NewContext, tmp_path: Path, postgres: EmbeddedPostgres,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    backups.run(context_of(JOB))
    client = tmp_path / "client"
    client.mkdir()
    for name in ("pg_dump", "psql"):
        (client / name).symlink_to(postgres.binaries / name)
    outcome = proofs.run(context_of(VERIFY, BACKUP_PG_BIN=str(client)))
    assert (outcome.failures, outcome.counts["without_server"]) == ((), 1)
    assert "BACKUP_VERIFY_DAYS=0" in caplog.text
    assert platform.value("SELECT state FROM janitor_causes WHERE cause = 'backup:not_verified'") == "degraded"
    assert proof_of(platform) == (False, None)
    assert red_notices(platform) == []


def test_a_backup_of_another_host_is_left_to_it(platform: Platform, context_of: NewContext) -> None:
    backups.run(context_of(JOB))
    with pytest.raises(RunInterrupted, match="host-1"):
        proofs.run(context_of(VERIFY, JANITOR_HOST="host-2"))


def test_a_damaged_file_is_proven_by_the_copy_of_a_provider(
    platform: Platform, context_of: NewContext, tmp_path: Path
) -> None:
    """A real proof; what is recorded and told of it is in `test_proofs_off_site.py`."""
    destination = local_destination("lejos", tmp_path / "lejos")
    number = platform.add_provider(destination.kind, destination.options, destination.credentials)
    assert backups.run(context_of(JOB, BACKUP_PROVIDERS=str(number))).counts["copies"] == 1
    path = next((tmp_path / "copias").glob("*.gz"))
    path.write_bytes(flip_bit(path.read_bytes()))
    assert proofs.run(context_of(VERIFY)).counts["verified"] == 1
    assert proof_of(platform) == (True, None)


def test_it_stops_when_it_is_asked_to(platform: Platform, context_of: NewContext) -> None:
    backups.run(context_of(JOB))
    context = context_of(VERIFY)
    context.interruption.set()
    with pytest.raises(RunInterrupted):
        proofs.run(context)
    assert proof_of(platform) == (False, None)


def test_a_dry_run_says_which_backup_it_would_prove(
    platform: Platform, context_of: NewContext, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="janitor_daemon")
    proofs.preview(context_of(VERIFY))
    assert "se comprobaría" not in caplog.text
    backups.run(context_of(JOB))
    proofs.preview(context_of(VERIFY))
    assert "se comprobaría la copia 1" in caplog.text
    assert proof_of(platform) == (False, None)


def test_zero_days_switch_it_off_and_the_backups_stay_on() -> None:
    on, off = BackupSettings(enabled=True), BackupSettings(enabled=True, verify_days=0)
    assert [VERIFY.is_on_with(settings) for settings in (on, off, BackupSettings())] == [True, False, False]
    assert JOB.is_on_with(off)
    assert not verifies(off)


def test_a_changed_description_makes_no_differential(
    platform: Platform, context_of: NewContext, tmp_path: Path
) -> None:
    """One digit of a large object's oid made one that no server restores."""
    platform.sql("SELECT lo_create(4242)")
    asked = context_of(JOB)._replace(is_asked_for=True)

    def made(kind: Kind) -> str:
        """What a run makes that is asked for this."""
        outcome = backups.run(asked._replace(wish=Wish(kind)))
        assert outcome.failures == ()
        return "full" if outcome.counts["full"] else "differential"

    assert made(Kind.FULL) == "full"
    (beside,) = (tmp_path / "copias").glob("*.json")
    recorded = platform.sql("SELECT description_sha256 FROM janitor_backups")
    assert [row["description_sha256"] for row in recorded] == [hashlib.sha256(beside.read_bytes()).hexdigest()]
    assert made(Kind.DIFFERENTIAL) == "differential"
    beside.write_text(beside.read_text().replace('"4242"', '"4243"'))
    assert made(Kind.DIFFERENTIAL) == "full"
