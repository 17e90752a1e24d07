"""What a ping says of a run, in a few lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from config.logs import one_line
from config.text.plurals import counted, executions, files
from jobs.context import EndOfRun

LARGEST_BYTES = 10_000
"""healthchecks.io keeps that much of a body."""

OUTCOMES = {"done": "bien", "failed": "con error", "interrupted": "interrumpido", "put_off": "a medias"}


def summary_of(end: EndOfRun, host: str, mode: str) -> str:
    """The run in words, shortened to what a service keeps."""
    return shortened(_lines(end, host, mode))


def _lines(end: EndOfRun, host: str, mode: str) -> Iterator[str]:
    yield f"{one_line(host)} ({mode}): código {end.exit_code}, {end.elapsed_seconds:.1f} s"
    for problem in end.problems:
        yield f"- {one_line(problem)}"
    counts = end.counts
    megabytes = counts.get("migrated_bytes", 0) / 1024 / 1024
    yield (
        f"Migradas: {executions(counts.get('migrated', 0))}, {files(counts.get('migrated_files', 0))}, "
        f"{megabytes:.2f} MB; con error: {counts.get('failed', 0)}"
    )
    yield f"Temporales borrados: {counted(counts.get('temp_files_deleted', 0), 'fichero', 'ficheros')}"
    for job in end.jobs:
        yield f"Trabajo {job.name}: {OUTCOMES.get(job.outcome, job.outcome)}, {job.seconds:.1f} s"
    if end.database is None:
        yield "Sin base de datos al terminar."


def shortened(lines: Iterable[str]) -> str:
    """Whole lines up to the limit, and a last one that says that more were left out."""
    kept: list[str] = []
    left_bytes = LARGEST_BYTES - len(b"...\n")
    for line in lines:
        left_bytes -= len(f"{line}\n".encode())
        if left_bytes < 0:
            return "\n".join([*kept, "...", ""])
        kept.append(line)
    return "\n".join([*kept, ""])
