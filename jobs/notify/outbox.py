"""The notices that each channel has still to be given: claimed before the first byte, confirmed after the last."""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from config.logs import one_line
from jobs.notify.channels import Channel
from jobs.notify.message import Notice
from sql.connection import Row
from sql.memory.notices import UNSTABLE_HOURS
from sql.texts import Told

REMINDER_HOURS = 23
"""A little less than a day, so that a tick once a day reminds each day."""

FIRST_PAUSE_SECONDS = 30
LONGEST_PAUSE_SECONDS = 6 * 3600
LONGEST_RETRY_AFTER_SECONDS = 86400.0
KEPT_DAYS = 90


class Query(Protocol):
    """Runs one of the job's own statements by its name."""

    def __call__(self, name: str, parameters: Mapping[str, object] | None = None) -> list[Row]: ...


class Claim(NamedTuple):
    """Notices that are about to be given to a channel, in one attempt."""

    channel: Channel
    attempt: str
    notices: tuple[Notice, ...]


class Outbox:
    """What is to be told, of one run that holds the job. All methods raise what `Connection.query` does.

    A notice goes to a channel at most twice: an attempt that a kill has cut off may have arrived.
    """

    def __init__(self, query: Query, channels: Sequence[Channel]) -> None:
        self._query = query
        self._channels = {channel.name: channel for channel in channels}

    def renew(self) -> bool:
        """Make the notices that no change of state makes: of what lasts, and of what may have been lost. Whether there
        are any of causes.
        """
        parameters = {
            "channels": list(self._channels), "unstable_hours": UNSTABLE_HOURS, "reminder_hours": REMINDER_HOURS,
        }  # fmt: skip
        return bool(self._query("renew_notices", parameters))

    def pending(self, *, quiet: bool) -> Mapping[Channel, Sequence[Notice]]:
        """What each channel has still to be given, the oldest first."""
        found: defaultdict[Channel, list[Notice]] = defaultdict(list)
        for row in self._query("find_pending", {"channels": list(self._channels), "quiet": quiet}):
            notice = Notice(**{field: row[field] for field in Notice._fields})
            found[self._channels[row["channel"]]].append(notice)
        return found

    def claim(self, channel: Channel, notices: Sequence[Notice]) -> Claim | None:
        """Count an attempt at giving these notices to a channel; `None` if the job is no longer this run's."""
        attempt = secrets.token_hex(8)
        parameters = {
            "channel": channel.name, "attempt": attempt, "notice_ids": [notice.id for notice in notices],
        }  # fmt: skip
        claimed = {row["notice_id"] for row in self._query("claim_deliveries", parameters)}
        kept = tuple(notice for notice in notices if notice.id in claimed)
        return Claim(channel, attempt, kept) if kept else None

    def confirm(self, claim: Claim) -> None:
        """Note that the channel has taken them."""
        self._query("confirm_delivery", {"channel": claim.channel.name, "attempt": claim.attempt})

    def note_failure(self, claim: Claim, error: str, retry_after_seconds: float, *, is_certain: bool) -> None:
        """Note that the channel has not taken them. If that is certain, the attempt does not count."""
        parameters = {
            "channel": claim.channel.name,
            "attempt": claim.attempt,
            "error": Told(one_line(error)),
            "is_certain": is_certain,
            "retry_after_seconds": min(retry_after_seconds, LONGEST_RETRY_AFTER_SECONDS),
            "first_pause_seconds": FIRST_PAUSE_SECONDS,
            "longest_pause_seconds": LONGEST_PAUSE_SECONDS,
        }
        self._query("note_failed_delivery", parameters)

    def failing(self) -> Mapping[str, str]:
        """The channels that did not take their last message, by name, and why."""
        rows = self._query("find_failing_channels", {"channels": list(self._channels)})
        return {row["channel"]: row["last_error"] for row in rows}

    def prune(self) -> None:
        """Delete what is so old that nobody needs it."""
        self._query("prune_notices", {"days": KEPT_DAYS})
