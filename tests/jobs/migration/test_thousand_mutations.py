"""A thousand executions in one run, each of which changes in its own way at its own moment: nothing is lost."""

from __future__ import annotations

import itertools
import os
import random
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from config.settings import Settings
from janitor_daemon import JanitorDaemon
from jobs.tick import Request, RunOptions
from tests.databases.platform_database import Platform
from tests.destinations import Destination, local_destination
from tests.disks.privileges import unprivileged
from tests.disks.small_disk import mounted_small_disk
from tests.executions.source_mutations import (
    COMPARING_MOMENTS,
    DIGEST_MOMENTS,
    MIGRATION_MOMENTS,
    MOUNTS,
    MUTATIONS,
    REMOVAL_MOMENTS,
    RIGHTS,
    ROWS,
    Case,
    Row,
    Stage,
    make_ready,
    pairs_of,
    problems,
    problems_at_rest,
    unmount_everything,
)
from tests.servers.base import S3Server

SEED = int(os.environ.get("JANITOR_MUTATIONS_SEED", "3"))


@pytest.fixture
def platform(initialized_database_url: str) -> Iterator[Platform]:
    """The platform's database."""
    platform = Platform(initialized_database_url)
    yield platform
    platform.close()


@pytest.fixture
def memory() -> Iterator[Path]:
    """A directory that needs no disk: what is written through to it, as to a NAS, costs nothing."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as directory:  # noqa: S108
        yield Path(directory)


class Theatre:
    """Executions that will change, a database with their rows, and a daemon that runs in this process."""

    def __init__(self, tmp_path: Path, platform: Platform, destination: Destination, transfers: int = 4) -> None:
        self._transfers = transfers
        self.executions = tmp_path / "ejecuciones"
        self.outside = tmp_path / "fuera"
        self._tmp_path = tmp_path
        self._platform = platform
        self._destination = destination
        self.cases: list[Case] = []
        self.executions.mkdir()
        (self.outside / "sentinel").mkdir(parents=True)
        (self.outside / "sentinel" / "tabla.csv").write_text("de otros")
        provider = platform.add_provider(destination.kind, destination.options, destination.credentials)
        platform.sql(
            "INSERT INTO ejecuciones_config (nube_primaria_id, prefijo_ruta_nube, eliminar_despues_de_migrar) "
            "VALUES (%s, 'sage', true)",
            provider,
        )

    def cast(self, pairs: list[tuple[str, str]]) -> dict[object, str]:
        """Make an execution for each moment and mutation; give their uuids by the id of their rows."""
        for number, (moment, mutation) in enumerate(pairs):
            case = Case(number, f"mutado-{number:04d}", self.executions, self.outside, moment, mutation)
            make_ready(case)
            self.cases.append(case)
        return {self._platform.add_execution(case.directory, case.uuid).id: case.uuid for case in self.cases}

    def tick(self) -> None:
        """One real run."""
        settings = Settings(
            database_url=self._platform.database_url,
            temp_directory=self._tmp_path,
            temp_retention_hours=24.0,
            roots=(str(self.executions),),
            log_directory=self._tmp_path,
            log_format="text",
            lock_directory=self._tmp_path,
            host="host-1",
            transfers=self._transfers,
            processes=1,  # the one in which the stage watches what happens
        )
        JanitorDaemon(settings, RunOptions(Request(only=frozenset({"migration"})))).run()

    def let_writers_end(self) -> None:
        """Close what writers have kept open."""
        for case in self.cases:
            case.held.close()

    def give_rights_back(self) -> None:
        """Let everything be read again that was closed: each such directory is then what it was before."""
        for case in self.cases:
            if case.mutation not in RIGHTS:
                continue
            (before, *_) = case.states
            case.states = [before]
            for place, name in itertools.product(case.places, sorted(before)):
                path = place / name
                if path.exists() and not path.is_symlink():
                    path.chmod(int(str(before[name]["mode"]), 8))

    def reasons(self) -> list[str]:
        """Why something was not done, by the codes in the database."""
        return [row["error_code"] for row in self._platform.sql(ROWS) if row["error_code"]]

    def wrong(self, problems_of: Callable[[Case, Row, dict[str, bytes]], Iterator[str]]) -> list[str]:
        """All that is wrong with any of them, and with what lies outside."""
        rows = {row["uuid"]: Row.of(row) for row in self._platform.sql(ROWS)}
        stored = self._stored()
        found = [f"{case}: {what}" for case in self.cases for what in problems_of(case, rows[case.uuid], stored)]
        if [path.read_text() for path in (self.outside / "sentinel").iterdir()] != ["de otros"]:
            found.append("somebody touched what lies outside")
        return found

    def _stored(self) -> dict[str, bytes]:
        server = self._destination.server
        if isinstance(server, S3Server):
            bucket = self._destination.options["bucket"]
            return {
                key: server.client.get_object(Bucket=bucket, Key=key)["Body"].read()
                for key in self._destination.everything_stored()
            }
        directory = self._destination.directory
        files = (path for path in directory.rglob("*") if path.is_file() and not path.is_symlink())
        return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def draw(count: int, moments: Iterable[str], mutations: Iterable[str] = MUTATIONS) -> list[tuple[str, str]]:
    """A number of all the pairs of a moment and a mutation, in an order that the seed decides."""
    pairs = pairs_of(moments, mutations)
    random.Random(SEED).shuffle(pairs)  # noqa: S311 not a secret
    return pairs[:count]


def play(
    theatre: Theatre,
    pairs: list[tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    *,
    undo: Callable[[], object] = lambda: None,
) -> None:
    """One run in which everything happens, then one in which nothing more does: each must leave nothing wrong.

    `undo` takes away, between them, what would hide a directory from the checker and from the second run.
    """
    uuid_by_execution_id = theatre.cast(pairs)
    stage = Stage(theatre.cases, theatre.executions)
    try:
        with monkeypatch.context() as patch:
            stage.watch(patch, uuid_by_execution_id)
            theatre.tick()
            stage.finish()
    finally:
        theatre.let_writers_end()
        if os.geteuid() != 0:  # root can read what nobody has a right to, and it is no obstacle
            theatre.give_rights_back()
        undo()
    require_nothing(theatre.wrong(problems))
    assert_everything_happened(theatre.cases, stage)
    theatre.tick()
    require_nothing(theatre.wrong(problems_at_rest))


def require_nothing(wrong: list[str]) -> None:
    """Fail with the seed and every case in which something is wrong."""
    assert not wrong, "\n".join([f"{len(wrong)} wrong, seed {SEED}:", *wrong])


def assert_everything_happened(cases: list[Case], stage: Stage) -> None:
    never = sorted({case.moment for case in cases} - set(stage.reached))
    absent = [str(case) for case in cases if case.thread is None]
    assert not never, f"seed {SEED}: these moments never came: {never}"
    assert not absent, f"seed {SEED}: these changes did not happen: {absent}"
    in_vain = [str(case) for case in cases if not case.struck and case.moment not in REMOVAL_MOMENTS]
    assert not in_vain, f"seed {SEED}: these changes found nothing to change: {in_vain}"


@pytest.mark.timeout(600)
def test_of_a_thousand_executions_that_change_at_any_moment_none_loses_a_byte(
    tmp_path: Path, memory: Path, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    theatre = Theatre(tmp_path, platform, local_destination("nas", memory / "nas"))
    moments = (*MIGRATION_MOMENTS, *DIGEST_MOMENTS, *COMPARING_MOMENTS, *REMOVAL_MOMENTS)
    play(theatre, draw(1000, moments), monkeypatch)
    assert {case.mutation for case in theatre.cases if case.struck} == set(MUTATIONS)


@pytest.mark.timeout(300)
def test_the_same_holds_on_an_object_store(
    tmp_path: Path,
    new_destination: Callable[[str], Destination],
    platform: Platform,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # rclone answers 500 when two requests make one directory at once: the place then stays closed to changed files
    theatre = Theatre(tmp_path, platform, new_destination("s3-rclone"), transfers=1)
    play(theatre, draw(100, (*MIGRATION_MOMENTS, *COMPARING_MOMENTS, *REMOVAL_MOMENTS)), monkeypatch)


@pytest.mark.timeout(300)
def test_what_is_mounted_into_an_execution_is_neither_sent_nor_deleted(
    tmp_path: Path, memory: Path, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_mounts(tmp_path)
    theatre = Theatre(tmp_path, platform, local_destination("nas", memory / "nas"))
    pairs = draw(40, (*MIGRATION_MOMENTS, *COMPARING_MOMENTS, *REMOVAL_MOMENTS), MOUNTS)
    reasons: list[str] = []

    def undo() -> None:
        assert unmount_everything(tmp_path) > len(pairs) / 2
        reasons.extend(theatre.reasons())

    play(theatre, pairs, monkeypatch, undo=undo)
    assert "unsafe_source" in reasons


def require_mounts(tmp_path: Path) -> None:
    """Skip, loudly, where nothing can be mounted."""
    (tmp_path / "probe").mkdir()
    with mounted_small_disk(tmp_path / "probe", 4096):
        pass


@pytest.mark.timeout(300)
def test_what_becomes_unreadable_is_left_until_it_can_be_read(
    memory: Path, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As anybody but root, who may read everything."""
    pairs = draw(50, (*MIGRATION_MOMENTS, *COMPARING_MOMENTS), RIGHTS)
    memory.chmod(0o777)
    with unprivileged():
        stage = memory / "stage"
        stage.mkdir()
        theatre = Theatre(stage, platform, local_destination("nas", memory / "nas"))
        reasons: list[str] = []

        play(theatre, pairs, monkeypatch, undo=lambda: reasons.extend(theatre.reasons()))
    assert "source_unreadable" in reasons
