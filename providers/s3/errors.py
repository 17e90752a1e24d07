"""Translates exceptions of boto3, botocore and `S3Requests` into `ProviderError`s."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import botocore.exceptions
import urllib3.exceptions

from config.logs import emit, one_line, redactor
from providers.errors import (
    AccessDenied,
    CannotDiscard,
    ConditionFailed,
    DestinationMissing,
    IntegrityError,
    InvalidProviderSettings,
    ObjectArchived,
    ObjectNotFound,
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
    PARSER_ERRORS,
    clock_is_off,
    sent_elsewhere,
    unintelligible,
    wrong_region,
)
from providers.shared.network_errors import PROXY_REFUSES_US, network_error
from providers.shared.object_store_errors import DAMAGED_CODES, TOO_LARGE_CODES
from providers.shared.throttling import asks_to_slow_down, pause_seconds

LOGGED_CHARACTERS = 300
"""How much of a server's own text is kept, in the debug log only: servers may repeat requests in it."""

CLOCK_CODES = frozenset(("RequestTimeTooSkewed", "RequestExpired"))
REGION_CODES = frozenset(
    ("PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException")
)
"""Answers for a bucket in another region, from this region's address or its own."""

ELSEWHERE = frozenset((301, 307, 400))

ERROR_CODE = re.compile(r"[A-Za-z]{1,40}(?:\d{1,3}[A-Za-z]{0,40})?")
"""Any other text is not an S3 code, and may be a part of the request that a server repeats."""

DENIED_CODES = frozenset(
    (
        *("AccessDenied", "AllAccessDisabled", "AuthorizationHeaderMalformed", "ExpiredToken", "Forbidden"),
        *("InvalidAccessKeyId", "InvalidToken", "RequestTimeTooSkewed", "SignatureDoesNotMatch"),
        *("TokenRefreshRequired", "401", "403"),
    )
)
FULL_CODES = frozenset(("QuotaExceeded", "InsufficientStorage", "XMinioStorageFull", "507"))
CONFLICT_CODES = frozenset(("ConditionalRequestConflict", "InvalidPart", "NoSuchUpload", "OperationAborted"))
"""Worth another try: if others have discarded an unfinished upload, the next lookup shows that."""

BROKEN_CODES = frozenset(("InternalError", "RequestTimeout"))
"""Worth another try with any status: S3 begins its answer to a completion before it knows the result."""

MISSING_CODES = frozenset(("NoSuchKey", "NotFound", "404"))

UNANSWERED: tuple[tuple[type[Exception], str], ...] = (
    (botocore.exceptions.SSLError, "la conexión segura (TLS) con el servidor falló"),
    (botocore.exceptions.ConnectTimeoutError, "el servidor no acepta la conexión"),
    (botocore.exceptions.ReadTimeoutError, "el servidor no responde"),
    (botocore.exceptions.EndpointConnectionError, "no se pudo conectar con el servidor"),
)
"""boto3's exceptions without an answer, and their meaning; the first match applies."""

NO_ANSWER_OR_HALF_OF_ONE = (
    *(botocore.exceptions.BotoCoreError, botocore.exceptions.HTTPClientError),
    urllib3.exceptions.HTTPError,  # botocore lets some of them through while a body is read, about TLS for instance
)


OPTIONAL_REFUSALS = frozenset((403, 405, 501))
"""Codes of a server that does not do something for this account, or at all."""

CREDENTIAL_CODES = DENIED_CODES - {"AccessDenied", "AllAccessDisabled", "Forbidden", "403"}


def is_optional_refusal(error: botocore.exceptions.ClientError) -> bool:
    """Whether, judging by the answer, only this kind of request is refused and not the credentials."""
    status, code = _status_and_code(error)
    return status in OPTIONAL_REFUSALS and code not in CREDENTIAL_CODES


def is_unexplained(error: botocore.exceptions.ClientError) -> bool:
    """Whether an answer to HEAD, which has no body, may mean that the bucket is in another region."""
    return _status_and_code(error)[0] in ELSEWHERE


@contextmanager
def refused_as_optional(right: str) -> Iterator[None]:
    """Turn refusals into `CannotDiscard`, which names the missing right."""
    try:
        yield
    except botocore.exceptions.ClientError as error:
        if not is_optional_refusal(error):
            raise
        status, code = _status_and_code(error)
        raise CannotDiscard(
            f"falta el permiso {right}, o el servidor no lo sabe hacer ({_told(status, code)})"
        ) from None


