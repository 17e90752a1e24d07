"""Starts a program that may write in a few places, run a few programs, and reach no network: Landlock of Linux 5.13.

What a dump says is run by the superuser of the server in which it is tried, and so is every function that a table's
owner wrote: it could run any program, and write any file, as the account of that server. Older kernels, and containers
that do not let Landlock through, start the program as it is.

Run as a program of its own, with a `Confinement` as JSON before the command. It imports nothing of the project.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import NamedTuple

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
"""The numbers of the system calls, the same for every processor."""

SET_NO_NEW_PRIVILEGES = 38
VERSION_QUESTION = 1
BENEATH_A_PATH = 1

RUN = 1 << 0
WRITE_FILE, TRUNCATE = 1 << 1, 1 << 14
CHANGE_DIRECTORY = sum(1 << bit for bit in range(4, 13))
"""Make and remove files, directories, links, sockets and devices."""

MOVE = 1 << 13
TCP = 0b11
SIGNALS_AND_ABSTRACT_SOCKETS = 0b11
FIRST_WITH_MOVE, FIRST_WITH_TRUNCATE, FIRST_WITH_TCP, FIRST_WITH_SIGNALS = 2, 3, 4, 6


class Confinement(NamedTuple):
    """What a program may still do, and as whom. `user` and `group`: -1 for the present ones."""

    writable: Sequence[str]
    runnable: Sequence[str]
    user: int = -1
    group: int = -1


def command_of(confinement: Confinement, command: Sequence[str]) -> list[str]:
    """The command that runs another one confined."""
    return [sys.executable, "-I", "-S", __file__, json.dumps(confinement), *command]


def version_of_landlock() -> int:
    """What the kernel can do; less than 1 if it cannot confine programs."""
    return int(ctypes.CDLL(None).syscall(CREATE_RULESET, None, ctypes.c_size_t(0), VERSION_QUESTION))


def _confine(confinement: Confinement) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    version = version_of_landlock()
    if version < 1:
        return
    writing = WRITE_FILE | CHANGE_DIRECTORY
    writing |= (MOVE if version >= FIRST_WITH_MOVE else 0) | (TRUNCATE if version >= FIRST_WITH_TRUNCATE else 0)
    handled = [RUN | writing]
    handled += [TCP] if version >= FIRST_WITH_TCP else []
    handled += [SIGNALS_AND_ABSTRACT_SOCKETS] if version >= FIRST_WITH_SIGNALS else []
    attributes = (ctypes.c_uint64 * len(handled))(*handled)
    rules = _done(library.syscall(CREATE_RULESET, attributes, ctypes.c_size_t(ctypes.sizeof(attributes)), 0))
    _allow(library, rules, confinement.writable, writing)
    _allow(library, rules, confinement.runnable, RUN)
    _done(library.prctl(SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0))
    _done(library.syscall(RESTRICT_SELF, rules, 0))
    os.close(rules)


def _allow(library: ctypes.CDLL, rules: int, paths: Iterable[str], rights: int) -> None:
    for path in filter(os.path.exists, paths):
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        granted = rights if os.path.isdir(path) else rights & (RUN | WRITE_FILE | TRUNCATE)  # noqa: PTH112 quick start
        rule = granted.to_bytes(8, sys.byteorder) + place.to_bytes(4, sys.byteorder)
        _done(library.syscall(ADD_RULE, rules, BENEATH_A_PATH, rule, 0))
        os.close(place)


def _done(answer: int) -> int:
    if answer < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return answer


def _become(user: int, group: int) -> None:
    if user >= 0:
        os.setgroups([])
        os.setgid(group)
        os.setuid(user)


if __name__ == "__main__":
    wanted = Confinement(*json.loads(sys.argv[1]))
    _confine(wanted)
    _become(wanted.user, wanted.group)
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606 that is what it is for
