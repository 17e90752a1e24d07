"""A provider that is down is found out once a run, not once an execution; one that answers again starts anew."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from config.models import ProviderRow
from jobs.provider_set import FAILURES_UNTIL_LEFT_ALONE, ProviderSet
from providers.base import (
    AccessDenied,
    DestinationMissing,
    IntegrityError,
    MigrationError,
    ObjectNotFound,
    Provider,
    ProviderUnavailable,
    SourceChanged,
    StorageFull,
    is_for_want_of_descriptors,
)


@pytest.fixture
def providers(tmp_path: Path) -> Iterator[ProviderSet]:
    """One provider with the id 1, and one with the id 2."""
    rows = [
        ProviderRow(number, f"nas-{number}", "local", None, {"ruta": str(tmp_path)}, active=True) for number in (1, 2)
    ]
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
        providers.note_failure(failing, ProviderUnavailable("no responde"))
    assert usable(providers) == [2]


@pytest.mark.parametrize("error", [AccessDenied("denegado"), DestinationMissing("no existe"), StorageFull("lleno")])
def test_a_provider_without_hope_is_left_alone_at_once(providers: ProviderSet, error: MigrationError) -> None:
    providers.note_failure(first(providers), error)
    assert usable(providers) == [2]


@pytest.mark.parametrize("error", [SourceChanged("x"), IntegrityError("x"), ObjectNotFound("x")])
def test_what_is_not_the_providers_own_fault_is_not_counted(providers: ProviderSet, error: MigrationError) -> None:
    for _ in range(10 * FAILURES_UNTIL_LEFT_ALONE):
        providers.note_failure(first(providers), error)
    assert usable(providers) == [1, 2]


def test_files_that_this_host_has_open_are_not_the_providers_fault(providers: ProviderSet) -> None:
    error = ProviderUnavailable("no se pudo conectar")
    error.__cause__ = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    for _ in range(10 * FAILURES_UNTIL_LEFT_ALONE):
        providers.note_failure(first(providers), error)
    assert usable(providers) == [1, 2]


def test_an_error_that_leads_to_itself_is_looked_at_once() -> None:
    """A lost session's error is kept and raised again, for each who waits for it."""
    kept, told = OSError(errno.ECONNRESET, "reset"), ProviderUnavailable("se cortó")
    told.__cause__, kept.__context__ = kept, told
    assert not is_for_want_of_descriptors(told)
    kept.errno = errno.EMFILE
    assert is_for_want_of_descriptors(told)


def test_a_success_makes_up_for_the_failures_before(providers: ProviderSet) -> None:
    for _ in range(10):
        providers.note_failure(first(providers), ProviderUnavailable("no responde"))
        providers.note_success(first(providers))
    assert usable(providers) == [1, 2]
