"""What a process stands on, whoever started it: three open standard streams, and file names in UTF-8."""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import sys
from typing import NoReturn


def open_missing_streams() -> None:
    """Open the null device as each standard stream that is closed, as after `>&-`.

    Otherwise the next file or connection gets its number, and whatever a library prints goes there.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), descriptor)
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 for the whole run
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


def require_utf8_names() -> None:
    """Begin anew in Python's UTF-8 mode where the locale has another encoding for the names of files.

    The same file would get another key on each host, and another name when it is restored on another one.
    """
    if sys.getfilesystemencoding() != "utf-8" and not sys.flags.utf8_mode:
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606 this very program


def keep_rights_of_owner() -> None:
    """Let what this process makes be its own to use: a umask of 0777 or 0277 takes rights from the owner too.

    An ordinary user could neither enter the directories that he makes nor read his own files again. What the umask
    takes from the group and from others stays taken.
    """
    umask = os.umask(OTHERS_RIGHTS)
    os.umask(umask & OTHERS_RIGHTS)


OTHERS_RIGHTS = 0o077


def write_no_core_dumps() -> None:
    """Let this process, and those that it starts, leave no image of their memory behind: it holds secrets."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


LARGE_BLOCK_BYTES = 4 * 1024 * 1024
KEPT_BLOCK_BYTES = 2 * 1024 * 1024
"""Twice what is read of a file at a time."""

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
"""Source: glibc's `malloc.h`."""


def return_large_blocks() -> None:
    """Have blocks of memory that are large given back as soon as they are freed, where the C library is glibc.

    It does so from 128 KiB on, but only until some are freed: then it keeps those of up to 32 MiB, and what grows piece
    by piece leaves its former places behind. Measured for a million files, 330 MiB instead of 222.

    Saying so also fixes how much it keeps of what is freed otherwise, at 128 KiB: each piece of a file that is read
    would be given back and asked for anew, cleared by the kernel page by page. So that is said, too.
    Source: mallopt(3), M_MMAP_THRESHOLD and M_TRIM_THRESHOLD.
    """
    import ctypes  # which a tick with nothing to do spares itself

    with contextlib.suppress(AttributeError):  # another C library
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES)
        library.mallopt(M_TRIM_THRESHOLD, KEPT_BLOCK_BYTES)


def leave_process(exit_code: int) -> NoReturn:
    """End this process at once, with all that was written to its log: its work is done.

    While the interpreter ends it drops signals, and prints a traceback for one that comes a little earlier.
    """
    logging.shutdown()
    os._exit(exit_code)


def drop_what_cannot_be_written() -> None:
    """Let what a full disk does not take from a standard stream not decide how the process ends: it would be 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
