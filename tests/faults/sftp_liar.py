"""An SFTP server that does as told what no server should: OpenSSH's own, and in between somebody who knows each packet.

SSH is asyncssh's, in a thread of the tests; every session has an `sftp-server` of its own, which keeps the files. What
passes between is taken apart, and the faults decide of each request whether it is done and what is said of it.
Packets: draft-ietf-secsh-filexfer-02.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tests.servers.base import ServerUnavailable
from tests.servers.sftp.ssh import SftpServer

if TYPE_CHECKING:
    import asyncssh

EVERY_CALL = range(1, 1_000_000)

REQUESTS = {
    3: "OPEN", 4: "CLOSE", 5: "READ", 6: "WRITE", 7: "LSTAT", 11: "OPENDIR", 12: "READDIR", 13: "REMOVE",
    14: "MKDIR", 15: "RMDIR", 16: "REALPATH", 17: "STAT", 18: "RENAME",
}  # fmt: skip
EXTENSIONS = {
    b"fsync@openssh.com": "FSYNC",
    b"posix-rename@openssh.com": "RENAME",
    b"statvfs@openssh.com": "STATVFS",
    b"copy-data": "COPY",
    b"limits@openssh.com": "LIMITS",
}
ON_A_HANDLE = {"CLOSE", "READ", "WRITE", "READDIR", "FSYNC"}
INIT, VERSION, STATUS, HANDLE, NAME, ATTRIBUTES, EXTENDED = 1, 2, 101, 102, 104, 105, 200
OK, END, NO_SUCH_FILE, PERMISSION_DENIED, FAILURE, NO_SPACE, QUOTA_EXCEEDED = 0, 1, 2, 3, 4, 14, 15


def string(content: bytes) -> bytes:
    """Bytes with their length before them."""
    return struct.pack(">I", len(content)) + content


def take_string(body: bytes) -> tuple[bytes, bytes]:
    """The first string of a body, and what follows it."""
    end = 4 + int.from_bytes(body[:4], "big")
    return body[4:end], body[end:]


def status(code: int, text: str = "") -> tuple[int, bytes]:
    """The answer that says how something went."""
    return STATUS, struct.pack(">I", code) + string(text.encode()) + string(b"")


@dataclass
class Request:
    """One request, before the server has seen it."""

    session: _Session
    number: int
    packet_type: int
    kind: str
    paths: bytes
    body: bytes

    def forward(self, body: bytes | None = None, then: Callable[[int, bytes], None] | None = None) -> None:
        """Have the server do it, or something else; `then` gets the answer, which otherwise goes to the client."""
        self.session.ask(self, self.body if body is None else body, then or self.reply)

    def reply(self, packet_type: int, body: bytes) -> None:
        """Answer the client."""
        self.session.send(struct.pack(">BI", packet_type, self.number) + body)

    def cut(self) -> None:
        """End the connection, with all its sessions."""
        self.session.abort()


Effect = Callable[[Request], None]


@dataclass
class Fault:
    """What happens to certain requests: those of a kind (`*`: of any) whose path (or open file's path) a pattern
    matches, counted from one. `struck` tells how often.
    """

    kind: str
    effect: Effect
    path: bytes = b""
    calls: Container[int] = EVERY_CALL
    struck: int = 0
    _seen: int = field(default=0, repr=False)

    def meets(self, request: Request) -> bool:
        """Whether it is this request's turn."""
        if self.kind not in ("*", request.kind) or not re.search(self.path, request.paths):
            return False
        self._seen += 1
        if self._seen not in self.calls:
            return False
        self.struck += 1
        return True


def refuse(code: int, text: str = "") -> Effect:
    """Do nothing, and say why."""
    return lambda request: request.reply(*status(code, text))


def pretend(request: Request) -> None:
    """Do nothing, and say that it is done."""
    request.reply(*status(OK))


def complain(code: int, text: str = "") -> Effect:
    """Do it, and say that it went wrong."""
    return lambda request: request.forward(then=lambda _type, _body: request.reply(*status(code, text)))


def lose_answer(request: Request) -> None:
    """Do it, and end the connection instead of saying so."""
    request.forward(then=lambda _type, _body: request.cut())


def cut(request: Request) -> None:
    """End the connection instead of doing it."""
    request.cut()


def hang(_request: Request) -> None:
    """Never answer."""


def answer(packet_type: int, body: bytes) -> Effect:
    """Do nothing, and answer with this."""
    return lambda request: request.reply(packet_type, body)


def send_raw(content: bytes) -> Effect:
    """Do nothing, and send bytes that need not be a packet."""
    return lambda request: request.session.send_raw(content)


def answer_another_request(request: Request) -> None:
    """Do it, and say so of a request that nobody made."""
    request.forward(
        then=lambda packet_type, body: replace(request, number=request.number ^ 0x5A5A).reply(packet_type, body)
    )


def write_otherwise(change: Callable[[bytes], bytes]) -> Effect:
    """Write other bytes, and say that it is done."""

    def effect(request: Request) -> None:
        handle, rest = take_string(request.body)
        content, _ = take_string(rest[8:])
        request.forward(string(handle) + rest[:8] + string(change(content)))

    return effect


def say_size(change: Callable[[int], int]) -> Effect:
    """Say another size of a file than it has."""

    def effect(request: Request) -> None:
        def lie(packet_type: int, body: bytes) -> None:
            request.reply(packet_type, with_size(body, change) if packet_type == ATTRIBUTES else body)

        request.forward(then=lie)

    return effect


def with_size(attributes: bytes, change: Callable[[int], int]) -> bytes:
    """Attributes, which must tell the size, with another one."""
    assert attributes[3] & 1
    size_bytes = int.from_bytes(attributes[4:12], "big")
    return attributes[:4] + struct.pack(">Q", change(size_bytes)) + attributes[12:]


@dataclass(frozen=True)
class Listed:
    """One name of a listing."""

    name: bytes
    attributes: bytes


def list_otherwise(change: Callable[[list[Listed]], list[Listed]]) -> Effect:
    """Show other names in a directory than there are."""

    def effect(request: Request) -> None:
        def lie(packet_type: int, body: bytes) -> None:
            request.reply(packet_type, _names(change(_listed(body))) if packet_type == NAME else body)

        request.forward(then=lie)

    return effect


def _names(entries: Sequence[Listed]) -> bytes:
    packed = [string(entry.name) + string(b"") + entry.attributes for entry in entries]
    return struct.pack(">I", len(entries)) + b"".join(packed)


def _listed(body: bytes) -> list[Listed]:
    entries = []
    rest = body[4:]
    for _ in range(int.from_bytes(body[:4], "big")):
        name, rest = take_string(rest)
        _, rest = take_string(rest)
        length = _length_of_attributes(rest)
        entries.append(Listed(name, rest[:length]))
        rest = rest[length:]
    return entries


def _length_of_attributes(body: bytes) -> int:
    flags = int.from_bytes(body[:4], "big")
    assert flags < 16, "sftp-server sends no extended attributes"
    return 4 + sum(size for flag, size in ((1, 8), (2, 8), (4, 4), (8, 8)) if flags & flag)


RunCommand = Callable[[str, bytes], Awaitable[tuple[bytes, int]]]
"""Gets a command and its standard input; gives what it writes and its exit status."""


async def run_command(command: str, standard_input: bytes) -> tuple[bytes, int]:
    """Run it, as an account with a shell does."""
    process = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    output, _ = await process.communicate(standard_input)
    return output, process.returncode or 0


class LyingSftpServer(SftpServer):
    """Set `faults` for what goes wrong, `commands` for what commands do (`None`: there are none), `accepts_logins` for
    whether the password still does; `hidden_extensions` are not offered. `logins` counts those that were accepted.
    """

    name = "lying SFTP server"

    def __init__(self) -> None:
        super().__init__()
        self.password: str = secrets.token_urlsafe(24)
        self.faults: list[Fault] = []
        self.commands: RunCommand | None = None
        self.hidden_extensions: Container[bytes] = ()
        self.accepts_logins = True
        self.logins = 0
        self.refused_logins = 0
        self.commands_run = 0
        self.connections: list[asyncssh.SSHServerConnection] = []
        self.children: list[subprocess.Popen[bytes]] = []
        self.stand_ins: list[asyncio.Task[None]] = []
        self.program: str | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=self.name, daemon=True)
        self._acceptor: asyncssh.SSHAcceptor | None = None

    def command(self) -> Sequence[str]:
        """None: it runs in a thread."""
        raise NotImplementedError

    def start(self) -> None:
        path = f"{os.environ.get('PATH', '')}:/usr/lib/openssh:/usr/libexec/openssh:/usr/lib/ssh"
        program = shutil.which("sftp-server", path=path)
        if program is None and os.environ.get("CI"):
            raise ServerUnavailable("there is no sftp-server (Debian: apt-get install openssh-sftp-server)")
        self.program = program
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(timeout=30)

    def stop(self) -> None:
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(timeout=30)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout=30)
        self._loop.close()
        for child in self.children:
            child.kill()
            child.wait()
        super().stop()

    @contextlib.contextmanager
    def going_wrong(self, *faults: Fault) -> Iterator[None]:
        """Within, the faults are in force. Leaving it fails for those that did not strike."""
        self.faults = list(faults)
        try:
            yield
        finally:
            self.faults = []
        missed = [fault for fault in faults if not fault.struck]
        assert not missed, f"never happened: {missed}"

    async def _listen(self) -> None:
        import asyncssh

        self._acceptor = await asyncssh.listen(
            self.host,
            self.port,
            server_factory=lambda: _door_keeper(self),
            server_host_keys=[str(self.host_key_path)],
            authorized_client_keys=str(self.authorized_keys_path),
        )

    async def _end(self) -> None:
        if self._acceptor is not None:
            self._acceptor.close()
        for connection in self.connections:
            connection.abort()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.1)  # asyncio closes sockets in later rounds


