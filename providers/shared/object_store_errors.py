"""What obstore's exceptions and a store's answers mean, as `ProviderError`s."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

from providers.errors import (
    AccessDenied,
    ConditionFailed,
    DestinationMissing,
    IntegrityError,
    InvalidKey,
    ObjectArchived,
    ObjectNotFound,
    ObjectProtected,
    ObjectTooLarge,
    ProviderError,
    ProviderUnavailable,
    SlowDown,
    StorageFull,
)
from providers.shared.answers import (
    ARCHIVED,
    ARCHIVED_CODES,
    CLOCK_IS_OFF,
    clock_is_off,
    sent_elsewhere,
    unintelligible,
)
from providers.shared.direct_http import Answer
from providers.shared.network_errors import PROXY_REFUSES_US, network_error_told_by_rust
from providers.shared.throttling import asks_to_slow_down, pause_seconds

PROTECTED_CODES = frozenset(
    {"BlobImmutableDueToPolicy", "BlobImmutableDueToLegalHold", "LeaseIdMissing", "SnapshotsPresent"}
)
"""Codes for what another program, or a rule of the account, keeps from being changed or removed."""

PROTECTED = "una retención, un bloqueo legal, una concesión (lease) o una instantánea protege el objeto"

FULL_CODES = frozenset({"QuotaExceeded", "InsufficientStorage", "XMinioStorageFull"})
"""Error codes of a store without room. `XMinioStorageFull` is MinIO's, `QuotaExceeded` that of several gateways."""

TOO_LARGE_CODES = frozenset({"EntityTooLarge", "RequestBodyTooLarge"})
"""Codes for objects too large for the store or a proxy before it; they also come with status 400."""

DENIED_CODES = frozenset({"ExpiredToken", "InvalidToken", "InvalidAccessKeyId", "AuthorizationHeaderMalformed"})
"""Codes about credentials that S3 sends with status 400."""

DAMAGED_CODES = frozenset({"BadDigest", "IncompleteBody", "XAmzContentSHA256Mismatch", "Md5Mismatch", "Crc64Mismatch"})
"""Codes of S3 and Azure for bytes that differ from the announced ones."""

ABSENT_CODES = frozenset({"NoSuchKey", "BlobNotFound"})
"""Codes of a 404 that means the object; any other one means the bucket or container."""

ERROR_CODE = r"<Code>\s*([A-Za-z]{1,40}(?:\d{1,3}[A-Za-z]{0,40})?)\s*</Code>"

EXISTING_CODES = frozenset({"BlobAlreadyExists", "ResourceAlreadyExists"})
"""Azure's codes, with status 409, for an existing object where none is expected."""

TRANSIENT_CODES = frozenset({"RequestTimeout", "NoSuchUpload", "OperationAborted", "ConditionalRequestConflict"})
"""Codes that S3 sends with a 4xx status although restarting the same upload may succeed."""

CREDENTIALS_NOT_GIVEN = "este equipo no obtiene sus credenciales: compruebe su rol, o el programa que las da"

TOO_MANY_REQUESTS = "el proveedor pide menos peticiones"


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turn obstore's exceptions into `ProviderError`s; all others pass unchanged."""
    try:
        yield
    except (BaseError, FileNotFoundError, ValueError) as error:
        # Not chained: obstore's messages hold request addresses with signatures, and whole answers.
        raise provider_error(error) from None


def provider_error(error: Exception) -> ProviderError:
    """The `ProviderError` for an error of obstore, its message reduced to the status and the store's error code."""
    text = str(error)
    status = _first_group(r"status code: (\d{3})", text)
    code = _first_group(ERROR_CODE, text)
    if status is None and code is None:
        return _error_without_answer(error, text)
    moved = sent_elsewhere(int(status or 0), "")  # obstore does not show whereto
    if moved is not None:
        return moved
    answer = " ".join(part for part in (status and f"HTTP {status}", code) if part)
    denied = isinstance(error, PermissionDeniedError | UnauthenticatedError)
    absent = isinstance(error, FileNotFoundError)
    error_class, reason = _meaning(int(status or 500), code, denied=denied, absent=absent)
    return error_class(f"{reason} ({answer})")


