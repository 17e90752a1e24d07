"""The order `history`: runs, one job's runs, one execution's life."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import click

from commands.history.life import describe, find_life, find_runs, find_runs_of_job
from config.exit_codes import EXIT_DONE, EXIT_SOMETHING_FAILED
from config.logs import one_line, printable_json
from config.options import SpanishCommand
from config.settings import Settings
from config.text.amounts import AmountError
from config.text.columns import in_columns
from config.text.parsers import integer
from config.text.times import Clock
from jobs.registry import all_jobs
from sql.database import Database
from sql.memory.past import Past

MOST_LINES = 100_000


def _number_of_lines(_context: click.Context, _parameter: click.Parameter, text: str) -> int:
    try:
        return integer(1, MOST_LINES)(text)
    except AmountError as error:
        raise click.BadParameter(str(error)) from error


@click.command("history", cls=SpanishCommand, short_help="Cuenta qué pasó: ciclos, un trabajo o una ejecución.")
@click.argument("subject", metavar="[UUID|TRABAJO]", required=False)
@click.option("--json", "as_json", is_flag=True, help="En JSON, para otros programas.")
@click.option(
    "--limit", default="50", metavar="N", callback=_number_of_lines,
    help="Cuántas líneas como mucho, las últimas (por defecto, 50).",
)  # fmt: skip
@click.pass_obj
def history(settings: Settings, *, subject: str | None, as_json: bool, limit: int) -> int:
    """Cuenta los últimos ciclos; los de un TRABAJO; o la vida entera de una ejecución, por su UUID: intentos, errores,
    prueba, borrado, restauraciones, y quién la retuvo o reintentó.
    """
    with contextlib.closing(Database(settings.database_url, settings.host)) as database:
        database.connect()
        database.require_current_schema()
        found = _find(database.past, subject, limit)
    if found is None:
        click.echo(
            f"No consta nada de {one_line(subject)}: no es un trabajo (jobs los dice) ni el uuid de una ejecución"
        )
        return EXIT_SOMETHING_FAILED
    if as_json:
        click.echo(printable_json(found, indent=2))
    else:
        click.echo(in_columns(describe(found, Clock.of_this_host(settings.time_zone))))
    return EXIT_DONE


def _find(past: Past, subject: str | None, limit: int) -> Mapping[str, Any] | None:
    if subject is None:
        return find_runs(past, limit)
    if subject in {job.name for job in all_jobs()}:
        return find_runs_of_job(past, subject, limit)
    return find_life(past, subject, limit)