def _status_and_code(error: botocore.exceptions.ClientError) -> tuple[int, str]:
    code = str(error.response.get("Error", {}).get("Code", ""))
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)), code


def _told(status: int, code: str) -> str:
    parts = (f"HTTP {status}" if status else "", code if ERROR_CODE.fullmatch(code) and code != str(status) else "")
    return " ".join(part for part in parts if part)


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turn boto3's exceptions into `ProviderError`s; a source's exceptions pass unchanged."""
    try:
        yield
    except botocore.exceptions.ClientError as error:
        raise answered_error(error) from None  # not chained: the answer may repeat signed addresses
    except (botocore.exceptions.NoCredentialsError, botocore.exceptions.PartialCredentialsError):
        raise AccessDenied("no hay credenciales: ni en la fila del proveedor ni en el entorno") from None
    except botocore.exceptions.ParamValidationError:
        raise ProviderError("el proveedor no admite este nombre o estos parámetros") from None
    except NO_ANSWER_OR_HALF_OF_ONE as error:
        told = network_error(error)
        if told is not None:
            raise told from None
        reason = next((text for kind, text in UNANSWERED if isinstance(error, kind)), "se cortó la conexión")
        raise ProviderUnavailable(f"{reason} ({type(error).__name__})") from None
    except PARSER_ERRORS as error:
        raise unintelligible(type(error).__name__) from None


def answered_error(error: botocore.exceptions.ClientError) -> ProviderError:
    """The `ProviderError` for an answer."""
    status, code = _status_and_code(error)
    answer = _told(status, code)
    details = error.response.get("Error", {})
    # Before it is cut: half a secret would not be recognised.
    message = one_line(redactor.redact(str(details.get("Message", ""))))[:LOGGED_CHARACTERS]
    emit(logging.DEBUG, "provider_answer", f"El servidor respondió {answer}: {message}")
    headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    retry_after = headers.get("retry-after")
    if asks_to_slow_down(status, code, retry_after):
        pause = pause_seconds(retry_after, headers.get("date"))
        return SlowDown(f"el servidor pide menos peticiones ({answer})", pause)
    region = str(details.get("Region") or "")
    is_elsewhere = code in REGION_CODES or (status in ELSEWHERE and region != "" and code == str(status))
    moved = None if is_elsewhere else sent_elsewhere(status, headers.get("location"))
    if moved is not None:
        return moved
    is_clock = code in CLOCK_CODES or (status == 403 and clock_is_off(headers.get("date")))
    kinds: tuple[tuple[bool, Callable[[str], ProviderError], str], ...] = (
        (code == "NoSuchBucket", DestinationMissing, "el bucket no existe"),
        (is_elsewhere, InvalidProviderSettings, wrong_region(region)),
        (is_clock, AccessDenied, CLOCK_IS_OFF),
        (code in ARCHIVED_CODES, ObjectArchived, ARCHIVED),
        (code in MISSING_CODES, ObjectNotFound, "el objeto no existe"),
        (status == 412, ConditionFailed, "el objeto ya no es el que había"),
        (code in CONFLICT_CODES, ProviderUnavailable, "otro programa cambió el objeto o la subida a la vez"),
        (code in DAMAGED_CODES, IntegrityError, "los datos llegaron dañados al servidor"),
        (status == 416, IntegrityError, "en la nube faltan bytes"),
        (code in FULL_CODES, StorageFull, "el destino no tiene espacio o cuota"),
        (status == 407, AccessDenied, PROXY_REFUSES_US),
        (status == 413 or code in TOO_LARGE_CODES, ObjectTooLarge, "el destino no admite objetos tan grandes"),
        (code in DENIED_CODES or status in (401, 403), AccessDenied, "acceso denegado"),
        (
            status >= 500 or status == 408 or code in BROKEN_CODES,
            ProviderUnavailable,
            "el servidor no pudo atender la petición",
        ),
    )
    for applies, error_class, text in kinds:
        if applies:
            return error_class(f"{text} ({answer})")
    return ProviderError(f"el servidor rechazó la petición ({answer})")
