"""A defect of the program that one execution brings out stops neither the others nor the next job."""

from __future__ import annotations

import os
from typing import Any

import pytest

from config.exit_codes import EXIT_CONFIGURATION, EXIT_DATABASE, EXIT_SOMETHING_FAILED
from config.fields import FieldError
from config.models import Execution, MigrationPolicy
from config.settings import load_settings
from janitor_daemon import JanitorDaemon
from jobs.migration.run import CLAIMED_AT_A_TIME
from sql.database import Database, DatabaseError, DatabaseUnavailable, SchemaError
from storage import upload
from storage.manifest import Manifest, make_manifest
from tests.destinations import Destination
from tests.stories.installation import Installation


def test_a_defect_that_one_execution_brings_out_does_not_stop_the_others(
    installation: Installation, nas: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = installation.add_provider(nas)
    installation.configure(provider, eliminar_despues_de_migrar=True)
    directory = installation.small_execution("uno", age_hours=100)
    others = [f"otra-{number}" for number in range(2 * CLAIMED_AT_A_TIME)]
    for uuid in others:
        installation.small_execution(uuid)
    old = installation.temporary / "old"
    old.touch()
    os.utime(old, (0, 0))

    def make_or_stumble(execution: Execution, *arguments: Any) -> Manifest:
        if execution.uuid == "uno":
            raise ZeroDivisionError("a defect")
        return make_manifest(execution, *arguments)

    monkeypatch.setattr(upload, "make_manifest", make_or_stumble)
    assert JanitorDaemon(load_settings(installation.environment)).run() == EXIT_SOMETHING_FAILED
    assert installation.place("uno") == (False, None, None)
    assert installation.migration("uno")["error_code"] == "migration_error"
    assert directory.is_dir()
    for uuid in others:
        assert installation.place(uuid) == (True, f"cloud://local/ejecuciones/{uuid}", provider)
    assert not old.exists()


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (DatabaseUnavailable("se perdió"), EXIT_DATABASE),
        (SchemaError("falta una tabla"), EXIT_CONFIGURATION),
        (FieldError("un campo está mal"), EXIT_CONFIGURATION),
        (DatabaseError("no se pudo"), EXIT_SOMETHING_FAILED),
        (ZeroDivisionError("a defect"), EXIT_SOMETHING_FAILED),
    ],
)
def test_what_stops_one_job_decides_the_exit_code_and_does_not_stop_the_next(
    installation: Installation, error: Exception, exit_code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = installation.temporary / "old"
    old.touch()
    os.utime(old, (0, 0))

    def fail(_database: Database) -> MigrationPolicy | None:
        raise error

    monkeypatch.setattr(Database, "load_policy", fail)
    assert JanitorDaemon(load_settings(installation.environment)).run() == exit_code
    assert not old.exists()
    assert installation.rows("SELECT exit_code FROM janitor_runs") == [{"exit_code": exit_code}]
