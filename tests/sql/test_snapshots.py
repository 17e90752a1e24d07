"""A session whose snapshot programs share: what it says when there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from sql.errors import DatabaseError
from sql.snapshots import SnapshotSession, program_address, url_of_database

TORN = (
    "postgresql://u:s3cret@[127.0.0.1/db",
    "postgresql://u:s3cret%zz@127.0.0.1:1/db",
    "host=127.0.0.1 user=u password='s3cret",
    "postgres//u:s3cret@127.0.0.1/db",
)


@pytest.mark.parametrize("address", TORN)
def test_an_address_that_cannot_be_read_is_refused_without_quoting_it(address: str) -> None:
    """In every function that takes one."""
    for use in (lambda: SnapshotSession(address, Path()), lambda: program_address(address),
                lambda: url_of_database(address, "other")):  # fmt: skip
        with pytest.raises(DatabaseError, match="no es una URI") as failure:
            use()
        assert "s3cret" not in f"{failure.value}{failure.value.__cause__}"
