"""`audit` finds what is lost, damaged and of nobody, and nothing else, whatever happens meanwhile.

Where else the program judges what a provider holds: the proof of an upload, which has tests of its own.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from commands.audit.auditing import Audit, Scope, prepared_audit
from commands.audit.fixing import fix
from commands.audit.report import Finding, Fix, Kind, Report
from config.models import ProviderRow
from config.process.person import Person
from config.settings import Settings, load_settings
from jobs import provider_set
from providers import build_provider
from providers.base import Provider
from providers.errors import ProviderUnavailable
from providers.sources import BytesSource
from sql.database import Database
from storage.keys import INCOMPLETE_MARK
from tests.commands.json_schemas import require_valid
from tests.destinations import Destination
from tests.faults.faulty_provider import EVERY_CALL, Call, Fault, FaultyProvider, fail, given_up
from tests.stories.installation import Installation

EVERYTHING = Scope(None, None, every_byte=False)
EVERY_BYTE = Scope(None, None, every_byte=True)
SOMEBODY = Person("root", "janitor-daemon audit --fix")
PLACES = {"uno": "ejecuciones/uno", "dos": "ejecuciones/dos"}


class Auditing:
    """Two executions that are stored on this machine, and audits of them in this process."""

    def __init__(self, installation: Installation, nas: Destination, monkeypatch: pytest.MonkeyPatch) -> None:
        self.installation = installation
        self.nas = nas
        self.provider_id = installation.add_provider(nas, "nas")
        self.faults: list[Fault] = []
        for uuid in PLACES:
            installation.small_execution(uuid)
        installation.configure(self.provider_id)
        run = installation.run()
        assert run.exit_code == 0, str(run)
        monkeypatch.setattr(provider_set, "build_provider", self._build)

    def _build(self, row: ProviderRow) -> Provider:
        return FaultyProvider(build_provider(row), self.faults)

    @property
    def settings(self) -> Settings:
        return load_settings(self.installation.environment)

    @contextmanager
    def prepared(self) -> Iterator[Audit]:
        with (
            closing(Database(self.installation.database_url, "norte")) as database,
            prepared_audit(database, self.settings, threading.Event()) as prepared,
        ):
            yield prepared

    def audit(self, scope: Scope = EVERYTHING) -> Report:
        with self.prepared() as prepared:
            return prepared.run(scope)

    def fix(self, findings: list[Finding]) -> list[Finding]:
        """What was left alone."""
        with self.prepared() as prepared:
            return fix(prepared.records, findings, self.settings, SOMEBODY)

    def path(self, name: str) -> Path:
        """An object's file."""
        return self.nas.directory / "ejecuciones" / name


@pytest.fixture
def auditing(installation: Installation, nas: Destination, monkeypatch: pytest.MonkeyPatch) -> Auditing:
    """All as it should be."""
    return Auditing(installation, nas, monkeypatch)


def kinds(report: Report) -> list[tuple[Kind, str]]:
    """What was found, by place."""
    return sorted((finding.kind, finding.place) for finding in report.findings)


def test_what_is_as_it_should_be_is_good(auditing: Auditing) -> None:
    report = auditing.audit()
    assert (report.is_good, kinds(report)) == (True, [])
    (nas,) = [provider.as_json() for provider in report.providers]
    assert (nas["executions"], nas["objects"], nas["not_checked"], nas["read_back"]) == (2, 6, 2, 0)
    (nas,) = [provider.as_json() for provider in auditing.audit(EVERY_BYTE).providers]
    assert (nas["not_checked"], nas["read_back"]) == (0, 2)
    (nas,) = [provider.as_json() for provider in auditing.audit(Scope(None, 1, every_byte=False)).providers]
    assert (nas["executions"], nas["read_back"], nas["objects"]) == (1, 1, None)


