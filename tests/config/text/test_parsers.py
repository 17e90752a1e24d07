"""What a variable may say: taken as it is meant, or refused in Spanish without a word of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from config.text.amounts import AmountError
from config.text.parsers import (
    addresses,
    boolean,
    choice,
    comma_separated,
    directories,
    file_patterns,
    gigabytes,
    hour_of_day,
    hours,
    integer,
    megabytes,
    minute_of_hour,
    names,
    number,
    part_of_day,
    path,
    reference,
    references,
    text,
    url,
    web_url,
    weekday,
    whole_days,
)

Parser = Callable[[str], object]

REDIS_URL = url("redis", "rediss", "unix")

TAKEN: tuple[tuple[Parser, Mapping[str, object]], ...] = (
    (text, {"a b": "a b", "ñ": "ñ"}),
    (boolean, {"true": True, "True": True, "sí": True, "1": True, "on": True, "no": False, "OFF": False, "0": False}),
    (choice("text", "json"), {"json": "json"}),
    (integer(1, 256), {"1": 1, "256": 256, "007": 7}),
    (number(0, 1), {"0": 0.0, "0.75": 0.75, "1": 1.0}),
    (hour_of_day, {"0": 0, "23": 23, "03": 3}),
    (minute_of_hour, {"0": 0, "59": 59}),
    (weekday, {"0": 0, "6": 6}),
    (whole_days, {"1": 1, "90": 90}),
    (hours, {"0": 0.0, "0.5": 0.5, "1e3": 1000.0}),
    (megabytes, {"256": 256 * 1024**2, "0.5": 512 * 1024}),
    (gigabytes, {"50": 50 * 1024**3, "0.5": 512 * 1024**2}),
    (names, {"a,b": ("a", "b"), " a , b ,a,": ("a", "b"), ",": ()}),
    (comma_separated(integer(0, 9)), {"1,2,1": (1, 2)}),
    (file_patterns, {"*.log,*.log.*": ("*.log", "*.log.*")}),
    (path, {"backups": Path("backups"), "/a b": Path("/a b")}),
    (directories, {"/a/:/b//c:/a": ("/a", "/b/c"), "//a": ("/a",), ":": ()}),
    (reference, {"7": 7, "Amazon 2": "Amazon 2"}),
    (references, {"7, NAS,7": (7, "NAS")}),
    (web_url, {"https://u:p@h:1/x?y#z": "https://u:p@h:1/x?y#z", "http://h": "http://h"}),
    (url("mongodb"), {"mongodb://u:p@a:1,b:2/d": "mongodb://u:p@a:1,b:2/d"}),
    (REDIS_URL, {"redis://h/0": "redis://h/0", "unix:///run/redis.sock": "unix:///run/redis.sock"}),
    (
        addresses,
        {"a://b,c , d://e\tf+g://h": ("a://b,c", "d://e", "f+g://h"), "a://b?to=c,d a://b?to=c,d": ("a://b?to=c,d",)},
    ),
    (part_of_day, {"22-7": (22, 7), "0 - 23": (0, 23)}),
)

REFUSED: tuple[tuple[Parser, tuple[str, ...]], ...] = (
    (text, ("a\0marca", "a\x1bmarca", "marca\ud800")),
    (boolean, ("quizá-marca", "2", "t", " true")),
    (choice("text", "json"), ("JSON-marca", " text", "TEXT")),
    (integer(1, 256), ("0", "257", "-1", "1.5", "marca", " 4", "²", "٣", "9" * 5000, "1_0", "+1")),
    (number(0, 1), ("1.1", "-0.1", "nan", "inf", "1e0", "marca", "0,5", ".5", "٠")),
    (hour_of_day, ("24", "-1", "3:00")),
    (minute_of_hour, ("60", "")),
    (weekday, ("7", "lunes")),
    (whole_days, ("0", "-1", "90d", "36501", "")),
    (hours, ("-1", "nan", "inf", "marca", "1,5")),
    (megabytes, ("0", "-1", "10M", "marca", "1e3", "0.00000001", "9" * 12)),
    (gigabytes, ("0", "50GB", "9" * 12)),
    (comma_separated(integer(0, 9)), ("1,marca", "1,10")),
    (file_patterns, (",", "*.log,/etc/marca")),
    (directories, ("a", "./a", "/", "/.", "/a/..", "/a:b", "~/a", "/a: /b", "/a\0")),
    (reference, ("9" * 12, "a\0marca")),
    (web_url, ("marca", "ftp://marca", "https://", "http:///marca", "https://[marca", "https://h:marca", "http://a b")),
    (REDIS_URL, ("marca:6379", "http://marca", "redis://")),
    (addresses, ("marca", "a://b marca", "marca,a://b", "a:// marca", "9a://marca")),
    (part_of_day, ("7-7", "22", "22-24", "-7", "a-b", "22-7-8")),
)


@pytest.mark.parametrize(
    ("parse", "written", "value"),
    [(parse, written, value) for parse, cases in TAKEN for written, value in cases.items()],
)
def test_what_is_meant_is_taken(parse: Parser, written: str, value: object) -> None:
    parsed = parse(written)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(("parse", "written"), [(parse, written) for parse, texts in REFUSED for written in texts])
def test_what_is_not_meant_is_refused_without_being_quoted(parse: Parser, written: str) -> None:
    with pytest.raises(AmountError) as refused:
        parse(written)
    message = str(refused.value)
    assert "marca" not in message
    assert "\n" not in message
    assert message.split(maxsplit=1)[0] in ("debe", "no", "tiene")


def test_a_list_of_directories_names_the_one_that_is_wrong() -> None:
    with pytest.raises(AmountError, match="tiene 'b', que no sirve"):
        directories("/a:b")
