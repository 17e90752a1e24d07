"""What is special to Google Cloud Storage. What all kinds share is in `test_provider_contract.py`."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import google_crc32c
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from config.errors import SourceChanged
from config.models import ProviderRow
from files.descriptors import CHUNK_SIZE_BYTES
from providers import build_provider
from providers.base import PART_SIZE_BYTES, Provider
from providers.errors import (
    AccessDenied,
    ConditionFailed,
    DestinationMissing,
    IntegrityError,
    InvalidKey,
    InvalidProviderSettings,
    ProviderError,
    ProviderUnavailable,
    SlowDown,
    StorageFull,
)
from providers.gcs.provider import ONE_REQUEST_BYTES
from providers.sources import BytesSource
from tests.executions.sources import FailingSource, PatternSource, sha256_of
from tests.faults.http_effects import refuse
from tests.faults.http_proxy import ONCE, Fault, HttpFaultProxy
from tests.servers.canned_http import Answer, CannedHttp, Request
from tests.servers.gcs_emulator import GcsEmulator

pytestmark = pytest.mark.usefixtures("little_patience")

SIZES = [0, 1, ONE_REQUEST_BYTES, ONE_REQUEST_BYTES + 1, PART_SIZE_BYTES, PART_SIZE_BYTES + 1, 3 * PART_SIZE_BYTES]
SESSION = "/session?upload_id=as-good-as-a-password"


def provider_of(credentials: object = None, **options: object) -> Provider:
    return build_provider(ProviderRow(1, "Google", "gcs", credentials, options, active=True))  # type: ignore[arg-type]


def json_answer(status: int, content: object) -> Answer:
    return Answer(status, json.dumps(content).encode(), {"Content-Type": "application/json"})


def crc32c_of(source: PatternSource) -> str:
    content = b"".join(source.chunks(PART_SIZE_BYTES))
    return base64.b64encode(google_crc32c.value(content).to_bytes(4, "big")).decode()


@pytest.fixture(scope="module")
def private_key() -> str:
    key = rsa.generate_private_key(65537, 2048)
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


@pytest.fixture
def service_account(private_key: str) -> Callable[..., dict[str, object]]:
    """Make the JSON object of a service account, with some fields other than good ones."""

    def make(**changes: object) -> dict[str, object]:
        fields = {
            "type": "service_account",
            "project_id": "project",
            "private_key_id": "1",
            "private_key": private_key,
            "client_email": "janitor@project.iam.gserviceaccount.com",
            "token_uri": "http://127.0.0.1:1/token",
        }
        return {**fields, **changes}

    return make


@pytest.mark.parametrize("size_bytes", SIZES)
def test_gcs_lists_the_crc32c_of_what_was_sent(gcs_emulator: GcsEmulator, size_bytes: int) -> None:
    source = PatternSource(size_bytes)
    provider = provider_of(bucket=gcs_emulator.new_bucket(), endpoint_url=gcs_emulator.endpoint_url)
    receipt = provider.put("key", source)
    (stored,) = provider.list("")
    content = b"".join(provider.open("key"))
    assert receipt == provider.measure(source)
    assert (receipt.size_bytes, receipt.sha256) == (size_bytes, source.sha256())
    assert receipt.checksums == {stored.checksum} == {f"crc32c:{crc32c_of(source)}"}
    assert content == b"".join(source.chunks(PART_SIZE_BYTES))
    provider.close()


@pytest.mark.parametrize("storage_class", ["nearline", "ARCHIVE"])
def test_objects_get_the_storage_class_that_was_asked_for(gcs_emulator: GcsEmulator, storage_class: str) -> None:
    bucket = gcs_emulator.new_bucket()
    provider = provider_of(bucket=bucket, endpoint_url=gcs_emulator.endpoint_url, storage_class=storage_class)
    provider.put("small", BytesSource(b"content"))
    provider.put("large", PatternSource(ONE_REQUEST_BYTES + 1))
    provider.close()
    classes = {blob.name: blob.storage_class for blob in gcs_emulator.client.list_blobs(bucket)}
    assert classes == {"small": storage_class.upper(), "large": storage_class.upper()}


@pytest.mark.parametrize("form", ["object", "path"])
def test_a_service_account_asks_for_a_token_and_sends_it(
    service_account: Callable[..., dict[str, object]], tmp_path: Path, form: str
) -> None:
    def answer(request: Request) -> Answer:
        if request.path == "/token":
            return json_answer(200, {"access_token": "the-token", "expires_in": 3600, "token_type": "Bearer"})
        return json_answer(200, {"kind": "storage#objects"})

    with CannedHttp(answer) as server:
        credentials: object = service_account(token_uri=f"{server.url}/token")
        if form == "path":
            file = tmp_path / "service-account.json"
            file.write_text(json.dumps(credentials))
            credentials = str(file)
        provider = provider_of(credentials, bucket="bucket", endpoint_url=server.url)
        assert list(provider.list("")) == []
        provider.close()
    asked, listed = server.requests
    assert asked.path == "/token"
    assert "assertion" in parse_qs(asked.body.decode())
    assert listed.headers["authorization"] == "Bearer the-token"


def test_nothing_is_looked_for_before_first_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "absent.json"))
    default, of_file = provider_of(bucket="bucket"), provider_of(str(tmp_path / "absent.json"), bucket="bucket")
    with pytest.raises(AccessDenied, match="credenciales predeterminadas"):
        default.put("key", BytesSource(b""))
    with pytest.raises(InvalidProviderSettings, match="credenciales"):
        of_file.stat("key")


def test_a_failed_search_for_credentials_is_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may take seconds, and every file of every execution would wait for it again."""
    provider = provider_of(str(tmp_path / "late.json"), bucket="bucket")
    with pytest.raises(InvalidProviderSettings):
        provider.stat("key")
    monkeypatch.setattr("providers.gcs.clients.find_credentials", lambda *_: pytest.fail("searched again"))
    with pytest.raises(InvalidProviderSettings):
        provider.stat("key")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"type": "authorized_user"}, "credenciales.type"),
        ({"private_key": ""}, "credenciales.private_key"),
        ({"private_key": "secret"}, "credenciales.private_key"),
        ({"client_email": None}, "credenciales.client_email"),
        ({"token_uri": 5}, "credenciales.token_uri"),
    ],
)
def test_a_wrong_field_of_a_service_account_is_named_and_its_value_is_not(
    service_account: Callable[..., dict[str, object]], changes: dict[str, object], field: str
) -> None:
    provider_of(service_account(), bucket="bucket")
    with pytest.raises(InvalidProviderSettings) as caught:
        provider_of(service_account(**changes), bucket="bucket")
    assert str(caught.value).startswith(f"{field}:")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({}, "configuracion.bucket"),
        ({"bucket": "Secret Bucket"}, "configuracion.bucket"),
        ({"bucket": "bucket", "endpoint_url": "secret"}, "configuracion.endpoint_url"),
        ({"bucket": "bucket", "storage_class": "secret"}, "configuracion.storage_class"),
    ],
)
def test_a_wrong_option_is_named_and_its_value_is_not(options: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidProviderSettings) as caught:
        provider_of(**options)
    assert str(caught.value).startswith(f"{field}:")
    assert "secret" not in str(caught.value).lower()


