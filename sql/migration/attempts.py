"""Attempts: where bytes of an execution are or may still arrive, and what failed attempts have left there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple

from config.logs import one_line
from config.models import LATE_SECONDS, Attempt, Claim
from sql.session import Session, claimed
from sql.texts import Told

LEFTOVERS_PER_PAGE = 500

KINDS_IN_URIS = ("s3", "minio", "azure", "gcp", "gcs", "sftp", "local")


class Overlap(NamedTuple):
    """What another execution has, or may have, at a place or above or below it."""

    attempt_id: int
    execution_id: int
    provider_id: int
    store: str
    key_prefix: str


class Occupied(NamedTuple):
    """Why no attempt may begin at a place: what others have there, or what may still arrive there before a given time
    (deletions, or bytes of files that have changed since).
    """

    overlaps: tuple[Overlap, ...]
    closed_until: datetime | None = None
    late_bytes_until: datetime | None = None


class Leftover(NamedTuple):
    """A failed attempt that may have left objects that nothing points to."""

    attempt_id: int
    execution_id: int
    uuid: str
    provider_id: int
    key_prefix: str
    store: str
    host: str
    directory: str | None
    foreign_objects: bool
    last_recorded: int | None
    """The last attempt at this place that found nothing of others there."""
    is_given_up: bool
    migrated_provider_id: int | None
    migrated_uri: str | None
    migrated_manifest_sha256: str | None
    migrated_listing_digest: int | None
    migrated_is_known_bad: bool


class Attempts(Session):
    """The part of `Database` that knows which place belongs to which execution."""

    @cached_property
    def installation(self) -> str:
        """The name of this installation, which is in every manifest. A copy of the database gets another name, so it
        never treats the original's objects at a provider as its own.
        """
        origin = self._connection.query("find_origin")[0]["origin"]
        return str(self._connection.query("name_installation", {"origin": origin})[0]["installation"])

    def rows_at(self, execution_id: int, key_prefix: str) -> list[int]:
        """The ids of other rows whose `ruta_nube`, written by any program, equals, is inside or contains a place."""
        parts = key_prefix.split("/")
        above = ["/".join(parts[:depth]) for depth in range(1, len(parts))]
        parameters = {
            "execution_id": execution_id,
            "place": key_prefix,
            "uris_above": [f"cloud://{kind}/{place}" for kind in KINDS_IN_URIS for place in above],
        }
        return [row["id"] for row in self._connection.query("find_rows_at_place", parameters)]

    def open_attempt(
        self,
        claim: Claim,
        provider_id: int,
        key_prefix: str,
        store: str = "",
        elsewhere: Iterable[int] = (),
        *,
        fingerprint: str | None = None,
        late_bytes_are_harmless: bool = False,
    ) -> Attempt | Occupied | None:
        """Record, before the first remote byte, that bytes will be sent; `None` if the claim is no longer ours.

        `Occupied` if the place equals, contains or is inside another execution's: in any store, except for attempts in
        `elsewhere`, which are known to be in another one. Also for a while if requests of a dead run may still arrive:
        deletions, or bytes of files that have changed since, as the `fingerprint` shows.
        """
        parts = key_prefix.split("/")
        parameters = {
            **claimed(claim),
            "run_id": self._run_id,
            "host": self._host,
            "provider_id": provider_id,
            "key_prefix": key_prefix,
            "store": store,
            "places_above": ["/".join(parts[:depth]) for depth in range(1, len(parts))],
            "elsewhere": list(elsewhere),
            "fingerprint": fingerprint,
            "late_bytes_are_harmless": late_bytes_are_harmless,
            "late_seconds": LATE_SECONDS,
        }
        (row,) = self._connection.query("open_attempt", parameters)
        if not row["held"]:
            return None
        if row["id"] is None:
            overlaps = tuple(map(_overlap, row["overlapping"]))
            return Occupied(overlaps, row["closed_until"], row["late_bytes_until"])
        return Attempt(
            row["id"],
            provider_id,
            key_prefix,
            row["earlier_attempts_here"],
            bool(row["foreign_objects_here"]),
            bool(row["committed_here"]),
            row["committed_manifest_sha256"],
            row["last_recorded"],
        )

    def note_place(self, attempt: Attempt, *, foreign_objects: bool) -> None:
        """Record, before the first object is sent, whether the attempt's place holds objects that none of our attempts
        stored: if so, nothing there is ever removed.
        """
        self._connection.query("note_place", {"attempt_id": attempt.id, "foreign_objects": foreign_objects})

    def close_place(self, attempt_id: int) -> bool:
        """Record, before the first deletion at an attempt's place, that no other run may use the place for a while: a
        deletion in flight when this run ends may still arrive. `False` if the attempt has ended.
        """
        parameters = {"attempt_id": attempt_id, "run_id": self._run_id, "late_seconds": LATE_SECONDS}
        return bool(self._connection.query("close_place", parameters))

    def reopen_place(self, attempt_id: int) -> None:
        """Record that every deletion at an attempt's place was answered."""
        self._connection.query("reopen_place", {"attempt_id": attempt_id, "run_id": self._run_id})

    def note_answered(self, attempt: Attempt) -> None:
        """Record that every request of an attempt was answered, so that no run need wait for late ones."""
        self._connection.query("note_answered", {"attempt_id": attempt.id})

    def abandon_attempt(self, attempt: Attempt, error_code: str, error: str) -> None:
        """Record that an attempt failed, and why."""
        parameters = {"attempt_id": attempt.id, "error_code": error_code, "error": Told(one_line(error))}
        self._connection.query("abandon_attempt", parameters)

    def settle_attempt(self, attempt_id: int) -> None:
        """Record that the attempt left nothing to remove."""
        self._connection.query("settle_attempt", {"attempt_id": attempt_id})

    def leftovers(self) -> Iterator[Leftover]:
        """Failed attempts of executions that are stored elsewhere now."""
        after_id = 0
        while rows := self._connection.query("find_leftovers", self._leftovers_after(after_id, LEFTOVERS_PER_PAGE)):
            for row in rows:
                yield Leftover(**row)
            after_id = rows[-1]["attempt_id"]

    def is_leftover(self, leftover: Leftover) -> bool:
        """Whether it is still a leftover, and not part of a copy committed meanwhile."""
        rows = self._connection.query("find_leftovers", self._leftovers_after(leftover.attempt_id - 1, 1))
        return [Leftover(**row) for row in rows] == [leftover]

    def _leftovers_after(self, attempt_id: int, page_size: int) -> dict[str, object]:
        return {"host": self._host, "run_id": self._run_id, "after_id": attempt_id, "page_size": page_size}

    def put_off_leftover(self, attempt_id: int) -> datetime | None:
        """Record that removing an attempt's leftovers was refused, and return until when no run tries again; `None`
        the first few times.
        """
        rows = self._connection.query_once("put_off_leftover", {"attempt_id": attempt_id})
        next_at: datetime | None = rows[0]["next_at"] if rows else None
        return next_at


def _overlap(row: Mapping[str, Any]) -> Overlap:
    return Overlap(row["id"], row["execution_id"], row["provider_id"], row["store"], row["key_prefix"])
