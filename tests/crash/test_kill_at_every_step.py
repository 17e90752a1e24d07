"""The command line, killed at every boundary between two of its steps, on every kind of destination."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from tests.crash.scene import KILLED, Scene
from tests.destinations import Destination

FEWEST_STEPS = 30
"""A run that migrates has more: a sweep that ends before has not watched it."""

NewScene = Callable[..., Scene]


@pytest.mark.parametrize("delete", [True, False], ids=["deleting", "keeping"])
@pytest.mark.parametrize("name", ["local", "s3-rclone", "s3-swift", "azure", "gcs", "sftp-openssh"])
def test_a_kill_at_any_step_loses_nothing_and_leaves_nothing(
    new_scene: NewScene, new_destination: Callable[[str], Destination], name: str, *, delete: bool
) -> None:
    scene = new_scene(new_destination(name), delete=delete)
    for step in itertools.count(1):
        scene.add_execution()
        ended = scene.run(strike_at=step)
        if ended.exit_code == 0:
            break
        assert ended.exit_code == KILLED, str(ended)
        scene.require_nothing_lost(ended)
        scene.require_all_is_well_after_two_ticks(ended)
    assert step > FEWEST_STEPS
