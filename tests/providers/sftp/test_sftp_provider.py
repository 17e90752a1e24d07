"""What is special to SFTP, beyond `test_provider_contract.py`: keys, servers that can do less, broken connections."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import itertools
import os
import pwd
import re
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import cast

import paramiko
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from config.fields import Fields
from config.models import Evidence, ProviderRow
from providers.errors import (
    AccessDenied,
    DestinationMissing,
    InvalidProviderSettings,
    ObjectNotFound,
    ProviderUnavailable,
    StorageFull,
)
from providers.file_trees import FORSAKEN_AFTER_SECONDS, temporary_name
from providers.sftp import sessions as sftp_sessions
from providers.sftp import ssh
from providers.sftp.packets import SessionLost
from providers.sftp.protocol import Pulse, SftpSession
from providers.sftp.provider import SftpProvider
from providers.sftp.ssh import CommandFailed, SshConnection, SshSettings
from providers.sources import BytesSource
from tests.disks.small_disk import make_read_only, mounted_small_disk
from tests.executions.sources import PatternSource, sha256_of
from tests.faults.sftp_liar import EXTENSIONS, Effect, Fault, LyingSftpServer, Request, cut, lose_answer, run_command
from tests.processes import wait_until
from tests.servers.sftp.asyncssh_server import AsyncSsh
from tests.servers.sftp.openssh import OpenSsh, needs_openssh
from tests.servers.sftp.ssh import SftpServer, new_key_pair

MakeProvider = Callable[..., SftpProvider]

THREADS = 16
DISK_SIZE_BYTES = 2_000_000
SILENCE_ENDS_SECONDS = 10.0
PASSPHRASE = "frase de paso"
SFTP_SERVER = "/usr/lib/openssh/sftp-server"


def row(server: SftpServer, base_path: object, without: Sequence[str] = (), **changes: object) -> ProviderRow:
    """A row for a server; `changes` are of `credenciales`, but for `verificacion`."""
    options = {"base_path": str(base_path)}
    if "verificacion" in changes:
        options["verificacion"] = str(changes.pop("verificacion"))
    credentials: dict[str, object] = {
        "host": server.host,
        "port": server.port,
        "username": server.username,
        "host_key": server.host_key,
        "private_key": server.private_key,
    }
    credentials |= changes
    kept = {name: value for name, value in credentials.items() if name not in without}
    return ProviderRow(1, "servidor", "sftp", kept, options, active=True)


@pytest.fixture
def base_path(openssh_server: OpenSsh) -> Path:
    """A new directory on OpenSSH's server."""
    return openssh_server.new_directory()


@pytest.fixture
def make_provider(openssh_server: OpenSsh, base_path: Path) -> Iterator[MakeProvider]:
    """Make a provider for the new directory, with other settings if need be; each is closed in the end."""
    made: list[SftpProvider] = []

    def make(server: SftpServer | None = None, **changes: object) -> SftpProvider:
        directory = changes.pop("base_path", base_path)
        made.append(SftpProvider(row(server or openssh_server, directory, **changes)))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for provider in made:
        provider.close()


class SpecialOpenSsh(OpenSsh):
    """sshd with a configuration of its own: lines that take the place of those that begin with the same word."""

    def __init__(self, *lines: str) -> None:
        super().__init__()
        self.lines = list(lines)

    def add_host_key(self, private_key: str) -> None:
        """Let the server have one more key."""
        self.lines += [f"HostKey {path}" for path in (self.host_key_path, self.write("another_key", private_key))]

    def add_script(self, text: str) -> Path:
        """Write a program that the server may run."""
        path = self.write("script", text)
        path.chmod(0o755)
        return path

    def write(self, name: str, text: str) -> Path:
        """As any file; in the configuration the lines take their places."""
        if name == "sshd_config":
            replaced = {line.split()[0] for line in self.lines}
            kept = [line for line in text.splitlines() if line.split(" ")[0] not in replaced]
            text = "\n".join([*kept, *self.lines, ""])
        return super().write(name, text)


def files_below(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if not path.is_dir()}


# Who the server is


def hashed(name: str) -> str:
    salt = secrets.token_bytes(20)
    digest = hmac.new(salt, name.encode(), hashlib.sha1).digest()
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


KNOWN_HOSTS_THAT_NAME_IT = {
    "host": lambda port, key: f"127.0.0.1 {key}",
    "host and port": lambda port, key: f"[127.0.0.1]:{port} {key}",
    "one of several names": lambda port, key: f"example.org,127.0.0.1 {key} a comment",
    "hashed": lambda port, key: f"{hashed('127.0.0.1')} {key}",
    "hashed with port": lambda port, key: f"{hashed(f'[127.0.0.1]:{port}')} {key}",
    "pattern": lambda port, key: f"127.0.?.* {key}",
    "among others": lambda port, key: f"# a comment\n\nexample.org {new_key_pair()[1]}\n 127.0.0.1\t{key}\r\n",
    "beside an old one": lambda port, key: f"127.0.0.1 {new_key_pair()[1]}\n127.0.0.1 {key}",
}

