"""Runs `pg_dump` and believes it only when it ended with 0 and its last line came."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import re
import select
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from config.logs import one_line
from config.text.wording import reason_of
from jobs.backups.errors import DumpFailed, TablesBusy, TooManyLocks, require_no_interruption
from jobs.backups.reading.programs import Programs, complaints_in, file_for_complaints, inherited_environment
from jobs.backups.result import Remark
from sql.database_messages import NO_ROOM_FOR_LOCKS, SETTING_FOR_LOCKS
from sql.errors import DatabaseUnavailable
from sql.snapshots import ProgramAddress

PIPE_BYTES = 1024 * 1024
BLOCK_BYTES = 256 * 1024
"""The size of one read: it stays in a processor's cache until it is counted and compressed."""

KEPT_BYTES = 4 * 1024 * 1024
PAUSE_SECONDS = 0.004
"""How long `pg_dump` may write into a pipe that is nearly empty before somebody reads: it writes 4 KiB at a time, and
each time would wake the reader. A pipe of `PIPE_BYTES` does not fill up meanwhile.
"""

TAIL_BYTES = 512
LOOK_SECONDS = 1.0
SILENCE_SECONDS = 3600
"""How long `pg_dump` may say nothing: it reads a large catalogue, or waits for locks, before its first byte."""

MOST_COMPLAINT_BYTES = 256 * 1024 * 1024
"""A hundred times what it says of a database of many tables."""

ERROR = " error: "
WARNING = " warning: "
LOCK_WAIT_SECONDS = 60
FIRST_WITH_LARGE_OBJECTS = 16
"""The version from which on `--no-blobs` is called `--no-large-objects`."""

FIRST_WITH_STATISTICS = 18
TRAILER = re.compile(rb"(?:^|\n)-- PostgreSQL database dump complete\n--\n\s*(?:\\unrestrict \w+\s*)?\Z")
NOT_INHERITED = ("PGCLIENTENCODING", "PGOPTIONS", "PGDATESTYLE", "PGGEQO", "PGPASSWORD")
"""Variables of libpq that would change what is dumped, or belong to another address."""


@dataclass(frozen=True, slots=True)
class SharedSnapshot:
    """All that `pg_dump` must know to read exactly the rows of a session's snapshot."""

    programs: Programs
    address: ProgramAddress
    snapshot_id: str

    def command(self, section: str) -> list[str]:
        """The command that writes one section."""
        options = [
            f"--snapshot={self.snapshot_id}",
            f"--section={section}",
            "--quote-all-identifiers",
            f"--lock-wait-timeout={LOCK_WAIT_SECONDS}s",
            "--no-large-objects" if self.programs.major >= FIRST_WITH_LARGE_OBJECTS else "--no-blobs",
            *(["--no-statistics"] if self.programs.major >= FIRST_WITH_STATISTICS else []),
        ]
        return [self.programs.pg_dump, "--no-password", f"--dbname={self.address.parameters}", *options]


def environment(address: ProgramAddress) -> dict[str, str]:
    """The environment of PostgreSQL's programs: English messages, one time zone, the password hidden from `ps`."""
    inherited = inherited_environment(is_client=True)
    kept = {name: value for name, value in inherited.items() if name not in NOT_INHERITED}
    password = address.password or os.environ.get("PGPASSWORD", "")
    return {**kept, "PGTZ": "UTC", **({"PGPASSWORD": password} if password else {})}


def definitions(shared: SharedSnapshot, interruption: threading.Event) -> tuple[bytes, bytes, tuple[Remark, ...]]:
    """The sections before and after the rows, which fit into memory as they describe tables, and what was warned of.

    `pg_dump` ends with 0 also if it left something out and warned of it, such as subscriptions that only a superuser
    may read. Of each section it reads all definitions, and warns of the same.

    Both are read before the rows, at once: a session that wants to change a table meanwhile waits, and a `pg_dump` that
    begins later would wait behind it. Where a server has no room for the locks of both, they are read in turn. Raises
    as `dumped` does.
    """
    try:
        with started(shared, "pre-data") as pre_data, started(shared, "post-data") as post_data:
            before, after = b"".join(pre_data.blocks(interruption)), b"".join(post_data.blocks(interruption))
            return before, after, pre_data.warnings()
    except TooManyLocks:
        with started(shared, "pre-data") as pre_data:
            before, warnings = b"".join(pre_data.blocks(interruption)), pre_data.warnings()
        return before, b"".join(dumped(shared, "post-data", interruption)), warnings


def dumped(shared: SharedSnapshot, section: str, interruption: threading.Event) -> Iterator[bytes]:
    """One section, block by block; the end of the iteration means that it is whole.

    Raises `DumpFailed`, `TablesBusy`, `BackupInterrupted`, `DatabaseUnavailable`.
    """
    with started(shared, section) as dump:
        yield from dump.blocks(interruption)


