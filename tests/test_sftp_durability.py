"""What `put` over SFTP has seen before it says that a file is stored: its bytes on the server's disk, all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import pytest

from config.models import ProviderRow
from providers.base import BytesSource, IntegrityError
from providers.sftp import SftpProvider
from providers.sftp_protocol import FSYNC, POSIX_RENAME, SftpSession
from tests.servers.openssh import OpenSsh


@pytest.fixture
def provider(openssh_server: OpenSsh) -> Iterator[SftpProvider]:
    """A new directory on OpenSSH's server."""
    credentials = {
        "host": openssh_server.host,
        "port": openssh_server.port,
        "username": openssh_server.username,
        "host_key": openssh_server.host_key,
        "private_key": openssh_server.private_key,
    }
    options = {"base_path": str(openssh_server.new_directory())}
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
