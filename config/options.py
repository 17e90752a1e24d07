"""Parses the command line: translates click's English messages into Spanish and turns amounts into settings."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from config.declared import Variable
from config.settings import parse_transfers
from config.text import parsers
from config.text.amounts import OFF, AmountError, parse_bandwidth
from config.text.wording import in_spanish, reason_of


class _Spanish(click.Command):
    """A command or group whose help is in Spanish, including click's own texts.

    Those are translated before lines are wrapped: a sentence on two lines would not be recognised.
    """

    def __init__(self, *arguments: Any, **attributes: Any) -> None:
        super().__init__(*arguments, **{"options_metavar": "[OPCIONES]", **attributes})

    def get_help(self, ctx: click.Context) -> str:
        return in_spanish(super().get_help(ctx))

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        option = super().get_help_option(ctx)
        if option is not None:
            option.help = "Muestra esta ayuda y termina."
        return option


class SpanishCommand(_Spanish):
    """A command."""


class SpanishGroup(_Spanish, click.Group):
    """A group of commands."""

    command_class = SpanishCommand

    def __init__(self, *arguments: Any, **attributes: Any) -> None:
        super().__init__(*arguments, **{"subcommand_metavar": "[ORDEN [ARGUMENTOS]...]", **attributes})


class LazyGroup(SpanishGroup):
    """A group that loads a command only when that one, or the help of all, is requested. `load` gives what loads each
    of them, by its name.

    Its help shows the options of each of `option_groups` under their own heading, then all other options, the
    commands, and the environment variables that `variables` returns, under their headings.
    """

    def __init__(
        self,
        *arguments: Any,
        load: Callable[[], Mapping[str, Callable[[], click.Command]]],
        option_groups: Mapping[str, Sequence[str]],
        variables: Callable[[], Mapping[str, Iterable[Variable[Any]]]],
        **attributes: Any,
    ) -> None:
        super().__init__(*arguments, **attributes)
        self._load = load
        self._option_groups = option_groups
        self._variables = variables

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*self._load(), *super().list_commands(ctx)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        loaders = self._load()
        if cmd_name in loaders and cmd_name not in self.commands:
            self.commands[cmd_name] = loaders[cmd_name]()
        elif cmd_name not in self.commands:  # the error suggests those that are spelled alike
            self.commands.update({name: load() for name, load in loaders.items()})
        return super().get_command(ctx, cmd_name)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        records = {option.name: option.get_help_record(ctx) for option in self.get_params(ctx)}
        for heading, names in self._option_groups.items():
            with formatter.section(heading):
                formatter.write_dl([record for name in names if (record := records.pop(name)) is not None])
        with formatter.section("Opciones"):
            formatter.write_dl([record for record in records.values() if record is not None])
        self.format_commands(ctx, formatter)
        for heading, variables in self._variables().items():
            with formatter.section(heading):
                formatter.write_dl([(variable.name, help_of_variable(variable)) for variable in variables])


def help_of_variable(variable: Variable[Any]) -> str:
    """What operators read of a variable; the sentence itself describes a computed default."""
    default = variable.default if isinstance(variable.default, str) and variable.default != OFF else ""
    return f"{variable.spanish.removesuffix('.')} (por defecto, {default})." if default else variable.spanish


ALSO_FOR_COMMANDS = ("debug",)
"""Options allowed before a command: they change the program's output, not its work."""


def require_no_options_of_the_tick(context: click.Context) -> None:
    """Raises `UsageError` if an option of the tick precedes a command, which would ignore it."""
    name = context.invoked_subcommand
    if name is None:
        return
    group = context.command
    command = group.get_command(context, name) if isinstance(group, click.Group) else None
    its_own = {option.name for option in command.params} if command else set()
    for option in group.params:
        is_given = context.get_parameter_source(option.name or "") is ParameterSource.COMMANDLINE
        if is_given and option.name not in ALSO_FOR_COMMANDS:
            written = (
                option.opts[0]
                if context.params[option.name or ""] or not option.secondary_opts
                else (option.secondary_opts[0])
            )
            advice = f"escríbala detrás: {name} {written}" if option.name in its_own else "quítela"
            raise click.UsageError(f"{written} es una opción del ciclo y delante de {name} no vale; {advice}")


def setting(name: str, parse: Callable[[str], object]) -> Callable[..., Mapping[str, Any]]:
    """A callback that turns an option into a change of one setting, or of none if the option is missing."""

    def change(_context: click.Context, _parameter: click.Parameter, text: str | None) -> Mapping[str, Any]:
        try:
            return {} if text is None else {name: parse(text)}
        except AmountError as error:
            raise click.BadParameter(str(error)) from error

    return change


transfers_option = click.option(
    "--transfers",
    metavar="N",
    callback=setting("transfers", parse_transfers),
    help="Cuántos ficheros se transfieren a la vez, de 1 a 256.",
)
bandwidth_option = click.option(
    "--bandwidth-limit",
    metavar="V",
    callback=setting("bandwidth", parse_bandwidth),
    help="Cuánto por segundo, entre todas las transferencias: 20M; o según la hora local: "
    "'08:00,512k 19:00,10M 23:00,off'.",
)


def hours(_context: click.Context, _parameter: click.Parameter, text: str | None) -> float | None:
    """Turn an option into a number of hours."""
    try:
        return None if text is None else parsers.hours(text)
    except AmountError as error:
        raise click.BadParameter(f"{error} (0.5 es media hora)") from error


def not_empty(_context: click.Context, _parameter: click.Parameter, text: str) -> str:
    """Refuse an empty argument, such as an unset shell variable."""
    if not text.strip():
        raise click.BadParameter("está vacío")
    return text


def given(context: click.Context, parameter: click.Parameter, text: str | None) -> str | None:
    """The text of an option without what surrounds it; `None` where the option is not given. Refuses an empty one."""
    return None if text is None else not_empty(context, parameter, text).strip()


YES = ("s", "si", "sí", "y", "yes")


def is_confirmed(question: str) -> bool:
    """Ask on the standard error. Everything but a clear yes is a no.

    Raises `UsageError` where nobody can answer, as in cron: what was ordered is not done.
    """
    click.echo(f"{question} [s/N] ", nl=False, err=True)
    answer = sys.stdin.readline() if sys.stdin is not None else ""
    if not answer:
        click.echo(err=True)
        raise click.UsageError("no se cambió nada, porque aquí nadie puede contestar: añada --yes")
    return answer.strip().casefold() in YES


def directory_to_fill(context: click.Context, parameter: click.Parameter, text: str) -> Path:
    """Turn an argument into the path of a directory that exists or can be created."""
    path = Path(not_empty(context, parameter, text))
    try:
        if path.is_dir():
            return path
        if path.exists() or path.is_symlink():
            raise click.BadParameter(f"{text} no es un directorio")
        if path.parent.is_dir():
            return path
    except OSError as error:
        raise click.BadParameter(f"no se puede usar {text}: {reason_of(error)}") from error
    raise click.BadParameter(f"no existe {path.parent}, en el que se crearía {path.name}: cree ese directorio antes")
