"""A removal that is shared out removes no more than one by a single process, and leaves as little."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeVar, cast

import pytest

from config.errors import SourceChanged
from files.descriptors import closing_descriptor
from files.tree import Tree
from files.walk import hash_file, walk_tree
from jobs.migration.directories import DirectoryJudge
from jobs.migration.removal import removal as removal_module
from jobs.migration.removal.entries import LocalCopyDiffers
from jobs.migration.removal.removal import RemoveFiles, remove_local_copy, trash_name
from storage import helpers as helpers_module
from storage.helpers import HelperLost, Helpers, Task, WorkerState
from storage.lease import ClaimLost
from storage.traffic.pace import Traffic
from tests.executions.manifests import hashed
from tests.executions.permissions import Granted
from tests.jobs.migration.removal.test_removal import directory, execution_at, judge, proven_tree, root, trash
from tests.processes import children_of

__all__ = ["directory", "judge", "root", "trash"]  # fixtures

NEVER = threading.Event()
Answer = TypeVar("Answer")
Item = TypeVar("Item")


class Observed(Helpers):
    """Helpers that are this process, one after the other, and of which it is known what they are asked; `before` each
    of which something may happen.
    """

    def __init__(self, before: Callable[[RemoveFiles], None] = lambda _: None) -> None:
        super().__init__(2, 2, Traffic())
        self.tasks: list[RemoveFiles] = []
        self._before = before

    def for_each(self, function: Callable[[Item], None], items: Sequence[Item], interruption: threading.Event) -> None:
        for item in items:
            function(item)

    def ask(self, task: Task[Answer], directory_descriptor: int, *_: object) -> Answer:
        assert isinstance(task, RemoveFiles)
        self.tasks.append(task)
        self._before(task)
        return cast("Answer", task.carry_out(WorkerState(1), directory_descriptor))


@pytest.fixture(autouse=True)
def _few_files_are_worth_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helpers_module, "FILES_WORTH_HELP", 2)
    monkeypatch.setattr(removal_module, "FILES_HANDED_OVER", 3)


@pytest.fixture
def many(directory: Path) -> Path:
    """The execution with some more files, some of which have several names."""
    for number in range(10):
        (directory / f"parte {number}").write_text(f"{number}")
        (directory / "resultados" / f"parte {number}").write_text(f"otra {number}")
    for name in ("aaa", "parte 3 bis", "resultados/zzz"):
        os.link(directory / "registro.log", directory / name)
    return directory


@pytest.fixture
def two_helpers() -> Iterator[Helpers]:
    with closing(Helpers(2, 2, Traffic())) as helpers:
        yield helpers


def remove(judge: DirectoryJudge, directory: Path, helpers: Helpers) -> None:
    """What was proven is what is there now."""
    proven = proven_tree(directory, from_cloud=False)
    remove_local_copy(judge, execution_at(directory), lambda: proven, NEVER, Granted(), helpers)


def test_all_goes_files_of_several_names_too(
    judge: DirectoryJudge, root: Path, many: Path, two_helpers: Helpers
) -> None:
    os.link(many / "parte 1", root / "neighbour" / "outside")
    before = children_of(os.getpid())
    remove(judge, many, two_helpers)
    assert os.listdir(root) == ["neighbour"]
    assert (root / "neighbour" / "outside").read_text() == "1"
    assert len(children_of(os.getpid()) - before) == 2


@pytest.mark.parametrize("seed", range(5))
def test_names_of_one_file_come_to_different_helpers_in_any_order(
    judge: DirectoryJudge, root: Path, many: Path, seed: int
) -> None:
    class Shuffling(Observed):
        def for_each(
            self, function: Callable[[Item], None], items: Sequence[Item], interruption: threading.Event
        ) -> None:
            shuffled = list(items)
            random.Random(seed).shuffle(shuffled)  # noqa: S311 no secret
            super().for_each(function, shuffled, interruption)

    helpers = Shuffling()
    remove(judge, many, helpers)
    assert os.listdir(root) == ["neighbour"]
    names = ("registro.log", "aaa", "parte 3 bis", "resultados/zzz")
    tasks = [task for task in helpers.tasks if {entry.path for entry in task.entries} & set(names)]
    assert len(tasks) > 2


def test_helpers_stop_when_the_lease_that_they_were_given_ends(
    judge: DirectoryJudge, root: Path, many: Path, two_helpers: Helpers
) -> None:
    """What a helper was told before is no answer to what has happened since."""
    proven = proven_tree(many, from_cloud=False)
    permission = Granted()

    def load_and_lose() -> Tree:
        permission.when_asked = lose_at_the_third_question
        return proven

    asked: list[None] = []

    def lose_at_the_third_question() -> None:
        asked.append(None)
        if len(asked) > 2:
            raise ClaimLost("perdida")

    with pytest.raises(ClaimLost):
        remove_local_copy(judge, execution_at(many), load_and_lose, NEVER, permission, two_helpers)
    assert many.exists()
    assert (many / "ejecucion.yaml").exists()


def test_each_sets_aside_under_a_name_of_its_own_that_nothing_has(
    judge: DirectoryJudge, root: Path, many: Path
) -> None:
    (many / ".janitor-removing-1").write_text("its own")
    helpers = Observed()
    remove(judge, many, helpers)
    names = [task.set_aside for task in helpers.tasks]
    assert len(set(names)) == len(names) > 4
    assert ".janitor-removing-1" not in names
    assert os.listdir(root) == ["neighbour"]


def test_what_changed_since_it_was_compared_stays(judge: DirectoryJudge, many: Path, trash: Path) -> None:
    def append(task: RemoveFiles) -> None:
        for entry in task.entries:
            if entry.path == "parte 7":
                with (trash / "parte 7").open("a") as file:
                    file.write("more")

    with pytest.raises(SourceChanged, match="parte 7"):
        remove(judge, many, Observed(append))
    assert (many / "parte 7").read_text() == "7more"


def test_what_a_lost_helper_leaves_is_compared_again_and_goes(judge: DirectoryJudge, root: Path, many: Path) -> None:
    remove(judge, many, Observed(_lose_half_of(many)))
    assert os.listdir(root) == ["neighbour"]


def test_what_was_written_to_after_a_helper_was_lost_stays(judge: DirectoryJudge, many: Path, trash: Path) -> None:
    lose = _lose_half_of(many)

    def append_and_lose(task: RemoveFiles) -> None:
        with (trash / "resultados" / "parte 9").open("a") as file:
            file.write("more")
        lose(task)

    with pytest.raises(LocalCopyDiffers, match="resultados/parte 9"):
        remove(judge, many, Observed(append_and_lose))
    assert (many / "resultados" / "parte 9").read_text() == "otra 9more"


def _lose_half_of(directory: Path) -> Callable[[RemoveFiles], None]:
    """As a helper that is killed when it has set a second file aside."""
    trash = directory.with_name(trash_name(execution_at(directory)))

    def lose(task: RemoveFiles) -> None:
        first, second, *_ = [entry.path for entry in task.entries if (trash / entry.path).stat().st_nlink == 1]
        (trash / first).unlink()
        (trash / second).rename((trash / second).with_name(task.set_aside))
        raise HelperLost("lost")

    return lose


def test_files_that_are_no_longer_what_was_compared_are_not_removed_by_a_helper(
    judge: DirectoryJudge, many: Path, two_helpers: Helpers
) -> None:
    with closing_descriptor(os.open(many, os.O_RDONLY)) as descriptor:
        tree = walk_tree(descriptor)
        entries = list(hashed(tree, {entry.path: hash_file(descriptor, entry, NEVER) for entry in tree.files}).files)
        (many / "parte 7").write_text("something else")
        with pytest.raises(SourceChanged, match="parte 7"):
            two_helpers.ask(RemoveFiles(entries, ".janitor-removing-9"), descriptor, NEVER)
    assert (many / "parte 7").read_text() == "something else"
    assert not (many / "parte 6").exists()
