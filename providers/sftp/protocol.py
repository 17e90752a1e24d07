"""The SFTP protocol, version 3, over one channel: requests in bursts, every answer checked, names as raw bytes.

paramiko's own client cannot list names that are not UTF-8, hides the server's answer to CLOSE, does not expose the
server's extensions, and waits for each answer in turn, which is expensive over a slow line.
Sources: draft-ietf-secsh-filexfer-02 (its section 6.1 obliges the server to process requests for one file in
the order of their arrival), and OpenSSH's file PROTOCOL for the extensions.
"""

from __future__ import annotations

import contextlib
import math
import struct
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from providers.sftp.packets import LIMITS, Answer, PacketReader, PacketType, SessionLost, StatusError, string

SAFE_TRANSFER_BYTES = 32 * 1024
"""What every server must be able to read or write in one request."""

MAXIMUM_TRANSFER_BYTES = 255 * 1024
"""OpenSSH's limit; used only if the server reports no lower one."""

IN_FLIGHT_BYTES = 2 * 1024 * 1024
"""The most bytes in flight in one session: an SSH channel's usual window, so more would only wait."""

CHANNEL_PACKET_BYTES = 32 * 1024
"""The most that OpenSSH takes in one packet of a channel. It is handed to paramiko as `bytes`: for any other buffer two
exceptions are raised and caught inside it for every packet.
"""

SEND_AT_BYTES = 32 * 1024
"""Requests are gathered into one SSH packet, up to about its usual size."""

RECEIVE_BYTES = 256 * 1024
LARGEST_PACKET_BYTES = 16 * 1024 * 1024
LONGEST_PRINTED_BYTES = 64 * 1024


class TransferTooSlow(SessionLost):
    """The connection is too slow to be useful, and another one would not be faster."""


class Channel(Protocol):
    """The required methods of an SSH channel. Any exception (except `TimeoutError` from `recv`) means it is lost."""

    closed: bool

    def settimeout(self, timeout: float | None) -> None: ...

    def send(self, data: bytes, /) -> int: ...

    def recv(self, nbytes: int, /) -> bytes: ...

    def close(self) -> None: ...


@dataclass(slots=True)
class Pulse:
    """What the sessions of one connection share about its server.

    `heard_at` is when it last sent anything (`time.monotonic`); `busy_for` names the sessions for which it writes to
    its disk or reads from it, which may keep it from answering any session.
    """

    heard_at: float
    busy_for: set[int] = field(default_factory=set)


def _note_nothing() -> None:
    """For callers that send little and only need to know whether all of it arrived."""


@dataclass(frozen=True, slots=True)
class _Read:
    """A READ that has been posted."""

    offset: int
    length: int
    number: int


