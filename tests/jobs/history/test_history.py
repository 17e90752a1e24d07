"""Old records go, and nothing goes that a restore, an open attempt, a leftover or a run under way needs.

Where else records are deleted: nowhere. Rows of executions are never deleted; secrets go by an order of an operator.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from config.errors import ConfigurationError, RunInterrupted
from config.settings import load_settings
from jobs.context import Context, LeaseLost
from jobs.history import run as history
from jobs.history.job import JOB
from jobs.history.settings import HistorySettings
from jobs.signals import Interruption
from tests.databases.platform_database import Platform
from tests.repository import REPOSITORY
from tests.stories.installation import Installation

OLD = "now() - interval '400 days'"
RECENT = "now() - interval '300 days'"

ADD_RUN = (
    "INSERT INTO janitor_runs (host, process_id, mode, version, started_at) "
    "VALUES ('h', 1, 'tick', 'v', {at}) RETURNING id"
)
ADD_JOB_RUN = "INSERT INTO janitor_job_runs (run_id, job, host, started_at) VALUES (%s, 'temp', 'h', {at})"
ADD_ATTEMPT = (
    "INSERT INTO janitor_attempts (execution_id, run_id, host, fencing_token, provider_id, key_prefix, state, "
    "foreign_objects, started_at, finished_at, closed_until) "
    "VALUES (%s, 1, 'h', 1, 1, %s, %s, %s, {at}, {at}, %s::timestamptz) RETURNING id"
)


@pytest.fixture
def platform(initialized_database_url: str) -> Iterator[Platform]:
    """A database of the platform."""
    with closing(Platform(initialized_database_url)) as made:
        yield made


@pytest.fixture
def context(platform: Platform, tmp_path: Path) -> Context:
    """A run that has taken the job up."""
    settings = load_settings({"DATABASE_URL": platform.database_url, "JANITOR_LOCK_DIR": str(tmp_path)})
    database = platform.database()
    seen = database.start_run(1, "tick", "test")
    token = database.job_records.claim("history", is_platform=True, seen_token=None)
    assert token is not None
    return Context(JOB, settings, HistorySettings(), database, seen.now, Interruption(), fencing_token=token)


class Records:
    """Rows as runs of long ago have left them."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform

    def run(self, at: str = OLD) -> int:
        """A run, with a job of its."""
        number: int = self.platform.value(ADD_RUN.format(at=at))
        self.platform.sql(ADD_JOB_RUN.format(at=at), number)
        return number

    def attempt(
        self, state: str = "settled", place: str = "p/u", at: str = OLD, foreign: bool | None = False,
        closed_until: str | None = None, execution_id: int = 1,
    ) -> int:  # fmt: skip
        """An attempt."""
        number: int = self.platform.value(ADD_ATTEMPT.format(at=at), execution_id, place, state, foreign, closed_until)
        return number

    def job_of_host(self, host: str, at: str = OLD, lease: str | None = None) -> None:
        """What is known of a job of a host that was killed during it."""
        self.platform.sql(
            "INSERT INTO janitor_jobs (job, host, run_id, held_by, fencing_token, tries, last_started_at, "  # noqa: S608
            f"lease_expires_at) VALUES ('temp', %s, 1, %s, 1, 1, {at}, %s::timestamptz)",
            host, host, lease,
        )  # fmt: skip

    def hosts(self) -> list[str]:
        """The hosts of whose jobs something is known."""
        rows = self.platform.sql("SELECT DISTINCT host FROM janitor_jobs WHERE host <> '' ORDER BY host")
        return [row["host"] for row in rows]

    def ids(self, table: str) -> list[int]:
        """What is left."""
        return [row["id"] for row in self.platform.sql(f"SELECT id FROM {table} ORDER BY id")]  # noqa: S608 our own


@pytest.fixture
def records(platform: Platform) -> Records:
    """Where to put some."""
    return Records(platform)


def test_old_records_go_and_recent_ones_stay(context: Context, records: Records) -> None:
    for _ in range(3):
        records.run()
    recent = records.run(RECENT)
    records.attempt(place="p/old")
    kept = records.attempt(place="p/recent", at=RECENT)
    outcome = history.run(context)
    assert outcome.counts == {"jobs": 0, "runs": 3, "job_runs": 3, "attempts": 1, "audit": 0}
    assert recent in records.ids("janitor_runs")
    assert records.ids("janitor_attempts") == [kept]
    assert history.run(context).counts == {"jobs": 0, "runs": 0, "job_runs": 0, "attempts": 0, "audit": 0}