@pytest.mark.parametrize("call", ["stat", "open", "delete", "list"])
def test_a_404_without_a_reason_is_the_buckets_where_the_bucket_is_missing(
    gcs_emulator: GcsEmulator, call: str
) -> None:
    provider = provider_of(bucket="no-such-bucket", endpoint_url=gcs_emulator.endpoint_url)
    with pytest.raises(DestinationMissing):
        list(getattr(provider, call)("key") or ())
    provider.close()


def test_a_name_beyond_the_limit_is_refused_before_it_is_sent(gcs_emulator: GcsEmulator) -> None:
    provider = provider_of(bucket=gcs_emulator.new_bucket(), endpoint_url=gcs_emulator.endpoint_url)
    provider.put("ñ" * 512, BytesSource(b""))
    with pytest.raises(InvalidKey):
        provider.put("ñ" * 512 + "b", BytesSource(b""))
    provider.close()


class SessionServer(CannedHttp):
    """Its resumable sessions say that `kept_bytes` of those sent so far are there, and in the end that `crc32c` is."""

    def __init__(self, crc32c: str, kept_bytes: Callable[[int], int] = lambda sent_bytes: sent_bytes) -> None:
        super().__init__(self._answer)
        self._crc32c = crc32c
        self._kept_bytes = kept_bytes

    def _answer(self, request: Request) -> Answer:
        if request.method == "POST":
            return Answer(200, headers={"Location": f"{self.url}{SESSION}"})
        if request.method == "DELETE":
            return Answer(499 if request.path == SESSION else 204)
        sent, _, size = request.headers["Content-Range"].removeprefix("bytes ").partition("/")
        sent_bytes = int(sent.partition("-")[2]) + 1
        if sent_bytes == int(size):
            return json_answer(200, {"crc32c": self._crc32c, "size": size, "generation": "17"})
        return Answer(308, headers={"Range": f"bytes=0-{self._kept_bytes(sent_bytes) - 1}"})


