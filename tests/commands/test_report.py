"""What a report says, and that its page needs nothing else, shows no markup of others and can be read by everybody."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner

from commands.report import report as command
from commands.status.words import in_need_of_a_person
from config.settings import Settings, load_settings
from jobs.weekly.data import Report, gather
from jobs.weekly.forecast import DAY_SECONDS, Measurement, forecast
from jobs.weekly.page import DARK, LIGHT, page
from jobs.weekly.words import ESTIMATED, attention, duration, lines, size
from tests.databases.platform_database import Platform

EVIL = "<script>alert(1)</script> & \"NAS\" 'x'"
VOID = {"meta"}

HELP_OPTIONS = ["-h", "--help"]
"""As `cli` has them: click keeps what a command was first called with."""


@pytest.fixture
def platform(initialized_database_url: str) -> Iterator[Platform]:
    """A database of the platform."""
    with closing(Platform(initialized_database_url)) as made:
        yield made


@pytest.fixture
def settings(platform: Platform, tmp_path: Path) -> Settings:
    """Those of a host with a root that is there and one that is not."""
    (tmp_path / "ejecuciones").mkdir()
    return load_settings(
        {
            "DATABASE_URL": platform.database_url,
            "JANITOR_HOST": "norte",
            "JANITOR_TIMEZONE": "UTC",
            "JANITOR_ROOTS": f"{tmp_path / 'ejecuciones'}:{tmp_path / 'no'}",
        }
    )


def made(platform: Platform, settings: Settings, days: int = 7) -> Report:
    """A report of what is there now."""
    with closing(platform.database("norte")) as database:
        return gather(database, settings, days, in_need_of_a_person)


@pytest.fixture
def busy(platform: Platform, settings: Settings) -> Report:
    """A report of an installation in which all kinds of things happened."""
    home = platform.add_provider("s3", {})
    platform.sql("UPDATE cloud_providers SET nombre = %s", EVIL)
    platform.sql("INSERT INTO ejecuciones_config (nube_primaria_id) VALUES (%s)", home)
    for number in range(4):
        platform.add_execution(uuid=f"uuid-{number}", executed_at=f"{datetime.now(UTC) - timedelta(days=4):%F %T}")
    platform.sql("UPDATE ejecuciones_yaml SET migrado_a_nube = true, nube_provider_id = %s WHERE id <= 2", home)
    platform.sql(
        "INSERT INTO janitor_migrations (execution_id, uuid, state, host, run_id, fencing_token, error_code, error, "
        "provider_id, size_bytes, deleted_at) VALUES "
        "(1, 'uuid-0', 'migrated', 'norte', 1, 1, NULL, NULL, %s, 3145728, now()), "
        "(2, 'uuid-1', 'migrated', 'norte', 1, 1, NULL, NULL, %s, 1048576, NULL), "
        "(3, 'uuid-2', 'failed', 'norte', 1, 1, 'access_denied', 'acceso <denegado>', NULL, NULL, NULL)",
        home, home,
    )  # fmt: skip
    platform.sql(
        "INSERT INTO janitor_attempts (execution_id, run_id, host, fencing_token, provider_id, key_prefix, state, "
        "error_code, started_at, finished_at) VALUES "
        "(1, 1, 'norte', 1, %s, 'a', 'committed', NULL, now() - interval '1 day 2 s', now() - interval '1 day'), "
        "(2, 1, 'norte', 1, %s, 'b', 'committed', NULL, now() - interval '2 s', now()), "
        "(3, 1, 'norte', 1, %s, 'c', 'abandoned', 'access_denied', now(), now()), "
        "(4, 1, 'norte', 1, %s, 'd', 'abandoned', 'interrupted', now(), now()), "
        "(2, 1, 'norte', 1, %s, 'e', 'abandoned', 'rehomed', now(), now())",
        home, home, home, home, home,
    )  # fmt: skip
    platform.sql(
        "INSERT INTO janitor_job_runs (run_id, job, host, started_at, finished_at, outcome, error) VALUES "
        "(1, 'migration', 'norte', now() - interval '1 h', now(), 'done', NULL), "
        "(2, 'logs', 'norte', now(), now(), 'failed', 'sin <permiso>')"
    )
    platform.sql(
        "INSERT INTO janitor_runs (host, process_id, mode, version, finished_at, exit_code) VALUES "
        "('norte', 1, 'tick', 'v', now(), 0), ('norte', 1, 'tick', 'v', now(), 1)"
    )
    root = settings.roots[0]
    platform.sql(
        "INSERT INTO janitor_job_runs (run_id, job, host, finished_at, outcome, counts) "
        "SELECT 100 + n, 'metrics', 'norte', now() - make_interval(hours => (240 - 6 * n)::int), 'done', "
        "jsonb_build_object(%s::text, 1000000 - 10000 * n) FROM generate_series(0, 40) AS n",
        root,
    )
    platform.sql(
        "INSERT INTO historial_backup (tipo, nombre_archivo, ruta_archivo, fecha_creacion) "
        "VALUES ('COMPLETO', 'c.sql.gz', '/copias/c.sql.gz', 'infinity')"
    )
    platform.sql(
        "INSERT INTO historial_backup (tipo, nombre_archivo, ruta_archivo, tamanio_bytes) "
        "VALUES ('COMPLETO', 'a', '/a', 2048)"
    )
    return made(platform, settings)


def test_everything_that_happened_is_counted(busy: Report) -> None:
    assert (busy.migrated, busy.bytes, busy.failed) == (2, 4 * 1024 * 1024, 1)
    assert [day.migrated for day in busy.days] == [0, 0, 0, 0, 0, 0, 1, 1]
    assert sum(day.executed for day in busy.days) == 4
    assert sum(day.freed_bytes for day in busy.days) == 3 * 1024 * 1024
    (store,) = busy.stores
    assert (store.name, store.role, store.executions, store.new_bytes) == (EVIL, "primario", 2, 4 * 1024 * 1024)
    assert busy.runs == {"norte": {0: 1, 1: 1}}
    assert (busy.pending, busy.due) == (2, 2)
    (disk,) = busy.disks
    assert disk.forecast.days is not None
    assert math.isclose(disk.forecast.days, 610_000 / 40_000, rel_tol=0.05)


def test_a_terminal_shows_it_and_what_needs_a_person_comes_first(busy: Report) -> None:
    """All that `status` says, and what it does not say in addition."""
    text = list(lines(busy))
    assert text[1] == "Necesita atención:"
    assert ESTIMATED not in "".join(text) + page(busy)
    estimated = replace(busy, is_estimated=True)
    assert f"  {ESTIMATED}" in lines(estimated)
    assert ESTIMATED in page(estimated)
    assert text[2].startswith("  raíz ")
    assert text[3].startswith("  1 ejecución sin migrar: acceso denegado en ")
    assert [line.strip() for line in text[2:]][: len(busy.needs_person)] == list(busy.needs_person)
    assert any(line.startswith("Migradas: 2 ejecuciones, 4.0 MB (1.0 MB/s") for line in text)
    assert any("logs no ha salido bien ni una vez en norte: sin <permiso>" in line for line in attention(busy))
    (logs,) = [job for job in busy.jobs if job.name == "logs"]
    long_due = busy.made - timedelta(days=4)
    quarantined = replace(busy, oldest_due=long_due, jobs=(replace(logs, name="migration"),))
    assert "por migrar" not in "".join(attention(quarantined))
    assert "migration no ha salido" not in "".join(attention(quarantined))
    untold = replace(quarantined, needs_person=())
    assert "por migrar" in "".join(attention(untold))
    assert "migration no ha salido" in "".join(attention(untold))
    assert len(text) < 30


def test_an_installation_in_which_nothing_happened_is_reported_too(platform: Platform, settings: Settings) -> None:
    report = made(platform, settings)
    assert "Migradas: 0 ejecuciones, 0 B" in list(lines(report))
    assert "Nada todavía" in page(report)
    assert "Nada en estos días" in page(report)
    (disk,) = report.disks
    assert disk.forecast.why_not == "nadie mide el disco; para eso ponga JANITOR_METRICS_FILE"


class Structure(HTMLParser):
    """Checks that each tag is closed, and gathers the tags with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_beside_it(busy: Report) -> None:
    text = page(busy)
    tags = Structure(text).tags
    names = {tag for tag, _ in tags}
    assert {"svg", "table", "style"} <= names
    assert names & {"script", "link", "img", "iframe", "object", "a", "image", "use", "form"} == set()
    attributes = {name for _, found in tags for name in found}
    assert {name for name in attributes if name.startswith("on")} | attributes & {"src", "href", "xlink:href"} == set()
    assert re.findall(r"url\(|@import|https?:|//", text) == []
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert len(text) < 100_000


