"""What the frame knows of the job of the logs."""

from __future__ import annotations

from datetime import time

from jobs.job import Job, Ref, Scope
from jobs.logs.settings import LogsSettings
from jobs.schedule import Daily


def due(settings: LogsSettings) -> Daily:
    """Once a day."""
    return Daily(at=time(settings.hour, settings.minute))


JOB = Job(
    name="logs",
    title="registros",
    scope=Scope.HOST,
    due=due,
    run=Ref("jobs.logs.run:run"),
    preview=Ref("jobs.logs.run:preview"),
    check=Ref("jobs.logs.run:check"),
    settings=LogsSettings,
    when_off="indique en LOGS_PATH los directorios de los registros",
)