def sent_to(server: CannedHttp) -> list[tuple[str, str]]:
    """Method and path of all requests."""
    return [(request.method, urlsplit(request.path).path) for request in server.requests]


def test_a_large_file_is_sent_part_by_part_with_its_crc32c_at_the_end() -> None:
    source = PatternSource(2 * PART_SIZE_BYTES + 5)
    with SessionServer(crc32c_of(source)) as server:
        provider = provider_of(bucket="bucket", endpoint_url=server.url)
        provider.put("key", source)
        provider.close()
    started, *parts = server.requests
    assert started.path.startswith("/upload/storage/v1/b/bucket/o?uploadType=resumable")
    assert [len(part.body) for part in parts] == [PART_SIZE_BYTES, PART_SIZE_BYTES, 5]
    assert b"".join(part.body for part in parts) == b"".join(source.chunks(PART_SIZE_BYTES))
    assert parts[-1].headers["X-Goog-Hash"] == f"crc32c={crc32c_of(source)}"


def test_a_session_is_cancelled_when_its_source_fails() -> None:
    failure = SourceChanged("cambió")
    with SessionServer("") as server:
        provider = provider_of(bucket="bucket", endpoint_url=server.url)
        with pytest.raises(SourceChanged) as caught:
            provider.put("key", FailingSource(2 * PART_SIZE_BYTES, PART_SIZE_BYTES, failure))
        provider.close()
    assert caught.value is failure
    assert sent_to(server)[1:] == [("PUT", "/session"), ("DELETE", "/session")]


def test_a_source_that_fails_at_its_very_end_is_not_sent_whole() -> None:
    """The object would be there as soon as the last part has arrived."""
    with SessionServer("") as server:
        provider = provider_of(bucket="bucket", endpoint_url=server.url)
        with pytest.raises(SourceChanged):
            provider.put("key", FailingSource(PART_SIZE_BYTES, PART_SIZE_BYTES, SourceChanged("cambió")))
        provider.close()
    assert sent_to(server)[1:] == [("DELETE", "/session")]


def test_a_part_that_was_not_kept_whole_ends_the_upload() -> None:
    with SessionServer("", kept_bytes=lambda sent_bytes: sent_bytes - 1) as server:
        provider = provider_of(bucket="bucket", endpoint_url=server.url)
        provider.progress.interruption.set()  # or it would be gone on with
        with pytest.raises(ProviderUnavailable) as caught:
            provider.put("key", PatternSource(2 * PART_SIZE_BYTES))
        provider.close()
    assert "password" not in str(caught.value)
    assert sent_to(server)[1:] == [("PUT", "/session"), ("DELETE", "/session")]


def test_an_object_that_gcs_stored_differently_is_removed() -> None:
    with SessionServer("AAAAAA==") as server:
        provider = provider_of(bucket="bucket", endpoint_url=server.url)
        with pytest.raises(IntegrityError):
            provider.put("key", PatternSource(ONE_REQUEST_BYTES + 1))
        provider.close()
    assert sent_to(server)[-1] == ("DELETE", "/storage/v1/b/bucket/o/key")
    assert parse_qs(urlsplit(server.requests[-1].path).query)["ifGenerationMatch"] == ["17"]  # and nobody else's


class GenerationServer(CannedHttp):
    """Keeps the size and generation of objects, and the conditions on them, as the real one does and the emulator does
    not. `before` is called before it looks at a condition.
    """

    def __init__(self) -> None:
        super().__init__(self._answer)
        self.generations: dict[str, int] = {}
        self.before: Callable[[], object] = lambda: None
        self._sizes: dict[str, int] = {}
        self._uploads: dict[str, tuple[str, str]] = {}
        self._latest = 100

    def store(self, name: str, size_bytes: int) -> dict[str, object]:
        """What others do."""
        self._latest += 1
        self.generations[name] = self._latest
        self._sizes[name] = size_bytes
        return self._described(name)

    def _described(self, name: str) -> dict[str, object]:
        return {"name": name, "size": str(self._sizes[name]), "generation": str(self.generations[name])}

    def _answer(self, request: Request) -> Answer:
        address = urlsplit(request.path)
        query = {name: values[0] for name, values in parse_qs(address.query).items()}
        if request.method == "GET" and address.path.endswith("/o"):
            return json_answer(200, {"kind": "storage#objects"})
        if request.method == "GET":
            name = unquote(address.path.rpartition("/")[2])
            known = name in self.generations
            return json_answer(200, self._described(name)) if known else json_answer(404, {"error": {"code": 404}})
        if query.get("uploadType") == "resumable":
            session = f"/session/{len(self._uploads)}"
            self._uploads[session] = (json.loads(request.body)["name"], query.get("ifGenerationMatch", ""))
            return Answer(200, headers={"Location": f"{self.url}{session}"})
        if address.path.startswith("/session/"):
            name, condition = self._uploads[address.path]
        else:
            name, condition = unquote(address.path.rpartition("/")[2]), query.get("ifGenerationMatch", "")
        if request.method == "POST":
            name = json.loads(request.body.split(b"\r\n\r\n")[1].partition(b"\r\n")[0])["name"]
        self.before()
        if condition and int(condition) != self.generations.get(name, 0):
            return json_answer(412, {"error": {"code": 412, "errors": [{"reason": "conditionNotMet"}]}})
        return self._changed(request, name)

    def _changed(self, request: Request, name: str) -> Answer:
        if request.method == "DELETE":
            del self.generations[name]
            return Answer(204)
        return json_answer(
            200, {**self.store(name, len(request.body)), "crc32c": request.headers.get("X-Goog-Hash", "")[7:]}
        )


