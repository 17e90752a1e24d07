"""What a refusal says leads to what has to be done, and the server's own words are kept for the debug log."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import closing

import pytest

from config.errors import MigrationError
from config.models import ProviderRow
from providers import build_provider
from providers.base import Provider
from providers.errors import AccessDenied, InvalidProviderSettings, ObjectArchived, ProviderError, SlowDown
from providers.shared import answers
from providers.shared.answers import clock_is_off
from providers.sources import BytesSource
from tests.servers.canned_http import Answer, CannedHttp, Request

pytestmark = pytest.mark.usefixtures("little_patience")


def refusal(status: int, code: str, more: str = "", **headers: str) -> Answer:
    content = f"<Error><Code>{code}</Code><Message>lo que dice el servidor</Message>{more}</Error>"
    return Answer(status, content.encode(), {name.replace("_", "-"): value for name, value in headers.items()})


def error_of(
    answer: Answer | Callable[[Request], Answer],
    kind: str = "s3",
    use: Callable[[Provider], object] = lambda provider: provider.stat("p/a"),
) -> MigrationError:
    """What comes of looking for an object, or of another use, on a server that answers so."""
    credentials = {
        "s3": {"access_key": "a", "secret_key": "clave-secreta"},
        "azure": {"account_name": "cuenta", "account_key": "Y2xhdmU="},
        "gcs": None,
    }
    with CannedHttp(answer if callable(answer) else lambda _: answer) as server:
        options = {
            "s3": {"bucket": "cubo", "endpoint_url": server.url},
            "azure": {"container": "caja", "account_url": f"{server.url}/cuenta"},
            "gcs": {"bucket": "cubo", "endpoint_url": server.url},
        }
        row = ProviderRow(1, "Nube", kind, credentials[kind], options[kind], active=True)
        with closing(build_provider(row)) as provider, pytest.raises(ProviderError) as caught:
            use(provider)
        return caught.value


@pytest.mark.parametrize(
    "answer",
    [
        refusal(301, "PermanentRedirect", x_amz_bucket_region="eu-west-3"),
        refusal(400, "AuthorizationHeaderMalformed", "<Region>eu-west-3</Region>"),
        refusal(400, "", x_amz_bucket_region="eu-west-3"),
    ],
)
def test_the_region_of_a_bucket_elsewhere_is_named(answer: Answer) -> None:
    """HEAD is answered without a body. Also looked for: listings, which tell the same."""
    error = error_of(answer)
    assert isinstance(error, InvalidProviderSettings)
    assert "credenciales.region = eu-west-3" in str(error)


def test_a_region_that_is_none_is_not_repeated() -> None:
    error = error_of(refusal(400, "AuthorizationHeaderMalformed", "<Region>sig=SECRETO</Region>"))
    assert "SECRETO" not in str(error)
    assert "credenciales.region" in str(error)


def test_a_clock_that_is_wrong_is_called_that() -> None:
    error = error_of(refusal(403, "RequestTimeTooSkewed"))
    assert isinstance(error, AccessDenied)
    assert "reloj" in str(error)


@pytest.mark.parametrize(
    "use",
    [
        lambda provider: provider.stat("p/a"),
        lambda provider: provider.put("p/a", BytesSource(b"x")),
        lambda provider: list(provider.list("p/")),
        lambda provider: provider.delete("p/a"),
    ],
    ids=["stat", "put", "list", "delete"],
)
@pytest.mark.parametrize("kind", ["s3", "azure"])
def test_a_clock_that_is_wrong_is_seen_by_the_date_of_a_refusal(
    kind: str, use: Callable[[Provider], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Azure has no code for it. Google, which refuses the request for access, says it in words.

    Looked for in every way by which a request goes but obstore's, whose errors show no date.
    """
    refused = refusal(403, "AuthenticationFailed")
    assert "reloj" not in str(error_of(refused, kind, use))
    monkeypatch.setattr(answers, "CLOCK_TOLERANCE_SECONDS", -1.0)  # the server has the same clock
    assert "reloj" in str(error_of(refused, kind, use))


@pytest.mark.parametrize("date", [None, "", "ayer", "Mon, 99 Jan 2006 15:04:05 GMT"])
def test_an_answer_without_a_date_says_nothing_of_the_clock(date: str | None) -> None:
    assert not clock_is_off(date)


@pytest.mark.parametrize("use", [lambda provider: provider.stat("p/a"), lambda provider: list(provider.open("p/a"))])
@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [("s3", 403, "InvalidObjectState"), ("azure", 409, "BlobArchived"), ("azure", 409, "BlobBeingRehydrated")],
)
def test_what_is_archived_is_called_that(kind: str, status: int, code: str, use: Callable[[Provider], object]) -> None:
    """Looked for in every table of codes: that of each SDK, and that of obstore, which reads the objects."""
    error = error_of(refusal(status, code, x_ms_error_code=code), kind, use)
    assert isinstance(error, ObjectArchived)
    assert "restore --request-restore" in str(error)
    assert not error.provider_wide


def test_a_refused_head_is_explained_by_a_listing() -> None:
    error = error_of(lambda request: Answer(403) if request.method == "HEAD" else refusal(403, "SignatureDoesNotMatch"))
    assert "SignatureDoesNotMatch" in str(error)


def test_the_servers_own_words_are_kept_in_the_debug_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="janitor_daemon"):
        error = error_of(refusal(403, "AccessDenied"))
    assert "lo que dice el servidor" not in str(error)
    (told,) = {record.getMessage() for record in caplog.records if "lo que dice el servidor" in record.getMessage()}
    assert "HTTP 403 AccessDenied" in told
    assert "clave-secreta" not in caplog.text


@pytest.mark.parametrize("use", [lambda provider: provider.stat("p/a"), lambda provider: list(provider.list("p/"))])
@pytest.mark.parametrize("kind", ["s3", "azure", "gcs"])
def test_a_pause_until_a_moment_counts_on_the_servers_clock(kind: str, use: Callable[[Provider], object]) -> None:
    times = {"Date": "Wed, 21 Oct 2015 07:27:00 GMT", "Retry-After": "Wed, 21 Oct 2015 08:28:00 GMT"}
    error = error_of(Answer(503, b"", times), kind, use)
    assert isinstance(error, SlowDown)
    assert error.pause_seconds == 3660  # longer than is obeyed, so it is not waited for
