"""Which files are logs, and which are due: decided from names, times and kinds alone."""

from __future__ import annotations

import stat
from dataclasses import replace

import pytest

from config.declared import Sources, load
from config.errors import ConfigurationError
from jobs.logs.names import copy_names_in_turn, is_log, original_name
from jobs.logs.planning import NS_PER_DAY, Deadlines, SeenFile, is_compressed, plan_directory
from jobs.logs.settings import LogsSettings

NOW_NS = 20_000 * NS_PER_DAY
SETTINGS = LogsSettings(("/srv/logs",))
DEFAULT = ("*.log", "*.log.*")


def seen(
    name: str, days: float = 10, *, mode: int = stat.S_IFREG | 0o644, size_bytes: int = 100, links: int = 1
) -> SeenFile:
    """A file as old as that."""
    return SeenFile(
        name, mode, size_bytes, size_bytes, NOW_NS - int(days * NS_PER_DAY), links, is_compressed(name, b"text")
    )


def planned(*files: SeenFile, settings: LogsSettings = SETTINGS) -> tuple[list[str], list[str]]:
    """What is to be compressed, and what deleted."""
    plan = plan_directory(files, Deadlines.at(NOW_NS, settings), settings)
    return [log.name for log in plan.compress], [log.name for log in plan.delete]


@pytest.mark.parametrize(
    ("name", "patterns", "expected"),
    [
        ("app.log", DEFAULT, True),
        ("app.log.1", DEFAULT, True),
        ("app.log.2026-11-28.gz", DEFAULT, True),
        ("app.txt", DEFAULT, False),
        (".app.log", DEFAULT, False),
        (".app.log", (".*.log",), True),
        (".env", ("*",), False),
        ("app.log.gz", ("*.log",), True),
        ("app.log.distinto-20231114T221320Z-2.gz", ("*.log",), True),
        ("app.log.gz.distinto-20231114T221320Z", ("*.log",), True),
        ("app.log.distinto.gz", ("*.log",), False),
        ("APP.LOG", DEFAULT, False),
        (".gz", ("*",), False),
    ],
)
def test_a_log_is_recognised_by_its_name(name: str, patterns: tuple[str, ...], expected: bool) -> None:
    assert is_log(name, patterns) == expected


def test_names_of_copies_are_the_same_at_each_call() -> None:
    turn = copy_names_in_turn("app.log.1", 1_700_000_000 * 10**9)
    names = [next(turn) for _ in range(4)]
    assert names == [
        "app.log.1.gz",
        "app.log.1.distinto-20231114T221320Z.gz",
        "app.log.1.distinto-20231114T221320Z-2.gz",
        "app.log.1.distinto-20231114T221320Z-3.gz",
    ]
    assert {original_name(name) for name in names} == {"app.log.1"}


@pytest.mark.parametrize("seconds", [-(10**12), 10**12])
def test_times_that_no_calendar_has_make_names_too(seconds: int) -> None:
    turn = copy_names_in_turn("app.log", seconds * 10**9)
    assert is_log([next(turn) for _ in range(2)][1], ("app.log",))


def test_what_is_due() -> None:
    young, due, kept, old = seen("a.log", 6), seen("b.log", 8), seen("c.log.gz", 89), seen("d.log.gz", 91)
    assert planned(young, due, kept, old) == (["b.log"], ["d.log.gz"])


def test_a_log_of_the_future_is_not_due() -> None:
    assert planned(seen("a.log", -10_000), seen("a.log.gz", -10_000)) == ([], [])


def test_without_compression_only_deletion_is_left() -> None:
    settings = replace(SETTINGS, compression_enabled=False)
    assert planned(seen("a.log", 1000), seen("b.log.gz", 1000), settings=settings) == ([], ["b.log.gz"])


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFDIR, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFBLK])
def test_what_is_no_file_is_left(kind: int) -> None:
    assert planned(seen("a.log", mode=kind | 0o777), seen("b.log.gz", 1000, mode=kind | 0o777)) == ([], [])


