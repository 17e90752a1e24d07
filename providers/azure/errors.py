"""Translates exceptions of Azure's SDK, and refusals of `AzureListings`, into `ProviderError`s."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import requests
from azure.core.exceptions import AzureError, HttpResponseError, ResourceExistsError

from providers.azure.requests import Refused
from providers.errors import (
    AccessDenied,
    ConditionFailed,
    DestinationMissing,
    IntegrityError,
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
    PARSER_ERRORS,
    clock_is_off,
    sent_elsewhere,
    unintelligible,
)
from providers.shared.network_errors import PROXY_REFUSES_US, network_error
from providers.shared.object_store_errors import (
    DAMAGED_CODES,
    DENIED_CODES,
    EXISTING_CODES,
    FULL_CODES,
    PROTECTED,
    PROTECTED_CODES,
    TRANSIENT_CODES,
)
from providers.shared.throttling import asks_to_slow_down, pause_seconds

MISSING_CONTAINER_CODES = frozenset({"ContainerNotFound", "ContainerBeingDeleted", "ContainerDisabled"})

ERROR_CODE = re.compile(r"[A-Za-z]{1,40}(?:\d{1,3}[A-Za-z]{0,40})?")
"""Any other text is not an Azure code, and may be a part of the request that a server repeats."""


class BlocksLost(ProviderUnavailable):
    """Staged blocks are gone and must be sent again."""


@contextmanager
def existing_as_failed_condition() -> Iterator[None]:
    """Azure refuses to create an existing blob with a separate code: raise `ConditionFailed` for it."""
    try:
        yield
    except ResourceExistsError as error:
        if _code_of(error) not in EXISTING_CODES:
            raise
        raise ConditionFailed("ya hay un objeto con ese nombre (HTTP 409)") from None


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turn the SDK's exceptions into `ProviderError`s."""
    try:
        yield
    except HttpResponseError as error:
        # Not chained: the SDK's messages and their causes hold whole answers and addresses with signatures.
        raise _sdk_answer_error(error) from None
    except Refused as error:
        raise _answer_error(error.status, error.code, error.headers) from None
    except (AzureError, requests.RequestException) as error:
        failed = ProviderUnavailable(f"fallo de red con Azure ({type(error).__name__})")
        raise network_error(error) or failed from None
    except PARSER_ERRORS as error:
        raise unintelligible(type(error).__name__) from None


def _sdk_answer_error(error: HttpResponseError) -> ProviderError:
    if error.status_code is None:
        return ProviderUnavailable(f"fallo de red con Azure ({type(error).__name__})")
    return _answer_error(error.status_code, _code_of(error), getattr(error.response, "headers", {}))


def _code_of(error: HttpResponseError) -> str:
    code = getattr(error, "error_code", None) or ""
    return str(getattr(code, "value", code))


def _answer_error(status: int, code: str, headers: Mapping[str, str]) -> ProviderError:
    if not ERROR_CODE.fullmatch(code):
        code = ""
    answer = f"HTTP {status} {code}".strip()
    if status < 300:
        return unintelligible(answer)
    moved = sent_elsewhere(status, headers.get("Location"))
    if moved is not None:
        return moved
    retry_after = _retry_after(headers)
    if asks_to_slow_down(status, code, retry_after):
        pause = pause_seconds(retry_after, headers.get("Date"))
        return SlowDown(f"Azure pide menos peticiones ({answer})", pause)
    for applies, error_class, reason in (
        (status == 507 or code in FULL_CODES, StorageFull, "el contenedor no tiene espacio o cuota"),
        (status == 413, ObjectTooLarge, "el destino no admite objetos tan grandes"),
        (code in DAMAGED_CODES, IntegrityError, "los datos llegaron dañados a Azure"),
        (status == 408 or status >= 500, ProviderUnavailable, "Azure no pudo atender la petición"),
        (status == 407, AccessDenied, PROXY_REFUSES_US),
        (code in TRANSIENT_CODES, ProviderUnavailable, "Azure no pudo atender la petición"),
        (code in ARCHIVED_CODES, ObjectArchived, ARCHIVED),
        (code in PROTECTED_CODES, ObjectProtected, PROTECTED),
        (status == 403 and clock_is_off(headers.get("Date")), AccessDenied, CLOCK_IS_OFF),
        (status in {401, 403} or code in DENIED_CODES, AccessDenied, "acceso denegado por Azure"),
        (code in MISSING_CONTAINER_CODES, DestinationMissing, "el contenedor no existe"),
        (status == 404, ObjectNotFound, "el objeto no existe"),
        (code == "InvalidBlockList", BlocksLost, "Azure ya no tiene los bloques que se habían enviado"),
        (status == 412, ConditionFailed, "el objeto ya no es el que había"),
    ):
        if applies:
            return error_class(f"{reason} ({answer})")
    return ProviderError(f"Azure rechazó la petición ({answer})")


def _retry_after(headers: Mapping[str, str]) -> str | None:
    """The pause in seconds that Azure requests, in its own header or in HTTP's."""
    milliseconds = headers.get("x-ms-retry-after-ms", "")
    if milliseconds.isascii() and milliseconds.isdigit():
        return str(-(-int(milliseconds) // 1000))
    return headers.get("Retry-After")
