"""All oddities at once: restored by plain `psql`, as the superuser and as a plain owner, on both servers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.jobs.backups.pairs import Pair


@pytest.mark.parametrize("is_owner", [False, True], ids=["superuser", "owner"])
@pytest.mark.parametrize("version", ["16", "18"])
def test_every_oddity_is_restored_exactly(new_pair: Callable[..., Pair], version: str, is_owner: bool) -> None:
    pair = new_pair(version, is_owner=is_owner)
    pair.change_by_script("odd_schema")
    pair.change_by_script("odd_rows")
    full = pair.full()
    pair.restore(full)
    pair.require_equal()
    pair.change_by_script("odd_changes")
    differential = pair.differential(full)
    pair.restore(differential)
    pair.require_equal()
