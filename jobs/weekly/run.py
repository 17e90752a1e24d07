"""One run of the job: sends the report of the last seven days by mail, once a week for all hosts."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator
from datetime import date, datetime
from email.message import EmailMessage
from typing import Any

from config.errors import ConfigurationError
from config.logs import one_line
from config.mailbox import NO_MAIL, Mailbox, MailNotSent, envelope, mail_addresses, send
from config.settings import Settings
from jobs.context import Context
from jobs.findings import Finding, bad, good
from jobs.job import Outcome
from jobs.registry import job_named
from jobs.weekly.data import gather
from jobs.weekly.page import page
from jobs.weekly.words import lines, period

DAYS = 7
SUBJECT = "informe por correo"
TO_DO = "añádala o quite JANITOR_REPORT_DAY"


def run(context: Context) -> Outcome:
    """Send what is due to each mail address. What a server does not take is repeated by the next runs.

    Raises `LeaseLost`, `RunInterrupted`, `DatabaseError`, `FieldError`; `ConfigurationError` without a mail address.
    """
    mailboxes = mailboxes_of(context.settings)
    due_on = _due_on(context, context.now)
    report, judgment = None, context.judgment
    assert judgment is not None  # noqa: S101 for the type checker: a run has one
    sent, failures = 0, []
    for mailbox in mailboxes:
        context.require_going_on()
        key = {"due_on": due_on.isoformat(), "sent_to": ", ".join(mailbox.recipients)}
        attempt = secrets.token_hex(8)
        if not context.query("claim_report", {**key, "attempt": attempt, "is_asked_for": context.is_asked_for}):
            continue
        report = report or gather(context.database, context.settings, DAYS, judgment)
        text = "\n".join(map(one_line, lines(report))) + "\n"
        message = message_of(mailbox, f"Janitor Daemon: {period(report)}", text, page(report))
        context.require_going_on()  # by now another host may be sending it
        try:
            send(mailbox, message)
        except MailNotSent as error:
            failures.append(_not_sent(context, {**key, "attempt": attempt}, error))
            continue
        context.query("note_sent", key)
        context.say("weekly_report_sent", f"Informe semanal enviado a {one_line(key['sent_to'])}")
        sent += 1
    return Outcome({"sent": sent} if sent else {}, tuple(failures))


def _not_sent(context: Context, tried: dict[str, str], error: MailNotSent) -> str:
    if not error.may_have_arrived:
        context.query("note_refused", tried)
    text = f"el informe semanal no llegó a {one_line(tried['sent_to'])}: {one_line(error)}"
    context.say("weekly_report_not_sent", text, logging.WARNING)
    return text


def message_of(mailbox: Mailbox, subject: str, text: str, html: str) -> EmailMessage:
    """The page, and beside it the words for those who read mail without HTML."""
    message = envelope(mailbox, mailbox.recipients, subject)
    message.set_content(text)
    message.add_alternative(html, subtype="html")
    return message


def mailboxes_of(settings: Settings) -> list[Mailbox]:
    """Where the report goes. Raises `ConfigurationError` where that is nowhere."""
    addresses = mail_addresses(_notice_addresses(settings))
    if not addresses:
        raise ConfigurationError(f"{NO_MAIL}; {TO_DO}")
    return [Mailbox.at(address) for address in addresses]


def _notice_addresses(settings: Settings) -> Any:
    """The addresses to which notices go: settings of another job, which is known by its name alone."""
    kind = job_named("notify").settings_class
    assert kind is not None  # noqa: S101 for the type checker
    return settings.of(kind).urls


def _due_on(context: Context, now: datetime) -> date:
    """The local day of the last report that was due, which is the same for all hosts with one time zone."""
    zone = context.settings.time_zone
    return context.job.schedule(context.own_settings).last_instant(now, zone).astimezone(zone).date()


def check(context: Context) -> Iterator[Finding]:
    """Whether the report can go anywhere. Nothing is sent."""
    try:
        found = mailboxes_of(context.settings)
    except ConfigurationError as error:
        yield bad(SUBJECT, one_line(error))
        return
    recipients = ", ".join(one_line(each) for mailbox in found for each in mailbox.recipients)
    yield good(SUBJECT, f"cada semana a {recipients}; 'run report' envía uno ahora")


def preview(context: Context) -> None:
    """Say what a run would send."""
    due_on = _due_on(context, context.database.ask("read_clock")[0]["now"]).isoformat()
    (counted,) = context.query("count_sent", {"due_on": due_on})
    state = "ya se envió" if counted["sent"] else "se enviaría"
    context.say("weekly_report_previewed", f"[simulación] Informe semanal del {due_on}: {state}")