def test_a_preview_counts_what_a_run_deletes_and_deletes_nothing(
    context: Context, records: Records, caplog: pytest.LogCaptureFixture
) -> None:
    for at in (OLD, OLD, RECENT):
        records.run(at)
    records.attempt()
    records.attempt("open", place="p/open")
    with caplog.at_level("INFO"):
        history.preview(context._replace(dry_run=True))
    assert (
        "[simulación] Historial: se borrarían 2 ciclos, 2 trabajos y 1 intento de hace más de 365 días" in caplog.text
    )
    assert history.run(context).counts == {"jobs": 0, "runs": 2, "job_runs": 2, "attempts": 1, "audit": 0}


def test_it_continues_until_all_batches_are_done(
    context: Context, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "BATCH_ROWS", 2)
    for at in (*[OLD] * 5, RECENT):
        records.run(at)
    assert history.run(context).counts["runs"] == 5


def test_attempts_go_batch_by_batch_from_place_to_place(
    context: Context, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "BATCH_ROWS", 2)
    for place in ("p/a", "p/b", "p/b", "p/b", "p/C", "p/ñ"):
        records.attempt(place=place)
    kept = records.attempt(place="p/b2", at=RECENT)
    assert history.run(context).counts["attempts"] == 6
    assert records.ids("janitor_attempts") == [kept]


def test_jobs_of_hosts_that_are_silent_for_so_long_go_with_the_runs_they_kept(
    platform: Platform, context: Context, records: Records
) -> None:
    """A job that is off on a host that lives is still remembered."""
    platform.sql(ADD_RUN.format(at=OLD))
    platform.sql(ADD_RUN.format(at=RECENT))
    for host, at, lease in (
        ("dead", OLD, None),
        ("killed", OLD, "2020-01-01"),
        ("running", OLD, "2100-01-01"),
        ("quiet", RECENT, None),
        ("h", OLD, None),
    ):
        records.job_of_host(host, at, lease)
    oldest = records.ids("janitor_runs")[1]  # the first one is that of the job itself
    platform.sql("UPDATE janitor_jobs SET run_id = %s WHERE host = 'dead'", oldest)
    outcome = history.run(context)
    assert (outcome.counts["jobs"], outcome.counts["runs"]) == (2, 1)
    assert records.hosts() == ["h", "quiet", "running"]


@pytest.mark.parametrize(
    ("statement", "table"),
    [("prune_runs", "janitor_runs"), ("prune_job_runs", "janitor_job_runs"), ("prune_attempts", "janitor_attempts")],
)
def test_a_batch_costs_no_look_at_a_whole_table(platform: Platform, statement: str, table: str) -> None:
    """Or the first run on years of records would take the square of them."""
    platform.sql(
        "INSERT INTO janitor_runs (host, process_id, mode, version, started_at, report) "
        "SELECT 'h', 1, 'tick', 'v', now() - interval '400 days', '{}' FROM generate_series(1, 30000)"
    )
    platform.sql(
        "INSERT INTO janitor_job_runs (run_id, job, host, started_at) "
        "SELECT id, 'temp', 'h', started_at FROM janitor_runs"
    )
    platform.sql(
        "INSERT INTO janitor_attempts (execution_id, run_id, host, fencing_token, provider_id, key_prefix, state, "
        "started_at) SELECT n, 1, 'h', 1, 1, 'p/' || n, CASE WHEN n % 10 = 0 THEN 'settled' ELSE 'committed' END, "
        "now() - interval '400 days' FROM generate_series(1, 30000) AS n"
    )
    platform.sql("ANALYZE janitor_runs, janitor_job_runs, janitor_attempts")
    text = (Path(history.__file__).parent / "queries" / f"{statement}.sql").read_text()
    values = {"days": 365, "batch_rows": 1000, "job": "'history'", "fencing_token": 1, "from_place": "'p/5'"}
    for name, value in values.items():
        text = text.replace(f"%({name})s", str(value))
    plan = "\n".join(row["QUERY PLAN"] for row in platform.sql(f"EXPLAIN {text}"))
    assert f"Seq Scan on {table}" not in plan, plan


