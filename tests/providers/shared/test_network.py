"""One network, one set of rules: whatever a provider does, it believes the same certificates and uses the same proxy.

Looked for in each client that a provider has: obstore (puts of more than 256 KiB, reading), our own connections (small
puts), botocore's session (listing, asking, deleting), boto3 (odd names), the SDKs of Azure and Google with `requests`,
and what goes past them through the same connections.
"""

from __future__ import annotations

import datetime
import functools
import logging
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from config.fields import FieldError, Fields
from config.logs import redactor
from config.models import ProviderRow
from providers import build_provider
from providers.base import Provider
from providers.errors import AccessDenied, InvalidProviderSettings, ProviderError, ProviderUnavailable
from providers.shared.network import Exceptions, NetworkRules
from providers.sources import BytesSource
from tests.destinations import Destination
from tests.faults.forwarding_proxy import ForwardingProxy
from tests.faults.http_proxy import HttpFaultProxy
from tests.servers.authority import PrivateAuthority
from tests.servers.canned_http import Answer, CannedHttp

NAME = "storage.example.test"
"""Of a server that no resolver knows: whatever goes past the proxy does not arrive."""

LOGIN = ("us er", "p@ss/w:rd%41")
WRITTEN_LOGIN = "us%20er:p%40ss%2Fw%3Ard%2541"

SMALL = b"content"
MIDDLING = bytes(300 * 1024)
LARGE = bytes(9 * 1024 * 1024)

VARIABLES = (
    *("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
)

OPERATIONS: dict[str, Callable[[Provider], object]] = {
    "small put": lambda provider: provider.put("p/small", BytesSource(SMALL)),
    "middling put": lambda provider: provider.put("p/middling", BytesSource(MIDDLING)),
    "large put": lambda provider: provider.put("p/large", BytesSource(LARGE)),
    "put of an odd name": lambda provider: provider.put("p/line\nend", BytesSource(SMALL)),
    "put of a new one": lambda provider: list(provider.put_new_many({"p/new": BytesSource(SMALL)})),
    "list": lambda provider: sorted(stored.key for stored in provider.list("p/")),
    "stat": lambda provider: provider.stat("p/middling").size_bytes,
    "open": lambda provider: b"".join(provider.open("p/small")),
    "open of a large one": lambda provider: len(b"".join(provider.open_sized("p/large", len(LARGE)))),
    "open of an odd name": lambda provider: b"".join(provider.open("p/line\nend")),
    "discard_unfinished": lambda provider: provider.discard_unfinished("p/"),
    "delete": lambda provider: provider.delete("p/small"),
}

KINDS = ("s3-rclone", "azure", "gcs")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> PrivateAuthority:
    return PrivateAuthority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(params=KINDS)
def destination(request: pytest.FixtureRequest, new_destination: Callable[[str], Destination]) -> Destination:
    """One of each kind that is spoken to by HTTP."""
    return new_destination(str(request.param))


def url_of(destination: Destination) -> str:
    """The address of its server, without a path."""
    url = destination.options.get("account_url") or destination.options["endpoint_url"]
    return str(url).removesuffix("/janitor")


def at(destination: Destination, url: str, **options: object) -> Destination:
    """The same destination under another address."""
    if destination.kind == "azure":
        return destination.with_options(account_url=f"{url}/janitor", **options)
    return destination.with_options(endpoint_url=url, **options)


def do_everything(destination: Destination) -> None:
    """Every operation, in order."""
    with closing(build_provider(destination.provider_row())) as provider:
        told = {name: operation(provider) for name, operation in OPERATIONS.items()}
    assert told["list"] == ["p/large", "p/line\nend", "p/middling", "p/new", "p/small"]
    assert (told["open"], told["open of an odd name"], told["stat"]) == (SMALL, SMALL, len(MIDDLING))
    assert told["open of a large one"] == len(LARGE)


def do_all_but_what_is_large(destination: Destination) -> None:
    """Every operation but those that take long: for the many ways to say what is said once."""
    with closing(build_provider(destination.provider_row())) as provider:
        told = {name: operation(provider) for name, operation in OPERATIONS.items() if "large" not in name}
    assert told["list"] == ["p/line\nend", "p/middling", "p/new", "p/small"]
    assert (told["open"], told["open of an odd name"], told["stat"]) == (SMALL, SMALL, len(MIDDLING))


def refusals_of(destination: Destination) -> dict[str, ProviderError]:
    """What each operation fails with."""
    refusals = {}
    with closing(build_provider(destination.provider_row())) as provider:
        for name, operation in OPERATIONS.items():
            if name == "discard_unfinished" and destination.kind == "gcs":
                continue  # it asks for nothing
            with pytest.raises(ProviderError) as raised:
                operation(provider)
            refusals[name] = raised.value
    return refusals


WAYS_TO_NAME: dict[str, Callable[[PrivateAuthority], tuple[dict[str, str], dict[str, object]]]] = {
    "AWS_CA_BUNDLE": lambda authority: ({"AWS_CA_BUNDLE": str(authority.bundle)}, {}),
    "REQUESTS_CA_BUNDLE": lambda authority: ({"REQUESTS_CA_BUNDLE": str(authority.bundle)}, {}),
    "REQUESTS_CA_BUNDLE, a directory": lambda authority: ({"REQUESTS_CA_BUNDLE": str(authority.directory)}, {}),
    "CURL_CA_BUNDLE": lambda authority: ({"CURL_CA_BUNDLE": str(authority.bundle)}, {}),
    "SSL_CERT_FILE": lambda authority: ({"SSL_CERT_FILE": str(authority.bundle)}, {}),
    "SSL_CERT_DIR": lambda authority: ({"SSL_CERT_DIR": f"/nowhere:{authority.directory}"}, {}),
    "ca_file": lambda authority: ({}, {"ca_file": str(authority.bundle)}),
    "ca_file, a directory": lambda authority: ({}, {"ca_file": str(authority.directory)}),
}


@pytest.mark.parametrize("way", WAYS_TO_NAME)
def test_every_request_believes_whom_any_of_the_ways_names(
    destination: Destination, authority: PrivateAuthority, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    variables, options = WAYS_TO_NAME[way](authority)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with HttpFaultProxy(url_of(destination), tls=authority.server_context("127.0.0.1")) as front:
        do = do_everything if way == "ca_file" else do_all_but_what_is_large
        do(at(destination, front.url, **options))


def test_what_one_variable_names_takes_nothing_from_another(
    destination: Destination, authority: PrivateAuthority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each of the four would replace another one's certificates in the library that reads it."""
    other = PrivateAuthority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.bundle))
    for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, str(other.bundle))
    with HttpFaultProxy(url_of(destination), tls=authority.server_context("127.0.0.1")) as front:
        do_all_but_what_is_large(at(destination, front.url, ca_file=str(other.bundle)))