KNOWN_HOSTS_THAT_DO_NOT = {
    "another host": lambda port, key: f"example.org {key}",
    "another port": lambda port, key: f"[127.0.0.1]:{port + 1} {key}",
    "another key": lambda port, key: f"127.0.0.1 {new_key_pair()[1]}",
    "hashed, another host": lambda port, key: f"{hashed('example.org')} {key}",
    "revoked": lambda port, key: f"127.0.0.1 {key}\n@revoked * {key}",
    "excepted": lambda port, key: f"127.*,!127.0.0.1 {key}",
    "authority only": lambda port, key: f"@cert-authority 127.0.0.1 {key}",
}


@pytest.mark.parametrize("door", [(paramiko.Transport, "open_session"), (paramiko.Channel, "invoke_subsystem")])
def test_bytes_that_arrive_damaged_while_a_session_opens_are_a_lost_connection(
    make_provider: MakeProvider, monkeypatch: pytest.MonkeyPatch, door: tuple[type, str]
) -> None:
    """paramiko's thread passes on the cipher's own exception."""

    def damaged(*_arguments: object, **_options: object) -> None:
        raise InvalidTag

    monkeypatch.setattr(*door, damaged)
    with pytest.raises(ProviderUnavailable):
        make_provider().put("a/b", BytesSource(b"content"))


@pytest.mark.parametrize("form", KNOWN_HOSTS_THAT_NAME_IT)
def test_known_hosts_that_name_the_server_are_enough(
    make_provider: MakeProvider, openssh_server: OpenSsh, form: str
) -> None:
    text = KNOWN_HOSTS_THAT_NAME_IT[form](openssh_server.port, openssh_server.host_key)
    make_provider(without=["host_key"], known_hosts=text).check()


@pytest.mark.parametrize("form", KNOWN_HOSTS_THAT_DO_NOT)
def test_known_hosts_that_do_not_are_not(
    make_provider: MakeProvider, openssh_server: OpenSsh, base_path: Path, form: str
) -> None:
    text = KNOWN_HOSTS_THAT_DO_NOT[form](openssh_server.port, openssh_server.host_key)
    with pytest.raises(AccessDenied, match="clave de host"):
        make_provider(without=["host_key"], known_hosts=text).check()
    assert files_below(base_path) == set()


@pytest.mark.parametrize("form", ["{key}", "127.0.0.1 {key}", "{key} root@host", "[127.0.0.1]:22 {key}\n"])
def test_a_host_key_may_have_names_around_it(make_provider: MakeProvider, openssh_server: OpenSsh, form: str) -> None:
    make_provider(host_key=form.format(key=openssh_server.host_key)).check()


def test_the_key_asked_for_is_of_the_type_that_is_known(make_provider: MakeProvider) -> None:
    """A server has several keys, and shows the one that the client prefers."""
    another = rsa.generate_private_key(65537, 2048)
    server = SpecialOpenSsh()
    server.add_host_key(private_text(another))
    with server:
        for host_key in (server.host_key, public_line(another)):
            make_provider(server, base_path=server.new_directory(), host_key=host_key).check()


# Who we are


PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | dsa.DSAPrivateKey


def private_text(
    key: PrivateKey,
    form: PrivateFormat = PrivateFormat.OpenSSH,
    encryption: KeySerializationEncryption | None = None,
) -> str:
    return key.private_bytes(Encoding.PEM, form, encryption or NoEncryption()).decode()


