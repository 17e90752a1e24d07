"""Histories that once lost something, each under its own name. The model found them, or people did before it.

Each docstring says which kind of fault it is and where else it was looked for. A history is taken as the model takes
it: after its last step an hour passes, what stands still continues, what is on its way arrives, and two rounds of ticks
bring all to rest; nothing may be lost at any step of this.
"""

from __future__ import annotations

import pytest

from tests.model.histories import IN_USE, Scene, play
from tests.model.runs import Cut, Fate
from tests.model.steps import (
    BackUp,
    ChangeDate,
    ChangeDirectory,
    ChangePrefix,
    ChangeUuid,
    Clone,
    DeleteRow,
    Deliver,
    Execute,
    LoseDirectory,
    PointProvider,
    Rehome,
    RestoreDatabase,
    Resume,
    RotObject,
    SetBack,
    Step,
    SwapBytes,
    SwapUuids,
    Switch,
    TakeObjectAway,
    Tick,
    TimePasses,
)
from tests.model.stores import KINDS
from tests.model.world import World

on_every_kind = pytest.mark.parametrize("kind", list(KINDS))

DIED_BEFORE_COMMIT = Tick("A", Cut(Fate.KILL, "sql commit*"))
U0, U2, U0_IN_CAPITALS = 0, 2, 3


def scene_on(kind: str, *, folds_case: bool = False) -> Scene:
    """A destination of one kind, and another one beside it."""
    return Scene(kinds=(kind, "s3"), folds_case=folds_case)


# Critical 1: stale bytes are proven and committed


@on_every_kind
def test_bytes_of_a_dead_attempt_are_no_proof_of_others_with_the_same_checksum(world: World, kind: str) -> None:
    """Point 1. Looked for on every kind; only a listing with a short checksum (GCS) is taken in by it."""
    play(world, scene_on(kind), [Execute(0, "A", ("a",)), DIED_BEFORE_COMMIT, SwapBytes(0), Tick("A")])


@on_every_kind
def test_bytes_of_a_dead_attempt_are_no_proof_of_others_written_in_place(world: World, kind: str) -> None:
    """Point 1, with the same inode."""
    play(world, scene_on(kind), [Execute(0, "A", ("a",)), DIED_BEFORE_COMMIT, SwapBytes(0, in_place=True), Tick("A")])


@on_every_kind
def test_bytes_of_the_same_runs_first_attempt_are_no_proof_either(world: World, kind: str) -> None:
    """Point 1: "Se repite la subida", within one run."""
    stopped = Tick("A", Cut(Fate.STOP, "put */b *"))
    play(world, scene_on(kind), [Execute(0), stopped, SwapBytes(0), Resume()])


# Critical 2: whose a place is


@on_every_kind
def test_a_uuid_that_a_migrated_row_had_leads_no_other_row_to_its_copy(world: World, kind: str) -> None:
    """Point 2. The uuid of a migrated row is changed, and another row gets the old one."""
    play(
        world,
        scene_on(kind),
        [Execute(0), Tick("A"), ChangeUuid(0, U2), Execute(1), ChangeUuid(1, U0), Tick("A")],
    )


@on_every_kind
def test_leftovers_are_not_removed_where_another_rows_copy_is_by_now(world: World, kind: str) -> None:
    """Point 2. A failed attempt of one row, whose uuid went to another one."""
    play(
        world,
        scene_on(kind),
        [Execute(0), DIED_BEFORE_COMMIT, ChangeUuid(0, U2), Execute(1), ChangeUuid(1, U0), Tick("A"), Tick("A")],
    )


@on_every_kind
def test_a_run_whose_uuid_changes_sends_nothing_more_to_the_old_place(world: World, kind: str) -> None:
    """Point 2. The uuid changes while files are sent, and another row has it by then."""
    stopped = Tick("A", Cut(Fate.STOP, "sql lease*"))
    play(
        world,
        scene_on(kind),
        [Execute(0), stopped, ChangeUuid(0, U2), Execute(1), ChangeUuid(1, U0), Tick("B"), Resume()],
    )


