"""What is sent twice after an interruption: one large execution to each kind of store, the line cut once, or the
program killed once, after a part of its bytes. Prints how many bytes went up the line in all, as a multiple of it.

python -m benchmarks.migration.cut_lines --stores s3 azure gcs sftp --size-mib 480 --percent 60
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.arena import stores
from benchmarks.arena.distance import READ_BYTES
from benchmarks.arena.installations import installation
from benchmarks.arena.stores import Store
from demo.servers.postgres import EmbeddedPostgres
from tests.destinations import Destination
from tests.faults.http_effects import address_of, behind
from tests.stories.installation import Installation, RunningCommand

MEBIBYTE = 1024 * 1024
STORES: dict[str, Callable[[], contextlib.AbstractContextManager[Store]]] = {
    "s3": stores.s3,
    "azure": stores.azure,
    "gcs": stores.gcs,
    "sftp": stores.sftp,
}
LONGEST_RUN_SECONDS = 1800
MOST_RUNS = 4
UUID = "grande"


@dataclass(slots=True)
class Line:
    """A line to a server. It counts the bytes that went up and strikes once, at a certain number."""

    target_port: int
    strikes_at_bytes: int
    strike: Callable[[Line], None]
    port: int = 0
    sent_bytes: int = 0
    has_struck: bool = False
    writers: set[asyncio.StreamWriter] = field(default_factory=set)

    def cut(self) -> None:
        """Break all connections that there are."""
        for writer in self.writers:
            writer.transport.abort()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
        both = {writer, far_writer}
        self.writers |= both
        await asyncio.gather(self._pass(reader, far_writer, True), self._pass(far_reader, writer, False))
        self.writers -= both

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_upwards: bool) -> None:
        with contextlib.suppress(ConnectionError):
            while content := await reader.read(READ_BYTES):
                self.sent_bytes += len(content) * is_upwards
                if self.sent_bytes >= self.strikes_at_bytes and not self.has_struck:
                    self.has_struck = True
                    self.strike(self)
                writer.write(content)
                await writer.drain()
        writer.close()


@contextlib.contextmanager
def serving(line: Line) -> Iterator[None]:
    """Serve a line in a thread."""
    loop = asyncio.new_event_loop()
    ready = threading.Event()

    async def serve() -> None:
        server = await asyncio.start_server(line.carry, "127.0.0.1", 0)
        line.port = server.sockets[0].getsockname()[1]
        ready.set()
        await server.serve_forever()

    def run() -> None:
        with contextlib.suppress(asyncio.CancelledError, RuntimeError):
            loop.run_until_complete(serve())

    thread = threading.Thread(target=run, name="line", daemon=True)
    thread.start()
    ready.wait()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def main() -> None:
    """Read the command line, run everything and print what was counted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stores", nargs="+", choices=STORES, default=list(STORES))
    parser.add_argument("--size-mib", type=int, default=480, help="the size of the execution (480)")
    parser.add_argument("--files", type=int, default=1, help="in how many files (1)")
    parser.add_argument("--percent", type=int, default=60, help="after how much of it (60)")
    arguments = parser.parse_args()
    run(arguments.stores, arguments.size_mib, arguments.files, arguments.percent)


def run(names: Sequence[str], size_mib: int, files: int, percent: int) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="janitor-bench-") as name:
        Path(name).chmod(0o755)  # the server of a run by root has another user, who must pass
        with EmbeddedPostgres(Path(name, "postgres")) as postgres:
            print(f"{'store':<8}{'interruption':<14}{'exit codes':<14}{'sent':>6}")
            for store_name in names:
                with STORES[store_name]() as store:
                    for number, interruption in enumerate((cut_once, kill_once)):
                        directory = Path(name, f"{store_name}-{number}")
                        with store.destination() as destination, installation(directory, postgres) as sage:
                            make_execution(sage, size_mib, files)
                            exit_codes, sent_bytes = interruption(sage, destination, size_mib * MEBIBYTE, percent)
                        ratio = sent_bytes / (size_mib * MEBIBYTE)
                        codes = " ".join(map(str, exit_codes))
                        print(f"{store_name:<8}{interruption.__name__:<14}{codes:<14}{ratio:>6.2f}", flush=True)


def make_execution(sage: Installation, size_mib: int, files: int) -> None:
    """One execution of some equal files, whose bytes no store can compress."""
    directory = sage.new_directory(UUID)
    for number in range(files):
        with Path("/dev/urandom").open("rb") as dice, (directory / f"{number:03}.bin").open("wb") as file:
            for _ in range(size_mib // files):
                file.write(dice.read(MEBIBYTE))
    sage.add_execution(UUID, directory)


def cut_once(sage: Installation, destination: Destination, size_bytes: int, percent: int) -> tuple[list[int], int]:
    """All connections break once."""
    line = Line(port_of(destination), size_bytes * percent // 100, Line.cut)
    with serving(line):
        migrate_through(sage, destination, line)
        return runs_until_done(sage), line.sent_bytes


def kill_once(sage: Installation, destination: Destination, size_bytes: int, percent: int) -> tuple[list[int], int]:
    """The program is killed, and run again."""
    running: list[RunningCommand] = []
    line = Line(port_of(destination), size_bytes * percent // 100, partial(kill, running))
    with serving(line):
        migrate_through(sage, destination, line)
        with sage.start() as command:
            running.append(command)
            first = command.finish(LONGEST_RUN_SECONDS)
        return [first.exit_code, *runs_until_done(sage)], line.sent_bytes


def kill(running: Sequence[RunningCommand], _line: Line) -> None:
    """Kill the program, as the kernel does for want of memory."""
    running[0].process.send_signal(signal.SIGKILL)


def runs_until_done(sage: Installation) -> list[int]:
    """The exit codes of the runs until the execution is migrated."""
    exit_codes: list[int] = []
    while len(exit_codes) < MOST_RUNS and not sage.execution(UUID)["migrado_a_nube"]:
        with sage.start() as command:
            run = command.finish(LONGEST_RUN_SECONDS)
        exit_codes.append(run.exit_code)
        if run.exit_code:
            print(run.errors)
        sage.let_pauses_end()
    return exit_codes


def migrate_through(sage: Installation, destination: Destination, line: Line) -> None:
    """Migrate to a destination through a line."""
    if destination.kind == "sftp":
        through = destination.with_credentials(port=line.port)
    else:
        through = behind(destination, f"http://127.0.0.1:{line.port}")
    sage.configure(sage.add_provider(through))


def port_of(destination: Destination) -> int:
    """Where the server listens."""
    if destination.kind == "sftp":
        return int((destination.credentials or {})["port"])
    return urlsplit(address_of(destination)).port or 0


if __name__ == "__main__":
    main()
