"""What is counted, not timed, and so is the same on a noisy machine: requests, bytes read, instructions.

    python -m benchmarks.migration.counts --files 2000 --instruction-files 500

Requests are counted by a proxy before the server, bytes read by strace, instructions by valgrind (callgrind): the
difference between two sizes divided by the files that one has more, so that the start of the program is not in it.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from benchmarks.arena import stores
from benchmarks.arena.installations import EXECUTIONS_PREFIX
from benchmarks.arena.stores import Store
from benchmarks.arena.trees import make_large_files, make_small_files
from benchmarks.arena.workshop import workshop
from benchmarks.measuring.command_line import run_from_command_line
from benchmarks.measuring.contest import Trial
from benchmarks.measuring.measure import run_measured
from benchmarks.measuring.results import Count, Report
from benchmarks.measuring.tracing import ToolMissing, bytes_read, instructions
from benchmarks.migration.moves import tick
from tests.destinations import Destination
from tests.faults.http_proxy import HttpFaultProxy

LISTED_PER_REQUEST = 1000
"""Objects in one page of a listing (Amazon S3 API, ListObjectsV2)."""

OTHER_REQUESTS_PER_EXECUTION = 3
"""A look at the place and one at its manifest before anything is sent there, and the manifest's own proof."""

REQUESTS_FOR_WANT_OF_CONDITIONS = 3
"""Where a server keeps no conditions, the manifest's upload is begun, its key looked at once more, and the upload
completed: so a request that comes late replaces nothing.
"""


def run(files: int, instruction_files: int) -> Report:
    """Count all; instructions for a number of files and for twice as many, or, with 0, not at all."""
    beyond = f"S3 requests for {files:,} files beyond N + 1 + N/1000"
    with_conditions = requests_of_one_execution(stores.s3_with_conditions, files).beyond(files)
    without = requests_of_one_execution(stores.s3, files).beyond(files)
    counts = [
        Count(beyond, with_conditions, OTHER_REQUESTS_PER_EXECUTION),
        Count(
            f"{beyond}, on a server that keeps no conditions",
            without,
            OTHER_REQUESTS_PER_EXECUTION + REQUESTS_FOR_WANT_OF_CONDITIONS,
        ),
        Count("bytes read of each local byte, S3", times_read(stores.s3), 1),
        Count("bytes read of each local byte, local", times_read(stores.local), 1),
    ]
    if instruction_files:
        counts += _instruction_counts(instruction_files)
    return Report("counts", [], [], counts)


@dataclass(frozen=True, slots=True)
class Requests:
    """How many requests one execution cost: its files, its manifest, listings of it, looks for unfinished uploads
    (which come after a repeated request), all others.
    """

    files: int
    manifest: int
    listings: int
    unfinished: int
    others: int

    def beyond(self, files: int) -> int:
        """How many more than one for each file, one for the manifest, and one listing for each thousand files."""
        pages = -(-files // LISTED_PER_REQUEST)
        return self.files + self.manifest + self.listings + self.unfinished + self.others - (files + 1 + pages)


def requests_of_one_execution(start: Callable[[], AbstractContextManager[Store]], files: int) -> Requests:
    """Migrate one execution with a number of files to S3, and count what it asks of the server."""
    make = partial(make_small_files, executions=1, files=files)
    with start() as store, _behind_a_proxy(store) as (counted, seen), _tick_of(make, counted) as (trial, _):
        run_measured(trial.command, trial.environment)
        trial.require_done()
        return requests_in("execution-00000", seen)


def requests_in(execution: str, seen: list[str]) -> Requests:
    """The requests that concern one execution, among lines as a proxy writes them (`PUT /bucket/key?query`)."""
    place = re.compile(rf"{EXECUTIONS_PREFIX}(/|%2F){re.escape(execution)}(/|%2F|\.manifest\.json)")
    kinds = Counter(_kind(line) for line in seen if place.search(line))
    return Requests(kinds["files"], kinds["manifest"], kinds["listings"], kinds["unfinished"], kinds["others"])


def _kind(line: str) -> str:
    if line.startswith("GET ") and re.search(r"[?&]prefix=", line):
        return "unfinished" if re.search(r"[?&]uploads\b", line) else "listings"
    if not line.startswith("PUT "):
        return "others"
    return "manifest" if ".manifest.json" in line else "files"


def times_read(start: Callable[[], AbstractContextManager[Store]]) -> float:
    """Migrate small files and one of several parts, and see how often each byte of them was read, on average."""
    with start() as store, _tick_of(_small_and_large, store) as (trial, scratch):
        read = bytes_read(trial.command, trial.environment, scratch)
        trial.require_done()
        original = scratch / "original"
        size_bytes = sum(path.stat().st_size for path in original.rglob("*") if path.is_file())
        executions = scratch / "sage" / "ejecuciones"
        return sum(count for path, count in read.items() if path.is_relative_to(executions)) / size_bytes


def _small_and_large(directory: Path) -> None:
    make_small_files(directory / "small", executions=1, files=20)
    make_large_files(directory / "large", executions=1, files=1, size_mib=20)


def _instruction_counts(files: int) -> list[Count]:
    try:
        return [
            Count("instructions for each file, local", instructions_per_file(stores.local, files)),
            Count("instructions for each file, S3", instructions_per_file(stores.s3, files)),
        ]
    except ToolMissing as error:
        print(f"INSTRUCTIONS ARE NOT COUNTED: {error}", file=sys.stderr)
        return []


def instructions_per_file(start: Callable[[], AbstractContextManager[Store]], files: int) -> int:
    """How many instructions one small file more costs a tick."""
    with start() as store:
        few, many = (_instructions_of_a_tick(store, count) for count in (files, 2 * files))
    return (many - few) // files


def _instructions_of_a_tick(store: Store, files: int) -> int:
    with _tick_of(partial(make_small_files, executions=1, files=files), store) as (trial, _):
        counted = instructions(trial.command, trial.environment)
        trial.require_done()
        return counted


@contextmanager
def _tick_of(make: Callable[[Path], None], store: Store) -> Iterator[tuple[Trial, Path]]:
    """A tick that is to be counted, and the directory in which it happens."""
    with workshop(make) as (original, postgres), tick(original, store, postgres, original.parent) as trial:
        yield trial, original.parent


@contextmanager
def _behind_a_proxy(store: Store) -> Iterator[tuple[Store, list[str]]]:
    """The same server, and the list of the requests that it gets through the proxy."""
    with store.destination() as any_bucket, HttpFaultProxy(any_bucket.options["endpoint_url"]) as proxy:
        yield replace(store, new=lambda: _through(proxy, store.new())), proxy.seen


def _through(proxy: HttpFaultProxy, destination: Destination) -> Destination:
    return replace(destination, options={**destination.options, "endpoint_url": proxy.url})


if __name__ == "__main__":
    run_from_command_line(__doc__, run, rounds=None, files=2000, instruction_files=500)
