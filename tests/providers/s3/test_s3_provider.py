"""What is special to S3: the forms of its settings, and that the row decides, not the environment."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from typing import Any

import pytest

from config.fields import Fields
from config.models import ProviderRow
from providers import build_provider
from providers.base import PART_SIZE_BYTES, Provider
from providers.errors import AccessDenied, InvalidProviderSettings
from providers.s3.access import BucketAccess
from providers.s3.settings import read_settings
from providers.shared.network import NetworkRules
from providers.sources import BytesSource
from tests.destinations import Destination, s3_destination
from tests.faults.http_effects import address_of, behind
from tests.faults.http_proxy import Exchange, Fault, HttpFaultProxy
from tests.servers.rclone_s3 import RcloneS3
from tests.servers.swift import SwiftS3

KEYS = {"access_key": "AKIATESTKEY", "secret_key": "a-secret-that-must-not-show"}


@pytest.fixture
def destination(rclone_s3: RcloneS3) -> Destination:
    return s3_destination("s3-rclone", rclone_s3)


def provider_with(credentials: Mapping[str, Any] | None, options: Mapping[str, Any], kind: str = "s3") -> Provider:
    return build_provider(ProviderRow(1, "Archivo", kind, credentials, options, active=True))


def access_to(row: ProviderRow) -> BucketAccess:
    """How the bucket of a row is reached."""
    rules = NetworkRules(Fields("configuracion", row.options))
    return BucketAccess(read_settings(row, endpoint_required=False), rules, lambda step: step())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS_ENDPOINT", "http://127.0.0.1:1"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:1"),
        ("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1"),
        ("AWS_SKIP_SIGNATURE", "true"),
        ("AWS_S3_EXPRESS", "true"),
        ("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "true"),
        ("AWS_BUCKET", "another"),
        ("AWS_REGION", "mars-north-1"),
        ("AWS_ACCESS_KEY_ID", "another"),
        ("AWS_SECRET_ACCESS_KEY", "another"),
        ("AWS_ROLE_ARN", "another"),
    ],
)
def test_the_row_decides_and_not_the_environment(
    destination: Destination, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    provider = build_provider(destination.provider_row())
    provider.put("a/file", BytesSource(b"content"))
    assert b"".join(provider.open("a/file")) == b"content"
    provider.close()


def test_a_session_token_of_the_environment_does_not_join_the_keys_of_the_row(
    swift_s3: SwiftS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "another")
    row = s3_destination("s3-swift", swift_s3).provider_row()
    assert access_to(row).obstore_credentials()()["token"] is None
    provider = build_provider(row)
    provider.check()
    provider.close()


@pytest.mark.parametrize(
    ("bucket", "region", "accelerated", "endpoint"),
    [
        ("archive", "us-east-1", False, "https://archive.s3.amazonaws.com"),
        ("archive", "eu-west-1", False, "https://archive.s3.eu-west-1.amazonaws.com"),
        ("archive", "cn-north-1", False, "https://archive.s3.cn-north-1.amazonaws.com.cn"),
        ("archive.of.sage", "eu-west-1", False, "https://s3.eu-west-1.amazonaws.com"),
        ("archive", "eu-west-1", True, "https://archive.s3-accelerate.amazonaws.com"),
    ],
)
def test_the_address_of_amazon(bucket: str, region: str, accelerated: bool, endpoint: str) -> None:
    options = {"bucket": bucket, "acelerar": accelerated}
    access = access_to(ProviderRow(1, "Archivo", "s3", {**KEYS, "region": region}, options, active=True))
    assert access.endpoint_url == endpoint
    assert access.bucket_url == (f"{endpoint}/{bucket}" if "." in bucket else endpoint)
    access.close()


@pytest.mark.parametrize("storage_class", ["GLACIER", "DEEP_ARCHIVE", "deep_archive"])
def test_a_storage_class_that_cannot_be_read_at_once_is_refused_with_what_to_use_instead(storage_class: str) -> None:
    """Looked for at the others: Azure's Archive is refused likewise, and GCS's ARCHIVE can be read at once."""
    with pytest.raises(InvalidProviderSettings, match=r"configuracion\.storage_class: .*regla de ciclo de vida"):
        provider_with(KEYS, {"bucket": "archive", "storage_class": storage_class})


@pytest.mark.parametrize("storage_class", ["STANDARD_IA", "GLACIER_IR", "INTELLIGENT_TIERING", "of another server"])
def test_other_storage_classes_are_taken(storage_class: str) -> None:
    provider_with(KEYS, {"bucket": "archive", "storage_class": storage_class}).close()


def test_no_credentials_anywhere(destination: Destination, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    provider = provider_with(None, destination.options)
    with pytest.raises(AccessDenied, match="no hay credenciales"):
        provider.put("a/file", BytesSource(b"content"))
    provider.close()


def test_credentials_of_the_default_chain(destination: Destination, monkeypatch: pytest.MonkeyPatch) -> None:
    assert destination.credentials is not None
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", destination.credentials["access_key"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", destination.credentials["secret_key"])
    provider = provider_with(None, destination.options)
    provider.check()
    provider.close()


@pytest.mark.parametrize(
    ("kind", "credentials", "options", "field"),
    [
        ("s3", KEYS, {}, "configuracion.bucket"),
        ("s3", KEYS, {"bucket": "with/slash"}, "configuracion.bucket"),
        ("s3", KEYS, {"bucket": 7}, "configuracion.bucket"),
        ("minio", KEYS, {"bucket": "archive"}, "configuracion.endpoint_url"),
        ("minio", KEYS, {"bucket": "archive", "endpoint_url": "server:9000"}, "configuracion.endpoint_url"),
        ("minio", KEYS, {"bucket": "archive", "endpoint_url": "https://u:p@host"}, "configuracion.endpoint_url"),
        ("s3", KEYS, {"bucket": "archive", "sse": "rot13"}, "configuracion.sse"),
        ("s3", KEYS, {"bucket": "archive", "kms_key_id": "key"}, "configuracion.kms_key_id"),
        ("s3", KEYS, {"bucket": "archive", "acelerar": "yes"}, "configuracion.acelerar"),
        ("s3", {"access_key": "only"}, {"bucket": "archive"}, "credenciales.secret_key"),
        ("s3", {"secret_key": "a-secret-that-must-not-show"}, {"bucket": "archive"}, "credenciales.access_key"),
        ("s3", {**KEYS, "region": 5}, {"bucket": "archive"}, "credenciales.region"),
    ],
)
def test_a_wrong_field_is_named_without_its_value(
    kind: str, credentials: Mapping[str, Any], options: Mapping[str, Any], field: str
) -> None:
    with pytest.raises(InvalidProviderSettings) as caught:
        provider_with(credentials, options, kind)
    assert field in str(caught.value)
    assert "must-not-show" not in str(caught.value)


@pytest.mark.parametrize("size_bytes", [0, 7, PART_SIZE_BYTES, PART_SIZE_BYTES + 1])
def test_names_that_obstore_refuses_go_up_nevertheless(destination: Destination, size_bytes: int) -> None:
    provider = build_provider(destination.provider_row())
    content = b"x" * size_bytes
    receipt = provider.put("a/new\nline", BytesSource(content))
    stored = provider.stat("a/new\nline")
    assert (stored.size_bytes, stored.checksum in receipt.checksums) == (size_bytes, True)
    assert b"".join(provider.open("a/new\nline")) == content
    assert receipt == provider.measure(BytesSource(content))
    provider.close()


@pytest.mark.parametrize("name", ["s3-rclone", "s3-swift"])
def test_after_one_large_file_only_the_md5_that_the_server_shows_is_computed(
    new_destination: Callable[[str], Destination], name: str
) -> None:
    with closing(build_provider(new_destination(name).provider_row())) as provider:
        first, second = (provider.put(f"p/{number}", BytesSource(bytes(PART_SIZE_BYTES + 1))) for number in range(2))
        assert (len(first.checksums), len(second.checksums)) == (2, 1)
        assert provider.stat("p/1").checksum in second.checksums


def test_which_md5_a_server_shows_is_asked_once(destination: Destination) -> None:
    """Some read the whole object to answer; several large files that end meanwhile do not ask, too."""
    others_are_stored = threading.Event()

    def answer_when_others_are_stored(exchange: Exchange) -> None:
        assert others_are_stored.wait(60)
        exchange.answer(exchange.forward())

    asked = Fault("asked", answer_when_others_are_stored, "^HEAD ")
    with (
        HttpFaultProxy(address_of(destination), asked) as proxy,
        closing(build_provider(behind(destination, proxy.url).provider_row())) as provider,
        ThreadPoolExecutor(3) as executor,
    ):
        content = BytesSource(bytes(PART_SIZE_BYTES + 1))
        puts = [executor.submit(provider.put, f"a/{number}", content) for number in range(3)]
        stored = as_completed(puts, timeout=50)
        try:
            next(stored)
            next(stored)
        finally:
            others_are_stored.set()
        receipt = next(stored).result()
        assert provider.put("a/later", content).checksums < receipt.checksums
        assert proxy.strikes["asked"] == 1
