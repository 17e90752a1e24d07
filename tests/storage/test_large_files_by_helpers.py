"""Large files go to an SSH server by helpers, as if one process had sent them, whatever becomes of the helpers."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TypeVar

import pytest

from config.errors import RunInterrupted
from config.models import Evidence, ProvenCopy, PutReceipt
from files.tree import LARGE_BYTES
from providers.file_trees import is_temporary_name
from providers.sftp.provider import SftpProvider
from storage.helpers import Helpers, Task
from storage.lease import ClaimLost, Lease, LeasedProvider
from storage.manifest import Manifest
from storage.sending import Assistance, FileToSend, Sender, SendFiles
from storage.traffic.pace import Traffic
from tests.processes import children_of, wait_until
from tests.storage.test_upload import Bench, bench, platform, pool, shared_platform

__all__ = ["bench", "platform", "pool", "shared_platform"]  # fixtures

NEVER = threading.Event()
FOR_LONG = Lease(lambda: 3600.0)
ENOUGH_TO_DO_BYTES = 150_000_000
MORE_THAN_CAN_BE_SENT_BYTES = 20_000_000_000

Answer = TypeVar("Answer")

pytestmark = pytest.mark.parametrize("bench", ["sftp-openssh"], indirect=True)


class Observed(Helpers):
    """Two helpers; notes down what they are given."""

    def __init__(self) -> None:
        self.traffic = Traffic()
        super().__init__(2, 4, self.traffic)
        self._others = children_of(os.getpid())
        self.given: list[list[str]] = []

    def ask(
        self,
        task: Task[Answer],
        directory_descriptor: int,
        interruption: threading.Event,
        held_until: Callable[[], float] = lambda: 0.0,
    ) -> Answer:
        """See `Helpers`."""
        if isinstance(task, SendFiles):
            self.given.append([file.entry.path for file in task.files])
        return super().ask(task, directory_descriptor, interruption, held_until)

    def processes(self) -> set[int]:
        """Those that were started and have not ended."""
        return children_of(os.getpid()) - self._others


@pytest.fixture
def helpers() -> Iterator[Observed]:
    with closing(Observed()) as made:
        yield made


@pytest.fixture(autouse=True)
def _little_is_worth_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SftpProvider, "offload_threshold_bytes", 2 * LARGE_BYTES)


def add_file(bench: Bench, name: str, size_bytes: int) -> None:
    """With a hole in it, so that it takes no room."""
    with (bench.directory / name).open("wb") as file:
        file.truncate(size_bytes)
        file.write(name.encode())


def upload(
    bench: Bench, helpers: Helpers, lease: Lease = FOR_LONG, interruption: threading.Event = NEVER
) -> tuple[ProvenCopy, Manifest]:
    with closing(bench.real_provider()) as provider:
        assistance = Assistance(helpers, bench.destination.provider_row(), lease)
        return bench.upload(LeasedProvider(provider, lease), interruption, assistance)


def unfinished(bench: Bench) -> list[str]:
    names = [name for _, _, names in os.walk(bench.destination.directory) for name in names]
    return [name for name in names if is_temporary_name(name)]


def test_helpers_send_what_is_large_and_nobody_else_does(
    bench: Bench, helpers: Observed, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent_here: list[str] = []
    send = Sender.send

    def observed_send(sender: Sender, files: list[FileToSend]) -> dict[int, PutReceipt]:
        sent_here.extend(file.entry.path for file in files)
        return send(sender, files)

    monkeypatch.setattr(Sender, "send", observed_send)
    small = os.listdir(bench.directory)
    for number in range(3):
        add_file(bench, f"large-{number}", LARGE_BYTES + 5 - number)
    copy, manifest = upload(bench, helpers)
    bench.require_complete(copy, manifest)
    assert copy.evidence is Evidence.CHECKSUM
    assert sorted(helpers.given) == [["large-0", "large-1"], ["large-2"]]  # so that both have something
    assert sorted(sent_here) == sorted(small)
    assert helpers.traffic.passed_files == 3


def test_where_little_is_large_nobody_is_started(bench: Bench, helpers: Observed) -> None:
    add_file(bench, "large", 2 * LARGE_BYTES - 1)
    copy, manifest = upload(bench, helpers)
    bench.require_complete(copy, manifest)
    assert helpers.given == []
    assert helpers.processes() == set()


def when_bytes_pass(helpers: Observed, action: Callable[[], object]) -> threading.Thread:
    """Do something in the middle of a file."""

    def watch() -> None:
        wait_until(lambda: helpers.traffic.passed_bytes > 0, 30)
        action()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def test_a_helper_that_is_killed_in_the_middle_of_a_file_leaves_nothing_and_the_file_is_sent_here(
    bench: Bench, helpers: Observed
) -> None:
    found: list[str] = []

    def kill() -> None:
        (process,) = helpers.processes()
        os.kill(process, signal.SIGKILL)
        found.extend(unfinished(bench))

    add_file(bench, "large", ENOUGH_TO_DO_BYTES)
    watcher = when_bytes_pass(helpers, kill)
    copy, manifest = upload(bench, helpers)
    watcher.join()
    assert len(found) == 1
    assert unfinished(bench) == []
    bench.require_complete(copy, manifest)


def test_a_run_that_is_to_stop_does_so_in_the_middle_of_a_file(bench: Bench, helpers: Observed) -> None:
    interruption = threading.Event()
    add_file(bench, "large", MORE_THAN_CAN_BE_SENT_BYTES)
    watcher = when_bytes_pass(helpers, interruption.set)
    with pytest.raises(RunInterrupted):
        upload(bench, helpers, interruption=interruption)
    watcher.join()
    assert helpers.traffic.passed_bytes < MORE_THAN_CAN_BE_SENT_BYTES
    assert len(unfinished(bench)) == 1  # the next run continues with it


def test_a_lease_that_is_lost_ends_it_in_the_middle_of_a_file(bench: Bench, helpers: Observed) -> None:
    left: list[float | None] = [3600.0]
    add_file(bench, "large", MORE_THAN_CAN_BE_SENT_BYTES)
    watcher = when_bytes_pass(helpers, lambda: left.__setitem__(0, None))
    with pytest.raises(ClaimLost, match="se hizo cargo"):
        upload(bench, helpers, lease=Lease(lambda: left[0]))
    watcher.join()
    assert len(unfinished(bench)) == 1  # the run that takes over begins with it, or discards it
