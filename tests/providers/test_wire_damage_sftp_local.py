"""Lines that break at any byte, servers that lie in any packet, disks that change what they hold.

Over SFTP and in local directories an attempt heals or fails, in bounded time; what it calls proven is there, and what
it left half-done the next one removes.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import secrets
import shutil
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from config.errors import MigrationError
from config.models import Evidence, ProvenCopy, PutReceipt, StoredObject
from demo.servers.postgres import EmbeddedPostgres
from files.descriptors import closing_descriptor
from files.walk import walk_tree
from providers import build_provider
from providers.base import Provider
from providers.errors import (
    AccessDenied,
    DestinationMissing,
    IntegrityError,
    ProviderError,
    ProviderUnavailable,
    StorageFull,
)
from providers.sftp import provider as sftp
from providers.sftp import server_hashing, ssh
from providers.sources import BytesSource, Source
from storage.keys import Place
from storage.sending import LocalFiles, PutMany
from storage.traffic.transfers import TransferPool
from storage.upload import Upload
from tests.databases.platform_database import Platform, claim_one, open_attempt
from tests.destinations import Destination, local_destination, sftp_destination
from tests.disks.small_disk import make_read_only, mounted_small_disk
from tests.executions.manifests import content_of
from tests.executions.sources import PatternSource
from tests.faults import sftp_liar as liar
from tests.faults.faulty_provider import Fault as ProviderFault
from tests.faults.faulty_provider import FaultyProvider, after
from tests.faults.sftp_liar import Fault, Listed, LyingSftpServer
from tests.faults.sftp_line import Direction, FaultyLine, LineFault, Trouble, unroutable_port
from tests.servers.sftp.ssh import SftpServer

NEVER = threading.Event()
PLACE = Place("p/ejecuciones/uuid-1")
FILES = {
    "datos/grande.bin": b"0123456789abcdef" * 10_000,
    "registro.log": b"line\n" * 100,
    "tabla.csv": b"1,2,3\n",
    "vacio": b"",
}
MOST_CONNECTIONS = 60
"""How many connections one attempt may cost: each waits no longer than its deadline, so few end in bounded time."""


@dataclass
class Bench:
    """An execution, the run that has claimed it, and a destination."""

    platform: Platform
    directory: Path
    destination: Destination
    pool: TransferPool

    def __post_init__(self) -> None:
        self.database = self.platform.run()
        self.claim = claim_one(self.database, self.platform.add_execution(self.directory))

    def attempt(self, provider: Provider) -> tuple[ProvenCopy, dict[str, str]]:
        """One attempt, from the recording of it to the proof: what it calls proven, and the SHA-256 of each file."""
        attempt = open_attempt(self.database, self.claim, provider.id, PLACE.key_prefix)
        with closing_descriptor(os.open(self.directory, os.O_RDONLY)) as descriptor:
            tree = walk_tree(descriptor)
            original = LocalFiles(descriptor)
            upload = Upload(provider, attempt, self.claim.execution, tree, original, self.database, self.pool, NEVER)
            try:
                copy, manifest = upload.run()
            except MigrationError as error:
                self.database.abandon_attempt(attempt, error.code, str(error))
                raise
        entries = json.loads(content_of(manifest))["entries"]
        return copy, {entry["path"]: entry["sha256"] for entry in entries if entry["kind"] == "file"}

    def outcome(self, provider: Provider) -> MigrationError | None:
        """What an attempt ends with; a copy that is called proven is there."""
        try:
            self.attempt(provider)
        except MigrationError as error:
            self.require_fit_for_operators(error)
            return error
        self.require_copy()
        return None

    def require_fit_for_operators(self, error: MigrationError) -> None:
        """One line, no secret."""
        assert "\n" not in str(error)
        assert len(str(error)) > 10
        for secret in self.destination.secrets:
            assert secret not in str(error)

    def require_copy(self) -> None:
        """The files as they are now and the manifest, and nothing else: no unfinished file, no empty directory."""
        files = {str(path.relative_to(self.directory)): path for path in self.directory.rglob("*") if path.is_file()}
        keys = {PLACE.key_of(name) for name in files}
        assert self.destination.everything_stored() == keys | {PLACE.manifest_key}
        for name, path in files.items():
            assert (self.destination.directory / PLACE.key_of(name)).read_bytes() == path.read_bytes(), name

    def require_that_the_next_attempt_succeeds(self) -> None:
        """With nothing going wrong any more, and nothing left of what went wrong."""
        with closing(build_provider(self.destination.provider_row())) as provider:
            self.attempt(provider)
        self.require_copy()


@pytest.fixture(scope="module")
def shared_platform(postgres: EmbeddedPostgres) -> Iterator[Platform]:
    """One database for these tests."""
    with closing(Platform(postgres.new_database(f"wire_damage_{secrets.token_hex(4)}"))) as made:
        yield made


@pytest.fixture
def pool() -> Iterator[TransferPool]:
    """One transfer at a time, so that the nth request is always the same one."""
    with closing(TransferPool(1)) as made:
        yield made


@pytest.fixture
def new_bench(shared_platform: Platform, pool: TransferPool, tmp_path: Path) -> Callable[[Destination], Bench]:
    """Make a bench for a destination."""
    shared_platform.clear()
    directory = tmp_path / "e1"
    for name, content in FILES.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)
    return lambda destination: Bench(shared_platform, directory, destination, pool)


@pytest.fixture
def bench(new_bench: Callable[[Destination], Bench], lying_sftp_server: LyingSftpServer) -> Bench:
    """An execution to go to the server that lies."""
    return new_bench(sftp_destination("sftp-liar", lying_sftp_server))


@pytest.fixture
def provider(bench: Bench) -> Iterator[Provider]:
    """The provider for the server that lies."""
    with closing(build_provider(bench.destination.provider_row())) as made:
        yield made


@pytest.fixture
def short_deadlines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up after seconds what may take minutes."""
    for module in (ssh, sftp):
        monkeypatch.setattr(module, "TRANSFER_TIMEOUT_SECONDS", 2.0)
    monkeypatch.setattr(server_hashing, "PROBE_SECONDS", 1.0)


