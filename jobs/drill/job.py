"""What the frame knows of the job `drill`."""

from __future__ import annotations

from datetime import time

from jobs.job import Job, Ref, Scope
from jobs.schedule import Weekly

SUNDAY = 6

JOB = Job(
    name="drill",
    title="simulacro de restauración",
    scope=Scope.PLATFORM,
    due=Weekly(SUNDAY, time(5)),
    run=Ref("jobs.drill.run:run"),
    preview=Ref("jobs.drill.run:preview"),
    settings=Ref("jobs.drill.settings:DrillSettings"),
    switches=("JANITOR_DRILL",),
    when_off="indique JANITOR_DRILL, por ejemplo 3",
    rights={
        "ejecuciones_yaml": "SELECT",
        "janitor_drills": "SELECT, INSERT",
        "janitor_jobs": "SELECT",
        "janitor_migrations": "SELECT",
    },
    counts={
        "restored": ("restauración probada", "restauraciones probadas"),
        "failed": ("con error", "con error"),
    },
)
