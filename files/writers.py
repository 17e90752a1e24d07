"""Finds out whether any program has a file open for writing, by the one way that Linux has for it: a read lease.

The kernel grants a read lease only while nobody has the file open, or mapped, for writing, and makes whoever wants to
open it so wait until the lease is given back (`fcntl(2)`, F_SETLEASE). This tells what no time stamp does: that
somebody may write in a moment, and that he may be writing through a mapping, which need not change any time.
"""

from __future__ import annotations

import enum
import errno
import fcntl
import os
import signal

from files.file_systems import file_system_type

LEASES_FROM_THE_SERVER = frozenset(("nfs", "nfs4", "cifs", "smb3"))
"""File systems that refuse a lease, with the same error, whenever their server has granted them none either."""


class Answer(enum.Enum):
    """What came of asking the kernel for a lease on a file."""

    TAKEN = "taken"
    NO_RIGHT = "no right"
    """The file is another user's, and this process has no CAP_LEASE: the kernel does not even look for writers."""

    NO_LEASES = "no leases"
    """The file system has none."""


class FileInUse(Exception):
    """Some program of this host has the file open for writing."""


def take_lease(descriptor: int) -> Answer:
    """Keep a file, opened for reading only, from being opened for writing, until `release_lease` or its closing.

    Raises `FileInUse` when somebody has it open for writing already. Where the answer is another one than `TAKEN`, the
    kernel has not told whether somebody has.
    """
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)  # the default, SIGIO, would end this process
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        if error.errno == errno.EAGAIN and file_system_type(os.fstat(descriptor).st_dev) not in LEASES_FROM_THE_SERVER:
            raise FileInUse from error
        return Answer.NO_RIGHT if error.errno in (errno.EACCES, errno.EPERM) else Answer.NO_LEASES
    return Answer.TAKEN


def lease_is_whole(descriptor: int) -> bool:
    """Whether nobody has tried to open the file for writing since the lease was taken."""
    return fcntl.fcntl(descriptor, fcntl.F_GETLEASE) == fcntl.F_RDLCK


def release_lease(descriptor: int) -> None:
    """Let those who wait to write go on."""
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)


def has_writer(descriptor: int) -> bool:
    """Whether some program of this host has a file, opened here for reading only, open for writing; see above."""
    try:
        if take_lease(descriptor) is Answer.TAKEN:
            release_lease(descriptor)
    except FileInUse:
        return True
    return False
