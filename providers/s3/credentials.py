"""Credentials of the SDK's default chain: environment, files, the role of a machine."""

from __future__ import annotations

import contextlib
import threading
from time import monotonic
from typing import Any

import botocore.exceptions
from botocore.credentials import ReadOnlyCredentials

from providers.base import AccessDenied

FILES = frozenset(("shared-credentials-file", "config-file"))
"""botocore's names for the parts of its chain that read keys in a file."""

READ_AGAIN_AFTER_SECONDS = 10.0


class ChainCredentials:
    """What a session's chain finds, as it is now. Safe for several threads.

    botocore renews the credentials of a role in time, but reads a file once only: keys that a script replaces there
    every hour would expire in the middle of a run.
    """

    def __init__(self, session: Any) -> None:
        """`session` is one of boto3's. Raises `AccessDenied` if nothing is found, and botocore's exceptions."""
        found = session.get_credentials()
        if found is None:
            raise AccessDenied("no hay credenciales: ni en la fila del proveedor ni en el entorno de esta máquina")
        self._found = found
        self._chain = session._session.get_component("credential_provider")  # boto3 does not hand on its chain
        self._read_at = monotonic()
        self._reading = threading.Lock()

    def now(self) -> ReadOnlyCredentials:
        """The credentials for a request that is sent now. Raises botocore's exceptions."""
        if self._found.method in FILES:
            self._read_again()
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
