"""The SFTP protocol, version 3, over one channel: requests in bursts, every answer looked at, names as raw bytes.

paramiko's own client cannot list names that are no UTF-8, hides what the server answers to CLOSE, does not tell which
extensions the server has, and waits for every answer in turn; over a slow line the turns are what costs.
Sources: draft-ietf-secsh-filexfer-02 (its section 6.1 obliges the server to do the requests that concern one file in
the order in which they arrive), and the file PROTOCOL of OpenSSH for the extensions.
"""

from __future__ import annotations

import contextlib
import enum
import math
import struct
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

FSYNC = b"fsync@openssh.com"
POSIX_RENAME = b"posix-rename@openssh.com"
LIMITS = b"limits@openssh.com"
STATVFS = b"statvfs@openssh.com"

READ_FLAGS = 0x01
CREATE_FLAGS = 0x02 | 0x08 | 0x20
"""WRITE, CREAT and EXCL: a new file, never one that is there, never through a link."""

CREATE_AGAIN_FLAGS = 0x02 | 0x08
"""WRITE and CREAT: for a file that was asked for before, and may be there."""

RESUME_FLAGS = 0x02
"""WRITE alone: a file that is there, as it is, and never a new one."""

SAFE_TRANSFER_BYTES = 32 * 1024
"""What every server must be able to read or write in one request."""

MAXIMUM_TRANSFER_BYTES = 255 * 1024
"""OpenSSH's limit; only used where the server says that it has none lower."""

IN_FLIGHT_BYTES = 2 * 1024 * 1024
"""How much may be on its way in one session: an SSH channel's usual window, so more would only wait."""

CHANNEL_PACKET_BYTES = 32 * 1024
"""The most that OpenSSH takes in one packet of a channel. It is handed to paramiko as `bytes`: for any other buffer two
exceptions are raised and caught inside it for every packet.
"""

SEND_AT_BYTES = 32 * 1024
"""Requests are gathered into one SSH packet, up to about its usual size."""

RECEIVE_BYTES = 256 * 1024
LARGEST_PACKET_BYTES = 16 * 1024 * 1024
LONGEST_PRINTED_BYTES = 64 * 1024


class PacketType(enum.IntEnum):
    """The packet types that are used here."""

    INIT = 1
    VERSION = 2
    OPEN = 3
    CLOSE = 4
    READ = 5
    WRITE = 6
    LSTAT = 7
    OPENDIR = 11
    READDIR = 12
    REMOVE = 13
    MKDIR = 14
    RMDIR = 15
    REALPATH = 16
    STAT = 17
    RENAME = 18
    STATUS = 101
    HANDLE = 102
    DATA = 103
    NAME = 104
    ATTRIBUTES = 105
    EXTENDED = 200
    EXTENDED_REPLY = 201


class StatusCode(enum.IntEnum):
    """The status codes that are told apart here; those above 8 belong to later versions, and some servers use them."""

    OK = 0
    EOF = 1
    NO_SUCH_FILE = 2
    PERMISSION_DENIED = 3
    FAILURE = 4
    BAD_MESSAGE = 5
    NO_CONNECTION = 6
    CONNECTION_LOST = 7
    UNSUPPORTED = 8
    WRITE_PROTECT = 12
    NO_SPACE = 14
    QUOTA_EXCEEDED = 15
    NOT_A_DIRECTORY = 19
    INVALID_NAME = 20


class StatusError(Exception):
    """The server refused a request."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message


class SessionLost(Exception):
    """The connection ended, went silent, or carried something that is no SFTP."""


class TransferTooSlow(SessionLost):
    """The connection carries so little that it is as good as none: another one would not be better."""


class Channel(Protocol):
    """What is needed of an SSH channel. What these raise (but `TimeoutError` by `recv`) means that it is lost."""

    closed: bool

    def settimeout(self, timeout: float | None) -> None: ...

    def send(self, data: bytes, /) -> int: ...

    def recv(self, nbytes: int, /) -> bytes: ...

    def close(self) -> None: ...


@dataclass(slots=True)
class Pulse:
    """What the sessions of one connection know together of its server.

    `heard_at` is when it was last heard (`time.monotonic`); `busy_for` names the sessions for which it is writing to
    its disk or reading from it, which may well keep it from answering anybody.
    """

    heard_at: float
    busy_for: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a server says of a file; `None` where it does not say."""

    size_bytes: int | None
    mode: int | None
    mtime: int | None


