"""How an S3 server handles conditions: many ignore unknown ones and report success."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from botocore.exceptions import ClientError

from providers.errors import ProviderError
from providers.probes import PROBE_CONTENT, remove_probe
from providers.s3.errors import is_optional_refusal, translated_errors
from providers.s3.requests import LostUpload, NoSuchUpload, S3Requests, Unfinished

NOBODYS_ETAG = '"00000000000000000000000000000000"'

CREATE_TRIES = 3
"""The second request must be refused; another host's probe may have removed the object just before."""

KEPT = frozenset((404, 409, 412))
"""Codes of a failed condition: for a missing object, a concurrent write, or in general."""

UNKNOWN = frozenset((400, 405, 501))
"""Codes of servers that reject an unsupported condition."""


class ConditionUnknown(ProviderError):
    """The server refuses to complete an upload, possibly because it supports no condition on that request."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """The observed behaviour of a server."""

    on_put: bool
    """It stores nothing that violates `If-None-Match: *` or `If-Match`."""
    on_delete: bool
    """It deletes nothing that violates `If-Match`."""
    on_uploads: bool
    """It lists uploads in parts, and an aborted one cannot be completed. Probed only if needed."""


def probe_conditions(requests: S3Requests, name: str) -> Conditions:
    """Probe the server with a disposable object. It is removed last, so that it shows what else a kill may leave; after
    a kill, the next probe of this name removes it. Raises as `S3Requests`.
    """
    try:
        on_put = _keeps_conditions_of_puts(requests, name)
        on_uploads = not on_put and _unless_refused(lambda: _discards_uploads(requests, name))
        on_delete = _unless_refused(lambda: _keeps_conditions_of_deletions(requests, name))
    finally:
        remove_probe(partial(_remove, requests, name))
    return Conditions(on_put, bool(on_delete), bool(on_uploads))


def _remove(requests: S3Requests, name: str) -> None:
    with translated_errors():
        _unless_refused(lambda: requests.delete(name))


def _unless_refused(action: Callable[[], bool | None]) -> bool | None:
    """The result of an action; `False` if the account may not do it or the server does not support it."""
    try:
        return action()
    except ClientError as error:
        if not is_optional_refusal(error):
            raise
        return False


def _keeps_conditions_of_puts(requests: S3Requests, name: str) -> bool:
    """Unknown if an object left by an earlier probe is protected from replacement."""
    try:
        return _refuses_to_create_twice(requests, name) and _refuses(
            lambda: requests.put(name, PROBE_CONTENT, {"If-Match": NOBODYS_ETAG})
        )
    except ClientError as error:
        if not is_optional_refusal(error) or not _is_there(requests, name):
            raise
        return False


def _keeps_conditions_of_deletions(requests: S3Requests, name: str) -> bool:
    """Only if the object is still there: a server that ignores conditions may refuse to remove what is missing."""
    return _refuses(lambda: requests.delete_if(name, NOBODYS_ETAG)) and _is_there(requests, name)


def _is_there(requests: S3Requests, name: str) -> bool:
    return any(found.name == name for found in requests.list(name))


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
        next(requests.unfinished_uploads(name), None)  # before beginning an upload that could not be discarded
    upload = requests.begin_upload(name, {})
    try:
        is_listed = _is_listed(requests, upload)
    finally:
        remove_probe(partial(_abort, requests, upload))
    return is_listed and _is_unknown(requests, upload)


def _abort(requests: S3Requests, upload: Unfinished) -> None:
    with translated_errors():
        _unless_refused(lambda: requests.abort(upload))


def _is_listed(requests: S3Requests, upload: Unfinished) -> bool:
    try:
        return upload in requests.unfinished_uploads(upload.name)
    except NoSuchUpload:
        return False


def _is_unknown(requests: S3Requests, upload: Unfinished) -> bool:
    """Whether an upload cannot be completed because it does not exist, rather than because a part is missing."""
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
    """Turn a refusal that may concern the condition itself into `ConditionUnknown`, but not a failed condition."""
    try:
        yield
    except LostUpload:
        raise
    except ClientError as error:
        if not condition or error.response["ResponseMetadata"]["HTTPStatusCode"] not in UNKNOWN:
            raise
        raise ConditionUnknown("el servidor no admite condiciones al terminar una subida por partes") from None