@pytest.fixture
def generations() -> Iterator[GenerationServer]:
    server = GenerationServer()
    with server:
        yield server


@pytest.mark.parametrize("size_bytes", [10, ONE_REQUEST_BYTES + 1])
def test_a_request_to_gcs_names_the_generation_that_it_may_replace(
    generations: GenerationServer, size_bytes: int
) -> None:
    with closing(provider_of(bucket="bucket", endpoint_url=generations.url)) as provider:
        assert provider.replaces_safely()
        assert provider.deletes_safely()
        provider.replace("p/key", PatternSource(size_bytes), None)
        with pytest.raises(ConditionFailed):
            provider.replace("p/key", PatternSource(size_bytes), None)
        seen = provider.stat("p/key")
        provider.replace("p/key", PatternSource(size_bytes), seen)
        with pytest.raises(ConditionFailed):
            provider.replace("p/key", PatternSource(size_bytes), seen)
        provider.delete_exactly(provider.stat("p/key"))
        provider.delete_exactly(seen)
        with pytest.raises(ConditionFailed):
            provider.replace("p/key", PatternSource(size_bytes), seen)
    assert generations.generations == {}


@pytest.mark.parametrize("size_bytes", [10, ONE_REQUEST_BYTES + 1])
def test_what_comes_late_to_gcs_changes_nothing(generations: GenerationServer, size_bytes: int) -> None:
    with closing(provider_of(bucket="bucket", endpoint_url=generations.url)) as provider:
        provider.replace("p/key", PatternSource(size_bytes), None)
        seen = provider.stat("p/key")
        generations.before = lambda: generations.store("p/key", 3)
        with pytest.raises(ConditionFailed):
            provider.replace("p/key", PatternSource(size_bytes), seen)
        with pytest.raises(ConditionFailed):
            provider.delete_exactly(provider.stat("p/key"))
        assert provider.stat("p/key").size_bytes == 3


@pytest.mark.parametrize("size_bytes", [10, ONE_REQUEST_BYTES + 1])
def test_a_file_that_comes_late_to_gcs_replaces_nothing(generations: GenerationServer, size_bytes: int) -> None:
    """Also one in parts, whose session `discard_unfinished` cannot find. See `tests/storage/test_late_requests.py`."""
    with closing(provider_of(bucket="bucket", endpoint_url=generations.url)) as provider:
        assert provider.creates_safely()
        [(key, _)] = provider.put_new_many({"p/first": PatternSource(size_bytes)})
        assert generations.generations.keys() == {key}
        generations.before = lambda: generations.store("p/key", 3)
        with pytest.raises(ConditionFailed):
            list(provider.put_new_many({"p/key": PatternSource(size_bytes)}))
        assert provider.stat("p/key").size_bytes == 3