# The line

PARTS = 8
"""In this many parts is what passes cut, and a byte of each chosen by chance."""


@pytest.mark.usefixtures("short_deadlines")
@pytest.mark.parametrize(
    ("trouble", "direction"),
    [
        (Trouble.RESET, Direction.UP),
        (Trouble.RESET, Direction.DOWN),
        (Trouble.FLIPPED_BIT, Direction.UP),
        (Trouble.FLIPPED_BIT, Direction.DOWN),
        (Trouble.LOST_ANSWER, Direction.UP),
    ],
)
def test_a_line_that_fails_at_any_byte_loses_nothing(
    bench: Bench, lying_sftp_server: LyingSftpServer, trouble: Trouble, direction: Direction
) -> None:
    """From the first greeting to the proof of the manifest. A new connection then serves: in the same attempt, or, when
    it took long to see that the old one was broken, in the next one.
    """
    seed = random.SystemRandom().randrange(10**6)
    with FaultyLine(lying_sftp_server.port) as line:
        through = bench.destination.with_credentials(port=line.port).provider_row()
        with closing(build_provider(through)) as provider:
            bench.attempt(provider)
        length = line.passed[direction]
        for part in range(PARTS):
            at_byte = random.Random(seed + part).randrange(length * part // PARTS, length * (part + 1) // PARTS)  # noqa: S311
            line.fault = LineFault(trouble, direction, at_byte, connections=(line.connections,))
            struck, connections = line.struck, line.connections
            shutil.rmtree(bench.destination.directory / "p")
            bench.platform.clear()
            bench.__post_init__()
            with closing(build_provider(through)) as provider:
                error = bench.outcome(provider)
            where = f"seed {seed}, byte {at_byte} of {length}"
            assert line.struck == struck + 1, where
            assert isinstance(error, ProviderUnavailable | None), f"{where}: {error}"
            assert line.connections - connections <= MOST_CONNECTIONS, where
            if error is not None:
                bench.require_that_the_next_attempt_succeeds()


def _give_up(provider: Provider) -> MigrationError:
    """What an upload of 10 MB ends with."""
    with closing(provider), pytest.raises(MigrationError) as caught:
        provider.put("p/file", PatternSource(10_000_000))
    return caught.value


def test_a_server_that_falls_silent_while_the_connection_is_made_is_given_up(
    bench: Bench, lying_sftp_server: LyingSftpServer
) -> None:
    """After its banner, in the midst of agreeing on keys, while it looks at the password; silent, or nearly so."""
    faults = [
        LineFault(trouble, Direction.DOWN, at_byte)
        for trouble in (Trouble.SILENCE, Trouble.TRICKLE)
        for at_byte in (30, 700, 1500, 2300)
    ]
    with ExitStack() as stack:
        lines = [stack.enter_context(FaultyLine(lying_sftp_server.port, fault)) for fault in faults]
        rows = [bench.destination.with_credentials(port=line.port).provider_row() for line in lines]
        executor = stack.enter_context(ThreadPoolExecutor(len(rows)))
        for line, error in zip(lines, executor.map(_give_up, map(build_provider, rows)), strict=True):
            assert line.struck, line.fault
            assert isinstance(error, ProviderUnavailable), line.fault
            assert line.connections == 1, line.fault
            bench.require_fit_for_operators(error)


def test_a_host_that_no_packet_reaches_is_given_up(bench: Bench) -> None:
    with unroutable_port() as port:
        error = _give_up(build_provider(bench.destination.with_credentials(port=port).provider_row()))
    assert isinstance(error, ProviderUnavailable)
    assert "no responde" in str(error)


@pytest.mark.usefixtures("short_deadlines")
@pytest.mark.parametrize("bytes_per_second", [40, 200_000])
@pytest.mark.parametrize("direction", list(Direction))
def test_a_transfer_that_only_trickles_is_given_up(
    bench: Bench, lying_sftp_server: LyingSftpServer, direction: Direction, bytes_per_second: int
) -> None:
    """However large the file: what counts is whether it gets on. The faster one still answers each request in time."""
    with (bench.destination.directory / "file").open("wb") as file:
        file.truncate(20_000_000)
    with FaultyLine(
        lying_sftp_server.port, LineFault(Trouble.TRICKLE, direction, 6_000_000, bytes_per_second=bytes_per_second)
    ) as line:
        through = build_provider(bench.destination.with_credentials(port=line.port).provider_row())
        transfers: dict[Direction, Callable[[], object]] = {
            Direction.UP: lambda: through.put("p/other", PatternSource(20_000_000)),
            Direction.DOWN: lambda: sum(len(chunk) for chunk in through.open("file")),
        }
        given_up = pytest.raises(ProviderUnavailable, match="apenas avanza")
        with closing(through), given_up:
            transfers[direction]()
        assert line.struck


@pytest.mark.usefixtures("short_deadlines")
def test_a_slow_reader_is_not_given_up(provider: Provider) -> None:
    source = PatternSource(600_000)
    provider.put("p/file", source)
    reader = provider.open("p/file")
    received = [next(reader)]
    time.sleep(4.0)  # twice the deadline, and more than two looks at it
    received += reader
    assert b"".join(received) == b"".join(source.chunks(1_000_000))


# The server

ONCE = (1,)


def hide_table(listed: list[Listed]) -> list[Listed]:
    return [entry for entry in listed if entry.name != b"tabla.csv"]


def invent_files(listed: list[Listed]) -> list[Listed]:
    example = next(entry for entry in listed if entry.name == b"tabla.csv")
    return [*listed, Listed(b"no existe", example.attributes), Listed(b"tampoco", example.attributes)]


def longer(size_bytes: int) -> int:
    """A byte more, where there is any."""
    return size_bytes + bool(size_bytes)


def lie_about_sizes(listed: list[Listed]) -> list[Listed]:
    return [Listed(entry.name, liar.with_size(entry.attributes, longer)) for entry in listed]


def lead_elsewhere(listed: list[Listed]) -> list[Listed]:
    return [*listed, Listed(b"../../../../etc", next(entry for entry in listed if entry.name == b".").attributes)]


def flip_a_bit(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


THE_FILES = rb"\.janitor-.*\.part$"
BESIDE_THE_FIRST = rb"datos/\.janitor-.*\.part$"
THE_PROBE = (3,)
"""Which opening beside the first file is the one that tries out commands: the first finds no directory yet."""
MANIFEST_TARGET = rb"manifest\.json$"
IN_THE_PLACE = rb"/ejecuciones/uuid-1$"
LONGER = liar.say_size(longer)
SHORTER = liar.write_otherwise(lambda content: content[:-1])
LAST_FILE = rb"tabla\.csv$"
ENDLESS_PAGE = (104, struct.pack(">I", 1) + liar.string(b"x") + liar.string(b"") + struct.pack(">IQ", 1, 5))
A_LIE_TOO_LONG = (104, struct.pack(">I", 0xFFFFFFFF))

HEALED: list[tuple[str, tuple[Fault, ...]]] = [
    ("the first write is not done", (Fault("WRITE", liar.pretend, calls=ONCE),)),
    ("the first write has another bit", (Fault("WRITE", liar.write_otherwise(flip_a_bit), calls=ONCE),)),
    ("a later write has another bit", (Fault("WRITE", liar.write_otherwise(flip_a_bit), calls=(4,)),)),
    ("a write is cut short", (Fault("WRITE", SHORTER, calls=(2,)),)),
    ("a file does not get its name", (Fault("RENAME", liar.pretend, calls=ONCE),)),
    ("the manifest does not get its name", (Fault("RENAME", liar.pretend, MANIFEST_TARGET, calls=ONCE),)),
    ("the answer to a rename is lost", (Fault("RENAME", liar.lose_answer, calls=(2,)),)),
    ("the answer to the manifest's rename is lost", (Fault("RENAME", liar.lose_answer, MANIFEST_TARGET, ONCE),)),
    ("the connection ends before a rename", (Fault("RENAME", liar.cut, calls=(2,)),)),
    ("the connection ends before the manifest's rename", (Fault("RENAME", liar.cut, MANIFEST_TARGET, ONCE),)),
    ("the connection ends in a write", (Fault("WRITE", liar.cut, calls=(2,)),)),
    ("the connection ends while it lists", (Fault("READDIR", liar.cut, IN_THE_PLACE, ONCE),)),
    ("the answer to the probe's opening is lost", (Fault("OPEN", liar.lose_answer, BESIDE_THE_FIRST, THE_PROBE),)),
    ("the connection ends before the probe is removed", (Fault("REMOVE", liar.cut, BESIDE_THE_FIRST, ONCE),)),
    ("the connection ends while it reads back", (Fault("READ", liar.cut, calls=(2,)),)),
    ("the server loses its own connection", (Fault("CLOSE", liar.refuse(7, "connection lost"), calls=ONCE),)),
    ("a listing leaves a file out", (Fault("READDIR", liar.list_otherwise(hide_table), IN_THE_PLACE, ONCE),)),
    ("a listing shows wrong sizes", (Fault("READDIR", liar.list_otherwise(lie_about_sizes), IN_THE_PLACE, ONCE),)),
    ("a listing invents files", (Fault("READDIR", liar.list_otherwise(invent_files), IN_THE_PLACE, ONCE),)),
    ("a listing leads elsewhere", (Fault("READDIR", liar.list_otherwise(lead_elsewhere), IN_THE_PLACE, ONCE),)),
    ("a file ends early when it is read", (Fault("READ", liar.refuse(liar.END), LAST_FILE, ONCE),)),
    ("an answer of another request", (Fault("CLOSE", liar.answer_another_request, calls=ONCE),)),
    ("an answer of absurd length", (Fault("OPEN", liar.send_raw(b"\xff\xff\xff\xff\x65"), calls=ONCE),)),
    ("an answer of another kind", (Fault("LSTAT", liar.answer(102, liar.string(b"h")), calls=ONCE),)),
    ("an answer that is too short", (Fault("READDIR", liar.answer(*A_LIE_TOO_LONG), IN_THE_PLACE, ONCE),)),
]

REFUSED: list[tuple[str, type[MigrationError], tuple[Fault, ...]]] = [
    ("no room, in words", StorageFull, (Fault("WRITE", liar.refuse(liar.FAILURE, "No space left on device")),)),
    ("no room in the middle", StorageFull, (Fault("WRITE", liar.refuse(liar.FAILURE, "Disk full"), calls=(4,)),)),
    ("no room, by version 6", StorageFull, (Fault("WRITE", liar.refuse(liar.NO_SPACE)),)),
    ("no quota, at the end", StorageFull, (Fault("CLOSE", liar.complain(liar.FAILURE, "Disk quota exceeded")),)),
    ("no quota, by version 6", StorageFull, (Fault("FSYNC", liar.complain(liar.QUOTA_EXCEEDED)),)),
    ("no right to look", AccessDenied, (Fault("OPENDIR", liar.refuse(liar.PERMISSION_DENIED)),)),
    ("no right to store", AccessDenied, (Fault("OPEN", liar.refuse(liar.PERMISSION_DENIED), THE_FILES),)),
    ("no right to make directories", AccessDenied, (Fault("MKDIR", liar.refuse(liar.PERMISSION_DENIED)),)),
    (
        "no right in the middle",
        AccessDenied,
        (Fault("OPEN", liar.refuse(liar.PERMISSION_DENIED), THE_FILES, range(4, 99)),),
    ),
    ("no right to rename", AccessDenied, (Fault("RENAME", liar.refuse(liar.PERMISSION_DENIED)),)),
    ("no right to read back", AccessDenied, (Fault("OPEN", liar.refuse(liar.PERMISSION_DENIED), LAST_FILE),)),
    ("an error at close", ProviderError, (Fault("CLOSE", liar.complain(liar.FAILURE), THE_FILES),)),
    ("an error at fsync", ProviderError, (Fault("FSYNC", liar.complain(liar.FAILURE, "Input/output error")),)),
    ("no base directory", DestinationMissing, (Fault("STAT", liar.refuse(liar.NO_SUCH_FILE)),)),
    ("no write is done", IntegrityError, (Fault("WRITE", liar.pretend),)),
    ("zeros are stored", IntegrityError, (Fault("WRITE", liar.write_otherwise(lambda content: bytes(len(content)))),)),
    ("bits are flipped", IntegrityError, (Fault("WRITE", liar.write_otherwise(flip_a_bit)),)),
    (
        "all is cut short, and said to be whole",
        IntegrityError,
        (
            Fault("WRITE", SHORTER),
            Fault("LSTAT", LONGER, rb"(part|manifest\.json|\.csv|\.bin|\.log)$"),
            Fault("READDIR", liar.list_otherwise(lie_about_sizes)),
        ),
    ),
    ("nothing gets its name", IntegrityError, (Fault("RENAME", liar.pretend),)),
    ("a listing always leaves a file out", IntegrityError, (Fault("READDIR", liar.list_otherwise(hide_table)),)),
    ("sizes are always wrong", IntegrityError, (Fault("READDIR", liar.list_otherwise(lie_about_sizes), b"datos"),)),
    ("a file never ends", IntegrityError, (Fault("READ", liar.answer(103, liar.string(bytes(32768))), LAST_FILE),)),
    ("a listing never ends", ProviderUnavailable, (Fault("READDIR", liar.answer(*ENDLESS_PAGE)),)),
    ("every answer is garbage", ProviderUnavailable, (Fault("OPEN", liar.send_raw(b"HTTP/1.0 400 Bad\r\n")),)),
]


def _fresh(faults: Sequence[Fault]) -> list[Fault]:
    """The faults, with nothing counted yet."""
    return [Fault(fault.kind, fault.effect, fault.path, fault.calls) for fault in faults]


@pytest.mark.parametrize("faults", [pytest.param(faults, id=name) for name, faults in HEALED])
def test_what_goes_wrong_once_is_repaired(
    bench: Bench, provider: Provider, lying_sftp_server: LyingSftpServer, faults: tuple[Fault, ...]
) -> None:
    logins = lying_sftp_server.logins
    with lying_sftp_server.going_wrong(*_fresh(faults)):
        error = bench.outcome(provider)
    assert error is None, error
    assert lying_sftp_server.logins - logins <= MOST_CONNECTIONS


@pytest.mark.usefixtures("little_patience")
@pytest.mark.parametrize(
    ("expected", "faults"), [pytest.param(expected, faults, id=name) for name, expected, faults in REFUSED]
)
def test_what_keeps_failing_is_never_called_proven(
    bench: Bench,
    provider: Provider,
    lying_sftp_server: LyingSftpServer,
    expected: type[MigrationError],
    faults: tuple[Fault, ...],
) -> None:
    logins = lying_sftp_server.logins
    with lying_sftp_server.going_wrong(*_fresh(faults)):
        error = bench.outcome(provider)
    assert type(error) is expected
    assert lying_sftp_server.logins - logins <= MOST_CONNECTIONS
    bench.require_that_the_next_attempt_succeeds()


def test_a_listing_that_leads_elsewhere_is_not_followed(
    provider: Provider, lying_sftp_server: LyingSftpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.put(PLACE.key_of("file"), BytesSource(b"x"))
    followed = Fault("OPENDIR", liar.Request.forward, rb"\.\.")
    fault = Fault("READDIR", liar.list_otherwise(lead_elsewhere))
    monkeypatch.setattr(lying_sftp_server, "faults", [followed, fault])
    with pytest.raises(ProviderUnavailable, match="nombres de fichero imposibles"):
        list(provider.list(PLACE.files_prefix))
    assert fault.struck
    assert not followed.struck


# Servers that change in the middle


def test_a_password_that_is_no_longer_accepted_in_the_middle_is_no_reason_to_continue(
    bench: Bench, provider: Provider, lying_sftp_server: LyingSftpServer
) -> None:
    def cut_and_lock_out(request: liar.Request) -> None:
        lying_sftp_server.accepts_logins = False
        request.cut()

    refused_before = lying_sftp_server.refused_logins
    try:
        with lying_sftp_server.going_wrong(Fault("RENAME", cut_and_lock_out, calls=(2,))):
            error = bench.outcome(provider)
    finally:
        lying_sftp_server.accepts_logins = True
    assert isinstance(error, AccessDenied)
    assert "no acepta las credenciales" in str(error)
    assert lying_sftp_server.refused_logins == refused_before + 1
    bench.require_that_the_next_attempt_succeeds()


def test_a_server_that_shows_another_key_in_the_middle_is_refused(
    bench: Bench, lying_sftp_server: LyingSftpServer, asyncssh_server: SftpServer
) -> None:
    with FaultyLine(lying_sftp_server.port) as line:

        def cut_and_lead_elsewhere(request: liar.Request) -> None:
            line.target_port = asyncssh_server.port
            request.cut()

        with closing(build_provider(bench.destination.with_credentials(port=line.port).provider_row())) as provider:
            with lying_sftp_server.going_wrong(Fault("RENAME", cut_and_lead_elsewhere, calls=(2,))):
                error = bench.outcome(provider)
            assert line.connections == 2
    assert isinstance(error, AccessDenied)
    assert "clave de host" in str(error)
    bench.require_that_the_next_attempt_succeeds()


def test_a_base_directory_that_vanishes_in_the_middle_is_never_created_again(
    bench: Bench, provider: Provider, lying_sftp_server: LyingSftpServer
) -> None:
    def remove_all(request: liar.Request) -> None:
        shutil.rmtree(bench.destination.directory)
        request.forward()

    with lying_sftp_server.going_wrong(Fault("OPEN", remove_all, THE_FILES, calls=(3,))):
        error = bench.outcome(provider)
    assert isinstance(error, DestinationMissing)
    assert not bench.destination.directory.exists()


@pytest.mark.usefixtures("little_patience")
@pytest.mark.usefixtures("short_deadlines")
@pytest.mark.parametrize("kind", ["WRITE", "RENAME", "READDIR"])
def test_a_server_that_stops_to_answer_is_given_up(
    bench: Bench, provider: Provider, lying_sftp_server: LyingSftpServer, kind: str
) -> None:
    logins = lying_sftp_server.logins
    with lying_sftp_server.going_wrong(Fault(kind, liar.hang, b"/ejecuciones/")):
        error = bench.outcome(provider)
    assert isinstance(error, ProviderUnavailable)
    assert lying_sftp_server.logins - logins <= MOST_CONNECTIONS
    bench.require_that_the_next_attempt_succeeds()


def test_a_server_whose_old_rename_refuses_to_replace_is_used_nevertheless(
    bench: Bench, lying_sftp_server: LyingSftpServer
) -> None:
    """Without OpenSSH's extensions; and the connection ends between the removal of the old file and the rename."""
    bench.require_that_the_next_attempt_succeeds()
    lying_sftp_server.hidden_extensions = tuple(liar.EXTENSIONS)
    try:
        with (
            closing(build_provider(bench.destination.provider_row())) as provider,
            lying_sftp_server.going_wrong(Fault("REMOVE", liar.lose_answer, calls=ONCE)),
        ):
            error = bench.outcome(provider)
    finally:
        lying_sftp_server.hidden_extensions = ()
    assert error is None, error


# Commands that lie


async def _hang(_command: str, _standard_input: bytes) -> tuple[bytes, int]:
    await asyncio.sleep(3600)
    return b"", 0


def _altered(change: Callable[[bytes], bytes], exit_status: int = 0, first: int = 1) -> liar.RunCommand:
    """Run commands, and alter what they write from the nth on."""
    runs = 0

    async def run(command: str, standard_input: bytes) -> tuple[bytes, int]:
        nonlocal runs
        runs += 1
        output, status = await liar.run_command(command, standard_input)
        return (output, status) if runs < first else (change(output), exit_status)

    return run


def _hanging_later() -> liar.RunCommand:
    """Run one command, for which everybody waits at first, and hang in all others."""
    runs = 0

    async def run(command: str, standard_input: bytes) -> tuple[bytes, int]:
        nonlocal runs
        runs += 1
        return await (liar.run_command if runs == 1 else _hang)(command, standard_input)

    return run


UNUSABLE_COMMANDS: dict[str, Callable[[], liar.RunCommand]] = {
    "hangs": lambda: _hang,
    "hangs later": _hanging_later,
    "says nothing": lambda: _altered(lambda _output: b""),
    "fails": lambda: _altered(lambda output: output, exit_status=1),
    "ends its lines otherwise": lambda: _altered(lambda output: output.translate(bytes.maketrans(b"\0\n", b"\n\0"))),
    "says it in capitals": lambda: _altered(bytes.upper),
    "names another file": lambda: _altered(lambda output: output.replace(b"uuid-1", b"uuid-2"), first=2),
    "leaves a file out": lambda: _altered(lambda output: b"".join(_lines(output)[1:]), first=2),
    "is cut short": lambda: _altered(lambda output: output[:-2], first=2),
    "tells of one file more": lambda: _altered(lambda output: output + _lines(output)[0], first=2),
    "tells in another order": lambda: _altered(lambda output: b"".join(reversed(_lines(output))), first=2),
}


def _lines(output: bytes) -> list[bytes]:
    """With their ends, which `sha256sum -z` writes as NUL and `openssl dgst` as a line feed."""
    return re.findall(rb"[^\0\n]+[\0\n]", output)


def _without_openssl(run: liar.RunCommand) -> liar.RunCommand:
    """The same on a server that has no `openssl`."""

    async def run_what_is_there(command: str, standard_input: bytes) -> tuple[bytes, int]:
        return (b"", 127) if "openssl" in command else await run(command, standard_input)

    return run_what_is_there


@pytest.mark.usefixtures("short_deadlines")
@pytest.mark.parametrize("as_it_is", [lambda run: run, _without_openssl], ids=["openssl", "no openssl"])
@pytest.mark.parametrize("how", UNUSABLE_COMMANDS)
def test_hashes_that_cannot_be_relied_on_are_replaced_by_reading_back(
    bench: Bench,
    provider: Provider,
    lying_sftp_server: LyingSftpServer,
    how: str,
    as_it_is: Callable[[liar.RunCommand], liar.RunCommand],
) -> None:
    before, logins = lying_sftp_server.commands_run, lying_sftp_server.logins
    lying_sftp_server.commands = as_it_is(UNUSABLE_COMMANDS[how]())
    try:
        copy, _ = bench.attempt(provider)
    finally:
        lying_sftp_server.commands = None
    assert copy.evidence is Evidence.READ_BACK
    assert lying_sftp_server.commands_run > before
    assert lying_sftp_server.logins - logins <= MOST_CONNECTIONS
    bench.require_copy()


def test_hashes_of_other_bytes_are_never_called_proven(
    bench: Bench, provider: Provider, lying_sftp_server: LyingSftpServer
) -> None:
    """They look as they should, and the probe was hashed well."""
    lying_sftp_server.commands = _altered(lambda output: b"00" + output[2:], first=2)
    try:
        error = bench.outcome(provider)
    finally:
        lying_sftp_server.commands = None
    assert isinstance(error, IntegrityError)
    bench.require_that_the_next_attempt_succeeds()


@pytest.mark.usefixtures("short_deadlines")
def test_threads_that_wait_to_run_commands_do_not_each_find_out_that_they_hang(
    provider: Provider, lying_sftp_server: LyingSftpServer
) -> None:
    keys = [f"p/{number}" for number in range(12)]
    for key in keys:
        provider.put(key, BytesSource(b"x"))
    before = lying_sftp_server.commands_run
    lying_sftp_server.commands = _hanging_later()
    try:
        with ThreadPoolExecutor(len(keys)) as executor:
            found = list(executor.map(lambda key: list(provider.digests([key])), keys))
    finally:
        lying_sftp_server.commands = None
    assert {digest.evidence for (digest,) in found} == {Evidence.READ_BACK}
    assert lying_sftp_server.commands_run - before <= 1 + server_hashing.COMMANDS_AT_ONCE


def test_a_full_disk_keeps_nothing_from_being_proven(
    bench: Bench, provider: Provider, lying_sftp_server: LyingSftpServer
) -> None:
    """Not even the small file fits in by which commands are tried out: the third beside the first file to be proven,
    as the first finds no directory yet, and the second is the file itself.
    """
    lying_sftp_server.commands = liar.run_command
    full = liar.refuse(liar.FAILURE, "No space left on device")
    try:
        with lying_sftp_server.going_wrong(Fault("OPEN", full, rb"/datos/\.janitor", calls=(3,))):
            copy, _ = bench.attempt(provider)
    finally:
        lying_sftp_server.commands = None
    assert copy.evidence is Evidence.READ_BACK
    bench.require_copy()


def test_hashes_that_are_right_are_believed(
    bench: Bench, provider: Provider, lying_sftp_server: LyingSftpServer
) -> None:
    lying_sftp_server.commands = liar.run_command
    try:
        copy, _ = bench.attempt(provider)
    finally:
        lying_sftp_server.commands = None
    assert copy.evidence is Evidence.CHECKSUM


# A thousand objects damaged at rest

DAMAGED = 1000
DAMAGED_AT_EACH_SERVER = DAMAGED // 2
"""Of SFTP, of which there are two: a thousand together."""

SOUND = 50


def _damage(path: Path, chance: random.Random) -> None:
    """Flip a random bit, or cut off a random number of bytes."""
    content = bytearray(path.read_bytes())
    if chance.random() < 0.5:
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(content)
    else:
        os.truncate(path, chance.randrange(len(content)))


@pytest.mark.parametrize(
    ("name", "evidence", "damages"),
    [
        ("sftp-openssh", Evidence.CHECKSUM, DAMAGED_AT_EACH_SERVER),
        ("sftp-asyncssh", Evidence.READ_BACK, DAMAGED_AT_EACH_SERVER),
        ("local", Evidence.READ_BACK, DAMAGED),
    ],
)
def test_a_thousand_random_damages_are_all_found(
    new_bench: Callable[[Destination], Bench],
    new_destination: Callable[[str], Destination],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    evidence: Evidence,
    damages: int,
) -> None:
    """What is damaged between storing and proving is sent again, all of it and nothing else."""
    seed = random.SystemRandom().randrange(10**6)
    chance = random.Random(seed)  # noqa: S311
    bench = new_bench(new_destination(name))
    shutil.rmtree(bench.directory / "datos")
    names = [f"{number:04}" for number in range(damages + SOUND)]
    for file_name in names:
        (bench.directory / file_name).write_bytes(chance.randbytes(chance.randrange(1, 200)))
    victims = set(chance.sample(names, damages))
    stored_at = bench.destination.directory / PLACE.key_prefix
    sent: list[str] = []
    with closing(build_provider(bench.destination.provider_row())) as provider, closing(TransferPool(8)) as pool:
        bench.pool = pool

        def noting(put_many: PutMany) -> PutMany:
            def note_and_put(sources: Mapping[str, Source]) -> Iterator[tuple[str, PutReceipt]]:
                sent.extend(key.rpartition("/")[2] for key in sources)
                return put_many(sources)

            return note_and_put

        def damage_and_list(prefix: str) -> Iterator[StoredObject]:
            if sent and not damaged:
                damaged.extend(sorted(victims))
                for victim in damaged:
                    _damage(stored_at / victim, chance)
                sent.clear()
            return listing(prefix)

        listing, damaged = provider.list, list[str]()
        monkeypatch.setattr(provider, "put_new_many", noting(provider.put_new_many))
        monkeypatch.setattr(provider, "put_many", noting(provider.put_many))
        monkeypatch.setattr(provider, "list", damage_and_list)
        copy, _ = bench.attempt(provider)
    assert len(damaged) == damages
    assert set(sent) - {f"{PLACE.manifest_key.rpartition('/')[2]}"} == victims, f"seed {seed}"
    assert copy.evidence is evidence
    bench.require_copy()


# Local directories

DISK_SIZE_BYTES = 1_000_000
NAME = "tabla.csv"


@pytest.fixture
def local(new_bench: Callable[[Destination], Bench], tmp_path: Path) -> Bench:
    """An execution to go to a directory."""
    return new_bench(local_destination("local", tmp_path / "nas"))


def faulty(bench: Bench, method: str, call: int, action: Callable[[], object]) -> FaultyProvider:
    """The provider for a directory, to which something happens before the nth call of a method."""
    faults = [ProviderFault(method, after(action), calls=(call,))]
    return FaultyProvider(build_provider(bench.destination.provider_row()), faults)


def fill_up(directory: Path) -> None:
    with (directory / "relleno").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


def take_all_inodes(directory: Path) -> None:
    used = os.statvfs(directory).f_files - os.statvfs(directory).f_ffree
    subprocess.run(["mount", "-o", f"remount,nr_inodes={used}", str(directory)], check=True, timeout=30)


@pytest.mark.parametrize("call", [1, 3], ids=["at the start", "in the middle"])
@pytest.mark.parametrize(
    ("trouble", "expected", "reason"),
    [
        (fill_up, StorageFull, "no queda espacio"),
        (take_all_inodes, StorageFull, "no queda espacio"),
        (make_read_only, AccessDenied, "solo lectura"),
    ],
)
def test_a_disk_that_takes_no_more_is_reported(
    local: Bench, trouble: Callable[[Path], None], expected: type[MigrationError], reason: str, call: int
) -> None:
    directory = local.destination.directory
    with mounted_small_disk(directory, DISK_SIZE_BYTES):
        with faulty(local, "put", call, lambda: trouble(directory)) as provider:
            error = local.outcome(provider)
        assert type(error) is expected
        assert reason in str(error)
        assert not list(directory.rglob("*.part"))


def replace_directory(directory: Path) -> None:
    directory.rename(directory.with_name("aside"))
    directory.mkdir()


def mount_another_disk(directory: Path) -> None:
    options = ["-o", f"size={DISK_SIZE_BYTES}"]
    subprocess.run(["mount", "-t", "tmpfs", *options, "janitor-test", str(directory)], check=True, timeout=30)


def unmount(directory: Path) -> None:
    subprocess.run(["umount", "--lazy", str(directory)], check=True, timeout=30)


@pytest.mark.parametrize("method", ["put", "list", "digests"])
def test_a_directory_that_is_replaced_in_the_middle_is_noticed(local: Bench, method: str) -> None:
    directory = local.destination.directory
    with faulty(local, method, 2, lambda: replace_directory(directory)) as provider:
        error = local.outcome(provider)
    assert isinstance(error, DestinationMissing)
    assert "ya no es el mismo directorio" in str(error)
    assert os.listdir(directory) == []


@pytest.mark.parametrize("first_mounted", [True, False])
def test_a_disk_that_is_unmounted_or_mounted_over_in_the_middle_is_noticed(local: Bench, first_mounted: bool) -> None:
    directory = local.destination.directory
    with mounted_small_disk(directory, DISK_SIZE_BYTES):
        if first_mounted:
            mount_another_disk(directory)
        change = unmount if first_mounted else mount_another_disk
        with faulty(local, "put", 3, lambda: change(directory)) as provider:
            error = local.outcome(provider)
        assert isinstance(error, DestinationMissing)
        assert os.listdir(directory) == []
        if not first_mounted:
            unmount(directory)


def flip(path: Path) -> None:
    path.write_bytes(flip_a_bit(path.read_bytes()))


def cut_short(path: Path) -> None:
    os.truncate(path, 2)


def replace_by_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


@pytest.mark.parametrize("damage", [flip, cut_short, Path.unlink], ids=["flipped", "cut short", "removed"])
@pytest.mark.parametrize("method", ["list", "stat", "digests"])
def test_what_is_damaged_before_it_is_proven_is_stored_again(
    local: Bench, damage: Callable[[Path], None], method: str
) -> None:
    """Before the listing and the look at the manifest, the first of which come before anything is stored, and before
    the reading back.
    """
    stored = local.destination.directory / PLACE.key_of(NAME)
    with faulty(local, method, 1 if method == "digests" else 2, lambda: damage(stored)) as provider:
        error = local.outcome(provider)
    if method == "list" or (method, damage) == ("digests", flip):
        assert error is None, error
    elif error is not None:  # what vanishes after it was listed fails this attempt
        local.require_that_the_next_attempt_succeeds()


def test_a_stored_file_that_becomes_a_link_is_stored_again(local: Bench) -> None:
    stored = local.destination.directory / PLACE.key_of(NAME)
    with faulty(local, "list", 2, lambda: replace_by_link(stored)) as provider:
        local.attempt(provider)
    assert not stored.is_symlink()
    assert stored.read_bytes() == FILES[NAME]
    assert stored.with_name("elsewhere").read_bytes() == FILES[NAME]


@pytest.mark.parametrize("in_the_way", ["p", "p/ejecuciones", PLACE.key_prefix, PLACE.key_of("datos")])
def test_a_file_where_a_directory_should_be_is_reported(local: Bench, in_the_way: str) -> None:
    path = local.destination.directory / in_the_way
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"of somebody else")
    with closing(build_provider(local.destination.provider_row())) as provider:
        error = local.outcome(provider)
    assert isinstance(error, ProviderError)
    assert "lo que debería ser un directorio es un fichero o un enlace" in str(error)
    assert path.read_bytes() == b"of somebody else"
    assert not list(local.destination.directory.rglob("*.part"))


def test_a_directory_where_a_file_should_be_is_reported(local: Bench) -> None:
    path = local.destination.directory / PLACE.key_of(NAME)
    path.mkdir(parents=True)
    with closing(build_provider(local.destination.provider_row())) as provider:
        error = local.outcome(provider)
    assert isinstance(error, ProviderError)
    assert "ya hay un directorio con ese nombre" in str(error)
    assert path.is_dir()
    assert not list(local.destination.directory.rglob("*.part"))
