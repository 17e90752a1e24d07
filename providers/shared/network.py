"""Decides, for every client of every provider, which certificates are trusted and which proxy is used.

Each HTTP library has its own rules for environment variables. With those, some requests of a provider would succeed and
others fail: small files would be sent and large ones not. So no client reads the environment: each receives the
decision made here.
"""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import os
import re
import ssl
import urllib.parse
import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from config.fields import FieldError, Fields
from config.logs import redactor
from config.text.wording import reason_of

BUNDLE_VARIABLES = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
"""Each names a file of certificates, or a directory of such files."""

DIRECTORIES_VARIABLE = "SSL_CERT_DIR"
"""Names directories of such files, `:` between them; OpenSSL minds none that is not there."""

SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""Where distributions keep the system's trusted certificates, besides the paths of this Python's OpenSSL."""

CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----")
HASHED_NAME = r"[0-9a-f]{8}\.\d+"
"""How OpenSSL finds a certificate in the system's directory, which holds each under its plain name, too."""

LARGEST_BUNDLE_BYTES = 16 * 1024 * 1024

PROXY_PORTS = {"http": 80, "https": 443}
SERVER_PORTS = {"http": 80, "https": 443}

NOBODY = "http://127.0.0.1:9"
"""A proxy for clients that ask the environment unless they are given one, with an exception for the only server."""


class Trust:
    """The trusted certificates, in every form that a client accepts. Safe for several threads.

    They are those of the system, those shipped with `requests` and boto3, and those named: the sources add up.
    """

    def __init__(self, named: Iterable[str] = ()) -> None:
        """`named` are certificates in PEM."""
        self._named = tuple(named)

    @functools.cached_property
    def pem(self) -> str:
        """All of them, one after the other, in PEM."""
        return "\n".join(dict.fromkeys((*self._named, *_usual_certificates())))

    @functools.cached_property
    def context(self) -> ssl.SSLContext:
        """For clients that take a context.

        A certificate authority of a company's own need not keep to the letter of RFC 5280, which Python asks for from
        3.13 on, and Rust's library does not.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        context.set_alpn_protocols(["http/1.1"])
        context.load_verify_locations(cadata=self.pem)
        return context

    @functools.cached_property
    def path(self) -> str:
        """For clients that take the path of a file, which is in memory: no disk need have room for it."""
        descriptor = os.memfd_create("certificates")
        weakref.finalize(self, os.close, descriptor)
        with open(descriptor, "w", encoding="ascii", closefd=False) as file:
            file.write(self.pem)
        return f"/proc/self/fd/{descriptor}"


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy by HTTP or HTTPS."""

    url: str = field(repr=False)
    """With port, and with user and password where there are any, in percent notation."""

    @property
    def is_secure(self) -> bool:
        """Whether the connection to it uses TLS."""
        return self.url.startswith("https:")


@dataclass(frozen=True, slots=True)
class Network:
    """The decision for one address."""

    host: str
    """Of the server, an IPv6 address without brackets."""
    is_secure: bool
    trust: Trust
    proxy: Proxy | None

    @property
    def proxies(self) -> dict[str, str]:
        """As boto3 and `requests` take it."""
        return dict.fromkeys(SERVER_PORTS, self.proxy.url) if self.proxy else {}


class NetworkRules:
    """The rules for certificates and proxies in the current environment and a provider's row. No network I/O.

    Certificates: those of every variable that is set, and of `configuracion.ca_file`, besides the usual ones.
    Proxy: `configuracion.proxy`; otherwise, unless `NO_PROXY` names the server, `HTTPS_PROXY` or `HTTP_PROXY` by the
    address's scheme, otherwise `ALL_PROXY`. A name in lower case outranks the same one in upper case.
    """

    def __init__(self, options: Fields, environment: Mapping[str, str] | None = None) -> None:
        """Raises `FieldError` for `ca_file` and `proxy`."""
        self._environment = dict(os.environ if environment is None else environment)
        ca_file = options.text("ca_file")
        self._row_certificates = _read_named(ca_file, "configuracion.ca_file") if ca_file else []
        proxy = options.text("proxy")
        self._row_proxy = _proxy(proxy, "configuracion.proxy") if proxy else None
        self._exceptions = Exceptions(self._variable("no_proxy") or "")

    def for_url(self, url: str) -> Network:
        """The decision for an http(s) address. Raises `FieldError`, which names the variable that is wrong.

        Certificates of the environment are looked for only where an address needs them.
        """
        parts = urllib.parse.urlsplit(url)
        host, is_secure = (parts.hostname or "").rstrip("."), parts.scheme == "https"
        proxy = self._proxy_for(parts.scheme, host, parts.port or SERVER_PORTS[parts.scheme])
        needs_trust = is_secure or (proxy is not None and proxy.is_secure)
        return Network(host, is_secure, self._trust if needs_trust else Trust(), proxy)

    @functools.cached_property
    def _trust(self) -> Trust:
        named = list(self._row_certificates)
        for variable in BUNDLE_VARIABLES:
            path = self._environment.get(variable)
            if path:
                named += _read_named(path, variable)
        for path in self._environment.get(DIRECTORIES_VARIABLE, "").split(":"):
            if path and Path(path).is_dir():
                named += _certificates_in(Path(path))
        return Trust(named)

    def _proxy_for(self, scheme: str, host: str, port: int) -> Proxy | None:
        if self._row_proxy:
            return self._row_proxy
        if self._exceptions.contain(host, port):
            return None
        for name in (f"{scheme}_proxy", "all_proxy"):
            text = self._variable(name)
            if text:
                return _proxy(text, name.upper())
        return None

    def _variable(self, name: str) -> str | None:
        """One that is set and empty counts: it hides the same name in upper case."""
        text = self._environment.get(name, self._environment.get(name.upper()))
        return text and text.strip()


