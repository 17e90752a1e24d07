"""The orders that concern single executions: `hold`, `release`, `retry`."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import click

from commands.orders.wording import (
    OrderWithoutEffect,
    describe_hold,
    describe_quarantined,
    describe_release,
    describe_retried,
    describe_retry,
)
from config.exit_codes import EXIT_DONE, EXIT_SOMETHING_FAILED
from config.logs import emit
from config.options import SpanishCommand, is_confirmed, not_empty
from config.process.person import Person, this_person
from config.settings import Settings
from sql.database import Database
from sql.memory.orders import OrderedRow, Orders

Order = Callable[[Orders], list[OrderedRow]]
Describe = Callable[[str, Sequence[OrderedRow]], Iterator[str]]


def _give(settings: Settings, uuid: str, order: Order, describe: Describe) -> int:
    """Give an order for one uuid and say what it did; 1 if it concerns nothing."""
    with contextlib.closing(Database(settings.database_url, settings.host)) as database:
        database.connect()
        database.require_current_schema()
        rows = order(database.orders)
    try:
        for line in describe(uuid, rows):
            click.echo(line)
    except OrderWithoutEffect as error:
        emit(logging.ERROR, "order_without_effect", f"Sin efecto: {error}", execution=uuid)
        return EXIT_SOMETHING_FAILED
    return EXIT_DONE


def _none_empty(context: click.Context, parameter: click.Parameter, texts: Sequence[str]) -> list[str]:
    """Each text once, in the order given."""
    return [not_empty(context, parameter, text) for text in dict.fromkeys(texts)]


@click.command("hold", cls=SpanishCommand, short_help="Retiene una ejecución: ni se migra ni se borra.")
@click.argument("uuid", metavar="UUID", callback=not_empty)
@click.option("--reason", metavar="TEXTO", required=True, callback=not_empty, help="Por qué; queda anotado.")
@click.pass_obj
def hold(settings: Settings, *, uuid: str, reason: str) -> int:
    """Retiene la ejecución UUID: ni se migra ni se borra su copia local hasta que se ejecute release.

    Si se está migrando, termina de subir y su copia local se queda.
    """
    person = this_person()
    return _give(settings, uuid, lambda orders: orders.hold(uuid, reason, person), describe_hold)


@click.command("release", cls=SpanishCommand, short_help="Libera una ejecución retenida.")
@click.argument("uuid", metavar="UUID", callback=not_empty)
@click.pass_obj
def release(settings: Settings, *, uuid: str) -> int:
    """Libera la ejecución UUID, que se retuvo con hold: se migra cuando le toque."""
    person = this_person()
    return _give(settings, uuid, lambda orders: orders.release(uuid, person), describe_release)


@click.command("retry", cls=SpanishCommand, short_help="Vuelve a intentar ejecuciones que fallaron.")
@click.argument("uuids", metavar="[UUID...]", nargs=-1, callback=_none_empty)
@click.option("--all", "everything", is_flag=True, help="Todas las que están en cuarentena: dice cuáles, y pregunta.")
@click.option("--yes", is_flag=True, help="Con --all, no preguntar.")
@click.pass_obj
def retry(settings: Settings, *, uuids: Sequence[str], everything: bool, yes: bool) -> int:
    """Olvida los fallos de cada UUID, también de las que están en cuarentena: el próximo ciclo las intenta."""
    if bool(uuids) == everything:
        raise click.UsageError("diga qué se vuelve a intentar: UUID... o --all")
    person = this_person()
    if everything:
        return _retry_all(settings, person, asks=not yes)
    return max(_give(settings, uuid, partial(_retry, uuid, person), describe_retry) for uuid in uuids)


def _retry_all(settings: Settings, person: Person, *, asks: bool) -> int:
    """Show what is in quarantine, ask, and take it out of there."""
    with contextlib.closing(Database(settings.database_url, settings.host)) as database:
        database.connect()
        database.require_current_schema()
        chosen = database.orders.quarantined()
        if not chosen:
            click.echo("No hay ninguna ejecución en cuarentena")
            return EXIT_DONE
        click.echo("\n".join(describe_quarantined(chosen)), err=True)
        if asks and not is_confirmed("¿Volver a intentarlo?"):
            click.echo("No se cambió nada", err=True)
            return EXIT_DONE
        for line in describe_retried(database.orders.retry_quarantined(chosen, person), len(chosen)):
            click.echo(line)
    return EXIT_DONE


def _retry(uuid: str, person: Person, orders: Orders) -> list[OrderedRow]:
    return orders.retry(uuid, person)
