"""The command line, killed at every boundary between two of its steps, on every kind of destination."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Sequence

import pytest

from tests.crash.checker import Tree, tree_of
from tests.crash.scene import KILLED, Scene
from tests.destinations import Destination

FEWEST_STEPS = 20
"""A run that migrates has more: a sweep that ends before has not watched it."""

FEWEST_STEPS_AFTER_THE_COMMIT = 10
"""A run that deletes has more."""

MOST_STEPS = 500

NewScene = Callable[..., Scene]
NewDestination = Callable[[str], Destination]


EVERY_DESTINATION = pytest.mark.parametrize("name", ["local", "s3-rclone", "azure", "gcs", "sftp-openssh"])


@EVERY_DESTINATION
def test_a_kill_at_any_step_loses_nothing_and_leaves_nothing(
    new_scene: NewScene, new_destination: NewDestination, name: str
) -> None:
    scene = new_scene(new_destination(name), delete=True)
    scene.add_execution()
    reached = scene.run().reached
    claim, commit = reached.index("sql claim_executions"), reached.index("sql commit_migration")
    assert commit > claim
    steps = [*range(1, MOST_STEPS)]
    if name == "s3-rclone":  # before the claim no destination matters, and after the commit little more
        steps = [*range(claim, commit + 3), *range(commit + 3, MOST_STEPS, 3)]
    elif name != "local":  # where only the provider is another, and its server slow
        steps = [*range(claim, MOST_STEPS, 3)]
    assert _kill_at_each_step(scene, steps) > commit + FEWEST_STEPS_AFTER_THE_COMMIT


@EVERY_DESTINATION
def test_a_kill_at_any_step_keeps_the_local_copy_where_deletion_is_off(
    new_scene: NewScene, new_destination: NewDestination, name: str
) -> None:
    """Only the commit and what follows differ from a run that deletes: the sweep begins shortly before it."""
    scene = new_scene(new_destination(name), delete=False)
    scene.add_execution()
    commit = 1 + scene.run().reached.index("sql commit_migration")
    assert _kill_at_each_step(scene, range(commit - 3, MOST_STEPS)) > commit


def _kill_at_each_step(scene: Scene, steps: Sequence[int], **how: str) -> int:
    """Kill a run at each of these steps, as many as it has; the number of the first that no run reaches any more."""
    for step in steps:
        scene.add_execution()
        ended = scene.run(strike_at=step, **how)
        if ended.exit_code == 0:
            return step
        assert ended.exit_code == KILLED, str(ended)
        scene.require_nothing_lost(ended)
        scene.require_all_is_well_after_two_ticks(ended)
    raise AssertionError(f"a run has more than {steps[-1]} steps")


@pytest.mark.parametrize("name", ["s3-rclone", "s3-swift", "azure", "gcs"])
def test_a_kill_between_the_parts_of_a_large_file_leaves_none_of_them(
    new_scene: NewScene, new_destination: NewDestination, name: str
) -> None:
    scene = new_scene(new_destination(name), delete=True)
    scene.add_execution(large=True)
    ended = scene.run()
    parts = [step for step, what in enumerate(ended.reached, start=1) if what.startswith("sent") and "grande" in what]
    assert len(parts) >= 2, str(ended)
    for step in parts:
        scene.add_execution(large=True)
        ended = scene.run(strike_at=step)
        assert ended.exit_code == KILLED, str(ended)
        scene.require_nothing_lost(ended)
        scene.require_all_is_well_after_two_ticks(ended)


@pytest.mark.parametrize(("primary", "alternate"), [("s3-rclone", "local"), ("local", "s3-rclone")])
def test_a_kill_on_the_way_to_the_alternate_leaves_nothing_at_the_primary(
    new_scene: NewScene, new_destination: NewDestination, primary: str, alternate: str
) -> None:
    """The primary refuses the manifest; what it holds by then is removed after the alternate's copy is committed.

    Every third step, as the single ones are those of the other sweeps.
    """
    scene = new_scene(new_destination(primary), new_destination(alternate), delete=True)
    scene.add_execution()
    ended = scene.run(refused_put=".manifest.json")
    assert "Intentando migrar al proveedor alternativo" in ended.errors
    refused = next(step for step, what in enumerate(ended.reached, start=1) if what.endswith(".manifest.json"))
    assert (
        _kill_at_each_step(scene, range(refused, MOST_STEPS, 3), refused_put=".manifest.json") > refused + FEWEST_STEPS
    )


@pytest.mark.parametrize(("name", "stride"), [("local", 5), ("s3-rclone", 11)])
def test_a_kill_while_a_killed_run_is_taken_up_again_loses_nothing(
    new_scene: NewScene, new_destination: NewDestination, name: str, stride: int
) -> None:
    """What repairs may die, too: a run is killed right before or after its commit, and the next one at its steps."""
    scene = new_scene(new_destination(name), delete=True)
    scene.add_execution()
    commit = 1 + scene.run().reached.index("sql commit_migration")
    for first, middle in ((1, commit), (1 + stride // 2, commit + 5)):
        for step in range(first, MOST_STEPS, stride):
            scene.add_execution()
            assert scene.run(strike_at=middle).exit_code == KILLED
            ended = scene.run(strike_at=step)
            if ended.exit_code == 0:
                break
            assert ended.exit_code == KILLED, str(ended)
            scene.require_nothing_lost(ended)
            scene.require_all_is_well_after_two_ticks(ended)


def test_a_killed_restore_never_looks_like_a_whole_one_and_continues(
    new_scene: NewScene, new_destination: NewDestination
) -> None:
    """The same command finishes it, whatever step it was killed at; every other time it is killed once more before."""
    scene = new_scene(new_destination("s3-rclone"), delete=True)
    original = scene.add_execution()
    assert scene.run().exit_code == 0
    target = scene.installation.directory / "recuperada"
    for step in itertools.count(1):
        ended = scene.run("restore", original.uuid, str(target), strike_at=step)
        if ended.exit_code == 0:
            break
        assert ended.exit_code == KILLED, str(ended)
        if step % 2:
            ended = scene.run("restore", original.uuid, str(target), strike_at=step)
        if target.exists() and any(target.iterdir()) and _contents(tree_of(target)) != _contents(original.tree):
            assert (target / ".janitor-restore-incomplete").exists(), str(ended)
            again = scene.run("restore", original.uuid, str(target))
            assert again.exit_code == 0, f"{again}\nafter {ended}"
            assert tree_of(target) == original.tree, str(ended)
        shutil.rmtree(target, ignore_errors=True)
    assert tree_of(target) == original.tree
    shutil.rmtree(target)
    scene.require_all_is_well_after_two_ticks(ended)


def _contents(tree: Tree) -> Tree:
    """All but the top directory's own mode and time, which come last of all, after the mark is gone."""
    return {path: entry for path, entry in tree.items() if path}
