"""The job `rehome` as operators start it, killed and stopped at its steps, and by strace at system calls.

Whatever it was doing, the row points to a whole copy. The next run brings the copy to the primary provider, and two
ticks later nothing is left at the other one.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.crash.program import Ended
from tests.crash.scene import KILLED, Scene
from tests.crash.test_kill_at_system_calls import CALLS, EVERY_ONE, run_killed_at, strace
from tests.destinations import Destination, local_destination

__all__ = ["strace"]

NewScene = Callable[..., Scene]
NewDestination = Callable[[str], Destination]

MOST_STEPS = 400
FEWEST_KILLS = 3
STRIDE = 1 if EVERY_ONE else 7
TOGETHER = 3
"""After this many cut runs all that they left is finished at once."""

HOMES = ("s3-rclone", "sftp-openssh", "local", "azure", "gcs") if EVERY_ONE else ("s3-rclone",)
MOST_CALLS = 2000
SAMPLE = {"rename": (1, 2)}
"""Which calls of which kinds are killed; by hand every call of every kind. Each thread counts its own, and how many one
of them makes depends on how they share the files: only the first one is sure.
"""


class Moving:
    """A scene whose executions are at the second provider, and are to come to the first one."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.home_id, self._other_id = scene.provider_ids
        self._uuids: list[str] = []

    def add_one_away(self) -> None:
        """Have one more execution at the other provider."""
        self._uuids.append(self.scene.add_execution().uuid)
        self.scene.go_to(self._other_id)
        ended = self.scene.run("--migrate-only")
        assert ended.exit_code == 0, str(ended)
        self.scene.go_to(self.home_id, self._other_id)

    def require_the_rest_is_done(self, cut: Ended) -> None:
        """One more run, and two ticks, finish everything."""
        again = self.scene.run("rehome")
        assert again.exit_code == 0, f"{again}\nafter {cut}"
        self.scene.require_all_is_well_after_two_ticks(cut)
        places = {self.scene.installation.place(uuid)[2] for uuid in self._uuids}
        assert places == {self.home_id}, f"{places} after {cut}"

    def first_step(self) -> int:
        """The step at which a run claims its first copy: what is before has nothing to do with any."""
        self.add_one_away()
        ended = self.scene.run("rehome")
        assert ended.exit_code == 0, str(ended)
        return 1 + next(step for step, what in enumerate(ended.reached) if what.endswith("claim_away"))


@pytest.fixture
def new_moving(new_scene: NewScene, new_destination: NewDestination, memory: Path) -> Callable[[str], Moving]:
    """From a directory to a destination of some name."""

    def make(home: str) -> Moving:
        other = local_destination("otro", memory / "otro")
        return Moving(new_scene(new_destination(home), other, delete=True, settings={"JANITOR_REHOME": "on"}))

    return make


@pytest.mark.parametrize("home", HOMES)
def test_a_kill_at_any_step_of_a_move_leaves_the_row_right(new_moving: Callable[[str], Moving], home: str) -> None:
    moving = new_moving(home)
    kills = 0
    for step in range(moving.first_step(), MOST_STEPS, STRIDE):
        moving.add_one_away()
        ended = moving.scene.run("rehome", strike_at=step)
        if ended.exit_code == 0:
            break
        assert ended.exit_code == KILLED, str(ended)
        kills += 1
        moving.scene.require_nothing_lost(ended)
        if kills % TOGETHER == 0:
            moving.require_the_rest_is_done(ended)
    assert kills >= FEWEST_KILLS
    moving.require_the_rest_is_done(ended)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT] if EVERY_ONE else [signal.SIGTERM])
def test_a_signal_at_any_step_of_a_move_ends_it_in_time(
    new_moving: Callable[[str], Moving], number: signal.Signals
) -> None:
    moving = new_moving("s3-rclone")
    interrupted = 0
    for step in range(moving.first_step() + 2, MOST_STEPS, STRIDE * 2):
        moving.add_one_away()
        ended = moving.scene.run("rehome", strike_at=step, signal_number=number)
        if ended.exit_code == 0:
            break
        assert ended.exit_code == 128 + number, str(ended)
        interrupted += 1
        moving.scene.require_nothing_lost(ended)
        moving.scene.require_nothing_unfinished(ended)
    assert interrupted >= 1
    moving.require_the_rest_is_done(ended)


@pytest.mark.parametrize("kind", [kind for kind in CALLS if EVERY_ONE or kind in SAMPLE])
def test_a_kill_at_any_system_call_of_a_move_leaves_the_row_right(
    strace: str, new_scene: NewScene, memory: Path, kind: str
) -> None:
    stores = [local_destination(name, memory / name) for name in ("principal", "otro")]
    moving = Moving(new_scene(*stores, delete=True, settings={"JANITOR_REHOME": "on"}))
    calls: Sequence[int] = range(1, MOST_CALLS) if EVERY_ONE else SAMPLE[kind]
    kills = 0
    for call in calls:
        moving.add_one_away()
        ended = run_killed_at(strace, moving.scene, CALLS[kind], call, "rehome")
        if ended.exit_code == 0:
            break
        assert ended.exit_code == -signal.SIGKILL, str(ended)
        kills += 1
        moving.scene.require_nothing_lost(ended)
    assert kills >= 1
    moving.require_the_rest_is_done(ended)
