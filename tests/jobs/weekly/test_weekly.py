"""The weekly report by mail: through a real server, once for all hosts, and never more than twice."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from commands.status.words import in_need_of_a_person
from config.errors import ConfigurationError
from config.settings import Settings, load_settings
from demo.servers.postgres import EmbeddedPostgres
from jobs.context import Context, LeaseLost
from jobs.job import Outcome
from jobs.report import TickReport
from jobs.signals import Interruption
from jobs.weekly.job import JOB
from jobs.weekly.run import check, preview, run
from jobs.weekly.settings import WeeklySettings
from sql.connection import Row
from sql.database import Database
from sql.job_records import JobEnd
from tests.databases.platform_database import Platform
from tests.jobs.notify.services import MailServer
from tests.servers.authority import PrivateAuthority

SENT_TO = "guardia@sage.test"


class Mails(MailServer):
    """May cut the line once it has a message, or refuse it."""

    def __init__(self) -> None:
        super().__init__()
        self.trouble = ""

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 its name
        """Take one message."""
        if self.trouble == "refused":
            return "554 no room"
        answer = await super().handle_DATA(server, session, envelope)
        if self.trouble == "cut":
            server.transport.abort()  # type: ignore[union-attr]
        return answer


@pytest.fixture(scope="module")
def shared_platform(postgres: EmbeddedPostgres) -> Iterator[Platform]:
    """One database for the tests of this file."""
    with closing(Platform(postgres.new_database(f"weekly_{secrets.token_hex(4)}"))) as made:
        yield made


@pytest.fixture
def platform(shared_platform: Platform) -> Platform:
    """The platform's database, its tables empty."""
    shared_platform.clear()
    shared_platform.sql("TRUNCATE janitor_weekly_reports")
    return shared_platform


@pytest.fixture
def mails(
    platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Mails, Platform, dict[str, str]]]:
    """A mail server that is believed, the database, and the settings with which the report goes there."""
    authority, server = PrivateAuthority(tmp_path), Mails()
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.bundle))
    with server.serving(authority.server_context("127.0.0.1")) as port:
        login = f"{server.USER}:{server.PASSWORD}@127.0.0.1:{port}"
        yield server, platform, {
            "DATABASE_URL": platform.database_url,
            "JANITOR_TIMEZONE": "Europe/Madrid",
            "JANITOR_NOTIFY_URLS": f"mailtos://{login}?mode=starttls&from=janitor@sage.test&to=guardia@sage.test",
            "JANITOR_REPORT_DAY": "0",
            "TEMP_DIR": str(tmp_path),
            "BACKUP_PATH": str(tmp_path),
        }  # fmt: skip


def context_of(platform: Platform, environment: dict[str, str], host: str = "norte", *, is_asked: bool) -> Context:
    """One run of the job on a host."""
    database = platform.database(host)
    seen = database.start_run(1, "tick", "test")
    token = database.job_records.claim("report", is_platform=True, seen_token=None)
    assert token is not None
    settings = load_settings({**environment, "JANITOR_HOST": host})
    own = settings.of(WeeklySettings)
    return Context(
        JOB, settings, own, database, seen.now, Interruption(), is_asked_for=is_asked, fencing_token=token,
        report=TickReport(), judgment=in_need_of_a_person,
    )  # fmt: skip


def send(platform: Platform, environment: dict[str, str], host: str = "norte", *, is_asked: bool = False) -> Outcome:
    """The same, from beginning to end."""
    context = context_of(platform, environment, host, is_asked=is_asked)
    outcome = run(context)
    context.database.job_records.end(JobEnd("report", True, "done", outcome.counts))
    context.database.finish_run(0, {})
    return outcome


def test_it_reads_with_and_without_html(mails: tuple[Mails, Platform, dict[str, str]]) -> None:
    server, platform, environment = mails
    assert send(platform, environment).counts == {"sent": 1}
    (message,) = server.messages
    assert message["To"] == SENT_TO
    assert message["Subject"].startswith("Janitor Daemon: Del ")
    assert message.get_content_type() == "multipart/alternative"
    plain, page = (message.get_body((kind,)) for kind in ("plain", "html"))
    assert plain is not None
    assert page is not None
    assert "Migradas: 0 ejecuciones" in plain.get_content()
    assert "<h1>Janitor Daemon</h1>" in page.get_content()
    assert "<script" not in page.get_content()


