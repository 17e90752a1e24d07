"""A source whose bytes come slowly, for a bandwidth that is kept low, is no provider that hangs: no deadline runs."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from providers import build_provider
from providers.base import PART_SIZE_BYTES
from providers.sftp import sessions as sftp_sessions
from providers.sftp import ssh
from providers.shared import object_store_put
from tests.destinations import Destination
from tests.faults.sftp_line import Direction, FaultyLine
from tests.servers.sftp.openssh import OpenSsh

DEADLINE_SECONDS = 3.0
PAUSE_SECONDS = 5.0
"""More than a deadline, and than it takes the watch over SFTP's transfers to notice one."""


class Slow:
    """This many bytes, with one pause in the middle, where a part of them has been sent already.

    `look` is called in the middle of the pause and at its end.
    """

    def __init__(self, size_bytes: int, look: Callable[[], None] = lambda: None) -> None:
        self._content = os.urandom(size_bytes)
        self._look = look
        self.sha256 = hashlib.sha256(self._content).hexdigest()
        self.paused = False

    @property
    def size_bytes(self) -> int:
        return len(self._content)

    def chunks(self, chunk_size_bytes: int) -> Iterator[bytes]:
        for start in range(0, self.size_bytes, chunk_size_bytes):
            if start >= self.size_bytes // 2 and not self.paused:
                self.paused = True
                time.sleep(PAUSE_SECONDS / 2)  # until what was handed over is sent
                self._look()
                time.sleep(PAUSE_SECONDS / 2)
                self._look()
            yield self._content[start : start + chunk_size_bytes]


@pytest.fixture(autouse=True)
def _short_deadlines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_store_put, "deadline_seconds", lambda _body_bytes: DEADLINE_SECONDS)
    monkeypatch.setattr(ssh, "TRANSFER_TIMEOUT_SECONDS", DEADLINE_SECONDS)


@pytest.mark.parametrize("name", ["s3-rclone", "sftp-openssh"])
def test_a_pause_longer_than_any_deadline_ends_no_upload(
    name: str, new_destination: Callable[[str], Destination]
) -> None:
    slow = Slow(2 * PART_SIZE_BYTES + 5)
    with closing(build_provider(new_destination(name).provider_row())) as provider:
        receipt = provider.put("p/lento", slow)
        assert slow.paused
        assert receipt.sha256 == slow.sha256
        assert hashlib.sha256(b"".join(provider.open("p/lento"))).hexdigest() == slow.sha256


def test_an_ssh_connection_is_not_silent_meanwhile(
    openssh_server: OpenSsh, new_destination: Callable[[str], Destination], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh, "KEEPALIVE_SECONDS", 1)
    with FaultyLine(openssh_server.port) as line:
        destination = new_destination("sftp-openssh").with_credentials(port=line.port)
        said: list[int] = []

        def look() -> None:
            said.append(line.passed[Direction.UP])

        with closing(build_provider(destination.provider_row())) as provider:
            provider.put("p/lento", Slow(2 * 1024 * 1024, look))
        assert said[0] > 0
        assert said[1] > said[0]


def test_who_waits_for_a_session_waits_as_long_as_the_others_get_on(
    new_destination: Callable[[str], Destination], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sftp_sessions, "TRANSFER_TIMEOUT_SECONDS", 1.0)
    monkeypatch.setattr(sftp_sessions, "MAXIMUM_SESSIONS", 1)
    row = new_destination("sftp-openssh").provider_row()
    with closing(build_provider(row)) as provider, ThreadPoolExecutor(2) as threads:
        puts = [threads.submit(provider.put, f"p/{number}", Slow(1024 * 1024)) for number in range(2)]
        assert [put.result().size_bytes for put in puts] == [1024 * 1024] * 2
