"""`audit --all` over many objects beside `rclone check` of the same names and sizes, in one bucket of names only.

python -m benchmarks.jobs.audit --executions 10000 --files 99 --rounds 5

Nothing is downloaded. rclone compares the bucket with a directory that still has every file; the product compares it
with the database, both ways.
"""

from __future__ import annotations

import json
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.arena import stores
from benchmarks.arena.bare_s3 import execution_name, file_names
from benchmarks.arena.installations import installation
from benchmarks.arena.workshop import postgres_of_this_process
from benchmarks.measuring.command_line import run_from_command_line
from benchmarks.measuring.contest import Contestant, Trial, compete, lines_of, raw
from benchmarks.measuring.peers import rclone_check
from benchmarks.measuring.results import PRODUCT, Goals, Report
from storage.inspection import MODULUS, part_of
from tests.destinations import Destination
from tests.stories.installation import Installation

LONGEST_SECONDS = 3600
"""A busy machine takes minutes for a million objects."""

GOALS = Goals(wall_ratio=1.2, peak_memory_mib=200e6 / 2**20)

EXECUTIONS = """
INSERT INTO ejecuciones_yaml (uuid, ruta_directorio, fecha_ejecucion, migrado_a_nube, ruta_nube, nube_provider_id)
SELECT name, '/sage/' || name, now(), true, 'cloud://s3/ejecuciones/' || name, %s
FROM unnest(%s) AS name
"""

MIGRATIONS = """
INSERT INTO janitor_migrations (
    execution_id, uuid, state, local_copy, host, run_id, fencing_token, provider_id, uri, directory, file_count,
    size_bytes, evidence, manifest_sha256, listing_digest
)
SELECT id, uuid, 'migrated', 'deleted', 'host-1', 1, 1, nube_provider_id, ruta_nube, ruta_directorio, %s, 0, 'checksum',
       md5(uuid), %s
FROM ejecuciones_yaml
"""

ATTEMPTS = """
INSERT INTO janitor_attempts (
    execution_id, run_id, host, fencing_token, provider_id, key_prefix, state, foreign_objects, started_at, finished_at
)
SELECT id, 1, 'host-1', 1, nube_provider_id, 'ejecuciones/' || uuid, 'committed', false, now(), now()
FROM ejecuciones_yaml
"""


def run(executions: int, files: int, rounds: int) -> Report:
    """A number of executions with a number of files, each with its manifest."""
    with (
        tempfile.TemporaryDirectory(prefix="janitor-bench-") as name,
        stores.bare_s3() as store,
        store.destination() as destination,
        installation(Path(name, "sage"), postgres_of_this_process()) as sage,
    ):
        _fill_bucket(destination, executions, files)
        _fill_directory(Path(name, "files"), executions, files)
        _fill_database(sage, sage.add_provider(destination), executions, files)
        peer = Contestant("rclone check", partial(_peer, Path(name, "files"), destination), GOALS)
        played = compete(Contestant(PRODUCT, partial(_product, sage)), [peer], rounds)
        work = f"audit of {executions * (files + 1):,} objects, S3 that keeps names only"
        return Report("audit", lines_of(work, [peer], played), raw(played))


def _fill_bucket(destination: Destination, executions: int, files: int) -> None:
    address = f"{destination.options['endpoint_url']}/{destination.options['bucket']}"
    request = urllib.request.Request(f"{address}?executions={executions}&files={files}", method="PUT")  # noqa: S310 our own http URL
    urllib.request.urlopen(request).close()  # noqa: S310


def _fill_directory(directory: Path, executions: int, files: int) -> None:
    for number in range(executions):
        execution = directory / execution_name(number)
        execution.mkdir(parents=True)
        execution.with_name(f"{execution.name}.manifest.json").touch()
        for name in file_names(files):
            (execution / name).touch()


def _fill_database(sage: Installation, provider_id: int, executions: int, files: int) -> None:
    sage.configure(provider_id)
    sage.execute(EXECUTIONS, (provider_id, list(map(execution_name, range(executions)))))
    sage.execute(MIGRATIONS, (files, sum(part_of(name, 0, None) for name in file_names(files)) % MODULUS))
    sage.execute(ATTEMPTS)
    for table in ("ejecuciones_yaml", "janitor_migrations", "janitor_attempts"):
        sage.execute(f"VACUUM ANALYZE {table}")


@contextmanager
def _product(sage: Installation, _scratch: Path) -> Iterator[Trial]:
    """It ends with 0 only if everything is as the database says."""
    yield Trial([sys.executable, str(sage.program), "audit", "--all"], sage.environment, partial(_require_proven, sage))


def _require_proven(sage: Installation) -> None:
    """Raises `RuntimeError` unless the listed checksums prove every copy."""
    with sage.start("audit", "--all", "--json") as command:
        (told,) = json.loads(command.finish(LONGEST_SECONDS).output)["providers"]
    if not told["checksum"] == told["executions"] > 0:
        raise RuntimeError(str(told))


@contextmanager
def _peer(files: Path, destination: Destination, _scratch: Path) -> Iterator[Trial]:
    command = rclone_check(files, destination)
    yield Trial(command.arguments, command.environment, lambda: None)


if __name__ == "__main__":
    run_from_command_line(__doc__, run, executions=10_000, files=99)
