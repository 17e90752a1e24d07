"""The commands `completion` and `man`. They need no database."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from commands.shell.manual import manual_page
from config.exit_codes import EXIT_DONE
from config.options import SpanishCommand

PROGRAM = "janitor-daemon"
VARIABLE = "_JANITOR_DAEMON_COMPLETE"
"""How the shell asks the program for words: click takes it from the program's name."""

SHELLS = ("bash", "zsh", "fish")


@click.command(
    "completion",
    cls=SpanishCommand,
    short_help="Escribe lo que completa palabras en un intérprete.",
    epilog="""\b
Se instala una vez (con zsh, ~/.zfunc va en fpath):
  janitor-daemon completion bash >> ~/.bash_completion
  janitor-daemon completion zsh > ~/.zfunc/_janitor-daemon
  janitor-daemon completion fish > \\
    ~/.config/fish/completions/janitor-daemon.fish""",
)
@click.argument("shell", metavar="bash|zsh|fish", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> int:
    """Escribe lo que hace que el intérprete complete órdenes y opciones con el tabulador. No necesita la base de datos,
    y completar tampoco.
    """
    completing = get_completion_class(shell)
    assert completing is not None  # noqa: S101 for the type checker: click knows the three
    click.echo(completing(context.find_root().command, {}, PROGRAM, VARIABLE).source(), nl=False)
    return EXIT_DONE


@click.command(
    "man",
    cls=SpanishCommand,
    short_help="Escribe la página de manual.",
    epilog="""\b
Se lee, o se instala una vez:
  janitor-daemon man | man -l -
  janitor-daemon man > \\
    /usr/local/share/man/man1/janitor-daemon.1""",
)
@click.pass_context
def man(context: click.Context) -> int:
    """Escribe la página de manual, con todas las órdenes, opciones y variables."""
    click.echo(manual_page(context.find_root()), nl=False)
    return EXIT_DONE
