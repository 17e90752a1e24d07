"""What failed attempts left is removed, but never what a row points to, nor what is not ours."""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path, PurePosixPath

import pytest

from config.logs import logger
from config.models import Attempt, Evidence, ProvenCopy, ProviderRow
from demo.servers.postgres import EmbeddedPostgres
from jobs import provider_set
from jobs.migration.directories import DirectoryJudge
from jobs.migration.leftovers import remove_leftovers
from jobs.provider_set import ProviderSet
from jobs.report import TickReport
from providers.base import Provider
from providers.errors import AccessDenied, ProviderUnavailable
from providers.file_trees import temporary_name
from providers.local.provider import LocalProvider
from providers.probes import CONDITIONS_NAME
from providers.sources import BytesSource
from providers.stores import store_of
from sql.database import Database
from sql.migration.attempts import Occupied
from storage.keys import INCOMPLETE_MARK, Place
from tests.databases.platform_database import Platform, claim_one, open_attempt
from tests.faults.faulty_provider import EVERY_CALL, Fault, FaultyProvider, after, fail, given_up, lose_answer

NEVER = threading.Event()
PRIMARY, ALTERNATE = 1, 2
OBJECTS = ("a", "deep/er/b", "c")


class Scene:
    """Two local providers, and an execution that failed on the first and went to the second."""

    def __init__(self, platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.platform = platform
        self.database: Database = platform.run()
        self.report = TickReport()
        self.faults: dict[int, list[Fault]] = {}
        self.name_stores = False
        self.used: dict[int, FaultyProvider] = {}
        self.directories = {PRIMARY: tmp_path / "primary", ALTERNATE: tmp_path / "alternate"}
        for directory in self.directories.values():
            directory.mkdir()
        self.claim = claim_one(self.database, platform.add_execution())
        monkeypatch.setattr(provider_set, "build_provider", self._build)

    def _build(self, row: ProviderRow) -> Provider:
        provider = LocalProvider(row)
        provider.store = store_of(row) if self.name_stores else ""
        self.used[row.id] = FaultyProvider(provider, self.faults.get(row.id, ()))
        return self.used[row.id]

    def rows(self) -> list[ProviderRow]:
        return [
            ProviderRow(provider_id, f"proveedor {provider_id}", "local", None, {"ruta": str(directory)}, active=True)
            for provider_id, directory in self.directories.items()
        ]

    def fail_on(self, provider_id: int, key_prefix: str = "ejecuciones/uuid-1", *, foreign: bool | None) -> Attempt:
        """An attempt that stored some objects and a manifest there, and failed."""
        attempt = open_attempt(self.database, self.claim, provider_id, key_prefix)
        if foreign is not None:
            self.database.note_place(attempt, foreign_objects=foreign)
        self.store(provider_id, key_prefix)
        self.database.abandon_attempt(attempt, "unavailable", "no responde")
        return attempt

    @property
    def manifest(self) -> bytes:
        """That of the execution."""
        row = self.claim.execution.id
        return manifest_of(self.database.installation, row, {name: name.encode() for name in OBJECTS})

    def store(self, provider_id: int, key_prefix: str = "ejecuciones/uuid-1", manifest: bytes | None = None) -> None:
        """Objects and a manifest."""
        content = self.manifest if manifest is None else manifest
        with closing(LocalProvider(self.rows()[provider_id - 1])) as provider:
            for name in OBJECTS:
                provider.put(f"{key_prefix}/{name}", BytesSource(name.encode()))
            provider.put(f"{key_prefix}.manifest.json", BytesSource(content))

    def commit_on(
        self, provider_id: int, key_prefix: str = "ejecuciones/uuid-1", manifest: bytes | None = None
    ) -> None:
        """Another attempt, which is committed."""
        content = self.manifest if manifest is None else manifest
        attempt = open_attempt(self.database, self.claim, provider_id, key_prefix)
        self.database.note_place(attempt, foreign_objects=False)
        self.store(provider_id, key_prefix, content)
        sha256 = hashlib.sha256(content).hexdigest()
        copy = ProvenCopy(f"cloud://local/{key_prefix}", provider_id, key_prefix, 3, 3, Evidence.READ_BACK, sha256)
        assert self.database.commit_migration(self.claim, attempt, copy, delete_local_copy=False)

    def remove(self, interruption: threading.Event = NEVER) -> None:
        """Remove leftovers as a tick does, with providers of its own; every fault must happen."""
        providers = ProviderSet(self.rows(), [])
        self.used.clear()
        remove_leftovers(
            self.database, self.database.leftovers(), providers, DirectoryJudge([]), self.report, interruption
        )
        for provider in self.used.values():
            with provider:
                pass

    def files(self, provider_id: int) -> set[str]:
        top = self.directories[provider_id]
        return {str(path.relative_to(top)) for path in top.rglob("*") if not path.is_dir()}

    def states(self) -> list[str]:
        rows = self.platform.sql("SELECT state FROM janitor_attempts ORDER BY id")
        return [row["state"] for row in rows]


def copy_at(key_prefix: str = "ejecuciones/uuid-1") -> set[str]:
    """The names of a whole copy's objects."""
    return {*(f"{key_prefix}/{name}" for name in OBJECTS), f"{key_prefix}.manifest.json"}


def manifest_of(
    installation: str, row: int, contents: Mapping[str, bytes], uuid: str = "uuid-1", directory: str | None = None
) -> bytes:
    """A whole manifest."""
    head = {"format": "janitor-manifest", "version": 1, "execution": uuid, "row": row, "installation": installation}
    directories = {"", *(str(parent) for name in contents for parent in PurePosixPath(name).parents)} - {"."}
    entries: list[dict[str, object]] = [
        {"path": path, "kind": "directory", "mode": "0755", "mtime_ns": 0} for path in directories
    ]
    for path, content in contents.items():
        sha256 = hashlib.sha256(content).hexdigest()
        file: dict[str, object] = {"path": path, "kind": "file", "mode": "0644", "mtime_ns": 0}
        entries.append({**file, "size_bytes": len(content), "sha256": sha256})
    return json.dumps({**head, "directory": directory, "entries": entries}).encode()


@pytest.fixture(scope="module")
def shared_platform(postgres: EmbeddedPostgres) -> Iterator[Platform]:
    """One database for these tests."""
    with closing(Platform(postgres.new_database(f"leftovers_{secrets.token_hex(4)}"))) as made:
        yield made


@pytest.fixture
def scene(shared_platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """An execution that this run has claimed."""
    shared_platform.clear()
    return Scene(shared_platform, tmp_path, monkeypatch)


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """What operators were warned of."""
    monkeypatch.setattr(logger, "propagate", True)
    return lambda: [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_what_a_failed_attempt_left_is_removed(scene: Scene) -> None:
    scene.fail_on(PRIMARY, foreign=False)
    unfinished = scene.directories[PRIMARY] / "ejecuciones/uuid-1/.janitor-0123456789abcdef.part"
    unfinished.write_bytes(b"half")
    probes = scene.directories[PRIMARY] / Place("ejecuciones/uuid-1").probe_prefix
    probes.mkdir()
    (probes / CONDITIONS_NAME).write_bytes(b"janitor-daemon")
    scene.store(PRIMARY, "ejecuciones/uuid-10")  # of a neighbour whose name begins alike
    scene.store(PRIMARY, "ejecuciones/uuid-1-b")
    scene.commit_on(ALTERNATE)
    scene.remove()
    assert scene.files(PRIMARY) == copy_at("ejecuciones/uuid-10") | copy_at("ejecuciones/uuid-1-b")
    assert scene.files(ALTERNATE) == copy_at()
    assert scene.states() == ["settled", "committed"]
    assert scene.report.counts["leftovers_removed"] == 1
    scene.remove()
    assert scene.report.counts["leftovers_removed"] == 1


def test_nothing_is_removed_before_the_execution_is_committed(scene: Scene) -> None:
    scene.fail_on(PRIMARY, foreign=False)
    scene.remove()
    scene.database.fail_migration(scene.claim, "failed", "unavailable", "no responde")
    scene.remove()
    assert scene.files(PRIMARY) == copy_at()
    assert scene.states() == ["abandoned"]


def test_nothing_is_removed_while_the_execution_is_migrated_again(scene: Scene) -> None:
    """The platform took the migration back: what the failed attempt left may be used again."""
    scene.fail_on(PRIMARY, foreign=False)
    scene.commit_on(ALTERNATE)
    scene.platform.sql("UPDATE ejecuciones_yaml SET migrado_a_nube = false")
    claim_one(scene.database, scene.claim.execution)
    scene.remove()
    assert scene.files(PRIMARY) == copy_at()
    assert scene.states() == ["abandoned", "committed"]


def test_an_attempt_at_the_committed_place_is_part_of_it(scene: Scene) -> None:
    scene.fail_on(PRIMARY, foreign=False)
    scene.commit_on(PRIMARY)
    scene.remove()
    assert scene.files(PRIMARY) == copy_at()
    assert scene.states() == ["settled", "committed"]


def test_another_prefix_on_the_same_provider_is_another_place(scene: Scene) -> None:
    scene.fail_on(PRIMARY, "old/ejecuciones/uuid-1", foreign=False)
    scene.commit_on(PRIMARY)
    scene.remove()
    assert scene.files(PRIMARY) == copy_at()


@pytest.mark.parametrize(
    "change",
    [
        "migrado_a_nube = false",
        "migrado_a_nube = NULL",
        "ruta_nube = 'cloud://local/ejecuciones/by-hand'",
        "nube_provider_id = 1",
    ],
)
def test_nothing_is_removed_when_the_row_says_otherwise(scene: Scene, change: str) -> None:
    scene.fail_on(PRIMARY, foreign=False)
    scene.commit_on(ALTERNATE)
    scene.platform.sql(f"UPDATE ejecuciones_yaml SET {change}")  # noqa: S608 from the list above
    scene.remove()
    assert scene.files(PRIMARY) == copy_at()


def test_a_claim_that_came_too_late_keeps_nothing_from_being_removed(scene: Scene) -> None:
    """Another host's claim can overlap the commit; it then notes a failure over it."""
    scene.fail_on(PRIMARY, foreign=False)
    scene.commit_on(ALTERNATE)
    scene.platform.sql("UPDATE janitor_migrations SET state = 'failed'")
    scene.remove()
    assert scene.files(PRIMARY) == set()
    assert scene.files(ALTERNATE) == copy_at()


@pytest.mark.parametrize("spelling", ["{}", "{}/", "{}/.", "{}/../primary"])
def test_a_committed_copy_survives_when_two_rows_name_its_place(scene: Scene, spelling: str) -> None:
    scene.directories[ALTERNATE] = Path(spelling.format(scene.directories[PRIMARY]))
    scene.fail_on(PRIMARY, foreign=False)
    scene.commit_on(ALTERNATE)
    scene.remove()
    assert scene.files(PRIMARY) == copy_at()
    assert scene.states() == ["settled", "committed"]


@pytest.mark.parametrize("linked", [PRIMARY, ALTERNATE])
def test_a_committed_copy_survives_when_one_row_names_its_place_by_a_link(
    scene: Scene, tmp_path: Path, linked: int
) -> None:
    real = scene.directories[PRIMARY]
    link = tmp_path / "link"
    link.symlink_to(real)
    scene.directories = {PRIMARY: real, ALTERNATE: real, linked: link}
    scene.fail_on(PRIMARY, foreign=False)
    scene.commit_on(ALTERNATE)
    scene.remove()
    assert scene.files(PRIMARY) == copy_at()


@pytest.mark.parametrize("deeper", [PRIMARY, ALTERNATE])
def test_a_committed_copy_survives_when_one_rows_directory_is_in_the_others(scene: Scene, deeper: int) -> None:
    """`archive` as part of the directory in the one row, and as the prefix of the keys for the other."""
    top = scene.directories[PRIMARY]
    (top / "archive").mkdir()
    scene.directories = {PRIMARY: top, ALTERNATE: top, deeper: top / "archive"}
    prefixes = {PRIMARY: "archive/ejecuciones/uuid-1", ALTERNATE: "archive/ejecuciones/uuid-1"}
    prefixes[deeper] = "ejecuciones/uuid-1"
    scene.fail_on(PRIMARY, prefixes[PRIMARY], foreign=False)
    scene.commit_on(ALTERNATE, prefixes[ALTERNATE])
    scene.remove()
    with closing(LocalProvider(scene.rows()[ALTERNATE - 1])) as provider:
        assert {stored.key for stored in provider.list("")} >= copy_at(prefixes[ALTERNATE])
    assert not any("probe" in name for name in scene.files(PRIMARY))


@pytest.mark.parametrize("foreign", [True, None])
def test_objects_that_are_not_ours_are_kept(scene: Scene, foreign: bool | None) -> None:
    """`None`: the attempt failed before it looked at the place, so it stored nothing of what is there."""
    scene.fail_on(PRIMARY, foreign=foreign)
    scene.commit_on(ALTERNATE)
    scene.remove()
    assert scene.files(PRIMARY) == copy_at()
    assert scene.states() == ["settled", "committed"]
    assert scene.used[PRIMARY].calls == []


@pytest.mark.parametrize(
    ("provider_id", "method", "error"),
    [
        (PRIMARY, "discard_unfinished", AccessDenied("denegado")),
        (PRIMARY, "list", AccessDenied("denegado")),
        (PRIMARY, "put", AccessDenied("denegado")),
        (ALTERNATE, "stat", AccessDenied("denegado")),
        (PRIMARY, "delete", AccessDenied("denegado")),
    ],
)
def test_what_cannot_be_removed_now_waits(
    scene: Scene, provider_id: int, method: str, error: AccessDenied, warnings: Callable[[], list[str]]
) -> None:
    scene.fail_on(PRIMARY, foreign=False)
    scene.commit_on(ALTERNATE)
    scene.faults = {provider_id: [Fault(method, fail(error), calls=EVERY_CALL)]}
    scene.remove()
    assert any("Quedan restos de la ejecución uuid-1" in warning for warning in warnings())
    assert scene.files(PRIMARY) >= copy_at()
    assert scene.files(ALTERNATE) == copy_at()
    assert scene.states() == ["abandoned", "committed"]
    scene.faults = {}
    scene.remove()
    assert scene.files(PRIMARY) == set()
    assert scene.files(ALTERNATE) == copy_at()
    assert scene.states() == ["settled", "committed"]


PAUSES = "SELECT round(extract(epoch FROM removal_next_at - now()) / 3600)::int FROM janitor_attempts WHERE id = %s"


def test_what_is_refused_again_and_again_is_asked_less_and_less_often(
    scene: Scene, warnings: Callable[[], list[str]]
) -> None:
    """As removals of local copies are; looked for besides in unfinished uploads, which go with the same step."""
    attempt = scene.fail_on(PRIMARY, foreign=False)
    scene.commit_on(ALTERNATE)
    pauses = []
    for _ in range(7):
        scene.faults = {PRIMARY: [Fault("delete", fail(AccessDenied("denegado")), calls=EVERY_CALL)]}
        scene.remove()
        pauses.append(scene.platform.value(PAUSES, attempt.id))
        if pauses[-1] is not None:
            assert "; no se intenta otra vez hasta el " in warnings()[-1]
            scene.faults = {}
            scene.remove()
            assert scene.files(PRIMARY) >= copy_at()  # it is not its turn
        scene.platform.sql("UPDATE janitor_attempts SET removal_next_at = now() - interval '1 second'")
    assert pauses == [None, None, 6, 12, 24, 48, 48]
    scene.faults = {}
    scene.remove()
    assert scene.files(PRIMARY) == set()


def test_a_provider_that_is_down_gets_no_pauses(scene: Scene) -> None:
    scene.fail_on(PRIMARY, foreign=False)
    scene.commit_on(ALTERNATE)
    for _ in range(5):
        scene.faults = {PRIMARY: [Fault("list", fail(given_up(ProviderUnavailable("no responde"))))]}
        scene.remove()
    scene.faults = {}
    scene.remove()
    assert scene.files(PRIMARY) == set()


def test_a_probe_whose_answer_was_lost_is_removed(scene: Scene) -> None:
    scene.fail_on(PRIMARY, foreign=False)
    scene.commit_on(ALTERNATE)
    scene.faults = {PRIMARY: [Fault("put", lose_answer(AccessDenied("denegado")))]}
    scene.remove()
    assert scene.files(PRIMARY) > copy_at()
    scene.faults = {}
    scene.remove()
    assert scene.files(PRIMARY) == set()


def test_a_probe_that_a_crash_left_unfinished_is_removed(scene: Scene) -> None:
    attempt = scene.fail_on(PRIMARY, foreign=False)
    scene.commit_on(ALTERNATE)
    beside = scene.directories[PRIMARY] / "ejecuciones"
    (beside / temporary_name(f"uuid-1.janitor-probe-{attempt.id}")).write_bytes(b"janitor")
    scene.remove()
    assert scene.files(PRIMARY) == set()


def test_a_refused_deletion_was_answered_and_closes_no_place(scene: Scene) -> None:
    """What is refused cannot arrive late. Also looked for: manifests that an upload withdraws."""
    attempt = scene.fail_on(PRIMARY, foreign=False)
    scene.commit_on(ALTERNATE)
    scene.faults = {
        PRIMARY: [Fault("delete", fail(AccessDenied("denegado")), key="*/uuid-1.manifest.json", calls=EVERY_CALL)]
    }
    scene.remove()
    assert scene.files(PRIMARY) == copy_at()
    assert scene.platform.value("SELECT closed_until FROM janitor_attempts WHERE id = %s", attempt.id) is None


def test_one_that_fails_does_not_stop_the_others(scene: Scene) -> None:
    scene.fail_on(PRIMARY, "first/ejecuciones/uuid-1", foreign=False)
    scene.fail_on(PRIMARY, "second/ejecuciones/uuid-1", foreign=False)
    scene.commit_on(ALTERNATE)
    scene.faults = {PRIMARY: [Fault("list", fail(given_up(ProviderUnavailable("no responde"))), key="first/*")]}
    scene.remove()
    assert scene.files(PRIMARY) == copy_at("first/ejecuciones/uuid-1")
    assert scene.states() == ["abandoned", "settled", "committed"]


@pytest.mark.parametrize("missing", [PRIMARY, ALTERNATE])
def test_without_one_of_the_providers_nothing_is_removed(scene: Scene, missing: int) -> None:
    scene.fail_on(PRIMARY, foreign=False)
    scene.commit_on(ALTERNATE)
    known = [row for row in scene.rows() if row.id != missing]
    remove_leftovers(
        scene.database, scene.database.leftovers(), ProviderSet(known, []), DirectoryJudge([]), scene.report, NEVER
    )
    assert scene.files(PRIMARY) == copy_at()
    assert scene.states() == ["abandoned", "committed"]


def test_a_run_that_was_asked_to_stop_removes_nothing(scene: Scene) -> None:
    scene.fail_on(PRIMARY, foreign=False)
    scene.commit_on(ALTERNATE)
    interruption = threading.Event()
    interruption.set()
    scene.remove(interruption)
    assert scene.files(PRIMARY) == copy_at()


def test_an_attempt_that_stored_nothing_asks_for_no_probe(scene: Scene) -> None:
    attempt = open_attempt(scene.database, scene.claim, PRIMARY, "ejecuciones/uuid-1")
    scene.database.note_place(attempt, foreign_objects=False)
    scene.commit_on(ALTERNATE)
    scene.remove()
    assert scene.used[PRIMARY].keys("put") == []
    assert scene.states() == ["settled", "committed"]


def test_nothing_more_is_removed_once_the_row_says_otherwise(scene: Scene) -> None:
    """The platform takes the migration back while leftovers are removed: what is left of them may be used again."""
    scene.fail_on(PRIMARY, foreign=False)
    scene.commit_on(ALTERNATE)
    taken_back = after(lambda: scene.platform.sql("UPDATE ejecuciones_yaml SET migrado_a_nube = false"))
    scene.faults = {PRIMARY: [Fault("delete", taken_back, key="*.manifest.json")]}
    scene.remove()
    assert scene.files(PRIMARY) == copy_at() - {"ejecuciones/uuid-1.manifest.json"}
    assert scene.states() == ["abandoned", "committed"]


# Whose it is by now


def manifest_by(installation: str, row: int, uuid: str = "uuid-1", content: bytes | None = None) -> bytes:
    """A whole manifest of an empty execution, or of one that has a file `a`."""
    return manifest_of(installation, row, {} if content is None else {"a": content}, uuid)


def put_manifest(scene: Scene, content: bytes) -> None:
    (scene.directories[PRIMARY] / "ejecuciones" / "uuid-1.manifest.json").write_bytes(content)


def test_what_another_installation_completed_is_kept(scene: Scene, warnings: Callable[[], list[str]]) -> None:
    """A clone of the database has the same attempts; what is there may be the copy of the original by now."""
    scene.fail_on(PRIMARY, foreign=False)
    put_manifest(scene, manifest_by("another", scene.claim.execution.id))
    scene.commit_on(ALTERNATE)
    scene.remove()
    assert scene.files(PRIMARY) == copy_at()
    assert scene.states() == ["abandoned", "committed"]
    assert any("que esta instalación no escribió" in message for message in warnings())


def test_what_another_row_completed_is_kept(scene: Scene) -> None:
    scene.fail_on(PRIMARY, foreign=False)
    put_manifest(scene, manifest_by(scene.database.installation, scene.claim.execution.id + 1))
    scene.commit_on(ALTERNATE)
    scene.remove()
    assert scene.files(PRIMARY) == copy_at()


def test_what_this_row_completed_is_removed(scene: Scene) -> None:
    scene.fail_on(PRIMARY, foreign=False)
    manifest = manifest_by(scene.database.installation, scene.claim.execution.id)
    put_manifest(scene, manifest)
    scene.commit_on(ALTERNATE, manifest=manifest)
    scene.remove()
    assert scene.files(PRIMARY) == set()


@pytest.mark.parametrize("key_prefix", ["ejecuciones/uuid-1", "ejecuciones/uuid-1/ejecuciones/uuid-2", "ejecuciones"])
@pytest.mark.parametrize("known", [True, False])
def test_what_another_row_points_to_is_kept(scene: Scene, key_prefix: str, known: bool) -> None:
    """Its own copy, one in it or one around it: as an attempt of ours tells, or only the row that others have written.

    A uuid went from one row to another, or the prefix was changed to lie in an earlier place.
    """
    scene.fail_on(PRIMARY, foreign=False)
    scene.commit_on(ALTERNATE)
    other = scene.platform.add_execution("/data/other", "uuid-2")
    if known:
        insert = (
            "INSERT INTO janitor_attempts "
            "(execution_id, run_id, host, fencing_token, provider_id, key_prefix, state, foreign_objects) "
            "VALUES (%s, 1, 'h', 1, 1, %s, 'committed', false)"
        )
        scene.platform.sql(insert, other.id, key_prefix)
    else:
        change = "UPDATE ejecuciones_yaml SET ruta_nube = %s WHERE id = %s"
        scene.platform.sql(change, f"cloud://local/{key_prefix}", other.id)
    scene.remove()
    assert scene.files(PRIMARY) == copy_at()
    assert scene.states()[0] == "abandoned"


def test_a_row_that_leads_elsewhere_by_now_leads_to_nothing_of_ours(scene: Scene) -> None:
    scene.fail_on(PRIMARY, foreign=False)
    scene.platform.sql("UPDATE janitor_attempts SET store = 'local:/another'")
    scene.commit_on(ALTERNATE)
    scene.name_stores = True
    scene.remove()
    assert scene.files(PRIMARY) == copy_at()
    assert scene.states()[0] == "abandoned"


# Executions whose rows are gone


def delete_row(scene: Scene) -> None:
    """The platform deletes the row while files are sent; the run has noticed."""
    scene.platform.sql("DELETE FROM ejecuciones_yaml")
    scene.database.fail_migration(scene.claim, "failed", "claim_lost", "la fila cambió")


def test_what_was_sent_for_a_row_that_is_gone_is_removed(scene: Scene) -> None:
    scene.fail_on(PRIMARY, foreign=False)
    (scene.directories[PRIMARY] / "ejecuciones" / "uuid-1.manifest.json").unlink()
    delete_row(scene)
    scene.remove()
    assert scene.files(PRIMARY) == set()
    assert scene.states() == ["settled"]


def test_what_is_still_being_sent_for_it_stays(scene: Scene) -> None:
    """By another host, whose lease holds."""
    scene.fail_on(PRIMARY, foreign=False)
    scene.platform.sql("DELETE FROM ejecuciones_yaml")
    scene.platform.sql("UPDATE janitor_migrations SET host = 'another', lease_expires_at = now() + interval '1 hour'")
    scene.remove()
    assert scene.files(PRIMARY) == copy_at()


NOTHING = "an empty directory"
WHOLE = "all of the copy"
OTHER_BYTES = "as much, with other bytes"
HALF_RESTORED = "a restore that is not finished"
CONTENT = b"contents"


def make_directory(left: str, directory: Path) -> None:
    """What may be left of an execution of one file, `a`."""
    directory.mkdir()
    if left != NOTHING:
        (directory / "a").write_bytes(b"differs!" if left == OTHER_BYTES else CONTENT)
    if left == HALF_RESTORED:
        (directory / INCOMPLETE_MARK).touch()


@pytest.mark.parametrize("left", [WHOLE, NOTHING, OTHER_BYTES, HALF_RESTORED, None])
def test_a_whole_copy_of_a_row_that_is_gone_goes_only_where_its_original_is(
    scene: Scene, left: str | None, tmp_path: Path
) -> None:
    """Otherwise it may be the last one: a row can be lost by mistake. `audit --fix` compares in the same way."""
    scene.fail_on(PRIMARY, foreign=False)
    put_manifest(scene, manifest_by(scene.database.installation, scene.claim.execution.id, content=CONTENT))
    original = tmp_path / "original"
    if left is not None:
        make_directory(left, original)
    scene.platform.sql("UPDATE janitor_migrations SET directory = %s", str(original))
    delete_row(scene)
    scene.remove()
    assert scene.files(PRIMARY) == (set() if left == WHOLE else copy_at())


# Deletions that may still be on their way


def killed_after_the_first_deletion(scene: Scene) -> None:
    class Killed(BaseException):
        """The end of the process."""

    def die() -> None:
        raise Killed

    scene.faults[PRIMARY] = [Fault("delete", after(die), key="*/uuid-1/a")]
    with pytest.raises(Killed):
        scene.remove()
    scene.faults.clear()


def test_a_place_stays_closed_while_a_deletion_may_still_arrive_there(scene: Scene) -> None:
    """Of a run that was killed: for an hour. The next run finishes what it had begun, and cannot tell."""
    scene.fail_on(PRIMARY, foreign=False)
    scene.commit_on(ALTERNATE)
    killed_after_the_first_deletion(scene)
    scene.database = scene.platform.run()
    scene.remove()
    assert scene.files(PRIMARY) == set()
    scene.platform.sql("UPDATE ejecuciones_yaml SET migrado_a_nube = false")
    later = scene.platform.run()
    claim = claim_one(later, scene.claim.execution)
    answer = later.open_attempt(claim, PRIMARY, "ejecuciones/uuid-1")
    assert isinstance(answer, Occupied)
    assert answer.closed_until is not None
    scene.platform.sql("UPDATE janitor_attempts SET closed_until = closed_until - interval '1 hour'")
    assert isinstance(later.open_attempt(claim, PRIMARY, "ejecuciones/uuid-1"), Attempt)


def test_a_place_is_open_again_once_every_deletion_was_answered(scene: Scene) -> None:
    scene.fail_on(PRIMARY, foreign=False)
    scene.commit_on(ALTERNATE)
    scene.remove()
    scene.platform.sql("UPDATE ejecuciones_yaml SET migrado_a_nube = false")
    later = scene.platform.run()
    claim = claim_one(later, scene.claim.execution)
    assert isinstance(later.open_attempt(claim, PRIMARY, "ejecuciones/uuid-1"), Attempt)


def test_what_an_earlier_version_completed_is_kept(scene: Scene) -> None:
    """Its manifest does not say whose it is: a clone of the database has the same attempts."""
    scene.fail_on(PRIMARY, foreign=False)
    put_manifest(scene, json.dumps({"format": "janitor-manifest", "version": 1, "execution": "uuid-1"}).encode())
    scene.commit_on(ALTERNATE)
    scene.remove()
    assert scene.files(PRIMARY) == copy_at()


def test_a_place_that_its_row_has_given_up_is_cleared(scene: Scene) -> None:
    """The row has another uuid by now: otherwise two rows that swapped theirs would wait for each other for ever."""
    scene.fail_on(PRIMARY, foreign=False)
    (scene.directories[PRIMARY] / "ejecuciones" / "uuid-1.manifest.json").unlink()
    scene.database.fail_migration(scene.claim, "failed", "unavailable", "no responde")
    scene.remove()
    assert len(scene.files(PRIMARY)) == len(OBJECTS)
    scene.platform.sql("UPDATE ejecuciones_yaml SET uuid = 'another'")
    scene.remove()
    assert scene.files(PRIMARY) == set()
    assert scene.states() == ["settled"]


# Another copy must be whole now


NOTE_BAD = (
    "INSERT INTO janitor_audits (execution_id, provider_id, uri, audited_at, state, evidence) "
    "SELECT execution_id, provider_id, uri, now() - make_interval(secs => %s), 'damaged', 'read-back' "
    "FROM janitor_migrations"
)


def test_nothing_is_removed_while_an_audit_says_that_the_copy_is_bad(
    scene: Scene, warnings: Callable[[], list[str]]
) -> None:
    """Its names and sizes are as they should be. What was found before the copy was last proven does not count."""
    scene.fail_on(PRIMARY, foreign=False)
    scene.commit_on(ALTERNATE)
    scene.platform.sql(NOTE_BAD, 0)
    scene.remove()
    assert scene.files(PRIMARY) == copy_at()
    assert any("una auditoría encontró" in message for message in warnings())
    scene.platform.sql("UPDATE janitor_audits SET audited_at = now() - interval '1 hour'")
    scene.remove()
    assert scene.files(PRIMARY) == set()


@pytest.mark.parametrize("lost", ["ejecuciones/uuid-1.manifest.json", "ejecuciones/uuid-1/a"])
@pytest.mark.parametrize("has_manifest", [True, False])
def test_no_bytes_are_removed_while_the_copy_is_lost(scene: Scene, lost: str, has_manifest: bool) -> None:
    """Also without a manifest: a removal that is killed, or a provider that fails, may leave all but that."""
    scene.fail_on(PRIMARY, foreign=False)
    scene.commit_on(ALTERNATE)
    if not has_manifest:
        (scene.directories[PRIMARY] / "ejecuciones" / "uuid-1.manifest.json").unlink()
    left = scene.files(PRIMARY)
    (scene.directories[ALTERNATE] / lost).unlink()
    scene.remove()
    assert scene.files(PRIMARY) == left
    assert scene.states() == ["abandoned", "committed"]


@pytest.mark.parametrize("is_gone", [True, False])
@pytest.mark.parametrize("content", [b"{}", b'{"format": "janitor-manifest", "version": 1, "execution": "uuid-1"}'])
def test_what_has_a_manifest_that_cannot_be_read_stays(scene: Scene, content: bytes, is_gone: bool) -> None:
    """It may be of a whole copy, and of anybody's."""
    scene.fail_on(PRIMARY, foreign=False)
    put_manifest(scene, content)
    if is_gone:
        delete_row(scene)
    else:
        scene.commit_on(ALTERNATE)
    scene.remove()
    assert scene.files(PRIMARY) == copy_at()


def test_an_empty_object_in_the_place_of_a_manifest_is_none(scene: Scene) -> None:
    scene.fail_on(PRIMARY, foreign=False)
    put_manifest(scene, b"")
    scene.commit_on(ALTERNATE)
    scene.remove()
    assert scene.files(PRIMARY) == set()


def test_a_whole_copy_of_the_uuid_before_stays_without_its_original(scene: Scene) -> None:
    """Its commit failed, as the platform gave the row to another execution, which was migrated since."""
    scene.fail_on(PRIMARY, foreign=False)
    scene.database.fail_migration(scene.claim, "failed", "claim_lost", "la fila cambió")
    scene.platform.sql("UPDATE ejecuciones_yaml SET uuid = 'uuid-2', ruta_directorio = '/data/other'")
    scene.database = scene.platform.run()
    scene.claim = claim_one(scene.database, scene.claim.execution._replace(uuid="uuid-2", directory="/data/other"))
    scene.commit_on(ALTERNATE, "ejecuciones/uuid-2", manifest_of(scene.database.installation, 1, {}, "uuid-2"))
    scene.remove()
    assert scene.files(PRIMARY) == copy_at()


@pytest.mark.parametrize(("uuid", "directory"), [("uuid-9", None), ("uuid-1", "/data/before")])
def test_a_whole_copy_of_another_execution_goes_only_if_its_bytes_are_elsewhere(
    scene: Scene, uuid: str, directory: str | None
) -> None:
    """The row had another uuid, or named another directory, when it was stored."""
    scene.fail_on(PRIMARY, foreign=False)
    row, installation = scene.claim.execution.id, scene.database.installation
    scene.commit_on(ALTERNATE)
    put_manifest(scene, manifest_of(installation, row, {"a": b"x"}, uuid, directory))
    scene.remove()
    assert scene.files(PRIMARY) == copy_at()
    put_manifest(scene, manifest_of(installation, row, {"a": b"a"}, uuid, directory))
    scene.remove()
    assert scene.files(PRIMARY) == set()


def test_what_the_last_of_several_attempts_completed_is_removed_without_a_warning(
    scene: Scene, warnings: Callable[[], list[str]]
) -> None:
    """It is no newer copy to the attempts before it at the same place. It has a file that the execution lost since."""
    scene.fail_on(PRIMARY, foreign=False)
    last = scene.fail_on(PRIMARY, foreign=False)
    row, installation = scene.claim.execution.id, scene.database.installation
    document = json.loads(manifest_of(installation, row, {"a": b"a", "lost": b"since"}))
    put_manifest(scene, json.dumps({**document, "attempt": last.id}).encode())
    scene.commit_on(ALTERNATE)
    scene.remove()
    assert warnings() == []
    assert scene.files(PRIMARY) == set()


def test_what_a_later_attempt_completed_than_the_database_knows_stays(scene: Scene) -> None:
    """The database was set back to a backup, and attempts elsewhere have higher numbers by now."""
    scene.fail_on(PRIMARY, foreign=False)
    unknown = scene.fail_on(PRIMARY, foreign=False)
    scene.platform.sql("DELETE FROM janitor_attempts WHERE id = %s", unknown.id)
    row, installation = scene.claim.execution.id, scene.database.installation
    document = json.loads(manifest_of(installation, row, {"a": b"a", "new": b"new"}))
    put_manifest(scene, json.dumps({**document, "attempt": unknown.id}).encode())
    scene.commit_on(ALTERNATE)
    scene.remove()
    assert scene.files(PRIMARY) == copy_at()


@pytest.mark.parametrize("is_damaged", [True, False])
def test_a_copy_whose_listing_shows_other_checksums_is_read_back(scene: Scene, is_damaged: bool) -> None:
    scene.fail_on(PRIMARY, foreign=False)
    scene.commit_on(ALTERNATE)
    scene.platform.sql("UPDATE janitor_migrations SET listing_digest = 7")
    if is_damaged:
        (scene.directories[ALTERNATE] / "ejecuciones/uuid-1/c").write_bytes(b"x")
    scene.remove()
    assert scene.files(PRIMARY) == (copy_at() if is_damaged else set())


def test_a_copy_whose_provider_does_not_answer_is_waited_for_without_pauses(scene: Scene) -> None:
    """Nor is the provider of what is left over blamed for it."""
    attempt = scene.fail_on(PRIMARY, foreign=False)
    scene.commit_on(ALTERNATE)
    for _ in range(4):
        refused = fail(given_up(ProviderUnavailable("no responde")))
        scene.faults = {ALTERNATE: [Fault("list", refused, calls=EVERY_CALL)]}
        scene.remove()
    assert scene.platform.value("SELECT removal_tries FROM janitor_attempts WHERE id = %s", attempt.id) == 0
    assert scene.files(PRIMARY) == copy_at()
