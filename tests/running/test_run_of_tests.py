"""A run of these tests itself: what it leaves, what it prints, and which tests it may leave out."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.disks.file_attributes import make_immutable
from tests.disks.small_disk import mounted_small_disk
from tests.guards.named_tests import fault_of
from tests.repository import REPOSITORY
from tests.running import second_chance
from tests.running.imports import own_part_first
from tests.running.order import LONG, WAITING, long_ones_first
from tests.running.run_directory import MEMORY_VARIABLE, PREFIX, RunDirectory, remove
from tests.running.skips import MAKE_IMMUTABLE, NEEDS_FILE_SYSTEM, NEEDS_ROOT, is_expected, require_right
from tests.servers import azurite

WAITING_FILES = ("stories/providers/test_http_provider_faults", "providers/shared/test_tls")
"""The first and the last of those that wait."""

LOUD = """
import pytest

@pytest.mark.parametrize("number", range({failures}))
def test_loud(number, tmp_path):
    (tmp_path / "closed").mkdir(mode=0)
    print("\\n".join(["what it said"] * 1000))
    assert not number, "\\n".join(["what it found"] * 1000)

def test_quiet(tmp_path):
    (tmp_path / "left.txt").touch()

def test_that_needs_root():
    pytest.skip("needs root")

def test_that_is_left_out():
    pytest.skip("for no good reason")
"""


def run_pytest(tmp_path: Path, failures: int, **environment: str) -> tuple[subprocess.CompletedProcess[str], Path]:
    """A run of tests with this suite's configuration, and what was the temporary directory for it."""
    file, temporary = tmp_path / "test_loud.py", tmp_path / "tmp"
    file.write_text(LOUD.format(failures=failures))
    temporary.mkdir()
    usual = {name: text for name, text in os.environ.items() if name != "CI" and not name.startswith("PYTEST_")}
    done = subprocess.run(
        [*(sys.executable, "-m", "pytest", "-n0", "-p", "no:cacheprovider", "-p", "tests.conftest"),
         *("-c", str(REPOSITORY / "pyproject.toml"), str(file))],
        cwd=REPOSITORY, env={**usual, "TMPDIR": str(temporary), **environment}, check=False, capture_output=True,
        text=True, timeout=120,
    )  # fmt: skip
    return done, temporary


def test_a_run_that_is_green_leaves_nothing_and_says_what_was_left_out(tmp_path: Path) -> None:
    done, temporary = run_pytest(tmp_path, failures=1)
    assert done.returncode == 0, done.stdout
    assert "Tests left out: 2 (1 needs root; 1 for no good reason)\n" in done.stdout
    assert os.listdir(temporary) == []


def test_a_run_that_fails_prints_little_and_keeps_what_failed_tests_left_until_the_next_one(tmp_path: Path) -> None:
    done, temporary = run_pytest(tmp_path, failures=50)
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) < 1000
    (kept,) = temporary.glob(f"{PREFIX}*/pytest")
    assert f"what failed tests left is in {kept}" in done.stdout
    assert not (kept / "test_quiet0").exists()  # that one passed
    assert len([*kept.glob("test_loud_[1-9]*_0")]) == 49


def test_three_failures_fit_into_300_lines(tmp_path: Path) -> None:
    done, _ = run_pytest(tmp_path, failures=4, CI="true")
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) < 300


def test_where_ci_is_set_a_test_that_is_left_out_for_no_good_reason_fails(tmp_path: Path) -> None:
    done, _ = run_pytest(tmp_path, failures=1, CI="true")
    assert done.returncode == 1
    assert "left out, which must not be where CI is set: for no good reason" in done.stdout


def test_only_what_the_machine_cannot_help_is_a_good_reason() -> None:
    assert is_expected(f"{NEEDS_FILE_SYSTEM}: this one tells nothing")
    assert not is_expected("there is no sshd")
    if os.geteuid() != 0:
        assert is_expected(NEEDS_ROOT)