def require_stored(answer: Answer) -> None:
    """Raises the `ProviderError` for any answer to a PUT except success."""
    if 200 <= answer.status < 300:
        return
    if answer.status < 200:
        raise unintelligible(f"HTTP {answer.status}")
    moved = sent_elsewhere(answer.status, answer.headers.get("location"))
    if moved is not None:
        raise moved
    code = refusal_code(answer)
    told = " ".join(filter(None, (f"HTTP {answer.status}", code)))
    retry_after = answer.headers.get("retry-after")
    if asks_to_slow_down(answer.status, code, retry_after):
        raise SlowDown(f"{TOO_MANY_REQUESTS} ({told})", pause_seconds(retry_after, answer.headers.get("date")))
    refused = answer.status in {401, 403}
    error_class, reason = _meaning(answer.status, code, denied=refused, absent=answer.status == 404)
    if error_class is AccessDenied and clock_is_off(answer.headers.get("date")):
        reason = CLOCK_IS_OFF
    raise error_class(f"{reason} ({told})")


def refusal_code(answer: Answer) -> str | None:
    """The store's error code in an answer to a PUT."""
    text = f"<Code>{answer.headers.get('x-ms-error-code', '')}</Code>{answer.content.decode('latin-1')}"
    return _first_group(ERROR_CODE, text)


def _meaning(status: int, code: str | None, *, denied: bool, absent: bool) -> tuple[type[ProviderError], str]:
    """What an answer of the store means: the first line that applies."""
    unavailable = status == 408 or status >= 500
    for applies, error_class, reason in (
        (code in PROTECTED_CODES, ObjectProtected, PROTECTED),
        (status == 412 or code in EXISTING_CODES, ConditionFailed, "ya hay un objeto con ese nombre"),
        (status == 507 or code in FULL_CODES, StorageFull, "el destino no tiene espacio o cuota"),
        (status == 413 or code in TOO_LARGE_CODES, ObjectTooLarge, "el destino no admite objetos tan grandes"),
        (code in DAMAGED_CODES, IntegrityError, "los datos llegaron dañados al servidor"),
        (asks_to_slow_down(status, code), SlowDown, TOO_MANY_REQUESTS),
        (unavailable or code in TRANSIENT_CODES, ProviderUnavailable, "el proveedor no pudo atender la petición"),
        (status == 407, AccessDenied, PROXY_REFUSES_US),
        (code in ARCHIVED_CODES, ObjectArchived, ARCHIVED),
        (code == "RequestTimeTooSkewed", AccessDenied, CLOCK_IS_OFF),
        (denied or code in DENIED_CODES, AccessDenied, "acceso denegado"),
        (code in ABSENT_CODES, ObjectNotFound, "el objeto no existe"),
        (absent, DestinationMissing, "el bucket o contenedor no existe"),
    ):
        if applies:
            return error_class, reason
    return ProviderError, "el proveedor rechazó la petición"


def _error_without_answer(error: Exception, text: str) -> ProviderError:
    """No answer of the store is in the message: the connection failed, or the request was never sent."""
    if isinstance(error, ValueError):
        return InvalidKey("el nombre del objeto contiene caracteres que no se pueden enviar")
    told = network_error_told_by_rust(text)
    if told is not None:
        return told
    kind = _first_group(r"kind: (Timeout|Connect|Interrupted|Request|Decode)\b", text)
    reasons = {"Timeout": "se agotó el tiempo de espera", "Connect": "no se pudo conectar"}
    if kind is not None:
        return ProviderUnavailable(f"fallo de red: {reasons.get(kind, 'se cortó la conexión')}")
    if "credential provider: ProviderUnavailable: " in text:  # raised by what it asks for credentials
        return ProviderUnavailable(CREDENTIALS_NOT_GIVEN)
    if isinstance(error, PermissionDeniedError | UnauthenticatedError):
        return AccessDenied("acceso denegado")
    return unintelligible(type(error).__name__)


def _first_group(pattern: str, text: str) -> str | None:
    match = re.search(pattern, text)
    return match.group(1) if match else None
