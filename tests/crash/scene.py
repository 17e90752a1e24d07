"""An installation in which runs are killed: its executions, its destinations, its checker, and a sentinel outside."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tests.crash.checker import Checker, Original, Store, tree_of
from tests.crash.program import Ended, Program
from tests.destinations import Destination
from tests.stories.installation import Installation

PREFIX = "sage/pruebas"
LARGE_FILE_BYTES = 8 * 1024 * 1024 + 1000
"""One byte more than a part would do; S3 and Azure take it in two."""

KILLED = -signal.SIGKILL

LOOKED_AT_CLOSELY_EACH = 3
"""That objects and manifest are right is looked at each time; a restore and a tick with nothing to do cost as much as
all the rest."""


class Scene:
    """One installation, used for many kills: every one has executions of its own."""

    def __init__(
        self,
        program: Program,
        installation: Installation,
        destinations: Sequence[Destination],
        *,
        delete: bool,
        transfers: int = 1,
        settings: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._program = program
        self.installation = installation
        self._delete = delete
        self._environment = {**installation.environment, "JANITOR_TRANSFERS": str(transfers), **settings}
        stores: dict[int, Store] = {}
        for destination in destinations:
            provider_id = installation.add_provider(destination)
            stores[provider_id] = Store(destination.kind, destination.credentials or {}, destination.options)
        self.provider_ids = list(stores)
        self.go_to(*stores)
        self._checker = Checker(installation.database_url, stores, PREFIX)
        self._originals: list[Original] = []
        self._settled = 0
        self._sentinel = installation.directory / "centinela"
        self._sentinel.mkdir()
        (self._sentinel / "intocable").write_text("nadie toca esto")
        self._sentinel_tree = tree_of(self._sentinel)

    def close(self) -> None:
        """Leave the database."""
        self._checker.close()

    def go_to(self, *provider_ids: int) -> None:
        """From now on executions go to these providers, in this order of preference."""
        self.installation.configure(
            *provider_ids, prefijo_ruta_nube=PREFIX, eliminar_despues_de_migrar=self._delete, tiempo_retencion_local=0
        )

    def add_execution(self, *, large: bool = False, rng: random.Random | None = None) -> Original:
        """An execution with a bit of everything, or with random files."""
        uuid = f"e{len(self._originals):04d}"
        directory = self.installation.new_directory(uuid)
        if rng is None:
            _fill(directory, uuid, large=large)
        else:
            _fill_at_random(directory, rng)
        (directory / "hacia-fuera").symlink_to(self._sentinel)
        self.installation.add_execution(uuid, directory)
        original = Original(uuid, directory, tree_of(directory))
        self._originals.append(original)
        return original

    def run(self, *arguments: str, **how: Any) -> Ended:
        """One run of the command line; see `Program.run`."""
        return self._program.run(arguments, self._environment, self.installation.directory / "trabajo", **how)

    def environment(self) -> Mapping[str, str]:
        """What a run sees, for those that start one by themselves."""
        return self._environment

    def require_nothing_lost(self, ended: Ended) -> None:
        """Right after a death: no local copy is touched that is not committed, and what is committed is there."""
        wrong = [text for original in self._unsettled() for text in self._checker.wrong_at_any_moment(original)]
        assert not wrong, f"{wrong} after {ended}"

    def require_nothing_unfinished(self, ended: Ended, but_for: Collection[str] = ()) -> None:
        """No upload is left unfinished at any store, but for those of files of these names, whose parts are of use."""
        names = {key for store in self._stores() for key in store.names() if "(unfinished)" in key or ".part" in key}
        left = {key for key in names if key.removesuffix(" (unfinished)").rpartition("/")[2] not in but_for}
        assert not left, f"{left} after {ended}"

    def require_all_is_well_after_two_ticks(self, ended: Ended) -> None:
        """Two ordinary ticks finish everything and leave nothing but copies that can be restored, and nothing to do.

        The runs before may have failed more than once, so what waits after failures is due again. Where the first tick
        has finished everything, the second would be one with nothing to do, which is looked at closely below.
        """
        self.installation.let_pauses_end()
        if self._wrong_after_a_tick(ended):
            wrong = self._wrong_after_a_tick(ended)
            assert not wrong, f"{wrong} after {ended}"
        if len(self._originals) % LOOKED_AT_CLOSELY_EACH == 0:
            self._require_restorable(ended)
            self._require_idle_tick(ended)
        assert tree_of(self._sentinel) == self._sentinel_tree
        self._settled = len(self._originals)

    def _wrong_after_a_tick(self, ended: Ended) -> list[str]:
        tick = self.run()
        assert tick.exit_code == 0, f"{tick}\nafter {ended}"
        return list(self._checker.wrong_at_rest(self._unsettled(), deleted=self._delete))

    def _require_restorable(self, ended: Ended) -> None:
        for original in self._unsettled():
            target = self.installation.directory / "recuperada"
            restored = self.run("restore", original.uuid, str(target))
            assert restored.exit_code == 0, f"{restored}\nafter {ended}"
            assert tree_of(target) == original.tree, f"{original.uuid} restored otherwise, after {ended}"
            shutil.rmtree(target)

    def _require_idle_tick(self, ended: Ended) -> None:
        before = self._checker.state()
        tick = self.run()
        assert tick.exit_code == 0, f"{tick}\nafter {ended}"
        assert self._checker.state() == before, f"the third tick wrote something, after {ended}"
        asked = [name for name in tick.reached if name.partition(" ")[0] not in ("sql", "mkdir")]
        assert not asked, f"the third tick did {asked}, after {ended}"

    def _unsettled(self) -> list[Original]:
        return self._originals[self._settled :]

    def _stores(self) -> list[Store]:
        return list(self._checker.stores.values())


def _fill(directory: Path, uuid: str, *, large: bool) -> None:
    (directory / "resultados" / "vacío").mkdir(parents=True)
    (directory / "resultados" / "tabla.csv").write_text(f"fecha,importe\n2026-01-31,{uuid}\n" * 50)
    (directory / "ejecución número 1.yaml").write_text(f"nombre: {uuid}\n")
    (directory / "nada").touch()
    (directory / "enlace").symlink_to("resultados/tabla.csv")
    (directory / "resultados" / "tabla.csv").chmod(0o640)
    os.utime(directory / "resultados", ns=(0, 1_700_000_000_000_000_123))
    if large:
        (directory / "grande.bin").write_bytes(os.urandom(LARGE_FILE_BYTES))


def _fill_at_random(directory: Path, rng: random.Random) -> None:
    for number in range(rng.randint(0, 12)):
        parent = directory
        for depth in range(rng.randint(0, 3)):
            parent = parent / f"nivel {depth} {rng.randint(0, 2)}"
        parent.mkdir(parents=True, exist_ok=True)
        (parent / f"fichero {number}").write_bytes(rng.randbytes(rng.choice((0, 1, 100, 5000, 70_000))))
