"""What the frame knows of the cleaning of temporary files. Its story is `JanitorDaemon._clean_temp_files`."""

from __future__ import annotations

from jobs.job import Job

JOB = Job(
    name="temp",
    title="limpieza",
    counts={
        "temp_files_deleted": ("archivo temporal borrado", "archivos temporales borrados"),
        "temp_bytes_deleted": "de temporales borrados",
        "temp_failures": ("archivo temporal sin borrar", "archivos temporales sin borrar"),
    },
)
