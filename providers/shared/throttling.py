"""How servers ask for fewer requests, or for a pause."""

from __future__ import annotations

import time
from datetime import UTC
from email.utils import parsedate_to_datetime

SLOW_DOWN_CODES = frozenset(
    (
        *("SlowDown", "SlowDownRead", "SlowDownWrite", "ServiceUnavailable", "Busy", "ServerBusy"),
        *("BandwidthLimitExceeded", "RequestLimitExceeded", "RequestThrottled"),
        *("RequestThrottledException", "ThrottledException", "Throttling", "ThrottlingException", "TooManyRequests"),
    )
)
"""Error codes of S3 and its kin and of Azure, whatever the status. Source: botocore's list of throttling errors."""

UNINTELLIGIBLE_DATE = (TypeError, ValueError, OverflowError)
"""What Python raises for a header that is no date."""

PASSING_STATUSES = frozenset((408, 413, 425, 429, 500, 502, 503, 504))
"""With one of these, `Retry-After` says when it is worth another try (RFC 9110, 10.2.3)."""


def asks_to_slow_down(status: int, code: str | None, retry_after: str | None = None) -> bool:
    """Whether a refusal, with this status, error code and header `Retry-After`, is about the number of requests."""
    return status == 429 or code in SLOW_DOWN_CODES or (retry_after is not None and status in PASSING_STATUSES)


def pause_seconds(retry_after: str | None, date: str | None = None) -> float:
    """How long the header asks to wait, in seconds or until a date; 0 where it asks for nothing that makes sense.

    `date` is the answer's own date: a moment on the server's clock counts from there, as this host's may be off.
    """
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    until, since = _moment(text), _moment(date or "")
    return 0.0 if until is None else max(0.0, until - (time.time() if since is None else since))


def _moment(text: str) -> float | None:
    """A date in seconds since 1970; `None` for a text that is no date."""
    try:
        moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:  # a date whose zone is written `-0000`
            moment = moment.replace(tzinfo=UTC)
        return moment.timestamp()
    except UNINTELLIGIBLE_DATE:
        return None
