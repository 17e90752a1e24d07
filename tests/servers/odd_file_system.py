"""A file system as a restore may meet it: one that folds names, or keeps no modes, times or links.

A server of the kernel's own FUSE protocol, in memory, in a process of its own. What the kernel does on its way to such
a file system (looking up before it creates, `O_EXCL`, caching) is real; the rules are those of vfat, exFAT, HFS+ and
ext4 with casefold, none of which every kernel has. What it cannot show: their own error codes for rarer cases, and a
file system that changes a name later. Only root can mount it.

python -m tests.servers.odd_file_system DIRECTORY RULES
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import errno
import itertools
import json
import os
import stat
import struct
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.repository import REPOSITORY

HEADER_IN = struct.Struct("<IIQQIIII")
HEADER_OUT = struct.Struct("<IiQ")
ATTRIBUTES = struct.Struct("<6Q10I")
ENTRY = struct.Struct("<4Q2I")
SET_ATTRIBUTES = struct.Struct("<II6QIIIIIIII")
READ = struct.Struct("<QQIIQII")
INIT_OUT = struct.Struct("<4I2H2I2H8I")
STATFS_OUT = struct.Struct("<5Q4I6I")
"""Source: linux/fuse.h, version 7.31."""

BIG_WRITES = 1 << 5
LARGEST_WRITE_BYTES = 128 * 1024
SET_MODE, SET_SIZE, SET_MTIME, SET_MTIME_NOW = 1, 8, 32, 256
FORGET, BATCH_FORGET, INTERRUPT = 2, 42, 36
WITHOUT_ANSWER = (FORGET, BATCH_FORGET, INTERRUPT)
ROOT = 1


@dataclass(frozen=True)
class Rules:
    """What is odd about it. Without any of them it is an ordinary file system."""

    folds_case: bool = False
    composes: bool = False
    drops_final_dots: bool = False
    refused_characters: str = ""
    modes: str = "kept"  # or "refused", or "ignored"
    times: str = "kept"
    has_links: bool = True
    syncs_directories: bool = True
    room_bytes: int = 2**40
    full: int = errno.ENOSPC

    def key(self, name: str) -> str:
        """What names must have in common to be one."""
        kept = unicodedata.normalize("NFC", name) if self.composes or self.folds_case else name
        return self.stored(kept).casefold() if self.folds_case else self.stored(kept)

    def stored(self, name: str) -> str:
        """How a new name is listed."""
        listed = unicodedata.normalize("NFC", name) if self.composes else name
        return listed.rstrip(". ") if self.drops_final_dots else listed


@dataclass
class Node:
    """A file, directory or link."""

    number: int
    mode: int
    uid: int = 0
    content: bytearray = field(default_factory=bytearray)
    mtime_ns: int = 0
    children: dict[str, tuple[str, Node]] = field(default_factory=dict)


class Refused(Exception):
    """The error of an answer."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class OddFileSystem:
    """Answers the kernel's requests."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._numbers = itertools.count(ROOT)
        self._nodes: dict[int, Node] = {}
        self._new(stat.S_IFDIR | 0o777, 0)
        self._answers: dict[int, Callable[[Node, int, bytes], bytes]] = {
            1: lambda node, _uid, body: self._entry(self._child(node, body)),
            3: lambda node, _uid, _body: self._attributes_out(node),
            4: self._set_attributes,
            5: lambda node, _uid, _body: bytes(node.content),
            6: self._symlink,
            9: lambda node, uid, body: self._entry(
                self._make(node, body[8:], stat.S_IFDIR | _u32(body, 0) & 0o777, uid)
            ),
            10: self._remove,
            11: self._remove,
            14: lambda _node, _uid, _body: bytes(16),
            15: self._read,
            16: self._write,
            17: lambda _node, _uid, _body: STATFS_OUT.pack(1000, 1000, 1000, 1000, 1000, 4096, 255, 4096, *[0] * 7),
            18: _nothing,
            20: _nothing,
            25: _nothing,
            26: self._init,
            27: lambda _node, _uid, _body: bytes(16),
            28: self._list,
            29: _nothing,
            30: self._sync_directory,
            34: _nothing,
            35: self._create,
        }

    def serve(self, device: int) -> None:
        """Until it is unmounted."""
        while True:
            try:
                request = os.read(device, LARGEST_WRITE_BYTES + 4096)
            except OSError as error:
                if error.errno == errno.ENODEV:
                    return
                if error.errno in (errno.EINTR, errno.ENOENT):
                    continue
                raise
            _length, operation, unique, node, uid, _gid, _pid, _extra = HEADER_IN.unpack_from(request)
            if operation not in WITHOUT_ANSWER:
                self._answer(device, operation, unique, self._nodes.get(node), uid, request[HEADER_IN.size :])

    def _answer(self, device: int, operation: int, unique: int, node: Node | None, uid: int, body: bytes) -> None:
        code, content = 0, b""
        try:
            handler = self._answers.get(operation)
            if handler is None:
                raise Refused(errno.ENOSYS)
            content = handler(node or self._nodes[ROOT], uid, body)
        except Refused as refused:
            code = refused.code
        with contextlib.suppress(FileNotFoundError):  # the caller is gone
            os.write(device, HEADER_OUT.pack(HEADER_OUT.size + len(content), -code, unique) + content)

    def _new(self, mode: int, uid: int) -> Node:
        node = Node(next(self._numbers), mode, uid)
        self._nodes[node.number] = node
        return node

    @staticmethod
    def _init(_node: Node, _uid: int, _body: bytes) -> bytes:
        return INIT_OUT.pack(7, 31, 65536, BIG_WRITES, 12, 9, LARGEST_WRITE_BYTES, 1, 0, 0, *[0] * 8)

    def _child(self, node: Node, name: bytes) -> Node:
        found = node.children.get(self._rules.key(_text(name)))
        if found is None:
            raise Refused(errno.ENOENT)
        return found[1]

    def _make(self, parent: Node, name: bytes, mode: int, uid: int) -> Node:
        text = _text(name)
        if not self._rules.stored(text) or any(character in text for character in self._rules.refused_characters):
            raise Refused(errno.EINVAL)
        if self._rules.key(text) in parent.children:
            raise Refused(errno.EEXIST)
        node = self._new(mode if self._rules.modes == "kept" else stat.S_IFMT(mode) | 0o755, uid)
        parent.children[self._rules.key(text)] = (self._rules.stored(text), node)
        return node

    def _make_directory(self, node: Node, uid: int, body: bytes) -> bytes:
        return self._entry(self._make(node, body[8:], stat.S_IFDIR | _u32(body, 0) & 0o777, uid))

    def _create(self, node: Node, uid: int, body: bytes) -> bytes:
        return self._entry(self._make(node, body[16:], stat.S_IFREG | _u32(body, 4) & 0o777, uid)) + bytes(16)

    def _symlink(self, node: Node, uid: int, body: bytes) -> bytes:
        if not self._rules.has_links:
            raise Refused(errno.EPERM)
        name, target, _ = body.split(b"\0", 2)
        link = self._make(node, name, stat.S_IFLNK | 0o777, uid)
        link.content[:] = target
        return self._entry(link)

    def _remove(self, node: Node, _uid: int, body: bytes) -> bytes:
        if self._child(node, body).children:
            raise Refused(errno.ENOTEMPTY)
        del node.children[self._rules.key(_text(body))]
        return b""

    def _read(self, node: Node, _uid: int, body: bytes) -> bytes:
        _, offset, size, *_ = READ.unpack_from(body)
        return bytes(node.content[offset : offset + size])

    def _write(self, node: Node, _uid: int, body: bytes) -> bytes:
        _, offset, size, *_ = READ.unpack_from(body)
        self._resize(node, max(len(node.content), offset + size))
        node.content[offset : offset + size] = body[READ.size : READ.size + size]
        return struct.pack("<II", size, 0)

    def _resize(self, node: Node, size: int) -> None:
        used = sum(len(other.content) for other in self._nodes.values() if other is not node)
        if used + size > self._rules.room_bytes:
            raise Refused(self._rules.full)
        del node.content[size:]
        node.content.extend(bytes(size - len(node.content)))

    def _set_attributes(self, node: Node, _uid: int, body: bytes) -> bytes:
        valid, _, _, size, _, _, mtime, _, _, mtime_ns, _, mode, *_ = SET_ATTRIBUTES.unpack_from(body)
        if (valid & SET_MODE and self._rules.modes == "refused") or (
            valid & SET_MTIME and not valid & SET_MTIME_NOW and self._rules.times == "refused"
        ):
            raise Refused(errno.EPERM)
        if valid & SET_MODE and self._rules.modes == "kept":
            node.mode = stat.S_IFMT(node.mode) | stat.S_IMODE(mode)
        if valid & SET_MTIME and self._rules.times == "kept":
            node.mtime_ns = mtime * 10**9 + mtime_ns
        if valid & SET_SIZE:
            self._resize(node, size)
        return self._attributes_out(node)

    def _list(self, node: Node, _uid: int, body: bytes) -> bytes:
        _, offset, size, *_ = READ.unpack_from(body)
        listed = b""
        for number, (name, child) in enumerate(list(node.children.values())[offset:], start=offset + 1):
            raw = os.fsencode(name)
            item = struct.pack("<QQII", child.number, number, len(raw), stat.S_IFMT(child.mode) >> 12) + raw
            item += bytes(-len(item) % 8)
            if len(listed) + len(item) > size:
                break
            listed += item
        return listed

    def _sync_directory(self, _node: Node, _uid: int, _body: bytes) -> bytes:
        if not self._rules.syncs_directories:
            raise Refused(errno.EINVAL)
        return b""

    def _entry(self, node: Node) -> bytes:
        return ENTRY.pack(node.number, 0, 0, 0, 0, 0) + _attributes(node)

    def _attributes_out(self, node: Node) -> bytes:
        return struct.pack("<QII", 0, 0, 0) + _attributes(node)


def _nothing(_node: Node, _uid: int, _body: bytes) -> bytes:
    return b""


def _attributes(node: Node) -> bytes:
    seconds, nanoseconds = divmod(node.mtime_ns, 10**9)
    size = len(node.content)
    times = (seconds, seconds, seconds, nanoseconds, nanoseconds, nanoseconds)
    return ATTRIBUTES.pack(node.number, size, -(-size // 512), *times, node.mode, 1, node.uid, 0, 0, 4096, 0)


def _text(name: bytes) -> str:
    return os.fsdecode(name.partition(b"\0")[0])


def _u32(body: bytes, offset: int) -> int:
    return int.from_bytes(body[offset : offset + 4], "little")


@contextlib.contextmanager
def mounted_odd_file_system(directory: Path, rules: Rules) -> Iterator[None]:
    """Mount one over an empty directory, or skip the test where that is not allowed."""
    if os.geteuid() != 0 or not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("only root can mount a file system of its own, where there is /dev/fuse")
    written = json.dumps(dataclasses.asdict(rules))
    command = [sys.executable, "-m", "tests.servers.odd_file_system", str(directory), written]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        if server.stdout.readline() != b"mounted\n":
            pytest.skip("this machine does not let a file system be mounted")
        try:
            yield
        finally:
            subprocess.run(["umount", "--lazy", str(directory)], check=True, timeout=30)
            server.wait(30)


def _mount(directory: str, device: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
    if library.mount(b"janitor-test", os.fsencode(directory), b"fuse", 0, options) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), directory)


def main() -> None:
    """Mount and serve."""
    directory, rules = sys.argv[1:]
    device = os.open("/dev/fuse", os.O_RDWR)
    _mount(directory, device)
    print("mounted", flush=True)  # noqa: T201 the answer
    OddFileSystem(Rules(**json.loads(rules))).serve(device)


if __name__ == "__main__":
    main()
