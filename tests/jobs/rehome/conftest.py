"""An installation whose executions went to an alternate, and the job that brings them home, in this process."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from config.errors import RunInterrupted
from config.models import ProviderRow
from config.settings import load_settings
from jobs import provider_set
from jobs.context import Context
from jobs.job import Outcome
from jobs.rehome import run as rehome
from jobs.rehome.job import JOB
from jobs.rehome.settings import RehomeSettings
from jobs.signals import Interruption
from providers import build_provider
from providers.base import Provider
from sql.database import Database
from tests.destinations import Destination, local_destination
from tests.faults.faulty_provider import Fault, FaultyProvider
from tests.stories.installation import Installation


class Away:
    """Two destinations: `home` is the primary provider, `other` is where the executions are."""

    def __init__(
        self, installation: Installation, home: Destination, other: Destination, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.installation = installation
        self.home = home
        self.other = other
        self.home_id = installation.add_provider(home, "principal")
        self.other_id = installation.add_provider(other, "alternativo")
        self.faults: dict[int, list[Fault]] = {}
        self.used: dict[int, FaultyProvider] = {}
        self.interruption = Interruption()
        monkeypatch.setattr(provider_set, "build_provider", self._build)

    def _build(self, row: ProviderRow) -> Provider:
        self.used[row.id] = FaultyProvider(build_provider(row), self.faults.get(row.id, ()))
        return self.used[row.id]

    def migrate(self, *uuids: str) -> None:
        """Have executions at the alternate, as when the primary was down."""
        for uuid in uuids:
            self.installation.small_execution(uuid)
        self.installation.configure(self.other_id, eliminar_despues_de_migrar=True)
        run = self.installation.run()
        assert run.exit_code == 0, str(run)
        self.installation.configure(self.home_id, self.other_id, eliminar_despues_de_migrar=True)

    def rehome(
        self, max_bytes: int | None = None, host: str = "norte", wrap: Callable[[Any], Any] = lambda it: it
    ) -> Outcome:
        """One run of the job, in the name of a new run of the program that ends as such."""
        environment = {**self.installation.environment, "JANITOR_HOST": host}
        with closing(Database(self.installation.database_url, host)) as database:
            seen = database.start_run(1, "tick", "test")
            token = database.job_records.claim("rehome", is_platform=True, seen_token=None)
            assert token is not None
            settings = RehomeSettings(enabled=True, max_bytes=max_bytes)
            context = Context(
                JOB, load_settings(environment), settings, wrap(database), seen.now, self.interruption,
                fencing_token=token,
            )  # fmt: skip
            try:
                outcome = rehome.run(context)
            except RunInterrupted:
                database.finish_run(143, {})
                raise
            database.finish_run(0, {})
        return outcome

    def tick(self) -> None:
        """A tick of the migration, which removes what is left over."""
        run = self.installation.run("--migrate-only")
        assert run.exit_code == 0, str(run)

    def is_at(self, uuid: str, provider_id: int) -> bool:
        """Whether the row says so."""
        return self.installation.place(uuid)[2] == provider_id

    def require_whole(self, uuid: str) -> None:
        """Restore an execution from where its row says it is, by the program's own command."""
        target = self.installation.directory / f"de-vuelta-{len(list(self.installation.directory.iterdir()))}"
        run = self.installation.run("restore", uuid, str(target))
        assert run.exit_code == 0, str(run)
        assert (target / "tabla.txt").read_text() == f"a,b\n1,{uuid}\n"


@pytest.fixture
def away(installation: Installation, nas: Destination, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Away:
    """Both on this machine."""
    return Away(installation, nas, local_destination("otro", tmp_path / "otro"), monkeypatch)


@pytest.fixture
def new_away(
    installation: Installation, new_destination: Callable[[str], Destination], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, str], Away]:
    """On real servers: the primary one and the other, by name."""
    return lambda home, other: Away(installation, new_destination(home), new_destination(other), monkeypatch)
