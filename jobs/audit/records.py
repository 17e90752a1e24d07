"""What the database says of copies, as an audit needs it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sql.connection import Row
from storage.keys import Place, place_from_uri

FOLDER = "jobs/audit"
ROWS_PER_PAGE = 10_000
PLACES_PER_QUESTION = 1_000

Query = Callable[[str, Mapping[str, object]], list[Row]]


class Copy(NamedTuple):
    """One row that says that its execution is stored. What the daemon did not record is `None`."""

    execution_id: int
    uuid: str
    directory: str | None
    provider_id: int
    uri: str
    manifest_sha256: str | None
    file_count: int | None
    size_bytes: int | None
    local_copy: str | None
    listing_digest: int | None

    @property
    def place(self) -> Place | None:
        """Where it is; `None` for a URI that names no place."""
        try:
            return place_from_uri(self.uri)
        except ValueError:
            return None

    @property
    def location(self) -> Mapping[str, object]:
        """Which copy it is, as results of audits are recorded."""
        return {"execution_id": self.execution_id, "provider_id": self.provider_id, "uri": self.uri}


class OwnOrphan(NamedTuple):
    """The last attempt at a place where only attempts of this database have stored anything."""

    place: str
    attempt_id: int
    execution_id: int
    uuid: str
    store: str


@dataclass(frozen=True, slots=True)
class Records:
    """The statements. `query` runs one of them by name."""

    query: Query
    has_results: bool = True
    """Whether this role may read and write what earlier audits found."""

    def copies(self, provider_id: int) -> Iterator[Copy]:
        """Every copy at a provider, in the order of executions."""
        after_id = 0
        while True:
            rows = self._listed(provider_id=provider_id, after_id=after_id, page_size=ROWS_PER_PAGE)
            yield from (Copy(**row) for row in rows)
            if len(rows) < ROWS_PER_PAGE:
                return
            after_id = rows[-1]["execution_id"]

    def find(self, execution_ids: Sequence[int]) -> list[Copy]:
        """The copies of some executions, as their rows are now."""
        return [Copy(**row) for row in self._listed(execution_ids=list(execution_ids))]

    def _listed(self, **limits: object) -> list[Row]:
        """The copies within some limits."""
        unlimited = {"provider_id": None, "execution_ids": None, "after_id": 0, "page_size": None}
        return self.query("list_copies", {**unlimited, **limits})

    def is_unchanged(self, copy: Copy) -> bool:
        """Whether the row still says the same."""
        return self.find([copy.execution_id]) == [copy]

    def known_bad(self, provider_id: int) -> list[int]:
        """The executions whose copies there were not whole when they were last read back."""
        if not self.has_results:
            return []
        return [row["execution_id"] for row in self.query("list_bad", {"provider_id": provider_id})]

    def now(self) -> datetime:
        """The time by the database's clock. Read before a copy is: a host's own may stand still while it sleeps."""
        now: datetime = self.query("read_clock", {})[0]["now"]
        return now

    def note(self, copy: Copy, found: Mapping[str, object], begun: datetime) -> None:
        """Record what an operator's audit found of a copy, so that nobody trusts, or doubts, it for an older reason.

        `begun`: what `now` said before the reading.
        """
        if self.has_results:
            self.query("note_audit_by_hand", {**copy.location, **found, "begun": begun})

    def sample(self, size: int, provider_id: int | None) -> list[Copy]:
        """Some copies at random."""
        rows = self.query("sample_copies", {"provider_id": provider_id, "sample_size": size})
        return self.find([row["execution_id"] for row in rows])

    def provider_ids(self) -> list[int]:
        """The providers to which rows or attempts point."""
        return [row["provider_id"] for row in self.query("list_providers", {})]

    def parents(self, provider_id: int) -> list[str]:
        """The prefixes below which this database has stored executions there."""
        return [row["parent"] for row in self.query("list_parents", {"provider_id": provider_id})]

    def unknown_places(self, places: Sequence[str], provider_ids: Sequence[int]) -> list[str]:
        """The places among these that no row of the database accounts for, at any provider of one store."""
        unknown: list[str] = []
        for first in range(0, len(places), PLACES_PER_QUESTION):
            asked = places[first : first + PLACES_PER_QUESTION]
            rows = self.query("find_known_places", {"places": asked, "provider_ids": list(provider_ids)})
            known = {row["place"] for row in rows}
            unknown += (place for place in asked if place not in known)
        return unknown

    def own_orphans(self, places: Sequence[str], provider_id: int) -> Mapping[str, OwnOrphan]:
        """The places among these where only attempts of this database have stored anything."""
        rows = self.query("find_own_orphans", {"places": list(places), "provider_id": provider_id})
        return {row["place"]: OwnOrphan(**row) for row in rows}
