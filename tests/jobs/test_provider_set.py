"""A provider that is down is found out once a run, not once an execution; one that answers again is used again."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from config.errors import MigrationError, SourceChanged, caused_by_too_many_open_files
from config.models import ProviderRow
from jobs.migration.setbacks import counts_against
from jobs.provider_set import FAILURES_UNTIL_LEFT_ALONE, SHOWN_SECONDS, ProviderSet
from providers.base import Provider
from providers.errors import (
    AccessDenied,
    DestinationMissing,
    IntegrityError,
    ObjectNotFound,
    ProviderUnavailable,
    StorageFull,
)
from providers.probes import IN_USE_NAME

PREFIX = "ejecuciones"


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    """An empty directory."""
    made = tmp_path / "nas"
    made.mkdir()
    return made


@pytest.fixture
def providers(destination: Path) -> Iterator[ProviderSet]:
    """One provider with the id 1, and one with the id 2, both of them in `destination`."""
    options = {"ruta": str(destination)}
    rows = [ProviderRow(number, f"nas-{number}", "local", None, options, active=True) for number in (1, 2)]
    with closing(ProviderSet(rows, ())) as made:
        yield made


def usable(providers: ProviderSet) -> list[int]:
    return [provider.id for provider in providers.in_order([1, 2])]


def first(providers: ProviderSet) -> Provider:
    """The provider with the id 1."""
    return next(providers.in_order([1]))


def test_a_provider_that_keeps_failing_is_left_alone(providers: ProviderSet) -> None:
    failing = first(providers)
    for failures in range(FAILURES_UNTIL_LEFT_ALONE):
        assert usable(providers) == [1, 2], failures
        providers.note_failure(failing, ProviderUnavailable("no responde"), PREFIX)
    assert usable(providers) == [2]


REFUSALS = (AccessDenied("denegado"), DestinationMissing("no existe"), StorageFull("lleno"))


@pytest.mark.parametrize("error", REFUSALS)
def test_a_provider_that_refuses_a_probe_too_is_left_alone_at_once(
    providers: ProviderSet, error: MigrationError, destination: Path
) -> None:
    refusing = first(providers)
    destination.rmdir()
    providers.note_failure(refusing, error, PREFIX)
    assert usable(providers) == [2]


@pytest.mark.parametrize("error", REFUSALS)
def test_what_is_refused_of_one_execution_takes_the_provider_from_no_other(
    providers: ProviderSet, error: MigrationError, destination: Path
) -> None:
    """Also looked for: a missing bucket, a full store, several that do not answer, what cannot be cleaned up."""
    for _ in range(10 * FAILURES_UNTIL_LEFT_ALONE):
        providers.note_failure(first(providers), error, PREFIX, size_bytes=1000)
    assert usable(providers) == [1, 2]
    assert list(destination.iterdir()) == []  # and nothing is left of the probes


def test_several_that_one_which_is_alive_did_not_take_are_their_own_fault(providers: ProviderSet) -> None:
    providers_own = first(providers)
    providers_own.progress.note_success()
    for _ in range(10 * FAILURES_UNTIL_LEFT_ALONE):
        providers.note_failure(providers_own, ProviderUnavailable("HTTP 500"), PREFIX)
    assert usable(providers) == [1, 2]


def test_one_that_was_alive_and_answers_no_probe_is_left_alone(providers: ProviderSet, destination: Path) -> None:
    failing = first(providers)
    failing.progress.note_success()
    destination.rmdir()
    for _ in range(FAILURES_UNTIL_LEFT_ALONE):
        providers.note_failure(failing, ProviderUnavailable("HTTP 500"), PREFIX)
    assert usable(providers) == [2]


def test_a_probe_is_believed_for_a_while_and_no_longer(
    providers: ProviderSet, destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing = first(providers)
    providers.note_failure(refusing, AccessDenied("denegado"), PREFIX)
    destination.rmdir()
    providers.note_failure(refusing, AccessDenied("denegado"), PREFIX)
    assert usable(providers) == [1, 2]
    later = time.monotonic() + SHOWN_SECONDS
    monkeypatch.setattr(time, "monotonic", lambda: later)
    providers.note_failure(refusing, AccessDenied("denegado"), PREFIX)
    assert usable(providers) == [2]


def test_what_a_killed_run_left_of_a_probe_is_removed_by_the_next(providers: ProviderSet, destination: Path) -> None:
    (destination / PREFIX).mkdir()
    (destination / PREFIX / f"{IN_USE_NAME}0123").write_bytes(b"janitor-daemon")
    providers.note_failure(first(providers), AccessDenied("denegado"), PREFIX)
    assert list(destination.iterdir()) == []


def test_what_is_as_large_as_what_had_no_room_is_not_sent_in_the_same_run(providers: ProviderSet) -> None:
    """Once it may have been one object's fault; twice says something of the room."""
    full = first(providers)
    providers.note_failure(full, StorageFull("lleno"), PREFIX, size_bytes=1000)
    providers.require_room(full, 1000, "una/")
    providers.note_failure(full, StorageFull("lleno"), PREFIX, size_bytes=1010)
    providers.require_room(full, 1009, "una/")
    with pytest.raises(
        StorageFull, match=r"sin espacio en nas-1 .no cupo una ejecución de 1010 B, y esta tiene 1010 B"
    ):
        providers.require_room(full, 1010, "una/")
    providers.note_success(full, 1015)
    providers.require_room(full, 3000, "una/")