@pytest.mark.parametrize(
    ("status", "reason", "expected"),
    [
        (412, "conditionNotMet", ConditionFailed),
        (400, "invalid", ProviderError),
        (401, "authError", AccessDenied),
        (403, "forbidden", AccessDenied),
        (403, "rateLimitExceeded", SlowDown),
        (403, "quotaExceeded", StorageFull),
        (404, "notFound", DestinationMissing),
        (408, "", ProviderUnavailable),
        (429, "rateLimitExceeded", SlowDown),
        (503, "backendError", ProviderUnavailable),
        (507, "", StorageFull),
    ],
)
@pytest.mark.parametrize("size_bytes", [1, ONE_REQUEST_BYTES + 1])
def test_refused_uploads_say_what_the_caller_must_decide(
    status: int, reason: str, expected: type[ProviderError], size_bytes: int
) -> None:
    content = {"error": {"code": status, "message": "leaked\nleaked", "errors": [{"reason": reason}]}}
    with CannedHttp(lambda _: json_answer(status, content)) as server:
        provider = provider_of(bucket="bucket", endpoint_url=server.url)
        with pytest.raises(ProviderError) as caught:
            provider.put("key", PatternSource(size_bytes))
        provider.close()
    assert type(caught.value) is expected
    assert "leaked" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("status", "content", "expected"),
    [(400, {"error": "invalid_grant"}, AccessDenied), (503, {"error": "internal_failure"}, ProviderUnavailable)],
)
def test_a_refused_token_is_distinguished_from_a_server_that_is_down(
    service_account: Callable[..., dict[str, object]],
    status: int,
    content: object,
    expected: type[ProviderError],
) -> None:
    with CannedHttp(lambda _: json_answer(status, content)) as server:
        provider = provider_of(service_account(token_uri=f"{server.url}/token"), bucket="bucket")
        with pytest.raises(expected):
            provider.stat("key")
        provider.close()


@pytest.mark.parametrize(
    ("request_line", "size_bytes"),
    [("^PUT /upload/", PART_SIZE_BYTES + 1), ("^POST /upload/", 1), ("^GET /download/", 1)],
)
def test_a_token_that_expires_is_renewed_and_the_request_sent_again(
    service_account: Callable[..., dict[str, object]], gcs_emulator: GcsEmulator, request_line: str, size_bytes: int
) -> None:
    bucket = gcs_emulator.new_bucket()
    expired = Fault("expired", refuse("gcs", 401, "authError"), request_line, ONCE)
    token = {"access_token": "the-token", "expires_in": 3600, "token_type": "Bearer"}
    source = PatternSource(size_bytes)
    with (
        CannedHttp(lambda _: json_answer(200, token)) as tokens,
        HttpFaultProxy(gcs_emulator.endpoint_url, expired) as proxy,
    ):
        credentials = service_account(token_uri=f"{tokens.url}/token")
        provider = provider_of(credentials, bucket=bucket, endpoint_url=proxy.url)
        provider.put("key", source)
        assert sha256_of(provider.open("key")) == source.sha256()
        provider.close()
    assert len(tokens.requests) == 2


def test_an_object_of_any_size_is_read_by_one_request_in_small_pieces() -> None:
    content = bytes(2 * PART_SIZE_BYTES + 1)
    with CannedHttp(lambda _: Answer(200, content)) as server:
        provider = provider_of(bucket="bucket", endpoint_url=server.url)
        pieces = [len(piece) for piece in provider.open("a/key")]
        provider.close()
    assert (sum(pieces), max(pieces) <= CHUNK_SIZE_BYTES) == (len(content), True)
    assert [request.path for request in server.requests] == ["/download/storage/v1/b/bucket/o/a%2Fkey?alt=media"]


def test_files_pass_through_the_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with CannedHttp(lambda _: json_answer(200, {"name": "key"})) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "")
        provider = provider_of(bucket="bucket", endpoint_url="http://storage.invalid")
        provider.put("key", BytesSource(b"content"))
        assert list(provider.open("key"))
        provider.close()
    assert [request.path.partition("?")[0] for request in proxy.requests] == [
        "http://storage.invalid/upload/storage/v1/b/bucket/o",
        "http://storage.invalid/download/storage/v1/b/bucket/o/key",
    ]


def test_a_download_cut_short_is_an_error_and_not_a_short_file() -> None:
    with CannedHttp(lambda _: Answer(200, bytes(100_000), cut_after_bytes=500)) as server:
        provider = provider_of(bucket="bucket", endpoint_url=server.url)
        with pytest.raises(ProviderUnavailable):
            list(provider.open("key"))
        provider.close()


def test_the_sdk_sends_no_request_that_was_not_asked_for() -> None:
    """Recent versions look up the bucket in the background, with retries of their own, for traces nobody reads."""
    with CannedHttp(lambda _: json_answer(200, {"name": "key", "size": "1", "crc32c": "AAAAAA=="})) as server:
        provider = provider_of(bucket="bucket", endpoint_url=server.url)
        provider.put("key", BytesSource(b"1"))
        provider.stat("key")
        provider.close()
    assert [urlsplit(request.path).path for request in server.requests] == [
        "/upload/storage/v1/b/bucket/o",
        "/storage/v1/b/bucket/o/key",
    ]
