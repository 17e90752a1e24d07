"""A TCP line to an SSH server that goes wrong at a certain byte; what it carries is encrypted, so it knows no more."""

from __future__ import annotations

import contextlib
import enum
import socket
import struct
import threading
import time
from collections.abc import Container, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

EVERY_CONNECTION = range(1_000_000)
TRICKLES_PER_SECOND = 10


class Direction(enum.Enum):
    """Which way bytes flow: up to the server, or down to the client."""

    UP = enum.auto()
    DOWN = enum.auto()


class Trouble(enum.Enum):
    """What happens at the byte."""

    RESET = enum.auto()
    """The connection is reset, at both ends."""

    FLIPPED_BIT = enum.auto()
    """One bit of this byte is another one."""

    SILENCE = enum.auto()
    """Nothing passes any more, either way, and the connection stays."""

    TRICKLE = enum.auto()
    """From here on only this many bytes pass in a second."""

    LOST_ANSWER = enum.auto()
    """All passes on; what the other side says to it does not, and resets the connection."""


@dataclass(frozen=True)
class LineFault:
    """Where the trouble strikes: at a byte of one direction, counted from zero, on certain connections."""

    trouble: Trouble
    direction: Direction
    at_byte: int
    connections: Container[int] = EVERY_CONNECTION
    bytes_per_second: int = 40


class FaultyLine:
    """Carries connections to a server's port, with a fault or without.

    `struck` counts how often the fault came about, `connections` how many there were, and `passed` tells for the last
    of them how many bytes went each way. `target_port` and `fault` may be changed: that concerns new connections.
    """

    def __init__(self, target_port: int, fault: LineFault | None = None) -> None:
        self.target_port = target_port
        self.fault = fault
        self.struck = 0
        self.connections = 0
        self.passed = dict.fromkeys(Direction, 0)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self._carriers: list[_Carrier] = []
        self._threads: list[threading.Thread] = []

    def cut(self) -> None:
        """Reset the connections that there are."""
        for carrier in self._carriers:
            carrier.reset()

    def refuse(self) -> None:
        """Let there be no new connections: the port is refused from now on."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self.target_port))
                fault = self.fault
                if fault is not None and self.connections not in fault.connections:
                    fault = None
                self.connections += 1
                self.passed = dict.fromkeys(Direction, 0)
                carrier = _Carrier(self, near, far, fault, self.passed)
                self._carriers.append(carrier)
                for direction in Direction:
                    self._start(carrier.carry, direction)

    def _start(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type] # a callable
        thread.start()
        self._threads.append(thread)

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.refuse()
        self.cut()
        for thread in self._threads:
            thread.join(timeout=10)


class _Carrier:
    """One connection: two sockets, a thread for each direction."""

    def __init__(
        self,
        line: FaultyLine,
        near: socket.socket,
        far: socket.socket,
        fault: LineFault | None,
        passed: dict[Direction, int],
    ) -> None:
        self._line = line
        self._ends = {Direction.UP: (near, far), Direction.DOWN: (far, near)}
        self._fault = fault
        self._passed = passed
        self._answers_are_lost = False
        self._silent = threading.Event()
        self._ended = threading.Event()
        for end in (near, far):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def carry(self, direction: Direction) -> None:
        """Pass bytes on until one end closes."""
        source, target = self._ends[direction]
        with contextlib.suppress(OSError):
            while content := source.recv(65536):
                if self._answers_are_lost and self._fault and direction is not self._fault.direction:
                    self._strike()
                    self.reset()
                    return
                for piece in self._through_the_fault(direction, content):
                    if self._silent.is_set():
                        self._ended.wait()
                        return
                    target.sendall(piece)
                    self._passed[direction] += len(piece)
            target.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """End both sides at once, with RST."""
        self._ended.set()
        for end in self._ends[Direction.UP]:
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.shutdown(socket.SHUT_RDWR)  # wakes the other thread
            end.close()

    def _strike(self) -> None:
        self._line.struck += 1

    def _through_the_fault(self, direction: Direction, content: bytes) -> Iterator[bytes]:
        """What of these bytes passes on, and how."""
        fault = self._fault
        if fault is None or direction is not fault.direction:
            yield content
            return
        position = fault.at_byte - self._passed[direction]
        match fault.trouble:
            case Trouble.TRICKLE if position < len(content):
                yield from self._trickle(content, max(0, position), fault.bytes_per_second // TRICKLES_PER_SECOND)
            case _ if not 0 <= position < len(content):
                yield content
            case Trouble.FLIPPED_BIT:
                self._strike()
                yield content[:position] + bytes([content[position] ^ 0x10]) + content[position + 1 :]
            case Trouble.LOST_ANSWER:
                self._answers_are_lost = True
                yield content
            case Trouble.SILENCE:
                yield content[:position]
                self._strike()
                self._silent.set()
                yield b""
            case Trouble.RESET:
                yield content[:position]
                self._strike()
                self.reset()
                raise ConnectionResetError

    def _trickle(self, content: bytes, position: int, drop_bytes: int) -> Iterator[bytes]:
        yield content[:position]
        self._strike()
        for start in range(position, len(content), drop_bytes):
            if self._ended.wait(1 / TRICKLES_PER_SECOND):
                return
            yield content[start : start + drop_bytes]


@contextlib.contextmanager
def unroutable_port(address: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """A port at which connecting never ends, as at an address that no packet reaches: its queue is full."""
    with socket.create_server((address, port), backlog=0) as listener, contextlib.ExitStack() as stack:
        port = listener.getsockname()[1]
        for _ in range(16):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex((address, port))
        _wait_until_full(address, port)
        yield port


def _wait_until_full(address: str, port: int) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            socket.create_connection((address, port), timeout=0.3).close()
        except TimeoutError:
            return
    raise AssertionError("the queue of connections never filled up")