@on_every_kind
def test_two_rows_that_come_to_share_a_uuid_after_the_look_do_not_share_a_place(world: World, kind: str) -> None:
    """Point 2. Both runs have looked at conflicts when there was none, and each sends files of a row of its own."""
    looked = Tick("A", Cut(Fate.STOP, "sql claim_exec*"))
    about_to_send = Tick("B", Cut(Fate.STOP, "sql note_place*"))
    before = [Execute(0), Execute(1), looked, ChangeUuid(0, U2), ChangeDate(0, is_due=False), ChangeUuid(1, U0)]
    after = [ChangeUuid(0, U0), ChangeDate(0, is_due=True), Resume(0), Resume(0)]
    play(world, scene_on(kind), [*before, about_to_send, *after])


@on_every_kind
def test_leftovers_below_which_copies_are_by_now_are_not_removed(world: World, kind: str) -> None:
    """Point 2. The prefix of today lies in the place of an attempt that failed."""
    play(world, scene_on(kind), [Execute(0), DIED_BEFORE_COMMIT, ChangePrefix(2), Tick("A"), Tick("A")])


@on_every_kind
def test_a_clone_of_the_database_does_not_overwrite_productions_copy(world: World, kind: str) -> None:
    """Point 2. Staging has production's rows and its credentials, and other bytes."""
    play(world, scene_on(kind), [Execute(0), Clone(changed_slot=0), Tick("A"), Tick("S")])


@on_every_kind
def test_a_clone_of_the_database_does_not_remove_leftovers_that_became_a_copy(world: World, kind: str) -> None:
    """Point 2. Both know of the same failed attempt; production makes it its copy, staging migrates elsewhere."""
    play(
        world,
        scene_on(kind),
        [Execute(0), DIED_BEFORE_COMMIT, Clone(changed_slot=0), Tick("A"), Tick("S"), Tick("S")],
    )


def test_a_name_in_other_case_is_the_same_place_where_case_is_folded(world: World) -> None:
    """Point 2. Two uuids that differ in case, on a destination that does not tell them apart."""
    play(
        world,
        scene_on("sftp", folds_case=True),
        [Execute(0), Tick("A"), Execute(1), ChangeUuid(1, U0_IN_CAPITALS), Tick("A")],
    )


@on_every_kind
def test_a_uuid_whose_row_was_deleted_leads_no_other_row_to_its_copy(world: World, kind: str) -> None:
    """Point 2. A migrated row is deleted, and a new one has its uuid."""
    play(world, scene_on(kind), [Execute(0), Tick("A"), DeleteRow(0), Execute(1), ChangeUuid(0, U0), Tick("A")])


@on_every_kind
def test_swapped_uuids_swap_no_copies(world: World, kind: str) -> None:
    """Point 2. A migrated row and one that is still to be migrated get each other's uuid. Found by a search of 500
    histories of the family "rows".
    """
    play(world, scene_on(kind), [Execute(0), Tick("A"), Execute(1), SwapUuids(0, 1), Tick("A")])


@on_every_kind
def test_leftovers_are_not_removed_where_another_row_points_to_the_copy(world: World, kind: str) -> None:
    """Point 2. Two providers' rows lead to one bucket: an attempt through one fails, one through the other is good."""
    refused = Tick("A", Cut(Fate.REFUSED, "[pr]* *manifest.json at *"))
    play(world, Scene((kind, kind), ("one", "one")), [Execute(0), refused, Tick("A")])


@on_every_kind
def test_a_provider_that_leads_elsewhere_by_now_makes_nothing_there_ours(world: World, kind: str) -> None:
    """Point 11. An attempt was made in one bucket; in the other one, at the same key, lies another execution's copy."""
    play(
        world,
        scene_on(kind),
        [
            PointProvider(0, "two"),
            Execute(0),
            Tick("A"),
            ChangeUuid(0, U2),
            PointProvider(0, "one"),
            Execute(1, "A", ("a",)),
            ChangeUuid(1, U0),
            DIED_BEFORE_COMMIT,
            PointProvider(0, "two"),
            Tick("A"),
        ],
    )


# Critical 3: late requests


