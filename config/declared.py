"""Settings, each declared once: name, parser, default, help. Everything else is derived from the declaration.

A job declares its settings as a frozen dataclass. `is_on` says whether the job is configured::

    @dataclass(frozen=True, slots=True)
    class LogsSettings:
        paths: tuple[str, ...] = declared(
            "LOGS_PATH", directories, default="", shown="none", example="/var/log/sage",
            spanish="Directorios cuyos registros se comprimen y se borran, separados por ':'.",
            english="Directories whose logs are compressed and deleted, `:` between them.",
        )
        retention_days: int = declared(
            "LOGS_RETENTION_DAYS", whole_days, default="90", unit="days",
            spanish="Días tras los que se borran los comprimidos.",
            english="Compressed logs older than that are deleted.",
        )

        def is_on(self) -> bool:
            return bool(self.paths)

`load(LogsSettings, sources)` reads them. Parsers are in `config.text.parsers`; a parser takes the text and raises
`AmountError`. An empty variable counts as unset. `__post_init__` may compare fields and raise
`AmountError` with the names of the variables. `LogsSettings()` has all defaults; a test may pass some fields.

Lists that fit no variable go in `janitor.toml`: `in_file` declares the field, and its type says what is allowed::

    services: tuple[Service, ...] = in_file("watch.services", default=(), spanish="...", english="...")

`Service` is another frozen dataclass; see `config.reading.tables`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar, overload
from urllib.parse import unquote, urlsplit

from config.errors import ConfigurationError
from config.logs import learn_secrets
from config.reading.config_file import NO_FILE, ConfigFile
from config.text.amounts import AmountError

Value = TypeVar("Value")
Kind = TypeVar("Kind")

DECLARATION = "declaration"
"""The key of the declaration in a field's metadata."""


# Named tuples rather than dataclasses: defining one costs a tenth as much, and every tick pays for it.


class Sources(NamedTuple):
    """Where settings come from. The environment may hold passwords, so it does not show in a repr."""

    environment: Mapping[str, str]
    file: ConfigFile = NO_FILE

    def __repr__(self) -> str:
        return f"Sources({self.file!r})"


class Computed(NamedTuple, Generic[Value]):
    """A default that depends on the environment or on the host; `shown` describes it in English."""

    find: Callable[[Mapping[str, str]], Value]
    shown: str


class Variable(NamedTuple, Generic[Value]):
    """One variable of the environment.

    `default` is text as an operator would write it, `Computed`, or `None` for no value. `shown` is the default's name
    in the documents. `essential` variables must be edited when the program is installed.
    """

    name: str
    parse: Callable[[str], Value]
    default: str | Computed[Value] | None
    spanish: str
    english: str
    shown: str
    secret: bool
    unit: str
    example: str
    essential: bool

    def default_value(self, environment: Mapping[str, str]) -> Value | None:
        """The value when the variable is not set. Raises `AmountError` if the declaration itself is wrong."""
        if isinstance(self.default, Computed):
            found: Value = self.default.find(environment)
            return found
        return None if self.default is None else self.parse(self.default)

    def value(self, sources: Sources) -> Value | None:
        """The value set, or the default. Raises `AmountError` with the variable's name, never with a secret."""
        written = sources.environment.get(self.name)
        if not written:
            return self.default_value(sources.environment)
        if self.secret:
            learn_secrets(_worth_learning(written))
        try:
            return self.parse(written)
        except AmountError as error:
            raise AmountError(f"{self.name} {self._reason(written, error)}") from None

    def _reason(self, written: str, error: AmountError) -> str:
        """Parsers must not quote their input. If one does and the input is secret, its message is dropped."""
        if self.secret and any(part in str(error) for part in (written, *_parts_of_secret(written))):
            return "no se entiende"
        return str(error)


class Listed(NamedTuple):
    """A part of `janitor.toml`, by its path of keys, such as `watch.services`."""

    name: str
    spanish: str
    english: str


@overload
def declared(
    name: str, parse: Callable[[str], Value], *, default: str | Computed[Value], spanish: str, english: str,
    shown: str | None = None, secret: bool = False, unit: str = "", example: str = "", essential: bool = False,
) -> Value: ...  # fmt: skip


@overload
def declared(
    name: str, parse: Callable[[str], Value], *, default: None = None, spanish: str, english: str,
    shown: str | None = None, secret: bool = False, unit: str = "", example: str = "", essential: bool = False,
) -> Value | None: ...  # fmt: skip


