"""Questions that probe objects answer: asked once, and not misled by other hosts that ask the same at the same time."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from config.models import ProviderRow
from providers import build_provider
from providers.base import Provider
from providers.errors import ObjectNotFound, ProviderError, ProviderUnavailable
from providers.local.provider import LocalProvider
from providers.probes import (
    CONDITIONS_NAME,
    FOLDING_NAME,
    IN_USE_NAME,
    UNDISTURBED_TRIES,
    Remembered,
    folds_names,
    remove_probes_below,
    require_in_use,
)
from providers.sources import BytesSource
from tests.faults.faulty_provider import Call, Fault, FaultyProvider
from tests.servers.canned_http import Answer, CannedHttp, Request

pytestmark = pytest.mark.usefixtures("little_patience")

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
    faults = [Fault("put", removed_by_others, f"*{FOLDING_NAME}", calls=(1, 2))]
    with FaultyProvider(nas(tmp_path), faults) as provider:
        assert not folds_names(provider, "p")
        assert len(provider.keys("put")) == 3
    assert list(tmp_path.iterdir()) == []


def nas(directory: Path) -> Provider:
    """A provider in a directory of this machine."""
    return LocalProvider(ProviderRow(1, "NAS", "local", None, {"ruta": str(directory)}, active=True))


def removed_by_others(call: Call) -> object:
    """Another host removes what was just stored."""
    receipt = call.proceed()
    call.provider.delete(call.arguments[0])
    return receipt


def test_a_provider_works_although_other_hosts_remove_the_probe_as_a_killed_runs(tmp_path: Path) -> None:
    faults = [Fault("put", removed_by_others, f"*{IN_USE_NAME}*", calls=range(1, UNDISTURBED_TRIES))]
    with FaultyProvider(nas(tmp_path), faults) as provider:
        assert require_in_use(provider, "p")
        assert len(set(provider.keys("put"))) == UNDISTURBED_TRIES
    assert list(tmp_path.iterdir()) == []


def test_a_provider_that_keeps_nothing_does_not_work(tmp_path: Path) -> None:
    faults = [Fault("put", removed_by_others, f"*{IN_USE_NAME}*", calls=range(1, UNDISTURBED_TRIES + 1))]
    with FaultyProvider(nas(tmp_path), faults) as provider, pytest.raises(ObjectNotFound):
        require_in_use(provider, "p")


def stored_but_unanswered(call: Call) -> object:
    """The connection breaks before the answer."""
    call.proceed()
    raise ProviderUnavailable("se cortó la conexión")


def unanswered(call: Call) -> object:
    """The connection breaks before the request."""
    raise ProviderUnavailable("se cortó la conexión")


@pytest.mark.parametrize("probe", [require_in_use, folds_names])
def test_a_probe_that_fails_leaves_nothing_though_its_removal_is_cut_once(
    tmp_path: Path, probe: Callable[[Provider, str], bool]
) -> None:
    """A run that is being stopped repeats nothing. Looked for besides: the probes of S3 and GCS, below."""
    faults = [Fault("put", stored_but_unanswered, "*", calls=(1,)), Fault("delete", unanswered, "*", calls=(1,))]
    with FaultyProvider(nas(tmp_path), faults) as provider, pytest.raises(ProviderUnavailable):
        probe(provider, "p")
    assert list(tmp_path.iterdir()) == []


def test_the_probes_of_a_killed_run_are_removed_and_nothing_beside_them(tmp_path: Path) -> None:
    with closing(nas(tmp_path)) as provider:
        own = [f"p/.janitor-check-1/{CONDITIONS_NAME}", f"p/.janitor-check-1/2/{FOLDING_NAME}"]
        others = [f"p/.janitor-check-12/{CONDITIONS_NAME}", "p/.janitor-check-1/a", "p/a"]
        for key in (*own, *others):
            provider.put(key, BytesSource(b"x"))
        remove_probes_below(provider, "p/.janitor-check-1")
        assert {stored.key for stored in provider.list("")} == set(others)


class OddServer(CannedHttp):
    """A server of S3 that stores nothing. It ignores conditions, or others remove its objects at once, so that it has
    no reason to refuse; and it lists unfinished uploads, or knows what was discarded, or not.
    """

    def __init__(
        self,
        *,
        refuses_after: int = 0,
        lists_uploads: bool = True,
        forgets_uploads: bool = True,
        keeps_objects: bool = True,
    ) -> None:
        super().__init__(self._answer)
        self._keeps_objects = keeps_objects
        self._refuses_after = refuses_after
        self._created = 0
        self._lists_uploads = lists_uploads
        self._forgets_uploads = forgets_uploads

    def _answer(self, request: Request) -> Answer:
        if request.method == "POST":
            return self._answer_about_an_upload(request)
        if request.method == "GET" and "list-type=2" in request.path:
            stored = "<Contents><Key>p/.janitor-check-conditions</Key><Size>14</Size><ETag>e</ETag></Contents>"
            return _xml(f"<ListBucketResult>{stored * self._keeps_objects}</ListBucketResult>")
        if request.method == "GET":
            upload = "<Upload><Key>p/.janitor-check-conditions</Key><UploadId>id</UploadId></Upload>"
            return _xml(f"<ListMultipartUploadsResult>{upload * self._lists_uploads}</ListMultipartUploadsResult>")
        self._created += "If-None-Match" in request.headers
        is_conditional = "If-Match" in request.headers or "If-None-Match" in request.headers
        is_probe = CONDITIONS_NAME in request.path  # each other object is a new one
        if is_probe and is_conditional and self._created > self._refuses_after > 0:
            return Answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
        if request.method == "DELETE" and is_conditional:
            return Answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
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


@pytest.mark.parametrize("kind", ["s3", "gcs"])
def test_the_probe_of_conditions_is_removed_though_the_server_fails_once(kind: str) -> None:
    failed: list[Request] = []

    def answer(request: Request) -> Answer:
        if request.method == "DELETE" and "if-match" not in request.headers and not failed:
            failed.append(request)
            return Answer(500)
        return Answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")

    options = {"bucket": "cubo", "endpoint_url": ""}
    credentials = {"access_key": "a", "secret_key": "b"} if kind == "s3" else None
    with CannedHttp(answer) as server:
        options["endpoint_url"] = server.url
        with closing(build_provider(ProviderRow(1, "S3", kind, credentials, options, active=True))) as provider:
            provider.progress.interruption.set()  # no retrier repeats anything now
            with contextlib.suppress(ProviderError):
                provider.replaces_safely("p")
    removals = [request for request in server.requests if request.method == "DELETE"]
    assert len([request for request in removals if "if-match" not in request.headers]) == 2


@pytest.mark.parametrize("keeps_objects", [True, False])
def test_a_refusal_to_remove_what_others_have_removed_is_no_kept_condition(keeps_objects: bool) -> None:
    """Some servers ignore a condition, and refuse to remove what is not there."""
    with OddServer(keeps_objects=keeps_objects) as server, closing(_provider(server.url)) as provider:
        assert provider.deletes_safely("p") == keeps_objects


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
