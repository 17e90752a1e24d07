"""The command line: its options become settings and a request, and either the tick or a command is run."""

from __future__ import annotations

import contextlib
import logging
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import click

from commands.endings import exit_code_of, in_words, report_stopped
from config.exit_codes import EXIT_CONFIGURATION, EXIT_DONE
from config.logs import emit
from config.options import (
    LazyGroup,
    SpanishCommand,
    bandwidth_option,
    hours,
    require_no_options_of_the_tick,
    setting,
    transfers_option,
)
from config.process.early_signals import EXIT_SIGNAL_BASE
from config.process.log_output import configure_logging
from config.settings import Settings, load_settings
from config.text.amounts import parse_duration, parse_size
from config.text.time_zones import show_times_in
from config.text.wording import in_spanish
from jobs.registry import UnknownJob, all_jobs, job_named, jobs_named
from jobs.settings import settings_of_jobs, variables_by_title
from jobs.signals import Interrupted, Stopped, end_now
from jobs.temp_files.guard import require_outside_roots
from jobs.tick import Request, RunOptions
from sql.connection import require_database_named

VERSION = "0.1.0"

DoTick = Callable[[Settings, RunOptions], int]
"""Does one tick and returns its exit code."""

DO_TICK = "janitor_daemon.do_tick"
"""Under this name the context of a command holds the function."""


def _commands() -> Mapping[str, Callable[[], click.Command]]:
    """What loads each command, by its name: no cron run needs one, and no command another one."""
    from commands.table import COMMANDS

    references = {**COMMANDS, **{job.name: job.commands for job in all_jobs() if job.commands is not None}}
    return {**{name: reference.load for name, reference in references.items()}, "run": lambda: run_job}


def _jobs_named(_context: click.Context, _parameter: click.Parameter, texts: Sequence[str]) -> frozenset[str] | None:
    """Convert a repeatable option into job names; `None` if it is not given."""
    try:
        names = jobs_named(texts)
    except UnknownJob as error:
        raise click.BadParameter(str(error)) from error
    if texts and not names:
        raise click.BadParameter("está vacío")
    return names if texts else None


def _one_job(_context: click.Context, _parameter: click.Parameter, name: str) -> str:
    try:
        return job_named(name).name
    except UnknownJob as error:
        raise click.BadParameter(str(error)) from error


