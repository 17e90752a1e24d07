"""Questions that probe objects answer: asked once, and not misled by other hosts that ask the same at the same time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from config.models import ProviderRow
from providers import build_provider
from providers.base import BytesSource, Provider, ProviderUnavailable
from providers.local.provider import LocalProvider
from providers.probes import CONDITIONS_NAME, FOLDING_NAME, Remembered, folds_names
from tests.faulty_provider import Call, Fault, FaultyProvider
from tests.servers.canned_http import Answer, CannedHttp, Request

THREADS = 8


def test_an_answer_is_found_once_for_all_threads() -> None:
    asked: list[str] = []
    together = threading.Barrier(THREADS)

    def find(prefix: str) -> int:
        asked.append(prefix)
        return len(asked)

    remembered = Remembered(find)

    def ask(_: int) -> int:
        together.wait()
        return remembered.get("p")

    with ThreadPoolExecutor(THREADS) as executor:
        assert set(executor.map(ask, range(THREADS))) == {1}
    assert asked == ["p"]


def test_an_error_is_no_answer() -> None:
    outcomes: Iterator[object] = iter((ProviderUnavailable("no responde"), True))

    def find(_prefix: str) -> object:
        outcome = next(outcomes)
        if isinstance(outcome, ProviderUnavailable):
            raise outcome
        return outcome

    remembered = Remembered(find)
    with pytest.raises(ProviderUnavailable):
        remembered.get("")
    assert remembered.get("") is True


def test_a_probe_that_another_host_removes_is_made_again(tmp_path: Path) -> None:
    """What is not found under another name may have been removed altogether."""

    def removed_by_others(call: Call) -> object:
        receipt = call.proceed()
        call.provider.delete(call.arguments[0])
        return receipt

    row = ProviderRow(1, "NAS", "local", None, {"ruta": str(tmp_path)}, active=True)
    faults = [Fault("put", removed_by_others, f"*{FOLDING_NAME}", calls=(1, 2))]
    with FaultyProvider(LocalProvider(row), faults) as provider:
        assert not folds_names(provider, "p")
        assert len(provider.keys("put")) == 3
    assert list(tmp_path.iterdir()) == []


class OddServer(CannedHttp):
    """A server of S3 that stores nothing. It ignores conditions, or others remove its objects at once, so that it has
    no reason to refuse; and it lists unfinished uploads, or knows what was discarded, or not.
    """

    def __init__(self, *, refuses_after: int = 0, lists_uploads: bool = True, forgets_uploads: bool = True) -> None:
        super().__init__(self._answer)
        self._refuses_after = refuses_after
        self._created = 0
        self._lists_uploads = lists_uploads
        self._forgets_uploads = forgets_uploads

    def _answer(self, request: Request) -> Answer:
        if request.method == "POST":
            return self._answer_about_an_upload(request)
        if request.method == "GET":
            upload = "<Upload><Key>p/.janitor-check-conditions</Key><UploadId>id</UploadId></Upload>"
            return _xml(f"<ListMultipartUploadsResult>{upload * self._lists_uploads}</ListMultipartUploadsResult>")
        self._created += "If-None-Match" in request.headers
        is_conditional = "If-Match" in request.headers or "If-None-Match" in request.headers
        is_probe = CONDITIONS_NAME in request.path  # each other object is a new one
        if is_probe and is_conditional and self._created > self._refuses_after > 0:
            return Answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
        return Answer(204 if request.method == "DELETE" else 200)

    def _answer_about_an_upload(self, request: Request) -> Answer:
        if request.path.endswith("uploads="):
            return _xml("<InitiateMultipartUploadResult><UploadId>id</UploadId></InitiateMultipartUploadResult>")
        if self._forgets_uploads:
            return Answer(404, b"<Error><Code>NoSuchUpload</Code></Error>")
        return _xml("<CompleteMultipartUploadResult/>")


def _xml(text: str) -> Answer:
    return Answer(200, text.encode())


@pytest.mark.parametrize(
    ("server", "is_safe"),
    [
        (OddServer(refuses_after=1, forgets_uploads=False), True),
        (OddServer(refuses_after=2, forgets_uploads=False), True),
        (OddServer(), True),
        (OddServer(lists_uploads=False), False),
        (OddServer(forgets_uploads=False), False),
    ],
    ids=["refuses", "refuses what another probe has not removed", "discards", "does not list", "does not forget"],
)
def test_a_server_of_s3_is_believed_to_replace_safely_once_that_was_seen(server: OddServer, is_safe: bool) -> None:
    with server, closing(_provider(server.url)) as provider:
        assert provider.replaces_safely("p") == is_safe
        assert provider.replaces_safely("q") == is_safe
    paths = {request.path.partition("?")[0] for request in server.requests}
    assert paths <= {"/cubo", "/cubo/p/.janitor-check-conditions"}
    assert [request.method for request in server.requests if "?" not in request.path][-1] == "DELETE"


@pytest.mark.parametrize("refuses_after", [1, 0], ids=["keeps conditions", "ignores them"])
def test_a_server_of_s3_is_sent_conditions_once_it_was_seen_to_keep_them(refuses_after: int) -> None:
    """Others may refuse what they do not know, or store all the same."""
    with OddServer(refuses_after=refuses_after) as server, closing(_provider(server.url)) as provider:
        assert provider.creates_safely("p") == (refuses_after == 1)
        list(provider.put_new_many({"p/a": BytesSource(b"content")}))
    (sent,) = [request for request in server.requests if request.path == "/cubo/p/a"]
    headers = {name.lower(): value for name, value in sent.headers.items()}
    assert headers.get("if-none-match") == ("*" if refuses_after == 1 else None)


def _provider(url: str) -> Provider:
    options = {"bucket": "cubo", "endpoint_url": url}
    return build_provider(ProviderRow(1, "S3", "s3", {"access_key": "a", "secret_key": "b"}, options, active=True))