@pytest.mark.parametrize(
    ("names", "age", "message"),
    [
        (("127.0.0.1",), None, "no es de confianza; indique configuracion.ca_file o SSL_CERT_FILE"),
        (("127.0.0.1",), datetime.timedelta(days=5), "ha caducado"),
        (("127.0.0.1",), datetime.timedelta(days=-5), "todavía no es válido; compruebe el reloj"),
        (("other.example.test",), datetime.timedelta(), "es de otro nombre"),
    ],
)
def test_a_certificate_that_is_not_believed_is_called_that_by_every_request(
    destination: Destination,
    authority: PrivateAuthority,
    names: tuple[str],
    age: datetime.timedelta | None,
    message: str,
) -> None:
    options = {} if age is None else {"ca_file": str(authority.bundle)}
    context = authority.server_context(*names, age=age or datetime.timedelta())
    with HttpFaultProxy(url_of(destination), tls=context) as front:
        refusals = refusals_of(at(destination, front.url, **options))
        assert front.seen == []
    for name, refusal in refusals.items():
        assert isinstance(refusal, AccessDenied), name
        assert message in str(refusal), name


@functools.cache
def ways_through() -> dict[str, tuple[str, str]]:
    """Scheme of the server, and which variable names the proxy; `proxy` is the row's."""
    of_https = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "proxy")
    of_http = ("HTTP_PROXY", "ALL_PROXY", "proxy")
    pairs = [*(("https", name) for name in of_https), *(("http", name) for name in of_http)]
    return {f"{scheme} by {name}": (scheme, name) for scheme, name in pairs}