def test_the_records_of_a_uuid_cost_no_look_at_a_whole_table(platform: Platform) -> None:
    """Where else: the platform's own table, which the program gives no index, is read once."""
    platform.sql(
        "INSERT INTO janitor_migrations (execution_id, uuid, state, host, run_id, fencing_token) "
        "SELECT number, md5(number::text), 'migrated', 'h', 1, 1 FROM generate_series(1, 5000) AS number"
    )
    platform.sql("ANALYZE janitor_migrations")
    text = (REPOSITORY / "sql/queries/list_rows_of_execution.sql").read_text().replace("%(uuid)s", "'uno'")
    plan = "\n".join(row["QUERY PLAN"] for row in platform.sql(f"EXPLAIN {text}"))
    assert "Seq Scan on janitor_migrations" not in plan, plan
    assert plan.count("Scan on ejecuciones_yaml") == 1, plan


# What is needed


@pytest.mark.parametrize("state", ["open", "abandoned", "committed"])
def test_attempts_that_mean_something_stay_however_old(context: Context, records: Records, state: str) -> None:
    """The row of an execution, a leftover, or a run that was killed depends on them."""
    kept = records.attempt(state)
    history.run(context)
    assert records.ids("janitor_attempts") == [kept]


@pytest.mark.parametrize(
    "other",
    [
        {"state": "committed"},
        {"state": "open"},
        {"state": "abandoned", "execution_id": 2},
        {"at": RECENT},
        {"closed_until": "2100-01-01"},
    ],
    ids=str,
)
def test_attempts_at_a_place_go_together_or_not_at_all(
    context: Context, records: Records, other: dict[str, Any]
) -> None:
    """Together they tell whose the objects there are: without the one that found foreign ones, they would be ours."""
    kept = [records.attempt(foreign=True), records.attempt(**other)]
    history.run(context)
    assert records.ids("janitor_attempts") == kept


