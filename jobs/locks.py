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
"""Errors of creating a file in a directory that is right but takes no new file."""


HELD = "otro proceso de janitor está en marcha en esta máquina"


class LockHeld(Exception):
    """Another run on this host holds the lock. The message is in Spanish."""


NAMED_BY_THE_DATABASE_ALONE = "migration"
"""The job whose lock covered a whole run in earlier versions of the program: while such a run is still working, no
migration begins.
"""


class JobLocks:
    """The locks of this host that one run holds: for each job one, on a file and in the kernel.

    Other jobs have their own locks, so a job that takes hours delays none of them.
    """

    def __init__(self, directory: Path, host: str) -> None:
        self._directory = directory
        self._host = host
        self._held: dict[str, contextlib.ExitStack] = {}
        self._descriptors: dict[str, int] = {}

    def __bool__(self) -> bool:
        """Whether any is held."""
        return bool(self._held)

    def take(self, database_identity: str, job: str) -> bool:
        """Take the lock of a job for one database; return whether it is held now. Raises `ConfigurationError`."""
        if job in self._held:
            return True
        identity = _identity(database_identity, job)
        with contextlib.ExitStack() as stack:
            try:
                lock = host_lock(self._directory, identity, self._whole_directory())
                self._descriptors[job] = stack.enter_context(lock)
                stack.callback(self._descriptors.pop, job)
                stack.enter_context(machine_lock(self._host, identity))
            except LockHeld:
                return False
            self._held[job] = stack.pop_all()
        return True

    def release_all(self, but: str = "") -> None:
        """Release all locks except that of the job `but`."""
        for job in [job for job in self._held if job != but]:
            self._held.pop(job).close()

    def _whole_directory(self) -> int | None:
        """The descriptor of the directory if one of the locks is the directory itself."""
        return next((each for each in self._descriptors.values() if stat.S_ISDIR(os.fstat(each).st_mode)), None)


@contextlib.contextmanager
def job_lock(directory: Path, host: str, database_identity: str, job: str) -> Iterator[None]:
    """Hold the lock of one job, outside of a tick. Raises `LockHeld`, `ConfigurationError`."""
    locks = JobLocks(directory, host)
    try:
        if not locks.take(database_identity, job):
            raise LockHeld(f"{HELD} y hace lo mismo (trabajo {job}); repita la orden cuando acabe")
        yield
    finally:
        locks.release_all()


@contextlib.contextmanager
def host_lock(directory: Path, database_identity: str, whole_directory: int | None = None) -> Iterator[int]:
    """Hold this host's lock for one database; yield the locked descriptor. Raises `LockHeld`, `ConfigurationError`.

    The file is never removed: a run could hold the lock on a file that has no name any more. Opening for reading is
    enough to lock, so root and an ordinary user may share it. Where there is no file and none can be made, as the disk
    is full or may not be written to, the directory itself is locked: a full disk needs this program most. Then locks of
    all names exclude each other, except those of one run: `whole_directory` is its descriptor of the directory.
    """
    path = _lock_file(directory, database_identity)
    try:
        descriptor = _open(path, whole_directory)
    except OSError as error:
        raise ConfigurationError(_refusal(path, error)) from error
    with closing_descriptor(descriptor):
        _lock(descriptor, fcntl.LOCK_EX)
        yield descriptor


def lock_fault(directory: Path, database_identity: str) -> str | None:
    """Why `host_lock` would be refused for the directory, in Spanish; `None` if it would not be. Makes nothing."""
    path = _lock_file(directory, database_identity)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.close(_open_regular(path, os.O_RDONLY))
            return None
        os.close(os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    except OSError as error:
        return _refusal(path, error)
    if os.access(directory, os.W_OK | os.X_OK) or os.statvfs(directory).f_flag & os.ST_RDONLY:
        return None  # where no file can be made, the directory itself is the lock
    return _refusal(path, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))


def _lock_file(directory: Path, database_identity: str) -> Path:
    return directory / f"janitor-daemon-{hashlib.sha256(database_identity.encode()).hexdigest()[:16]}.lock"


def _refusal(path: Path, error: OSError) -> str:
    return f"no se puede abrir el bloqueo {path}: {reason_of(error)}; indique otro directorio en JANITOR_LOCK_DIR"


@contextlib.contextmanager
def machine_lock(host: str, database_identity: str) -> Iterator[None]:
    """Hold a lock that all runs of this host find, whatever directory each of them uses. Raises `LockHeld`.

    Cron and a person's shell may name different directories, or have write access to different ones. The kernel keeps
    this name outside all directories, and only while its holder lives (unix(7), abstract sockets). It does not reach
    containers with separate networks on one host, so it is used in addition to the file, not instead of it.
    """
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as holder:
        try:
            holder.bind(_machine_wide_name(host, database_identity))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise LockHeld(HELD) from error
            if error.errno not in (errno.EPERM, errno.EACCES):  # a sandbox may allow none; there is still the file
                raise
        yield


def is_held_on_this_machine(host: str, database_identity: str, job: str) -> bool:
    """Whether a run of this host holds the lock of a job, as far as the kernel shows it. Takes no lock itself."""
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as asker:
        try:
            asker.connect(_machine_wide_name(host, _identity(database_identity, job)))
        except OSError:  # nobody is there, or a sandbox allows nobody to ask
            return False
    return True


def is_at_work(host: str, database_identity: str, job: str | None, process_id: int) -> bool:
    """Whether a run of this host is still there: it holds its job's lock, or, where the kernel shows no locks, there is
    a Python process of its number. Numbers are used again.
    """
    if job and is_held_on_this_machine(host, database_identity, job):
        return True
    try:
        with open(f"/proc/{process_id}/cmdline", "rb") as file:  # noqa: PTH123 no path is worth an object here
            return process_id == os.getpid() or b"janitor" in file.read(4096)
    except OSError:
        return False


def _identity(database_identity: str, job: str) -> str:
    return database_identity if job == NAMED_BY_THE_DATABASE_ALONE else f"{database_identity}\0{job}"


def _machine_wide_name(host: str, identity: str) -> str:
    name = hashlib.sha256(f"{host}\0{identity}".encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return f"\0janitor-daemon-{name}"


def _lock(descriptor: int, kind: int) -> None:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise LockHeld(HELD) from error


def _open(path: Path, whole_directory: int | None) -> int:
    """Open the file, made if need be, or the directory where none can be made. Who holds the directory makes none."""
    try:
        return _open_regular(path, os.O_RDONLY)
    except FileNotFoundError:
        if whole_directory is not None:
            return os.dup(whole_directory)  # so its lock is held until the last of both is closed
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
