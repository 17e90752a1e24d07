"""Finds whether any program has a file open for writing, by Linux's only means: a read lease.

The kernel grants a read lease only while no program has the file open or mapped for writing, and makes later writers
wait in `open` until the lease is released (`fcntl(2)`, F_SETLEASE). This detects what no time stamp shows: a program
that may write at any moment, perhaps through a mapping, which need not change any time.
"""

from __future__ import annotations

import enum
import errno
import fcntl
import os
import signal

from files.file_systems import file_system_type

LEASES_FROM_THE_SERVER = frozenset(("nfs", "nfs4", "cifs", "smb3"))
"""File systems that refuse a lease, with the same error, whenever their server has granted none to them."""


class Answer(enum.Enum):
    """The kernel's answer to a request for a lease on a file."""

    TAKEN = "taken"
    NO_RIGHT = "no right"
    """The file is another user's, and this process has no CAP_LEASE: the kernel does not check for writers."""

    NO_LEASES = "no leases"
    """The file system supports no leases."""


class FileInUse(Exception):
    """Some program of this host has the file open for writing."""


def take_lease(descriptor: int) -> Answer:
    """Keep a file, opened read-only here, from being opened for writing until `release_lease` or its closing.

    Raises `FileInUse` if a program already has it open for writing. With any answer but `TAKEN`, the kernel has not
    said whether one has.
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
    """Release the lease; waiting writers continue."""
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)


def has_writer(descriptor: int) -> bool:
    """Whether a program of this host has a file, opened read-only here, open for writing; see above."""
    try:
        if take_lease(descriptor) is Answer.TAKEN:
            release_lease(descriptor)
    except FileInUse:
        return True
    return False
