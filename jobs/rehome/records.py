"""The records of moves: claims, attempts, switches and failures."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from config.errors import MigrationError
from config.logs import one_line
from config.models import LEASE_SECONDS, Attempt, Claim, ProvenCopy
from jobs.context import Context
from jobs.rehome.away import Away
from providers.errors import UnsafeDestination
from sql.database import DatabaseError
from sql.texts import Told
from storage.deletions import require_open
from storage.keys import Place
from storage.lease import ClaimLost, Lease


@dataclass(frozen=True, slots=True)
class Records:
    """The statements of the job, for one run of it. It keeps the records of attempts, see `AttemptRecords`."""

    context: Context

    @property
    def _host(self) -> Told:
        return Told(self.context.settings.host)

    @property
    def installation(self) -> str:
        """See `AttemptRecords`."""
        return self.context.database.installation

    def claim(self, away: Away) -> Claim | None:
        """Claim a copy; `None` if it is no longer as it was read, or this run no longer has the job."""
        parameters = {
            **_old(away),
            "execution_id": away.execution_id,
            "manifest_sha256": away.manifest_sha256,
            "lease_seconds": LEASE_SECONDS,
            "own_host": self._host,
        }
        rows = self.context.query("claim_away", parameters)
        return Claim(away.execution, rows[0]["execution_token"]) if rows else None

    def lease(self, claim: Claim) -> Lease:
        """The lease of a claim, as the database knows it."""

        def ask() -> float | None:
            rows = self.context.query("seconds_left", _claimed(claim))
            return float(rows[0]["seconds_left"]) if rows else None

        return Lease(ask, DatabaseError)

    def open_attempt(self, claim: Claim, provider_id: int, store: str, place: Place, fingerprint: str) -> Attempt:
        """Record that bytes will be sent to a place. Raises `ClaimLost`, and `UnsafeDestination` for a place that is,
        contains or is in another execution's, in any store, or where late requests may still arrive.
        """
        database = self.context.database
        answer = database.open_attempt(claim, provider_id, place.key_prefix, store, fingerprint=fingerprint)
        if answer is None:
            raise ClaimLost("otro proceso de janitor se hizo cargo, o la fila cambió")
        if isinstance(answer, Attempt):
            return answer
        require_open(place, answer.closed_until)
        require_open(place, answer.late_bytes_until)
        overlap = answer.overlaps[0]
        raise UnsafeDestination(
            f"{place.key_prefix} es, contiene o está dentro del lugar {overlap.key_prefix} de la ejecución con id "
            f"{overlap.execution_id}; revise los uuid de ambas filas y prefijo_ruta_nube"
        )

    def note_place(self, attempt: Attempt, *, foreign_objects: bool) -> None:
        """See `AttemptRecords`."""
        self.context.query("note_place", {"attempt_id": attempt.id, "foreign_objects": foreign_objects})

    def close_place(self, attempt_id: int) -> bool:
        """See `AttemptRecords`."""
        return self.context.database.close_place(attempt_id)

    def reopen_place(self, attempt_id: int) -> None:
        """See `AttemptRecords`."""
        self.context.database.reopen_place(attempt_id)

    def switch(self, away: Away, claim: Claim, attempt: Attempt, copy: ProvenCopy, *, was_copied: bool) -> bool:
        """Point the row at the new copy, completely or not at all (`False`). The old copy is a leftover then."""
        parameters = {
            **_claimed(claim),
            **_old(away),
            "old_key_prefix": away.place.key_prefix,
            "uuid": away.uuid,
            "host": self._host,
            "attempt_id": attempt.id,
            "uri": copy.uri,
            "provider_id": copy.provider_id,
            "key_prefix": copy.key_prefix,
            "evidence": copy.evidence.value,
            "manifest_sha256": copy.manifest_sha256,
            "listing_digest": copy.listing_digest,
            "size_bytes": copy.size_bytes,
            "was_copied": was_copied,
        }
        if self.context.query("switch", parameters)[0]["changed_rows"] == 1:
            return True
        return bool(self.context.query("is_switched", {"attempt_id": attempt.id})[0]["is_switched"])

    def fail(self, away: Away, claim: Claim, home_id: int, error: MigrationError) -> datetime | None:
        """Record why a copy stays where it is, and free it; return the end of the pause until the next try, if any."""
        parameters = {
            **_claimed(claim),
            **_old(away),
            "host": self._host,
            "provider_id": home_id,
            "error_code": error.code,
            "error": Told(one_line(error)),
        }
        rows = self.context.query("fail", parameters)
        next_at: datetime | None = rows[0]["next_at"] if rows else None
        return next_at


def _claimed(claim: Claim) -> dict[str, object]:
    return {"execution_id": claim.execution.id, "execution_token": claim.fencing_token}


def _old(away: Away) -> dict[str, object]:
    return {"old_provider_id": away.provider_id, "old_uri": away.uri}
