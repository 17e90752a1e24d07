"""The records of runs and of their jobs, and the statements of jobs."""

from __future__ import annotations

from collections.abc import Mapping

from config.logs import redactor
from config.models import LEASE_SECONDS
from config.process.early_signals import EXIT_SIGNAL_BASE
from sql.connection import Row
from sql.job_records import JobEnd, JobRecords, JobsSeen, jobs_seen
from sql.rights import MissingRight
from sql.session import Session
from sql.texts import ToldJson


class Runs(Session):
    """The part of `Database` that every job uses."""

    def start_run(self, process_id: int, mode: str, version: str) -> JobsSeen:
        """Record the start of a run and act on its behalf from now on; return the state of all jobs."""
        parameters = {
            "host": self._host,
            "process_id": process_id,
            "mode": mode,
            "version": version,
            "lease_seconds": LEASE_SECONDS,
        }
        row = self._connection.query("start_run", parameters)[0]
        self._run_id = row["id"]
        self.job_records = JobRecords(self._connection, self._host, self._run_id, LEASE_SECONDS)
        return jobs_seen(row)

    def jobs_seen(self) -> JobsSeen:
        """The state of all jobs, without starting a run."""
        return jobs_seen(self._connection.query("list_jobs", {"host": self._host})[0])

    def finish_run(self, exit_code: int, report: Mapping[str, object]) -> None:
        """Record how the run ended, and release its claims."""
        told = ToldJson(redactor.redact_all(report))
        self.job_records.finish("finish_run", {"exit_code": exit_code, "report": told})
        is_interrupted = exit_code > EXIT_SIGNAL_BASE
        self._connection.query("release_leases", {"run_id": self._run_id, "is_interrupted": is_interrupted})

    def renew_leases(self) -> None:
        """Extend this run's claims by another lease."""
        self._connection.query(
            "renew_run_lease, renew_job_leases, renew_leases", {"run_id": self._run_id, "lease_seconds": LEASE_SECONDS}
        )

    def record_observer(self, end: JobEnd, seconds: float) -> None:
        """Record what a job did that only looks on, if a run has begun."""
        if self._run_id:
            self.job_records.record(end, seconds)

    def job_query(self, folder: str, name: str, parameters: Mapping[str, object]) -> list[Row]:
        """Run one of a job's statements, `queries/{name}.sql` in its folder, which may run twice."""
        return self._connection.query(f"{folder}/{name}", parameters)

    def job_query_once(self, folder: str, name: str, parameters: Mapping[str, object]) -> list[Row]:
        """The same, without waiting for a lost database or repeating what was refused."""
        return self._connection.query_once(f"{folder}/{name}", parameters)

    def missing_job_rights(self, rights: Mapping[str, str]) -> list[MissingRight]:
        """The rights on tables and functions that a job needs and this role lacks."""
        if not rights:
            return []
        pairs = [(name, right) for name, of_it in rights.items() for right in of_it.split(", ")]
        parameters = {"names": [name for name, _ in pairs], "rights": [right for _, right in pairs]}
        return [MissingRight(**row) for row in self._connection.query("find_missing_job_rights", parameters)]
