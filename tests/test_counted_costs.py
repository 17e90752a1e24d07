"""What an execution costs, counted where it cannot be argued about: requests at the server, reads at the kernel."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.measuring.tracing import bytes_read
from benchmarks.migration.counts import Requests, requests_in
from tests.destinations import Destination
from tests.faults.http_proxy import HttpFaultProxy
from tests.running.skips import strace_program
from tests.stories.installation import Installation

FILES = 1001
"""One more than a page of a listing holds."""

FEW_FILES = 20

ASKED_AGAIN_AT_MOST = FILES // 20
"""A machine that is too busy answers late, and is asked again; twice for each file would be another matter."""

PREFIXES_OF_UNFINISHED = 2
"""What a request that was repeated may have begun is looked for among the files and beside the manifest."""

LARGE_FILE_BYTES = 20 * 1024 * 1024
"""So large that it goes in several parts."""


@pytest.fixture
def sage(tmp_path: Path, database_url: str) -> Iterator[Installation]:
    """An installation of the platform and the daemon."""
    with closing(Installation(tmp_path / "sage", database_url)) as installation:
        installation.install()
        yield installation


def add_executions(sage: Installation, files: int) -> None:
    """One of this many small files, and one of a large file."""
    many, large = sage.new_directory("many"), sage.new_directory("large")
    for number in range(files):
        (many / f"{number:04}.csv").write_text(f"fila,{number}\n")
    (large / "large.bin").write_bytes(os.urandom(LARGE_FILE_BYTES))
    for directory in (many, large):
        sage.add_execution(directory.name, directory)


def migrate(sage: Installation, destination: Destination, scratch: Path) -> tuple[Counter[Path], dict[Path, int]]:
    """One tick under strace: bytes read from each file, wherever it was moved to, and the sizes of those there were."""
    strace_program()
    sizes = {path: path.stat().st_size for path in sage.executions.rglob("*") if path.is_file()}
    sage.configure(sage.add_provider(destination), eliminar_despues_de_migrar=True)
    read = bytes_read([sys.executable, str(sage.program)], sage.environment, scratch)
    assert {sage.place(uuid)[0] for uuid in ("many", "large")} == {True}
    assert list(sage.executions.iterdir()) == []
    return read, sizes


def test_s3_gets_one_request_for_each_file_and_each_byte_is_read_once(
    sage: Installation, new_destination: Callable[[str], Destination], tmp_path: Path
) -> None:
    add_executions(sage, FILES)
    destination = new_destination("s3-rclone")
    with HttpFaultProxy(destination.options["endpoint_url"]) as proxy:
        reached_by_proxy = replace(destination, options={**destination.options, "endpoint_url": proxy.url})
        read, sizes = migrate(sage, reached_by_proxy, tmp_path)
    asked = requests_in("many", proxy.seen)
    assert FILES <= asked.files <= FILES + ASKED_AGAIN_AT_MOST, asked
    assert asked.unfinished == (PREFIXES_OF_UNFINISHED if asked.files > FILES else 0), asked
    look_before, pages_of_the_proof = 1, 2
    looks_at_the_manifest = 2  # whose is it, before anything is sent; and is it the one that was sent
    for_want_of_conditions = 3  # the manifest's upload is begun, its key looked at once more, the upload completed
    expected = (1, look_before + pages_of_the_proof, looks_at_the_manifest + for_want_of_conditions)
    assert (asked.manifest, asked.listings, asked.others) == expected, asked
    assert {path: read[path] for path in sizes} == sizes, [line for line in proxy.seen if "large" in line]
    assert read_below(sage.executions, read) == sum(sizes.values())


def test_local_directory_costs_one_read_of_each_byte_and_one_of_its_copy(
    sage: Installation, new_destination: Callable[[str], Destination], tmp_path: Path
) -> None:
    add_executions(sage, FEW_FILES)
    destination = new_destination("local")
    read, sizes = migrate(sage, destination, tmp_path)
    assert {path: read[path] for path in sizes} == sizes
    assert read_below(sage.executions, read) == sum(sizes.values())
    copies = [path for path in destination.directory.rglob("*") if path.is_file()]
    assert read_below(destination.directory, read) == sum(path.stat().st_size for path in copies)


def read_below(directory: Path, read: Counter[Path]) -> int:
    """How many bytes were read from all files below a directory, under whatever names."""
    return sum(size_bytes for path, size_bytes in read.items() if path.is_relative_to(directory))


def test_requests_are_distinguished() -> None:
    seen = [
        "GET /bucket?list-type=2&prefix=ejecuciones%2Fone%2F&encoding-type=url",
        "GET /bucket?encoding-type=url&prefix=ejecuciones%2Fone%2F&uploads=",
        "PUT /bucket/ejecuciones/one/a.csv",
        "PUT /bucket/ejecuciones/one.manifest.json",
        "HEAD /bucket/ejecuciones/one.manifest.json",
        "PUT /bucket/ejecuciones/one-more/a.csv",
    ]
    assert requests_in("one", seen) == Requests(files=1, manifest=1, listings=1, unfinished=1, others=1)
    assert requests_in("one", seen).beyond(files=1) == 2