@dataclass(frozen=True, slots=True)
class DirectoryEntry:
    """One name in a directory, and the attributes of what bears it, links not followed."""

    name: bytes
    attributes: Attributes


def string(content: bytes) -> bytes:
    """Encode bytes with their length before them."""
    return struct.pack(">I", len(content)) + content


def _note_nothing() -> None:
    """For callers that send little and need to know only whether all of it has arrived."""


class _Reader:
    """Takes a packet apart. Raises `SessionLost` where it is too short."""

    def __init__(self, packet: bytes) -> None:
        self._packet = packet
        self._position = 0

    def number(self, layout: str = ">I") -> int:
        (number,) = struct.unpack(layout, self._take(struct.calcsize(layout)))
        return int(number)

    def string(self) -> bytes:
        return self._take(self.number())

    def attributes(self) -> Attributes:
        flags = self.number()
        size_bytes = self.number(">Q") if flags & 0x01 else None
        if flags & 0x02:
            self.number(">Q")  # owner and group
        mode = self.number() if flags & 0x04 else None
        mtime = self.number(">Q") & 0xFFFFFFFF if flags & 0x08 else None  # after the time of access
        if flags & 0x80000000:
            for _ in range(self.number()):
                self.string()
                self.string()
        return Attributes(size_bytes, mode, mtime)

    @property
    def exhausted(self) -> bool:
        return self._position >= len(self._packet)

    def _take(self, length: int) -> bytes:
        content = self._packet[self._position : self._position + length]
        if len(content) != length:
            raise SessionLost("el servidor envió un paquete SFTP incompleto")
        self._position += length
        return content


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, not yet looked at."""

    packet_type: int
    body: bytes

    def require_ok(self) -> None:
        """Raises `StatusError` unless the request was done."""
        if self.packet_type != PacketType.STATUS:
            raise SessionLost(f"respuesta SFTP inesperada ({self.packet_type})")
        reader = _Reader(self.body)
        code = reader.number()
        if code != StatusCode.OK:
            raise StatusError(code, "" if reader.exhausted else reader.string().decode("utf-8", "replace"))

    def reader(self, expected: PacketType) -> _Reader:
        """The body, of a packet of the expected type. Raises `StatusError`."""
        if self.packet_type != expected:
            self.require_ok()
            raise SessionLost(f"respuesta SFTP inesperada ({self.packet_type})")
        return _Reader(self.body)

    def handle(self) -> bytes:
        """The handle of what was opened. Raises `StatusError`."""
        return self.reader(PacketType.HANDLE).string()

    def attributes(self) -> Attributes:
        """The attributes asked for. Raises `StatusError`."""
        return self.reader(PacketType.ATTRIBUTES).attributes()

    def numbers(self, count: int) -> Sequence[int]:
        """The first 64-bit numbers of an extension's reply. Raises `StatusError`."""
        reader = self.reader(PacketType.EXTENDED_REPLY)
        return [reader.number(">Q") for _ in range(count)]

    def data(self) -> bytes:
        """What was read, empty at the end of the file. Raises `StatusError`."""
        try:
            return self.reader(PacketType.DATA).string()
        except StatusError as error:
            if error.code != StatusCode.EOF:
                raise
            return b""

    def names(self) -> Sequence[DirectoryEntry]:
        """The next names of a directory, none at its end. Raises `StatusError`."""
        try:
            reader = self.reader(PacketType.NAME)
        except StatusError as error:
            if error.code != StatusCode.EOF:
                raise
            return ()
        return [_directory_entry(reader) for _ in range(reader.number())]


