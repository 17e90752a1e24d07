"""Explains failures caused by certificates or proxies, in the same words for every client."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator

import urllib3.exceptions

from providers.errors import ConnectionDenied, ProviderError, ProviderUnavailable

TRUST_ADVICE = "indique configuracion.ca_file o SSL_CERT_FILE"
PROXY_REFUSES_US = "el proxy no acepta el usuario y la contraseña, o los pide y no los tiene (HTTP 407)"
NO_PROXY_REACHED = "no se pudo conectar con el proxy"
NO_TLS = "la conexión segura (TLS) con el servidor falló"
NO_TUNNEL = "el proxy no deja pasar la conexión"

UNTRUSTED = f"el certificado del servidor no es de confianza; {TRUST_ADVICE}"
EXPIRED = "el certificado del servidor ha caducado"
NOT_YET_VALID = "el certificado del servidor todavía no es válido; compruebe el reloj de este equipo"
OTHER_NAME = "el certificado del servidor es de otro nombre que el de la dirección"

REASONS_OF_OPENSSL = {9: NOT_YET_VALID, 10: EXPIRED, 62: OTHER_NAME, 64: OTHER_NAME}
"""By the codes of X509_verify_cert; all others are about who signed."""

REASONS_OF_RUSTLS = {"NotValidYet": NOT_YET_VALID, "Expired": EXPIRED, "NotValidForName": OTHER_NAME}
"""By the variants of rustls' `CertificateError`, of which each may have a longer twin (`ExpiredContext`)."""

TUNNEL_FAILED = re.compile(r"Tunnel connection failed: (\d{3})")


def network_error(error: BaseException) -> ProviderError | None:
    """The error that an exception of a client in Python means, where a certificate or a proxy is to blame.

    An untrusted certificate counts as a refusal, like an unknown SSH host key: only a person can fix it.
    """
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return ConnectionDenied(REASONS_OF_OPENSSL.get(cause.verify_code, UNTRUSTED))
    for cause in causes:
        tunnel = TUNNEL_FAILED.search(str(cause)) if isinstance(cause, OSError) else None
        if tunnel:
            is_login = tunnel[1] == "407"
            return (
                ConnectionDenied(PROXY_REFUSES_US)
                if is_login
                else ProviderUnavailable(f"{NO_TUNNEL} (HTTP {tunnel[1]})")
            )
    if any(isinstance(cause, urllib3.exceptions.ProxyError) for cause in causes):
        return ProviderUnavailable(f"fallo de red: {NO_PROXY_REACHED}")
    if any(isinstance(getattr(cause, "reason", None), urllib3.exceptions.SSLError) for cause in causes):
        return ProviderUnavailable(NO_TLS)  # while opening it: damage to an open connection is another error
    return None


def network_error_told_by_rust(text: str) -> ProviderError | None:
    """The same, of a message of obstore's that holds no answer of a server's."""
    certificate = re.search(r"InvalidCertificate\(\s*(\w+?)(?:Context)?\b", text)
    if certificate:
        return ConnectionDenied(REASONS_OF_RUSTLS.get(certificate[1], UNTRUSTED))
    if "ProxyAuthRequired" in text:
        return ConnectionDenied(PROXY_REFUSES_US)
    if "TunnelUnsuccessful" in text:
        return ProviderUnavailable(NO_TUNNEL)
    if re.search(r"(?s)kind: Connect,.*\b(?:AlertReceived|InvalidMessage|PeerIncompatible|PeerMisbehaved)\(", text):
        return ProviderUnavailable(NO_TLS)
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and what it came of, wherever its library keeps that."""
    waiting, seen = [error], set()
    while waiting:
        current = waiting.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        kept = (current.__cause__, current.__context__, getattr(current, "reason", None))
        sdk = (getattr(current, "inner_exception", None), *current.args)
        waiting += [cause for cause in (*kept, *sdk) if isinstance(cause, BaseException)]