@dataclass(frozen=True, slots=True)
class Dump:
    """A `pg_dump` that runs; `complaints` is where its messages go."""

    process: subprocess.Popen[bytes]
    complaints: BinaryIO

    def blocks(self, interruption: threading.Event) -> Iterator[bytes]:
        """What it writes, as `dumped` gives it."""
        assert self.process.stdout is not None  # noqa: S101 for the type checker
        tail = b""
        for block in self._blocks(self.process.stdout.fileno(), interruption):
            tail = (tail + block)[-TAIL_BYTES:] if len(block) < TAIL_BYTES else block[-TAIL_BYTES:]
            yield block
        code = self.process.wait()
        _require_success(code, complaints_in(self.complaints), tail)

    def warnings(self) -> tuple[Remark, ...]:
        """What it warned of, once it has ended."""
        lines = [" ".join(line.split()) for line in complaints_in(self.complaints).splitlines()]
        return tuple(Remark(f"pg_dump avisa: {line.partition(WARNING)[2]}") for line in lines if WARNING in line)

    def _blocks(self, descriptor: int, interruption: threading.Event) -> Iterator[bytes]:
        """Until the pipe ends, or `pg_dump` has ended and nothing is left in it: what it started may hold it open."""
        _keep_freed_memory()
        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        is_large = fcntl.fcntl(descriptor, fcntl.F_GETPIPE_SZ) >= PIPE_BYTES
        last = time.monotonic()
        while True:
            require_no_interruption(interruption)
            self._require_few_complaints()
            has_ended = self.process.poll() is not None
            if select.select([descriptor], [], [], LOOK_SECONDS)[0]:
                block = os.read(descriptor, BLOCK_BYTES)
                if not block:
                    return
                yield block
                last = time.monotonic()
                if is_large and len(block) < BLOCK_BYTES:
                    interruption.wait(PAUSE_SECONDS)
            elif has_ended:
                return
            elif time.monotonic() - last > SILENCE_SECONDS:
                raise DumpFailed(f"pg_dump no dice nada desde hace {SILENCE_SECONDS} s; mire si el servidor responde")

    def _require_few_complaints(self) -> None:
        if os.fstat(self.complaints.fileno()).st_size > MOST_COMPLAINT_BYTES:
            said = _reasons(complaints_in(self.complaints))
            raise DumpFailed(f"pg_dump no deja de quejarse, y llenaría el disco: {one_line(' · '.join(said[:2]))}")


@contextlib.contextmanager
def started(shared: SharedSnapshot, section: str) -> Iterator[Dump]:
    """Start `pg_dump`; it ends with the context. Raises `DumpFailed`."""
    with file_for_complaints() as complaints, contextlib.ExitStack() as stack:
        try:
            process = subprocess.Popen(  # noqa: S603 a program of PostgreSQL
                shared.command(section), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints, bufsize=0,
                env=environment(shared.address),
            )  # fmt: skip
        except OSError as error:
            raise DumpFailed(f"no se puede ejecutar {shared.programs.pg_dump}: {reason_of(error)}") from error
        stack.callback(_end, process)
        yield Dump(process, complaints)


def _keep_freed_memory() -> None:
    """Let the C library keep the memory of a block for the next one.

    It gives larger pieces back to the kernel, which clears each page of the next one, up to the size of the largest
    piece that was ever given back (mallopt(3), M_MMAP_THRESHOLD): that is this one, which nobody touches.
    """
    piece = bytes(KEPT_BYTES)
    del piece


SIGNS_OF_A_LOST_DATABASE = ("terminating connection", "server closed the connection", "connection to server was lost")
"""What libpq says. The text after it is a guess in English."""


def _require_success(code: int, complaints: str, tail: bytes) -> None:
    if code != 0:
        lines = _reasons(complaints)
        if SETTING_FOR_LOCKS in complaints:
            raise TooManyLocks(NO_ROOM_FOR_LOCKS)
        if "Query was: LOCK TABLE" in complaints:
            raise TablesBusy("otra sesión cambia una tabla y no suelta su bloqueo; vuelva a intentarlo cuando termine")
        if any(sign in complaints for sign in SIGNS_OF_A_LOST_DATABASE):
            raise DatabaseUnavailable(
                f"se perdió la base de datos mientras pg_dump la leía ({one_line(lines[0])}); el log del servidor dice "
                "por qué; si la copia no se repite sola en el próximo ciclo, hágala con 'backup run'"
            )
        raise DumpFailed(f"pg_dump terminó con {code}: {one_line(' · '.join(lines[:3])) or 'sin decir por qué'}")
    if not TRAILER.search(tail):
        raise DumpFailed("pg_dump terminó con 0, pero falta su última línea: lo que escribió no está completo")


def _reasons(complaints: str) -> list[str]:
    """The lines of what a program said, from its first error on if it names one: warnings may come before."""
    lines = [" ".join(line.split()) for line in complaints.splitlines() if line.strip()]
    return list(itertools.dropwhile(lambda line: ERROR not in line, lines)) or lines


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.stdout is not None:
        process.stdout.close()
    if process.poll() is None:
        process.kill()
    process.wait()
