"""One run of the job: notes what it finds wrong, and gives each channel what it has not been told yet."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from datetime import datetime

from config.text.plurals import counted
from jobs.context import Context
from jobs.job import Outcome
from jobs.notify.causes.every_kind import find_causes
from jobs.notify.channels import Channel, channels_of
from jobs.notify.message import Message, compose
from jobs.notify.outbox import Claim, Outbox

DELIVERY_SECONDS = 18.0
"""The longest time that all channels together take from a tick; with what comes before and after, 20 seconds."""


def run(context: Context) -> Outcome:
    """Note the states of all causes, and deliver. A channel that fails is a failure of this job alone.

    Raises `LeaseLost`, `DatabaseError`.
    """
    started = time.monotonic()
    channels = channels_of(context.own_settings)
    outbox = Outbox(context.query, channels)
    notices = context.database.notices
    notices.note(find_causes(context), context.held)
    if outbox.renew():
        notices.copy_to_platform()
    delivered, failed = _tell(context, outbox, started + DELIVERY_SECONDS)
    failures = tuple(_failure(channel, error) for channel, error in outbox.failing().items())
    return Outcome({"delivered": delivered, "failed": failed} if delivered or failed else {}, failures)


def _tell(context: Context, outbox: Outbox, deadline: float) -> tuple[int, int]:
    """Give each channel what it has not been told yet; return how many took it and how many did not."""
    pending = outbox.pending(quiet=is_quiet(context))
    composed = {channel: compose(notices, context.settings.time_zone) for channel, notices in pending.items()}
    claims = {}
    for channel, message in composed.items():
        context.require_going_on()
        claim = outbox.claim(channel, [notice for notice in pending[channel] if notice.id in message.notice_ids])
        if claim is not None:
            claims[channel] = claim
    if not claims:
        return 0, 0
    messages = {channel: composed[channel] for channel in claims}
    failed = _deliver(context, outbox, claims, messages, deadline - time.monotonic())
    outbox.prune()
    return len(claims) - failed, failed


def _failure(channel: str, error: str) -> str:
    return f"no se pudo avisar por {channel}: {error}"


def _deliver(
    context: Context,
    outbox: Outbox,
    claims: Mapping[Channel, Claim],
    messages: Mapping[Channel, Message],
    seconds: float,
) -> int:
    """Send and note what became of it; return how many channels failed."""
    from jobs.notify.delivery import deliver
    from jobs.notify.sending import send, watching_requests

    failed = 0
    with watching_requests():
        for channel, result in deliver(messages, send, seconds, context.interruption):
            claim = claims[channel]
            what = counted(len(claim.notices), "aviso", "avisos")
            if result.is_delivered:
                outbox.confirm(claim)
                context.say("notices_delivered", f"{what} por {channel.name}")
                continue
            outbox.note_failure(claim, result.error, result.retry_after_seconds, is_certain=result.is_certain)
            failure = _failure(channel.name, result.error)
            context.say("notices_not_delivered", f"{failure}; {what} en espera, se repite", logging.WARNING)
            failed += 1
    return failed


def is_quiet(context: Context) -> bool:
    """Whether it is one of the hours in which notices go out only for what needs a person."""
    hours = context.own_settings.quiet_hours
    return hours is not None and is_between(context.now.astimezone(context.settings.time_zone), *hours)


def is_between(moment: datetime, first_hour: int, last_hour: int) -> bool:
    """Whether a local time is in a part of the day, which may go over midnight."""
    if first_hour < last_hour:
        return first_hour <= moment.hour < last_hour
    return moment.hour >= first_hour or moment.hour < last_hour


def preview(context: Context) -> None:
    """Say how much each channel would be given. Nothing is noted or sent."""
    outbox = Outbox(context.query, channels_of(context.own_settings))
    pending = outbox.pending(quiet=is_quiet(context))
    waiting = ", ".join(f"{channel.name}: {len(notices)}" for channel, notices in pending.items()) or "ninguno"
    context.say("notices_previewed", f"[simulación] Avisos que se enviarían: {waiting}")
