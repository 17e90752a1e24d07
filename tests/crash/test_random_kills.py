"""Random executions, random destinations, random deaths. `make crash N=1000` does many; a failure tells its seed."""

from __future__ import annotations

import os
import random
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crash.scene import KILLED, Scene
from tests.destinations import Destination, local_destination

COUNT = int(os.environ.get("JANITOR_CRASH_COUNT", "16"))
SEED = int(os.environ.get("JANITOR_CRASH_SEED") or secrets.randbelow(10**9))

DESTINATIONS = ("local", "s3-rclone", "s3-swift", "azure", "gcs", "sftp-openssh", "sftp-asyncssh")
MOST_STEPS = 90
MOST_KILLS_IN_A_ROW = 3
LONGEST_LIFE_SECONDS = 0.6

NewScene = Callable[..., Scene]
NewDestination = Callable[[str], Destination]


@pytest.mark.timeout(300 + COUNT * 10)
@pytest.mark.parametrize("delete", [True, False], ids=["deleting", "keeping"])
def test_random_deaths_lose_nothing_and_leave_nothing(
    new_scene: NewScene, new_destination: NewDestination, memory: Path, *, delete: bool
) -> None:
    generator = random.Random(f"{SEED} {delete}")  # noqa: S311 no secret
    scenes: dict[tuple[str, ...], Scene] = {}
    killed = 0
    for number in range(COUNT // 2):
        names = tuple(generator.sample(DESTINATIONS, generator.choice((1, 1, 2))))
        if names not in scenes:
            destinations = (
                local_destination(name, memory / f"nas{number}") if name == "local" else new_destination(name)
                for name in names
            )
            scenes[names] = new_scene(*destinations, delete=delete, transfers=generator.randint(1, 8))
        try:
            killed += _kill_and_check(scenes[names], generator)
        except AssertionError as error:
            raise AssertionError(f"seed {SEED}, number {number}, {names}: {error}") from error
    assert killed or COUNT < 10, f"seed {SEED}: no run was killed"


def _kill_and_check(scene: Scene, generator: random.Random) -> int:
    """Some executions, some deaths, and what must be so after each and at last. Gives how many runs were killed."""
    for _ in range(generator.randint(1, 4)):
        scene.add_execution(rng=generator)
    refused_put = generator.choice(("", "", ".manifest.json"))
    killed = 0
    for _ in range(generator.randint(1, MOST_KILLS_IN_A_ROW)):
        if generator.random() < 0.7:
            ended = scene.run(strike_at=generator.randint(1, MOST_STEPS), refused_put=refused_put)
        else:
            life = generator.uniform(0, LONGEST_LIFE_SECONDS)
            ended = scene.run(kill_after_seconds=life, refused_put=refused_put)
        assert ended.exit_code in (0, 1, KILLED), str(ended)  # 1: the only provider refused a manifest
        killed += ended.exit_code == KILLED
        scene.require_nothing_lost(ended)
    scene.require_all_is_well_after_two_ticks(ended)
    return killed
