"""The commands `status` and `health`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import asdict

import click

from commands.status.as_json import plain, status_as_json
from commands.status.attention import needs_a_person, of_setting
from commands.status.collect import collect
from commands.status.facts import Facts
from commands.status.health import examine
from commands.status.without_database import attention_for, describe_without_database
from commands.status.words import describe_attention, describe_status
from config.exit_codes import EXIT_DONE, EXIT_SOMETHING_FAILED
from config.logs import one_line, printable_json
from config.options import SpanishCommand
from config.settings import Settings
from config.text.columns import in_columns
from config.text.times import Clock
from jobs.temp_files.guard import faults_of_every_run
from sql.database import Database, DatabaseError


@click.command(cls=SpanishCommand, short_help="Dice qué necesita a una persona, y cómo va todo.")
@click.option("--json", "as_json", is_flag=True, help="En JSON, para otros programas.")
@click.option("--quiet", is_flag=True, help="Solo lo que necesita a una persona; nada si no hay nada.")
@click.pass_obj
def status(settings: Settings, *, as_json: bool, quiet: bool) -> int:
    """Dice primero qué necesita a una persona y qué hacer; luego, cómo va todo. Con 1 si algo la necesita."""
    facts = _facts(settings, as_json=as_json)
    attentions = needs_a_person(facts)
    if as_json:
        click.echo(printable_json(status_as_json(facts, attentions, settings.time_zone), indent=2))
    elif quiet and attentions:
        _show(describe_attention(attentions, Clock(facts.now, settings.time_zone)))
    elif not quiet:
        _show(describe_status(facts, attentions, settings.time_zone))
    return EXIT_SOMETHING_FAILED if attentions else EXIT_DONE


def _facts(settings: Settings, *, as_json: bool) -> Facts:
    """All facts. Where the database cannot be read, says what is known without it and raises `DatabaseError`."""
    with contextlib.closing(Database(settings.database_url, settings.host)) as database:
        try:
            return collect(database, settings)
        except DatabaseError as error:
            _show_without_database(settings, error, as_json=as_json)
            raise


def _show_without_database(settings: Settings, error: DatabaseError, *, as_json: bool) -> None:
    attentions = [*map(of_setting, faults_of_every_run(settings)), attention_for(error)]
    lines = list(describe_without_database(settings))
    if as_json:
        needs_person = plain(list(map(asdict, attentions)), settings.time_zone)
        click.echo(printable_json({"error": attentions[-1].text, "needs_person": needs_person, "notes": lines}))
    else:
        _show([*describe_attention(attentions, Clock.of_this_host(settings.time_zone)), *lines])


@click.command(cls=SpanishCommand, short_help="Dice en cinco segundos si todo funciona.")
@click.option("--json", "as_json", is_flag=True, help="En JSON, para otros programas.")
@click.pass_obj
def health(settings: Settings, *, as_json: bool) -> int:
    """Dice en cinco segundos como mucho si todo funciona: ok (0), degradado (1) o caido (3).

    No contacta ningún proveedor: dice lo que la base de datos recuerda de ellos.
    """
    found = examine(settings)
    if as_json:
        click.echo(printable_json(found.as_json(), indent=2))
    else:
        _show(found.lines())
    return found.exit_code


def _show(lines: Iterable[str]) -> None:
    click.echo(in_columns(map(one_line, lines)))
