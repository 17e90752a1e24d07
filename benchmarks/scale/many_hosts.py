"""Many hosts on one database: processes that pose as hosts migrate at once, to `rclone serve s3`, what is on their
own disks or on one that all share. `benchmarks/CAPACITY.md` reckons with what is counted here.

python -m benchmarks.scale.many_hosts --executions 400 --files 3
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import resource
import secrets
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.arena import stores
from benchmarks.arena.installations import installation
from demo.servers.postgres import EmbeddedPostgres
from tests.stories.installation import Installation
from tests.stories.posing_hosts import EVERY_HOST, LockWatch, PosingHosts

HOSTS = (1, 2, 4, 8)
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
COPIES = 20_000
LINE = "1M"
"""What each host's own line carries in a second, where that is the limit."""

FILES_ON_THE_LINE = 4
LINES_OF_A_FILE = 13_000
"""Some 256 KB."""

TRANSACTIONS_OF_A_LOOK = 2
SECONDS_TO_LEAVE = 0.5
"""A session counts what it did when it ends, which is a little after its client has ended."""

TABLES = ("ejecuciones_yaml", "janitor_migrations", "janitor_attempts", "janitor_runs")


@dataclass(frozen=True, slots=True)
class Spent:
    """What a moment's clocks and counters show, or the difference of two moments."""

    seconds: float
    client_cpu_seconds: float
    server_cpu_seconds: float
    transactions: int
    wal_bytes: int

    def since(self, earlier: Spent) -> Spent:
        """What was spent between the two."""
        return Spent(
            self.seconds - earlier.seconds,
            self.client_cpu_seconds - earlier.client_cpu_seconds,
            self.server_cpu_seconds - earlier.server_cpu_seconds,
            self.transactions - earlier.transactions,
            self.wal_bytes - earlier.wal_bytes,
        )

    def described(self) -> str:
        """In words, for one tick."""
        return (
            f"{self.transactions} transactions, {self.wal_bytes} bytes of WAL, "
            f"CPU of PostgreSQL {self.server_cpu_seconds:.2f} s, of the host {self.client_cpu_seconds:.2f} s"
        )


