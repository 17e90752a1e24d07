"""One run at a time on a host for one database: a lock that the kernel frees when its holder dies."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from config.settings import ConfigurationError
from providers.descriptors import closing_descriptor


class LockHeld(Exception):
    """Another run on this host holds the lock. The message is in Spanish."""


@contextlib.contextmanager
def host_lock(directory: Path, database_identity: str) -> Iterator[None]:
    """Hold this host's lock for one database. Raises `LockHeld`, `ConfigurationError`.

    The file is never removed: a run could hold the lock on a file that has no name any more. Opening for reading is
    enough to lock, so root and an ordinary user may share it.
    """
    path = directory / f"janitor-daemon-{hashlib.sha256(database_identity.encode()).hexdigest()[:16]}.lock"
    try:
        descriptor = _open(path)
    except OSError as error:
        raise ConfigurationError(
            f"no se puede abrir el bloqueo {path}: {error.strerror}; indique otro directorio en JANITOR_LOCK_DIR"
        ) from error
    with closing_descriptor(descriptor):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LockHeld("otra ejecución de janitor-daemon está en marcha en esta máquina") from error
        yield


def _open(path: Path) -> int:
    """Open the file, made if need be. In a directory open to all a FIFO may lie in its place: it must not block."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        descriptor = os.open(path, flags | os.O_CREAT, 0o644)
        with contextlib.suppress(PermissionError):  # then somebody else was quicker, and will have done this
            os.fchmod(descriptor, 0o644)  # whatever the umask: other users must be able to open it
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "no es un fichero")
    return descriptor
