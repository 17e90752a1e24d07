"""SIGTERM and SIGINT at every boundary between two steps: a quick end, and nothing unfinished at the provider."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable

import pytest

from tests.crash.scene import Scene
from tests.destinations import Destination

NewScene = Callable[..., Scene]
NewDestination = Callable[[str], Destination]


@pytest.mark.parametrize(
    ("name", "number", "stride"),
    [
        ("local", signal.SIGTERM, 2),
        ("s3-swift", signal.SIGTERM, 4),
        ("azure", signal.SIGINT, 6),
        ("sftp-openssh", signal.SIGINT, 8),
    ],
)
def test_a_signal_at_any_step_ends_the_run_in_time_and_leaves_nothing_unfinished(
    new_scene: NewScene, new_destination: NewDestination, name: str, number: signal.Signals, stride: int
) -> None:
    scene = new_scene(new_destination(name), delete=True)
    interrupted = 0
    for step in itertools.count(1, stride):
        scene.add_execution(large=name in ("s3-swift", "azure") and step % 8 == 1)
        ended = scene.run(strike_at=step, signal_number=number)
        if ended.exit_code == 0:
            break
        assert ended.exit_code in (128 + number, -number), str(ended)
        interrupted += ended.exit_code == 128 + number
        scene.require_nothing_lost(ended)
        # The next run continues with the parts that S3 has.
        scene.require_nothing_unfinished(ended, but_for=["grande.bin"] if name == "s3-swift" else ())
        scene.require_all_is_well_after_two_ticks(ended)
    assert interrupted > 4
