"""Translates exceptions of Google's SDK into `ProviderError`s."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import requests
import urllib3.exceptions
from google.api_core.exceptions import GoogleAPICallError, NotFound
from google.auth.exceptions import GoogleAuthError, TransportError

from providers.errors import (
    AccessDenied,
    ConditionFailed,
    DestinationMissing,
    IntegrityError,
    ObjectProtected,
    ObjectTooLarge,
    ProviderError,
    ProviderUnavailable,
    SlowDown,
    StorageFull,
)
from providers.shared.answers import CLOCK_IS_OFF, PARSER_ERRORS, sent_elsewhere, unintelligible
from providers.shared.network_errors import PROXY_REFUSES_US, network_error
from providers.shared.throttling import asks_to_slow_down, pause_seconds

FULL_REASONS = frozenset({"quotaExceeded", "storageQuotaExceeded"})
PROTECTED_REASONS = frozenset({"retentionPolicyNotMet", "objectUnderActiveHold"})
TRANSIENT_REASONS = frozenset({"rateLimitExceeded", "userRateLimitExceeded"})

SHORT_LIVED = "reasonable timeframe"
"""Part of Google's message for a signed access request whose time differs from its own."""

DAMAGED_MESSAGE = "doesn't match calculated"
"""Part of the message when the received bytes do not match the checksum; the reason code is unspecific."""

REASON = re.compile(r"[A-Za-z]{1,60}")


@contextmanager
def translated_errors(missing: ProviderError | None = None) -> Iterator[None]:
    """Turn the SDK's exceptions into `ProviderError`s. A 404 means `missing`, or else the bucket."""
    try:
        yield
    except NotFound as error:
        if missing is None or "bucket does not exist" in str(error):
            raise DestinationMissing("el bucket no existe (HTTP 404)") from None
        raise missing from None
    except GoogleAPICallError as error:
        # Not chained: the SDK's messages hold addresses of upload sessions, which are as good as a password.
        raise _answer_error(error) from None
    except requests.exceptions.InvalidJSONError as error:
        raise unintelligible(type(error).__name__) from None
    except (requests.RequestException, urllib3.exceptions.HTTPError, TransportError) as error:
        failed = ProviderUnavailable(f"fallo de red con GCS ({type(error).__name__})")
        raise network_error(error) or failed from None
    except GoogleAuthError as error:
        if error.retryable:
            raise ProviderUnavailable(f"Google no pudo dar acceso ahora ({type(error).__name__})") from None
        reason = CLOCK_IS_OFF if SHORT_LIVED in str(error) else "Google no aceptó las credenciales"
        raise AccessDenied(f"{reason} ({type(error).__name__})") from None
    except PARSER_ERRORS as error:
        raise unintelligible(type(error).__name__) from None


def _answer_error(error: GoogleAPICallError) -> ProviderError:
    status = error.code
    detail = _detail(error)
    reason = detail.get("reason", "")
    answer = f"HTTP {status} {reason}".strip()
    if status is not None and status < 300:
        return unintelligible(answer)
    is_damaged = status == 400 and (reason == "parseError" or DAMAGED_MESSAGE in detail.get("message", ""))
    headers: Mapping[str, str] = error.response.headers if isinstance(error.response, requests.Response) else {}
    moved = sent_elsewhere(status or 0, headers.get("Location"))
    if moved is not None:
        return moved
    retry_after = headers.get("Retry-After")
    if reason in TRANSIENT_REASONS or (status is not None and asks_to_slow_down(status, None, retry_after)):
        return SlowDown(f"GCS pide menos peticiones ({answer})", pause_seconds(retry_after, headers.get("Date")))
    is_unavailable = status is None or status == 408 or status >= 500
    for applies, error_class, text in (
        (is_damaged, IntegrityError, "los datos llegaron dañados al servidor"),
        (status == 507 or reason in FULL_REASONS, StorageFull, "el destino no tiene espacio o cuota"),
        (status == 413, ObjectTooLarge, "el destino no admite objetos tan grandes"),
        (is_unavailable, ProviderUnavailable, "GCS no pudo atender la petición"),
        (status == 407, AccessDenied, PROXY_REFUSES_US),
        (reason in PROTECTED_REASONS, ObjectProtected, "una retención protege el objeto"),
        (status in {401, 403}, AccessDenied, "acceso denegado por GCS"),
        (status == 412, ConditionFailed, "el objeto ya no es el que había"),
    ):
        if applies:
            return error_class(f"{text} ({answer})")
    return ProviderError(f"GCS rechazó la petición ({answer})")


def _detail(error: GoogleAPICallError) -> Mapping[str, str]:
    """`reason`, GCS's code for the error, and `message`. After an upload the SDK leaves them in the answer."""
    details = error.errors
    if not details and isinstance(error.response, requests.Response):
        try:
            details = error.response.json()["error"]["errors"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return {}
    return next((detail for detail in details if REASON.fullmatch(str(detail.get("reason")))), {})