def delete(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


HARM: dict[str, tuple[Callable[[Auditing], object], Kind]] = {
    "a file": (lambda it: delete(it.path("uno/tabla.txt")), Kind.DAMAGED),
    "all files": (lambda it: delete(it.path("uno")), Kind.LOST),
    "the manifest": (lambda it: delete(it.path("uno.manifest.json")), Kind.LOST),
    "all": (lambda it: list(map(delete, (it.path("uno"), it.path("uno.manifest.json")))), Kind.LOST),
    "a size": (lambda it: it.path("uno/tabla.txt").write_text("x"), Kind.DAMAGED),
    "a manifest of others": (
        lambda it: it.path("uno.manifest.json").write_bytes(it.path("dos.manifest.json").read_bytes()), Kind.DAMAGED,
    ),
}  # fmt: skip


def test_each_harm_is_found_and_named(auditing: Auditing, tmp_path: Path) -> None:
    shutil.copytree(auditing.nas.directory, tmp_path / "whole")
    for name, (harm, kind) in HARM.items():
        harm(auditing)
        expected = [] if name == "a manifest of others" else [(kind, PLACES["uno"])]
        assert kinds(auditing.audit()) == expected, name
        assert kinds(auditing.audit(EVERY_BYTE)) == [(kind, PLACES["uno"])], name
        shutil.rmtree(auditing.nas.directory)
        shutil.copytree(tmp_path / "whole", auditing.nas.directory)
        assert auditing.audit().is_good, name


def test_other_bytes_of_the_same_size_are_found_by_reading(auditing: Auditing) -> None:
    table = auditing.path("uno/tabla.txt")
    table.write_bytes(b"x" * table.stat().st_size)
    report = auditing.audit()
    assert report.is_good
    assert report.providers[0].as_json()["not_checked"] == 2
    report = auditing.audit(EVERY_BYTE)
    assert kinds(report) == [(Kind.DAMAGED, PLACES["uno"])]
    assert "1 fichero tiene otros bytes: tabla.txt" in report.findings[0].detail
    assert kinds(auditing.audit(Scope(auditing.provider_id, 2, every_byte=False))) == kinds(report)


@pytest.mark.parametrize("name", ["s3-moto", "azure", "gcs"])
def test_listed_checksums_prove_copies_without_reading_them(
    installation: Installation,
    new_destination: Callable[[str], Destination],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    """What the listing shows is compared with what it showed at the commit; what differs is read, and nothing else."""
    auditing = Auditing(installation, new_destination(name), monkeypatch)
    asked: list[Call] = []

    def note(call: Call) -> Any:
        asked.append(call)
        return call.proceed()

    auditing.faults = [Fault(method, note, calls=EVERY_CALL) for method in ("open", "stat", "digests")]
    report = auditing.audit()
    assert report.is_good
    assert checked(report) == {"checksum": 2, "read_back": 0, "not_checked": 0}
    assert asked == []
    with auditing.prepared() as prepared:
        provider = prepared.providers.get(auditing.provider_id)
        assert provider is not None
        key = "ejecuciones/uno/tabla.txt"
        provider.put(key, BytesSource(b"x" * provider.stat(key).size_bytes))
    report = auditing.audit()
    assert kinds(report) == [(Kind.DAMAGED, PLACES["uno"])]
    assert "1 fichero tiene otros bytes: tabla.txt" in report.findings[0].detail
    assert checked(report) == {"checksum": 1, "read_back": 0, "not_checked": 0}


def test_a_checksum_of_another_kind_is_no_damage(auditing: Auditing) -> None:
    """Somebody has stored the same bytes in other parts: they are read, and found to be right."""
    auditing.installation.execute("UPDATE janitor_migrations SET listing_digest = 7 WHERE uuid = 'uno'")
    report = auditing.audit()
    assert report.is_good
    assert checked(report) == {"checksum": 0, "read_back": 1, "not_checked": 1}


def checked(report: Report) -> dict[str, int]:
    """How the whole copies were compared."""
    told = report.providers[0].as_json()
    return {how: told[how] for how in ("checksum", "read_back", "not_checked")}


def test_what_nobody_stands_for_is_an_orphan_and_probes_are_none(auditing: Auditing) -> None:
    for name in ("tres/a.txt", "cuatro.manifest.json", ".janitor-check-00/x", "uno-2/b.txt"):
        auditing.path(name).parent.mkdir(exist_ok=True)
        auditing.path(name).write_text("de nadie")
    report = auditing.audit()
    assert kinds(report) == [(Kind.ORPHAN, f"ejecuciones/{name}") for name in ("cuatro", "tres", "uno-2")]
    assert {finding.fix for finding in report.findings} == {None}
    assert "No consta que lo guardara esta base de datos" in report.findings[0].to_do


def test_what_is_stored_moved_and_removed_meanwhile_is_not_reported(auditing: Auditing) -> None:
    """Before the listing, within it and after it: an upload begins, another ends, a row goes and its copy with it."""
    auditing.installation.small_execution("tres")
    happened: list[Any] = []

    def upload(call: Call) -> Any:
        if not happened:
            happened.append(auditing.installation.run())
            auditing.installation.execute("DELETE FROM ejecuciones_yaml WHERE uuid = 'uno'")
            delete(auditing.path("uno"))
            delete(auditing.path("uno.manifest.json"))
            auditing.installation.execute(
                "INSERT INTO janitor_attempts (execution_id, run_id, host, fencing_token, provider_id, key_prefix, "
                "state) VALUES (99, 1, 'sur', 1, %s, 'ejecuciones/cuatro', 'open')", (auditing.provider_id,),
            )  # fmt: skip
            auditing.path("cuatro").mkdir()
            auditing.path("cuatro/a.txt").write_text("a medias")
        return call.proceed()

    auditing.faults = [Fault("list", upload, calls=EVERY_CALL)]
    report = auditing.audit()
    assert happened[0].exit_code == 0
    assert kinds(report) == []


def test_a_copy_that_vanishes_with_its_row_after_the_listing_is_not_lost(auditing: Auditing) -> None:
    """The row is read again before the copy is looked for, and once more before it is reported."""
    delete(auditing.path("uno.manifest.json"))

    def take_back(call: Call) -> Any:
        auditing.installation.execute("UPDATE ejecuciones_yaml SET migrado_a_nube = false WHERE uuid = 'uno'")
        return call.proceed()

    auditing.faults = [Fault("open", take_back, key="*uno.manifest.json")]
    assert kinds(auditing.audit()) == []


def test_a_provider_that_does_not_answer_is_said_and_nothing_is_lost(auditing: Auditing) -> None:
    auditing.faults = [Fault("list", fail(ProviderUnavailable("no responde")), calls=EVERY_CALL)]
    report = auditing.audit()
    assert (report.is_good, kinds(report)) == (False, [])
    assert report.providers[0].error == "no responde"


@pytest.mark.parametrize("local_copy", ["kept", "deleting", "deleted"])
def test_a_lost_copy_is_migrated_again_from_its_directory(auditing: Auditing, local_copy: str) -> None:
    """Also from one whose deletion was begun, or that was deleted and restored to its place since."""
    delete(auditing.path("uno/tabla.txt"))
    auditing.installation.execute("UPDATE janitor_migrations SET local_copy = %s WHERE uuid = 'uno'", (local_copy,))
    report = auditing.audit()
    assert [finding.fix for finding in report.findings] == [Fix.MIGRATE_AGAIN]
    assert auditing.fix(report.findings) == []
    assert auditing.installation.place("uno")[0] is False
    assert auditing.fix(report.findings) == report.findings, "only once"
    (noted,) = auditing.installation.rows(
        "SELECT event, uuid, os_user FROM janitor_audit WHERE event = 'migrated_again'"
    )
    assert (noted["uuid"], noted["os_user"]) == ("uno", "root")
    run = auditing.installation.run()
    assert run.exit_code == 0, str(run)
    assert auditing.audit(EVERY_BYTE).is_good


CHANGES = {
    "UPDATE janitor_migrations SET lease_expires_at = now() + interval '5 minutes'": (
        "UPDATE janitor_migrations SET lease_expires_at = NULL"
    ),
    "UPDATE ejecuciones_yaml SET ruta_nube = ruta_nube || '/x'": (
        "UPDATE ejecuciones_yaml SET ruta_nube = rtrim(ruta_nube, '/x')"
    ),
    "UPDATE ejecuciones_yaml SET ruta_directorio = ruta_directorio || '/x'": (
        "UPDATE ejecuciones_yaml SET ruta_directorio = rtrim(ruta_directorio, '/x')"
    ),
    "UPDATE ejecuciones_yaml SET nube_provider_id = 9; UPDATE janitor_migrations SET provider_id = 9": (
        "UPDATE ejecuciones_yaml SET nube_provider_id = 1; UPDATE janitor_migrations SET provider_id = 1"
    ),
    "UPDATE ejecuciones_yaml SET ruta_nube = ruta_nube || '/x'; UPDATE janitor_migrations SET uri = uri || '/x'": (
        "UPDATE ejecuciones_yaml SET ruta_nube = rtrim(ruta_nube, '/x'); "
        "UPDATE janitor_migrations SET uri = rtrim(uri, '/x')"
    ),
    "UPDATE ejecuciones_yaml SET uuid = 'otro'": "UPDATE ejecuciones_yaml SET uuid = 'uno'",
    "INSERT INTO janitor_holds (execution_id, uuid, reason, host, os_user) SELECT id, uuid, 'r', 'h', 'u' "
    "FROM ejecuciones_yaml": "DELETE FROM janitor_holds",
}
"""What may have changed since a copy was found to be lost, and what undoes it."""


def test_a_fix_changes_nothing_that_is_not_as_it_was_found(auditing: Auditing) -> None:
    delete(auditing.path("uno/tabla.txt"))
    findings = auditing.audit().findings
    for change, undo in CHANGES.items():
        auditing.installation.execute(change)
        assert auditing.fix(findings) == findings, change
        assert auditing.installation.rows("SELECT FROM ejecuciones_yaml WHERE NOT migrado_a_nube") == [], change
        auditing.installation.execute(undo)
    assert auditing.installation.rows("SELECT FROM janitor_audit") == []
    assert auditing.fix(findings) == []


def test_without_its_directory_there_is_nothing_to_fix(auditing: Auditing) -> None:
    delete(auditing.path("uno/tabla.txt"))
    shutil.rmtree(auditing.installation.executions / "uno")
    (finding,) = auditing.audit().findings
    assert finding.fix is None
    assert "Aquí no está su directorio" in finding.to_do


def emptied(directory: Path) -> None:
    for path in directory.iterdir():
        path.unlink()


def half_restored(directory: Path) -> None:
    mark = {"execution": "uno", "place": PLACES["uno"], "manifest_sha256": "0" * 64}
    (directory / INCOMPLETE_MARK).write_text(json.dumps(mark))


def linked(directory: Path) -> None:
    (directory / "ejecucion.txt").rename(directory / "x")
    (directory / "ejecucion.txt").symlink_to("x")


PARTS: dict[str, Callable[[Path], object]] = {
    "emptied": emptied,
    "half restored, though all is there": half_restored,
    "without one file": lambda directory: (directory / "ejecucion.txt").unlink(),
    "with other bytes of the same size": lambda directory: (directory / "ejecucion.txt").write_text("nombre: OTRO!!\n"),
    "with a link in place of a file": linked,
}


@pytest.mark.parametrize("harm", ["a file", "the manifest"])
def test_what_is_less_than_the_copy_does_not_replace_it(auditing: Auditing, tmp_path: Path, harm: str) -> None:
    """Without a manifest only counts are known, so other bytes of the same size pass there."""
    HARM[harm][0](auditing)
    directory = auditing.installation.executions / "uno"
    shutil.copytree(directory, tmp_path / "whole")
    for name, change in PARTS.items():
        if harm == "the manifest" and name.startswith("with "):
            continue
        change(directory)
        (finding,) = auditing.audit().findings
        assert finding.fix is None, name
        assert f"Su directorio {directory} no tiene todo" in finding.to_do
        shutil.rmtree(directory)
        shutil.copytree(tmp_path / "whole", directory)
    (finding,) = auditing.audit().findings
    assert finding.fix is Fix.MIGRATE_AGAIN


def test_a_directory_that_cannot_be_compared_is_not_migrated_again(auditing: Auditing) -> None:
    """The manifest answers the audit once, and then no more: counts alone would call other bytes of one size equal."""
    directory = auditing.installation.executions / "uno"
    auditing.path("uno/ejecucion.txt").unlink()
    unavailable = fail(given_up(ProviderUnavailable("503 Service Unavailable")))
    auditing.faults = [Fault("open", unavailable, key="*uno.manifest.json", calls=range(2, 99))]
    (finding,) = auditing.audit().findings
    assert finding.fix is None
    assert f"No se pudo comparar su directorio {directory}" in finding.to_do
    auditing.faults = []
    (finding,) = auditing.audit().findings
    assert finding.fix is Fix.MIGRATE_AGAIN


def test_an_orphan_of_this_database_is_removed_by_the_next_tick_and_others_stay(auditing: Auditing) -> None:
    """A request of a failed attempt came late: what it left was removed before."""
    add = (
        "INSERT INTO janitor_attempts (execution_id, run_id, host, fencing_token, provider_id, key_prefix, state, "
        "foreign_objects) SELECT id, 1, 'norte', 1, %s, %s, 'settled', %s FROM ejecuciones_yaml WHERE uuid = 'uno'"
    )
    for place, foreign in (("antes/ejecuciones/uno", False), ("antes/ejecuciones/ajena", True)):
        auditing.installation.execute(add, (auditing.provider_id, place, foreign))
        path = auditing.nas.directory / place / "tarde.txt"
        path.parent.mkdir(parents=True)
        path.write_text("tarde")
    report = auditing.audit()
    assert [(finding.place, finding.fix) for finding in sorted(report.findings)] == [
        ("antes/ejecuciones/ajena", None), ("antes/ejecuciones/uno", Fix.REMOVE),
    ]  # fmt: skip
    assert auditing.fix(list(report.fixable())) == []
    assert (auditing.nas.directory / "antes/ejecuciones/uno/tarde.txt").exists(), "only the migration removes"
    assert auditing.installation.run().exit_code == 0
    assert not (auditing.nas.directory / "antes/ejecuciones/uno").exists()
    assert (auditing.nas.directory / "antes/ejecuciones/ajena/tarde.txt").exists()


def test_the_command_shows_its_plan_and_asks(auditing: Auditing) -> None:
    delete(auditing.path("uno/tabla.txt"))
    assert auditing.installation.run("audit").exit_code == 2
    asked = auditing.installation.run("audit", "--all", "--fix")
    assert "Migrar otra vez la ejecución uno desde" in asked.errors
    assert auditing.installation.place("uno")[0] is True, "nobody said yes"
    run = auditing.installation.run("audit", "--all", "--json", "--fix", "--yes")
    assert run.exit_code == 1, str(run)
    told = json.loads(run.output)
    assert told["counts"] == {"lost": 0, "damaged": 1, "orphan": 0, "unreadable": 0}
    assert told["findings"][0]["uuid"] == "uno"
    assert auditing.installation.place("uno")[0] is False
    assert auditing.installation.run().exit_code == 0
    assert auditing.installation.run("audit", "--provider", "nas").exit_code == 0


def test_the_json_is_as_its_schema_says(auditing: Auditing) -> None:
    delete(auditing.path("uno/tabla.txt"))
    auditing.path("tres").mkdir()
    auditing.path("tres/a.txt").write_text("de nadie")
    told = json.loads(json.dumps(auditing.audit().as_json()))
    assert {finding["kind"] for finding in told["findings"]} == {"damaged", "orphan"}
    require_valid("audit", told)
    told["findings"][0]["kind"] = "odd"
    with pytest.raises(AssertionError, match="odd"):
        require_valid("audit", told)


NOTE_DAMAGED = (
    "INSERT INTO janitor_audits (execution_id, provider_id, uri, audited_at, state, evidence) "
    "SELECT execution_id, provider_id, uri, now(), 'damaged', 'read-back' FROM janitor_migrations WHERE uuid = 'uno'"
)


NOTE_WHOLE_TOMORROW = (
    "INSERT INTO janitor_audits (execution_id, provider_id, uri, audited_at, state, evidence) "
    "SELECT execution_id, provider_id, uri, now() + interval '1 day', 'whole', 'read-back' "
    "FROM janitor_migrations WHERE uuid = 'uno'"
)


def require_refused(auditing: Auditing, why: str) -> None:
    """A tick fails to remove the directory, says why, and leaves all of it there."""
    run = auditing.installation.run("--migrate-only")
    assert run.exit_code == 1, str(run)
    assert any("No se borró la copia local" in line and why in line for line in run.messages("ERROR")), str(run)
    assert (auditing.installation.executions / "uno" / "tabla.txt").read_text() == "a,b\n1,uno\n"


def test_a_local_directory_stays_until_its_bad_copy_is_made_again(auditing: Auditing) -> None:
    """As after a kill right behind the commit. `audit --fix` then has the directory migrated again."""
    installation, stored = auditing.installation, auditing.path("uno/tabla.txt")
    installation.configure(auditing.provider_id, eliminar_despues_de_migrar=True)
    installation.execute("UPDATE janitor_migrations SET local_copy = 'deleting' WHERE uuid = 'uno'")
    content = stored.read_text()
    stored.unlink()
    require_refused(auditing, "ya no está entera")
    stored.write_text("X" * len(content))
    installation.execute(NOTE_DAMAGED)
    require_refused(auditing, "una auditoría encontró")
    assert auditing.fix(auditing.audit(EVERY_BYTE).findings) == []
    assert installation.place("uno")[0] is False
    run = installation.run("--migrate-only")
    assert run.exit_code == 0, str(run)
    assert stored.read_text() == content
    assert not (installation.executions / "uno").exists()


# What later audits, runs and `status` know of it


def damage(auditing: Auditing) -> str:
    """Other bytes of the same size, which no listing of this provider shows; give what was there."""
    stored = auditing.path("uno/tabla.txt")
    content = stored.read_text()
    stored.write_text("x" * len(content))
    return content


def recorded(auditing: Auditing) -> dict[str, str]:
    """What is known of each copy."""
    rows = auditing.installation.rows(
        "SELECT uuid, state FROM janitor_audits JOIN ejecuciones_yaml ON id = execution_id ORDER BY uuid"
    )
    return {row["uuid"]: row["state"] for row in rows}


def needs_person(auditing: Auditing, exit_code: int) -> list[dict[str, Any]]:
    """What `status` says."""
    run = auditing.installation.run("status", "--json")
    assert run.exit_code == exit_code, str(run)
    told = json.loads(run.output)
    require_valid("status", told)
    found: list[dict[str, Any]] = told["needs_person"]
    return found


def copies_by_health(auditing: Auditing, exit_code: int) -> list[str]:
    """What `health` says of copies."""
    run = auditing.installation.run("health", "--json")
    assert run.exit_code == exit_code, str(run)
    told = json.loads(run.output)
    require_valid("health", told)
    found: list[str] = told["parts"]["copies"]["texts"]
    return found


def test_a_bad_copy_is_named_by_status_and_by_each_audit_until_it_is_whole_again(auditing: Auditing) -> None:
    """Whoever found it: the rolling audit or an operator. Its listing shows nothing wrong, so it is read each time."""
    content = damage(auditing)
    assert auditing.audit().is_good
    assert recorded(auditing) == {}, "names and sizes say nothing of bytes"
    assert kinds(auditing.audit(EVERY_BYTE)) == [(Kind.DAMAGED, PLACES["uno"])]
    assert recorded(auditing) == {"dos": "whole", "uno": "damaged"}
    (bad,) = needs_person(auditing, 1)
    assert (bad["code"], bad["subject"], bad["count"]) == ("copies_bad", "proveedor nas", 1)
    assert bad["text"].startswith("1 copia no está entera, según una auditoría; por ejemplo uno: 1 fichero tiene otros")
    assert f"audit --provider {auditing.provider_id}" in bad["advice"]
    assert bad["since"] is not None
    assert copies_by_health(auditing, 1) == [f"{bad['subject']}: {bad['text']}"]
    report = auditing.audit()
    assert kinds(report) == [(Kind.DAMAGED, PLACES["uno"])]
    assert checked(report) == {"checksum": 0, "read_back": 0, "not_checked": 1}
    auditing.path("uno/tabla.txt").write_text(content)
    report = auditing.audit()
    assert report.is_good
    assert checked(report) == {"checksum": 0, "read_back": 1, "not_checked": 1}
    assert recorded(auditing) == {"dos": "whole", "uno": "whole"}
    assert needs_person(auditing, 0) == []
    assert copies_by_health(auditing, 0) == []


def test_names_and_sizes_alone_are_not_recorded(auditing: Auditing) -> None:
    """Nothing was recorded of this copy at its commit, so it is looked at by a request of its own."""
    damage(auditing)
    auditing.installation.execute("UPDATE janitor_migrations SET file_count = NULL WHERE uuid = 'uno'")
    assert auditing.audit().is_good
    assert recorded(auditing) == {}


def test_a_copy_that_is_migrated_again_is_bad_no_longer(auditing: Auditing) -> None:
    """Nobody has to wait until the rolling audit comes round to it."""
    damage(auditing)
    assert auditing.fix(auditing.audit(EVERY_BYTE).findings) == []
    assert auditing.installation.run().exit_code == 0
    assert recorded(auditing)["uno"] == "damaged"
    assert needs_person(auditing, 0) == []
    assert checked(auditing.audit()) == {"checksum": 0, "read_back": 0, "not_checked": 2}


def test_a_sample_is_recorded_too(auditing: Auditing) -> None:
    damage(auditing)
    auditing.audit(Scope(None, 2, every_byte=False))
    assert recorded(auditing) == {"dos": "whole", "uno": "damaged"}


@pytest.mark.parametrize(
    "change",
    [
        NOTE_DAMAGED,
        "UPDATE ejecuciones_yaml SET ruta_nube = ruta_nube || '-otra' WHERE uuid = 'uno'",
        "UPDATE ejecuciones_yaml SET migrado_a_nube = false WHERE uuid = 'uno'",
    ],
)
@pytest.mark.parametrize("scope", [EVERY_BYTE, Scope(None, 2, every_byte=True)], ids=["all", "sample"])
def test_what_was_read_says_nothing_of_what_came_later(
    auditing: Auditing, monkeypatch: pytest.MonkeyPatch, change: str, scope: Scope
) -> None:
    """While a whole copy is read, another audit finds it damaged, or its row points elsewhere. Nothing that this host
    measures tells how long ago that is: while it sleeps its clock stands still, and what it sends may arrive late.
    """
    began = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: began)

    def change_it(call: Call) -> Any:
        auditing.installation.execute(change)
        return call.proceed()

    auditing.faults = [Fault("open", change_it, key="*uno.manifest.json")]
    auditing.audit(scope)
    assert recorded(auditing).get("uno") == ("damaged" if change == NOTE_DAMAGED else None)


def test_a_result_from_the_future_is_replaced(auditing: Auditing) -> None:
    """The database's clock was ahead: nobody waits until it gets there."""
    damage(auditing)
    auditing.installation.execute(NOTE_WHOLE_TOMORROW)
    auditing.audit(EVERY_BYTE)
    assert recorded(auditing)["uno"] == "damaged"


def test_a_role_that_only_reads_audits_as_well_and_is_told_that_nothing_is_recorded(auditing: Auditing) -> None:
    damage(auditing)
    installation = auditing.installation
    readonly = f"{installation.database_url}{'&' if '?' in installation.database_url else '?'}"
    readonly += "options=-c%20default_transaction_read_only%3Don"
    run = installation.run("audit", "--all", "--read-back", DATABASE_URL=readonly)
    assert run.exit_code == 1, str(run)
    assert "dañada: ejecución uno" in run.output
    assert run.messages("WARNING") == ["Lo que se encuentre no queda anotado: la base de datos solo admite lecturas"]
    assert recorded(auditing) == {}
