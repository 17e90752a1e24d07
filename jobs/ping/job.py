"""What the frame knows of the job `ping`."""

from __future__ import annotations

from jobs.job import Job, Phase, Ref

JOB = Job(
    name="ping",
    title="ping",
    preview=Ref("jobs.ping.run:preview"),
    check=Ref("jobs.ping.run:check"),
    observer=Ref("jobs.ping.run:PingObserver"),
    settings=Ref("jobs.ping.settings:PingSettings"),
    switches=("JANITOR_PING_URL",),
    when_off="indique en JANITOR_PING_URL la dirección a la que se avisa de cada ciclo",
    phase=Phase.AFTER,
    counts={
        "sent": ("aviso enviado", "avisos enviados"),
    },
)
