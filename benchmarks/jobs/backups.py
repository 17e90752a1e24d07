"""Backups of a database beside `pg_dump` and `gzip`, restores beside `gunzip | psql`.

python -m benchmarks.jobs.backups --rows 5000000 --rounds 5

Ten tables, one of them with the given number of rows, the others with a twentieth each: 5,000,000 are some 1.5 GB. The
product reads back all that it writes, and hashes it; the peers do neither. The sizes are held to their goals, too.
"""

from __future__ import annotations

import itertools
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.arena.workshop import postgres_of_this_process
from benchmarks.measuring.command_line import run_from_command_line
from benchmarks.measuring.contest import Contestant, Trial, compete, environment_of_steps, lines_of, raw
from benchmarks.measuring.results import PRODUCT, Goals, Report
from demo.servers.postgres import EmbeddedPostgres

NUMBERS = itertools.count(1)
TABLES = 10
SHARE_OF_OTHERS = 20
STEP = (sys.executable, "-m", "benchmarks.jobs.single_steps")

TABLE = """
CREATE TABLE table_{number} (
    id bigserial PRIMARY KEY, uuid text, state text, amount numeric, note text, at timestamptz
);
INSERT INTO table_{number} (uuid, state, amount, note, at)
SELECT md5(g::text), (ARRAY['nueva', 'hecha', 'error'])[1 + g % 3], round((g::bigint * 7919 % 1000003) / 100.0, 2),
       'paso ' || g % 97 || ': ' || repeat(md5((g * 31)::text), 2) || ' de la ejecución',
       now() - g * interval '1 minute'
FROM generate_series(1, {rows}) AS g;
"""
CHANGE = "UPDATE table_{number} SET state = 'otra', amount = amount + 1 WHERE id % 100 = 7;"


@dataclass(frozen=True, slots=True)
class Database:
    """The one that is backed up."""

    server: EmbeddedPostgres
    name: str

    @property
    def url(self) -> str:
        """Its libpq URI."""
        return self.server.url_of(self.name)

    def psql(self, *statements: str) -> str:
        """Run statements; what they say."""
        psql = [str(self.server.binaries / "psql"), "-XqAt", "-v", "ON_ERROR_STOP=1", self.url]
        return subprocess.run(
            psql, input="\n".join(statements), check=True, text=True, stdout=subprocess.PIPE
        ).stdout.strip()


def run(rows: int, rounds: int) -> Report:
    """All contests, over a number of rows in the largest table."""
    with tempfile.TemporaryDirectory(prefix="janitor-bench-") as name:
        directory = Path(name)
        database = _filled(rows)
        size = f"{int(database.psql('SELECT pg_database_size(current_database())')) / 1e6:,.0f} MB"
        base = _made(database, directory / "base")
        ours = Contestant(PRODUCT, partial(_full, database))
        peers = [
            Contestant("pg_dump | gzip -6", partial(_dump, database, "gzip -6"), Goals(0.3, 0.25, 100)),
            Contestant("pg_dump | igzip", partial(_dump, database, f"{sys.executable} -m isal.igzip"), Goals(1.1)),
        ]
        played = compete(ours, peers, rounds)
        lines = lines_of(f"a full backup of {size}", peers, played)
        contests = [("when nothing changed", Goals(1.05, None, 120), 2048)]
        contests.append(("of 1 % changed", Goals(1.2, None, 120), int(0.015 * base.stat().st_size)))
        for which, goals, largest_bytes in contests:
            if "1 %" in which:
                database.psql(*(CHANGE.format(number=number) for number in range(TABLES)))
            peer = Contestant("the full backup", partial(_full, database), goals)
            mine = Contestant(PRODUCT, partial(_differential, database, base, largest_bytes))
            rounds_of_this = compete(mine, [peer], rounds)
            lines += lines_of(f"a differential of {size}, {which}", [peer], rounds_of_this)
            played += rounds_of_this
        differential = _made(database, directory / "later", base)
        later = directory / "later.sql.gz"
        _piped(f"{database.server.binaries}/pg_dump {shlex.quote(database.url)} | gzip -6 > {shlex.quote(str(later))}")
        peer = Contestant("gunzip | psql of a full dump", partial(_restore_by_hand, database, later), Goals(1.15))
        mine = Contestant(PRODUCT, partial(_restore, database, [base, differential]))
        rounds_of_this = compete(mine, [peer], rounds)
        lines += lines_of(f"a restore of {size} from full and differential", [peer], rounds_of_this)
        Database(database.server, "postgres").psql(f'DROP DATABASE "{database.name}" WITH (FORCE);')
        return Report("backups", lines, raw([*played, *rounds_of_this]))


