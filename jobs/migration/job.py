"""What the frame knows of the migration. Its story is `JanitorDaemon._migrate_old_executions`."""

from __future__ import annotations

from jobs.job import Job

JOB = Job(name="migration", title="migración")