def _door_keeper(server: LyingSftpServer) -> asyncssh.SSHServer:
    import asyncssh

    class DoorKeeper(asyncssh.SSHServer):
        _connection: asyncssh.SSHServerConnection

        def connection_made(self, connection: asyncssh.SSHServerConnection) -> None:
            self._connection = connection
            server.connections.append(connection)

        def password_auth_supported(self) -> bool:
            return True

        def validate_password(self, username: str, password: str) -> bool:
            accepted = server.accepts_logins and (username, password) == (server.username, server.password)
            server.logins += accepted
            server.refused_logins += not accepted
            return accepted

        def session_requested(self) -> tuple[asyncssh.SSHServerChannel[bytes], asyncssh.SSHServerSession[bytes]]:
            return self._connection.create_server_channel(encoding=None), _new_session(server, self._connection)

    return DoorKeeper()


def _new_session(server: LyingSftpServer, connection: asyncssh.SSHServerConnection) -> asyncssh.SSHServerSession[bytes]:
    import asyncssh

    class Session(_Session, asyncssh.SSHServerSession[bytes]):
        pass

    return Session(server, connection)


class _Session:
    """One channel: an SFTP session between the client and a server of its own, or a command."""

    def __init__(self, server: LyingSftpServer, connection: asyncssh.SSHServerConnection) -> None:
        self._server = server
        self._connection = connection
        self._channel: asyncssh.SSHServerChannel[bytes]
        self._command: str | None = None
        self._from_client: asyncio.Queue[bytes] = asyncio.Queue()
        self._to_server: asyncio.StreamWriter | None = None
        self._asked: dict[int, tuple[Request, Callable[[int, bytes], None]]] = {}
        self._paths_by_handle: dict[bytes, bytes] = {}
        self._task: asyncio.Task[None] | None = None
        self._ending = False

    # What asyncssh calls

    def connection_made(self, channel: asyncssh.SSHServerChannel[bytes]) -> None:
        """The channel is there."""
        self._channel = channel

    def subsystem_requested(self, subsystem: str) -> bool:
        """Whether there is such a thing."""
        return subsystem == "sftp"

    def exec_requested(self, command: str) -> bool:
        """Whether commands run."""
        self._command = command
        return self._server.commands is not None

    def session_started(self) -> None:
        """The client may begin."""
        self._task = asyncio.get_running_loop().create_task(self._serve() if self._command is None else self._run())

    def data_received(self, data: bytes, _datatype: object) -> None:
        """The client said something."""
        self._from_client.put_nowait(data)

    def eof_received(self) -> bool:
        """The client has said all."""
        self._from_client.put_nowait(b"")
        return True

    def connection_lost(self, _error: Exception | None) -> None:
        """The channel is gone: the server finishes what it has been asked."""
        if self._to_server is not None:
            self._to_server.close()
        if self._task is not None:
            self._task.cancel()

    # Commands

    async def _run(self) -> None:
        content = b"".join([data async for data in self._said()])
        assert self._server.commands is not None
        assert self._command is not None
        self._server.commands_run += 1
        output, exit_status = await self._server.commands(self._command, content)
        self._channel.write(output)
        self._channel.exit(exit_status)

    async def _said(self) -> AsyncIterator[bytes]:
        while data := await self._from_client.get():
            yield data

    # SFTP

    async def _serve(self) -> None:
        ours, theirs = socket.socketpair()
        self._start_server(theirs)
        reader, self._to_server = await asyncio.open_connection(sock=ours)
        answers = asyncio.get_running_loop().create_task(self._pass_answers(reader))
        try:
            await self._pass_requests()
            self._channel.exit(0)
        finally:
            self._to_server.close()
            answers.cancel()

    def _start_server(self, connection: socket.socket) -> None:
        """Start a server of files at the other end; without OpenSSH, one in this thread."""
        program = self._server.program
        if program is None:
            from tests.servers.sftp.sftp_stand_in import serve_files

            self._server.stand_ins.append(asyncio.get_running_loop().create_task(serve_files(connection)))
            return
        with connection:
            child = subprocess.Popen(
                [program],
                stdin=connection.fileno(),
                stdout=connection.fileno(),
                stderr=subprocess.DEVNULL,
                cwd=self._server.root,
            )
        self._server.children.append(child)

    async def _pass_requests(self) -> None:
        incoming = b""
        async for data in self._said():
            incoming += data
            while len(incoming) >= 4 and len(incoming) >= 4 + (length := int.from_bytes(incoming[:4], "big")):
                self._on_request(incoming[4 : 4 + length])
                incoming = incoming[4 + length :]

    def _on_request(self, packet: bytes) -> None:
        if self._ending:
            return
        if packet[0] == INIT:
            self._write(packet)
            return
        request = self._understood(packet[0], int.from_bytes(packet[1:5], "big"), packet[5:])
        for fault in self._server.faults:
            if fault.meets(request):
                fault.effect(request)
                return
        request.forward()

    def _understood(self, packet_type: int, number: int, body: bytes) -> Request:
        kind, rest = REQUESTS.get(packet_type, "?"), body
        if packet_type == EXTENDED:
            name, rest = take_string(body)
            kind = EXTENSIONS.get(name, "?")
        first, rest = take_string(rest)
        if kind in ON_A_HANDLE:
            paths = self._paths_by_handle.get(first, b"?")
        elif kind == "RENAME":
            paths = first + b"\0" + take_string(rest)[0]
        else:
            paths = first
        return Request(self, number, packet_type, kind, paths, body)

    def ask(self, request: Request, body: bytes, then: Callable[[int, bytes], None]) -> None:
        """Have the server do something."""
        self._asked[request.number] = request, then
        self._write(struct.pack(">BI", request.packet_type, request.number) + body)

    def _write(self, packet: bytes) -> None:
        assert self._to_server is not None
        self._to_server.write(string(packet))

    async def _pass_answers(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                length = int.from_bytes(await reader.readexactly(4), "big")
                self._on_answer(await reader.readexactly(length))

    def _on_answer(self, packet: bytes) -> None:
        if packet[0] == VERSION:
            self.send(packet[:5] + self._offered(packet[5:]))
            return
        request, then = self._asked.pop(int.from_bytes(packet[1:5], "big"))
        if packet[0] == HANDLE:
            self._paths_by_handle[take_string(packet[5:])[0]] = request.paths
        if not self._ending:
            then(packet[0], packet[5:])
        elif not self._asked:
            self._connection.abort()

    def _offered(self, extensions: bytes) -> bytes:
        offered = b""
        while extensions:
            name, extensions = take_string(extensions)
            version, extensions = take_string(extensions)
            if name not in self._server.hidden_extensions:
                offered += string(name) + string(version)
        return offered

    def send(self, packet: bytes) -> None:
        """Answer the client."""
        self.send_raw(string(packet))

    def send_raw(self, content: bytes) -> None:
        """Send the client any bytes."""
        if not self._channel.is_closing():
            self._channel.write(content)

    def abort(self) -> None:
        """End the connection, once the server has done what it was asked before: what comes later finds it done."""
        self._ending = True
        if not self._asked:
            self._connection.abort()