@on_every_kind
@pytest.mark.parametrize("fate", [Fate.KILL_SENT, Fate.STOP_SENT])
def test_a_late_removal_of_a_manifest_hits_nothing(world: World, kind: str, fate: Fate) -> None:
    """Point 3. The manifest of a dead attempt was to be removed before a new one, and goes after the commit."""
    cut_off = Tick("A", Cut(fate, "delete*manifest*"))
    play(world, scene_on(kind), [Execute(0), DIED_BEFORE_COMMIT, cut_off, TimePasses(), Tick("B"), Deliver(), Resume()])


@on_every_kind
@pytest.mark.parametrize("fate", [Fate.KILL_SENT, Fate.STOP_SENT])
def test_a_late_removal_of_an_outdated_manifest_hits_nothing(world: World, kind: str, fate: Fate) -> None:
    """Point 3, for the manifest of a dead attempt at what the directory held before."""
    cut_off = Tick("A", Cut(fate, "delete*manifest*"))
    history = [Execute(0), DIED_BEFORE_COMMIT, Execute(0, "A", ("a",)), cut_off, TimePasses(), Tick("B"), Deliver()]
    play(world, scene_on(kind), [*history, Resume()])


@on_every_kind
@pytest.mark.parametrize("fate", [Fate.KILL_SENT, Fate.STOP_SENT, Fate.NO_ANSWER])
def test_late_bytes_of_a_file_that_changed_since_hit_nothing(world: World, kind: str, fate: Fate) -> None:
    """Point 3, for puts: the file was written again since, and the copy of its new bytes is committed."""
    cut_off = Tick("A", Cut(fate, "[pr]* */a *"))
    play(
        world,
        scene_on(kind),
        [Execute(0, "A", ("a",)), cut_off, SwapBytes(0), TimePasses(), Tick("B"), Deliver(), Resume()],
    )


@on_every_kind
@pytest.mark.parametrize("fate", [Fate.KILL_SENT, Fate.STOP_SENT])
def test_a_late_manifest_of_other_bytes_hits_nothing(world: World, kind: str, fate: Fate) -> None:
    """Point 3, for manifests: the directory was written again since."""
    cut_off = Tick("A", Cut(fate, "[pr]* *manifest.json *"))
    play(world, scene_on(kind), [Execute(0), cut_off, Execute(0), TimePasses(), Tick("B"), Deliver(), Resume()])


@on_every_kind
def test_a_late_removal_of_an_extra_file_hits_nothing(world: World, kind: str) -> None:
    """Point 3, for objects of a dead attempt whose files were gone, and are there again."""
    cut_off = Tick("A", Cut(Fate.KILL_SENT, "delete* */b *"))
    play(
        world,
        scene_on(kind),
        [
            Execute(0),
            DIED_BEFORE_COMMIT,
            Execute(0, "A", ("a",)),
            cut_off,
            Execute(0),
            TimePasses(),
            Tick("B"),
            Deliver(),
        ],
    )


@on_every_kind
def test_a_late_removal_of_leftovers_hits_nothing(world: World, kind: str) -> None:
    """Point 3, for leftovers: their place became that of a copy since."""
    cut_off = Tick("A", Cut(Fate.KILL_SENT, "delete* */a *"))
    play(
        world,
        scene_on(kind),
        [
            Execute(0),
            DIED_BEFORE_COMMIT,
            Switch(is_on=False),
            Tick("A"),
            Switch(is_on=True),
            cut_off,
            SetBack(0),
            Execute(0),
            Tick("A"),
            Deliver(),
        ],
    )


# Critical 4: a stopped removal


@on_every_kind
@pytest.mark.parametrize("step", ["rename*", "unlink*", "rmdir*"])
@pytest.mark.parametrize("nth", [1, 2])
def test_a_removal_that_stood_still_removes_nothing_of_a_row_set_back(
    world: World, kind: str, step: str, nth: int
) -> None:
    """Point 4. The lease is over, the row is set back, the directory has its name again; then the removal continues."""
    stopped = Tick("A", Cut(Fate.STOP, step, nth))
    play(world, scene_on(kind), [Execute(0), stopped, TimePasses(), SetBack(0, take_back=True), Resume(), Tick("A")])


