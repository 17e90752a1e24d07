"""What the frame knows of the job of the notices."""

from __future__ import annotations

from jobs.job import Job, Phase, Ref, Scope

JOB = Job(
    name="notify",
    title="avisos",
    scope=Scope.PLATFORM,
    run=Ref("jobs.notify.run:run"),
    preview=Ref("jobs.notify.run:preview"),
    check=Ref("jobs.notify.check:check"),
    commands=Ref("jobs.notify.commands:notify"),
    settings=Ref("jobs.notify.settings:NotifySettings"),
    switches=("JANITOR_NOTIFY_URLS", "TELEGRAM_TOKEN"),
    when_off="indique TELEGRAM_TOKEN y ADMIN_ID, o JANITOR_NOTIFY_URLS",
    rights={
        "janitor_causes": "SELECT, INSERT, UPDATE, DELETE",
        "janitor_notices": "SELECT, INSERT, UPDATE, DELETE",
        "janitor_deliveries": "SELECT, INSERT, UPDATE",
        "janitor_channels": "SELECT, INSERT, UPDATE",
        "janitor_jobs": "SELECT",
        "janitor_attempts": "SELECT",
        "janitor_looks": "SELECT",
        "janitor_runs": "SELECT",
        "janitor_migrations": "SELECT",
        "janitor_provider_health": "SELECT",
        "cloud_providers": "SELECT",
        "ejecuciones_config": "SELECT",
        "ejecuciones_yaml": "SELECT",
    },
    phase=Phase.AFTER,
    counts={
        "delivered": ("aviso entregado", "avisos entregados"),
        "failed": ("con error", "con error"),
    },
)
