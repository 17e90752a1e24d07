"""Starts a program that may write in a few places and run a few programs, and a server that reaches no other one.

What a dump says is run by the superuser of the server in which it is tried, and so is every function that a table's
owner wrote: it could run any program, write any file, and use any other server, as the account of that server.
Landlock (Linux 5.13) restricts files and programs. It does not restrict sockets that have a path, so a filter of
system calls (seccomp) refuses the server every connection. A kernel without one of them starts the program without it.

Run as a program of its own, with a `Confinement` as JSON before the command. It imports nothing of the project.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import struct
import sys
from collections.abc import Iterable, Sequence
from typing import NamedTuple

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
"""The numbers of the system calls, the same for every processor."""

SET_NO_NEW_PRIVILEGES = 38
SET_FILTER, BY_PROGRAM = 22, 2
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

COMMAND_DESCRIPTOR = 9
"""Where the program writes, one word a line, the log and the command of its server; then it closes it."""

SERVER_VARIABLE = "SERVER_PROCESS"
"""Holds the id of the process that becomes the server."""

Step = tuple[int, int, int, int]
"""An instruction of a seccomp filter: operation, steps to skip if the test holds, steps to skip if not, operand."""

STEP_BYTES = 8
LOAD, IF_EQUAL, IF_AT_LEAST, ANSWER = 0x20, 0x15, 0x35, 0x06
CALL_NUMBER, CALL_ARCHITECTURE, CALL_ADDRESS = 0, 4, 16 + 4 * 8
"""Offsets in a filter's input: the call's number, the processor, and the fifth argument (`sendto`'s address)."""

LET_PASS = 0x7FFF0000
REFUSE = 0x00050000 | errno.EACCES


class Calls(NamedTuple):
    """The numbers of a processor's system calls that reach another socket."""

    architecture: int
    send_to: int
    reaching: Sequence[int]
    """connect, sendmsg, sendmmsg, and io_uring_setup, which does the same without a call."""

    second_table: int = 1 << 31
    """From this number on they are those of another table."""


CALLS = {
    "x86_64": Calls(0xC000003E, 44, (42, 46, 307, 425), 1 << 30),
    "aarch64": Calls(0xC00000B7, 206, (203, 211, 269, 425)),
}


class Confinement(NamedTuple):
    """What a program may still do, and as which user. `user` and `group`: -1 keeps the present ones."""

    writable: Sequence[str]
    runnable: Sequence[str]
    runnable_by_server: Sequence[str]
    user: int = -1
    group: int = -1


def command_of(confinement: Confinement, command: Sequence[str]) -> list[str]:
    """The command that runs another one confined."""
    return [sys.executable, "-I", "-S", __file__, json.dumps(confinement), *command]


def version_of_landlock() -> int:
    """The kernel's version of Landlock; less than 1 if it cannot confine programs."""
    return int(ctypes.CDLL(None).syscall(CREATE_RULESET, None, ctypes.c_size_t(0), VERSION_QUESTION))


def _confine(library: ctypes.CDLL, writable: Sequence[str], runnable: Sequence[str]) -> None:
    _done(library.prctl(SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0))
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
    _allow(library, rules, writable, writing)
    _allow(library, rules, runnable, RUN)
    _done(library.syscall(RESTRICT_SELF, rules, 0))
    os.close(rules)


def _allow(library: ctypes.CDLL, rules: int, paths: Iterable[str], rights: int) -> None:
    for path in filter(os.path.exists, paths):
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        granted = rights if os.path.isdir(path) else rights & (RUN | WRITE_FILE | TRUNCATE)  # noqa: PTH112 quick start
        rule = granted.to_bytes(8, sys.byteorder) + place.to_bytes(4, sys.byteorder)
        _done(library.syscall(ADD_RULE, rules, BENEATH_A_PATH, rule, 0))
        os.close(place)


def _refuse_connections(library: ctypes.CDLL) -> None:
    """Nothing is refused if the kernel has no filters, or the processor is not one of those above."""
    calls = CALLS.get(os.uname().machine)
    if calls is None or sys.maxsize < 1 << 32:
        return
    steps = b"".join(struct.pack("=HBBI", *step) for step in _steps(calls))
    kept = ctypes.create_string_buffer(steps, len(steps))
    program = struct.pack("@HP", len(steps) // STEP_BYTES, ctypes.addressof(kept))
    library.prctl(SET_FILTER, BY_PROGRAM, program, 0, 0)


def _steps(calls: Calls) -> list[Step]:
    """A filter for all calls. `sendto` passes if it names no address, because `send` is made of that."""
    refused, passed = (ANSWER, 0, 0, REFUSE), (ANSWER, 0, 0, LET_PASS)
    steps = [(LOAD, 0, 0, CALL_ARCHITECTURE), (IF_EQUAL, 1, 0, calls.architecture), refused]
    steps += [(LOAD, 0, 0, CALL_NUMBER), (IF_AT_LEAST, 0, 1, calls.second_table), refused]
    for number in calls.reaching:
        steps += [(IF_EQUAL, 0, 1, number), refused]
    steps += [(IF_EQUAL, 1, 0, calls.send_to), passed]
    for half in (0, 4):
        steps += [(LOAD, 0, 0, CALL_ADDRESS + half), (IF_EQUAL, 1, 0, 0), refused]
    return [*steps, passed]


def _done(answer: int) -> int:
    if answer < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return answer


def _become(user: int, group: int) -> None:
    if user >= 0:
        os.setgroups([])
        os.setgid(group)
        os.setuid(user)


def _prepare_server(library: ctypes.CDLL, confinement: Confinement) -> None:
    """Start a process that becomes the server when the program says its command; it ends with the program before."""
    reading, writing = os.pipe()
    process = os.fork()
    if process != 0:
        os.close(reading)
        os.dup2(writing, COMMAND_DESCRIPTOR)
        os.environ[SERVER_VARIABLE] = str(process)
        return
    os.close(writing)
    os.setsid()
    for standard in (0, 1):
        os.dup2(os.open(os.devnull, os.O_RDWR), standard)
    with open(reading, "rb") as said:  # noqa: PTH123 a descriptor
        log, *command = said.read().splitlines() or [b""]
    if not command:
        os._exit(0)
    for standard in (1, 2):
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), standard)
    _confine(library, confinement.writable, confinement.runnable_by_server)
    _refuse_connections(library)
    os.execv(command[0], command)  # noqa: S606 that is what it is for


if __name__ == "__main__":
    wanted = Confinement(*json.loads(sys.argv[1]))
    system = ctypes.CDLL(None, use_errno=True)
    _confine(system, wanted.writable, wanted.runnable)
    _become(wanted.user, wanted.group)
    _prepare_server(system, wanted)
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606 that is what it is for
