"""What is special to Azure, and to uploads through obstore. What all kinds share is in `test_provider_contract.py`."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from azure.storage.blob import AccountSasPermissions, ContainerClient, ResourceTypes, generate_account_sas

import providers.azure.requests
from config.models import ProviderRow
from providers import build_provider
from providers.azure.provider import AzureProvider
from providers.base import PART_SIZE_BYTES, Provider
from providers.errors import (
    AccessDenied,
    DestinationMissing,
    InvalidKey,
    InvalidProviderSettings,
    ObjectProtected,
    ProviderError,
    ProviderUnavailable,
    SlowDown,
    StorageFull,
)
from providers.sources import BytesSource
from tests.executions.sources import PatternSource
from tests.servers.azurite import Azurite
from tests.servers.canned_http import Answer, CannedHttp

pytestmark = pytest.mark.usefixtures("little_patience")

KEY = base64.b64encode(b"a key for no account").decode()
SAS_TOKEN = "sv=2024-11-04&sp=rwdlac&sig=AbCdEf%3D"


def provider_of(credentials: object, **options: object) -> Provider:
    return build_provider(ProviderRow(1, "Azure", "azure", credentials, options, active=True))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Box:
    """An empty container on Azurite."""

    server: Azurite
    container: str

    @property
    def client(self) -> ContainerClient:
        return self.server.client.get_container_client(self.container)

    @contextmanager
    def provider(self, credentials: Mapping[str, object] | None = None, **options: object) -> Iterator[Provider]:
        credentials = credentials or {"connection_string": self.server.connection_string}
        provider = provider_of(credentials, **{"container": self.container, **options})
        yield provider
        provider.close()

    def sas_token(self) -> str:
        now = datetime.now(UTC)
        return generate_account_sas(
            self.server.account_name,
            account_key=self.server.account_key,
            resource_types=ResourceTypes(object=True, container=True),
            permission=AccountSasPermissions(read=True, write=True, delete=True, list=True, create=True),
            start=now - timedelta(hours=1),
            expiry=now + timedelta(hours=1),
        )

    def stage_block(self, name: str) -> None:
        self.client.get_blob_client(name).stage_block(base64.b64encode(b"block").decode(), b"never committed")

    def names(self) -> list[str]:
        """Finished blobs, and those of which there are only blocks."""
        return [blob.name for blob in self.client.list_blobs(include=["uncommittedblobs"])]


@pytest.fixture
def box(azurite: Azurite) -> Box:
    return Box(azurite, azurite.new_container())


CREDENTIAL_FORMS: dict[str, Callable[[Box], dict[str, str]]] = {
    "connection_string": lambda box: {"connection_string": box.server.connection_string},
    "connection_string with SAS": lambda box: {
        "connection_string": f"BlobEndpoint={box.server.endpoint};SharedAccessSignature={box.sas_token()}"
    },
    "account_key": lambda box: {"account_name": box.server.account_name, "account_key": box.server.account_key},
    "sas_token": lambda box: {"account_name": box.server.account_name, "sas_token": box.sas_token()},
    "sas_token with ?": lambda box: {"account_name": box.server.account_name, "sas_token": f"?{box.sas_token()}"},
}


@pytest.mark.parametrize("form", CREDENTIAL_FORMS)
def test_every_form_of_credentials_opens_the_container(box: Box, form: str) -> None:
    with box.provider(CREDENTIAL_FORMS[form](box), account_url=box.server.endpoint) as provider:
        provider.check("prefix")
        provider.put("kept", BytesSource(b"content"))
    assert box.names() == ["kept"]


def test_the_environment_does_not_decide_who_asks(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """obstore also reads `AZURE_*`: of another account, or with signatures switched off."""
    monkeypatch.setenv("AZURE_SKIP_SIGNATURE", "true")
    monkeypatch.setenv("AZURE_STORAGE_TOKEN", "not-ours")
    monkeypatch.setenv("AZURE_STORAGE_USE_EMULATOR", "true")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "another")
    for form in ("account_key", "sas_token"):
        with box.provider(CREDENTIAL_FORMS[form](box), account_url=box.server.endpoint) as provider:
            provider.check()


@pytest.mark.parametrize(
    ("credentials", "options", "field"),
    [
        (None, {"container": "box"}, "credenciales"),
        ({}, {"container": "box"}, "credenciales.account_name"),
        ({"account_name": "account"}, {"container": "box"}, "credenciales.sas_token"),
        ({"account_name": "UPPER-secret"}, {"container": "box"}, "credenciales.account_name"),
        ({"account_name": "account", "account_key": "secret!"}, {"container": "box"}, "credenciales.account_key"),
        ({"account_name": "account", "sas_token": "secret"}, {"container": "box"}, "credenciales.sas_token"),
        ({"connection_string": "secret"}, {"container": "box"}, "credenciales.connection_string"),
        ({"connection_string": "AccountName=account"}, {"container": "box"}, "credenciales.connection_string"),
        (
            {"connection_string": "AccountName=account;AccountKey=secret!"},
            {"container": "box"},
            "credenciales.connection_string",
        ),
        ({"account_name": "account", "account_key": KEY}, {}, "configuracion.container"),
        ({"account_name": "account", "account_key": KEY}, {"container": "Secret_/"}, "configuracion.container"),
        (
            {"account_name": "account", "account_key": KEY},
            {"container": "box", "account_url": "secret"},
            "configuracion.account_url",
        ),
        (
            {"account_name": "account", "account_key": KEY},
            {"container": "box", "access_tier": "secret"},
            "configuracion.access_tier",
        ),
        (
            {"account_name": "account", "account_key": KEY},
            {"container": "box", "access_tier": "Archive"},
            "configuracion.access_tier",
        ),
    ],
)
def test_a_wrong_field_is_named_and_its_value_is_not(
    credentials: object, options: dict[str, object], field: str
) -> None:
    with pytest.raises(InvalidProviderSettings) as caught:
        provider_of(credentials, **options)
    assert str(caught.value).startswith(f"{field}:")
    assert "secret" not in str(caught.value).lower()


def test_the_well_formed_settings_of_the_table_above_are_taken() -> None:
    """Else those cases could fail for another reason than the field they break."""
    provider_of({"account_name": "account", "account_key": KEY}, container="box", access_tier="cool").close()
    provider_of({"account_name": "account", "sas_token": SAS_TOKEN}, container="box").close()


def test_azure_lists_an_md5_of_its_own_for_small_blobs_only(box: Box) -> None:
    with box.provider() as provider:
        small = provider.put("small", PatternSource(PART_SIZE_BYTES))
        large = provider.put("large", PatternSource(PART_SIZE_BYTES + 1))
        checksums = {stored.key: stored.checksum for stored in provider.list("")}
        assert provider.measure(PatternSource(PART_SIZE_BYTES)) == small
        assert provider.measure(PatternSource(PART_SIZE_BYTES + 1)) == large
    assert checksums["small"] in small.checksums
    assert checksums["large"] is None
    assert large.checksums == frozenset()


@pytest.mark.parametrize("tier", ["Hot", "cool", "COLD"])
def test_blobs_land_in_the_tier_that_was_asked_for(box: Box, tier: str) -> None:
    with box.provider(access_tier=tier) as provider:
        provider.put("small", BytesSource(b"content"))
        provider.put("large", PatternSource(PART_SIZE_BYTES + 1))
    assert {blob.name: blob.blob_tier for blob in box.client.list_blobs()} == {
        "small": tier.capitalize(),
        "large": tier.capitalize(),
    }


def test_abandon_discards_blocks_and_no_finished_blob(box: Box) -> None:
    box.stage_block("prefix/only blocks")
    box.stage_block("elsewhere/only blocks")
    with box.provider() as provider:
        provider.put("prefix/finished", BytesSource(b"finished"))
        box.stage_block("prefix/finished")
        assert sorted(box.names()) == ["elsewhere/only blocks", "prefix/finished", "prefix/only blocks"]
        provider.discard_unfinished("prefix/")
        assert sorted(box.names()) == ["elsewhere/only blocks", "prefix/finished"]
        assert b"".join(provider.open("prefix/finished")) == b"finished"


def test_a_blob_that_is_finished_meanwhile_is_not_abandoned(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """The listing of finished blobs misses it, as it would if it were finished a moment later."""
    with box.provider() as provider:
        assert isinstance(provider, AzureProvider)
        provider.put("prefix/late", BytesSource(b"finished"))
        all_blobs = provider._blobs

        def blobs(prefix: str, include: str) -> Iterator[object]:
            return iter(()) if include == "metadata" else iter(all_blobs(prefix, include))

        with monkeypatch.context() as patched:
            patched.setattr(provider, "_blobs", blobs)
            provider.discard_unfinished("prefix/")
        assert b"".join(provider.open("prefix/late")) == b"finished"


def test_a_listing_continues_beyond_the_first_page(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers.azure.requests, "LISTING_PAGE", 2)
    with box.provider() as provider:
        for number in range(7):
            provider.put(f"prefix/{number}", BytesSource(b""))
        assert sorted(stored.key for stored in provider.list("prefix/")) == [f"prefix/{number}" for number in range(7)]


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("a", ["a", "a.", "a..", "a.b", "a．"]),
        ("a.", ["a.", "a..", "a.b"]),
        ("a..", ["a.."]),
        ("a．", ["a．"]),
    ],
)
def test_a_prefix_that_ends_where_names_are_encoded_finds_them_all(box: Box, prefix: str, expected: list[str]) -> None:
    with box.provider() as provider:
        for key in ("a", "a.", "a..", "a.b", "a．"):
            provider.put(key, BytesSource(key.encode()))
        assert sorted(stored.key for stored in provider.list(prefix)) == sorted(expected)
        assert {key: b"".join(provider.open(key)).decode() for key in expected} == {key: key for key in expected}


def test_names_that_would_break_the_xml_of_a_listing_come_back(box: Box) -> None:
    with box.provider() as provider:
        provider.put("a\ufffe\uffffz", BytesSource(b""))
        assert [stored.key for stored in provider.list("a")] == ["a\ufffe\uffffz"]
    assert box.names() == ["a‛EF‛BF‛BE‛EF‛BF‛BFz"]


def test_directory_entries_of_a_hierarchical_namespace_are_no_objects(box: Box) -> None:
    box.client.upload_blob("directory", b"", metadata={"hdi_isfolder": "true"})
    with box.provider() as provider:
        provider.put("directory/file", BytesSource(b""))
        assert [stored.key for stored in provider.list("directory")] == ["directory/file"]


def test_a_name_beyond_azures_limit_is_refused_before_it_is_sent(box: Box) -> None:
    with box.provider() as provider:
        provider.put("a" * 1024, BytesSource(b""))
        with pytest.raises(InvalidKey):
            provider.put("b" * 1025, BytesSource(b""))


def lease(box: Box) -> None:
    box.client.get_blob_client("key").acquire_lease()


def take_snapshot(box: Box) -> None:
    box.client.get_blob_client("key").create_snapshot()


@pytest.mark.parametrize(("protect", "code"), [(lease, "LeaseIdMissing"), (take_snapshot, "SnapshotsPresent")])
@pytest.mark.parametrize("deletion", ["delete", "delete_exactly"])
def test_what_others_protect_from_deletion_is_called_that(
    box: Box, protect: Callable[[Box], None], code: str, deletion: str
) -> None:
    """Azure refuses a leased blob with the status of a failed condition."""
    with box.provider() as provider:
        provider.put("key", BytesSource(b"content"))
        stored = provider.stat("key")
        protect(box)
        with pytest.raises(ObjectProtected, match=code):
            provider.delete("key") if deletion == "delete" else provider.delete_exactly(stored)
        assert b"".join(provider.open("key")) == b"content"


@pytest.mark.parametrize("size_bytes", [1, PART_SIZE_BYTES + 1])
def test_a_leased_blob_is_not_taken_for_another_object(box: Box, size_bytes: int) -> None:
    with box.provider() as provider:
        provider.put("key", BytesSource(b"content"))
        lease(box)
        with pytest.raises(ObjectProtected, match="LeaseIdMissing"):
            provider.put("key", PatternSource(size_bytes))


def xml_error(code: str) -> bytes:
    message = "AccountKey=leaked\nsig=leaked"
    return f'<?xml version="1.0"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'.encode()


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (400, "InvalidHeaderValue", ProviderError),
        (400, "ExpiredToken", AccessDenied),
        (400, "RequestTimeout", ProviderUnavailable),
        (401, "NoAuthenticationInformation", AccessDenied),
        (403, "AuthenticationFailed", AccessDenied),
        (403, "QuotaExceeded", StorageFull),
        (404, "ContainerNotFound", DestinationMissing),
        (404, "NoSuchUpload", ProviderUnavailable),
        (409, "BlobImmutableDueToPolicy", ObjectProtected),
        (429, "TooManyRequests", SlowDown),
        (500, "InternalError", ProviderUnavailable),
        (503, "ServerBusy", SlowDown),
        (507, "InsufficientStorage", StorageFull),
    ],
)
@pytest.mark.parametrize("size_bytes", [1, PART_SIZE_BYTES + 1])
def test_refused_uploads_say_what_the_caller_must_decide(
    status: int, code: str, expected: type[ProviderError], size_bytes: int
) -> None:
    refusal = Answer(status, xml_error(code), {"x-ms-error-code": code})
    with CannedHttp(lambda _: refusal) as server:
        provider = provider_of(
            {"account_name": "account", "sas_token": SAS_TOKEN}, container="box", account_url=f"{server.url}/account"
        )
        with pytest.raises(ProviderError) as caught:
            provider.put("key", PatternSource(size_bytes))
        provider.close()
    assert type(caught.value) is expected
    assert f"(HTTP {status} {code})" in str(caught.value)
    assert "leaked" not in str(caught.value)
    assert "sig=" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_download_cut_short_is_an_error_and_not_a_short_file() -> None:
    headers = {"ETag": '"1"', "Last-Modified": "Sat, 21 Nov 2026 11:44:15 GMT", "x-ms-blob-type": "BlockBlob"}
    with CannedHttp(lambda _: Answer(200, bytes(100_000), headers, cut_after_bytes=500)) as server:
        provider = provider_of(
            {"account_name": "account", "account_key": KEY}, container="box", account_url=f"{server.url}/account"
        )
        with pytest.raises(ProviderUnavailable):
            list(provider.open("key"))
        provider.close()