@pytest.mark.parametrize("way", ways_through())
def test_every_request_goes_through_the_proxy(
    destination: Destination, authority: PrivateAuthority, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    scheme, variable = ways_through()[way]
    tls = authority.server_context(NAME) if scheme == "https" else None
    with HttpFaultProxy(url_of(destination), tls=tls) as front:
        routes = {f"{NAME}:443": front.port, NAME: front.port, f"{NAME}:80": front.port}
        with ForwardingProxy(LOGIN, routes) as proxy:
            url = f"http://{WRITTEN_LOGIN}@{proxy.address}"
            options: dict[str, object] = {"proxy": url} if variable == "proxy" else {}
            if variable != "proxy":
                monkeypatch.setenv(variable, url)
            do = do_everything if variable == "proxy" else do_all_but_what_is_large
            do(at(destination, f"{scheme}://{NAME}", ca_file=str(authority.bundle), **options))
            assert proxy.refused == 0
            assert {line.startswith(f"CONNECT {NAME}:443") for line in proxy.seen} == {scheme == "https"}


def test_a_proxy_that_is_spoken_to_by_tls_is_used_by_every_request(
    destination: Destination, authority: PrivateAuthority
) -> None:
    with HttpFaultProxy(url_of(destination), tls=authority.server_context(NAME)) as front:
        routes = {f"{NAME}:443": front.port}
        with ForwardingProxy(LOGIN, routes, authority.server_context("127.0.0.1")) as proxy:
            options = {"ca_file": str(authority.bundle), "proxy": f"https://{WRITTEN_LOGIN}@{proxy.address}"}
            do_all_but_what_is_large(at(destination, f"https://{NAME}", **options))


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_refuses_us_is_called_that_by_every_request(
    destination: Destination, monkeypatch: pytest.MonkeyPatch, scheme: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with ForwardingProxy(LOGIN) as proxy:
        monkeypatch.setenv("ALL_PROXY", f"http://user:hunter2secret@{proxy.address}")
        refusals = refusals_of(at(destination, f"{scheme}://{NAME}"))
        assert proxy.seen == []
    for name, refusal in refusals.items():
        assert isinstance(refusal, AccessDenied), name
        assert "el proxy no acepta el usuario y la contraseña" in str(refusal), name
        assert "hunter2" not in str(refusal), name
    assert "hunter2" not in redactor.redact(caplog.text)


@pytest.mark.usefixtures("little_patience")
def test_a_proxy_that_does_not_answer_is_no_refusal(destination: Destination, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    for name, refusal in refusals_of(at(destination, f"https://{NAME}")).items():
        assert isinstance(refusal, ProviderUnavailable), name
        assert "fallo de red: no se pudo conectar" in str(refusal), name


@pytest.mark.parametrize("exceptions", ["127.0.0.0/8", "*", "other.test, 127.0.0.1"])
def test_no_request_goes_through_the_proxy_to_a_server_that_is_excepted(
    destination: Destination, monkeypatch: pytest.MonkeyPatch, exceptions: str
) -> None:
    """obstore, for one, would take `*` for the name of a host, botocore and `requests` know no networks."""
    monkeypatch.setenv("NO_PROXY", exceptions)
    with ForwardingProxy(LOGIN) as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://{proxy.address}")
        do_all_but_what_is_large(destination)
        assert proxy.refused == 0


@pytest.mark.parametrize(
    ("text", "host", "port", "expected"),
    [
        ("", "a.test", 443, False),
        ("*", "a.test", 443, True),
        ("b.test,*", "a.test", 443, True),
        ("a.test", "a.test", 443, True),
        ("A.Test", "a.TEST", 443, True),
        ("b.test a.test", "a.test", 443, True),
        ("test", "a.test", 443, True),
        (".test", "a.test", 443, True),
        ("*.test", "a.test", 443, True),
        (".a.test", "a.test", 443, True),
        ("a.test.", "a.test", 443, True),
        ("est", "a.test", 443, False),
        ("b.a.test", "a.test", 443, False),
        (".", "a.test", 443, False),
        ("a.test:443", "a.test", 443, True),
        ("a.test:9000", "a.test", 443, False),
        (".test:9000", "a.test", 9000, True),
        ("10.0.0.0/8", "10.1.2.3", 443, True),
        ("10.0.0.1/8", "10.1.2.3", 443, True),
        ("10.0.0.0/8", "11.1.2.3", 443, False),
        ("10.0.0.0/8", "10.test", 443, False),
        ("10.1.2.3", "10.1.2.3", 443, True),
        ("10.1.2.3:9000", "10.1.2.3", 9000, True),
        ("10.1.2.3:9000", "10.1.2.3", 443, False),
        ("::1", "::1", 443, True),
        ("[::1]", "::1", 443, True),
        ("[::1]:9000", "::1", 9000, True),
        ("[::1]:9000", "::1", 443, False),
        ("0:0:0:0:0:0:0:1", "::1", 443, True),
        ("fd00::/8", "fd12::1", 443, True),
        ("fd00::/8", "fe80::1", 443, False),
        ("fd00::/8", "10.1.2.3", 443, False),
    ],
)
def test_the_exceptions_from_the_proxy_are_read_as_widely_as_anyone_writes_them(
    text: str, host: str, port: int, expected: bool
) -> None:
    assert Exceptions(text).contain(host, port) is expected


def rules(environment: Mapping[str, str], **options: object) -> NetworkRules:
    return NetworkRules(Fields("configuracion", options), environment)


@pytest.mark.parametrize(
    ("environment", "options", "expected"),
    [
        ({}, {}, None),
        ({"HTTPS_PROXY": "http://a:1"}, {}, "http://a:1"),
        ({"HTTP_PROXY": "http://a:1"}, {}, None),
        ({"ALL_PROXY": "a:1"}, {}, "http://a:1"),
        ({"ALL_PROXY": "http://a"}, {}, "http://a:80"),
        ({"ALL_PROXY": "http://[::1]:3128/"}, {}, "http://[::1]:3128"),
        ({"ALL_PROXY": "http://u:p@ss@a:1"}, {}, "http://u:p%40ss@a:1"),
        ({"HTTPS_PROXY": "http://a:1", "ALL_PROXY": "http://b:1"}, {}, "http://a:1"),
        ({"HTTPS_PROXY": "http://a:1", "https_proxy": "http://b:1"}, {}, "http://b:1"),
        ({"HTTPS_PROXY": "http://a:1", "https_proxy": ""}, {}, None),
        ({"HTTPS_PROXY": "http://a:1", "NO_PROXY": "s.test"}, {}, None),
        ({"HTTPS_PROXY": "http://a:1", "no_proxy": "s.test", "NO_PROXY": "t.test"}, {}, None),
        ({"HTTPS_PROXY": "http://a:1", "NO_PROXY": "s.test"}, {"proxy": "http://b:1"}, "http://b:1"),
        ({"HTTPS_PROXY": "socks5://a:1", "NO_PROXY": "s.test"}, {}, None),
    ],
)
def test_which_of_several_proxies_is_used(
    environment: dict[str, str], options: dict[str, object], expected: str | None
) -> None:
    proxy = rules(environment, **options).for_url("https://s.test/path").proxy
    assert (proxy and proxy.url) == expected


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("socks5://user:hunter2secret@a:1", "SOCKS no se admiten"),
        ("socks5h://a:1", "SOCKS no se admiten"),
        ("ftp://a:1", "no es la dirección de un proxy"),
        ("http://user:hunter2secret@:1", "no es la dirección de un proxy"),
        ("http://a:hunter2secret", "no es la dirección de un proxy"),
        ("http://a:1/hunter2secret", "no es la dirección de un proxy"),
        ("http://hunter2secret@a:1", "hacen falta usuario y contraseña"),
        ("http://user:hunter2señal@a:1", "hacen falta usuario y contraseña"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_refused_by_its_variable_or_field(value: str, message: str) -> None:
    for environment, options, label in (
        ({"ALL_PROXY": value}, {}, "ALL_PROXY"),
        ({}, {"proxy": value}, "configuracion.proxy"),
    ):
        with pytest.raises(FieldError, match=f"^{label}: .*{message}") as raised:
            rules(environment, **options).for_url("https://s.test")
        assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("kind", ["s3", "azure", "gcp"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no se puede leer el archivo de certificados"),
        (b"no certificate", "no contiene ningún certificado"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "certificado dañado"),
    ],
)
def test_a_file_of_certificates_that_cannot_be_used_is_named_before_anything_is_sent(
    kind: str, content: bytes | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bundle.pem"
    if content is not None:
        path.write_bytes(content)
    row = ROWS[kind](f"https://{NAME}")
    with pytest.raises(InvalidProviderSettings, match=f"^configuracion.ca_file: .*{message}"):
        build_provider(row.with_options(ca_file=str(path)).provider_row())
    for variable in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        with monkeypatch.context() as context:
            context.setenv(variable, str(path))
            with pytest.raises(InvalidProviderSettings, match=f"^{variable}: .*{message}"):
                build_provider(row.provider_row())
            build_provider(ROWS[kind](f"http://{NAME}").provider_row()).close()


ROWS: dict[str, Callable[[str], Destination]] = {
    "s3": lambda url: Destination(
        "s3", "s3", {"access_key": "AK", "secret_key": "secret"}, {"bucket": "bucket", "endpoint_url": url}, ""
    ),
    "azure": lambda url: Destination(
        "azure",
        "azure",
        {"account_name": "janitor", "account_key": "AAAA"},
        {"container": "abc", "account_url": url},
        "",
    ),
    "gcp": lambda url: Destination("gcp", "gcp", None, {"bucket": "bucket", "endpoint_url": url}, ""),
}


def test_the_systems_own_certificates_are_believed_besides(authority: PrivateAuthority) -> None:
    alone = rules({}).for_url(f"https://{NAME}").trust
    with_company = rules({"SSL_CERT_FILE": str(authority.bundle)}).for_url(f"https://{NAME}").trust
    assert alone.pem.count("BEGIN CERTIFICATE") > 100
    assert with_company.pem.count("BEGIN CERTIFICATE") == alone.pem.count("BEGIN CERTIFICATE") + 1
    assert Path(with_company.path).read_text(encoding="ascii") == with_company.pem


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_system_without_certificates_will_do(
    destination: Destination, authority: PrivateAuthority, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    """obstore does not begin there unless it is given some, even for a server without TLS."""
    monkeypatch.setenv("SSL_CERT_DIR", "/nowhere")
    tls = authority.server_context("127.0.0.1") if scheme == "https" else None
    with HttpFaultProxy(url_of(destination), tls=tls) as front:
        do_all_but_what_is_large(at(destination, front.url, ca_file=str(authority.bundle)))


def test_a_login_for_the_server_in_netrc_changes_nothing(
    destination: Destination, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`requests` would put it in the place of the signature."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with HttpFaultProxy(url_of(destination)) as front:
        do_all_but_what_is_large(at(destination, front.url))
        assert front.seen


STS_ANSWER = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{access_key}</AccessKeyId>
<SecretAccessKey>{secret_key}</SecretAccessKey><SessionToken>token</SessionToken>
<Expiration>2100-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult>
</AssumeRoleWithWebIdentityResponse>"""


def test_credentials_are_asked_for_under_the_same_rules(
    authority: PrivateAuthority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Looked for in Amazon's default chain and in Google's tokens, whose servers are others than those for files."""
    token = tmp_path / "token"
    token.write_text("token")
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/janitor")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"https://{NAME}")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.bundle))
    keys = STS_ANSWER.format(access_key="AKIA", secret_key="secret")
    with (
        CannedHttp(lambda _: Answer(200, keys.encode()), authority.server_context(NAME)) as sts,
        CannedHttp(lambda _: Answer(200, headers={"ETag": '"x"'}), authority.server_context("s3.test")) as s3,
    ):
        routes = {f"{NAME}:443": port_of(sts.url), "s3.test:443": port_of(s3.url)}
        with ForwardingProxy(LOGIN, routes) as proxy:
            options = {
                "bucket": "bucket",
                "endpoint_url": "https://s3.test",
                "proxy": f"http://{WRITTEN_LOGIN}@{proxy.address}",
            }
            with closing(build_provider(ProviderRow(1, "S3", "s3", None, options, active=True))) as provider:
                provider.put("key", BytesSource(SMALL))
        assert [request.method for request in sts.requests] == ["POST"]
        assert "AKIA" in s3.requests[-1].headers["authorization"]


def test_tokens_of_google_are_asked_for_under_the_same_rules(
    authority: PrivateAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.bundle))
    answer = Answer(200, b'{"access_token": "t-1", "expires_in": 3600}', {"Content-Type": "application/json"})
    with (
        CannedHttp(lambda _: answer, authority.server_context(NAME)) as tokens,
        CannedHttp(lambda _: Answer(200, b"{}"), authority.server_context("gcs.test")) as gcs,
    ):
        routes = {f"{NAME}:443": port_of(tokens.url), "gcs.test:443": port_of(gcs.url)}
        with ForwardingProxy(LOGIN, routes) as proxy:
            monkeypatch.setenv("ALL_PROXY", f"http://{WRITTEN_LOGIN}@{proxy.address}")
            options = {"bucket": "bucket", "endpoint_url": "https://gcs.test"}
            account = {
                "type": "service_account",
                "client_email": "janitor@example.test",
                "token_uri": f"https://{NAME}/token",
                "private_key": rsa_key(),
            }
            with closing(build_provider(ProviderRow(1, "GCS", "gcp", account, options, active=True))) as provider:
                provider.put("key", BytesSource(SMALL))
        assert [request.path for request in tokens.requests] == ["/token"]
        assert gcs.requests[-1].headers["authorization"] == "Bearer t-1"


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


def rsa_key() -> str:
    key = rsa.generate_private_key(65537, 2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
