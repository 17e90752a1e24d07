"""The command `report`."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import click

from commands.status.words import in_need_of_a_person
from config.exit_codes import EXIT_DONE
from config.logs import one_line
from config.options import SpanishCommand
from config.settings import Settings
from config.text.columns import in_columns
from config.text.wording import reason_of
from jobs.weekly.data import gather
from jobs.weekly.page import page
from jobs.weekly.words import lines
from sql.database import Database


@click.command("report", cls=SpanishCommand, short_help="Resume los últimos días, también en HTML.")
@click.option("--days", metavar="N", type=click.IntRange(1, 365), default=7, help="Cuántos días atrás (7).")
@click.option(
    "--html", "html", metavar="FICHERO", type=click.Path(path_type=Path, dir_okay=False),
    help="Escribir además una página en FICHERO, que se abre sin red.",
)  # fmt: skip
@click.pass_obj
def report(settings: Settings, *, days: int, html: Path | None) -> int:
    """Resume qué se migró, qué falló, qué creció, y cómo están proveedores, discos, trabajos y copias de seguridad."""
    with contextlib.closing(Database(settings.database_url, settings.host)) as database:
        found = gather(database, settings, days, in_need_of_a_person)
    click.echo(in_columns(map(one_line, lines(found))))
    if html is not None:
        _write(html, page(found))
        click.echo(f"Página escrita: {one_line(html)}")
    return EXIT_DONE


def _write(path: Path, text: str) -> None:
    """Replace the file as a whole. Raises `click.BadParameter` if it cannot be written."""
    new = path.with_name(f".{path.name}.new")
    try:
        with new.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
        raise click.BadParameter(
            f"no se puede escribir {one_line(path)}: {reason_of(error)}", param_hint="--html"
        ) from error