def test_where_a_batch_ends_within_a_place_what_is_there_stays_foreign(
    context: Context, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = records.attempt(foreign=True)
    records.attempt(foreign=False)
    monkeypatch.setattr(history, "BATCH_ROWS", 1)
    context.query("prune_attempts", {"days": 365, "batch_rows": 1, "from_place": ""})
    assert records.ids("janitor_attempts") == [foreign]


def test_the_newest_run_stays_for_status(platform: Platform, context: Context, records: Records) -> None:
    platform.sql("UPDATE janitor_runs SET started_at = now() - interval '400 days'")
    platform.sql("UPDATE janitor_jobs SET finished_at = now()")
    history.run(context)
    assert len(records.ids("janitor_runs")) == 1


def test_runs_that_hold_something_stay(platform: Platform, context: Context, records: Records) -> None:
    holder = records.run()
    records.run(RECENT)
    platform.sql(
        "INSERT INTO janitor_migrations (execution_id, uuid, state, host, run_id, fencing_token, lease_expires_at) "
        "VALUES (1, 'u', 'migrating', 'h', %s, 1, now())",
        holder,
    )
    history.run(context)
    assert holder in records.ids("janitor_runs")


def test_what_is_under_way_stays(platform: Platform, context: Context, records: Records) -> None:
    platform.sql("UPDATE janitor_job_runs SET started_at = now() - interval '400 days'")
    records.run(RECENT)
    history.run(context)
    assert platform.value("SELECT count(*) FROM janitor_job_runs WHERE job = 'history'") == 1


# Stopping


def test_a_signal_ends_it_between_two_batches(context: Context, records: Records) -> None:
    records.run()
    context.interruption.set()
    with pytest.raises(RunInterrupted):
        history.run(context)


@pytest.mark.parametrize("statement", ["prune_jobs", "prune_runs", "prune_job_runs", "prune_attempts"])
def test_who_was_overtaken_deletes_nothing(
    platform: Platform, context: Context, records: Records, statement: str
) -> None:
    records.run()
    records.run(RECENT)
    records.attempt()
    records.job_of_host("dead")
    platform.sql("UPDATE janitor_jobs SET fencing_token = fencing_token + 1")
    assert context.query(statement, {"days": 365, "batch_rows": 10, "from_place": ""}) == []
    with pytest.raises(LeaseLost):
        history.run(context)


# Settings, and the whole way


@pytest.mark.parametrize(("written", "days"), [("", 365), ("0", 0), ("30", 30)])
def test_it_is_on_unless_everything_is_to_be_kept(written: str, days: int) -> None:
    own = load_settings({"JANITOR_HISTORY_DAYS": written}).of(HistorySettings)
    assert (own.days, own.is_on()) == (days, days > 0)


def test_a_wrong_number_of_days_is_reported() -> None:
    with pytest.raises(ConfigurationError, match="JANITOR_HISTORY_DAYS"):
        load_settings({"JANITOR_HISTORY_DAYS": "un año"}).of(HistorySettings)


def test_a_tick_prunes_once_a_day(installation: Installation) -> None:
    installation.execute(ADD_RUN.format(at=OLD))
    first = installation.run()
    assert first.exit_code == 0, str(first)
    assert first.said("INFO", "Historial: se borraron 1 ciclo, 0 trabajos y 0 intentos de hace más de 365 días")
    installation.execute(ADD_RUN.format(at=OLD))
    assert not [line for line in installation.run().messages() if line.startswith("Historial")]
    assert installation.run("--only", "history", JANITOR_HISTORY_DAYS="0").exit_code == 0
    off = installation.run("run", "history", JANITOR_HISTORY_DAYS="0")
    assert off.exit_code == 2
    assert "JANITOR_HISTORY_DAYS es 0" in off.errors


def test_a_run_on_demand_says_that_nothing_was_old_enough(installation: Installation) -> None:
    run = installation.run("run", "history")
    assert run.said("INFO", "Historial: se borraron 0 ciclos, 0 trabajos y 0 intentos de hace más de 365 días")


ADD_AUDIT = "INSERT INTO janitor_audit (at, event, host) VALUES (%s::timestamptz, 'held', 'h')"


def test_whole_old_months_of_the_audit_trail_go_and_that_is_recorded(platform: Platform, context: Context) -> None:
    """The month in which the time limit lies stays whole."""
    limit = platform.value("SELECT date_trunc('month', now() - interval '365 days')")
    for shift in (timedelta(hours=-1), timedelta(days=-70), timedelta(days=1)):
        platform.sql(ADD_AUDIT, limit + shift)
    assert history.run(context).counts["audit"] == 2
    rows = platform.sql("SELECT event, details FROM janitor_audit ORDER BY at DESC")
    assert [row["event"] for row in rows] == ["audit_pruned", "audit_pruned", "held"]
    assert [row["details"]["rows"] for row in rows[:2]] == [1, 1]
    assert history.run(context).counts["audit"] == 0


def test_an_overtaken_run_prunes_nothing_of_the_audit_trail(platform: Platform, context: Context) -> None:
    platform.sql(ADD_AUDIT, "2020-01-01")
    assert context.query("prune_audit", {"days": 365, "fencing_token": context.fencing_token - 1}) == []
    assert platform.value("SELECT count(*) FROM janitor_audit") == 1


def test_a_role_that_may_only_add_to_the_trail_can_prune_old_months_and_nothing_else(platform: Platform) -> None:
    """With the rights that the documents show."""
    platform.sql(ADD_AUDIT, "2020-01-01")
    platform.sql("INSERT INTO janitor_audit (event, host) VALUES ('held', 'h')")
    platform.sql("DROP ROLE IF EXISTS janitor_of_audit")
    platform.sql("CREATE ROLE janitor_of_audit")
    platform.sql("GRANT SELECT, INSERT ON janitor_audit TO janitor_of_audit")
    try:
        platform.sql("SET ROLE janitor_of_audit")
        platform.sql("INSERT INTO janitor_audit (event, host) VALUES ('released', 'h')")
        for refused in (
            "DELETE FROM janitor_audit",
            "UPDATE janitor_audit SET event = 'x'",
            PRUNE,
            "TRUNCATE janitor_audit",
        ):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                platform.sql(refused)
        platform.sql("RESET ROLE")
        platform.sql("GRANT EXECUTE ON FUNCTION janitor_prune_audit(INTEGER, TEXT) TO janitor_of_audit")
        platform.sql("SET ROLE janitor_of_audit")
        platform.sql("CREATE TEMPORARY TABLE janitor_audit (at TIMESTAMPTZ)")
        assert platform.sql(PRUNE) == [{"month": "2020-01", "deleted": 1}]
        assert platform.sql(PRUNE) == []
    finally:
        platform.sql("RESET ROLE")
        platform.sql("DROP OWNED BY janitor_of_audit")
        platform.sql("DROP ROLE janitor_of_audit")
    events = platform.sql("SELECT event FROM public.janitor_audit ORDER BY id")
    assert [row["event"] for row in events] == ["held", "released", "audit_pruned"]


PRUNE = "SELECT * FROM janitor_prune_audit(0, 'h')"
