"""Addresses that read one object without credentials: who gives them, for how long, and that they show in no log."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from config.models import ProviderRow
from providers import build_provider
from providers.errors import CannotSign
from providers.sources import BytesSource
from tests.destinations import Destination
from tests.servers.azurite import Azurite

KEY = "p/ejecuciones/uno/á b/100% #1+2&c=d.txt"
CONTENT = b"contents of one object"
HOUR = 3600


def read(url: str) -> bytes:
    """What anybody reads there."""
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 an address of a local test server
        content: bytes = answer.read()
    return content


@pytest.mark.parametrize("name", ["s3-swift", "s3-rclone", "s3-moto", "azure"])
def test_an_address_reads_its_object_and_no_other_one_and_is_in_no_log(
    new_destination: Callable[[str], Destination], name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with closing(build_provider(new_destination(name).provider_row())) as provider:
        provider.put(KEY, BytesSource(CONTENT))
        provider.put("p/other", BytesSource(b"another one"))
        url = provider.signed_url(KEY, HOUR)
    assert read(url) == CONTENT
    signature = parse_qs(urlsplit(url).query)["sig" if name == "azure" else "X-Amz-Signature"][0]
    assert signature not in caplog.text
    if name != "s3-moto":  # which checks no signature
        changed = url.replace(quote(KEY), "p/other")
        assert changed != url
        with pytest.raises(urllib.error.HTTPError) as refused:
            read(changed)
        refused.value.close()
        assert refused.value.code == 403


@pytest.mark.parametrize("name", ["sftp-asyncssh", "local"])
def test_some_kinds_have_none(new_destination: Callable[[str], Destination], name: str) -> None:
    with (
        closing(build_provider(new_destination(name).provider_row())) as provider,
        pytest.raises(CannotSign, match="nada se firma"),
    ):
        provider.signed_url(KEY, HOUR)


@pytest.mark.parametrize(("name", "longest"), [("s3-moto", 7), ("azure", 366)])
def test_no_address_is_for_longer_than_the_service_allows(
    new_destination: Callable[[str], Destination], name: str, longest: int
) -> None:
    with closing(build_provider(new_destination(name).provider_row())) as provider:
        assert provider.signed_url(KEY, longest * 86400)
        for seconds in (0, -1, longest * 86400 + 1):
            with pytest.raises(CannotSign, match=f"como mucho {longest} días"):
                provider.signed_url(KEY, seconds)


def test_a_session_token_and_who_pays_are_part_of_an_s3_address() -> None:
    credentials = {"access_key": "key", "secret_key": "secret", "session_token": "token/+="}
    row = ProviderRow(1, "s3", "s3", credentials, {"bucket": "cubo", "pagador": True}, active=True)
    with closing(build_provider(row)) as provider:
        query = parse_qs(urlsplit(provider.signed_url(KEY, HOUR)).query)
    assert query["X-Amz-Security-Token"] == ["token/+="]
    assert query["x-amz-request-payer"] == ["requester"]
    assert query["X-Amz-Expires"] == [str(HOUR)]


def test_a_token_of_azure_signs_nothing(azurite: Azurite) -> None:
    credentials = {"account_name": azurite.account_name, "sas_token": "sv=2021-12-02&sig=x"}
    row = ProviderRow(1, "a", "azure", credentials, {"container": "cubo", "account_url": azurite.endpoint}, active=True)
    with closing(build_provider(row)) as provider, pytest.raises(CannotSign, match="account_key"):
        provider.signed_url(KEY, HOUR)


# GCS: the emulator checks no signature, so it is checked here, as Google does


@pytest.fixture(scope="module")
def private_key() -> rsa.RSAPrivateKey:
    """The key of a service account."""
    return rsa.generate_private_key(65537, 2048)


def service_account(private_key: rsa.RSAPrivateKey) -> dict[str, str]:
    """The document that Google gives for it."""
    pem = private_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {
        "type": "service_account",
        "client_email": "sage@project.iam.gserviceaccount.com",
        "token_uri": "https://oauth2.googleapis.com/token",
        "private_key": pem.decode(),
    }


def verify_as_google_does(url: str, public_key: rsa.RSAPublicKey) -> None:
    """Raises `InvalidSignature`. Source: "V4 signing process with your own program", Cloud Storage documentation."""
    parts = urlsplit(url)
    signed, _, signature = parts.query.partition("&X-Goog-Signature=")
    assert signature, parts.query
    query = {name.lower(): values[0] for name, values in parse_qs(parts.query).items()}
    request = f"GET\n{parts.path}\n{signed}\nhost:{parts.netloc}\n\nhost\nUNSIGNED-PAYLOAD"
    scope = query["x-goog-credential"].partition("/")[2]
    to_sign = [query["x-goog-algorithm"], query["x-goog-date"], scope, hashlib.sha256(request.encode()).hexdigest()]
    public_key.verify(bytes.fromhex(signature), "\n".join(to_sign).encode(), padding.PKCS1v15(), hashes.SHA256())


@pytest.mark.parametrize("written", ["in the row", "in a file"])
def test_a_service_account_signs_and_google_would_accept_it(
    private_key: rsa.RSAPrivateKey, tmp_path: Path, written: str
) -> None:
    document = service_account(private_key)
    (tmp_path / "account.json").write_text(json.dumps(document))
    credentials = document if written == "in the row" else str(tmp_path / "account.json")
    row = ProviderRow(1, "gcs", "gcs", credentials, {"bucket": "cubo"}, active=True)
    with closing(build_provider(row)) as provider:
        url = provider.signed_url(KEY, HOUR)
        with pytest.raises(CannotSign, match="7 días"):
            provider.signed_url(KEY, 7 * 86400 + 1)
    assert url.startswith(f"https://storage.googleapis.com/cubo/{quote(KEY)}?")
    verify_as_google_does(url, private_key.public_key())
    with pytest.raises(InvalidSignature):
        verify_as_google_does(url.replace("uno", "dos"), private_key.public_key())


def test_without_a_service_account_google_signs_nothing() -> None:
    row = ProviderRow(1, "gcs", "gcs", None, {"bucket": "cubo", "endpoint_url": "http://127.0.0.1:9"}, active=True)
    with closing(build_provider(row)) as provider, pytest.raises(CannotSign, match="cuenta de servicio"):
        provider.signed_url(KEY, HOUR)


def test_a_signature_is_not_what_base64_hides() -> None:
    """The signed text of Azure's addresses is of the object alone: the key of the account is not in it."""
    key = base64.b64encode(b"k" * 64).decode()
    credentials = {"account_name": "cuenta", "account_key": key}
    row = ProviderRow(1, "a", "azure", credentials, {"container": "cubo"}, active=True)
    with closing(build_provider(row)) as provider:
        url = provider.signed_url(KEY, HOUR)
    assert key not in url
    assert parse_qs(urlsplit(url).query)["sp"] == ["r"]
    assert parse_qs(urlsplit(url).query)["spr"] == ["https"]
