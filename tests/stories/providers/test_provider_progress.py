"""Providers that get on, slowly or with errors now and then: nothing is given up, and nothing is done twice."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable

import pytest

from providers.base import PART_SIZE_BYTES
from tests.destinations import Destination
from tests.faults.http_effects import address_of, behind, refuse
from tests.faults.http_proxy import Exchange, Fault, HttpFaultProxy
from tests.stories.installation import Installation, RunningCommand

REQUESTS_PER_SECOND = 20
EXECUTIONS, FILES = 4, 40


class Limit:
    """Lets this many requests pass in each second, and refuses all others as S3 does."""

    def __init__(self, requests_per_second: int) -> None:
        self.refused = 0
        self._free = float(requests_per_second)
        self._most = requests_per_second
        self._looked_at = time.monotonic()
        self._turn = threading.Lock()
        self._refuse = refuse("s3", 503, "SlowDown")

    def __call__(self, exchange: Exchange) -> None:
        with self._turn:
            now = time.monotonic()
            self._free = min(self._most, self._free + (now - self._looked_at) * self._most)
            self._looked_at = now
            passes = self._free >= 1
            self._free -= passes
            self.refused += not passes
        if passes:
            exchange.answer(exchange.forward())
        else:
            self._refuse(exchange)


def test_a_bucket_that_takes_few_requests_gets_everything_in_one_run(
    installation: Installation, new_destination: Callable[[str], Destination]
) -> None:
    real = new_destination("s3-rclone")
    limit = Limit(REQUESTS_PER_SECOND)
    with HttpFaultProxy(address_of(real), Fault("limit", limit)) as proxy:
        installation.configure(installation.add_provider(behind(real, proxy.url), "Limitado"))
        for number in range(EXECUTIONS):
            directory = installation.small_execution(f"limitada-{number}")
            for file in range(FILES):
                (directory / f"{file}.txt").write_text(f"{number} {file}")
        run = installation.run()
    assert run.exit_code == 0, str(run)
    assert limit.refused
    for number in range(EXECUTIONS):
        assert installation.place(f"limitada-{number}")[0]


@pytest.mark.parametrize("name", ["s3-rclone", "s3-swift"])
def test_the_next_run_continues_with_the_parts_of_the_one_before(
    installation: Installation, new_destination: Callable[[str], Destination], name: str
) -> None:
    real = new_destination(name)
    denied = Fault("denied", refuse("s3", 403, "AccessDenied"), "^PUT .*partNumber=4&", on=(1,))
    with HttpFaultProxy(address_of(real), denied) as proxy:
        installation.configure(installation.add_provider(behind(real, proxy.url), "La primaria"))
        directory = installation.small_execution("grande")
        (directory / "grande.bin").write_bytes(os.urandom(3 * PART_SIZE_BYTES + 1000))
        assert installation.run().exit_code == 1
        first = len(proxy.seen)
        run = installation.run()
        assert run.exit_code == 0, str(run)
        parts = [line for line in proxy.seen[first:] if re.search("^PUT .*grande.bin.partNumber=", line)]
    assert len(parts) == 1
    assert "partNumber=4&" in parts[0]
    assert installation.migration("grande")["evidence"] == "read-back"
    real.rclone("check", "--download", "--one-way", str(installation.executions), real.rclone_remote("ejecuciones"))
    assert not [key for key in real.everything_stored() if key.endswith("(unfinished)")]
    assert installation.unfinished() == {"attempts": 0, "leases": 0, "removals": 0}


def test_the_next_run_continues_what_a_killed_run_sent_to_google(
    installation: Installation, new_destination: Callable[[str], Destination]
) -> None:
    """The emulator ignores conditions: see `tests/providers/gcs/test_gcs_continuation.py`."""
    real = new_destination("gcs")
    running: list[RunningCommand] = []

    def kill(exchange: Exchange) -> None:
        running[0].process.send_signal(signal.SIGKILL)
        exchange.reset()

    with HttpFaultProxy(address_of(real), Fault("kill", kill, "^PUT .*upload_id=", on=(3,))) as proxy:
        installation.configure(installation.add_provider(behind(real, proxy.url), "La primaria"))
        directory = installation.small_execution("grande")
        (directory / "grande.bin").write_bytes(os.urandom(3 * PART_SIZE_BYTES + 1000))
        with installation.start() as command:
            running.append(command)
            assert command.finish().exit_code == -signal.SIGKILL
        first = len(proxy.seen)
        run = installation.run()
        assert run.exit_code == 0, str(run)
        sent = [line for line in proxy.seen[first:] if re.search("^PUT .*upload_id=", line)]
    assert len(sent) == 1 + 2, "it asks how far the session is, and sends the third and the last part"
    assert installation.migration("grande")["evidence"] == "read-back"
    assert "upload_id" not in installation.log_file.read_text()
    assert not list((installation.logs / "unfinished-uploads").iterdir())
    assert installation.unfinished() == {"attempts": 0, "leases": 0, "removals": 0}
