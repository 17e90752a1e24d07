"""What a server of S3 does with conditions: many ignore those that they do not know, and say that all is well."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from botocore.exceptions import ClientError

from providers.base import ProviderError
from providers.probes import PROBE_CONTENT
from providers.s3.errors import is_optional_refusal
from providers.s3.requests import LostUpload, NoSuchUpload, S3Requests, Unfinished

NOBODYS_ETAG = '"00000000000000000000000000000000"'

CREATE_TRIES = 3
"""The second one is to be refused; another host's probe may have removed the object just before."""

KEPT = frozenset((404, 409, 412))
"""How a condition that is kept is refused: where there is nothing, where others are just then storing, or at all."""

UNKNOWN = frozenset((400, 405, 501))
"""How servers that know no such condition say so, where they say so."""


class ConditionUnknown(ProviderError):
    """The server refuses the end of an upload, and may do so because it knows no conditions of that."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a server was seen to do."""

    on_put: bool
    """Nothing is stored against `If-None-Match: *` or `If-Match`."""
    on_delete: bool
    """Nothing is deleted against `If-Match`."""
    on_uploads: bool
    """An upload in parts is listed, and once it is aborted it cannot be completed. Looked at where it matters."""


def probe_conditions(requests: S3Requests, name: str) -> Conditions:
    """Find out by an object that nobody needs. It is removed; where a kill leaves it, by the next probe of this name.

    Raises what `S3Requests` raises.
    """
    try:
        on_put = _keeps_conditions_of_puts(requests, name)
        on_delete = _unless_refused(lambda: _refuses(lambda: requests.delete_if(name, NOBODYS_ETAG)))
    finally:
        _unless_refused(lambda: requests.delete(name))
    on_uploads = not on_put and _unless_refused(lambda: _discards_uploads(requests, name))
    return Conditions(on_put, bool(on_delete), bool(on_uploads))


def _unless_refused(action: Callable[[], bool | None]) -> bool | None:
    """What an action gives; `False` where the account may not do it, or the server knows no such thing."""
    try:
        return action()
    except ClientError as error:
        if not is_optional_refusal(error):
            raise
        return False


def _keeps_conditions_of_puts(requests: S3Requests, name: str) -> bool:
    """Nothing is known of it where an object that an earlier probe has left is protected from being replaced."""
    try:
        return _refuses_to_create_twice(requests, name) and _refuses(
            lambda: requests.put(name, PROBE_CONTENT, {"If-Match": NOBODYS_ETAG})
        )
    except ClientError as error:
        if not is_optional_refusal(error) or not any(found.name == name for found in requests.list(name)):
            raise
        return False


def _refuses_to_create_twice(requests: S3Requests, name: str) -> bool:
    return any(_refuses(lambda: requests.put(name, PROBE_CONTENT, {"If-None-Match": "*"})) for _ in range(CREATE_TRIES))


def _refuses(action: Callable[[], None]) -> bool:
    try:
        action()
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        if status not in KEPT | UNKNOWN or error.response["Error"]["Code"] == "NoSuchBucket":
            raise
        return status in KEPT
    return False


def _discards_uploads(requests: S3Requests, name: str) -> bool:
    with contextlib.suppress(NoSuchUpload):
        next(requests.unfinished_uploads(name), None)  # before one is begun that could not be discarded
    upload = requests.begin_upload(name, {})
    try:
        is_listed = _is_listed(requests, upload)
    finally:
        requests.abort(upload)
    return is_listed and _is_unknown(requests, upload)


def _is_listed(requests: S3Requests, upload: Unfinished) -> bool:
    try:
        return upload in requests.unfinished_uploads(upload.name)
    except NoSuchUpload:
        return False


def _is_unknown(requests: S3Requests, upload: Unfinished) -> bool:
    """Whether an upload cannot be completed because there is none; not because a part is missing."""
    try:
        requests.complete(upload, [NOBODYS_ETAG], {})
    except NoSuchUpload:
        return True
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500:
            raise
    return False


@contextlib.contextmanager
def refused_as_unknown(condition: Mapping[str, str]) -> Iterator[None]:
    """Turn a refusal that may mean the condition itself into `ConditionUnknown`. One that is kept is none."""
    try:
        yield
    except LostUpload:
        raise
    except ClientError as error:
        if not condition or error.response["ResponseMetadata"]["HTTPStatusCode"] not in UNKNOWN:
            raise
        raise ConditionUnknown("el servidor no admite condiciones al terminar una subida por partes") from None
