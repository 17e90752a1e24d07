"""Credentials of the SDK's default chain: environment, files, the role of a machine."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from time import monotonic
from typing import Any

import botocore.exceptions
from botocore.credentials import ReadOnlyCredentials

from providers.errors import AccessDenied, ProviderUnavailable
from providers.s3.errors import answered_error
from providers.shared.object_store_errors import CREDENTIALS_NOT_GIVEN

FILES = frozenset(("shared-credentials-file", "config-file"))
"""botocore's names for the parts of its chain that read keys in a file."""

READ_AGAIN_AFTER_SECONDS = 10.0

PASSING_FAILURES = (
    *(botocore.exceptions.CredentialRetrievalError, botocore.exceptions.MetadataRetrievalError),
    *(botocore.exceptions.HTTPClientError, botocore.exceptions.ConnectionError, RuntimeError),
)
"""The last one is raised for credentials that are over when they come."""


class ChainCredentials:
    """What a session's chain finds, as it is now. Safe for several threads.

    botocore renews the credentials of a role in time, but reads a file once only: keys that a script replaces there
    every hour would expire in the middle of a run.
    """

    def __init__(self, session: Any) -> None:
        """`session` is one of boto3's. Raises `ProviderError`: `AccessDenied` if nothing is found."""
        with explained_failures():
            found = session.get_credentials()
        if found is None:
            raise AccessDenied("no hay credenciales: ni en la fila del proveedor ni en el entorno de esta máquina")
        self._found = found
        self._chain = session._session.get_component("credential_provider")  # boto3 does not hand on its chain
        self._read_at = monotonic()
        self._reading = threading.Lock()

    def now(self) -> ReadOnlyCredentials:
        """The credentials for a request that is sent now. Raises `ProviderError` if they are over and none follow."""
        if self._found.method in FILES:
            self._read_again()
        with explained_failures():
            frozen: ReadOnlyCredentials = self._found.get_frozen_credentials()
        return frozen

    def _read_again(self) -> None:
        """Keeps what was found before while the file is missing or half-written. Looks nowhere else: the next part of
        the chain may have another account's keys.
        """
        with self._reading:
            if monotonic() - self._read_at < READ_AGAIN_AFTER_SECONDS:
                return
            self._read_at = monotonic()
            with contextlib.suppress(botocore.exceptions.BotoCoreError):
                self._found = self._chain.get_provider(self._found.method).load() or self._found


@contextlib.contextmanager
def explained_failures() -> Iterator[None]:
    """Turn botocore's exceptions about credentials into `ProviderError`s. Whatever gives them to this machine may do so
    the next time; what is written in its files needs a person.
    """
    try:
        yield
    except botocore.exceptions.ClientError as error:
        raise answered_error(error) from None
    except PASSING_FAILURES as error:
        raise ProviderUnavailable(f"{CREDENTIALS_NOT_GIVEN} ({type(error).__name__})") from None
    except botocore.exceptions.BotoCoreError as error:
        told = f"la configuración de AWS de este equipo no da credenciales ({type(error).__name__})"
        raise AccessDenied(f"{told}: corrija sus ficheros o su entorno (AWS_PROFILE)") from None