class Exceptions:
    """The servers that `NO_PROXY` names: `*`, names, which stand for what is below them too, with or without a dot or
    `*.` before them, addresses and networks (`10.0.0.0/8`, `fd00::/8`); each but `*` and networks also with a port.
    """

    def __init__(self, text: str) -> None:
        self._entries = [entry.lower() for entry in re.split(r"[,\s]+", text) if entry]

    def contain(self, host: str, port: int) -> bool:
        """Whether a server is one of them. Names are not resolved."""
        return any(_is_meant(entry, host.lower(), port) for entry in self._entries)


def _is_meant(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    address, network = _address(host), _network(entry)
    if network is not None:
        return address is not None and address in network
    name, only_port = _without_port(entry)
    if only_port not in ("", str(port)):
        return False
    network = _network(name)
    if network is not None:
        return address is not None and address in network
    name = name.removeprefix("*").strip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(text.partition("%")[0])
    return None


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """A network, or the one of a single address, which may stand in brackets."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_network(re.sub(r"^\[(.*)\]$", r"\1", text), strict=False)
    return None


def _without_port(entry: str) -> tuple[str, str]:
    """A name or address and its port, '' for none: an IPv6 address has a port only after its brackets."""
    found = re.fullmatch(r"(\[[^]]*\]|[^:]*):(\d+)", entry)
    return (found[1], found[2].lstrip("0")) if found else (entry, "")


def _proxy(text: str, label: str) -> Proxy:
    """Raises `FieldError`, which does not show the text, as it may hold a password."""
    url = text.strip() if "://" in text else f"http://{text.strip()}"
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port or PROXY_PORTS.get(parts.scheme, 0)
    except ValueError:
        raise FieldError(f"{label}: no es la dirección de un proxy, como http://servidor:3128") from None
    if parts.scheme.startswith("socks"):
        raise FieldError(f"{label}: los proxies SOCKS no se admiten; indique uno como http://servidor:3128")
    if parts.scheme not in PROXY_PORTS or not parts.hostname or parts.path.strip("/") or parts.query or parts.fragment:
        raise FieldError(f"{label}: no es la dirección de un proxy, como http://servidor:3128")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return Proxy(f"{parts.scheme}://{_login(parts, label)}{host}:{port}")


def _login(parts: urllib.parse.SplitResult, label: str) -> str:
    """User and password as they stand before the host, none without either. The redactor learns the password."""
    user, password = (urllib.parse.unquote(part or "") for part in (parts.username, parts.password))
    if password:
        redactor.add(password)
        redactor.add(f"{user}:{password}")
    if not user and not password:
        return ""
    if not user or not password or not (user + password).isascii() or ":" in user:
        raise FieldError(f"{label}: hacen falta usuario y contraseña, con caracteres ASCII, o ninguno de los dos")
    return f"{urllib.parse.quote(user, safe='')}:{urllib.parse.quote(password, safe='')}@"


def _read_named(path: str, label: str) -> list[str]:
    """The certificates in a file, or in a directory's files. Raises `FieldError` where there are none or bad ones."""
    try:
        certificates = _certificates_in(Path(path)) if Path(path).is_dir() else _certificates_of(Path(path))
    except (OSError, ValueError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else type(error).__name__
        raise FieldError(f"{label}: no se puede leer el archivo de certificados ({reason})") from None
    if not certificates:
        raise FieldError(f"{label}: no contiene ningún certificado en formato PEM")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata="\n".join(certificates))
    except ssl.SSLError:
        raise FieldError(f"{label}: contiene un certificado dañado") from None
    return certificates


def _certificates_in(directory: Path, names: str = ".*") -> list[str]:
    """The certificates in all its files with such names; skips other or unreadable files, as OpenSSL does."""
    found: dict[str, None] = {}
    for name in sorted(os.listdir(directory)):
        with contextlib.suppress(OSError):
            if re.fullmatch(names, name) and (directory / name).is_file():
                found.update(dict.fromkeys(_certificates_of(directory / name)))
    return list(found)


def _certificates_of(path: Path) -> list[str]:
    with path.open("rb") as file:
        text = file.read(LARGEST_BUNDLE_BYTES).decode("latin-1")
    return CERTIFICATE.findall(text)


@functools.cache
def any_certificate() -> str:
    """One certificate, for a client that does not begin without one even where none is needed."""
    import certifi

    return _certificates_of(Path(certifi.where()))[0]


@functools.cache
def _usual_certificates() -> tuple[str, ...]:
    """Those of the system, and those that come with `requests`, for systems that have none."""
    return tuple(dict.fromkeys(_each_usual_certificate()))


def _each_usual_certificate() -> Iterator[str]:
    import certifi

    openssl = ssl.get_default_verify_paths()
    for name in (openssl.openssl_cafile, *SYSTEM_BUNDLES):
        if Path(name).is_file():
            yield from _certificates_of(Path(name))
            break
    if Path(openssl.openssl_capath).is_dir():
        yield from _certificates_in(Path(openssl.openssl_capath), HASHED_NAME)
    yield from _certificates_of(Path(certifi.where()))