def leave_room(monkeypatch: pytest.MonkeyPatch, free_bytes: int) -> None:
    """Every file system says from now on that only this much fits."""
    space = os.statvfs("/")
    few = os.statvfs_result((1, 1, 10**9, free_bytes, free_bytes, *space[5:10]))
    monkeypatch.setattr(os, "fstatvfs", lambda _descriptor: few)


def test_what_a_full_provider_says_it_has_no_room_for_is_not_sent(
    providers: ProviderSet, destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only after it had no room once: a file system that compresses takes more than it says. What an attempt that was
    cut off has stored needs no more room.
    """
    full = first(providers)
    leave_room(monkeypatch, 500)
    providers.require_room(full, 1000, "una/")
    providers.note_failure(full, StorageFull("lleno"), PREFIX, size_bytes=1000)
    providers.require_room(full, 400, "una/")
    with pytest.raises(StorageFull, match=r"sin espacio en nas-1 .quedan 500 B, hacen falta 900 B"):
        providers.require_room(full, 900, "una/")
    (destination / "una").mkdir()
    (destination / "una" / "tabla").write_bytes(b"x" * 450)
    providers.require_room(full, 900, "una/")
    assert usable(providers) == [1, 2]


def test_a_probe_that_succeeds_is_not_an_execution_that_was_stored(providers: ProviderSet) -> None:
    """`docs/memory.md`: a provider's failure counts where the same run stores others there."""
    refusing = first(providers)
    providers.note_failure(refusing, AccessDenied("denegado"), PREFIX)
    assert not counts_against(AccessDenied("denegado"), providers, [1])
    providers.note_success(refusing, 10)
    assert counts_against(AccessDenied("denegado"), providers, [1])
    assert not counts_against(StorageFull("lleno"), providers, [1])


@pytest.mark.parametrize("error", [SourceChanged("x"), IntegrityError("x"), ObjectNotFound("x")])
def test_what_is_not_the_providers_own_fault_is_not_counted(
    providers: ProviderSet, error: MigrationError, destination: Path
) -> None:
    failing = first(providers)
    destination.rmdir()
    for _ in range(10 * FAILURES_UNTIL_LEFT_ALONE):
        providers.note_failure(failing, error, PREFIX)
    assert usable(providers) == [1, 2]


def test_files_that_this_host_has_open_are_not_the_providers_fault(providers: ProviderSet) -> None:
    error = ProviderUnavailable("no se pudo conectar")
    error.__cause__ = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    for _ in range(10 * FAILURES_UNTIL_LEFT_ALONE):
        providers.note_failure(first(providers), error, PREFIX)
    assert usable(providers) == [1, 2]


def test_an_error_that_leads_to_itself_is_looked_at_once() -> None:
    """A lost session's error is kept and raised again, for each who waits for it."""
    kept, told = OSError(errno.ECONNRESET, "reset"), ProviderUnavailable("se cortó")
    told.__cause__, kept.__context__ = kept, told
    assert not caused_by_too_many_open_files(told)
    kept.errno = errno.EMFILE
    assert caused_by_too_many_open_files(told)


def test_a_success_makes_up_for_the_failures_before(providers: ProviderSet) -> None:
    for _ in range(10):
        providers.note_failure(first(providers), ProviderUnavailable("no responde"), PREFIX)
        providers.note_success(first(providers))
    assert usable(providers) == [1, 2]
