"""S3: credentials that end in the middle of a run, as those of a role or of a script do, are followed by the next ones.

Looked for at the others: Google's library renews tokens for every request, and asks again after a 401; Azure and SFTP
take what the row says.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import botocore.utils
import pytest

from config.models import ProviderRow
from providers import build_provider
from providers.base import Provider
from providers.errors import AccessDenied, ProviderError, ProviderUnavailable
from providers.s3 import credentials
from providers.sources import BytesSource
from tests.servers.canned_http import Answer, CannedHttp, Request

pytestmark = pytest.mark.usefixtures("little_patience")

SMALL, MEDIUM, LARGE = 10, 1024 * 1024, 20 * 1024 * 1024
OBJECT = {"ETag": '"x"', "Last-Modified": "Mon, 02 Jan 2006 15:04:05 GMT"}


@pytest.fixture(autouse=True)
def no_other_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def s3() -> Iterator[CannedHttp]:
    with CannedHttp(lambda request: Answer(200, b"x" if request.method == "GET" else b"", OBJECT)) as server:
        yield server


@contextmanager
def role(times: int | None = None) -> Iterator[str]:
    """Where a container asks for the keys of its role: each time for others, which end in five minutes; in the end it
    fails, if `times` says how often it has some.
    """
    numbers = itertools.count()

    def keys(_: Request) -> Answer:
        if times is not None and len(server.requests) > times:
            return Answer(500)
        end = (datetime.now(UTC) + timedelta(minutes=5)).strftime("%Y-%m-%dT%H:%M:%SZ")
        made = {"AccessKeyId": f"ASIA{next(numbers)}", "SecretAccessKey": "s", "Token": "t", "Expiration": end}
        return Answer(200, json.dumps(made).encode(), {"Content-Type": "application/json"})

    with CannedHttp(keys) as server:
        yield f"{server.url}/keys"


def provider_of(s3: CannedHttp) -> closing[Provider]:
    options = {"bucket": "bucket", "endpoint_url": s3.url}
    return closing(build_provider(ProviderRow(1, "S3", "s3", None, options, active=True)))


def key_of(request: Request) -> str:
    found = re.search(r"Credential=(\w+)/", request.headers["authorization"])
    assert found
    return found[1]


def send_all_kinds(provider: Provider) -> None:
    """Each way by which requests go: two of ours and that of obstore."""
    provider.put("small", BytesSource(b"x" * SMALL))
    provider.put("medium", BytesSource(b"x" * MEDIUM))
    provider.stat("small")
    assert b"".join(provider.open("small")) == b"x"


def test_every_request_is_signed_with_the_keys_that_the_role_has_now(
    s3: CannedHttp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK asks for new ones each time, as they end soon. obstore would keep the first ones for long after that."""
    with role() as url:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
        with provider_of(s3) as provider:
            send_all_kinds(provider)
            send_all_kinds(provider)
    used = [key_of(request) for request in s3.requests]
    assert len(set(used)) == len(used), used


USES: dict[str, Callable[[Provider], object]] = {
    "small": lambda provider: provider.put("key", BytesSource(b"x" * SMALL)),
    "medium": lambda provider: provider.put("key", BytesSource(b"x" * MEDIUM)),
    "large": lambda provider: provider.put("key", BytesSource(b"x" * LARGE)),
    "stat": lambda provider: provider.stat("key"),
    "open": lambda provider: b"".join(provider.open("key")),
    "list": lambda provider: list(provider.list("key")),
    "delete": lambda provider: provider.delete("key"),
}


def failure_of(provider: Provider, use: str) -> ProviderError:
    provider.progress.interruption.set()  # a request ends instead of being repeated
    with pytest.raises(ProviderError) as caught:
        USES[use](provider)
    return caught.value


@pytest.mark.parametrize("use", USES)
def test_a_role_that_gives_no_keys_for_once_is_worth_another_try(
    s3: CannedHttp, monkeypatch: pytest.MonkeyPatch, use: str
) -> None:
    """Looked for in each way by which requests go; obstore hides what it is told."""
    monkeypatch.setattr(botocore.utils.ContainerMetadataFetcher, "SLEEP_TIME", 0)
    with role(times=1) as url:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
        with provider_of(s3) as provider:
            error = failure_of(provider, use)
    assert isinstance(error, ProviderUnavailable), repr(error)
    assert "compruebe su rol" in str(error)


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(
    ("profile", "content", "why"),
    [
        ("nobody", "", "ProfileNotFound"),
        (None, "[default]\naws_access_key_id = ASIAHALF\n", "PartialCredentialsError"),
        (None, "[default\n", "ConfigParseError"),
    ],
)
@pytest.mark.parametrize("of_amazon", [True, False])
def test_files_that_give_no_keys_are_told_as_such(
    s3: CannedHttp,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    use: str,
    profile: str | None,
    content: str,
    why: str,
    *,
    of_amazon: bool,
) -> None:
    """Whatever is asked first; the SDK makes Amazon's addresses, and looks for the keys meanwhile."""
    (tmp_path / "keys").write_text(content)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "keys"))
    if profile is not None:
        monkeypatch.setenv("AWS_PROFILE", profile)
    place = {} if of_amazon else {"endpoint_url": s3.url}
    row = ProviderRow(1, "S3", "s3", None, {"bucket": "bucket", **place}, active=True)
    with closing(build_provider(row)) as provider:
        error = failure_of(provider, use)
    assert isinstance(error, AccessDenied), repr(error)
    assert why in str(error)


def write_keys(path: Path, key: str) -> None:
    path.write_text(f"[default]\naws_access_key_id = {key}\naws_secret_access_key = s\naws_session_token = t\n")


@pytest.mark.parametrize("variable", ["AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"])
def test_keys_that_a_script_replaces_in_a_file_are_used_from_then_on(
    s3: CannedHttp, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    monkeypatch.setattr(credentials, "READ_AGAIN_AFTER_SECONDS", 0.0)
    monkeypatch.setenv(variable, str(tmp_path / "keys"))
    write_keys(tmp_path / "keys", "ASIAFIRST")
    with provider_of(s3) as provider:
        send_all_kinds(provider)
        write_keys(tmp_path / "keys", "ASIASECOND")
        del s3.requests[:]
        send_all_kinds(provider)
    assert {key_of(request) for request in s3.requests} == {"ASIASECOND"}


@pytest.mark.parametrize("content", [None, "", "[default]\naws_access_key_id = ASIAHALF\n", "[default\n"])
def test_a_file_that_is_being_replaced_leaves_the_keys_that_it_had(
    s3: CannedHttp, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None
) -> None:
    monkeypatch.setattr(credentials, "READ_AGAIN_AFTER_SECONDS", 0.0)
    keys = tmp_path / "keys"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(keys))
    write_keys(keys, "ASIAFIRST")
    with role() as url, provider_of(s3) as provider:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)  # the next part of the chain: not to be asked
        send_all_kinds(provider)
        keys.unlink()
        if content is not None:
            keys.write_text(content)
        send_all_kinds(provider)
    assert {key_of(request) for request in s3.requests} == {"ASIAFIRST"}
