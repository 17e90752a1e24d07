"""One run of each job at a time, per host and database: locks that the kernel frees when their holder dies."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from config.errors import ConfigurationError
from config.text.wording import reason_of
from files.descriptors import closing_descriptor

NO_ROOM = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EROFS))
"""The errors of making a file where the directory is right but takes no new file."""


HELD = "otro proceso de janitor está en marcha en esta máquina"


class LockHeld(Exception):
    """Another run on this host holds the lock. The message is in Spanish."""


NAMED_BY_THE_DATABASE_ALONE = "migration"
"""The job whose lock covered a whole run in earlier versions of the program: while such a run is still working, no
migration begins.
"""


@contextlib.contextmanager
def job_lock(directory: Path, host: str, database_identity: str, job: str) -> Iterator[None]:
    """Hold this host's lock of one job, in the file and in the kernel. Raises `LockHeld`, `ConfigurationError`.

    Other jobs have their own locks, so a job that takes hours delays none of them.
    """
    identity = database_identity if job == NAMED_BY_THE_DATABASE_ALONE else f"{database_identity}\0{job}"
    with host_lock(directory, identity), machine_lock(host, identity):
        yield


@contextlib.contextmanager
def host_lock(directory: Path, database_identity: str) -> Iterator[None]:
    """Hold this host's lock for one database. Raises `LockHeld`, `ConfigurationError`.

    The file is never removed: otherwise a run could hold the lock of a file that no longer has a name. Opening for
    reading is enough to lock, so root and an ordinary user may share it. If the file does not exist and cannot be made
    because the disk is full or read-only, the directory itself is locked: a full disk needs this program most. Then all
    locks exclude each other, whatever their names.
    """
    path = directory / f"janitor-daemon-{hashlib.sha256(database_identity.encode()).hexdigest()[:16]}.lock"
    try:
        descriptor = _open(path)
    except OSError as error:
        raise ConfigurationError(
            f"no se puede abrir el bloqueo {path}: {reason_of(error)}; indique otro directorio en JANITOR_LOCK_DIR"
        ) from error
    with closing_descriptor(descriptor):
        _lock(descriptor, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def machine_lock(host: str, database_identity: str) -> Iterator[None]:
    """Hold a lock that all runs of this host find, whatever directory each of them uses. Raises `LockHeld`.

    Cron and a person's shell may name different directories, or have write access to different ones. The kernel keeps
    this name outside all directories, and only while its holder lives (unix(7), abstract sockets). It does not reach
    containers with separate networks on one host, so it is used in addition to the file, not instead of it.
    """
    name = hashlib.sha256(f"{host}\0{database_identity}".encode("utf-8", "surrogateescape")).hexdigest()[:32]
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as holder:
        try:
            holder.bind(f"\0janitor-daemon-{name}")
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise LockHeld(HELD) from error
            if error.errno not in (errno.EPERM, errno.EACCES):  # a sandbox may allow none; there is still the file
                raise
        yield


def _lock(descriptor: int, kind: int) -> None:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise LockHeld(HELD) from error


def _open(path: Path) -> int:
    """Open the file, creating it if needed, or the directory where it cannot be created."""
    try:
        return _open_regular(path, os.O_RDONLY)
    except FileNotFoundError:
        with closing_descriptor(os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as directory:
            return _make(path, directory)


def _make(path: Path, directory: int) -> int:
    """Create the file, unless a run that could not do so is active and holds the lock of the directory."""
    _lock(directory, fcntl.LOCK_SH)
    try:
        descriptor = _open_regular(path, os.O_RDONLY | os.O_CREAT)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        _lock(directory, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):  # somebody else may have found room meanwhile
            return _open_regular(path, os.O_RDONLY)
        return os.dup(directory)
    with contextlib.suppress(PermissionError):  # then somebody else was quicker and will have done this
        os.fchmod(descriptor, 0o644)  # whatever the umask: other users must be able to open it
    return descriptor


def _open_regular(path: Path, flags: int) -> int:
    """Open without blocking: in a directory open to all, the name may belong to a FIFO."""
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "no es un fichero")
    return descriptor