def test_it_goes_once_a_week_for_all_hosts(mails: tuple[Mails, Platform, dict[str, str]]) -> None:
    server, platform, environment = mails
    for host in ("norte", "sur", "norte"):
        send(platform, environment, host)
    assert len(server.messages) == 1
    assert send(platform, environment, is_asked=True).counts == {"sent": 1}
    assert len(server.messages) == 2
    platform.sql("UPDATE janitor_weekly_reports SET due_on = due_on - 7")  # a week passes
    assert send(platform, environment).counts == {"sent": 1}


def test_what_may_have_arrived_is_repeated_once_and_no_more(mails: tuple[Mails, Platform, dict[str, str]]) -> None:
    """As after a kill between the server's answer and the record."""
    server, platform, environment = mails
    server.trouble = "cut"
    for _ in range(2):
        assert len(send(platform, environment).failures) == 1
    assert send(platform, environment) == Outcome()
    assert len(server.messages) == 2


@pytest.mark.parametrize("trouble", ["", "refused"])
def test_an_answer_of_the_database_that_is_lost_changes_no_count(
    mails: tuple[Mails, Platform, dict[str, str]], monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    """Each statement is sent twice. What may have arrived is still repeated once and no more."""
    server, platform, environment = mails
    ask = Database.job_query

    def ask_twice(database: Database, folder: str, name: str, parameters: Mapping[str, object]) -> list[Row]:
        ask(database, folder, name, parameters)
        return ask(database, folder, name, parameters)

    monkeypatch.setattr(Database, "job_query", ask_twice)
    for server.trouble in (*filter(None, (trouble, trouble)), "cut", "cut", "cut"):
        send(platform, environment)
    assert len(server.messages) == 2


def test_a_host_that_slept_past_its_lease_sends_nothing(mails: tuple[Mails, Platform, dict[str, str]]) -> None:
    """It slept while it gathered what to say; the other host has sent the report meanwhile."""
    server, platform, environment = mails

    def sleep(_database: Database, _settings: Settings) -> list[str]:
        platform.sql("UPDATE janitor_jobs SET lease_expires_at = now() - interval '1 second'")
        assert send(platform, environment, "sur").counts == {"sent": 1}
        return []

    asleep = context_of(platform, environment, is_asked=False)._replace(judgment=sleep)
    with pytest.raises(LeaseLost):
        run(asleep)
    assert len(server.messages) == 1


def test_a_host_that_slept_past_its_lease_counts_no_try(mails: tuple[Mails, Platform, dict[str, str]]) -> None:
    server, platform, environment = mails
    asleep = context_of(platform, environment, is_asked=False)
    platform.sql("UPDATE janitor_jobs SET lease_expires_at = now() - interval '1 second'")
    server.trouble = "cut"
    run(context_of(platform, environment, "sur", is_asked=False))
    (row,) = platform.sql("SELECT due_on::text, sent_to, tries FROM janitor_weekly_reports")
    tried = {"due_on": row["due_on"], "sent_to": row["sent_to"], "attempt": "dormida", "is_asked_for": False}
    assert asleep.query("claim_report", tried) == []
    assert platform.value("SELECT tries FROM janitor_weekly_reports") == row["tries"] == 1


def test_what_was_refused_is_reported_and_repeated_until_it_is_taken(
    mails: tuple[Mails, Platform, dict[str, str]],
) -> None:
    server, platform, environment = mails
    server.trouble = "refused"
    for _ in range(3):
        (failure,) = send(platform, environment).failures
        assert f"el informe semanal no llegó a {SENT_TO}" in failure
        assert "554 no room" in failure
        assert server.PASSWORD not in failure
    server.trouble = ""
    assert send(platform, environment).counts == {"sent": 1}
    assert len(server.messages) == 1


def test_a_day_without_a_mail_address_is_named(mails: tuple[Mails, Platform, dict[str, str]]) -> None:
    _, platform, environment = mails
    context = context_of(platform, environment, is_asked=False)
    (finding,) = check(context)
    assert finding.in_order, finding.text
    assert SENT_TO in finding.text, finding.text
    without = context._replace(settings=load_settings({**environment, "JANITOR_NOTIFY_URLS": "json://127.0.0.1:9"}))
    (finding,) = check(without)
    assert not finding.in_order
    assert "JANITOR_REPORT_DAY" in finding.text
    with pytest.raises(ConfigurationError, match="JANITOR_NOTIFY_URLS"):
        run(without)


def test_a_dry_run_sends_nothing(mails: tuple[Mails, Platform, dict[str, str]]) -> None:
    server, platform, environment = mails
    preview(context_of(platform, environment, is_asked=False))
    assert server.messages == []
    assert platform.value("SELECT count(*) FROM janitor_weekly_reports") == 0
