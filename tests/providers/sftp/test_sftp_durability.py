"""What `put` over SFTP has seen before it says that a file is stored: its bytes on the server's disk, all of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from config.models import ProviderRow
from providers.errors import IntegrityError, InvalidKey, ProviderError
from providers.sftp.packets import FSYNC, POSIX_RENAME, Answer, PacketType
from providers.sftp.protocol import IN_FLIGHT_BYTES, SftpSession
from providers.sftp.provider import SftpProvider
from providers.sources import BytesSource
from tests.executions.sources import PatternSource
from tests.faults.sftp_liar import FAILURE, Fault, LyingSftpServer, refuse
from tests.servers.sftp.openssh import OpenSsh


@pytest.fixture
def base(openssh_server: OpenSsh) -> Path:
    """A new directory on OpenSSH's server."""
    return Path(openssh_server.new_directory())


@pytest.fixture
def provider(openssh_server: OpenSsh, base: Path) -> Iterator[SftpProvider]:
    """Stores there."""
    credentials = {
        "host": openssh_server.host,
        "port": openssh_server.port,
        "username": openssh_server.username,
        "host_key": openssh_server.host_key,
        "private_key": openssh_server.private_key,
    }
    options = {"base_path": str(base)}
    made = SftpProvider(ProviderRow(1, "servidor", "sftp", credentials, options, active=True))
    yield made
    made.close()


def test_the_bytes_are_on_the_servers_disk_before_the_name(
    provider: SftpProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bytes] = []
    extended = SftpSession.extended

    def recorded(session: SftpSession, name: bytes, body: bytes) -> int:
        asked.append(name)
        return extended(session, name, body)

    monkeypatch.setattr(SftpSession, "extended", recorded)
    provider.put("directory/file", BytesSource(b"content"))
    assert [name for name in asked if name in (FSYNC, POSIX_RENAME)] == [FSYNC, POSIX_RENAME]


def test_a_server_that_keeps_less_than_was_sent_is_found_out(
    provider: SftpProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It acknowledges every write; what it did not keep is cut off here on the way to it."""
    write_file = SftpSession.write_file
    kept: list[int] = []

    def write_less(session: SftpSession, handle: bytes, chunks: Iterable[bytes]) -> Sequence[int]:
        content = b"".join(chunks)
        kept.append(len(content) - 1)
        return list(write_file(session, handle, [content[:-1]]))

    monkeypatch.setattr(SftpSession, "write_file", write_less)
    with pytest.raises(IntegrityError):
        provider.put("directory/file", BytesSource(b"content"))
    assert kept == [6]
    monkeypatch.undo()
    assert list(provider.list("")) == []


def test_many_small_files_take_six_requests_each_and_few_turns(
    provider: SftpProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A turn is waiting for an answer after having asked: over a slow line that is what costs."""
    steps: list[str] = []
    post, answer = SftpSession.post, SftpSession.answer

    def recorded_post(session: SftpSession, packet_type: PacketType, body: bytes, content: bytes = b"") -> int:
        steps.append("ask")
        return post(session, packet_type, body, content)

    def recorded_answer(session: SftpSession, number: int, *, patient: bool = False) -> Answer:
        steps.append("wait")
        return answer(session, number, patient=patient)

    provider.put("directory/first", BytesSource(b""))
    monkeypatch.setattr(SftpSession, "post", recorded_post)
    monkeypatch.setattr(SftpSession, "answer", recorded_answer)
    sources = {f"directory/{number}": BytesSource(bytes(number * 1000)) for number in range(1, 17)}
    receipts = dict(provider.put_many(sources))
    assert steps.count("ask") == 6 * len(sources)
    assert [step for step, _ in itertools.groupby(steps)] == ["ask", "wait"] * 3
    monkeypatch.undo()
    assert {stored.key: stored.size_bytes for stored in provider.list("directory/")} == {
        "directory/first": 0,
        **{key: receipt.size_bytes for key, receipt in receipts.items()},
    }


@pytest.mark.parametrize("place", [0, 1, 2])
def test_of_many_files_none_is_left_half_stored_where_one_is_refused(
    provider: SftpProvider, base: Path, place: int
) -> None:
    provider.put("directory/below/file", BytesSource(b"x"))
    keys = ["directory/1", "directory/2"]
    keys.insert(place, "directory/below")
    with pytest.raises(InvalidKey):
        list(provider.put_many({key: BytesSource(b"content") for key in keys}))
    assert not [path for path in base.rglob("*") if path.name.endswith(".part")]
    whole = {stored.key for stored in provider.list("")} - {"directory/below/file"}
    assert all(b"".join(provider.open(key)) == b"content" for key in whole)


UNSUPPORTED = 8


@pytest.mark.parametrize("size_bytes", [10, IN_FLIGHT_BYTES + 1])
def test_a_server_that_only_announces_that_it_syncs_is_used(
    lying_sftp_server: LyingSftpServer, size_bytes: int
) -> None:
    """As servers do that keep their files in an object store. One that fails to sync has not stored the file."""
    credentials = {
        "host": lying_sftp_server.host,
        "port": lying_sftp_server.port,
        "username": lying_sftp_server.username,
        "host_key": lying_sftp_server.host_key,
        "private_key": lying_sftp_server.private_key,
    }
    options = {"base_path": str(lying_sftp_server.new_directory())}
    source = PatternSource(size_bytes)
    with closing(SftpProvider(ProviderRow(1, "servidor", "sftp", credentials, options, active=True))) as provider:
        with lying_sftp_server.going_wrong(unsupported := Fault("FSYNC", refuse(UNSUPPORTED))):
            provider.put("key", source)
        assert unsupported.struck == 1
        assert provider.stat("key").size_bytes == size_bytes
        with lying_sftp_server.going_wrong(Fault("FSYNC", refuse(FAILURE))), pytest.raises(ProviderError):
            provider.put("other", source)
        assert [stored.key for stored in provider.list("")] == ["key"]
