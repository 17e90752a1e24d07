"""The commands `status` and `health`."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable

import click

from commands.status.as_json import status_as_json
from commands.status.attention import needs_a_person
from commands.status.collect import collect
from commands.status.words import Clock, describe_attention, describe_status, wrapped
from config.exit_codes import EXIT_DONE, EXIT_SOMETHING_FAILED
from config.logs import one_line, printable_json
from config.options import SpanishCommand
from config.settings import Settings
from sql.database import Database


@click.command(cls=SpanishCommand, short_help="Dice qué necesita a una persona, y cómo va todo.")
@click.option("--json", "as_json", is_flag=True, help="En JSON, para otros programas.")
@click.option("--quiet", is_flag=True, help="Solo lo que necesita a una persona; nada si no hay nada.")
@click.pass_obj
def status(settings: Settings, *, as_json: bool, quiet: bool) -> int:
    """Dice primero qué necesita a una persona y qué hacer; luego, cómo va todo. Con 1 si algo la necesita."""
    with contextlib.closing(Database(settings.database_url, settings.host)) as database:
        facts = collect(database, settings)
    attentions = needs_a_person(facts)
    if as_json:
        click.echo(printable_json(status_as_json(facts, attentions, settings.time_zone), indent=2))
    elif quiet and attentions:
        _show(describe_attention(attentions, Clock(facts.now, settings.time_zone)))
    elif not quiet:
        _show(describe_status(facts, attentions, settings.time_zone))
    return EXIT_SOMETHING_FAILED if attentions else EXIT_DONE


def _show(lines: Iterable[str]) -> None:
    click.echo("\n".join(wrapped(map(one_line, lines), _columns())))


def _columns() -> int | None:
    """How wide the terminal is; `None` where the output goes elsewhere and nobody asks for a width."""
    asked = os.environ.get("COLUMNS", "")
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns
    except (OSError, ValueError, AttributeError):
        return None
