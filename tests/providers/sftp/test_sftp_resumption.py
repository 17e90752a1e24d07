"""Sessions over SFTP that end in the middle: what was sent, read or listed until then counts, and is not done twice.

The same was looked for wherever a session is held for more than one request: storing (`put`, `replace`), naming,
reading (`open`, `digests`), listing (`list`, `discard_unfinished`). Small files go together in a session and are
repeated as such.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from config.errors import SourceChanged
from config.models import ProviderRow
from providers.errors import ConditionFailed, IntegrityError, ProviderUnavailable
from providers.sftp.protocol import IN_FLIGHT_BYTES
from providers.sftp.provider import SftpProvider
from providers.sources import BytesSource
from tests.executions.sources import FailingSource, PatternSource, sha256_of
from tests.faults import sftp_liar as liar
from tests.faults.sftp_liar import Fault, LyingSftpServer, Request
from tests.faults.sftp_line import Direction, FaultyLine, LineFault, Trouble
from tests.servers.sftp.openssh import OpenSsh
from tests.servers.sftp.ssh import SftpServer

LARGE_BYTES = 48 * 1024 * 1024
CUT_AT_BYTE = LARGE_BYTES * 6 // 10
EACH_SESSION_BYTES = 10_000_000
SENT_TWICE_BYTES = 2 * IN_FLIGHT_BYTES
"""What was on its way, and what SSH adds to it."""

MEDIUM_BYTES = 12 * 1024 * 1024


def provider_of(server: SftpServer, directory: Path, port: int | None = None) -> SftpProvider:
    """A provider for a directory of a server, through another port if need be. What it proves it reads back."""
    return SftpProvider(row_of(server, directory, port))


def row_of(server: SftpServer, directory: Path, port: int | None = None) -> ProviderRow:
    """The row of such a provider."""
    secret = {"private_key": server.private_key} if server.password is None else {"password": server.password}
    credentials = {
        "host": server.host,
        "port": port or server.port,
        "username": server.username,
        "host_key": server.host_key,
        **secret,
    }
    options = {"base_path": str(directory), "verificacion": "lectura"}
    return ProviderRow(1, "servidor", "sftp", credentials, options, active=True)


@pytest.fixture
def line(openssh_server: OpenSsh) -> Iterator[FaultyLine]:
    """The way to a real server."""
    with FaultyLine(openssh_server.port) as made:
        yield made


@pytest.fixture
def directory(openssh_server: OpenSsh) -> Path:
    """Where the real server keeps what is stored."""
    return openssh_server.new_directory()


@pytest.fixture
def distant(openssh_server: OpenSsh, directory: Path, line: FaultyLine) -> Iterator[SftpProvider]:
    """A provider at the other end of the line."""
    with closing(provider_of(openssh_server, directory, line.port)) as made:
        yield made


@pytest.fixture
def stored(directory: Path) -> PatternSource:
    """What lies at the server as `file`."""
    source = PatternSource(LARGE_BYTES)
    (directory / "file").write_bytes(b"".join(source.chunks(LARGE_BYTES)))
    return source


@pytest.fixture
def base(lying_sftp_server: LyingSftpServer) -> Path:
    """Where the server that does as told keeps what is stored."""
    return lying_sftp_server.new_directory()


@pytest.fixture
def provider(lying_sftp_server: LyingSftpServer, base: Path) -> Iterator[SftpProvider]:
    """A provider for the server that does as told."""
    with closing(provider_of(lying_sftp_server, base)) as made:
        yield made


def all_below(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


# Storing


def test_an_upload_continues_where_a_cut_connection_left_it(
    distant: SftpProvider, line: FaultyLine, directory: Path
) -> None:
    line.fault = LineFault(Trouble.RESET, Direction.UP, CUT_AT_BYTE, connections=(0,))
    source = PatternSource(LARGE_BYTES)
    assert distant.put("a/b/file", source).sha256 == source.sha256()
    assert (line.struck, line.connections) == (1, 2)
    assert line.passed[Direction.UP] < LARGE_BYTES - CUT_AT_BYTE + SENT_TWICE_BYTES
    assert hashlib.sha256((directory / "a/b/file").read_bytes()).hexdigest() == source.sha256()
    assert all_below(directory) == {"a/b/file"}


def test_an_upload_survives_a_server_that_ends_every_session(
    distant: SftpProvider, line: FaultyLine, directory: Path
) -> None:
    """As long as each session gets on: none of them could carry the file alone."""
    line.fault = LineFault(Trouble.RESET, Direction.UP, EACH_SESSION_BYTES)
    source = PatternSource(LARGE_BYTES)
    distant.replace("file", source, None)
    assert line.struck >= LARGE_BYTES // EACH_SESSION_BYTES
    assert hashlib.sha256((directory / "file").read_bytes()).hexdigest() == source.sha256()
    assert all_below(directory) == {"file"}


@pytest.mark.parametrize("kind", ["OPEN", "WRITE", "FSYNC", "CLOSE", "LSTAT", "RENAME"])
@pytest.mark.parametrize("effect", [liar.cut, liar.lose_answer], ids=["before", "before its answer"])
def test_a_session_may_end_at_any_request(
    provider: SftpProvider,
    lying_sftp_server: LyingSftpServer,
    base: Path,
    kind: str,
    effect: Callable[[Request], None],
) -> None:
    """The bytes that were acknowledged are not sent again, and what was named without an answer has its name."""
    source = PatternSource(MEDIUM_BYTES)
    written = Fault("WRITE", lambda request: request.forward(), b"file|part")
    fault = Fault(kind, effect, b"file|part", calls=(30,) if kind == "WRITE" else (1,))
    with lying_sftp_server.going_wrong(fault, written):
        provider.put("a/file", source)
    writes = -(-MEDIUM_BYTES // (255 * 1024))
    assert written.struck <= writes + IN_FLIGHT_BYTES // (255 * 1024)
    assert hashlib.sha256((base / "a/file").read_bytes()).hexdigest() == source.sha256()
    assert all_below(base) == {"a/file"}


def test_a_replaced_object_is_known_again_after_a_lost_answer(
    provider: SftpProvider, lying_sftp_server: LyingSftpServer, base: Path
) -> None:
    """Otherwise it would be taken for somebody else's, as it is not what was expected there."""
    provider.put("file", BytesSource(b"old"))
    with lying_sftp_server.going_wrong(Fault("RENAME", liar.lose_answer, calls=(1,))):
        provider.replace("file", PatternSource(MEDIUM_BYTES), provider.stat("file"))
    assert (base / "file").stat().st_size == MEDIUM_BYTES