class SftpSession:
    """One SFTP session. For one thread at a time.

    `post` only queues a request; it is sent when an answer is awaited, or when enough have gathered.

    `due_at` (`time.monotonic`) is the deadline for a transfer's next `IN_FLIGHT_BYTES`. The pool that lent the session
    must end the connection then: on a trickling line, sending has no time limit.
    """

    def __init__(self, channel: Channel, pulse: Pulse, silence_seconds: float, deadline_seconds: float) -> None:
        """Greet the server. Any answer may take `deadline_seconds`, while the whole connection may be silent for at
        most `silence_seconds`. Raises `SessionLost`.
        """
        self._channel = channel
        self._pulse = pulse
        self._silence_seconds = silence_seconds
        self._deadline_seconds = deadline_seconds
        self._outgoing: list[bytes] = []
        self._outgoing_bytes = 0
        self._incoming = bytearray()
        self._last_number = 0
        self._unanswered: set[int] = set()
        self._answers: dict[int, Answer] = {}
        self._broken = False
        self._printed_bytes = 0
        self.due_at = math.inf
        self.extensions = self._greet()
        self.read_size_bytes, self.write_size_bytes = self._transfer_sizes()

    @property
    def in_step(self) -> bool:
        """Whether requests can still be sent."""
        return not (self._broken or self._channel.closed)

    @property
    def reusable(self) -> bool:
        """Whether the session may be used again: nothing partly sent, no answer outstanding."""
        return self.in_step and not (self._outgoing or self._unanswered)

    def post(self, packet_type: PacketType, body: bytes, content: bytes = b"") -> int:
        """Queue a request, and return the number that identifies its answer. `content` ends its body, and is not
        copied before it is sent.
        """
        self._last_number = (self._last_number + 1) & 0xFFFFFFFF
        self._unanswered.add(self._last_number)
        header = struct.pack(">IBI", len(body) + len(content) + 5, packet_type, self._last_number)
        self._enqueue(header + body, content)
        return self._last_number

    def extended(self, name: bytes, body: bytes) -> int:
        """As `post`, for an extension."""
        return self.post(PacketType.EXTENDED, string(name) + body)

    def answer(self, number: int, *, patient: bool = False) -> Answer:
        """The answer to a request; `patient` if the request may keep the server's disk busy: then only the deadline
        applies to all sessions of this connection. Raises `SessionLost`.
        """
        self._flush()
        if number in self._unanswered:
            if patient:
                self._pulse.busy_for.add(id(self))
            try:
                since = time.monotonic()
                while number in self._unanswered:
                    self._receive(since)
            finally:
                self._pulse.busy_for.discard(id(self))
        return self._answers.pop(number)

    def ask(self, packet_type: PacketType, body: bytes) -> Answer:
        """Send one request, and return its answer."""
        return self.answer(self.post(packet_type, body))

    def write_file(
        self,
        handle: bytes,
        chunks: Iterable[bytes],
        offset: int = 0,
        acknowledged: Callable[[], None] = _note_nothing,
    ) -> Sequence[int]:
        """Post a file's bytes from `offset` on, no chunk larger than `write_size_bytes`, waiting only when enough is in
        flight. `acknowledged` is called for each chunk that the server has, in order.

        Returns the numbers of the writes whose answers are still to be checked. Raises `StatusError`, `SessionLost`,
        and exceptions of the chunks.
        """
        window = max(1, IN_FLIGHT_BYTES // self.write_size_bytes)
        unconfirmed: deque[int] = deque()
        for number, chunk in enumerate(self._unhurried(chunks)):
            if number % window == 0:
                self._require_progress()
            if len(unconfirmed) == window:
                self.answer(unconfirmed.popleft(), patient=True).require_ok()
                acknowledged()
            body = string(handle) + struct.pack(">QI", offset, len(chunk))
            unconfirmed.append(self.post(PacketType.WRITE, body, chunk))
            offset += len(chunk)
        self._require_progress()
        return unconfirmed

    def read_file(self, handle: bytes, expected_bytes: int, position: int = 0) -> Iterator[bytes]:
        """Yield a file's bytes from a position to its end, reading ahead up to its expected size.

        Raises `StatusError`, `SessionLost`.
        """
        window = max(2, IN_FLIGHT_BYTES // self.read_size_bytes)
        asked: deque[_Read] = deque()
        self._require_progress()
        received_bytes = 0
        while True:
            while len(asked) < window and (position <= expected_bytes or not asked):
                length = min(self.read_size_bytes, expected_bytes - position)
                asked.append(self._post_read(handle, position, length if length > 0 else self.read_size_bytes))
                position += asked[-1].length
            read = asked.popleft()
            content = self.answer(read.number, patient=True).data()
            if not content:
                return
            received_bytes += len(content)
            if received_bytes >= IN_FLIGHT_BYTES:
                self._require_progress()
                received_bytes = 0
            with self._time_stopped():
                yield content
            if len(content) < read.length:
                asked.appendleft(self._post_read(handle, read.offset + len(content), read.length - len(content)))

    def settle(self) -> None:
        """Wait for all outstanding answers, and discard them."""
        for number in sorted(self._unanswered):
            self.answer(number, patient=True)
        self._answers.clear()

    def close(self) -> None:
        """End the session."""
        with contextlib.suppress(SessionLost), self._in_step():
            self._channel.close()

    def _require_progress(self) -> None:
        self.due_at = time.monotonic() + self._deadline_seconds

    @contextlib.contextmanager
    def _time_stopped(self) -> Iterator[None]:
        """Do not count the caller's own time against the server."""
        seconds_left, self.due_at = self.due_at - time.monotonic(), math.inf
        try:
            yield
        finally:
            self.due_at = time.monotonic() + seconds_left

    def _unhurried(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The same chunks, without counting the time to produce them, such as waits for a bandwidth limit."""
        iterator = iter(chunks)
        while True:
            with self._time_stopped():
                chunk = next(iterator, None)
            if chunk is None:
                return
            yield chunk

    def _post_read(self, handle: bytes, offset: int, length: int) -> _Read:
        number = self.post(PacketType.READ, string(handle) + struct.pack(">QI", offset, length))
        return _Read(offset, length, number)

    def _greet(self) -> dict[bytes, bytes]:
        self._enqueue(struct.pack(">IBI", 5, PacketType.INIT, 3))
        try:
            self._flush()
        except SessionLost:
            if not self._channel.closed:
                raise  # else the account's shell has ended already, and what it printed can still be read
        now = time.monotonic()
        while (packet := self._first_packet()) is None:
            self._receive_bytes(now)
        if packet[0] != PacketType.VERSION:
            raise SessionLost("el servidor no habla SFTP")
        reader = PacketReader(packet[1:])
        reader.number()
        extensions = {}
        while not reader.exhausted:
            name = reader.string()
            extensions[name] = reader.string()
        return extensions

    def _transfer_sizes(self) -> tuple[int, int]:
        """How much one READ and one WRITE may carry."""
        if LIMITS not in self.extensions:
            return SAFE_TRANSFER_BYTES, SAFE_TRANSFER_BYTES
        try:
            _packet, read, write = self.answer(self.extended(LIMITS, b"")).numbers(3)
        except StatusError:
            return SAFE_TRANSFER_BYTES, SAFE_TRANSFER_BYTES
        return (
            min(read or SAFE_TRANSFER_BYTES, MAXIMUM_TRANSFER_BYTES),
            min(write or SAFE_TRANSFER_BYTES, MAXIMUM_TRANSFER_BYTES),
        )

    def _enqueue(self, packet: bytes, content: bytes = b"") -> None:
        self._outgoing += (packet, content)
        self._outgoing_bytes += len(packet) + len(content)
        if self._outgoing_bytes >= SEND_AT_BYTES:
            self._flush()

    def _flush(self) -> None:
        if not self._outgoing:
            return
        remaining = memoryview(b"".join(self._outgoing))
        self._outgoing.clear()
        self._outgoing_bytes = 0
        with self._in_step():
            self._channel.settimeout(self._deadline_seconds)
            while remaining:
                sent_bytes = self._channel.send(bytes(remaining[:CHANNEL_PACKET_BYTES]))
                if not sent_bytes:
                    raise SessionLost("el servidor cerró la conexión")
                remaining = remaining[sent_bytes:]

    def _receive(self, since: float) -> None:
        """Process arrived packets, waiting for the first one."""
        self._receive_bytes(since)
        with self._in_step():
            while (packet := self._next_packet()) is not None:
                reader = PacketReader(packet)
                packet_type, number = reader.number(">B"), reader.number()
                if number not in self._unanswered:
                    raise SessionLost("el servidor respondió a lo que no se preguntó")
                self._unanswered.remove(number)
                self._answers[number] = Answer(packet_type, packet[5:])

    def _first_packet(self) -> bytes | None:
        """As `_next_packet`, skipping text that a login shell printed (from `.bashrc`, say) before SFTP began.

        That is text, and a packet begins with a zero: its length is less than 16 MiB.
        """
        printed = bytes(self._incoming).find(b"\0")
        printed_bytes = len(self._incoming) if printed < 0 else printed
        self._printed_bytes += printed_bytes
        if self._printed_bytes > LONGEST_PRINTED_BYTES:
            raise SessionLost("el servidor envió algo que no es SFTP")
        del self._incoming[:printed_bytes]
        return self._next_packet()

    def _next_packet(self) -> bytes | None:
        """A packet without its length, if a whole one has arrived."""
        if len(self._incoming) < 4:
            return None
        length = int.from_bytes(self._incoming[:4], "big")
        if not 1 <= length <= LARGEST_PACKET_BYTES:
            raise SessionLost("el servidor envió algo que no es SFTP")
        if len(self._incoming) < 4 + length:
            return None
        packet = bytes(self._incoming[4 : 4 + length])
        del self._incoming[: 4 + length]
        return packet

    def _receive_bytes(self, since: float) -> None:
        with self._in_step():
            content = self._wait_for_bytes(since)
            if not content:
                shell = "; la shell de la cuenta escribió un texto y terminó" if self._printed_bytes else ""
                raise SessionLost(f"el servidor cerró la conexión{shell}")
            self._pulse.heard_at = time.monotonic()
            self._incoming += content

    def _wait_for_bytes(self, since: float) -> bytes:
        while (patience_seconds := self._patience_ends(since) - time.monotonic()) > 0:
            self._channel.settimeout(patience_seconds)
            with contextlib.suppress(TimeoutError):
                return self._channel.recv(RECEIVE_BYTES)
        raise SessionLost("el servidor dejó de responder")

    def _patience_ends(self, since: float) -> float:
        deadline = since + self._deadline_seconds
        if self._pulse.busy_for:
            return deadline
        return min(deadline, max(since, self._pulse.heard_at) + self._silence_seconds)

    @contextlib.contextmanager
    def _in_step(self) -> Iterator[None]:
        """Any interruption of sending or receiving makes the session unusable; any exception of the channel ends it."""
        self._broken = True
        try:
            yield
        except Exception as error:
            if time.monotonic() >= self.due_at:
                raise TransferTooSlow("la transferencia apenas avanza") from error
            raise error if isinstance(error, SessionLost) else SessionLost("se perdió la conexión") from error
        self._broken = False
