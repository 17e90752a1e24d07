"""What `check` reports about the channels: whether apprise understands their addresses. Nothing is sent."""

from __future__ import annotations

from collections.abc import Iterator

from jobs.context import Context
from jobs.findings import Finding, bad, good
from jobs.notify.channels import channels_of


def check(context: Context) -> Iterator[Finding]:
    """One finding for each channel."""
    from jobs.notify.sending import NOT_UNDERSTOOD, is_understood

    for channel in channels_of(context.own_settings):
        subject = f"avisos por {channel.name}"
        if is_understood(channel):
            yield good(subject, "la dirección se entiende; 'notify test' envía uno de prueba")
        else:
            yield bad(subject, NOT_UNDERSTOOD)