@on_every_kind
def test_the_rest_of_a_directory_does_not_replace_its_copy(world: World, kind: str) -> None:
    """Point 4. A removal dies half way; the row is set back, and what is left of the directory migrated."""
    died = Tick("A", Cut(Fate.KILL, "rename*", 3))
    play(world, scene_on(kind), [Execute(0), died, SetBack(0, take_back=True), Tick("A")])


@on_every_kind
@pytest.mark.parametrize("attempts_that_died", [0, 2])
def test_a_file_that_a_removal_had_set_aside_does_not_replace_its_copy(
    world: World, kind: str, attempts_that_died: int
) -> None:
    """Point 4. A removal dies when a file has another name already: as many files are left, and as many bytes. Found by
    a search of 307 histories of the family "machines".
    """
    died = Tick("A", Cut(Fate.KILL, "unlink*"))
    before = [DIED_BEFORE_COMMIT] * attempts_that_died
    play(world, scene_on(kind), [Execute(0), *before, died, SetBack(0, take_back=True), Tick("A")])


# The other copy, too, is not whole any more


@pytest.mark.parametrize("harm", [TakeObjectAway(0), RotObject(0)], ids=repr)
def test_a_removal_that_was_put_off_does_not_go_on_once_the_copy_is_bad(world: World, harm: Step) -> None:
    """Looked for wherever bytes of an execution go: local ones, those of a copy that was moved, and the next two."""
    begun = Tick("A", Cut(Fate.KILL, "sql note_set_aside*"))
    play(world, scene_on("sftp"), [Execute(0), begun, harm, Tick("A"), Tick("A")])


def test_the_old_copy_stays_once_the_new_one_is_bad(world: World) -> None:
    away = [Switch(is_on=False), Execute(0), Tick("A"), Switch(is_on=True)]
    play(world, scene_on("sftp"), [*away, Rehome("A"), RotObject(0), Tick("A"), Tick("A")])


def test_a_whole_copy_of_another_execution_of_the_same_row_stays(world: World) -> None:
    """The row was given to another execution, which is migrated, and the first one's directory is lost."""
    given_away = [ChangeUuid(0, U2), ChangeDirectory(0, 1), Execute(1), LoseDirectory(0)]
    play(world, scene_on("s3"), [Execute(0), DIED_BEFORE_COMMIT, *given_away, Tick("A"), Tick("A")])


# The database is set back to a backup: it knows nothing of what was stored since


DIED_WHILE_REMOVING = Tick("A", Cut(Fate.KILL, "unlink*", 2))


@on_every_kind
def test_what_a_removal_has_left_replaces_no_copy_of_which_the_database_does_not_know(world: World, kind: str) -> None:
    """The backup is from before the first attempt. Looked for wherever a manifest of ours is taken away: at an upload,
    a move, a removal of leftovers.
    """
    play(
        world, scene_on(kind), [*IN_USE, Execute(0), BackUp(), DIED_WHILE_REMOVING, RestoreDatabase(slot=0), Tick("A")]
    )


@on_every_kind
def test_what_a_removal_has_left_replaces_no_copy_that_was_under_way_at_the_backup(world: World, kind: str) -> None:
    """The database was backed up after an attempt had failed, as one that is backed up at night may be."""
    died = Tick("A", Cut(Fate.KILL, "[pr]* */b *"))
    history = [*IN_USE, Execute(0), died, BackUp(), DIED_WHILE_REMOVING, RestoreDatabase(slot=0), Tick("A")]
    play(world, scene_on(kind), history)


@on_every_kind
def test_a_copy_that_is_newer_than_a_backup_is_no_leftover(world: World, kind: str) -> None:
    """At the backup the row points to the second provider, and an attempt at the first one has failed. Since then the
    execution ran again, and was stored at the first one.
    """
    failed = [*IN_USE, Execute(0), DIED_BEFORE_COMMIT, Switch(is_on=False), Tick("A"), BackUp(), Switch(is_on=True)]
    again = [SetBack(1), Execute(0, "B"), Tick("A")]
    play(world, scene_on(kind), [*failed, *again, RestoreDatabase(), Switch(is_on=True), Tick("A"), Tick("A")])


