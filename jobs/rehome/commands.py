"""The order `rehome`: the same as `run rehome`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click

from config.options import SpanishCommand
from config.settings import Settings


def _switched_on(settings: Settings) -> Settings:
    sources = settings.sources
    environment = {**sources.environment, "JANITOR_REHOME": "on"}
    return replace(settings, sources=sources._replace(environment=environment))


@click.command("rehome", cls=SpanishCommand, short_help="Lleva al proveedor primario lo que quedó en otro.")
@click.option("--dry-run", is_flag=True, help="Decir qué se llevaría, sin cambiar nada.")
@click.pass_context
def rehome(context: click.Context, *, dry_run: bool) -> Any:
    """Lleva al proveedor primario las ejecuciones que están en otro: las copia, comprueba la copia, cambia su fila y
    después quita la copia antigua.

    Necesita JANITOR_REHOME=on, salvo con --dry-run, y en cada ciclo no pasa de JANITOR_REHOME_MAX_BYTES.
    """
    if dry_run:  # what one asks before one decides whether to switch it on
        context.obj = _switched_on(context.obj)
    root = context.find_root()
    assert isinstance(root.command, click.Group)  # noqa: S101 for the type checker
    run_job = root.command.get_command(root, "run")
    assert run_job is not None  # noqa: S101 for the type checker
    return context.invoke(run_job, job="rehome", dry_run=dry_run)