def declared(
    name: str,
    parse: Callable[[str], Value],
    *,
    default: str | Computed[Value] | None = None,
    spanish: str,
    english: str,
    shown: str | None = None,
    secret: bool = False,
    unit: str = "",
    example: str = "",
    essential: bool = False,
) -> Any:
    """A field of a settings dataclass, set by one variable.

    `spanish` is a sentence for the terminal. `english` is for the documents; the README and `.env.example` show only
    its first sentence. With `default=None` the field is `None` when the variable is not set.
    """
    if shown is None:
        shown = default.shown if isinstance(default, Computed) else f"`{default}`" if default else "none"
    variable = Variable(
        name=name, parse=parse, default=default, spanish=spanish, english=english, shown=shown, secret=secret,
        unit=unit, example=example, essential=essential,
    )  # fmt: skip
    return shared(variable)


def shared(variable: Variable[Any]) -> Any:
    """A field set by a variable that another dataclass also declares."""
    return dataclasses.field(
        default_factory=partial(variable.default_value, {}),
        repr=not variable.secret,
        metadata={DECLARATION: variable},
    )


def in_file(name: str, *, default: Value, spanish: str, english: str) -> Value:
    """A field of a settings dataclass, set by a part of `janitor.toml`; the field's type is its schema."""
    listed = Listed(name=name, spanish=spanish, english=english)
    return dataclasses.field(default=default, metadata={DECLARATION: listed})


def variables_of(kind: type) -> Iterator[Variable[Any]]:
    """The variables that a settings dataclass declares, in order."""
    return (declaration for _, declaration in _declarations(kind) if isinstance(declaration, Variable))


def lists_of(kind: type) -> Iterator[Listed]:
    """The parts of `janitor.toml` that a settings dataclass declares, in order."""
    return (declaration for _, declaration in _declarations(kind) if isinstance(declaration, Listed))


def schema_of(kind: type) -> Mapping[str, Any]:
    """The type of each part of `janitor.toml` that a settings dataclass declares, by path of keys."""
    from typing import get_type_hints

    hints = get_type_hints(kind)
    return {entry.name: hints[field] for field, entry in _declarations(kind) if isinstance(entry, Listed)}


def load(kind: type[Kind], sources: Sources, **others: object) -> Kind:
    """Read every declared field of a dataclass; `others` are its undeclared fields.

    Raises `ConfigurationError`, which names every fault by variable or path of keys, without secrets.
    """
    values: dict[str, object] = {}
    faults: list[str] = []
    for field, declaration in _declarations(kind):
        try:
            if isinstance(declaration, Variable):
                values[field] = declaration.value(sources)
            elif sources.file.has(declaration.name):
                values[field] = sources.file.value(declaration.name, schema_of(kind)[declaration.name])
        except AmountError as error:
            faults.append(str(error))
    if faults:
        raise ConfigurationError("; ".join(faults))
    try:
        return kind(**values, **others)
    except AmountError as error:
        raise ConfigurationError(str(error)) from error


def _declarations(kind: type) -> Iterator[tuple[str, Variable[Any] | Listed]]:
    for field in dataclasses.fields(kind):
        declaration = field.metadata.get(DECLARATION)
        if declaration is not None:
            yield field.name, declaration


SHORTEST_SECRET_OF_ANY_VARIABLE = 8
"""A shorter text may be a common word, or no secret at all. Passwords are learnt whatever their length."""


def _worth_learning(written: str) -> list[str]:
    long_ones = (part for part in (written, *_parts(written)) if len(part) >= SHORTEST_SECRET_OF_ANY_VARIABLE)
    return list(dict.fromkeys((*long_ones, *_passwords(written))))


def _parts_of_secret(written: str) -> Iterator[str]:
    yield from _parts(written)
    yield from _passwords(written)


def _parts(written: str) -> Iterator[str]:
    """The parts of a secret list that may appear alone."""
    return (part for part in re.split(r"[,\s]+", written) if part)


def _passwords(written: str) -> Iterator[str]:
    """The parts of a secret address, or list of addresses, that may appear alone."""
    for part in _parts(written):
        try:
            password = urlsplit(part).password
        except ValueError:  # not an address
            continue
        yield from (password, unquote(password)) if password else ()