@on_every_kind
@pytest.mark.parametrize("before", [[], [DIED_BEFORE_COMMIT]], ids=["nothing-before", "an-attempt-before"])
def test_a_copy_that_is_newer_than_a_backup_is_not_replaced_by_a_move(
    world: World, kind: str, before: list[Step]
) -> None:
    """As before; then the older copy at the second provider is to be brought to the first one."""
    away = [*IN_USE, Execute(0), *before, Switch(is_on=False), Tick("A"), BackUp(), Switch(is_on=True)]
    again = [SetBack(1), Execute(0, "B"), Tick("A")]
    then = [RestoreDatabase(), Switch(is_on=True), Rehome("A"), TimePasses(hours=2), Rehome("A"), Tick("A")]
    play(world, scene_on(kind), [*away, *again, *then])


@on_every_kind
def test_an_equal_copy_of_which_the_database_does_not_know_is_taken_as_it_is(world: World, kind: str) -> None:
    """The directory is still whole: nothing is sent, and its removal continues."""
    died = Tick("A", Cut(Fate.KILL, "rename*"))
    play(world, scene_on(kind), [*IN_USE, Execute(0), BackUp(), died, RestoreDatabase(), Tick("A")])
    assert world.production.migrated[2].content() == world.promised[0]
    assert not world.has_local_copy(0)


# A row names another directory than before


AWAY_AND_HOME = [Switch(is_on=False), Tick("A"), Switch(is_on=True), TimePasses(hours=2), Rehome("A"), Tick("A")]


@on_every_kind
@pytest.mark.parametrize("then", [[Tick("A"), Tick("A")], AWAY_AND_HOME], ids=["stored", "moved"])
def test_the_copy_of_the_directory_that_a_row_named_before_is_not_replaced(
    world: World, kind: str, then: list[Step]
) -> None:
    """Looked for wherever a copy goes: leftovers of another directory were already kept; an upload, also that of a
    move, was not. Found by a search of 254 histories of the family "restored", without any restore.
    """
    play(world, scene_on(kind), [Execute(0), Tick("A"), SetBack(0), ChangeDirectory(0, 1), Execute(1), *then])


@on_every_kind
def test_the_copy_of_another_directory_is_not_replaced_though_a_restored_database_knows_its_attempt(
    world: World, kind: str
) -> None:
    """The attempt was open at the backup, and was committed after it."""
    stopped = Tick("A", Cut(Fate.STOP, "[pr]* */b *"))
    restored = [*IN_USE, Execute(0), stopped, BackUp(), Resume(), RestoreDatabase()]
    play(world, scene_on(kind), [*restored, ChangeDirectory(1, 2), Execute(2), Tick("A"), Tick("A")])


@on_every_kind
@pytest.mark.parametrize(
    "changed",
    [
        [Execute(0), BackUp(), Tick("A"), RestoreDatabase(), ChangeDirectory(1, 2), Execute(2)],
        [BackUp(), Execute(0), Tick("A"), RestoreDatabase(), Execute(2), ChangeUuid(1, U0)],
    ],
    ids=["another-directory", "a-new-row-of-the-same-number"],
)
def test_a_move_replaces_no_copy_whose_attempt_has_the_number_of_a_later_one(
    world: World, kind: str, changed: list[Step]
) -> None:
    """A restored database gives numbers of rows and attempts anew; the one to the alternate has that of the copy."""
    moved = [Tick("A"), TimePasses(hours=2), Rehome("A"), TimePasses(hours=2), Rehome("A"), Tick("A")]
    play(world, scene_on(kind), [*IN_USE, *changed, *moved])


# Two installations send to one place at the same time


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "minio"])
def test_a_clone_that_looked_before_production_stored_overwrites_nothing_of_it(world: World, kind: str) -> None:
    """Both run at the same minute, and both have found nothing at the place. Only a store that keeps no conditions,
    such as that of the kind minio here, stores the later one over the earlier one.
    """
    looked = Tick("S", Cut(Fate.STOP, "[pr]* */a *"))
    play(world, scene_on(kind), [Execute(0), Clone(changed_slot=0), looked, Tick("A"), Resume()])
