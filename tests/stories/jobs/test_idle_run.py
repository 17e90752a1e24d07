"""A run with nothing to do, as most of cron's are, loads nothing that it does not use."""

from __future__ import annotations

import subprocess
import sys

from tests.destinations import Destination
from tests.repository import REPOSITORY
from tests.stories.installation import Installation

RUN = f"""
import sys
sys.path.insert(0, {str(REPOSITORY)!r})
import janitor_daemon
try:
    janitor_daemon.main()
finally:
    print(*sys.modules, sep=chr(10))
"""

NOT_FOR_AN_IDLE_RUN = {
    *("azure", "boto3", "botocore", "cryptography", "google", "obstore", "paramiko", "requests"),
    *("asyncio", "concurrent.futures", "dotenv", "secrets", "tempfile", "tenacity"),
    *(
        "jobs.migration.attempts",
        "commands.check",
        "commands.subcommands",
        "commands.table",
        "demo.story",
        "jobs.migration.leftovers",
        "jobs.migration.removal.local_copies",
    ),
    *(
        "storage.manifest",
        "jobs.migration.run",
        "jobs.migration.preview",
        "jobs.migration.queue.progress",
        "config.process.last_line",
        "jobs.migration.removal.removal",
        "jobs.migration.restore.run",
    ),
    *(
        "commands.secret_store",
        "commands.status",
        "storage.traffic.transfers",
        "files.walk",
        "storage.upload",
        "providers.local.provider",
    ),
}


def modules_of_a_run(installation: Installation) -> set[str]:
    """What a run has loaded by its end."""
    answer = subprocess.run(
        [sys.executable, "-c", RUN],
        env=installation.environment,
        cwd=installation.directory,
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return set(answer.stdout.split())


def test_a_run_with_nothing_to_do_loads_only_what_it_needs(installation: Installation, nas: Destination) -> None:
    """Neither where nothing is due, nor where what is due lies on another host; and then what it needs, after all."""
    installation.configure(installation.add_provider(nas), eliminar_despues_de_migrar=True)
    installation.add_execution("en-otra-maquina", installation.executions / "en-otra-maquina")
    loaded = modules_of_a_run(installation)
    assert {"click", "psycopg2", "janitor_daemon", "jobs.temp_files.clean"} <= loaded
    assert loaded & NOT_FOR_AN_IDLE_RUN == set()
    installation.small_execution("uno")
    assert {"jobs.migration.run", "storage.upload", "providers.local.provider"} <= modules_of_a_run(installation)
