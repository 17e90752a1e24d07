"""Writes the manual page from the commands themselves, so that it never says anything else than their help."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator

import click

from config.options import help_of_variable
from config.text.wording import in_spanish
from jobs.settings import variables_by_title

DESCRIPTION = "mantenimiento de SAGE: migra ejecuciones a la nube, demostrado, y limpia"

UNWRAPPED = "\b"
"""How click marks a paragraph whose lines stay as they are."""


def manual_page(root: click.Context) -> str:
    """The page as man(7) describes it, in Spanish and in UTF-8."""
    return "\n".join((*_head(root), *_body(root), *_commands(root), *_environment(), ""))


def _head(root: click.Context) -> Iterator[str]:
    yield '.TH JANITOR\\-DAEMON 1 "" "janitor\\-daemon" "Manual de Janitor Daemon"'
    yield ".nh"  # names of columns and options stay whole
    yield ".ad l"
    yield ".SH NOMBRE"
    yield f"janitor\\-daemon \\- {_plain(DESCRIPTION)}"
    yield ".SH SINOPSIS"
    yield _usage(root)


def _body(root: click.Context) -> Iterator[str]:
    yield ".SH DESCRIPCIÓN"
    yield from _paragraphs(root.command.help)
    yield ".SH OPCIONES"
    yield from _options(root)
    yield from _epilog(root.command)


def _commands(root: click.Context) -> Iterator[str]:
    yield ".SH ÓRDENES"
    yield from _commands_of(root)


def _commands_of(context: click.Context) -> Iterator[str]:
    """Each command of a group, and after a group's own text its commands."""
    group = context.command
    assert isinstance(group, click.Group)  # noqa: S101 for the type checker
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        own = click.Context(command, info_name=name, parent=context)
        yield f".SS {_plain(_name_of(own))}"
        yield _usage(own)
        yield ".PP"
        yield from _paragraphs(command.help)
        yield from _options(own)
        yield from _epilog(command)
        if isinstance(command, click.Group):
            yield from _commands_of(own)


def _name_of(context: click.Context) -> str:
    return context.command_path.partition(" ")[2]


def _usage(context: click.Context) -> str:
    words = in_spanish(" ".join(context.command.collect_usage_pieces(context)))
    return f"\\fB{_plain(context.command_path)}\\fR {_plain(words)}"


def _options(context: click.Context) -> Iterator[str]:
    for parameter in context.command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None:
            names, text = record
            yield ".TP"
            yield f"\\fB{_plain(names)}\\fR"
            yield _plain(text)


def _environment() -> Iterator[str]:
    yield ".SH VARIABLES DE ENTORNO"
    for title, variables in variables_by_title().items():
        yield f".SS {_plain(title)}"
        for variable in variables:
            yield ".TP"
            yield f"\\fB{_plain(variable.name)}\\fR"
            yield _plain(help_of_variable(variable))


def _epilog(command: click.Command) -> Iterator[str]:
    if command.epilog:
        yield ".PP"
        yield from _paragraphs(command.epilog)


def _paragraphs(text: str | None) -> Iterator[str]:
    """The paragraphs of a help text."""
    separator = ""
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(text or "")):
        if separator:
            yield separator
        separator = ".PP"
        lines = paragraph.splitlines()
        if lines and lines[0].strip() == UNWRAPPED:
            yield from (".nf", *_plain_lines(lines[1:]), ".fi")
        else:
            yield _plain(" ".join(line.strip() for line in lines))


def _plain_lines(lines: Iterable[str]) -> Iterator[str]:
    return (_plain(line) for line in lines)


def _plain(text: str) -> str:
    """Text in which groff finds nothing to obey: options keep their hyphens, quotes stay as they are."""
    escaped = text.replace("\\", "\\(rs").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga")
    escaped = escaped.replace("^", "\\(ha").replace("~", "\\(ti")
    return f"\\&{escaped}" if escaped.startswith((".", "\\(aq")) else escaped
