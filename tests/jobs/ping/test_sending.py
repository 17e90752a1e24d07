"""What is repeated, what is not, and that no server takes more time than three tries."""

from __future__ import annotations

import queue
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from config.logs import redactor
from config.settings import load_settings
from jobs.context import EndOfRun
from jobs.ping import sending
from jobs.ping.sending import Ping, address_of, send
from jobs.ping.settings import PingSettings
from jobs.ping.summary import LARGEST_BYTES, shortened, summary_of
from jobs.report import JobDone
from tests.servers.authority import PrivateAuthority
from tests.servers.canned_http import Answer, CannedHttp

END = Ping("/0", "todo bien", is_last=True)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between tries."""
    monkeypatch.setattr(sending, "PAUSES_SECONDS", (0.01, 0.01))


def answers(*statuses: int) -> CannedHttp:
    """A server that answers one after the other, and then 200."""
    left = list(statuses)
    return CannedHttp(lambda _: Answer(left.pop(0) if left else 200))


@pytest.mark.parametrize(
    ("statuses", "problem", "tries"),
    [
        ([200], None, 1),
        ([503, 429, 200], None, 3),
        ([500, 500, 500], "contestó 500", 3),
        ([404], "contestó 404", 1),
    ],
)
def test_what_may_pass_is_tried_three_times(statuses: list[int], problem: str | None, tries: int) -> None:
    with answers(*statuses) as server:
        assert send(f"{server.url}/a", END, queue.SimpleQueue()) == problem
        assert [request.path for request in server.requests] == ["/a/0"] * tries
        assert {request.body for request in server.requests} == {b"todo bien"}


@pytest.fixture
def silent_url() -> Iterator[str]:
    """A server that takes connections and says nothing."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/a"


def test_a_silent_server_is_given_up_in_a_bounded_time(silent_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sending.LONGEST_SECONDS <= 3 * 5 + 2
    monkeypatch.setattr(sending, "TRY_SECONDS", 0.05)
    assert send(silent_url, END, queue.SimpleQueue()) is not None


def test_a_trickling_answer_is_given_up_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte comes in time, and the whole does not: at its end the server would have accepted the ping."""
    monkeypatch.setattr(sending, "TRY_SECONDS", 0.2)
    with CannedHttp(lambda _: Answer(200, b"x" * 50, seconds_per_byte=0.1)) as server:
        assert send(f"{server.url}/a", END, queue.SimpleQueue()) == "no contestó en 0 s"


def test_a_start_that_is_late_is_not_repeated() -> None:
    asked: queue.SimpleQueue[Ping | None] = queue.SimpleQueue()
    asked.put(END)
    with answers(503) as server:
        assert send(f"{server.url}/a", Ping("/start"), asked) == "contestó 503"
        assert len(server.requests) == 1


def test_certificates_and_proxies_are_those_of_other_requests(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    authority = PrivateAuthority(tmp_path)
    with CannedHttp(lambda _: Answer(200), authority.server_context("127.0.0.1")) as server:
        assert "no es de confianza" in (send(f"{server.url}/a", END, queue.SimpleQueue()) or "")
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.bundle))
        assert send(f"{server.url}/a", END, queue.SimpleQueue()) is None
    with answers() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        assert send("http://hc.invalid/a", END, queue.SimpleQueue()) is None
        assert proxy.requests[0].path == "http://hc.invalid/a/0"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://h/u", "https://h/u/0"),
        ("https://h/u/", "https://h/u/0"),
        ("https://h", "https://h/0"),
        ("https://h/u?create=1", "https://h/u/0?create=1"),
    ],
)
def test_the_code_ends_the_path(url: str, address: str) -> None:
    assert address_of(url, "/0") == address


def test_the_address_is_a_secret() -> None:
    """Also the part of it that a library may quote."""
    settings = load_settings({"JANITOR_PING_URL": "https://hc.example/ping/abcdefgh-secreto"}).of(PingSettings)
    assert "abcdefgh" not in repr(settings)
    assert "secreto" not in redactor.redact("https://hc.example/ping/abcdefgh-secreto")


def test_the_summary_says_what_is_wrong_first_and_fits() -> None:
    jobs = (JobDone("migration", "failed", 12.0),)
    end = EndOfRun(1, 12.5, {"migrated": 3}, jobs, ("1 ejecución con error: uuid-1",), None)
    first, second, *_, last = summary_of(end, "norte", "tick").splitlines()
    assert first == "norte (tick): código 1, 12.5 s"
    assert second == "- 1 ejecución con error: uuid-1"
    assert last == "Sin base de datos al terminar."
    text = shortened(["ñ" * 500] * 100)
    assert len(text.encode()) <= LARGEST_BYTES
    assert text.endswith("\n...\n")
