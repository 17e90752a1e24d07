"""The copies that are not at the primary provider, as the database says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from config.models import Execution
from jobs.context import Context
from sql.texts import Told
from storage.keys import Place, place_from_uri

ROWS_PER_PAGE = 200


class Away(NamedTuple):
    """A committed copy that is not at the primary provider."""

    execution_id: int
    uuid: str
    directory: str | None
    provider_id: int
    uri: str
    manifest_sha256: str
    size_bytes: int

    @property
    def execution(self) -> Execution:
        """The execution whose copy it is."""
        return Execution(self.execution_id, self.uuid, self.directory)

    @property
    def place(self) -> Place:
        """Where it is. Raises `ValueError` for a URI that is none."""
        return place_from_uri(self.uri)


COUNTED_TO = 10_000
"""With more executions at one provider, only "more than" this is reported: counting millions takes seconds."""


class AwayAtProvider(NamedTuple):
    """How much is at one provider that is not the primary one; at most `COUNTED_TO` executions, and their bytes."""

    provider_id: int
    executions: int
    size_bytes: int
    is_cut: bool
    """Whether there are more."""


def find_away(context: Context, home_id: int) -> Iterator[Away]:
    """Copies that are elsewhere, that nobody works on and whose pause is over, the oldest execution first."""
    after_id = 0
    own_host = Told(context.settings.host)
    while True:
        page = {"home_id": home_id, "after_id": after_id, "page_size": ROWS_PER_PAGE, "own_host": own_host}
        rows = context.query("find_away", page)
        yield from (Away(**row) for row in rows)
        if len(rows) < ROWS_PER_PAGE:
            return
        after_id = rows[-1]["execution_id"]


def count_away(context: Context, home_id: int) -> list[AwayAtProvider]:
    """How much is elsewhere, by provider."""
    rows = context.query("count_away", {"home_id": home_id, "count_to": COUNTED_TO})
    return [AwayAtProvider(**row) for row in rows]