def test_each_chart_can_be_read_by_a_program_and_stays_in_its_frame(busy: Report) -> None:
    charts = re.findall(r"<svg .*?</svg>", page(busy))
    assert len(charts) >= 6
    for chart in charts:
        drawn = ET.fromstring(chart)  # noqa: S314 the program's own
        assert drawn.attrib["aria-label"]
        width, height = frame_of(drawn)
        for shape in drawn.iter("rect"):
            x, y, w, h = (float(shape.attrib[name].removesuffix("%")) for name in ("x", "y", "width", "height"))
            assert min(x, y, w, h) >= 0
            assert x + w <= width + 0.1
            assert y + h <= height + 0.1


def frame_of(drawn: ET.Element) -> tuple[float, float]:
    """Width and height of a chart. One without a view box is as wide as its card: its widths are in percent."""
    if "viewBox" not in drawn.attrib:
        return 100, float(drawn.attrib["style"].removeprefix("height:").removesuffix("px"))
    _, _, width, height = map(float, drawn.attrib["viewBox"].split())
    return width, height


def test_the_bar_of_a_share_is_as_wide_as_its_card(busy: Report) -> None:
    (chart,) = [chart for chart in re.findall(r"<svg .*?</svg>", page(busy)) if "Reparto" in chart]
    drawn = ET.fromstring(chart)  # noqa: S314 the program's own
    assert drawn.attrib["class"] == "shares"
    assert "svg.shares{max-width:none}" in page(busy)
    tracks = [shape for shape in drawn.iter("rect") if shape.attrib["class"] == "track"]
    assert {track.attrib["width"] for track in tracks} == {"100%"}


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_letters_and_shapes_stand_out(colours: dict[str, str]) -> None:
    for behind in ("page", "card"):
        assert contrast(colours["text"], colours[behind]) >= 7
        assert contrast(colours["soft"], colours[behind]) >= 4.5
    for shape in ("good", "bad"):
        assert contrast(colours[shape], colours["card"]) >= 3
        assert contrast(colours[shape], colours["track"]) >= 3


