"""What the frame knows of the job `metrics`."""

from __future__ import annotations

from jobs.job import Job, Phase, Ref

JOB = Job(
    name="metrics",
    title="métricas",
    preview=Ref("jobs.metrics.run:preview"),
    check=Ref("jobs.metrics.run:check"),
    observer=Ref("jobs.metrics.run:MetricsObserver"),
    settings=Ref("jobs.metrics.settings:MetricsSettings"),
    switches=("JANITOR_METRICS_FILE",),
    when_off="indique en JANITOR_METRICS_FILE el fichero que se escribe",
    rights={
        "cloud_providers": "SELECT",
        "ejecuciones_yaml": "SELECT",
        "historial_backup": "SELECT",
        "janitor_attempts": "SELECT",
        "janitor_backups": "SELECT",
        "janitor_holds": "SELECT",
        "janitor_jobs": "SELECT",
        "janitor_looks": "SELECT",
        "janitor_migrations": "SELECT",
        "janitor_provider_health": "SELECT",
        "janitor_runs": "SELECT",
    },
    phase=Phase.AFTER,
)
