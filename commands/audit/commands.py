"""The order `audit`: thin, as the work is done by the modules beside this one."""

from __future__ import annotations

import threading
from contextlib import closing

import click

from commands.audit.auditing import Audit, Scope, prepared_audit
from commands.audit.fixing import fix, plan_lines
from commands.audit.report import Report
from config.exit_codes import EXIT_DONE, EXIT_SOMETHING_FAILED
from config.logs import one_line, printable_json
from config.options import SpanishCommand, given, is_confirmed
from config.process.person import this_person
from config.settings import Settings
from config.text.columns import in_columns
from config.text.plurals import counted
from jobs.migration.restore.many.wanted import provider_id_of
from jobs.signals import stopping_on_signal
from sql.database import Database


@click.command("audit", cls=SpanishCommand, short_help="Compara la base de datos con lo que hay guardado.")
@click.option("--provider", metavar="ID|NOMBRE", callback=given, help="Solo este proveedor.")
@click.option("--all", "everything", is_flag=True, help="Todos los proveedores.")
@click.option(
    "--sample",
    metavar="N",
    type=click.IntRange(min=1),
    help="Solo N ejecuciones al azar, leídas de vuelta byte a byte; no se buscan huérfanas.",
)
@click.option("--read-back", is_flag=True, help="Leer de vuelta todos los bytes. Puede tardar mucho, y costar dinero.")
@click.option("--fix", "fixes", is_flag=True, help="Enseñar qué se puede arreglar, preguntar, y arreglarlo.")
@click.option("--yes", is_flag=True, help="Con --fix, no preguntar.")
@click.option("--json", "as_json", is_flag=True, help="En JSON, para otros programas.")
@click.pass_obj
def audit(
    settings: Settings,
    *,
    provider: str | None,
    everything: bool,
    sample: int | None,
    read_back: bool,
    fixes: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Compara lo que dicen las filas con lo que hay en los proveedores, y al revés: qué se perdió, qué está dañado y
    qué hay que no es de nadie. Lo que se sube o se borra mientras tanto no se da por malo. Anota lo que lee de vuelta y
    lo que está mal, para status; nada más cambia sin --fix.
    """
    if provider is None and not everything and sample is None:
        raise click.UsageError("diga qué se comprueba: --sample N, --provider ID|NOMBRE o --all")
    if provider is not None and everything:
        raise click.UsageError("--provider y --all no se pueden usar juntas")
    if fixes and as_json and not yes:
        raise click.UsageError("con --json no se pregunta: --fix necesita --yes")
    stop = threading.Event()
    with (
        closing(Database(settings.database_url, settings.host)) as database,
        stopping_on_signal(stop),
        prepared_audit(database, settings, stop) as prepared,
    ):
        provider_id = None if provider is None else provider_id_of(database, provider)
        report = prepared.run(Scope(provider_id, sample, every_byte=read_back))
        _show(report, as_json=as_json)
        if fixes:
            _fix(prepared, report, settings, asks=not yes, tells=not as_json)
    return EXIT_DONE if report.is_good else EXIT_SOMETHING_FAILED


def _show(report: Report, *, as_json: bool) -> None:
    lines = map(one_line, report.lines())
    click.echo(printable_json(report.as_json(), indent=2) if as_json else in_columns(lines))


def _fix(prepared: Audit, report: Report, settings: Settings, *, asks: bool, tells: bool) -> None:
    findings = report.fixable()
    if not findings:
        click.echo("No hay nada que --fix pueda arreglar", err=True)
        return
    if tells:
        click.echo("\n".join(map(one_line, plan_lines(findings))), err=True)
    if asks and not is_confirmed("¿Hacerlo?"):
        click.echo("No se cambió nada", err=True)
        return
    left = fix(prepared.records, findings, settings, this_person())
    done = counted(len(findings) - len(left), "cosa anotada", "cosas anotadas")
    click.echo(f"{done}: el próximo ciclo hace el resto", err=True)
    for finding in left:
        click.echo(one_line(f"Sin cambios, pues ya no es como era: {finding.line()}"), err=True)
