"""An execution of very many files is stored and removed by several processes: if one ends, nothing is lost."""

from __future__ import annotations

import os
import signal
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storage.helpers import FILES_WORTH_HELP
from tests.destinations import Destination, local_destination
from tests.processes import children_of, is_alive, wait_until
from tests.running.run_directory import MEMORY_VARIABLE
from tests.stories.doors import Door
from tests.stories.installation import Installation
from tests.stories.programs import change_constants
from tests.stories.trees import Snapshot, snapshot

PATIENCE_SECONDS = 120.0
DIRECTORIES = 7
FEW_WORTH_HELP = 600
FEW_HANDED_OVER = 64
"""As many parts for helpers as of the real numbers. Two of them hold files of `d3`, so a held up `d3` holds up both."""

SOME_PUT = rb"PUT /[^ ]*/d3/"
NOTHING_UNFINISHED = {"attempts": 0, "leases": 0, "removals": 0}


class VeryMany:
    """An installation with one execution of as many files as are worth help."""

    def __init__(self, installation: Installation, directory: Path, worth_help: int) -> None:
        self.installation = installation
        files_in_each = worth_help // DIRECTORIES + 10
        self.files = DIRECTORIES * files_in_each
        installation.environment["JANITOR_PROCESSES"] = "2"
        self.back = directory / "back"
        self.execution = installation.new_directory("e1")
        for number in range(DIRECTORIES):
            below = self.execution / f"d{number}"
            below.mkdir()
            for file in range(files_in_each):
                (below / f"f{file:05}.txt").write_text(f"{number}/{file}")
        (self.execution / "large.bin").write_bytes(os.urandom(3_000_000))
        for name in ("d0/one.txt", "d6/two.txt", "three.txt"):
            os.link(self.execution / "large.bin", self.execution / name)
        (self.execution / "d1" / "link").symlink_to("../large.bin")
        self.original = snapshot(self.execution)
        installation.add_execution("e1", self.execution)

    def add(self, destination: Destination) -> None:
        """Send it there."""
        self.installation.configure(self.installation.add_provider(destination), eliminar_despues_de_migrar=True)

    def require_migrated(self) -> None:
        """It lies at the provider alone."""
        assert self.installation.place("e1")[0]
        assert os.listdir(self.installation.executions) == []
        assert self.installation.unfinished() == NOTHING_UNFINISHED

    def require_given_back(self) -> None:
        """It lies at the provider alone, and comes back as it was."""
        self.require_migrated()
        change_constants(self.installation)
        run = self.installation.run("restore", "e1", str(self.back))
        assert run.exit_code == 0, str(run)
        assert snapshot(self.back) == self.original

    def require_nothing_lost(self) -> None:
        """Not migrated, it lies where it lay, whole."""
        assert not self.installation.place("e1")[0]
        assert snapshot(self.execution) == self.original


@pytest.fixture
def very_many(installation: Installation, tmp_path: Path) -> VeryMany:
    """One execution of very many files, by a program for which few are many."""
    change_constants(
        installation,
        storage__helpers__FILES_WORTH_HELP=FEW_WORTH_HELP,
        storage__helpers__FILES_HANDED_OVER=FEW_HANDED_OVER,
    )
    return VeryMany(installation, tmp_path, FEW_WORTH_HELP)


@pytest.fixture
def door(very_many: VeryMany, new_destination: Callable[[str], Destination]) -> Iterator[Door]:
    """The way to an S3 server, which holds one of the files up."""
    real = new_destination("s3-rclone")
    with Door(int(str(real.options["endpoint_url"]).rpartition(":")[2]), hold=SOME_PUT) as door:
        very_many.add(real.with_options(endpoint_url=door.url))
        yield door


def require_moved_by_helpers(very_many: VeryMany) -> None:
    """One tick moves all of it, by two helpers."""
    with very_many.installation.start() as command:
        wait_until(lambda: len(children_of(command.process.pid)) == 2, PATIENCE_SECONDS)
        run = command.finish()
    assert run.exit_code == 0, str(run)
    assert run.messages("WARNING") == []
    (row,) = very_many.installation.rows("SELECT report FROM janitor_runs")
    assert row["report"]["migrated_files"] == very_many.files + 4


def test_helpers_move_it_whole(installation: Installation, tmp_path: Path) -> None:
    """So many files that the program, as it is, finds them worth help; to a disk that waits for none of them."""
    very_many = VeryMany(installation, tmp_path, FILES_WORTH_HELP)
    with tempfile.TemporaryDirectory(dir=os.environ.get(MEMORY_VARIABLE)) as directory:
        nas = local_destination("nas", Path(directory, "nas"))
        very_many.add(nas)
        require_moved_by_helpers(very_many)
        very_many.require_migrated()
        assert bytes_of(snapshot(nas.directory / "ejecuciones" / "e1")) == bytes_of(very_many.original)


def bytes_of(tree: Snapshot) -> dict[bytes, object]:
    """The hash of each regular file."""
    return {path: seen[-1] for path, seen in tree.items() if seen[0] == stat.S_IFREG}


def test_helpers_move_it_whole_over_connections_of_their_own(
    very_many: VeryMany, new_destination: Callable[[str], Destination]
) -> None:
    very_many.add(new_destination("sftp-openssh"))
    require_moved_by_helpers(very_many)
    very_many.require_given_back()


def test_a_run_finishes_without_a_helper_that_is_killed(very_many: VeryMany, door: Door) -> None:
    with very_many.installation.start() as command:
        wait_until(door.met.is_set, PATIENCE_SECONDS)
        wait_until(lambda: len(children_of(command.process.pid)) == 2, PATIENCE_SECONDS)
        victim, _ = children_of(command.process.pid)
        os.kill(victim, signal.SIGKILL)
        door.open()
        run = command.finish()
    assert run.exit_code == 0, str(run)
    (warning,) = run.messages("WARNING")
    assert "código -9" in warning
    very_many.require_given_back()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_helper_outlives_a_run_that_is_ended_and_the_next_run_does_the_rest(
    very_many: VeryMany, door: Door, number: signal.Signals
) -> None:
    with very_many.installation.start() as command:
        wait_until(door.met.is_set, PATIENCE_SECONDS)
        wait_until(lambda: len(children_of(command.process.pid)) == 2, PATIENCE_SECONDS)
        helpers = children_of(command.process.pid)
        run = command.stop(number)
    assert run.exit_code == (143 if number == signal.SIGTERM else -9), str(run)
    assert "Traceback" not in run.errors
    wait_until(lambda: not any(map(is_alive, helpers)), 5)
    very_many.require_nothing_lost()
    door.open()
    run = very_many.installation.run()
    assert run.exit_code == 0, str(run)
    very_many.require_given_back()


@pytest.mark.parametrize(
    ("arguments", "processes"), [(["--bandwidth-limit", "900M"], "2"), ([], "1")], ids=["limit", "one"]
)
def test_one_process_does_it_where_that_is_asked_for(
    very_many: VeryMany, door: Door, arguments: list[str], processes: str
) -> None:
    with very_many.installation.start(*arguments, JANITOR_PROCESSES=processes) as command:
        wait_until(door.met.is_set, PATIENCE_SECONDS)
        assert children_of(command.process.pid) == set()
        command.stop(signal.SIGTERM)
    very_many.require_nothing_lost()
