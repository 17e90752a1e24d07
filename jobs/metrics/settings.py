"""The settings of the job `metrics`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from config.declared import declared
from config.text.parsers import path


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """Where the metrics are written."""

    file: Path | None = declared(
        "JANITOR_METRICS_FILE",
        path,
        example="/var/lib/prometheus/node-exporter/janitor.prom",
        spanish="Fichero de métricas para Prometheus, que se escribe al final de cada ciclo.",
        english="A text file with metrics for Prometheus, written at the end of each run, also of a failed one. "
        "node_exporter reads names that end in `.prom`. The directory must exist.",
    )

    def is_on(self) -> bool:
        """Whether there is a file to write."""
        return self.file is not None