@pytest.mark.parametrize("mode", [0o000, 0o500])
def test_what_nobody_may_enter_is_removed(tmp_path: Path, mode: int) -> None:
    closed = tmp_path / "run" / "closed"
    closed.mkdir(parents=True)
    (closed / "file").touch(mode=0)
    closed.chmod(mode)
    remove(tmp_path / "run")
    assert os.listdir(tmp_path) == []


def test_what_is_immutable_is_removed(tmp_path: Path) -> None:
    require_right(MAKE_IMMUTABLE)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "file").touch()
    try:
        make_immutable(tmp_path / "run" / "file")
        make_immutable(tmp_path / "run")
    except OSError as error:
        pytest.skip(f"{NEEDS_FILE_SYSTEM}: nothing can be made immutable ({error.strerror})")
    remove(tmp_path / "run")
    assert os.listdir(tmp_path) == []


def test_what_is_mounted_is_let_go_and_not_emptied(tmp_path: Path) -> None:
    """A disk that is mounted twice shows at the other place what was done at the first."""
    run, elsewhere = tmp_path / "run ñ", tmp_path / "elsewhere"
    (run / "a disk").mkdir(parents=True)
    elsewhere.mkdir()
    with mounted_small_disk(elsewhere, 100_000):
        (elsewhere / "kept").touch()
        subprocess.run(["mount", "--bind", str(elsewhere), str(run / "a disk")], check=True, timeout=30)
        remove(run)
        assert os.listdir(elsewhere) == ["kept"]
    assert os.listdir(tmp_path) == ["elsewhere"]