def contrast(one: str, other: str) -> float:
    """As WCAG 2.2 defines it."""
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    """Relative luminance of `#rrggbb`."""
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_the_command_writes_the_page_and_says_where(platform: Platform, settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "informe.html"
    answer = CliRunner().invoke(
        command, ["--days", "3", "--html", str(file)], obj=settings, help_option_names=HELP_OPTIONS
    )
    assert answer.exit_code == 0, answer.output
    assert answer.output.splitlines()[-1] == f"Página escrita: {file}"
    assert file.read_text().startswith("<!DOCTYPE html>")
    refused = CliRunner().invoke(
        command, ["--html", str(tmp_path / "no" / "x.html")], obj=settings, help_option_names=HELP_OPTIONS
    )
    assert refused.exit_code == 2
    assert "no existe" in refused.output


# The forecast


def measured(*free_bytes: float, hours: float = 6) -> list[Measurement]:
    return [Measurement(number * hours * 3600, int(each)) for number, each in enumerate(free_bytes)]


def test_a_steady_decline_is_foretold_whatever_one_day_did() -> None:
    steady = [1000 - 10 * n for n in range(40)]
    found = forecast(measured(*steady)).days
    assert found is not None
    assert math.isclose(found, steady[-2] / 40, rel_tol=0.01)
    steady[20] = 5000
    assert math.isclose(forecast(measured(*steady)).days or 0, found, rel_tol=0.05)


@pytest.mark.parametrize(
    ("measurements", "why_not"),
    [
        (measured(*range(11)), "hay 11 medidas"),
        (measured(*range(40), hours=1), "abarcan 1.6 días"),
        (measured(*range(40)), "no disminuye"),
        (measured(*([500] * 40)), "no disminuye"),
        (measured(*([900, 100] * 20)), "sin una tendencia clara"),
        (measured(*(100_000 - n for n in range(40))), "faltan más de"),
    ],
)
def test_what_cannot_be_foretold_is_not_and_it_is_said_why(measurements: list[Measurement], why_not: str) -> None:
    found = forecast(measurements)
    assert found.days is None
    assert why_not in found.why_not


def test_many_measurements_take_a_moment_only() -> None:
    found = forecast([Measurement(n * DAY_SECONDS / 24, 10_000_000 - n * 1000) for n in range(720)])
    assert found.days is not None or found.why_not


@pytest.mark.parametrize(
    ("number", "shown"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KB"), (200 * 1024**2, "200 MB"), (2**60, "1024 PB")]
)
def test_sizes_are_readable(number: int, shown: str) -> None:
    assert size(number) == shown
    assert duration(90) == "1.5 min"
