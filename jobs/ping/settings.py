"""The settings of the job `ping`."""

from __future__ import annotations

from dataclasses import dataclass

from config.declared import declared
from config.text.parsers import web_url


@dataclass(frozen=True, slots=True)
class PingSettings:
    """Whom to tell of each run."""

    url: str | None = declared(
        "JANITOR_PING_URL",
        web_url,
        secret=True,
        example="https://hc-ping.com/00000000-0000-0000-0000-000000000000",
        spanish="Dirección, como las de healthchecks.io, a la que se avisa del principio y del final de cada ciclo.",
        english="An address that each run of all jobs tells of its start (`/start`) and of its end (`/EXIT_CODE`, with "
        "a summary), as healthchecks.io and others understand it. Anybody who knows it can send such pings, so it is a "
        "secret. A run with `--only` sends none unless it names `ping`.",
    )

    def is_on(self) -> bool:
        """Whether there is anybody to tell."""
        return self.url is not None
