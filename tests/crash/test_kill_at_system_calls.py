"""The command line as operators start it, killed by strace at the Nth system call of a kind, for growing N."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from tests.crash.program import Ended
from tests.crash.scene import Scene
from tests.destinations import Destination
from tests.repository import REPOSITORY
from tests.running.skips import strace_program

NewScene = Callable[..., Scene]
NewDestination = Callable[[str], Destination]

EVERY_ONE = "JANITOR_CRASH_COUNT" in os.environ
"""By hand every N; otherwise those of a series that grows, so that late calls are reached in few runs."""

CALLS = {
    "rename": "rename,renameat,renameat2",
    "unlink": "unlink,unlinkat,rmdir",
    "fsync": "fsync,fdatasync,syncfs",
    "write": "write,writev,pwrite64",
    "send": "sendto,sendmsg",
}
"""The kinds of calls by which a run changes the world. strace counts each thread's own."""

EXECUTIONS_A_RUN = {"fsync": 6}
"""One where nothing is said. All files of an execution are brought to the disk by few calls."""


@pytest.fixture(scope="module")
def strace() -> str:
    """The program strace; without it these tests are skipped, loudly, and fail where nothing may be skipped."""
    return strace_program()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *(("local", kind) for kind in CALLS),
        ("s3-rclone", "send"),
        ("sftp-openssh", "send"),
    ],
)
def test_a_kill_at_any_system_call_loses_nothing_and_leaves_nothing(
    strace: str, new_scene: NewScene, new_destination: NewDestination, name: str, kind: str
) -> None:
    scene = new_scene(new_destination(name), delete=True)
    kills = 0
    for number in _growing():
        for _ in range(EXECUTIONS_A_RUN.get(kind, 1)):
            scene.add_execution()
        ended = run_killed_at(strace, scene, CALLS[kind], number)
        if ended.exit_code == 0:
            break
        assert ended.exit_code == -signal.SIGKILL, str(ended)
        kills += 1
        scene.require_nothing_lost(ended)
        scene.require_all_is_well_after_two_ticks(ended)
    assert kills >= 3


def _growing() -> Iterator[int]:
    number, next_number = 1, 2
    while True:
        yield number
        number, next_number = next_number, next_number + 1 if EVERY_ONE else number + next_number


def run_killed_at(strace: str, scene: Scene, calls: str, number: int, *arguments: str) -> Ended:
    """Run the program itself, from its start on. Without --seccomp-bpf, with which strace 6.1 counts wrongly."""
    inject = ("-e", f"trace={calls}", "-e", f"inject={calls}:signal=SIGKILL:when={number}")
    run = subprocess.run(
        [strace, "-f", "-qq", "-o", os.devnull, *inject, sys.executable, "janitor_daemon.py", *arguments],
        cwd=REPOSITORY,
        env={**scene.environment(), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return Ended(run.returncode, run.stderr, (f"{calls.partition(',')[0]} number {number}",), 0.0)