def main() -> None:
    """Read the command line, run everything and print what was counted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executions", type=int, default=400, help="how many executions in all (400)")
    parser.add_argument("--files", type=int, default=3, help="how many files in each (3)")
    parser.add_argument("--strangers", type=int, default=20_000, help="how many rows of others are walked past (20000)")
    parser.add_argument("--hosts", type=int, nargs="+", default=HOSTS, help="how many hosts (1 2 4 8)")
    arguments = parser.parse_args()
    run(arguments.executions, arguments.files, arguments.strangers, arguments.hosts)


def run(executions: int, files: int, strangers: int, hosts: Sequence[int] = HOSTS) -> None:
    """Measure and print. Raises `RuntimeError` when an execution was migrated twice, or not at all."""
    with tempfile.TemporaryDirectory(prefix="janitor-bench-") as name:
        Path(name).chmod(0o755)  # the server of a run by root has another user, who must pass
        with EmbeddedPostgres(Path(name, "postgres")) as postgres, stores.s3() as store:
            bench = Bench(Path(name), postgres, store)
            bench.print_idle_tick()
            bench.print_strangers(strangers)
            print("CPU, transactions and WAL for each execution, beyond those of a tick with nothing to do:")
            print(HEAD)
            for disks in ("own", "shared"):
                for number in hosts:
                    bench.print_contest(disks, number, executions, files)
            print(f"Throughput of hosts whose own lines are the limit, {LINE}iB/s each:")
            for number in hosts:
                bench.print_throughput(number, executions // 40 or 1)


HEAD = (
    f"{'disks':<8}{'hosts':>6}{'wall s':>8}{'client CPU ms':>15}{'server CPU ms':>15}{'transactions':>14}"
    f"{'WAL KiB':>9}{'sessions':>10}{'lock wait ms':>14}{'least-most of a host':>22}"
)


class Bench:
    """Servers that run, and what is measured on them."""

    def __init__(self, directory: Path, postgres: EmbeddedPostgres, store: stores.Store) -> None:
        self._directory = directory
        self._postgres = postgres
        self._store = store
        self._idle = Spent(0.0, 0.0, 0.0, 0, 0)

    @contextlib.contextmanager
    def _platform(self) -> Iterator[Installation]:
        """An installation that migrates to an empty bucket, and deletes."""
        directory = self._directory / secrets.token_hex(4)
        with self._store.destination() as destination, installation(directory, self._postgres) as sage:
            sage.configure(sage.add_provider(destination), eliminar_despues_de_migrar=True)
            yield sage

    def print_idle_tick(self) -> None:
        """What a tick costs that finds nothing to do: what follows is more than that for each tick."""
        with self._platform() as sage:
            hosts = PosingHosts(sage, ["host-0"])
            tick_all(hosts, ["host-0"])  # the first one finds cold caches
            before = self._now(sage)
            tick_all(hosts, ["host-0"])
            self._idle = self._since(before, sage)
        print(f"a tick with nothing to do: {self._idle.described()}")

    def print_strangers(self, strangers: int) -> None:
        """What a tick costs that walks past the executions of other hosts."""
        with self._platform() as sage:
            hosts = PosingHosts(sage, ["host-0"])
            sage.execute(
                "INSERT INTO ejecuciones_yaml (uuid, ruta_directorio, fecha_ejecucion) "
                "SELECT 'stranger-' || n, %s || '/host-' || n %% 1000 + 1 || '/' || n, now() - interval '2 days' "
                "FROM generate_series(1, %s) AS n",
                (str(sage.executions), strangers),
            )
            sage.execute("ANALYZE")
            before = self._now(sage)
            tick_all(hosts, ["host-0"])
            spent = self._since(before, sage).since(self._idle)
        print(f"and one that walks past {strangers} rows of other hosts, beyond that: {spent.described()}")

    def print_contest(self, disks: str, number: int, executions: int, files: int) -> None:
        """One line: a number of hosts at once, and for a single host what the tables then hold."""
        with self._platform() as sage:
            names = [f"host-{host}" for host in range(number)]
            hosts = PosingHosts(sage, names)
            for execution in range(executions):
                disk = EVERY_HOST if disks == "shared" else names[execution % number]
                hosts.add_execution(f"execution-{execution:06}", disk, files)
            sage.execute("CHECKPOINT")
            before = self._now(sage)
            with LockWatch(self._postgres.database_url) as watch:
                tick_all(hosts, names)
            spent = self._since(before, sage)
            for _ in names:
                spent = spent.since(replace(self._idle, seconds=0.0))
            share = require_each_once(sage, executions)
            print(_line(disks, number, executions, spent, watch, [share.get(name, 0) for name in names]), flush=True)
            if number == 1 and disks == "own":
                print_tables(sage, executions)

    def print_throughput(self, number: int, executions: int) -> None:
        """One line: what a number of hosts move in all, each from its own disk, at the speed of its own line."""
        with self._platform() as sage:
            names = [f"host-{host}" for host in range(number)]
            hosts = PosingHosts(sage, names)
            for name in names:
                for execution in range(executions):
                    hosts.add_execution(f"{name}-{execution:06}", name, FILES_ON_THE_LINE, LINES_OF_A_FILE)
            moved_bytes = sum(path.stat().st_size for path in sage.executions.rglob("*.csv"))
            before = self._now(sage)
            tick_all(hosts, names, JANITOR_BANDWIDTH_LIMIT=LINE)
            seconds = self._since(before, sage).seconds - SECONDS_TO_LEAVE
            require_each_once(sage, number * executions)
            rate = moved_bytes / 2**20 / seconds
            print(f"{number:>6} hosts: {rate:.2f} MiB/s in all, {rate / number:.2f} each, {seconds:.1f} s", flush=True)

    def _since(self, before: Spent, sage: Installation) -> Spent:
        spent = self._now(sage).since(before)
        return replace(spent, transactions=spent.transactions - TRANSACTIONS_OF_A_LOOK)

    def _now(self, sage: Installation) -> Spent:
        time.sleep(SECONDS_TO_LEAVE)
        sage.execute("SELECT pg_stat_force_next_flush()")
        (row,) = sage.rows(
            "SELECT pg_current_wal_lsn() - '0/0' AS wal, xact_commit + xact_rollback AS transactions "
            "FROM pg_stat_database WHERE datname = current_database()"
        )
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        server = server_cpu_seconds(self._postgres.process_id or 0)
        client = children.ru_utime + children.ru_stime
        return Spent(time.perf_counter(), client, server, int(row["transactions"]), int(row["wal"]))


def tick_all(hosts: PosingHosts, names: Sequence[str], **variables: str) -> None:
    """One tick of each, at once. Raises `RuntimeError` when one fails."""
    with hosts.all_at_once(names, **variables) as commands:
        for name, command in commands.items():
            run = command.finish(math.inf)
            if run.exit_code != 0:
                raise RuntimeError(f"{name}: {run}")


def require_each_once(sage: Installation, executions: int) -> Mapping[str, int]:
    """How many each host migrated. Raises `RuntimeError` unless each execution was taken up, and committed, once."""
    (row,) = sage.rows(
        "SELECT count(*) FILTER (WHERE state = 'migrated' AND fencing_token = 1 AND attempts = 1) AS once, "
        "(SELECT count(*) FROM janitor_attempts WHERE state = 'committed') AS committed, "
        "(SELECT count(*) FROM janitor_attempts) AS attempts FROM janitor_migrations"
    )
    if set(row.values()) != {executions}:
        raise RuntimeError(f"of {executions} executions: {row}")
    rows = sage.rows("SELECT host, count(*) AS count FROM janitor_migrations GROUP BY host")
    return {row["host"]: row["count"] for row in rows}


def server_cpu_seconds(process_id: int) -> float:
    """What PostgreSQL has used: the postmaster, its sessions that ended, and those that run (proc(5))."""
    ticks = 0
    for child in Path(f"/proc/{process_id}/task/{process_id}/children").read_text().split():
        with contextlib.suppress(FileNotFoundError):  # it has ended meanwhile
            ticks += sum(_stat(int(child))[11:13])
    return (ticks + sum(_stat(process_id)[11:15])) / CLOCK_TICKS  # utime, stime, and those of its children that ended


def _stat(process_id: int) -> list[int]:
    """The fields after the name and the state, which is the first."""
    text = Path(f"/proc/{process_id}/stat").read_text()
    return [0, *map(int, text.rpartition(")")[2].split()[1:])]


def _line(disks: str, number: int, executions: int, spent: Spent, watch: LockWatch, share: Sequence[int]) -> str:
    each_ms = 1000 / executions
    lock_wait_ms = watch.longest_wait_seconds * 1000
    return (
        f"{disks:<8}{number:>6}{spent.seconds:>8.1f}{spent.client_cpu_seconds * each_ms:>15.1f}"
        f"{spent.server_cpu_seconds * each_ms:>15.2f}{spent.transactions / executions:>14.1f}"
        f"{spent.wal_bytes / executions / 1024:>9.2f}{watch.most_sessions:>10}{lock_wait_ms:>14.1f}"
        f"{f'{min(share)}-{max(share)}':>22}"
    )


def print_tables(sage: Installation, executions: int) -> None:
    """What vacuum finds in the tables, and how large a row is, its part of the indexes included."""
    for table in TABLES:
        (row,) = sage.rows(
            "SELECT n_tup_ins, n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = %s", (table,)
        )
        print(
            f"  {table}: {row['n_tup_ins'] / executions:.2f} rows inserted, {row['n_tup_upd'] / executions:.2f} "
            f"updated (as many dead ones), {row['n_tup_hot_upd'] / executions:.2f} of them in their page, "
            f"per execution; "
            f"{bytes_per_row(sage, table):.0f} bytes a row"
        )


def bytes_per_row(sage: Installation, table: str) -> float:
    """The size of a table with its indexes, by the row, once one of its rows has been copied many times."""
    sage.execute(
        f"INSERT INTO {table} OVERRIDING SYSTEM VALUE "  # noqa: S608 our own names
        f"SELECT (jsonb_populate_record(NULL::{table}, to_jsonb(model) || jsonb_build_object("
        "'id', 1000000 + n, 'execution_id', 1000000 + n))).* "
        f"FROM (SELECT * FROM {table} LIMIT 1) AS model, generate_series(1, %s) AS n",
        (COPIES,),
    )
    (row,) = sage.rows("SELECT pg_total_relation_size(%s) AS bytes", (table,))
    return float(row["bytes"]) / COPIES


if __name__ == "__main__":
    main()
