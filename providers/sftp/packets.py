"""What the packets of SFTP, version 3, hold: their types and codes, and how an answer is read. Names are raw bytes.

Sources: draft-ietf-secsh-filexfer-02, and OpenSSH's file PROTOCOL for the extensions.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Sequence
from dataclasses import dataclass

FSYNC = b"fsync@openssh.com"
POSIX_RENAME = b"posix-rename@openssh.com"
LIMITS = b"limits@openssh.com"
STATVFS = b"statvfs@openssh.com"

READ_FLAGS = 0x01
CREATE_FLAGS = 0x02 | 0x08 | 0x20
"""WRITE, CREAT and EXCL: a new file, never an existing one, never through a link."""

CREATE_AGAIN_FLAGS = 0x02 | 0x08
"""WRITE and CREAT: for a file that was requested before, and may exist."""

RESUME_FLAGS = 0x02
"""WRITE alone: an existing file, not truncated, and never a new one."""


class PacketType(enum.IntEnum):
    """The packet types used here."""

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
    """The status codes distinguished here; those above 8 belong to later versions, but some servers use them."""

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
    """The connection ended, went silent, or carried data that is not SFTP."""


@dataclass(frozen=True, slots=True)
class Attributes:
    """A file's attributes as reported by the server; `None` for those not reported."""

    size_bytes: int | None
    mode: int | None
    mtime: int | None


@dataclass(frozen=True, slots=True)
class DirectoryEntry:
    """One name in a directory, and its attributes, without following links."""

    name: bytes
    attributes: Attributes


def string(content: bytes) -> bytes:
    """Encode bytes with their length before them."""
    return struct.pack(">I", len(content)) + content


class PacketReader:
    """Parses a packet. Raises `SessionLost` if it is too short."""

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
        mtime = self.number(">Q") & 0xFFFFFFFF if flags & 0x08 else None  # follows the access time
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
    """One answer, not yet parsed."""

    packet_type: int
    body: bytes

    def require_ok(self) -> None:
        """Raises `StatusError` unless the request was done."""
        if self.packet_type != PacketType.STATUS:
            raise SessionLost(f"respuesta SFTP inesperada ({self.packet_type})")
        reader = PacketReader(self.body)
        code = reader.number()
        if code != StatusCode.OK:
            raise StatusError(code, "" if reader.exhausted else reader.string().decode("utf-8", "replace"))

    def reader(self, expected: PacketType) -> PacketReader:
        """The body of a packet of the expected type. Raises `StatusError`."""
        if self.packet_type != expected:
            self.require_ok()
            raise SessionLost(f"respuesta SFTP inesperada ({self.packet_type})")
        return PacketReader(self.body)

    def handle(self) -> bytes:
        """The opened handle. Raises `StatusError`."""
        return self.reader(PacketType.HANDLE).string()

    def attributes(self) -> Attributes:
        """The requested attributes. Raises `StatusError`."""
        return self.reader(PacketType.ATTRIBUTES).attributes()

    def numbers(self, count: int) -> Sequence[int]:
        """The first 64-bit numbers of an extension's reply. Raises `StatusError`."""
        reader = self.reader(PacketType.EXTENDED_REPLY)
        return [reader.number(">Q") for _ in range(count)]

    def data(self) -> bytes:
        """The bytes read, empty at the end of the file. Raises `StatusError`."""
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


def _directory_entry(reader: PacketReader) -> DirectoryEntry:
    name = reader.string()
    reader.string()  # the line that `ls -l` would show
    return DirectoryEntry(name, reader.attributes())
