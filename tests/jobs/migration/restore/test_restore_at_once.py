"""Several executions brought back at once: results in their order, what must not meet waits, and all ends cleanly."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field

import pytest

from config.errors import RunInterrupted
from jobs.migration.restore.errors import DestinationFull
from jobs.migration.restore.many.at_once import MOST_AT_ONCE, Task, results_in_order
from jobs.migration.restore.many.run import MOST_FILES_AT_ONCE, Done, Sums, Work, for_each_execution
from jobs.migration.restore.many.wanted import Named
from jobs.migration.restore.progress import RestoreProgress, SharedProgress
from jobs.migration.restore.source import StoredCopy
from providers.errors import ProviderUnavailable
from sql.platform.stored_executions import StoredExecution
from tests.databases.platform_database import Platform
from tests.destinations import Destination

TIMEOUT_SECONDS = 60


@dataclass
class Meeting:
    """Executions that each wait until as many as a test wants are under way, and what was seen of them."""

    wanted: int
    running: set[str] = field(default_factory=set)
    seen: list[frozenset[str]] = field(default_factory=list)
    turn: threading.Condition = field(default_factory=threading.Condition)

    def work(self, _copy: StoredCopy, row: StoredExecution, _heading: str) -> Done:
        """See `Work`."""
        with self.turn:
            self.running.add(row.uuid)
            self.seen.append(frozenset(self.running))
            self.turn.notify_all()
            self.turn.wait_for(lambda: len(self.seen) >= self.wanted, TIMEOUT_SECONDS)
            self.running.remove(row.uuid)
        return Done(1, 1, row.uuid)

    @property
    def most(self) -> int:
        """How many were under way at the same time."""
        return max(map(len, self.seen))


@dataclass
class Scene:
    """A database with migrated executions at one provider."""

    platform: Platform
    provider_id: int
    told: list[str] = field(default_factory=list)
    interruption: threading.Event = field(default_factory=threading.Event)

    def add(self, *uuids: str, file_count: int = 1) -> None:
        """Executions as rows know them."""
        for uuid in uuids:
            number = self.platform.value(
                "INSERT INTO ejecuciones_yaml (uuid, ruta_directorio, migrado_a_nube, ruta_nube, nube_provider_id) "
                "VALUES (%s, %s, true, %s, %s) RETURNING id",
                uuid, f"/srv/{uuid}", f"cloud://local/ejecuciones/{uuid}", self.provider_id,
            )  # fmt: skip
            self.platform.sql(
                "INSERT INTO janitor_migrations (execution_id, uuid, state, host, run_id, fencing_token, uri, "
                "provider_id, file_count) SELECT id, uuid, 'migrated', 'h', 1, 1, ruta_nube, nube_provider_id, %s "
                "FROM ejecuciones_yaml WHERE id = %s",
                file_count, number,
            )  # fmt: skip

    def run(
        self,
        work: Work,
        *uuids: str,
        directory_of: Callable[[StoredExecution], str | None] = lambda row: row.directory,
    ) -> Sums:
        """Do the work with some of them."""
        database = self.platform.database()
        return for_each_execution(database, Named(uuids), work, self.told.append, self.interruption, directory_of)


@pytest.fixture
def scene(initialized_database_url: str, nas: Destination) -> Scene:
    """See `Scene`."""
    platform = Platform(initialized_database_url)
    return Scene(platform, platform.add_provider(nas.kind, nas.options))


def names(count: int) -> list[str]:
    """This many uuids."""
    return [f"u{number}" for number in range(count)]


def test_several_are_under_way_at_once_and_reported_in_their_order(scene: Scene) -> None:
    uuids = names(2 * MOST_AT_ONCE)
    scene.add(*uuids)
    meeting = Meeting(wanted=2 * MOST_AT_ONCE)

    def work(copy: StoredCopy, row: StoredExecution, heading: str) -> Done:
        if row.uuid == "u0":  # from then on the provider is trusted
            return Done(1, 1, "u0")
        meeting.wanted = MOST_AT_ONCE
        return meeting.work(copy, row, heading)

    sums = scene.run(work, *uuids)
    assert scene.told == [f"[{number} de {len(uuids)}] {uuid}" for number, uuid in enumerate(uuids, 1)]
    assert (sums.done, sums.failed, meeting.most) == (len(uuids), 0, MOST_AT_ONCE)


def test_what_writes_to_one_directory_waits(scene: Scene) -> None:
    scene.add("uno", "uno/dentro", "otro")
    seen: list[str] = []
    together: list[frozenset[str]] = []
    running: set[str] = set()
    turn = threading.Condition()

    def work(_copy: StoredCopy, row: StoredExecution, _heading: str) -> Done:
        with turn:
            running.add(row.uuid)
            seen.append(row.uuid)
            together.append(frozenset(running))
            turn.wait(0.2)  # time in which the other one could begin
            running.remove(row.uuid)
        return Done(1, 1, row.uuid)

    assert scene.run(work, "uno", "uno/dentro", "otro").done == 3
    assert seen == ["uno", "uno/dentro", "otro"]
    assert not any({"uno", "uno/dentro"} <= each for each in together)


def test_executions_of_many_files_are_done_alone(scene: Scene) -> None:
    scene.add("uno", "dos", file_count=MOST_FILES_AT_ONCE)
    meeting = Meeting(wanted=1)
    scene.run(meeting.work, "uno", "dos")
    assert meeting.most == 1


def test_one_that_fails_stops_no_other_and_a_full_disk_stops_all(scene: Scene) -> None:
    uuids = names(12)
    scene.add(*uuids)
    begun = []

    def work(_copy: StoredCopy, row: StoredExecution, _heading: str) -> Done:
        begun.append(row.uuid)
        if row.uuid == "u1":
            raise ValueError("a defect")
        if row.uuid == "u4":
            raise DestinationFull("no queda sitio")
        if row.uuid > "u4":
            assert scene.interruption.wait(TIMEOUT_SECONDS)  # as those do that are under way
            raise RunInterrupted("interrumpido")
        return Done(1, 1, row.uuid)

    with pytest.raises(DestinationFull, match=r"^no queda sitio; hasta ahora \d+ de 12 ejecuciones$"):
        scene.run(work, *uuids)
    assert len(begun) < len(uuids)


def test_a_signal_ends_all_before_it_returns(scene: Scene) -> None:
    scene.add(*names(6))
    ended = []

    def work(_copy: StoredCopy, row: StoredExecution, _heading: str) -> Done:
        scene.interruption.set()
        ended.append(row.uuid)
        raise RunInterrupted("interrumpido")

    with pytest.raises(RunInterrupted):
        scene.run(work, *names(6))
    assert len(ended) < 6
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("execution")]


def test_a_provider_that_fails_is_left_alone_as_soon_as_when_one_goes_after_the_other(scene: Scene) -> None:
    scene.add(*names(10))
    tries = []

    def work(_copy: StoredCopy, row: StoredExecution, _heading: str) -> Done:
        tries.append(row.uuid)
        raise ProviderUnavailable("no responde")

    sums = scene.run(work, *names(10))
    assert (sums.failed, len(tries)) == (10, 3)


def test_results_that_are_not_taken_end_the_others() -> None:
    stop = threading.Event()

    class Waiting:
        def begin(self) -> Callable[[], bool]:
            return lambda: stop.wait(TIMEOUT_SECONDS)

    class Quick:
        def begin(self) -> Callable[[], bool]:
            return lambda: True

    tasks: list[Task[bool]] = [Quick(), Waiting(), Quick()]
    results = results_in_order(tasks, lambda _task, _running: True, stop)
    with closing(results):
        assert next(results)
    assert stop.is_set()


def test_one_line_shows_all_that_are_under_way() -> None:
    shared = SharedProgress(lambda: 0.0)
    first, second = (RestoreProgress(uuid, 2, 100, lambda: 0.0, heading=uuid) for uuid in ("uno", "dos"))
    with shared.including(first):
        first.note_bytes(50)
        assert shared.text() == first.text()
        with shared.including(second):
            second.note_bytes(25)
            assert shared.text().startswith("2 a la vez, 75 B, ")
            assert shared.text().endswith(first.text())
    assert shared.text().startswith("0 a la vez, 75 B, ")
