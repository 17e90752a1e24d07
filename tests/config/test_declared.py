"""A dataclass whose fields declare their variables is all that is needed to read them."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass
from pathlib import Path

import pytest

from config.declared import Computed, Sources, declared, in_file, lists_of, load, schema_of, shared, variables_of
from config.errors import ConfigurationError
from config.logs import redactor
from config.reading.config_file import ConfigFile
from config.text.amounts import AmountError
from config.text.parsers import boolean, directories, integer, path, text, url, whole_days

SECRET = "clave-que-no-debe-verse"


def quotes_what_it_is_given(written: str) -> str:
    """A parser that breaks the rule of parsers."""
    raise AmountError(f"no entiende {written!r}")


@dataclass(frozen=True, slots=True)
class Rule:
    """What one element of a list says."""

    pattern: str
    every_seconds: int = 30


@dataclass(frozen=True, slots=True)
class Example:
    """The settings of a job that is not there."""

    directory: Path | None = declared("EXAMPLE_PATH", path, spanish="Directorio.", english="A directory.")
    days: int = declared("EXAMPLE_DAYS", whole_days, default="7", unit="days", spanish="Días.", english="Days.")
    most_days: int = declared("EXAMPLE_MOST_DAYS", whole_days, default="90", spanish="Días.", english="Days.")
    compresses: bool = declared("EXAMPLE_COMPRESS", boolean, default="true", spanish="Comprimir.", english="Compress.")
    url: str | None = declared(
        "EXAMPLE_URL", url("https"), secret=True, spanish="Dirección.", english="An address.", example="https://host"
    )
    name: str = declared(
        "EXAMPLE_NAME",
        text,
        default=Computed(lambda environment: environment.get("HOSTNAME", "nobody"), shown="the host's name"),
        spanish="Nombre.",
        english="A name.",
    )
    rules: tuple[Rule, ...] = in_file("example.rules", default=(), spanish="Reglas.", english="Rules.")

    def __post_init__(self) -> None:
        if self.days > self.most_days:
            raise AmountError("EXAMPLE_DAYS debe ser menor que EXAMPLE_MOST_DAYS")

    def is_on(self) -> bool:
        return self.directory is not None


def test_what_is_set_is_read_and_the_rest_is_the_default() -> None:
    example = load(Example, Sources({"EXAMPLE_PATH": "/a", "EXAMPLE_COMPRESS": "no", "HOSTNAME": "norte"}))
    assert example == Example(directory=Path("/a"), compresses=False, name="norte")
    assert (example.days, example.url, example.rules) == (7, None, ())
    assert example.is_on()
    with pytest.raises(FrozenInstanceError):
        example.days = 8  # type: ignore[misc]


def test_an_empty_variable_is_not_set() -> None:
    names = [variable.name for variable in variables_of(Example)]
    assert load(Example, Sources(dict.fromkeys(names, ""))) == Example() == load(Example, Sources({}))


def test_everything_that_is_wrong_is_reported_at_once() -> None:
    file = ConfigFile(Path("janitor.toml"), {"example": {"rules": [{"pattern": 1}]}})
    with pytest.raises(ConfigurationError) as refused:
        load(Example, Sources({"EXAMPLE_DAYS": "0", "EXAMPLE_COMPRESS": "x", "EXAMPLE_MOST_DAYS": "9"}, file))
    assert str(refused.value) == (
        "EXAMPLE_DAYS debe ser un número entero entre 1 y 36500; EXAMPLE_COMPRESS debe ser true o false; "
        "janitor.toml: example.rules (elemento 1).pattern debe ser un texto entre comillas"
    )


def test_fields_are_compared_once_all_of_them_are_known() -> None:
    with pytest.raises(ConfigurationError, match=r"^EXAMPLE_DAYS debe ser menor que EXAMPLE_MOST_DAYS$"):
        load(Example, Sources({"EXAMPLE_DAYS": "91"}))


def test_what_the_file_lists_is_read_by_the_type_of_the_field() -> None:
    file = ConfigFile(
        Path("janitor.toml"), {"example": {"rules": [{"pattern": "a"}, {"pattern": "b", "every_seconds": 5}]}}
    )
    assert load(Example, Sources({}, file)).rules == (Rule("a"), Rule("b", 5))


@pytest.mark.parametrize("parse", [url("https"), quotes_what_it_is_given])
@pytest.mark.parametrize("written", [f"http://u:{SECRET}@host", SECRET, f"a {SECRET}", f"a,{SECRET}"])
def test_a_secret_is_never_reported(parse: Callable[[str], str], written: str) -> None:
    """Not in the error, not in its traceback, not in a repr; and the log blots it out from now on.

    Looked for in every parser, too, by the tests of parsers.
    """

    @dataclass(frozen=True, slots=True)
    class Secretive:
        url: str | None = declared("EXAMPLE_URL", parse, secret=True, spanish="x", english="x")

    with pytest.raises(ConfigurationError, match=r"^EXAMPLE_URL ") as refused:
        load(Secretive, Sources({"EXAMPLE_URL": written}))
    assert SECRET not in "".join(traceback.format_exception(refused.value))
    assert SECRET not in redactor.redact(f"error of {SECRET}")
    assert SECRET not in repr(Sources({"EXAMPLE_URL": SECRET}, ConfigFile(Path("x"), {"a": SECRET})))
    assert SECRET not in repr(Secretive(url=SECRET))


def test_a_short_word_is_not_blotted_out_of_every_line_but_a_password_is() -> None:
    load(Example, Sources({"EXAMPLE_URL": "https://sage:c0rta@sage"}))
    assert redactor.redact("sage c0rta") == "sage ***"


def test_a_declaration_says_what_documents_need() -> None:
    shown = {variable.name: variable.shown for variable in variables_of(Example)}
    assert shown == {
        "EXAMPLE_PATH": "none", "EXAMPLE_DAYS": "`7`", "EXAMPLE_MOST_DAYS": "`90`", "EXAMPLE_COMPRESS": "`true`",
        "EXAMPLE_URL": "none", "EXAMPLE_NAME": "the host's name",
    }  # fmt: skip
    assert [entry.name for entry in lists_of(Example)] == ["example.rules"]
    assert schema_of(Example) == {"example.rules": tuple[Rule, ...]}


def test_a_variable_that_two_jobs_read_is_declared_once() -> None:
    (variable, *_) = variables_of(Example)

    @dataclass(frozen=True, slots=True)
    class Other:
        directory: Path | None = shared(variable)

    assert load(Other, Sources({"EXAMPLE_PATH": "/a"})).directory == Path("/a")
    assert list(variables_of(Other)) == [variable]


def test_a_wrong_default_is_a_fault_of_the_declaration() -> None:
    @dataclass(frozen=True, slots=True)
    class Wrong:
        roots: tuple[str, ...] = declared("X_ROOTS", directories, default="a", spanish="x", english="x")
        count: int = declared("X_COUNT", integer(1, 2), default="3", spanish="x", english="x")

    with pytest.raises(ConfigurationError):
        load(Wrong, Sources({}))
