"""A defect of the program that one execution brings out stops neither the others nor the next job."""

from __future__ import annotations

import os

import pytest

from config.models import Tree
from config.settings import load_settings
from janitor_daemon import JanitorDaemon
from jobs.manifest import Manifest
from jobs.report import EXIT_SOMETHING_FAILED
from jobs.upload import Upload
from sql.database import ProvenCopy
from tests.destinations import Destination
from tests.stories.installation import Installation


def test_a_defect_that_one_execution_brings_out_does_not_stop_the_others(
    installation: Installation, nas: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = installation.add_provider(nas)
    installation.configure(provider, eliminar_despues_de_migrar=True)
    directory = installation.small_execution("uno", age_hours=100)
    installation.small_execution("dos")
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
    assert installation.migration("uno")["state"] == "failed"
    assert directory.is_dir()
    assert installation.place("dos") == (True, "cloud://local/ejecuciones/dos", provider)
    assert not old.exists()
