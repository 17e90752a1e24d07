"""Files that are sent by helpers arrive as if one process had sent them, whatever becomes of the helpers."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TypeVar, cast

import pytest

from files.descriptors import closing_descriptor
from files.walk import walk_tree
from providers.file_trees import is_temporary_name, temporary_name
from storage import helpers as helpers_module
from storage.helpers import HelperLost, Helpers, Task, WorkerState
from storage.lease import ClaimLost, Lease, now
from storage.sending import Assistance, FileToSend, LocalFiles, Sender, SendFiles, Sent
from storage.traffic.pace import Traffic
from storage.uploading import files as files_of_upload
from tests.processes import children_of
from tests.storage.test_upload import (
    KEY_PREFIX,
    MANIFEST,
    Bench,
    bench,
    both_ways,
    platform,
    pool,
    shared_platform,
)

__all__ = ["bench", "platform", "pool", "shared_platform"]  # fixtures

NEVER = threading.Event()
FOR_LONG = Lease(lambda: 3600.0)
Answer = TypeVar("Answer")


class Observed(Helpers):
    """Helpers that are this process; `after` each answer something may happen, to the answer, too."""

    def __init__(self, after: Callable[[object], object]) -> None:
        super().__init__(2, 2, Traffic())
        self._after = after

    def ask(self, task: Task[Answer], directory_descriptor: int, *_: object) -> Answer:
        return cast("Answer", self._after(task.carry_out(WorkerState(1), directory_descriptor)))


@pytest.fixture(autouse=True)
def _few_files_are_worth_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helpers_module, "FILES_WORTH_HELP", 2)
    monkeypatch.setattr(files_of_upload, "FILES_HANDED_OVER", 1)


@pytest.fixture
def two_helpers() -> Iterator[Helpers]:
    with closing(Helpers(2, 2, Traffic())) as helpers:
        yield helpers


def leave_unfinished(bench: Bench) -> None:
    """As who was killed while it wrote."""
    directory = bench.destination.directory / KEY_PREFIX
    directory.mkdir(parents=True, exist_ok=True)
    (directory / temporary_name("registro.log")).write_bytes(b"lin")


def unfinished(bench: Bench) -> list[str]:
    names = [name for _, _, names in os.walk(bench.destination.directory) for name in names]
    return [name for name in names if is_temporary_name(name)]


class SentWhileAnotherOneSpeaks:
    """What a helper sent, with nothing left of it; while that is asked for, another thread notes the contrary."""

    not_sent = frozenset[int]()

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    @property
    def left_unfinished(self) -> bool:
        self._sender.left_unfinished = True
        return False

    @property
    def unanswered(self) -> bool:
        self._sender.unanswered = True
        return False


def test_no_thread_takes_back_what_another_one_has_noted(bench: Bench) -> None:
    """Looked for in all that several threads change with an operator: in the product these two flags were all."""
    with bench.provider() as provider:
        sender = Sender(provider, LocalFiles(-1), Traffic(), NEVER)
        sender.note_sent_elsewhere(cast("Sent", SentWhileAnotherOneSpeaks(sender)))
    assert sender.left_unfinished
    assert sender.unanswered


@both_ways
def test_what_helpers_send_is_complete_and_proven(bench: Bench, two_helpers: Helpers) -> None:
    before = children_of(os.getpid())
    with bench.provider() as provider:
        assistance = Assistance(two_helpers, bench.destination.provider_row(), FOR_LONG)
        copy, manifest = bench.upload(provider, assistance=assistance)
    bench.require_complete(copy, manifest)
    assert len(children_of(os.getpid()) - before) == 2
    assert [key for key in provider.keys("put") if not key.endswith(".manifest.json")] == []


def test_what_a_lost_helper_was_to_send_is_sent_here_and_what_it_left_is_discarded(bench: Bench) -> None:
    def lose(_: object) -> object:
        leave_unfinished(bench)
        raise HelperLost("lost")

    with bench.provider() as provider:
        assistance = Assistance(Observed(lose), bench.destination.provider_row(), FOR_LONG)
        copy, manifest = bench.upload(provider, assistance=assistance)
    bench.require_complete(copy, manifest)
    assert unfinished(bench) == []


def test_what_a_helper_left_unfinished_is_discarded(bench: Bench) -> None:
    def tell_of_it(sent: object) -> object:
        leave_unfinished(bench)
        return dataclasses.replace(sent, left_unfinished=True)  # type: ignore[type-var] # it is `Sent`

    with bench.provider() as provider:
        assistance = Assistance(Observed(tell_of_it), bench.destination.provider_row(), FOR_LONG)
        copy, manifest = bench.upload(provider, assistance=assistance)
    bench.require_complete(copy, manifest)
    assert unfinished(bench) == []


def test_what_a_helper_did_not_send_after_all_is_sent(bench: Bench) -> None:
    def remove_one(sent: object) -> object:
        (bench.destination.directory / KEY_PREFIX / "tabla.csv").unlink(missing_ok=True)
        return sent

    with bench.provider() as provider:
        assistance = Assistance(Observed(remove_one), bench.destination.provider_row(), FOR_LONG)
        copy, manifest = bench.upload(provider, assistance=assistance)
    bench.require_complete(copy, manifest)
    assert [key.rpartition("/")[2] for key in provider.keys("put")] == ["tabla.csv", MANIFEST, MANIFEST]


def test_a_helper_stores_nothing_once_the_lease_is_over(bench: Bench, two_helpers: Helpers) -> None:
    with closing_descriptor(os.open(bench.directory, os.O_RDONLY)) as descriptor:
        tree = walk_tree(descriptor)
        files = [FileToSend(p, f"{KEY_PREFIX}/{tree.path(p)}", tree.entry(p)) for p in tree.file_positions()]
        task = SendFiles(bench.destination.provider_row(), files, KEY_PREFIX.rpartition("/")[0])
        with pytest.raises(ClaimLost, match="venció"):
            two_helpers.ask(task, descriptor, NEVER, lambda: now() - 0.1)
        assert bench.stored() == {}
        sent = two_helpers.ask(task, descriptor, NEVER, lambda: now() + 60)
    assert len(sent.receipts) == len(bench.stored_files()) == len(files)