def test_what_others_store_while_a_session_is_lost_stays(
    provider: SftpProvider, lying_sftp_server: LyingSftpServer, base: Path
) -> None:
    def store_and_cut(request: Request) -> None:
        (base / "file").write_bytes(b"of others")
        request.cut()

    with (
        lying_sftp_server.going_wrong(Fault("WRITE", store_and_cut, calls=(30,))),
        pytest.raises(ConditionFailed),
    ):
        provider.replace("file", PatternSource(MEDIUM_BYTES), None)
    assert (base / "file").read_bytes() == b"of others"
    assert all_below(base) == {"file"}


@pytest.mark.parametrize("how", ["gone", "shorter"])
def test_an_unfinished_file_that_lost_bytes_is_not_continued(
    provider: SftpProvider, lying_sftp_server: LyingSftpServer, base: Path, how: str
) -> None:
    """Some servers discard what a lost session left, and so does the run that has taken over."""

    def lose(request: Request) -> None:
        [unfinished] = base.glob(".janitor-*.part")
        if how == "gone":
            unfinished.unlink()
        else:
            os.truncate(unfinished, 100)
        request.forward()

    cut = Fault("WRITE", liar.cut, calls=(30,))
    with (
        lying_sftp_server.going_wrong(cut, Fault("LSTAT", lose, b"part", calls=(1,))),
        pytest.raises(ProviderUnavailable, match="ya no tiene") as caught,
    ):
        provider.put("file", PatternSource(MEDIUM_BYTES))
    assert not caught.value.given_up, "whoever asked may send all of it again"
    assert not (base / "file").exists()
    assert len(all_below(base)) == (0 if how == "gone" else 1)
    provider.discard_unfinished("file")
    assert all_below(base) == set()


def test_a_source_that_fails_after_a_lost_session_stores_nothing(
    provider: SftpProvider, lying_sftp_server: LyingSftpServer, base: Path
) -> None:
    """After its last byte: what was sent is not what it should be, however complete it looks."""
    source = FailingSource(MEDIUM_BYTES, MEDIUM_BYTES, SourceChanged("cambió"))
    with (
        lying_sftp_server.going_wrong(Fault("WRITE", liar.cut, calls=(30,))),
        pytest.raises(SourceChanged) as caught,
    ):
        provider.put("file", source)
    assert not caught.value.given_up
    assert all_below(base) == set()