def _names_of_jobs(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """The jobs that a shell may complete a word to."""
    return [job.name for job in all_jobs() if job.name.startswith(incomplete)]


def _run(context: click.Context, options: RunOptions, *, debug: bool) -> int:
    """Do the tick that the command line requests."""
    settings: Settings = context.obj
    require_database_named(settings.database_url)  # in a wrong directory nothing is made, and nothing else is blamed
    require_outside_roots(settings)
    if not options.dry_run:
        configure_logging(settings.log_directory, settings.log_format, debug=debug)
    do_tick: DoTick = context.meta[DO_TICK]
    return do_tick(settings, options)


@click.command("run", cls=SpanishCommand, short_help="Hace un trabajo ahora, le toque o no.")
@click.argument("job", metavar="TRABAJO", callback=_one_job, shell_complete=_names_of_jobs)
@click.option("--dry-run", is_flag=True, help="Decir qué se haría, sin cambiar nada.")
@click.pass_context
def run_job(context: click.Context, *, job: str, dry_run: bool, wish: object = None) -> int:
    """Hace el trabajo TRABAJO ahora, le toque o no, y ningún otro. Con jobs se ve cuáles hay."""
    debug = bool(context.find_root().params["debug"])  # a job's own commands invoke this one, too
    options = RunOptions(Request(only=frozenset((job,)), due_or_not=True, wish=wish), dry_run=dry_run)
    return _run(context, options, debug=debug)


@click.group(
    cls=LazyGroup,
    load=_commands,
    variables=variables_by_title,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    option_groups={
        "Qué se hace": (
            "clean_only",
            "migrate_only",
            "only",
            "skip",
            "dry_run",
            "existing_dirs_only",
            "retention_hours",
        ),
        "Cuánto y a qué ritmo": ("transfers", "bandwidth_limit", "max_duration", "max_bytes"),
    },
    epilog="""\b
Ejemplos:
  janitor-daemon
      un ciclo completo: migrar y limpiar
  janitor-daemon --dry-run
      decir qué se haría, sin cambiar nada
  janitor-daemon --clean-only
      solo limpiar los archivos temporales
  janitor-daemon --retention-hours 0.5
      migrar lo que tenga más de media hora
  janitor-daemon --bandwidth-limit 20M --max-duration 5h
      sin ocupar la línea, y nada nuevo pasadas 5 horas
  janitor-daemon check
      comprobar base de datos y proveedores
  janitor-daemon restore 1234-abcd /srv/recuperada
      traer una ejecución de vuelta

\b
Códigos de salida:
  0        hecho, o no había nada que hacer
  1        algo falló y el resto se hizo
  2        uso o configuración
  3        sin base de datos
  75       otro proceso hace ya todo lo que se pedía
  129/130/143
           interrumpido""",
)
@click.version_option(
    VERSION, prog_name="janitor-daemon", message="%(prog)s %(version)s", help="Muestra la versión y termina."
)
@click.option("--debug", is_flag=True, help="Registro con nivel DEBUG.")
@click.option("--clean-only", is_flag=True, help="Solo limpiar; no se carga ni contacta ningún proveedor.")
@click.option("--migrate-only", is_flag=True, help="Solo migrar.")
@click.option(
    "--only",
    metavar="TRABAJO",
    multiple=True,
    callback=_jobs_named,
    shell_complete=_names_of_jobs,
    help="De los trabajos a los que les toca, solo estos, separados por comas.",
)
@click.option(
    "--skip",
    metavar="TRABAJO",
    multiple=True,
    callback=_jobs_named,
    shell_complete=_names_of_jobs,
    help="Todos menos estos, separados por comas.",
)
@click.option(
    "--retention-hours",
    metavar="H",
    callback=hours,
    help="Horas de retención para esta vez, en lugar de tiempo_retencion_local; admite decimales.",
)
@click.option(
    "--existing-dirs-only/--all-dirs",
    default=True,
    help="Omitir las filas cuyo directorio no está (por defecto), o intentarlas y darlas por fallidas.",
)
@click.option("--dry-run", is_flag=True, help="Decir qué se migraría, borraría y limpiaría, sin cambiar nada.")
@transfers_option
@bandwidth_option
@click.option(
    "--max-duration",
    metavar="T",
    callback=setting("max_duration_seconds", parse_duration),
    help="No empezar ninguna ejecución pasado este tiempo, con unidad: 5h, 1h30m. Lo empezado tiene un 10 % más para "
    "acabar, 5 minutos como mucho; luego se deja a medias para la próxima vez.",
)
@click.option(
    "--max-bytes",
    metavar="B",
    callback=setting("max_bytes", parse_size),
    help="No empezar ninguna ejecución con la que se enviaría más que esto, con unidad: 100G. Una que sea mayor ella "
    "sola se migra cuando le toca ser la primera, y ninguna más.",
)
@click.pass_context
def cli(
    context: click.Context,
    *,
    debug: bool,
    clean_only: bool,
    migrate_only: bool,
    only: frozenset[str] | None,
    skip: frozenset[str] | None,
    retention_hours: float | None,
    existing_dirs_only: bool,
    dry_run: bool,
    transfers: Mapping[str, Any],
    bandwidth_limit: Mapping[str, Any],
    max_duration: Mapping[str, Any],
    max_bytes: Mapping[str, Any],
) -> int:
    """Mantenimiento de SAGE: migra a la nube las ejecuciones antiguas, limpia los archivos temporales y hace los demás
    trabajos que tocan (la orden jobs los dice).

    Sin orden hace un ciclo completo, como desde cron.
    """
    if clean_only and migrate_only:
        raise click.UsageError("--clean-only y --migrate-only no se pueden usar juntas")
    if only is not None and (clean_only or migrate_only):
        raise click.UsageError("--only no se puede usar con --clean-only ni con --migrate-only")
    require_no_options_of_the_tick(context)
    configure_logging(None, "text", debug=debug)
    settings = replace(
        load_settings(jobs=settings_of_jobs), **transfers, **bandwidth_limit, **max_duration, **max_bytes
    )
    context.meta[DO_TICK], context.obj = context.obj, settings
    if settings.sources.environment.get("JANITOR_TIMEZONE"):
        show_times_in(settings.time_zone)
    configure_logging(None, settings.log_format, debug=debug)
    if context.invoked_subcommand is not None:
        return EXIT_DONE
    if clean_only:
        only = frozenset(("temp",))
    elif migrate_only:
        only = frozenset(("migration",))
    request = Request(only, skip or frozenset())
    if not any(request.asks_for(job.name) for job in all_jobs()):
        raise click.UsageError("con estas opciones no queda ningún trabajo que hacer; quite --skip o cambie --only")
    options = RunOptions(request, retention_hours, existing_dirs_only, dry_run)
    return _run(context, options, debug=debug)


def run_arguments(arguments: Sequence[str], do_tick: DoTick) -> int:
    """Run one command, or a tick by `do_tick`, and return its exit code.

    Errors are one line in Spanish; the traceback is in the debug log.
    """
    try:
        result = cli.main(list(arguments), prog_name="janitor-daemon", standalone_mode=False, obj=do_tick)
        return result if isinstance(result, int) else EXIT_DONE
    except click.UsageError as error:
        usage = f"{in_spanish(error.ctx.get_usage())}\n" if error.ctx else ""
        with contextlib.suppress(OSError):  # nobody reads, or the disk is full
            click.echo(f"{usage}Error: {in_spanish(error.format_message())}", err=True)
        return EXIT_CONFIGURATION
    except click.Abort as abort:
        cause = abort.__cause__
        return report_stopped(cause) if isinstance(cause, Stopped) else EXIT_SIGNAL_BASE + signal.SIGINT
    except Interrupted as interrupted:
        end_now(interrupted.exit_code, interrupted.left)
    except Exception as error:
        emit(logging.ERROR, "run_failed", in_words(error), cause=error)
        return exit_code_of(error)
