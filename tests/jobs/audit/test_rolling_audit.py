"""Everything is read back once in a number of days, in an order that survives kills."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest

from config.models import ProviderRow
from config.settings import load_settings
from jobs import provider_set
from jobs.audit import run as audit
from jobs.audit.job import JOB
from jobs.audit.settings import AuditSettings
from jobs.context import Context
from jobs.job import Outcome
from jobs.signals import Interruption
from providers import build_provider
from providers.base import Provider
from providers.errors import ProviderUnavailable
from sql.database import Database
from tests.destinations import Destination
from tests.faults.faulty_provider import EVERY_CALL, Call, Fault, FaultyProvider, fail
from tests.stories.installation import Installation

UUIDS = ("uno", "dos", "tres")


class Killed(BaseException):
    """The process is dead."""


class Rolling:
    """Three stored executions, and runs of the job in this process."""

    def __init__(self, installation: Installation, nas: Destination, monkeypatch: pytest.MonkeyPatch) -> None:
        self.installation = installation
        self.nas = nas
        self.faults: list[Fault] = []
        for uuid in UUIDS:
            installation.small_execution(uuid)
        installation.configure(installation.add_provider(nas, "nas"))
        assert installation.run().exit_code == 0
        monkeypatch.setattr(provider_set, "build_provider", self._build)

    def _build(self, row: ProviderRow) -> Provider:
        return FaultyProvider(build_provider(row), self.faults)

    def run(self, max_bytes: int | None = None) -> Outcome:
        """One run."""
        with closing(Database(self.installation.database_url, "norte")) as database:
            seen = database.start_run(1, "tick", "test")
            token = database.job_records.claim("audit", is_platform=True, seen_token=None)
            assert token is not None
            settings = load_settings(self.installation.environment)
            own = AuditSettings(days=30, max_bytes=max_bytes)
            outcome = audit.run(Context(JOB, settings, own, database, seen.now, Interruption(), fencing_token=token))
            database.finish_run(0, {})
            return outcome

    def audited(self) -> list[str]:
        """The executions read back in the last days, in order of their ids."""
        rows = self.installation.rows(
            "SELECT uuid FROM janitor_audits JOIN ejecuciones_yaml ON id = execution_id "
            "WHERE audited_at > now() - interval '30 days' ORDER BY id"
        )
        return [row["uuid"] for row in rows]


@pytest.fixture
def rolling(installation: Installation, nas: Destination, monkeypatch: pytest.MonkeyPatch) -> Rolling:
    """Nothing was read back yet."""
    return Rolling(installation, nas, monkeypatch)


def test_all_is_read_back_once_and_again_after_so_many_days(rolling: Rolling) -> None:
    assert rolling.run().counts["audited"] == 3
    assert rolling.run().counts == {}
    rolling.installation.execute(
        "UPDATE janitor_audits SET audited_at = now() - interval '31 days' "
        "WHERE execution_id = (SELECT id FROM ejecuciones_yaml WHERE uuid = 'dos')"
    )
    assert rolling.run().counts["audited"] == 1
    rolling.installation.execute("UPDATE janitor_migrations SET uri = uri || '-x' WHERE uuid = 'uno'")
    assert rolling.run().counts.get("audited", 0) == 1, "a copy that was moved counts as never audited"


def test_a_run_does_not_pass_its_limit_and_the_next_continues(rolling: Rolling) -> None:
    for count in (1, 2, 3):
        assert rolling.run(max_bytes=1).counts["audited"] == 1
        assert len(rolling.audited()) == count


def test_a_killed_run_is_continued(rolling: Rolling) -> None:
    def die(_call: Call) -> Any:
        raise Killed

    rolling.faults = [Fault("open", die, key="*dos.manifest.json")]
    with pytest.raises(Killed):
        rolling.run()
    assert rolling.audited() == ["uno"]
    rolling.faults = []
    assert rolling.run().counts["audited"] == 2
    assert rolling.audited() == list(UUIDS)


def test_a_bad_copy_is_reported_and_the_others_are_read(rolling: Rolling) -> None:
    table = rolling.nas.directory / "ejecuciones/dos/tabla.txt"
    table.write_bytes(b"x" * table.stat().st_size)
    outcome = rolling.run()
    assert (outcome.counts["audited"], outcome.failures) == (3, ("1 copia no está entera",))
    states = {row["uuid"]: row["state"] for row in rolling.installation.rows(
        "SELECT uuid, state FROM janitor_audits JOIN ejecuciones_yaml ON id = execution_id"
    )}  # fmt: skip
    assert states == {"uno": "whole", "dos": "damaged", "tres": "whole"}
    (notice,) = rolling.installation.rows("SELECT state FROM janitor_causes WHERE cause = 'audit:copies'")
    assert notice["state"] == "needs_person"


def test_a_notice_ends_once_the_copy_is_proven_again(rolling: Rolling) -> None:
    """By the next run, though that has nothing to read: what an operator had migrated again is good, and so is what
    an operator's audit found whole.
    """
    installation = rolling.installation
    tables = [rolling.nas.directory / f"ejecuciones/{uuid}/tabla.txt" for uuid in ("uno", "dos")]
    contents = [table.read_text() for table in tables]
    for table, content in zip(tables, contents, strict=True):
        table.write_text("x" * len(content))
    rolling.run()
    installation.execute("UPDATE ejecuciones_yaml SET migrado_a_nube = false WHERE uuid = 'uno'")
    assert installation.run("--migrate-only").exit_code == 0
    rolling.run()
    assert _notice(rolling)["text"].startswith("1 copia guardada no está entera")
    tables[1].write_text(contents[1])
    assert installation.run("audit", "--all").exit_code == 0
    assert rolling.run().counts == {}
    assert _notice(rolling)["state"] == "ok"


def test_what_was_read_says_nothing_of_what_came_later(rolling: Rolling) -> None:
    """While a whole copy is read, an operator's audit finds it damaged."""
    rolling.run()
    rolling.installation.execute("UPDATE janitor_audits SET audited_at = now() - interval '31 days'")

    def change_it(call: Call) -> Any:
        rolling.installation.execute("UPDATE janitor_audits SET state = 'damaged', audited_at = now()")
        return call.proceed()

    rolling.faults = [Fault("open", change_it, key="*uno.manifest.json")]
    rolling.run()
    (row,) = rolling.installation.rows(
        "SELECT state FROM janitor_audits JOIN ejecuciones_yaml ON id = execution_id WHERE uuid = 'uno'"
    )
    assert row["state"] == "damaged"


def _notice(rolling: Rolling) -> dict[str, Any]:
    (notice,) = rolling.installation.rows("SELECT state, text FROM janitor_causes WHERE cause = 'audit:copies'")
    return notice


@pytest.mark.usefixtures("little_patience")
def test_what_could_not_be_read_stays_due(rolling: Rolling) -> None:
    silent = fail(ProviderUnavailable("no responde"))
    rolling.faults = [Fault("open", silent, key="*uno.manifest.json", calls=EVERY_CALL)]
    outcome = rolling.run()
    assert (outcome.counts["audited"], outcome.counts["unread"]) == (2, 1)
    rolling.faults = []
    assert rolling.run().counts["audited"] == 1
