"""A defect of the program that one execution brings out stops neither the others nor the next job."""

from __future__ import annotations

import os

import pytest

from config.exit_codes import EXIT_CONFIGURATION, EXIT_DATABASE, EXIT_SOMETHING_FAILED
from config.fields import FieldError
from config.models import MigrationPolicy, ProvenCopy
from config.settings import load_settings
from files.trees import Tree
from janitor_daemon import JanitorDaemon
from jobs.migration.run import CLAIMED_AT_A_TIME
from sql.database import Database, DatabaseError, DatabaseUnavailable, SchemaError
from storage.manifest import Manifest
from storage.upload import Upload
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
    run = Upload.run

    def run_or_stumble(upload: Upload, tree: Tree) -> tuple[ProvenCopy, Manifest]:
        if upload._execution.uuid == "uno":
            raise ZeroDivisionError("a defect")
        return run(upload, tree)

    monkeypatch.setattr(Upload, "run", run_or_stumble)
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
