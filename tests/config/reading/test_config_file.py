"""`janitor.toml` is used whole or not at all, and what is wrong in it is named by line or by path of keys."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from config.declared import declared, in_file
from config.errors import ConfigurationError
from config.reading.config_file import NO_FILE, read_config_file
from config.reading.tables import converted, entry
from config.settings import load_settings
from config.text.amounts import AmountError, parse_duration
from config.text.parsers import boolean, web_url

SECRET = "clave-que-no-debe-verse"


@dataclass(frozen=True, slots=True)
class Limit:
    """A table in a list of tables."""

    gigabytes: float
    path: Path = Path("/")


@dataclass(frozen=True, slots=True)
class Service:
    """One of each kind of value."""

    name: str
    url: str = entry(web_url, default="http://localhost")
    every: float | None = entry(parse_duration, default=None)
    port: int = 80
    ratio: float = 0.5
    is_on: bool = True
    state: Literal["good", "bad"] = "good"
    words: tuple[str, ...] = ()
    limits: tuple[Limit, ...] = ()
    labels: Mapping[str, int] | None = None

    def __post_init__(self) -> None:
        if self.port == 81:
            raise AmountError("tiene un puerto que no se usa")


@dataclass(frozen=True, slots=True)
class ExampleSettings:
    """The settings of a job that is not there."""

    on: bool = declared("EXAMPLE_ON", boolean, default="false", spanish="Activa.", english="On.")
    services: tuple[Service, ...] = in_file("prueba.services", default=(), spanish="Servicios.", english="Services.")
    words: tuple[str, ...] = in_file("prueba.words", default=(), spanish="Palabras.", english="Words.")


def jobs() -> list[type]:
    """What the program would declare, if it had this job alone."""
    return [ExampleSettings]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_a_file_all_is_as_it_is_by_default(home: Path) -> None:
    settings = load_settings({}, jobs)
    assert settings.sources.file is NO_FILE
    assert settings.of(ExampleSettings) == ExampleSettings()


def test_every_kind_of_value_is_read(home: Path) -> None:
    (home / "janitor.toml").write_text(
        """
        [prueba]
        words = ["a", "b"]
        [[prueba.services]]
        name = "uno"
        [[prueba.services]]
        name = "dos"
        url = "https://host/x"
        every = "1m"
        port = 8080
        ratio = 1
        is_on = false
        state = "bad"
        words = []
        labels = { a = 1 }
        [[prueba.services.limits]]
        gigabytes = 2.5
        path = "/srv"
        """
    )
    settings = load_settings({"EXAMPLE_ON": "true"}, jobs)
    dos = Service(
        "dos", "https://host/x", 60.0, 8080, 1.0, False, "bad", (), (Limit(2.5, Path("/srv")),), {"a": 1}
    )  # fmt: skip
    assert settings.of(ExampleSettings) == ExampleSettings(True, (Service("uno"), dos), ("a", "b"))
    assert settings.sources.file.path == Path("janitor.toml")
    assert "https" not in repr(settings)


@pytest.mark.parametrize("name", ["otro.toml", "sub/otro.toml"])
def test_another_file_may_be_named(home: Path, name: str) -> None:
    (home / "janitor.toml").write_text("no se lee")
    (home / "sub").mkdir()
    (home / name).write_text('[prueba]\nwords = ["otro"]\n')
    assert load_settings({"JANITOR_CONFIG": name}, jobs).of(ExampleSettings).words == ("otro",)


def test_a_file_that_is_named_must_be_there(home: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"^falta\.toml: no se puede leer: no existe; corrija JANITOR_CONFIG"):
        load_settings({"JANITOR_CONFIG": "falta.toml"}, jobs)


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (f"[prueba]\nwords = {SECRET}\n", "la línea 2"),
        (f'[prueba]\nwords = ["{SECRET}\na = 1\n', "la línea 2"),
        (f"[prueba]\nwords = ['{SECRET}'", "el final"),
        ("[prueba]\nwords = []\nwords = []\n", "la línea 3"),
        ("\ufeff[prueba\n", "la línea 1"),
        (f"x = {'[' * 100_000}", "el final"),
    ],
)
def test_a_line_that_is_no_toml_is_named_without_its_text(home: Path, content: str, where: str) -> None:
    (home / "janitor.toml").write_text(content)
    with pytest.raises(ConfigurationError, match=rf"^janitor\.toml: {where} no se entiende") as refused:
        load_settings({}, jobs)
    assert SECRET not in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content", [b"a = '\xff'", b"a = '\0'"])
def test_what_is_no_text_is_reported(home: Path, content: bytes) -> None:
    (home / "janitor.toml").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"^janitor\.toml: no es un texto en UTF-8"):
        load_settings({}, jobs)


def test_a_directory_instead_of_the_file_is_reported(home: Path) -> None:
    (home / "janitor.toml").mkdir()
    with pytest.raises(ConfigurationError, match=r"^janitor\.toml: no se puede leer: es un directorio"):
        load_settings({}, jobs)


@pytest.mark.parametrize(
    ("content", "faults"),
    [
        ("pruebs = 1", ["pruebs no se conoce; ¿quería decir prueba?"]),
        ("prueba = 1", ["prueba debe ser una tabla: [prueba]"]),
        ("[other]\na = 1", ["other no se conoce"]),
        ("[prueba]\nservces = []", ["prueba.servces no se conoce; ¿quería decir prueba.services?"]),
        ("services = []", ["services no se conoce; ¿quería decir prueba.services?"]),
        ("[prueba]\nwords = 'a'", ['prueba.words debe ser una lista con corchetes: clave = ["a", "b"]']),
        ("[prueba]\nservices = {}", ["prueba.services debe ser una lista de tablas: [[prueba.services]]"]),
        ("[prueba]\nservices = ['a']", ["prueba.services (elemento 1) debe ser una tabla"]),
        (
            "[[prueba.services]]\nnam = 'a'",
            [
                "prueba.services (elemento 1).nam no se conoce; ¿quería decir name?",
                "prueba.services (elemento 1).name falta",
            ],
        ),
    ],
)
def test_a_key_that_means_nothing_is_reported_with_the_one_that_was_meant(
    home: Path, content: str, faults: list[str]
) -> None:
    """Above the declared lists and in them, whether the job is on or off."""
    (home / "janitor.toml").write_text(content)
    with pytest.raises(ConfigurationError) as refused:
        load_settings({}, jobs)
    assert sorted(str(refused.value).removeprefix("janitor.toml: ").split("; janitor.toml: ")) == ["; ".join(faults)]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("name = 1", "name debe ser un texto entre comillas"),
        (f"url = '{SECRET}'", "url debe ser una dirección https:// o http://"),
        ("url = 1", "url debe ser un texto entre comillas"),
        ("every = '5'", "every debe ser una duración"),
        ("port = true", "port debe ser un número entero"),
        ("port = 1.5", "port debe ser un número entero"),
        ("port = '1'", "port debe ser un número entero"),
        ("port = 81", "tiene un puerto que no se usa"),
        ("ratio = false", "ratio debe ser un número"),
        ("is_on = 1", "is_on debe ser true o false"),
        (f"state = '{SECRET}'", 'state debe ser "good" o "bad"'),
        ("state = [1]", 'state debe ser "good" o "bad"'),
        ("words = [1]", "words (elemento 1) debe ser un texto entre comillas"),
        ("labels = []", "labels debe ser una tabla"),
        ("labels = { a = '1' }", "labels.a debe ser un número entero"),
        ("limits = [{}]", "limits (elemento 1).gigabytes falta"),
        ("limits = [{gigabytes = 1, path = 2}]", "limits (elemento 1).path debe ser un texto entre comillas, una ruta"),
        ("name = 1979-05-27", "name debe ser un texto entre comillas"),
    ],
)
def test_a_value_of_a_wrong_type_is_reported_by_its_path_and_never_quoted(home: Path, line: str, fault: str) -> None:
    name = "" if line.startswith("name") else "name = 'a'\n"
    (home / "janitor.toml").write_text(f"[[prueba.services]]\nname = 'bien'\n[[prueba.services]]\n{name}{line}\n")
    with pytest.raises(ConfigurationError) as refused:
        load_settings({}, jobs)
    start = "janitor.toml: prueba.services (elemento 2)"
    assert str(refused.value).startswith((f"{start}.{fault}", f"{start} {fault}"))
    assert SECRET not in str(refused.value)


def test_everything_that_is_wrong_is_reported_at_once(home: Path) -> None:
    (home / "janitor.toml").write_text("other = 1\n[prueba]\nwords = [1, 'a', 2]\n[[prueba.services]]\nport = 'x'\n")
    with pytest.raises(ConfigurationError) as refused:
        load_settings({}, jobs)
    told = str(refused.value)
    for part in ("other no se conoce", "words (elemento 1)", "words (elemento 3)", ".name falta", ".port debe"):
        assert part in told
    assert "elemento 2)" not in told


def test_the_jobs_are_asked_what_they_declare_only_if_there_is_something(home: Path) -> None:
    """As importing them costs every run time."""
    asked: list[str] = []

    def declared_by_jobs() -> list[type]:
        asked.append("asked")
        return jobs()

    load_settings({"JANITOR_ROOTS": "/a", "EXAMPLE_ON": "true", "HOME": "/"}, declared_by_jobs)
    assert asked == []
    assert load_settings({"JANITOR_EXAMPLE": "1"}, declared_by_jobs).unknown_variables == (
        "JANITOR_EXAMPLE no se conoce",
    )
    (home / "janitor.toml").write_text("[prueba]\n")
    load_settings({}, declared_by_jobs)
    assert asked == ["asked", "asked"]


def test_a_wrong_variable_of_a_job_is_reported_when_the_job_asks(home: Path) -> None:
    settings = load_settings({"EXAMPLE_ON": "quizá"}, jobs)
    with pytest.raises(ConfigurationError, match=r"^EXAMPLE_ON debe ser true o false$"):
        settings.of(ExampleSettings)


def test_a_fifo_is_not_waited_for(home: Path) -> None:
    os.mkfifo(home / "janitor.toml")
    with pytest.raises(ConfigurationError, match="no es un fichero normal"):
        read_config_file(Path("janitor.toml"), must_exist=False)


def test_a_value_may_be_converted_alone() -> None:
    assert converted([1, 2.5], tuple[float, ...], "x") == (1.0, 2.5)
