"""The job `verify` and what others are told where a backup is not whole on the disk: a provider's copy takes its place.

What is proven is noted in place of the proof, which takes a server and so its time.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from config.errors import RunInterrupted
from config.settings import load_settings
from jobs.backups.check import status
from jobs.backups.errors import DamagedBackup
from jobs.backups.files.names import description_name
from jobs.backups.job import JOB, VERIFY
from jobs.backups.keeping.whereabouts import SUBJECT
from jobs.backups.offsite import scratch
from jobs.backups.offsite.fetching import download_chain, fetched
from jobs.backups.records import Backup
from jobs.backups.settings import BackupSettings
from jobs.backups.verification import run as proofs
from jobs.backups.verification.proof import Proof
from jobs.backups.verification.using import download
from jobs.context import Context
from jobs.job import Job
from jobs.signals import Interruption
from tests.faults.faulty_provider import flip_bit
from tests.jobs.backups.desk import PREFIX, Desk, recipient_of


@pytest.fixture
def proven(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, bytes]]:
    """The file of each backup that was proven, and what was in it."""
    seen: list[tuple[Path, bytes]] = []

    def note(backup: Backup, *_arguments: object) -> Proof:
        seen.append((backup.path, backup.path.read_bytes()))
        return Proof(1, 1, 0.1)

    monkeypatch.setattr(proofs, "verify", note)
    return seen


@pytest.fixture(autouse=True)
def scratch_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """TMPDIR, in which nothing may be left."""
    directory = tmp_path / "scratch"
    directory.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(directory))
    yield directory
    assert list(directory.iterdir()) == []


def context_of(desk: Desk, job: Job, host: str = "host-1", **variables: str) -> Context:
    """A run of a job on a host of this database."""
    environment = {
        "DATABASE_URL": desk.platform.database_url,
        "BACKUP_ENABLED": "true",
        "BACKUP_PATH": str(desk.directory),
        "BACKUP_PROVIDERS": ",".join(map(str, desk.destinations)),
        "JANITOR_HOST": host,
        **variables,
    }
    settings = load_settings(environment, jobs=lambda: [BackupSettings])
    now = desk.platform.value("SELECT now()")
    return Context(job, settings, settings.of(BackupSettings), desk.database, now, Interruption())


def told(context: Context) -> list[str]:
    """What `status` says of where the backups are."""
    return [f"{finding.mark.strip()}: {finding.text}" for finding in status(context) if finding.subject == SUBJECT]


def notices(desk: Desk) -> list[str]:
    """The titles of what deserves attention."""
    rows = desk.platform.sql("SELECT titulo FROM notificaciones WHERE semaforo = 'AMARILLO' ORDER BY id")
    return [row["titulo"] for row in rows]


def verify(desk: Desk, host: str = "host-1", **variables: str) -> dict[str, int]:
    """What a run of the job does when somebody asks for it."""
    outcome = proofs.run(context_of(desk, VERIFY, host, **variables)._replace(is_asked_for=True))
    assert outcome.failures == ()
    return dict(outcome.counts)


def test_what_is_gone_or_damaged_is_fetched_reported_once_and_forgotten_when_it_is_whole_again(
    desk: Desk, near: int, proven: list[tuple[Path, bytes]]
) -> None:
    backup = desk.make()
    assert desk.run() == []
    whole = backup.path.read_bytes()
    backup.path.unlink()
    assert verify(desk)["verified"] == 1
    backup.path.write_bytes(flip_bit(whole))
    for _ in range(2):
        assert verify(desk)["verified"] == 1
    assert all(content == whole and path != backup.path for path, content in proven)
    assert len(proven) == 3
    assert notices(desk) == ["⚠️ Dañado en el disco un Backup COMPLETO"]
    (line,) = told(context_of(desk, JOB))
    assert line.startswith("aviso: la copia 1 está dañada en el disco desde ")
    assert f"hay otra en local (id {near}): tráigala con 'backup download 1 DIRECTORIO'" in line
    assert [known.copies for known in desk.shelf().known()] == [frozenset()]  # retention does not rely on it
    assert desk.shelf().newest_full({backup.id}) is None  # and no differential is built on it
    backup.path.write_bytes(whole)
    assert verify(desk)["verified"] == 1
    assert proven[-1] == (backup.path, whole)
    assert told(context_of(desk, JOB)) == []


@pytest.mark.usefixtures("near")
def test_restore_and_download_take_the_copy_of_a_provider_for_a_damaged_part(
    desk: Desk, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    full = desk.make()
    differential = desk.make("backup_20260303_030000_DIFF.sql.gz", full.id)
    assert desk.run() == []
    here = desk.local()
    (desk.directory / description_name(full.name)).unlink()
    differential.path.write_bytes(flip_bit(differential.path.read_bytes()))
    with closing(desk.delivery()) as delivery:
        with fetched(desk.shelf(), differential, delivery.fetcher, desk.records) as shelf:
            chain = shelf.chain(shelf.named(differential.id))
            assert [part.path.read_bytes() for part in chain] == [here[part.name] for part in chain]
        assert caplog.text.count("se usa la de un proveedor") == 2
        target, interruption = tmp_path / "downloaded", threading.Event()
        download_chain(
            desk.shelf(), differential, delivery.fetcher, desk.records, target,
            lambda part: download([part], target, interruption),
        )  # fmt: skip
    assert {path.name: path.read_bytes() for path in target.iterdir()} == here


@pytest.mark.usefixtures("near")
def test_a_damaged_file_is_given_to_nobody_who_cannot_read_the_other_copy(
    desk: Desk, tmp_path: Path, identity: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backup = desk.make()
    assert desk.run([recipient_of(identity)]) == []
    backup.path.write_bytes(flip_bit(backup.path.read_bytes()))
    with closing(desk.delivery()) as delivery, pytest.raises(DamagedBackup):
        download_chain(
            desk.shelf(), backup, delivery.fetcher, desk.records, tmp_path / "target",
            lambda part: download([part], tmp_path / "target", threading.Event()),
        )  # fmt: skip
    assert "hay otra cifrada: añada --identity FICHERO" in caplog.text


def test_what_is_only_encrypted_somewhere_is_proven_with_a_key_and_reported_without_one(
    desk: Desk, near: int, identity: Path, proven: list[tuple[Path, bytes]]
) -> None:
    backup = desk.make()
    assert desk.run([recipient_of(identity)]) == []
    whole = backup.path.read_bytes()
    backup.path.unlink()
    assert proofs.run(context_of(desk, VERIFY)) == proofs.NOTHING_TO_PROVE
    (line,) = told(context_of(desk, JOB))
    assert line.startswith(f"aviso: la última, la 1, solo está cifrada en local (id {near}) y aquí no hay clave")
    assert "backup verify 1 --identity FICHERO" in line
    with_key = {"BACKUP_IDENTITY_FILE": str(identity)}
    assert told(context_of(desk, JOB, **with_key)) == []
    assert verify(desk, **with_key)["verified"] == 1
    assert [content for _, content in proven] == [whole]


@pytest.mark.usefixtures("near")
def test_a_backup_that_its_host_does_not_prove_for_a_day_is_fetched_by_another(
    desk: Desk, proven: list[tuple[Path, bytes]]
) -> None:
    backup = desk.make()
    assert desk.run() == []
    with pytest.raises(RunInterrupted, match="host-1"):
        verify(desk, "host-2")
    desk.platform.sql("UPDATE historial_backup SET fecha_creacion = now() - interval '25 hours'")
    assert verify(desk, "host-2")["verified"] == 1
    assert [path != backup.path for path, _ in proven] == [True]


def test_a_backup_that_nobody_has_any_more_is_reported_and_one_that_is_out_of_reach_is_not_called_lost(
    desk: Desk, near: int, tmp_path: Path
) -> None:
    backup = desk.make()
    assert desk.run() == []
    backup.path.unlink()
    directory = desk.destinations[near].directory
    directory.rename(tmp_path / "away")
    (failure,) = proofs.run(context_of(desk, VERIFY)).failures
    assert "mire ese proveedor" in failure
    assert desk.platform.value("SELECT verification_error FROM janitor_backups") is None
    (tmp_path / "away").rename(directory)
    stored = directory / PREFIX / "backups" / backup.name
    stored.write_bytes(flip_bit(stored.read_bytes()))
    (failure,) = proofs.run(context_of(desk, VERIFY)).failures
    assert "su hash es otro" in failure
    assert "backup run --full" in failure
    assert "su hash es otro" in desk.platform.value("SELECT verification_error FROM janitor_backups")
    assert desk.shelf().newest_full({backup.id}) is None  # no differential is built on it


@pytest.mark.usefixtures("near")
def test_without_room_nothing_is_fetched_and_nothing_said_against_the_backup(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    backup = desk.make()
    assert desk.run() == []
    backup.path.unlink()
    monkeypatch.setattr("shutil.disk_usage", lambda _path: SimpleNamespace(free=backup.size_bytes))
    assert verify(desk) == {"verified": 0, "without_server": 1}
    assert "libere espacio o cambie TMPDIR" in caplog.text
    assert desk.platform.value("SELECT verification_error FROM janitor_backups") is None


def test_what_a_killed_run_had_fetched_is_removed_but_not_what_another_run_uses(scratch_space: Path) -> None:
    abandoned, new = scratch_space / "janitor-backup-old", scratch_space / "janitor-backup-new"
    for directory in (abandoned, new):
        directory.mkdir()
    (abandoned / "backup.sql.gz").write_bytes(b"half")
    os.utime(abandoned, (0, 0))
    with scratch.scratch_directory(0) as used:
        assert not abandoned.exists()
        assert new.exists()
        os.utime(used, (0, 0))
        with scratch.scratch_directory(0):
            assert used.exists()
    new.rmdir()


def test_backups_that_no_provider_has_are_reported_with_their_host(desk: Desk, near: int) -> None:
    desk.make()
    desk.platform.sql("UPDATE historial_backup SET fecha_creacion = now() - interval '30 hours'")
    (line,) = told(context_of(desk, JOB))
    assert line.startswith("ERROR: 1 copia solo está en el equipo host-1, sin otra en ningún proveedor, desde ")
    assert told(context_of(desk, JOB, BACKUP_PROVIDERS="")) == []
    for providers in ("", str(near)):  # that host is dead: whatever this one sends, nobody will send those
        (line,) = told(context_of(desk, JOB, "host-2", BACKUP_PROVIDERS=providers))
        assert line.startswith("ERROR: 1 copia solo está en el equipo host-1, ")
        assert "no da señales desde no se sabe cuándo: salve su BACKUP_PATH" in line
    desk.platform.run("host-1")
    (line,) = told(context_of(desk, JOB, "host-2"))
    assert line.startswith("aviso: 1 copia solo está en el equipo host-1, ")
    assert "solo él puede enviarlas" in line
    desk.platform.sql("UPDATE janitor_runs SET started_at = now() - interval '3 days'")
    (line,) = told(context_of(desk, JOB, "host-2"))
    assert "no da señales desde 2" in line
    desk.platform.sql("UPDATE historial_backup SET fecha_creacion = now() - interval '2 hours'")
    assert told(context_of(desk, JOB)) == []  # a run may still be sending it
