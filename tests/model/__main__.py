"""`python -m tests.model --count 1000000`: plays histories until one loses something, or there were enough."""

from __future__ import annotations

import argparse
import itertools
import secrets
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from demo.servers.postgres import EmbeddedPostgres
from tests.model.histories import FAMILIES
from tests.model.search import new_world, search
from tests.model.stores import KINDS
from tests.model.world import Loss, World

HISTORIES_PER_SEARCH = 500


def main() -> int:
    """1 if a history loses something."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="how many histories")
    parser.add_argument("--kind", choices=list(KINDS), action="append", help="only with these kinds of destination")
    parser.add_argument("--family", choices=list(FAMILIES), action="append", help="only these kinds of histories")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**9), help="to play the same ones again")
    arguments = parser.parse_args()
    print(f"--seed {arguments.seed}", flush=True)  # noqa: T201
    with tempfile.TemporaryDirectory(prefix="janitor-model-") as directory:
        Path(directory).chmod(0o755)  # the server of a run by root has another user, who must pass
        with EmbeddedPostgres(Path(directory, "postgres"), {"fsync": "off"}) as postgres, new_world(postgres) as world:
            where = itertools.product(arguments.family or FAMILIES, arguments.kind or KINDS)
            return _search(world, list(where), arguments.count, arguments.seed)


def _search(world: World, where: Sequence[tuple[str, str]], count: int, seed: int) -> int:
    started = time.monotonic()
    searches = zip(itertools.count(seed), itertools.cycle(where))
    for played in range(0, count, HISTORIES_PER_SEARCH):
        number, (family, kind) = next(searches)
        try:
            search(world, family, kind, min(HISTORIES_PER_SEARCH, count - played), number)
        except Loss as loss:
            print(loss)  # noqa: T201
            return 1
        finally:
            print(f"{world.histories} histories in {time.monotonic() - started:.0f} s", flush=True)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
