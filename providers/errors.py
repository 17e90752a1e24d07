"""The errors that a provider may raise, and how their messages name the object that was refused."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from config.errors import MigrationError
from config.logs import one_line


class ProviderError(MigrationError):
    """A provider could not do what was requested."""

    code = "provider_error"
    try_next_provider = True


class ProviderUnavailable(ProviderError):
    """Network failure, 5xx, throttling or a deadline: worth another try here, then on the next provider."""

    code = "unavailable"
    tries = 5
    provider_wide = True


class SlowDown(ProviderUnavailable):
    """The provider asks for fewer requests, or for none at all for a while (HTTP 429, or 503 with its own code)."""

    def __init__(self, message: str, pause_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.pause_seconds = pause_seconds
        """How long the server asked for no requests (`Retry-After`); 0 if it did not say."""


class AccessDenied(ProviderError):
    """Credentials are missing, wrong, expired or insufficient, or the host key is unexpected."""

    code = "access_denied"
    provider_wide = True


class ConnectionDenied(AccessDenied):
    """One end refused the connection itself: an untrusted host key or certificate, or a login that is not
    accepted.
    """


class DestinationMissing(ProviderError):
    """The bucket, container or base directory does not exist. It is never created silently."""

    code = "destination_missing"
    provider_wide = True


class NotMounted(DestinationMissing):
    """The directory is there, and nothing of what was stored in it: its disk is not mounted."""

    code = "not_mounted"


class InvalidProviderSettings(ProviderError):
    """A field of `credenciales` or `configuracion` is missing or wrong. Names the field, never its value."""

    code = "invalid_settings"
    provider_wide = True


class StorageFull(ProviderError):
    """The destination has no space or quota left."""

    code = "storage_full"
    provider_wide = True


class IntegrityError(ProviderError):
    """What the provider holds is not what was sent."""

    code = "integrity"
    tries = 2


class ObjectNotFound(ProviderError):
    """There is no object under this key."""

    code = "object_not_found"


class ConditionFailed(ProviderError):
    """The object under a key is not the expected one. Nothing was changed.

    After a lost answer it may be the object that this very caller stored: a caller that repeats a request checks.
    """

    code = "condition_failed"


class UnsafeDestination(ProviderError):
    """The place holds objects not known to be this execution's: nothing is written there, and a person must check."""

    code = "unsafe_destination"


class InvalidKey(ProviderError):
    """This provider cannot hold an object of this name."""

    code = "invalid_key"


class ObjectTooLarge(ProviderError):
    """This provider cannot hold an object of this size, however much space it has."""

    code = "object_too_large"


class ObjectProtected(ProviderError):
    """The provider protects this object from changes: a retention, a legal hold."""

    code = "object_protected"


class ObjectArchived(ProviderError):
    """The object is in a storage class that cannot be read at once: it must be restored first."""

    code = "object_archived"


class CannotSign(ProviderError):
    """The provider, or these credentials, can sign no address that others may use, or not for so long."""

    code = "cannot_sign"


class CannotUnarchive(ProviderError):
    """The provider has no archive from which it could bring anything back. What it holds can be read, or never can."""

    code = "cannot_unarchive"
    provider_wide = True


class CannotDiscard(ProviderError):
    """The provider does not allow unfinished uploads to be listed or discarded. The message names the missing right.

    Callers that do not need them gone can continue: see `Provider.discard_unfinished`.
    """

    code = "cannot_discard"


def is_refusal(error: ProviderError) -> bool:
    """Whether the provider refused something that it could do: it would refuse the next time too."""
    return isinstance(error, AccessDenied | ObjectProtected) or type(error) is ProviderError


def name_object(error: ProviderError, key: str) -> None:
    """Let the message of a refusal say which object was refused: a provider in which others are stored says no more."""
    told = one_line(key)
    if isinstance(error, ConnectionDenied):  # concerns no object
        return
    if (is_refusal(error) or isinstance(error, StorageFull | ObjectTooLarge)) and told not in str(error):
        error.args = (f"{error}, en {told}",)


@contextlib.contextmanager
def naming_object(key: str) -> Iterator[None]:
    """Inside this context, every refusal concerns one object: see `name_object`."""
    try:
        yield
    except ProviderError as error:
        name_object(error, key)
        raise
