"""What the frame knows of the job of the logs."""

from __future__ import annotations

from datetime import time
from typing import TYPE_CHECKING

from jobs.job import Job, Ref, Scope
from jobs.schedule import Daily

if TYPE_CHECKING:
    from jobs.logs.settings import LogsSettings


def due(settings: LogsSettings) -> Daily:
    """Once a day."""
    return Daily(at=time(settings.hour, settings.minute))


JOB = Job(
    name="logs",
    title="registros",
    scope=Scope.HOST,
    due=due,
    goes_by_host_clock=True,
    run=Ref("jobs.logs.run:run"),
    preview=Ref("jobs.logs.run:preview"),
    check=Ref("jobs.logs.run:check"),
    settings=Ref("jobs.logs.settings:LogsSettings"),
    switches=("LOGS_PATH",),
    when_off="indique en LOGS_PATH los directorios de los registros",
    counts={
        "compressed_files": ("registro comprimido", "registros comprimidos"),
        "bytes_before": "sin comprimir",
        "bytes_after": "comprimidos",
        "duplicate_files": ("registro repetido borrado", "registros repetidos borrados"),
        "duplicate_bytes": "repetidos",
        "deleted_files": ("registro borrado", "registros borrados"),
        "deleted_bytes": "borrados",
        "differing_copies": ("registro con otra copia distinta", "registros con otra copia distinta"),
        "in_use": ("registro en uso", "registros en uso"),
        "changed": ("registro que cambiaba", "registros que cambiaban"),
        "failures": ("fallo", "fallos"),
        "missing_directories": ("directorio que no está", "directorios que no están"),
        "freed_bytes": "liberados",
    },
)
