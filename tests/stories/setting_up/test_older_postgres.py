"""The oldest server that the tests can have: what the README says of older ones must stay true."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.destinations import Destination
from tests.servers.postgres.older_postgres import OlderPostgres
from tests.stories.installation import Installation


@pytest.fixture
def older_url() -> Iterator[str]:
    """The URI of an empty database on that server."""
    with tempfile.TemporaryDirectory(prefix="janitor-older-") as directory:
        Path(directory).chmod(0o755)
        with OlderPostgres(Path(directory), {"fsync": "off"}) as server:
            yield server.url_of("postgres")


def test_a_whole_life_on_an_older_server(older_url: str, tmp_path: Path, nas: Destination) -> None:
    with contextlib.closing(Installation(tmp_path / "sage", older_url)) as installation:
        assert int(installation.rows("SHOW server_version_num")[0]["server_version_num"]) < 170000
        assert installation.run("init-db").exit_code == 0
        installation.configure(installation.add_provider(nas), eliminar_despues_de_migrar=True)
        directory = installation.small_execution("uno")
        assert installation.run("check").exit_code == 0
        run = installation.run()
        assert run.exit_code == 0, str(run)
        assert not directory.exists()
        assert installation.run("status").exit_code == 0
        assert installation.run("restore", "uno", str(tmp_path / "vuelta")).exit_code == 0
        assert sorted(path.name for path in (tmp_path / "vuelta").iterdir()) == ["ejecucion.txt", "tabla.txt"]
