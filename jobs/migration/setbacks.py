"""Which failures say something about an execution itself: those count, and too many of them put it in quarantine."""

from __future__ import annotations

from collections.abc import Iterable

from config.errors import MigrationError, RunInterrupted, UnsafeSource, caused_by_too_many_open_files
from jobs.migration.directories import DirectoryMissing
from jobs.provider_set import ProviderSet
from providers.errors import StorageFull
from sql.database import DatabaseError
from storage.deletions import PlaceClosed
from storage.lease import ClaimLost

NOT_ITS_OWN = (RunInterrupted, ClaimLost, PlaceClosed, DirectoryMissing, UnsafeSource, StorageFull)
"""A run that ends, another one that is quicker, a place that is closed for an hour, another host's directory; a row
that is refused, which costs nothing and is migrated at once when somebody has corrected it; and a destination without
room, which takes others only because they are smaller, or were earlier.
"""


def counts_against(error: MigrationError | DatabaseError, providers: ProviderSet, provider_ids: Iterable[int]) -> bool:
    """Whether a failure is the execution's own and not that of its providers, of this host or of the database.

    A provider's failure is the execution's own where one of its providers has stored others in the same run.
    """
    if isinstance(error, (DatabaseError, *NOT_ITS_OWN)) or caused_by_too_many_open_files(error):
        return False
    return not error.provider_wide or providers.any_works(provider_ids)