def _directory_entry(reader: _Reader) -> DirectoryEntry:
    name = reader.string()
    reader.string()  # the line that `ls -l` would show
    return DirectoryEntry(name, reader.attributes())


@dataclass(frozen=True, slots=True)
class _Read:
    """A READ that has been posted."""

    offset: int
    length: int
    number: int


class SftpSession:
    """One SFTP session. For one thread at a time.

    `post` only notes a request down; it is sent when an answer is waited for, or when enough has gathered.

    `due_at` (`time.monotonic`) is until when a transfer must have got on by `IN_FLIGHT_BYTES`. Whoever lent the session
    has to end the connection then: on a line that only trickles, sending takes as long as it likes.
    """

    def __init__(self, channel: Channel, pulse: Pulse, silence_seconds: float, deadline_seconds: float) -> None:
        """Greet the server. Any answer may take `deadline_seconds`, during which the connection as a whole may be
        silent for `silence_seconds`. Raises `SessionLost`.
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
        """Whether somebody else may use the session: nothing half sent, no answer outstanding."""
        return self.in_step and not (self._outgoing or self._unanswered)

    def post(self, packet_type: PacketType, body: bytes, content: bytes = b"") -> int:
        """Note a request down, and give the number under which to wait for its answer. `content` ends its body, and is
        not copied before it is sent.
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
        """The answer to a request; `patient` for what may keep the server's disk busy: then, for all sessions of this
        connection, only the deadline counts. Raises `SessionLost`.
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
        """Send one request, and give its answer."""
        return self.answer(self.post(packet_type, body))

    def write_file(
        self,
        handle: bytes,
        chunks: Iterable[bytes],
        offset: int = 0,
        acknowledged: Callable[[], None] = _note_nothing,
    ) -> Sequence[int]:
        """Post a file's bytes from `offset` on, no chunk larger than `write_size_bytes`, waiting only when enough is on
        its way. `acknowledged` is called for each chunk that the server has, in order.

        Gives the numbers of the writes whose answers are still to be looked at. Raises `StatusError`, `SessionLost`,
        and what the chunks raise.
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
        """Yield a file's bytes from a position to its end, asking ahead as far as it is expected to go.

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
        """Wait for whatever is still unanswered, and forget the answers."""
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
        """What whoever reads or writes does meanwhile is no fault of the server's."""
        seconds_left, self.due_at = self.due_at - time.monotonic(), math.inf
        try:
            yield
        finally:
            self.due_at = time.monotonic() + seconds_left

    def _unhurried(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The same chunks: however long it takes to come by each, of a bandwidth that is kept low, say."""
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
        self._flush()
        now = time.monotonic()
        while (packet := self._first_packet()) is None:
            self._receive_bytes(now)
        if packet[0] != PacketType.VERSION:
            raise SessionLost("el servidor no habla SFTP")
        reader = _Reader(packet[1:])
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
        """Take in what has arrived, waiting for the first of it."""
        self._receive_bytes(since)
        with self._in_step():
            while (packet := self._next_packet()) is not None:
                reader = _Reader(packet)
                packet_type, number = reader.number(">B"), reader.number()
                if number not in self._unanswered:
                    raise SessionLost("el servidor respondió a lo que no se preguntó")
                self._unanswered.remove(number)
                self._answers[number] = Answer(packet_type, packet[5:])

    def _first_packet(self) -> bytes | None:
        """As `_next_packet`, after what a login shell has printed (in `.bashrc`, say) before SFTP began.

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
        """A packet without its length, if a whole one is there."""
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
        """Whatever interrupts sending or receiving leaves the session unusable; whatever the channel raises ends it."""
        self._broken = True
        try:
            yield
        except Exception as error:
            if time.monotonic() >= self.due_at:
                raise TransferTooSlow("la transferencia apenas avanza") from error
            raise error if isinstance(error, SessionLost) else SessionLost("se perdió la conexión") from error
        self._broken = False
