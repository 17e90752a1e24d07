"""Contests in moving files: one tick of the daemon (start, claim, walk, hash, send, verify by new requests, record,
delete) beside programs that move the same files to the same server.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.arena.installations import EXECUTIONS_PREFIX, add_executions, installation
from benchmarks.arena.stores import Store
from benchmarks.arena.trees import copy_into, require_nothing_left
from benchmarks.arena.workshop import workshop
from benchmarks.measuring.contest import Contestant, Trial, compete, lines_of, raw
from benchmarks.measuring.peers import Peer
from benchmarks.measuring.results import PRODUCT, Report
from demo.servers.postgres import EmbeddedPostgres


@dataclass(frozen=True, slots=True)
class Move:
    """One row of the table: `make` makes its files in a directory, `store` starts its server."""

    name: str
    work: str
    make: Callable[[Path], None]
    store: Callable[[], AbstractContextManager[Store]]
    peers: Sequence[Peer]

    def run(self, rounds: int) -> Report:
        """Let product and peers move the files in turn. Raises when something did not arrive as it was."""
        with workshop(self.make) as (original, postgres), self.store() as store:
            product = Contestant(PRODUCT, partial(tick, original, store, postgres))
            peers = [Contestant(peer.name, partial(_move, original, store, peer), peer.goals) for peer in self.peers]
            played = compete(product, peers, rounds)
        return Report(self.name, lines_of(self.work, peers, played), raw(played))


@contextmanager
def tick(original: Path, store: Store, postgres: EmbeddedPostgres, scratch: Path) -> Iterator[Trial]:
    """One tick that deletes what it moved."""
    with store.destination() as destination, installation(scratch / "sage", postgres) as sage:
        sage.configure(sage.add_provider(destination), eliminar_despues_de_migrar=True)
        add_executions(sage, original)

        def require_done() -> None:
            require_nothing_left(sage.executions)
            store.require_holds(destination, EXECUTIONS_PREFIX, original)
            if unmoved := sage.rows("SELECT uuid FROM ejecuciones_yaml WHERE migrado_a_nube IS NOT TRUE"):
                raise RuntimeError(f"{len(unmoved)} executions are not recorded as migrated")

        yield Trial([sys.executable, str(sage.program)], sage.environment, require_done)


@contextmanager
def _move(original: Path, store: Store, peer: Peer, scratch: Path) -> Iterator[Trial]:
    """The same files with another program."""
    files = scratch / "files"
    copy_into(original, files)
    with store.destination() as destination:
        command = peer.command(files, destination)

        def require_done() -> None:
            require_nothing_left(files)
            store.require_holds(destination, "", original)

        yield Trial(command.arguments, command.environment, require_done)
