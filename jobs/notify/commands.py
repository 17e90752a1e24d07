"""The orders of the job."""

from __future__ import annotations

import threading

import click

from config.errors import ConfigurationError
from config.exit_codes import EXIT_CONFIGURATION, EXIT_DONE, EXIT_SOMETHING_FAILED
from config.logs import one_line
from config.options import SpanishGroup
from config.settings import Settings
from jobs.notify.channels import channels_of
from jobs.notify.job import JOB
from jobs.notify.message import Message
from jobs.notify.settings import NotifySettings
from jobs.signals import stopping_on_signal

TEST_SECONDS = 18.0


@click.group("notify", cls=SpanishGroup, invoke_without_command=True, short_help="Avisos a las personas.")
@click.pass_context
def notify(context: click.Context) -> int:
    """Comprueba por qué canales se avisa de los problemas."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        return EXIT_CONFIGURATION
    return EXIT_DONE


@notify.command("test", short_help="Envía un aviso de prueba.")
@click.pass_obj
def notify_test(settings: Settings) -> int:
    """Envía un mensaje de prueba por cada canal y dice cómo le fue a cada uno. Termina con 1 si alguno falló."""
    from jobs.notify.delivery import deliver
    from jobs.notify.sending import send, watching_requests

    channels = channels_of(settings.of(NotifySettings))
    if not channels:
        raise ConfigurationError(f"no hay ningún canal de avisos: {JOB.when_off}")
    body = f"Prueba desde {settings.host}: los avisos llegan por aquí. No hay que hacer nada."
    messages = {channel: Message("Janitor: prueba de avisos", body, ()) for channel in channels}
    interruption = threading.Event()
    exit_code = EXIT_DONE
    with stopping_on_signal(interruption), watching_requests():
        for channel, result in deliver(messages, send, TEST_SECONDS, interruption):
            mark, text = ("bien ", "lo aceptó") if result.is_delivered else ("ERROR", result.error)
            click.echo(one_line(f"{mark}  {channel.name}: {text}"))
            exit_code = exit_code if result.is_delivered else EXIT_SOMETHING_FAILED
    return exit_code
