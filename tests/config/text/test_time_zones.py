"""The zone of schedules: by its name, or the host's own."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import TZPATH, ZoneInfo

import pytest

from config.errors import ConfigurationError
from config.settings import load_settings
from config.text import time_zones
from config.text.amounts import AmountError
from config.text.time_zones import host_time_zone, show_times_in, time_zone
from tests.repository import REPOSITORY

SUMMER = datetime(2026, 7, 1, 12, tzinfo=UTC)


def test_a_zone_is_known_by_its_name() -> None:
    assert SUMMER.astimezone(time_zone("Europe/Madrid")).utcoffset() == timedelta(hours=2)


@pytest.mark.parametrize(
    "name", ["Europe/Madird", "Europe", "/etc/passwd", "../UTC", "a\0b", "CEST+1", "zone.tab", " "]
)
def test_an_unknown_zone_is_named(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^JANITOR_TIMEZONE nombra la zona '.*', que no se conoce") as refused:
        load_settings({"JANITOR_TIMEZONE": name})
    assert "\0" not in str(refused.value)


def test_where_there_are_no_zones_at_all_the_package_is_named(tmp_path: Path) -> None:
    code = "from config.text.time_zones import time_zone; time_zone('Europe/Madrid')"
    ended = subprocess.run(
        [sys.executable, "-S", "-c", code],  # -S: without the package of PyPI, either
        cwd=REPOSITORY, env={"PYTHONTZPATH": str(tmp_path)}, check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ended.stderr.splitlines()[-1].endswith("este equipo no conoce ninguna: instale el paquete tzdata")


def test_the_hosts_zone_is_the_one_that_the_c_library_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert host_time_zone({"TZ": "Asia/Tokyo"}) == host_time_zone({"TZ": ":Asia/Tokyo"}) == ZoneInfo("Asia/Tokyo")
    file = next(Path(directory, "America/Lima") for directory in TZPATH if Path(directory, "America/Lima").exists())
    link = tmp_path / "localtime"
    link.symlink_to(file)
    monkeypatch.setattr(time_zones, "HOSTS_ZONE", link)
    for environment in ({}, {"TZ": ""}, {"TZ": "no/such"}):
        zone = host_time_zone(environment)
        assert SUMMER.astimezone(zone).utcoffset() == timedelta(hours=-5)
        assert str(zone) == "America/Lima"


@pytest.mark.parametrize("content", [None, b"no zone"])
def test_a_host_without_a_zone_is_in_utc(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if content is not None:
        (tmp_path / "localtime").write_bytes(content)
    monkeypatch.setattr(time_zones, "HOSTS_ZONE", tmp_path / "localtime")
    assert host_time_zone({}) is UTC


def test_the_zone_of_schedules_is_the_named_one_or_the_hosts() -> None:
    assert load_settings({"JANITOR_TIMEZONE": "Europe/Madrid", "TZ": "Asia/Tokyo"}).time_zone == ZoneInfo(
        "Europe/Madrid"
    )
    assert load_settings({"TZ": "Asia/Tokyo"}).time_zone == ZoneInfo("Asia/Tokyo")


def test_a_name_is_asked_for_as_it_is_written() -> None:
    with pytest.raises(AmountError):
        time_zone("")


def test_a_zone_that_the_c_library_does_not_know_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    file = next(Path(directory, "Asia/Kolkata") for directory in TZPATH if Path(directory, "Asia/Kolkata").exists())
    with file.open("rb") as content:
        show_times_in(ZoneInfo.from_file(content, key="No/Such"))
    assert os.environ["TZ"] == "UTC"
    assert SUMMER.astimezone().utcoffset() == timedelta(0)
