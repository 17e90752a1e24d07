"""What the frame knows of the cleaning of temporary files. Its story is `JanitorDaemon._clean_temp_files`."""

from __future__ import annotations

from jobs.job import Job, Ref

JOB = Job(
    name="temp",
    title="limpieza",
    goes_by_host_clock=True,
    required=Ref("jobs.temp_files.guard:require_temp_directory_apart"),
    counts={
        "temp_files_deleted": ("archivo temporal borrado", "archivos temporales borrados"),
        "temp_bytes_deleted": "de temporales borrados",
        "temp_failures": ("archivo temporal sin borrar", "archivos temporales sin borrar"),
    },
)
