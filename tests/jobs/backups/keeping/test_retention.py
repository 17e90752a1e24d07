"""Retention, on random ages, chains, copies and losses: what it promises always holds."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.backups.keeping.retention import KnownBackup, RetentionError, deletable

NOW = datetime(2026, 11, 28, tzinfo=UTC)
PLACES = ("disk", "s3", "sftp")

copies = st.frozensets(st.sampled_from(PLACES))
ages = st.integers(0, 400)


@st.composite
def histories(draw: st.DrawFn) -> list[KnownBackup]:
    """Rows in any order; a base may be missing, failed, lost or, after a wrong hand, a differential itself."""
    count = draw(st.integers(0, 12))
    found = []
    for number in range(1, count + 1):
        base = draw(st.one_of(st.none(), st.integers(1, count + 1)))
        verified = draw(st.one_of(st.none(), ages))
        found.append(
            KnownBackup(
                number,
                NOW - timedelta(days=draw(ages)),
                None if base == number else base,
                draw(st.booleans()),
                None if verified is None else NOW - timedelta(days=verified),
                draw(copies),
                is_doubtful=draw(st.booleans()),
                may_be_unseen=draw(st.booleans()),
            )
        )
    return draw(st.permutations(found))


def restorable(backups: list[KnownBackup]) -> list[KnownBackup]:
    """Those from which the database comes back, told in another way than the program does."""
    seen = {backup.id: backup for backup in backups if backup.is_good and backup.copies}
    return [
        backup
        for backup in seen.values()
        if backup.base_id is None or (backup.base_id in seen and seen[backup.base_id].base_id is None)
    ]


def unquestioned(backups: list[KnownBackup]) -> list[KnownBackup]:
    """Those that can be restored and of whose chain no proof failed."""
    questioned = {backup.base_id or backup.id for backup in backups if backup.is_doubtful}
    return [backup for backup in restorable(backups) if (backup.base_id or backup.id) not in questioned]


def newest(backups: list[KnownBackup]) -> KnownBackup | None:
    """By when it was made."""
    return max(backups, key=lambda backup: (backup.made, backup.id), default=None)


@settings(deadline=None)
@given(histories(), st.integers(1, 200))
def test_the_promises_hold_for_any_history(backups: list[KnownBackup], days: int) -> None:
    gone = deletable(backups, days, NOW)
    left = [backup for backup in backups if backup not in gone]
    bases_needed = {backup.base_id for backup in left}
    assert [backup for backup in gone if backup.id in bases_needed] == []
    assert all(backup.made < NOW - timedelta(days=days) for backup in gone)
    fulls = [backup for backup in restorable(backups) if backup.is_full]
    assert newest(fulls) is None or newest(fulls) in left
    assert newest(restorable(backups)) is None or newest(restorable(backups)) in restorable(left)
    assert [backup for backup in gone if backup.may_be_unseen] == []
    sound = unquestioned(backups)
    assert newest(sound) is None or newest(sound) in restorable(left)
    if not any(backup.is_full for backup in sound):
        assert gone == []
    verified = [backup for backup in restorable(backups) if backup.verified]
    if verified:
        assert max(verified, key=lambda backup: (backup.verified, backup.id)) in restorable(left)
    assert bool(restorable(left)) == bool(restorable(backups))
    if not fulls:
        assert gone == []


@settings(deadline=None)
@given(histories(), st.integers(1, 200))
def test_stopped_after_any_deletion_no_chain_is_broken(backups: list[KnownBackup], days: int) -> None:
    gone = deletable(backups, days, NOW)
    for count in range(len(gone) + 1):
        left = [backup for backup in backups if backup not in gone[:count]]
        known = {backup.id for backup in backups}
        lost = [b for b in left if b.base_id in known and b.base_id not in {x.id for x in left}]
        assert [backup for backup in lost if backup.is_good and backup in restorable(backups)] == []


@settings(deadline=None)
@given(histories(), st.integers(1, 200))
def test_a_second_time_deletes_nothing(backups: list[KnownBackup], days: int) -> None:
    gone = deletable(backups, days, NOW)
    assert deletable([backup for backup in backups if backup not in gone], days, NOW) == []


@settings(deadline=None)
@given(histories(), st.integers(-5, 0))
def test_without_a_number_of_days_nothing_is_deleted(backups: list[KnownBackup], days: int) -> None:
    with pytest.raises(RetentionError, match="BACKUP_RETENTION_DAYS"):
        deletable(backups, days, NOW)


def test_an_old_chain_goes_whole_and_the_full_one_last() -> None:
    old = [
        KnownBackup(1, NOW - timedelta(days=200), copies=frozenset(("disk",))),
        KnownBackup(2, NOW - timedelta(days=199), 1, copies=frozenset(("disk",))),
    ]
    new = KnownBackup(3, NOW - timedelta(days=1), copies=frozenset(("disk",)))
    assert [backup.id for backup in deletable([*old, new], 90, NOW)] == [2, 1]
    alive = KnownBackup(4, NOW - timedelta(days=80), 1, copies=frozenset(("disk",)))
    assert [backup.id for backup in deletable([*old, new, alive], 90, NOW)] == [2]


def test_a_doubt_stays_as_long_as_the_full_backup_that_it_is_about() -> None:
    """Without the differential whose proof failed, its full backup would seem to be one to rely on."""
    disk = frozenset(("disk",))
    sound = KnownBackup(1, NOW - timedelta(days=200), copies=disk)
    doubted = KnownBackup(2, NOW - timedelta(days=190), copies=disk)
    failed = KnownBackup(3, NOW - timedelta(days=189), 2, copies=disk, is_doubtful=True)
    assert deletable([sound, doubted, failed], 90, NOW) == []
    assert deletable([sound, doubted, replace(failed, is_good=False, copies=frozenset())], 90, NOW) == []


def test_the_newest_full_backup_stays_beside_a_newer_differential_of_an_older_one() -> None:
    disk = frozenset(("disk",))
    backups = [
        KnownBackup(1, NOW - timedelta(days=200), copies=disk),
        KnownBackup(2, NOW - timedelta(days=190), verified=None, copies=disk),
        KnownBackup(3, NOW - timedelta(days=180), 1, verified=NOW, copies=disk),
    ]
    assert deletable(backups, 90, NOW) == []


@pytest.mark.parametrize("harm", [{"is_doubtful": True}, {"is_good": False}, {"copies": frozenset()}])
def test_a_newest_full_one_that_cannot_be_relied_on_lets_the_good_one_before_it_stay(harm: dict[str, Any]) -> None:
    disk = frozenset(("disk",))
    oldest = KnownBackup(1, NOW - timedelta(days=300), copies=disk)
    good = KnownBackup(2, NOW - timedelta(days=200), copies=disk)
    newest_one = replace(KnownBackup(3, NOW - timedelta(days=1), copies=disk), **harm)
    assert deletable([oldest, good, newest_one], 90, NOW) == [oldest]
    assert deletable([good, newest_one], 90, NOW) == []


def test_what_a_silent_provider_may_have_stays_and_its_base_with_it() -> None:
    disk = frozenset(("disk",))
    backups = [
        KnownBackup(1, NOW - timedelta(days=200), copies=disk),
        KnownBackup(2, NOW - timedelta(days=190), 1, copies=disk, may_be_unseen=True),
        KnownBackup(3, NOW - timedelta(days=180), copies=disk),
        KnownBackup(4, NOW - timedelta(days=1), copies=disk),
    ]
    assert [backup.id for backup in deletable(backups, 90, NOW)] == [3]


def test_the_newest_verified_one_stays_where_nobody_sees_it() -> None:
    disk = frozenset(("disk",))
    unseen = KnownBackup(1, NOW - timedelta(days=200), verified=NOW - timedelta(days=150))
    proof_failed_later = replace(unseen, id=2, copies=disk, is_doubtful=True)
    new = KnownBackup(3, NOW - timedelta(days=1), copies=disk)
    assert deletable([unseen, new], 90, NOW) == []
    assert deletable([proof_failed_later, new], 90, NOW) == []
