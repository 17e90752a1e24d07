"""A run of the job, on a database of its own, with the channels that a test names."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from config.settings import load_settings
from demo.servers.postgres import EmbeddedPostgres
from jobs.context import Context
from jobs.job import Outcome
from jobs.notify.job import JOB
from jobs.notify.run import run
from jobs.notify.settings import NotifySettings
from jobs.report import TickReport
from jobs.signals import Interruption
from sql.job_records import JobEnd
from sql.memory.notices import Cause
from tests.databases.platform_database import Platform

QUIET_DISKS = {"DISK_WARNING_GB": "0.000001", "DISK_CRITICAL_GB": "0.000001"}
"""The machine of the tests may have little room."""


class Teller:
    """A host whose ticks end with this job."""

    def __init__(self, platform: Platform, directory: Path, channels: Mapping[str, str], host: str = "norte") -> None:
        self.platform = platform
        self.directory = directory
        self.channels = channels
        self.host = host
        self.report = TickReport()
        for name in ("temporales", "copias", "registros"):
            (directory / name).mkdir(exist_ok=True)
        self._database = platform.database(host)

    def note(self, state: str, key: str = "watch:nas", text: str = "El proveedor nas no se puede usar") -> None:
        """A job has found a cause in this state."""
        self._database.notices.note([Cause(key, state, text)])

    def context(self, **more: str) -> Context:
        """A run that has taken the job up."""
        environment = {
            "DATABASE_URL": self.platform.database_url, "JANITOR_HOST": self.host, "JANITOR_TIMEZONE": "Europe/Madrid",
            "TEMP_DIR": str(self.directory / "temporales"), "BACKUP_PATH": str(self.directory / "copias"),
            "JANITOR_LOG_DIR": str(self.directory / "registros"),
            **QUIET_DISKS, **self.channels, **more,
        }  # fmt: skip
        settings = load_settings(environment)
        database = self._database
        seen = database.start_run(1, "tick", "test")
        token = database.job_records.claim("notify", is_platform=True, seen_token=None)
        assert token is not None
        own = settings.of(NotifySettings)
        return Context(JOB, settings, own, database, seen.now, Interruption(), fencing_token=token, report=self.report)

    def tick(self, **more: str) -> Outcome:
        """One tick in which no other job had anything to do."""
        context = self.context(**more)
        outcome = run(context)
        context.database.job_records.end(JobEnd("notify", True, "done", outcome.counts))
        context.database.finish_run(0, {})
        return outcome

    def continue_in_forked_process(self) -> None:
        """Leave the connection to the process from which this one was forked."""
        self._database = self.platform.database(self.host)

    def end_pauses(self) -> None:
        """Let the time pass until which channels are left alone."""
        self.platform.sql("UPDATE janitor_channels SET not_before = NULL")


@pytest.fixture(autouse=True)
def _nobody_elses_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the machine of the tests has set for its own requests does not count."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(scope="module")
def shared_platform(postgres: EmbeddedPostgres) -> Iterator[Platform]:
    """One database for the tests of a file."""
    with closing(Platform(postgres.new_database(f"notify_{secrets.token_hex(4)}"))) as made:
        yield made


@pytest.fixture
def platform(shared_platform: Platform) -> Platform:
    """The platform's database, its tables empty."""
    shared_platform.clear()
    return shared_platform