def test_a_name_is_asked_for_once_where_a_late_request_could_remove_it(
    provider: SftpProvider, lying_sftp_server: LyingSftpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the extension a file is removed before another one takes its name: the caller hears of the loss."""
    monkeypatch.setattr(lying_sftp_server, "hidden_extensions", (b"posix-rename@openssh.com",))
    lost = Fault("RENAME", liar.cut, calls=(1,))
    with lying_sftp_server.going_wrong(lost), pytest.raises(ProviderUnavailable) as caught:
        provider.put("file", PatternSource(MEDIUM_BYTES))
    assert not caught.value.given_up


# Reading


def test_a_download_continues_where_a_cut_connection_left_it(
    distant: SftpProvider, line: FaultyLine, stored: PatternSource
) -> None:
    line.fault = LineFault(Trouble.RESET, Direction.DOWN, CUT_AT_BYTE, connections=(0,))
    assert sha256_of(distant.open("file")) == stored.sha256()
    assert (line.struck, line.connections) == (1, 2)
    assert line.passed[Direction.DOWN] < LARGE_BYTES - CUT_AT_BYTE + SENT_TWICE_BYTES


def test_a_file_is_read_back_from_a_server_that_ends_every_session(
    distant: SftpProvider, line: FaultyLine, stored: PatternSource
) -> None:
    line.fault = LineFault(Trouble.RESET, Direction.DOWN, EACH_SESSION_BYTES)
    [digest] = distant.digests(["file"])
    assert digest.sha256 == stored.sha256()
    assert line.struck >= LARGE_BYTES // EACH_SESSION_BYTES


def test_an_object_that_is_another_one_after_a_cut_is_not_read_on(
    provider: SftpProvider, lying_sftp_server: LyingSftpServer, base: Path
) -> None:
    provider.put("file", PatternSource(MEDIUM_BYTES))

    def replace_and_cut(request: Request) -> None:
        (base / "file").write_bytes(b"another one" * (MEDIUM_BYTES // 11))
        request.cut()

    with (
        lying_sftp_server.going_wrong(Fault("READ", replace_and_cut, calls=(30,))),
        pytest.raises(IntegrityError, match="cambió"),
    ):
        sha256_of(provider.open("file"))


# Listing


FILES_IN = {"a": 1100, "a/b": 50, "c": 450}
"""Where there are more than 800 beside another directory, they take a second burst of requests for pages."""


def _many_files(base: Path) -> set[str]:
    keys = {f"{directory}/{number}" for directory, count in FILES_IN.items() for number in range(count)}
    for key in keys:
        (base / key).parent.mkdir(parents=True, exist_ok=True)
        (base / key).touch()
    return keys


@pytest.mark.parametrize("call", [1, 17, 33, 36, 60])
def test_a_listing_continues_behind_what_it_gave(
    provider: SftpProvider, lying_sftp_server: LyingSftpServer, base: Path, call: int
) -> None:
    """Cut at the first page of a burst, and behind pages of it that may have been given."""
    keys = _many_files(base)
    with lying_sftp_server.going_wrong(Fault("READDIR", liar.cut, re.escape(bytes(base)), calls=(call,))):
        found = [stored.key for stored in provider.list("")]
    assert len(found) == len(keys)
    assert set(found) == keys


@pytest.mark.parametrize("change", [lambda entries: entries[::-1], lambda entries: []], ids=["reversed", "empty"])
def test_a_directory_that_reads_otherwise_after_a_cut_is_no_listing(
    provider: SftpProvider,
    lying_sftp_server: LyingSftpServer,
    base: Path,
    change: Callable[[list[liar.Listed]], list[liar.Listed]],
) -> None:
    """A name that was given and one that was not cannot be told apart then."""
    _many_files(base)
    cut = Fault("READDIR", liar.cut, b"/a$", calls=(9,))
    other = Fault("READDIR", liar.list_otherwise(change), b"/a$", calls=range(9, 1000))
    with lying_sftp_server.going_wrong(cut, other), pytest.raises(IntegrityError, match="lista"):
        list(provider.list(""))


def test_what_is_unfinished_is_discarded_though_a_session_ends(
    provider: SftpProvider, lying_sftp_server: LyingSftpServer, base: Path
) -> None:
    keys = _many_files(base)
    name = ".janitor-0123456789abcdef-0123456789abcdef.part"
    for directory in ("a", "a/b", "c"):
        (base / directory / name).touch()
    with lying_sftp_server.going_wrong(Fault("READDIR", liar.cut, calls=(33,))):
        provider.discard_unfinished("")
    assert all_below(base) == keys
