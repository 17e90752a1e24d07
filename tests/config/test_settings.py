"""What the environment and a `.env` file may say, and what is refused before anything begins."""

from __future__ import annotations

import errno
import os
import socket
import tempfile
from datetime import time
from pathlib import Path

import pytest

from config.declared import variables_of
from config.errors import ConfigurationError
from config.settings import MAXIMUM_TRANSFERS, Settings, load_settings
from config.text.amounts import UNLIMITED, Timetable

NAMES = (
    "DATABASE_URL", "TEMP_DIR", "TEMP_RETENTION_HOURS", "JANITOR_ROOTS", "JANITOR_LOG_DIR", "JANITOR_LOG_FORMAT",
    "JANITOR_LOCK_DIR", "JANITOR_HOST", "JANITOR_TRANSFERS", "JANITOR_BANDWIDTH_LIMIT",
    "JANITOR_MAX_DURATION", "JANITOR_MAX_BYTES", "JANITOR_PROCESSES",
)  # fmt: skip


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with none of our variables set; what `.env` adds is forgotten afterwards."""
    for name in NAMES:
        monkeypatch.setenv(name, "")  # so that the fixture's end restores it, whatever the test adds
        monkeypatch.delenv(name)
    directory = tmp_path / "home"
    directory.mkdir()
    monkeypatch.chdir(directory)
    return directory


@pytest.mark.parametrize("environment", [{}, dict.fromkeys(NAMES, "")], ids=["absent", "empty"])
def test_the_defaults_are_those_of_the_readme(environment: dict[str, str]) -> None:
    loaded = load_settings(environment)
    assert loaded.database_url == ""
    assert loaded.temp_directory == Path("tmp")
    assert loaded.temp_retention_hours == 24.0
    assert loaded.roots == ()
    assert loaded.log_directory == Path("logs")
    assert loaded.log_format == "text"
    assert loaded.lock_directory.is_dir()
    assert loaded.host == socket.gethostname()
    assert loaded.transfers == 16
    assert loaded.bandwidth == UNLIMITED
    assert (loaded.max_duration_seconds, loaded.max_bytes, loaded.processes) == (None, None, None)


def test_every_variable_is_read() -> None:
    loaded = load_settings(
        {
            "DATABASE_URL": "postgresql://u:clave-secreta@h/b",
            "TEMP_DIR": "/t",
            "TEMP_RETENTION_HOURS": "0.5",
            "JANITOR_ROOTS": "/a:/b",
            "JANITOR_LOG_DIR": "/l",
            "JANITOR_LOG_FORMAT": "json",
            "JANITOR_LOCK_DIR": "/k",
            "JANITOR_HOST": "norte",
            "JANITOR_TRANSFERS": "4",
            "JANITOR_BANDWIDTH_LIMIT": "08:00,512k 23:00,off",
            "JANITOR_MAX_DURATION": "5h",
            "JANITOR_MAX_BYTES": "100G",
            "JANITOR_PROCESSES": "3",
        }
    )
    assert loaded.database_url == "postgresql://u:clave-secreta@h/b"
    assert (loaded.temp_directory, loaded.log_directory, loaded.lock_directory) == (Path("/t"), Path("/l"), Path("/k"))
    assert (loaded.temp_retention_hours, loaded.transfers) == (0.5, 4)
    assert (loaded.roots, loaded.log_format, loaded.host) == (("/a", "/b"), "json", "norte")
    assert loaded.bandwidth == Timetable(((time(8), 512 * 1024), (time(23), None)))
    assert (loaded.max_duration_seconds, loaded.max_bytes) == (5 * 3600, 100 * 1024**3)
    assert loaded.processes == 3
    assert "clave-secreta" not in repr(loaded)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("TEMP_RETENTION_HOURS", value) for value in ("-1", "nan", "inf", "1e999", "mucho", " ", "1,5", "-0.1")),
        *(
            ("JANITOR_ROOTS", value)
            for value in ("a", "./a", "/", "//", "/.", "/a/..", "/a:/", "/a:b", "~/a", "/a: /b")
        ),
        *(("JANITOR_LOG_FORMAT", value) for value in ("xml", "JSON", " text")),
        *(("JANITOR_TRANSFERS", value) for value in ("0", "-1", "257", "1.5", "x", " 4", "²", "9" * 5000)),
        *(("JANITOR_PROCESSES", value) for value in ("0", "-1", "65", "1.5", "auto")),
        *(("JANITOR_BANDWIDTH_LIMIT", value) for value in ("0", "20", "rápido", "08:00", "25:00,1M")),
        *(("JANITOR_MAX_DURATION", value) for value in ("0h", "5", "-1h", "siempre")),
        *(("JANITOR_MAX_BYTES", value) for value in ("0", "-1G", "mucho")),
    ],
)
def test_a_bad_value_is_named_by_its_variable(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{name}") as caught:
        load_settings({name: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("value", "hours"), [("0", 0.0), ("0.5", 0.5), ("1e3", 1000.0), ("72", 72.0)])
def test_hours_of_retention(value: str, hours: float) -> None:
    assert load_settings({"TEMP_RETENTION_HOURS": value}).temp_retention_hours == hours


@pytest.mark.parametrize("count", [1, MAXIMUM_TRANSFERS])
def test_transfers_up_to_the_bounds(count: int) -> None:
    assert load_settings({"JANITOR_TRANSFERS": str(count)}).transfers == count


@pytest.mark.parametrize(
    ("value", "roots"),
    [
        ("/a/", ("/a",)),
        ("/a//b/./c", ("/a/b/c",)),
        ("//a", ("/a",)),
        (":/a::/b:", ("/a", "/b")),
        ("/a:/a/:/b", ("/a", "/b")),
        ("/a b", ("/a b",)),
    ],
)
def test_roots_are_normal_and_none_twice(value: str, roots: tuple[str, ...]) -> None:
    assert load_settings({"JANITOR_ROOTS": value}).roots == roots


@pytest.mark.parametrize(("environment", "directory"), [({}, "/tmp"), ({"TMPDIR": "/otro/tmp"}, "/otro/tmp")])  # noqa: S108
def test_locks_are_in_the_temporary_directory_where_there_is_no_better(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], directory: str
) -> None:
    """Always in the same one, whether it has room or not: two runs must find one lock."""
    monkeypatch.setattr(os, "access", lambda *_arguments: False)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: "/one/that/has/room")
    assert load_settings(environment).lock_directory == Path(directory)


def test_a_file_adds_what_the_environment_lacks(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / ".env").write_text(
        "# a comment\nJANITOR_HOST='del fichero'\nexport TEMP_DIR=/del/fichero\nJANITOR_TRANSFERS=4\n"
    )
    monkeypatch.setenv("TEMP_DIR", "/del/entorno")
    loaded = load_settings()
    assert (loaded.host, loaded.temp_directory, loaded.transfers) == ("del fichero", Path("/del/entorno"), 4)


def test_a_file_reaches_what_reads_the_environment_itself(home: Path) -> None:
    (home / ".env").write_text("JANITOR_HOST=del-fichero\n")
    load_settings()
    assert os.environ["JANITOR_HOST"] == "del-fichero"


def test_an_empty_variable_of_the_environment_wins_too(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / ".env").write_text("JANITOR_ROOTS=/a\n")
    monkeypatch.setenv("JANITOR_ROOTS", "")
    assert load_settings().roots == ()


def test_only_the_file_in_the_working_directory_is_read(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / ".env").write_text("JANITOR_HOST=de-arriba\n")
    (home / "below").mkdir()
    monkeypatch.chdir(home / "below")
    assert load_settings().host == socket.gethostname()


def test_a_given_environment_is_the_whole_of_it(home: Path) -> None:
    (home / ".env").write_text("JANITOR_HOST=del-fichero\n")
    assert load_settings({}).host == socket.gethostname()
    assert "JANITOR_HOST" not in os.environ


@pytest.mark.parametrize("content", [b"JANITOR_HOST=no-debe-verse\xff\n", b"JANITOR_HOST=no-debe-verse\0\n"])
def test_a_file_that_cannot_be_read_is_reported_without_its_text(home: Path, content: bytes) -> None:
    (home / ".env").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"^\.env: ") as caught:
        load_settings()
    assert "no-debe-verse" not in str(caught.value)


def test_a_file_that_may_not_be_read_is_reported(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: Path, _flags: int) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")  # for root, too, whom no mode keeps out

    (home / ".env").touch()
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ConfigurationError, match=r"^\.env: no se puede leer: permiso denegado"):
        load_settings()


def test_a_directory_instead_of_the_file_is_reported(home: Path) -> None:
    (home / ".env").mkdir()
    with pytest.raises(ConfigurationError, match=r"^\.env: no se puede leer: es un directorio"):
        load_settings()


@pytest.mark.parametrize(
    ("line", "content"),
    [
        (2, "JANITOR_HOST=antes\nJANITOR_ROOTS /no-debe-verse\n"),
        (4, "JANITOR_HOST=antes\n\n\nJANITOR_ROOTS: /no-debe-verse\n"),
        (1, "JANITOR_ROOTS='/no-debe-verse\nJANITOR_HOST=antes\n"),
        (2, "JANITOR_HOST=antes\r\nJANITOR_ROOTS='/no' debe-verse\r\n"),
        (2, "# a comment\nJANITOR_ROOTS\n"),
        (1, "export JANITOR_ROOTS\n"),
        (2, "JANITOR_HOST=antes\nexport JANITOR_HOST\n"),
        (3, "\ufeffJANITOR_HOST=antes\n\n=no-debe-verse"),
    ],
)
def test_a_file_that_is_not_understood_is_not_obeyed_at_all(home: Path, line: int, content: str) -> None:
    """Not in the lines before and after, either: without its roots, a run would take up what it must not touch.

    Looked for in every way in which the library warns of a line or passes over it in silence.
    """
    (home / ".env").write_text(content, newline="")
    expected = rf"^\.env: la línea {line} no se entiende.*\(en {home}\)$"
    with pytest.raises(ConfigurationError, match=expected) as caught:
        load_settings()
    assert "no-debe-verse" not in str(caught.value)
    assert "JANITOR_HOST" not in os.environ


@pytest.mark.parametrize(
    "content",
    [
        "\ufeffJANITOR_HOST=norte\r\n",
        "\n# ñ\n\nJANITOR_HOST = 'norte' # x",
    ],
)
def test_a_file_as_shells_and_editors_write_it_is_understood(home: Path, content: str) -> None:
    (home / ".env").write_text(content, newline="")
    assert load_settings().host == "norte"


def test_names_that_mean_nothing_are_reported_with_the_one_that_was_meant(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("JANITOR_ROTS", "TEMPDIR", "OTRA_COSA", "TMPDIR", "janitor_host", "TEMP_DIR")
    for name in names:
        monkeypatch.setenv(name, "")  # as in `home`
        monkeypatch.delenv(name)
    known_to_the_tests = load_settings().unknown_variables
    (home / ".env").write_text("".join(f"{name}=x\n" for name in names))
    assert [told for told in load_settings().unknown_variables if told not in known_to_the_tests] == [
        "JANITOR_ROTS no se conoce; ¿quería decir JANITOR_ROOTS?",
        "TEMPDIR no se conoce; ¿quería decir TEMP_DIR?",
        "janitor_host no se conoce; ¿quería decir JANITOR_HOST?",
    ]


def test_in_the_environment_only_names_with_our_prefix_are_reported() -> None:
    environment = {
        "JANITOR_XYZ": "1",
        "TEMPDIR": "/b",
        "JANITOR": "/opt",
        "DATABASE_URI": "x",
        **dict.fromkeys(NAMES, ""),
    }
    assert load_settings(environment).unknown_variables == ("JANITOR_XYZ no se conoce",)


def test_no_name_that_is_read_is_reported() -> None:
    assert (
        load_settings(dict.fromkeys((variable.name for variable in variables_of(Settings)), "")).unknown_variables == ()
    )
