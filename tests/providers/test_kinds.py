"""A kind of provider is known wherever kinds are named: one that is forgotten somewhere would only fail much later."""

from __future__ import annotations

import pytest

from config.models import ProviderRow
from config.provider_fields import KNOWN_FIELDS
from providers import KINDS
from providers.stores import store_of
from sql.migration.attempts import KINDS_IN_URIS
from tests.destinations import DESTINATIONS

each_kind = pytest.mark.parametrize("kind", KINDS)


def test_the_fields_of_every_kind_are_known() -> None:
    assert KNOWN_FIELDS.keys() == KINDS.keys()


def test_copies_of_every_kind_above_a_place_are_looked_for() -> None:
    """They are found by the beginnings of their addresses."""
    assert set(KINDS_IN_URIS) == KINDS.keys()


@each_kind
def test_the_store_of_every_kind_has_a_name(kind: str) -> None:
    fields = KNOWN_FIELDS[kind]
    row = ProviderRow(
        1, "x", kind, dict.fromkeys(fields.credentials or (), "a"), dict.fromkeys(fields.options, "a"), True
    )
    assert len(store_of(row).partition(":")[2]) > 0


@each_kind
def test_the_contract_is_held_against_every_kind(kind: str) -> None:
    """`gcs` is another name of `gcp`."""
    names = {name.partition("-")[0] for name in DESTINATIONS}
    assert {"gcp": "gcs"}.get(kind, kind) in names