def _filled(rows: int) -> Database:
    server = postgres_of_this_process()
    name = f"bench_{next(NUMBERS)}"
    server.new_database(name)
    database = Database(server, name)
    for number in range(TABLES):
        database.psql(TABLE.format(number=number, rows=rows if number == 0 else max(1, rows // SHARE_OF_OTHERS)))
    database.psql("VACUUM ANALYZE;")
    return database


def _made(database: Database, directory: Path, base: Path | None = None) -> Path:
    subprocess.run(_command(database, directory, base), check=True, env=environment_of_steps())
    return _file_in(directory)


def _command(database: Database, directory: Path, base: Path | None) -> Sequence[str]:
    arguments = [database.url, str(database.server.binaries), str(directory)]
    return [*STEP, "full", *arguments] if base is None else [*STEP, "differential", *arguments, str(base)]


def _piped(command: str) -> None:
    subprocess.run(["bash", "-o", "pipefail", "-c", command], check=True)


@contextmanager
def _full(database: Database, scratch: Path) -> Iterator[Trial]:
    yield Trial(
        _command(database, scratch / "out", None), environment_of_steps(), partial(_require_gzip, scratch / "out")
    )


@contextmanager
def _differential(database: Database, base: Path, largest_bytes: int, scratch: Path) -> Iterator[Trial]:
    def require_small() -> None:
        _require_gzip(scratch / "out")
        size = _file_in(scratch / "out").stat().st_size
        if size > largest_bytes and base.stat().st_size > SMALLEST_JUDGED_BYTES:
            raise RuntimeError(f"the differential has {size} bytes, more than {largest_bytes}")

    yield Trial(_command(database, scratch / "out", base), environment_of_steps(), require_small)


SMALLEST_JUDGED_BYTES = 20_000_000
"""In a smaller full backup what every differential begins with is more than its share."""


@contextmanager
def _dump(database: Database, compressor: str, scratch: Path) -> Iterator[Trial]:
    (scratch / "out").mkdir()
    path = shlex.quote(str(scratch / "out" / "dump.sql.gz"))
    command = f"{database.server.binaries}/pg_dump {shlex.quote(database.url)} | {compressor} > {path}"
    yield Trial(
        ["bash", "-o", "pipefail", "-c", command], environment_of_steps(), partial(_require_gzip, scratch / "out")
    )


def _require_gzip(directory: Path) -> None:
    """Raises `CalledProcessError` unless the one file is whole."""
    subprocess.run(["gunzip", "-t", _file_in(directory)], check=True)


def _file_in(directory: Path) -> Path:
    (path,) = directory.glob("*.sql.gz")
    return path


@contextmanager
def _new_database(database: Database) -> Iterator[Database]:
    name = f"restored_{next(NUMBERS)}"
    database.server.new_database(name)
    try:
        yield Database(database.server, name)
    finally:
        database.psql(f'DROP DATABASE "{name}" WITH (FORCE);')


def _same(database: Database) -> Callable[[Database], None]:
    question = "SELECT count(*), sum(amount), sum(hashtext(state)::bigint) FROM table_0;"

    def require(restored: Database) -> None:
        if restored.psql(question) != database.psql(question):
            raise RuntimeError("what was restored is not what was backed up")

    return require


@contextmanager
def _restore(database: Database, files: Sequence[Path], _scratch: Path) -> Iterator[Trial]:
    with _new_database(database) as restored:
        arguments = [restored.url, str(database.server.binaries), *map(str, files)]
        command = [*STEP, "restore", *arguments]
        yield Trial(command, environment_of_steps(), partial(_same(database), restored))


@contextmanager
def _restore_by_hand(database: Database, dump: Path, _scratch: Path) -> Iterator[Trial]:
    with _new_database(database) as restored:
        psql = f"{database.server.binaries}/psql -Xq -v ON_ERROR_STOP=1 {shlex.quote(restored.url)}"
        command = f"gunzip -c {shlex.quote(str(dump))} | {psql} > /dev/null"
        trial = ["bash", "-o", "pipefail", "-c", command]
        yield Trial(trial, environment_of_steps(), partial(_same(database), restored))


if __name__ == "__main__":
    run_from_command_line(__doc__, run, rows=5_000_000)