def test_hard_links_are_never_compressed() -> None:
    assert planned(seen("a.log", links=2)) == ([], [])


def test_the_largest_come_first() -> None:
    sizes = {"a.log": 5, "b.log": 50, "c.log": 500, "d.log": 50}
    assert planned(*(seen(name, size_bytes=size) for name, size in sizes.items()))[0] == [
        "c.log", "b.log", "d.log", "a.log",
    ]  # fmt: skip


@pytest.mark.parametrize("copy", ["a.log.gz", "a.log.distinto-20231114T221320Z.gz"])
def test_a_copy_outlives_its_log(copy: str) -> None:
    assert planned(seen("a.log", 1000), seen(copy, 1000)) == (["a.log"], [])


def test_a_young_log_keeps_no_old_copy_alive() -> None:
    """Programs that number their logs use the names again."""
    assert planned(seen("a.log.1", 1), seen("a.log.1.gz", 1000)) == ([], ["a.log.1.gz"])


def test_the_defaults_are_those_of_the_contract() -> None:
    assert load(LogsSettings, Sources({})) == LogsSettings()
    assert not LogsSettings().is_on()
    made = load(LogsSettings, Sources({"LOGS_PATH": "/srv/a::/srv/b/:/srv/a"}))
    assert (made.paths, made.is_on()) == (("/srv/a", "/srv/b"), True)
    assert (made.compression_enabled, made.compression_days, made.retention_days) == (True, 7, 90)
    assert (made.patterns, made.hour, made.minute) == (("*.log", "*.log.*"), 4, 0)


def test_every_variable_is_read() -> None:
    environment = {
        "LOGS_COMPRESSION_ENABLED": "No",
        "LOGS_COMPRESSION_DAYS": "0.5",
        "LOGS_RETENTION_DAYS": "30",
        "LOGS_PATTERNS": "*.txt, *.out",
        "LOGS_HOUR": "23",
        "LOGS_MINUTE": "59",
    }
    assert load(LogsSettings, Sources(environment)) == LogsSettings((), False, 0.5, 30, ("*.txt", "*.out"), 23, 59)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("LOGS_PATH", "/"),
        ("LOGS_PATH", "logs"),
        ("LOGS_COMPRESSION_ENABLED", "quizá"),
        ("LOGS_COMPRESSION_DAYS", "-1"),
        ("LOGS_COMPRESSION_DAYS", "una semana"),
        ("LOGS_COMPRESSION_DAYS", "nan"),
        ("LOGS_RETENTION_DAYS", "0"),
        ("LOGS_RETENTION_DAYS", "-90"),
        ("LOGS_RETENTION_DAYS", "inf"),
        ("LOGS_RETENTION_DAYS", "x"),
        ("LOGS_PATTERNS", ","),
        ("LOGS_PATTERNS", "../*.log"),
        ("LOGS_HOUR", "24"),
        ("LOGS_HOUR", "-1"),
        ("LOGS_MINUTE", "60"),
        ("LOGS_MINUTE", "1.5"),
    ],
)
def test_what_cannot_be_meant_is_an_error(name: str, text: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        load(LogsSettings, Sources({name: text}))


def test_logs_are_not_deleted_before_they_are_compressed() -> None:
    for name, days in (("LOGS_RETENTION_DAYS", "6"), ("LOGS_COMPRESSION_DAYS", "90.5")):
        with pytest.raises(ConfigurationError, match=r"LOGS_RETENTION_DAYS .* LOGS_COMPRESSION_DAYS"):
            load(LogsSettings, Sources({"LOGS_PATH": "/srv/a", name: days}))
    for variables in (
        {"LOGS_RETENTION_DAYS": "7"},
        {"LOGS_RETENTION_DAYS": "1", "LOGS_COMPRESSION_ENABLED": "false"},
    ):
        assert load(LogsSettings, Sources({"LOGS_PATH": "/srv/a", **variables})).is_on()