@pytest.mark.parametrize("processes", [2, 3, 5])
def test_some_processes_begin_with_tests_that_wait_the_others_with_long_ones_and_all_are_run(processes: int) -> None:
    tests = [f"tests/crash/test_a.py::test_{number}" for number in range(7)]
    tests += [f"tests/test_keys.py::test_{number}" for number in range(40)]
    tests += [f"tests/{file}.py::test_{number}" for file in WAITING_FILES for number in range(3)]
    ordered = long_ones_first(tests, processes, str)
    assert sorted(ordered) == sorted(tests)
    parts = [
        ordered[len(tests) * number // processes : len(tests) * (number + 1) // processes]
        for number in range(processes)
    ]
    who_wait = processes // 2
    assert all(WAITING_FILES[0] in part[0] for part in parts[:who_wait])
    assert all("crash" in part[0] for part in parts[who_wait:])
    assert not any("test_keys" in test for part in parts[:who_wait] for test in part[: 6 // who_wait])
    assert not any("crash" in test for part in parts for test in part[7:])


def test_every_name_in_the_order_is_that_of_a_test() -> None:
    assert [name for name in (*LONG, *WAITING) if not (REPOSITORY / name.partition("::")[0]).exists()] == []
    assert [fault for name in WAITING if "::" in name and (fault := fault_of(name))] == []


def test_every_process_imports_all_tests_beginning_with_a_part_of_its_own() -> None:
    arguments = ["tests/sql", "tests/config/test_logs.py::test_any", "tests/sql/test_notices.py"]
    parts = [own_part_first(arguments, number, 3) for number in range(3)]
    assert len({part[0] for part in parts}) == 3
    assert [sorted(part) for part in parts] == [parts[0]] * 3
    assert {"tests.config.test_logs", "tests.sql.test_notices", "tests.sql.test_schema"} < {*parts[0]}
    assert len(parts[0]) == len({*parts[0]})


def test_one_process_runs_the_tests_as_they_come() -> None:
    assert long_ones_first(["tests/a", "tests/crash/b"], 1, str) == ["tests/a", "tests/crash/b"]


def test_what_earlier_runs_left_goes_and_what_a_run_uses_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = tmp_path / "memory"
    memory.mkdir()
    monkeypatch.setattr("tests.running.run_directory.MEMORY", memory)
    monkeypatch.setattr("tests.running.run_directory.LEAST_FREE_MEMORY_BYTES", 0)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / f"{PREFIX}earlier").mkdir()
    (memory / f"{PREFIX}earlier").mkdir()
    (tmp_path / "somebody else's").mkdir()
    first = RunDirectory()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    second = RunDirectory()
    names = {first.path.name, second.path.name, memory.name, "somebody else's"}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert {*memory.iterdir()} == {first.in_memory, second.in_memory}
    assert os.environ[MEMORY_VARIABLE] == str(second.in_memory)
    second.close(keep_of_tests=False)
    first.close(keep_of_tests=False)
    assert {path.name for path in tmp_path.iterdir()} == {memory.name, "somebody else's"}
    assert list(memory.iterdir()) == []


def test_a_run_ends_well_where_another_one_has_removed_its_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr("tests.running.run_directory.MEMORY", tmp_path / "no memory")
    run = RunDirectory()
    remove(run.path)
    remove(run.path)
    run.close(keep_of_tests=False)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_begins_is_no_leftover_of_an_earlier_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the creation of its directory and the lock on it, another run may look for leftovers."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr("tests.running.run_directory.MEMORY", tmp_path / "no memory")
    made: list[list[str]] = []
    lock = fcntl.flock

    def look_and_lock(descriptor: int, operation: int) -> None:
        made.append([path.name for path in tmp_path.glob(f"{PREFIX}*")])
        lock(descriptor, operation)

    monkeypatch.setattr("fcntl.flock", look_and_lock)
    run = RunDirectory()
    assert made == [[]]
    assert run.path.name.startswith(PREFIX)
    run.close(keep_of_tests=False)


def test_a_run_does_without_memory_that_it_might_fill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tests.running.run_directory.LEAST_FREE_MEMORY_BYTES", 2**60)
    run = RunDirectory()
    assert run.in_memory is None
    assert MEMORY_VARIABLE not in os.environ
    run.close(keep_of_tests=False)


FAILS_AT_FIRST = """
from pathlib import Path

def test_that_passes():
    marks = Path({marks!r})
    marks.mkdir(exist_ok=True)
    (marks / str(len([*marks.iterdir()]))).touch()
    assert len([*marks.iterdir()]) >= {passes_from}
"""


@pytest.mark.parametrize(("passes_from", "exit_code"), [(1, 0), (2, 1), (100, 1)])
def test_only_what_passes_each_time_it_is_repeated_is_unstable(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], passes_from: int, exit_code: int
) -> None:
    file = tmp_path / "test_unstable.py"
    file.write_text(FAILS_AT_FIRST.format(marks=str(tmp_path / "marks"), passes_from=passes_from))
    record = tmp_path / "lastfailed"
    record.write_text(json.dumps({f"{file}::test_that_passes": True}))
    assert second_chance.main(record) == exit_code
    assert ("UNSTABLE TESTS" in capfd.readouterr().err) == (exit_code == 0)
    assert len([*(tmp_path / "marks").iterdir()]) == (second_chance.ROUNDS if exit_code == 0 else 1)


@pytest.mark.parametrize("number", [None, 0, 4, 100])
def test_many_failures_are_no_chance_and_neither_is_a_run_that_did_not_get_far(
    tmp_path: Path, number: int | None
) -> None:
    record = tmp_path / "lastfailed"
    if number is not None:
        record.write_text(json.dumps({f"tests/test_none.py::test_{each}": True for each in range(number)}))
    assert second_chance.main(record) == 1


def test_a_server_is_installed_once_for_all_processes_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a new checkout they ask for it at the same time. Threads stand for them: a lock is one of an open directory.

    Looked for besides: nothing else is installed while tests run.
    """
    installs: list[Path] = []
    asked = threading.Semaphore(0)
    flock = fcntl.flock

    def ask(descriptor: int, operation: int) -> None:
        asked.release()
        flock(descriptor, operation)

    def install(_npm: list[str], directory: Path) -> None:
        assert all(asked.acquire(timeout=60) for _ in range(2))
        installs.append(directory)

    monkeypatch.setattr(azurite, "REPOSITORY", tmp_path)
    monkeypatch.setattr(azurite, "install", install)
    monkeypatch.setattr(fcntl, "flock", ask)
    with ThreadPoolExecutor(2) as executor:
        found = list(executor.map(azurite.installed, [["npm"], ["npm"]]))
    assert len(installs) == 1
    assert found[0] == found[1]
