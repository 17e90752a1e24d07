"""What the frame knows of the job `rehome`."""

from __future__ import annotations

from jobs.job import Job, Ref, Scope

JOB = Job(
    name="rehome",
    title="vuelta al proveedor primario",
    scope=Scope.PLATFORM,
    run=Ref("jobs.rehome.run:run"),
    preview=Ref("jobs.rehome.run:preview"),
    commands=Ref("jobs.rehome.commands:rehome"),
    settings=Ref("jobs.rehome.settings:RehomeSettings"),
    switches=("JANITOR_REHOME",),
    when_off="indique JANITOR_REHOME=on",
    rights={
        "ejecuciones_yaml": "SELECT, UPDATE",
        "janitor_migrations": "SELECT, UPDATE",
        "janitor_attempts": "SELECT, INSERT, UPDATE",
        "janitor_audit": "INSERT",
        "janitor_holds": "SELECT",
        "janitor_jobs": "SELECT",
        "janitor_runs": "SELECT",
        "janitor_rehomes": "SELECT, INSERT, UPDATE",
    },
    counts={
        "rehomed": ("ejecución llevada al proveedor primario", "ejecuciones llevadas al proveedor primario"),
        "rehomed_bytes": "llevados",
        "found_equal": ("que ya estaba", "que ya estaban"),
        "failed": ("con error", "con error"),
    },
)