def public_line(key: PrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


KEYS: dict[str, Callable[[], PrivateKey]] = {
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "ecdsa-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ecdsa-521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
}

KEY_FORMS = [
    (kind, form)
    for kind in KEYS
    for form in (PrivateFormat.OpenSSH, PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL)
    if (kind, form) != ("ed25519", PrivateFormat.TraditionalOpenSSL)  # there is no such form
]


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
@pytest.mark.parametrize(("kind", "form"), KEY_FORMS)
def test_private_keys_of_every_kind_and_form(
    make_provider: MakeProvider, openssh_server: OpenSsh, kind: str, form: PrivateFormat, encrypted: bool
) -> None:
    key = KEYS[kind]()
    with openssh_server.authorized_keys_path.open("a") as authorized:
        authorized.write(f"\n{public_line(key)}\n")
    encryption = BestAvailableEncryption(PASSPHRASE.encode()) if encrypted else NoEncryption()
    text = private_text(key, form, encryption)
    make_provider(private_key=text, private_key_passphrase=PASSPHRASE).check()
    make_provider(private_key=text.replace("\n", "\r\n").strip(), private_key_passphrase=PASSPHRASE).check()
    if encrypted:
        with pytest.raises(InvalidProviderSettings, match="private_key_passphrase"):
            make_provider(private_key=text)


def test_a_key_counts_more_than_a_password(make_provider: MakeProvider, asyncssh_server: AsyncSsh) -> None:
    directory, another_key = asyncssh_server.new_directory(), new_key_pair()[0]
    make_provider(asyncssh_server, base_path=directory, password="no").check()
    make_provider(
        asyncssh_server, base_path=directory, without=["private_key"], password=asyncssh_server.password
    ).check()
    with pytest.raises(AccessDenied):
        make_provider(asyncssh_server, base_path=directory, private_key=another_key).check()


@pytest.mark.parametrize(
    ("without", "changes", "field"),
    [
        (["host"], {}, "credenciales.host"),
        (["username"], {}, "credenciales.username"),
        (["private_key"], {}, "credenciales.password"),
        (["host_key"], {}, "credenciales.host_key"),
        ([], {"port": "ssh"}, "credenciales.port"),
        ([], {"port": 65536}, "credenciales.port"),
        ([], {"host_key": "AAAA"}, "credenciales.host_key"),
        ([], {"host_key": "ssh-ed25519 AAAAB3NzaC1yc2E="}, "credenciales.host_key"),
        (["host_key"], {"known_hosts": "# none"}, "credenciales.known_hosts"),
        ([], {"private_key": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"}, "private_key"),
        ([], {"base_path": ""}, "configuracion.base_path"),
        ([], {"verificacion": "nada"}, "configuracion.verificacion"),
    ],
)
def test_a_wrong_field_is_named(
    make_provider: MakeProvider, without: list[str], changes: dict[str, object], field: str
) -> None:
    require_named(make_provider, without, changes, field)


def test_a_key_of_a_kind_that_is_no_more_in_use_is_named(make_provider: MakeProvider) -> None:
    """Made here: while tests are collected, every process would take seconds for it."""
    key = private_text(dsa.generate_private_key(2048), PrivateFormat.PKCS8)
    require_named(make_provider, [], {"private_key": key}, "private_key")


def require_named(make_provider: MakeProvider, without: list[str], changes: dict[str, object], field: str) -> None:
    """Settings with such a fault make no provider; the field is told, and no long value."""
    with pytest.raises(InvalidProviderSettings) as caught:
        make_provider(without=without, **changes)
    assert field in str(caught.value)
    assert not [value for value in changes.values() if len(str(value)) > 10 and str(value) in str(caught.value)]


# Where things are kept


def test_base_path_may_be_relative_to_the_login_directory(make_provider: MakeProvider, base_path: Path) -> None:
    login_directory = pwd.getpwuid(os.getuid()).pw_dir  # sshd asks the account, not the variable HOME
    relative = os.path.relpath(base_path, login_directory)
    make_provider(base_path=relative).put("a/file", BytesSource(b"x"))
    assert files_below(base_path) == {"a/file"}


def test_a_base_path_that_vanishes_is_not_created_again(make_provider: MakeProvider, base_path: Path) -> None:
    provider = make_provider()
    provider.put("a/file", BytesSource(b"x"))
    shutil.rmtree(base_path)
    with pytest.raises(DestinationMissing):
        provider.put("a/file", BytesSource(b"x"))
    with pytest.raises(DestinationMissing):
        list(provider.list("a/"))
    assert not base_path.exists()


@needs_openssh
def test_a_full_disk_is_reported_and_left_clean(make_provider: MakeProvider, base_path: Path) -> None:
    provider = make_provider()
    with mounted_small_disk(base_path, DISK_SIZE_BYTES):
        provider.put("a/old", BytesSource(b"old"))
        with pytest.raises(StorageFull):
            provider.put("a/old", PatternSource(DISK_SIZE_BYTES))
        assert files_below(base_path) == {"a/old"}
        assert (base_path / "a/old").read_bytes() == b"old"
        make_read_only(base_path)
        with pytest.raises(AccessDenied):
            provider.put("a/new", BytesSource(b"x"))


def test_directories_may_be_removed_at_any_moment(make_provider: MakeProvider, base_path: Path) -> None:
    """Whoever deletes the last file of a directory removes the directory, just when others want to store there."""
    provider = make_provider()

    def store_and_delete(number: int) -> None:
        for _ in range(30):
            provider.put(f"a/{number % 2}/file-{number}", BytesSource(b"x"))
            provider.delete(f"a/{number % 2}/file-{number}")

    with ThreadPoolExecutor(THREADS) as executor:
        list(executor.map(store_and_delete, range(THREADS)))
    assert list(base_path.iterdir()) == []


def test_abandon_in_a_shared_directory_takes_only_its_own_and_what_is_old_and_anybodys(
    make_provider: MakeProvider, base_path: Path
) -> None:
    """An unfinished file beside `executions/1` may be the manifest of `executions/2`, just being stored, or by a host
    that is stopped: that one stays, however old. Only earlier releases made names that do not tell whose they are.
    """
    own, below = temporary_name("1"), temporary_name("file")
    old, new, longer = temporary_name("2"), temporary_name("2"), temporary_name("10")
    of_an_earlier_release, old_of_an_earlier_release = (f".janitor-{digit * 16}.part" for digit in "ab")
    provider = make_provider()
    provider.put("executions/1/kept", BytesSource(b"x"))
    (base_path / "executions/1/empty").mkdir()
    beside = (own, old, new, longer, of_an_earlier_release, old_of_an_earlier_release)
    for name in (*beside, f"1/{below}", f"1/empty/{below}"):
        (base_path / "executions" / name).write_bytes(b"unfinished")
    long_ago = time.time() - 2 * FORSAKEN_AFTER_SECONDS
    for name in (old, old_of_an_earlier_release):
        os.utime(base_path / "executions" / name, (long_ago, long_ago))
    assert [stored.key for stored in provider.list("executions/")] == ["executions/1/kept"]
    provider.discard_unfinished("executions/1")
    provider.discard_unfinished("executions/1/")
    assert files_below(base_path) == {
        f"executions/{name}" for name in (old, new, longer, of_an_earlier_release, "1/kept")
    }
    assert not (base_path / "executions/1/empty").exists()


@pytest.mark.parametrize("hours_off", [-5, 5])
def test_a_server_whose_clock_is_wrong_loses_no_unfinished_file_that_is_being_written(
    make_provider: MakeProvider, base_path: Path, monkeypatch: pytest.MonkeyPatch, hours_off: int
) -> None:
    """The age of what an earlier release left is told by the server alone. Looked for besides: a mounted directory."""
    provider = make_provider()
    new, old = (f".janitor-{digit * 16}.part" for digit in "ab")
    for name in (new, old):
        (base_path / name).write_bytes(b"unfinished")
    long_ago = time.time() - 2 * FORSAKEN_AFTER_SECONDS
    os.utime(base_path / old, (long_ago, long_ago))
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + hours_off * 3600)
    provider.discard_unfinished("1.manifest.json")
    assert files_below(base_path) == {new}


def test_links_on_the_server_are_no_objects(make_provider: MakeProvider, base_path: Path) -> None:
    provider = make_provider()
    (base_path / "link").symlink_to("/etc")
    (base_path / "file").symlink_to("/etc/passwd")
    assert list(provider.list("")) == []
    with pytest.raises(ObjectNotFound):
        list(provider.open("file"))
    with pytest.raises(ObjectNotFound):
        provider.stat("file")


# Servers that can do less


def test_a_server_without_extensions_does_too(make_provider: MakeProvider) -> None:
    denied = "posix-rename,fsync,limits,statvfs"
    with SpecialOpenSsh(f"Subsystem sftp internal-sftp -P {denied}") as server:
        directory = server.new_directory()
        provider = make_provider(server, base_path=directory)
        source = PatternSource(1_000_000)
        provider.put("a/file", BytesSource(b"old"))
        assert provider.put("a/file", source).sha256 == source.sha256()
        assert sha256_of(provider.open("a/file")) == source.sha256()
        assert files_below(directory) == {"a/file"}


def test_a_server_without_sftp_is_reported(make_provider: MakeProvider) -> None:
    server = SpecialOpenSsh("Subsystem another internal-sftp")
    with server, pytest.raises(AccessDenied, match="subsistema sftp"):
        make_provider(server, base_path=server.new_directory()).check()


def test_a_server_that_allows_few_sessions_is_used_within_its_bounds(make_provider: MakeProvider) -> None:
    with SpecialOpenSsh("MaxSessions 1", "MaxStartups 2") as server:
        provider = make_provider(server, base_path=server.new_directory())
        keys = [f"a/{number}" for number in range(50)]
        with ThreadPoolExecutor(THREADS) as executor:
            list(executor.map(lambda key: provider.put(key, BytesSource(b"x")), keys))
        assert {stored.key for stored in provider.list("")} == set(keys)
        assert {digest.evidence for digest in provider.digests(keys)} == {Evidence.READ_BACK}


@pytest.mark.parametrize(
    ("verification", "evidence"),
    [("auto", Evidence.CHECKSUM), ("comando", Evidence.CHECKSUM), ("lectura", Evidence.READ_BACK)],
)
def test_digests_are_computed_where_commands_run(
    make_provider: MakeProvider, base_path: Path, verification: str, evidence: Evidence
) -> None:
    provider = make_provider(verificacion=verification)
    names = ["plain", "new\nline", "back\\slash", "-rf", "a'b\"c $(x) *", os.fsdecode(b"\xff")]
    expected = {f"a/{name}": provider.put(f"a/{name}", BytesSource(os.fsencode(name))).sha256 for name in names}
    digests = list(provider.digests(expected))
    assert {digest.key: digest.sha256 for digest in digests} == expected
    assert {digest.evidence for digest in digests} == {evidence}
    assert files_below(base_path) == set(expected)


HASH_OF_SOMETHING_ELSE = f"""#!/bin/sh
case "$SSH_ORIGINAL_COMMAND" in
*openssl*) tr '\\0' '\\n' | while read -r name; do printf '%064d *%s\\n' 7 "$name"; done ;;
*sha256sum*) tr '\\0' '\\n' | while read -r name; do printf '%064d  %s\\0' 7 "$name"; done ;;
*) exec {SFTP_SERVER} ;;
esac
"""

ONLY_SFTP = f"""#!/bin/sh
exec {SFTP_SERVER}
"""


@pytest.mark.parametrize("script", [HASH_OF_SOMETHING_ELSE, ONLY_SFTP], ids=["other files", "no shell"])
def test_commands_that_cannot_be_relied_on_are_not(make_provider: MakeProvider, script: str) -> None:
    """Commands may see other files than SFTP does, say in a chroot."""
    server = SpecialOpenSsh()
    server.lines.append(f"ForceCommand {server.add_script(script)}")
    with server:
        directory = server.new_directory()
        provider = make_provider(server, base_path=directory)
        receipt = provider.put("a/file", BytesSource(b"x"))
        for _ in range(2):
            [digest] = provider.digests(["a/file"])
            assert (digest.sha256, digest.evidence) == (receipt.sha256, Evidence.READ_BACK)
        strict = make_provider(server, base_path=directory, verificacion="comando")
        with pytest.raises(AccessDenied, match="verificacion"):
            list(strict.digests(["a/file"]))
        assert files_below(directory) == {"a/file"}


@pytest.mark.parametrize("printed", ["Welcome!\\n", "no line end", "two\\nlines\\n\\n"])
@pytest.mark.parametrize("without", [[], ["openssl"]], ids=["openssl", "sha256sum"])
def test_what_a_shell_prints_is_passed_over(make_provider: MakeProvider, printed: str, without: list[str]) -> None:
    """Looked for in both that a shell may come before: the session of SFTP and the commands that hash."""
    script = f"""#!/bin/sh
printf '{printed}'
case "$SSH_ORIGINAL_COMMAND" in
*{"openssl" if without else "nothing"}*) exit 127 ;;
xargs*) exec sh -c "$SSH_ORIGINAL_COMMAND" ;;
*) exec {SFTP_SERVER} ;;
esac
"""
    server = SpecialOpenSsh()
    server.lines.append(f"ForceCommand {server.add_script(script)}")
    with server:
        provider = make_provider(server, base_path=server.new_directory(), verificacion="comando")
        names = ["a/file", "a/other"] if without else ["a/file"]
        expected = {name: provider.put(name, BytesSource(name.encode())).sha256 for name in names}
        digests = list(provider.digests(expected))
        assert {digest.key: digest.sha256 for digest in digests} == expected
        assert {digest.evidence for digest in digests} == {Evidence.CHECKSUM}


@pytest.mark.parametrize("input_bytes", [1, 16 * 1024 * 1024], ids=["little", "more than a window"])
def test_a_command_that_ends_without_reading_is_judged_by_its_exit_status(input_bytes: int) -> None:
    """As a missing program does: the channel may be closed before the input is sent, which is no server that runs no
    commands. Looked for in the other pipes to programs, too: `psql` in jobs/backups/verification/restoring.py.
    """
    with SpecialOpenSsh("ForceCommand exit 127") as server:
        credentials = cast("Mapping[str, object]", row(server, "/").credentials)
        settings = ssh.read_settings(Fields("credenciales", credentials))
        with contextlib.closing(ssh.SshConnection(settings)) as connection, pytest.raises(CommandFailed, match="127"):
            connection.run("openssl", bytes(input_bytes), deadline_seconds=60)


def test_a_shell_that_prints_and_ends_is_named(make_provider: MakeProvider) -> None:
    """As `nologin` does."""
    server = SpecialOpenSsh()
    script = server.add_script("#!/bin/sh\necho 'This account is currently not available.'\n")
    server.lines.append(f"ForceCommand {script}")
    with server, pytest.raises(ProviderUnavailable, match="la shell de la cuenta escribió un texto y terminó"):
        make_provider(server, base_path=server.new_directory()).check()


class EndedChannel:
    """As paramiko has it: nothing can be sent any more, and what came before the end can be read."""

    closed = True

    def __init__(self, *received: bytes) -> None:
        self._received = list(received)

    def settimeout(self, timeout: float | None) -> None:
        """Nothing is waited for."""

    def close(self) -> None:
        """It is closed."""

    def send(self, _data: bytes, /) -> int:
        """Raise what paramiko raises."""
        raise OSError("Socket is closed")

    def recv(self, _nbytes: int, /) -> bytes:
        """The next part; nothing at the end."""
        return self._received.pop(0) if self._received else b""


@pytest.mark.parametrize(
    ("received", "told"),
    [
        ((b"This account is ", b"not available.\n"), "la shell de la cuenta escribió un texto y terminó"),
        ((), "cerró la"),
    ],
)
def test_a_shell_that_ended_before_anything_was_sent_is_named(received: tuple[bytes, ...], told: str) -> None:
    with pytest.raises(SessionLost, match=told):
        SftpSession(EndedChannel(*received), Pulse(time.monotonic()), 5, 5)


PROGRAMS = f"""#!/bin/sh
case "$SSH_ORIGINAL_COMMAND" in
xargs*) echo "$SSH_ORIGINAL_COMMAND" >> "$HOME/commands" ;;
*) exec {SFTP_SERVER} ;;
esac
case "$SSH_ORIGINAL_COMMAND" in
*openssl*) test -e "$HOME/no-openssl" && exit 127 ;;
*sha256sum*) test -e "$HOME/no-sha256sum" && exit 127 ;;
esac
exec sh -c "$SSH_ORIGINAL_COMMAND"
"""


class ProgramsServer(SpecialOpenSsh):
    """sshd whose account has the programs that a test leaves it, and tells which ones were run."""

    def __init__(self) -> None:
        super().__init__()
        self.lines.append(f"ForceCommand {self.add_script(PROGRAMS)}")

    def take_away(self, *programs: str) -> None:
        """Let the account have these no longer."""
        for program in programs:
            (self.directory / f"no-{program}").touch()

    def programs_run(self) -> list[str]:
        """Which ones were, since this was last asked."""
        log = self.directory / "commands"
        lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return [line.split()[2] for line in lines]


@pytest.fixture
def programs_server() -> Iterator[ProgramsServer]:
    with ProgramsServer() as server:
        yield server


PLAIN_NAMES = ["plain", "-rf", "a'b\"c $(x) *", "(a)= b", " led", "cr\r", "ñ\x07", os.fsdecode(b"\xff")]
ODD_NAMES = ["new\nline", "back\\slash", "back\\nslash"]


def require_proven(provider: SftpProvider, names: Sequence[str], evidence: Evidence) -> None:
    expected = {f"a/{name}": provider.put(f"a/{name}", BytesSource(os.fsencode(name))).sha256 for name in names}
    digests = list(provider.digests(expected))
    assert {digest.key: digest.sha256 for digest in digests} == expected
    assert {digest.evidence for digest in digests} == {evidence}


def test_openssl_hashes_where_it_can_and_sha256sum_where_names_are_odd(
    make_provider: MakeProvider, programs_server: ProgramsServer
) -> None:
    provider = make_provider(programs_server, base_path=programs_server.new_directory(), verificacion="comando")
    require_proven(provider, PLAIN_NAMES, Evidence.CHECKSUM)
    assert programs_server.programs_run() == ["openssl", "openssl"]  # tried out once, then used
    for name in ODD_NAMES:
        require_proven(provider, [name, "plain"], Evidence.CHECKSUM)
    assert programs_server.programs_run() == ["sha256sum"] * (1 + len(ODD_NAMES))
    require_proven(provider, PLAIN_NAMES, Evidence.CHECKSUM)
    assert programs_server.programs_run() == ["openssl"]


def test_without_openssl_sha256sum_hashes(make_provider: MakeProvider, programs_server: ProgramsServer) -> None:
    programs_server.take_away("openssl")
    provider = make_provider(programs_server, base_path=programs_server.new_directory(), verificacion="comando")
    for _ in range(2):
        require_proven(provider, PLAIN_NAMES, Evidence.CHECKSUM)
    assert programs_server.programs_run() == ["openssl", "sha256sum", "sha256sum", "sha256sum"]


def test_once_a_command_has_failed_the_next_one_is_used_and_in_the_end_none(
    make_provider: MakeProvider, programs_server: ProgramsServer
) -> None:
    provider = make_provider(programs_server, base_path=programs_server.new_directory())
    require_proven(provider, PLAIN_NAMES, Evidence.CHECKSUM)
    programs_server.take_away("openssl")
    require_proven(provider, PLAIN_NAMES, Evidence.CHECKSUM)
    programs_server.take_away("sha256sum")
    require_proven(provider, PLAIN_NAMES, Evidence.READ_BACK)
    programs_server.programs_run()
    require_proven(provider, PLAIN_NAMES, Evidence.READ_BACK)
    assert programs_server.programs_run() == []


def test_names_that_no_command_tells_plainly_are_read_back_and_the_others_are_not(
    make_provider: MakeProvider, programs_server: ProgramsServer
) -> None:
    programs_server.take_away("sha256sum")
    provider = make_provider(programs_server, base_path=programs_server.new_directory())
    require_proven(provider, ODD_NAMES, Evidence.READ_BACK)
    require_proven(provider, PLAIN_NAMES, Evidence.CHECKSUM)


def test_where_only_commands_are_to_prove_it_the_error_names_those_tried(
    make_provider: MakeProvider, programs_server: ProgramsServer
) -> None:
    programs_server.take_away("openssl", "sha256sum")
    provider = make_provider(programs_server, base_path=programs_server.new_directory(), verificacion="comando")
    provider.put("a/file", BytesSource(b"x"))
    for _ in range(2):
        with pytest.raises(AccessDenied, match=r"ni openssl ni sha256sum: .*código 127"):
            list(provider.digests(["a/file"]))


# Connections that break


WATCHING_ALL_CONNECTIONS = "sftp-watch"
"""The name of a provider's thread that does not end with a connection."""


class Line:
    """A TCP line to a server, whose connections can be jammed (they carry nothing any more) or cut."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # so that jams are soon felt
        self._ends: list[socket.socket] = []
        self._flowing = threading.Event()
        self._flowing.set()
        self._gates = [self._flowing]
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def jam(self) -> None:
        """Let the connections that there are carry nothing from now on."""
        self._flowing.clear()
        self._flowing = threading.Event()
        self._flowing.set()
        self._gates.append(self._flowing)

    def jam_new(self) -> None:
        """Let connections that are made from now on carry nothing."""
        self._flowing = threading.Event()
        self._gates.append(self._flowing)

    def cut(self) -> None:
        """End the connections that there are."""
        ends, self._ends = self._ends, []
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for gate in self._gates:
            gate.set()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
                self._ends += [near, far]
                for source, target in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=(source, target, self._flowing), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, flowing: threading.Event) -> None:
        with contextlib.suppress(OSError), source:
            while content := source.recv(65536):
                flowing.wait()
                target.sendall(content)
            target.shutdown(socket.SHUT_WR)


@pytest.fixture
def line(openssh_server: OpenSsh) -> Iterator[Line]:
    made = Line(openssh_server.port)
    yield made
    made.close()


class Interrupting(PatternSource):
    """Does something in the middle."""

    def __init__(self, size_bytes: int, action: Callable[[], None]) -> None:
        super().__init__(size_bytes)
        self._action = action

    def chunks(self, chunk_size_bytes: int) -> Iterator[bytes]:
        """See `Source`."""
        for number, chunk in enumerate(super().chunks(chunk_size_bytes)):
            if number == self.size_bytes // chunk_size_bytes // 2:
                self._action()
            yield chunk


def test_a_cut_connection_is_replaced_at_the_next_call(
    make_provider: MakeProvider, base_path: Path, line: Line
) -> None:
    """A small file is not gone on with; of a large one see `tests/providers/sftp/test_sftp_resumption.py`."""
    provider = make_provider(port=line.port)
    with pytest.raises(ProviderUnavailable):
        provider.put("a/file", Interrupting(2_000_000, line.cut))
    assert list(provider.list("")) == []
    provider.put("a/other", BytesSource(b"x"))
    provider.discard_unfinished("a/")
    assert files_below(base_path) == {"a/other"}


def test_an_idle_connection_that_was_cut_is_replaced(make_provider: MakeProvider, line: Line) -> None:
    before = set(threading.enumerate())
    provider = make_provider(port=line.port)
    provider.put("a/file", BytesSource(b"x"))
    listening = {one for one in set(threading.enumerate()) - before if one.name != WATCHING_ALL_CONNECTIONS}
    assert listening
    line.cut()
    wait_until(lambda: not any(thread.is_alive() for thread in listening), SILENCE_ENDS_SECONDS)
    assert provider.stat("a/file").size_bytes == 1


def test_a_jammed_connection_is_given_up_soon_and_replaced(make_provider: MakeProvider, line: Line) -> None:
    provider = make_provider(port=line.port)
    provider.put("a/file", BytesSource(b"x"))
    line.jam()
    with ThreadPoolExecutor(1) as executor, pytest.raises(ProviderUnavailable):
        executor.submit(provider.stat, "a/file").result(timeout=SILENCE_ENDS_SECONDS)
    assert provider.stat("a/file").size_bytes == 1


def failures_to_connect(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """What is set from the first failure to connect on."""
    seen = threading.Event()

    class Noting(SshConnection):
        def __init__(self, settings: SshSettings) -> None:
            try:
                super().__init__(settings)
            except ProviderUnavailable:
                seen.set()
                raise

    monkeypatch.setattr(sftp_sessions, "SshConnection", Noting)
    return seen


def test_threads_that_wait_for_a_session_do_not_each_find_out_that_there_is_none(
    make_provider: MakeProvider, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first connection carries half of the threads, the second cannot be had, then the first is lost as well."""
    provider = make_provider(port=line.port)
    provider.put("a/file", BytesSource(b"x"))
    line.jam_new()
    is_cut = threading.Event()
    has_failed = failures_to_connect(monkeypatch)

    def cut_when_the_others_wait() -> None:
        has_failed.wait(SILENCE_ENDS_SECONDS)
        line.cut()
        is_cut.set()

    def outcome(number: int) -> type[BaseException]:
        with pytest.raises(ProviderUnavailable) as caught:
            provider.put(f"a/{number}", Interrupting(1_000_000, cut_when_the_others_wait))
        return caught.type

    with ThreadPoolExecutor(THREADS) as executor:
        outcomes = [executor.submit(outcome, number) for number in range(THREADS)]
        assert is_cut.wait(4 * SILENCE_ENDS_SECONDS)
        assert not wait(outcomes, SILENCE_ENDS_SECONDS).not_done
        assert {each.result() for each in outcomes} == {ProviderUnavailable}


def test_transfers_on_a_jammed_connection_end(
    make_provider: MakeProvider, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many at once fill every buffer on the way, so that even sending comes to a stop; new connections jam, too."""
    monkeypatch.setattr(ssh, "TRANSFER_TIMEOUT_SECONDS", 3.0)
    provider = make_provider(port=line.port)

    def jam_all() -> None:
        line.jam()
        line.jam_new()

    def outcome(number: int) -> type[BaseException] | None:
        try:
            provider.put(f"a/{number}", Interrupting(30_000_000, jam_all))
        except ProviderUnavailable as error:
            return type(error)
        return None

    with ThreadPoolExecutor(THREADS) as executor:
        outcomes = [executor.submit(outcome, number) for number in range(THREADS)]
        assert not wait(outcomes, 3 * SILENCE_ENDS_SECONDS).not_done
        assert {each.result() for each in outcomes} == {ProviderUnavailable}


def test_readers_that_stop_half_way_use_nothing_up(make_provider: MakeProvider, openssh_server: OpenSsh) -> None:
    provider = make_provider()
    provider.put("a/file", PatternSource(5_000_000))
    for _ in range(2 * sftp_sessions.MAXIMUM_SESSIONS):
        next(provider.open("a/file"))
        next(provider.list("a"))
    readers = [provider.open("a/file") for _ in range(sftp_sessions.MAXIMUM_SESSIONS - 1)]
    for reader in readers:
        next(reader)
    provider.put("a/other", BytesSource(b"while others read"))
    del reader, readers
    assert provider.stat("a/other").size_bytes == 17


@pytest.mark.parametrize("error", [EOFError(), ConnectionResetError(104, "reset")])
def test_a_connection_that_ends_while_a_session_is_begun_is_unavailable(
    make_provider: MakeProvider, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """paramiko then raises what its own thread stumbled over, and not one of its own errors."""

    def break_off(*_: object) -> None:
        raise error

    monkeypatch.setattr(paramiko.Channel, "invoke_subsystem", break_off)
    with pytest.raises(ProviderUnavailable):
        make_provider().stat("a/file")


# What is left by a process that dies in the middle


@pytest.mark.parametrize("effect", [cut, lose_answer], ids=["before a request", "before its answer"])
@pytest.mark.parametrize("hidden", [(), tuple(EXTENSIONS)], ids=["", "without extensions"])
def test_what_a_death_at_any_request_leaves_is_removed(
    lying_sftp_server: LyingSftpServer, effect: Effect, hidden: tuple[bytes, ...]
) -> None:
    """For the server, a client that dies is a connection that ends: before each request of storing an object and a
    manifest, hashing the object by a command and deleting it. No file stays, and no directory that was made.
    """
    base_path = lying_sftp_server.new_directory()
    below = re.escape(os.fsencode(base_path)) + b"/"
    lying_sftp_server.commands, lying_sftp_server.hidden_extensions = run_command, hidden
    try:
        for number in itertools.count(1):
            fault = Fault("*", effect, below, calls=(number,))
            with contextlib.closing(SftpProvider(row(lying_sftp_server, base_path))) as provider:
                lying_sftp_server.faults = [fault]
                with contextlib.suppress(ProviderUnavailable):
                    store_prove_and_delete(provider)
                lying_sftp_server.faults = []
                remove_leftovers(provider)
            assert list(base_path.iterdir()) == [], f"request {number}"
            if not fault.struck:
                break
    finally:
        lying_sftp_server.commands, lying_sftp_server.hidden_extensions, lying_sftp_server.faults = None, (), []
    assert number > 15


def store_prove_and_delete(provider: SftpProvider) -> None:
    provider.put("p/executions/1/a/b/file", BytesSource(b"x"))
    provider.put("p/executions/1.manifest", BytesSource(b"{}"))
    list(provider.digests(["p/executions/1.manifest"]))
    provider.delete("p/executions/1/a/b/file")


def remove_leftovers(provider: SftpProvider) -> None:
    """What the next run does with what an attempt left."""
    provider.discard_unfinished("p/executions/1/")
    provider.discard_unfinished("p/executions/1.manifest")
    for stored in list(provider.list("p/executions/1/")):
        provider.delete(stored.key)
    provider.delete("p/executions/1.manifest")


@pytest.mark.parametrize("other", ["a\u00e9", "Ae\u0301"])
def test_a_server_that_folds_names_is_seen(lying_sftp_server: LyingSftpServer, other: str) -> None:
    """One that takes no heed of case, or of how Unicode composes a character, finds a file by names that it has not."""
    base_path = lying_sftp_server.new_directory()
    stored, asked = (f".janitor-check-names-{name}".encode() for name in ("A\u00e9", other))

    def find_by_another_name(request: Request) -> None:
        path = request.paths.replace(asked, stored)
        request.forward(len(path).to_bytes(4, "big") + path)

    provider = SftpProvider(row(lying_sftp_server, base_path))
    with lying_sftp_server.going_wrong(Fault("LSTAT", find_by_another_name, re.escape(asked))):
        assert provider.folds_names("p")
    provider.close()
    assert list(base_path.iterdir()) == []


def test_a_server_that_cannot_replace_in_one_request_is_known(lying_sftp_server: LyingSftpServer) -> None:
    lying_sftp_server.hidden_extensions = tuple(EXTENSIONS)
    try:
        provider = SftpProvider(row(lying_sftp_server, lying_sftp_server.new_directory()))
        assert not provider.replaces_safely()
        provider.close()
    finally:
        lying_sftp_server.hidden_extensions = ()
