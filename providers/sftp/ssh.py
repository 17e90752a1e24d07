"""SSH connections: verify the server, authenticate, and bound every wait."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import io
import itertools
import logging
import re
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import paramiko
from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from config.fields import FieldError, Fields
from config.logs import one_line
from config.text.wording import reason_of
from providers.base import ANSWER_TIMEOUT_SECONDS, CONNECT_TIMEOUT_SECONDS, TRANSFER_TIMEOUT_SECONDS
from providers.connecting import connect
from providers.errors import ConnectionDenied, ProviderError, ProviderUnavailable
from providers.sftp.packets import SessionLost, string
from providers.sftp.protocol import Pulse, SftpSession
from providers.sftp.ssh_authentication import Authentication, TooManyAttempts, TransportThatListens

OPENING_SECONDS = CONNECT_TIMEOUT_SECONDS + ANSWER_TIMEOUT_SECONDS
"""How long a connection may take to be ready once TCP is up: with it, under fifteen seconds in all."""

KEY_TYPE = re.compile(r"(ssh|ecdsa|sk)-[a-z0-9@.-]+")
KEY_CLASSES: tuple[tuple[type, type[paramiko.PKey]], ...] = (
    (rsa.RSAPrivateKey, paramiko.RSAKey),
    (ec.EllipticCurvePrivateKey, paramiko.ECDSAKey),
    (ed25519.Ed25519PrivateKey, paramiko.Ed25519Key),
)

logging.getLogger("paramiko").setLevel(logging.CRITICAL)
"""Its errors are raised as exceptions; its log would also show operators English tracebacks."""


KEEPALIVE_SECONDS = 60
"""A keepalive follows a silence of this length: firewalls drop idle connections, and low bandwidth causes silences."""

RECEIVE_BYTES = 256 * 1024

NO_EXIT_STATUS = -1
"""paramiko's exit status if the server sent none, as for a channel closed meanwhile."""

OF_ITS_THREAD = (EOFError, OSError, InvalidTag)
"""What paramiko passes on from the thread that reads the connection; the last one where bytes arrive damaged."""

BROKEN = (paramiko.SSHException, *OF_ITS_THREAD)
"""paramiko's exceptions when a connection ends, is refused something or goes silent, also from `close`."""


class ConnectionFull(Exception):
    """The server allows no further channel on this connection."""


class CommandFailed(Exception):
    """A command could not be run, or did not succeed."""


class CommandUnanswered(CommandFailed):
    """It was not run, or did not end: another command would fare no better."""


class Closable(Protocol):
    """A channel or a transport."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class SshSettings:
    """Where to connect, as whom, and which public keys (in SSH's binary form) the server may show.

    With a private key, the password is used only if the server also requires it, or accepts no keys.
    """

    host: str
    port: int
    username: str
    password: str | None = field(repr=False)
    private_key: paramiko.PKey | None = field(repr=False)
    trusted_keys: frozenset[bytes]


def read_settings(fields: Fields) -> SshSettings:
    """Read `credenciales`. Raises `FieldError`."""
    host = _host(fields.required_text("host").strip())
    port = fields.integer("port", default=22, minimum=1, maximum=65535)
    password, private_key = fields.text("password"), fields.text("private_key")
    if password is None and private_key is None:
        raise FieldError("credenciales.password: falta (o private_key)")
    return SshSettings(
        host=host,
        port=port,
        username=fields.required_text("username"),
        password=password,
        private_key=_load_private_key(private_key, fields.text("private_key_passphrase")) if private_key else None,
        trusted_keys=_trusted_keys(fields.text("host_key"), fields.text("known_hosts"), host, port),
    )


def _host(text: str) -> str:
    """Raises `FieldError` for a name that cannot be resolved: Python raises `UnicodeError` for it."""
    try:
        text.encode("idna")
    except UnicodeError:
        raise FieldError("credenciales.host: no es el nombre ni la dirección de un servidor") from None
    return text


def _load_private_key(text: str, passphrase: str | None) -> paramiko.PKey:
    """Read a private key of any format that `cryptography` knows; paramiko knows fewer, and not all for each type."""
    content = text.strip().replace("\r\n", "\n").encode() + b"\n"
    is_openssh = b"BEGIN OPENSSH PRIVATE KEY" in content
    load = serialization.load_ssh_private_key if is_openssh else serialization.load_pem_private_key
    try:
        key = load(content, passphrase.encode() if passphrase else None)
    except TypeError:  # a passphrase is missing, or given to a key that needs none
        if not passphrase:
            raise FieldError("credenciales.private_key_passphrase: falta, y la clave está cifrada") from None
        return _load_private_key(text, None)
    except (ValueError, UnsupportedAlgorithm):
        raise FieldError(
            "credenciales.private_key: no es una clave privada PEM u OpenSSH, o private_key_passphrase no la abre"
        ) from None
    return _as_paramiko_key(key)


def _as_paramiko_key(key: object) -> paramiko.PKey:
    if isinstance(key, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey)):
        paramiko_class = next(paramiko_class for key_class, paramiko_class in KEY_CLASSES if isinstance(key, key_class))
        plain = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        )
        with contextlib.suppress(paramiko.SSHException):  # an elliptic curve that SSH does not know
            return paramiko_class.from_private_key(io.StringIO(plain.decode()))
    raise FieldError("credenciales.private_key: el tipo de clave no se admite (use ed25519, ecdsa o rsa)")


def _trusted_keys(host_key: str | None, known_hosts: str | None, host: str, port: int) -> frozenset[bytes]:
    """The public keys that the two fields allow for a host; `known_hosts` may have none. Raises `FieldError`."""
    if host_key is None and known_hosts is None:
        raise FieldError("credenciales.host_key: falta (o known_hosts); un servidor sin clave conocida no se acepta")
    trusted = set()
    if host_key is not None:
        trusted = {_public_key(line) for line in _lines(host_key)}
        if not trusted or None in trusted:
            raise FieldError("credenciales.host_key: debe ser una clave pública, como 'ssh-ed25519 AAAA...'")
    if known_hosts is not None:
        lines = list(_lines(known_hosts))
        if not any(_public_key(line) for line in lines):
            raise FieldError("credenciales.known_hosts: no contiene ninguna clave pública")
        ours = [line for line in lines if _concerns(line, host, port)]
        trusted |= {_public_key(line) for line in ours if not line.startswith("@")}
        trusted -= {_public_key(line) for line in ours if line.startswith("@revoked")}
    return frozenset(key for key in trusted if key is not None)


def _lines(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            yield line.strip()


def _public_key(line: str) -> bytes | None:
    """The key in a line of a public key file or of `known_hosts`, in SSH's binary form."""
    words = line.split()
    for key_type, encoded in itertools.pairwise(words):
        if KEY_TYPE.fullmatch(key_type):
            with contextlib.suppress(binascii.Error):
                key = base64.b64decode(encoded, validate=True)
                return key if key.startswith(string(key_type.encode())) else None
    return None


def _concerns(line: str, host: str, port: int) -> bool:
    """Whether a line of `known_hosts` is about a host: with its port, or, as OpenSSH has it, without any.

    Format: sshd(8), section "SSH_KNOWN_HOSTS FILE FORMAT".
    """
    words = line.split()
    patterns = words[1 if line.startswith("@") else 0].split(",")
    names = (f"[{host.lower()}]:{port}", host.lower())
    if any(pattern.startswith("!") and _matches(pattern[1:], names) for pattern in patterns):
        return False
    return any(_matches(pattern, names) for pattern in patterns)


def _matches(pattern: str, names: Iterable[str]) -> bool:
    if pattern.startswith("|1|"):
        return any(_is_hash_of(pattern, name) for name in names)
    expression = "".join({"*": ".*", "?": "."}.get(character, re.escape(character)) for character in pattern.lower())
    return any(re.fullmatch(expression, name) for name in names)


def _is_hash_of(pattern: str, name: str) -> bool:
    try:
        _, _, salt, digest = pattern.split("|")
        expected = base64.b64decode(digest, validate=True)
        actual = hmac.new(base64.b64decode(salt, validate=True), name.encode(), hashlib.sha1).digest()
    except ValueError:
        return False
    return hmac.compare_digest(expected, actual)


class SshConnection:
    """One authenticated connection. May be used from several threads."""

    def __init__(self, settings: SshSettings) -> None:
        """Connect. Raises `ProviderUnavailable` or `ConnectionDenied`."""
        where = one_line(f"{settings.host}:{settings.port}")
        self._transport = _open_transport(settings, where)
        self._pulse = Pulse(time.monotonic())
        with contextlib.ExitStack() as stack:
            stack.callback(self._transport.close)
            try:
                with _closed_after(self._transport, OPENING_SECONDS):
                    _negotiate(self._transport, settings)
            except ProviderError:
                raise
            except Exception as error:  # paramiko passes on any exception of its own thread
                raise _explain(error, where) from error
            stack.pop_all()

    @property
    def alive(self) -> bool:
        """Whether the connection is not known to have ended."""
        return self._transport.is_active()

    def open_sftp(self) -> SftpSession:
        """Begin a session. Raises `ConnectionFull`, `SessionLost`, `ConnectionDenied`."""
        channel = self._open_channel()
        deadline = time.monotonic() + ANSWER_TIMEOUT_SECONDS
        try:
            with _closed_after(channel, ANSWER_TIMEOUT_SECONDS):
                channel.invoke_subsystem("sftp")
            return SftpSession(channel, self._pulse, ANSWER_TIMEOUT_SECONDS, TRANSFER_TIMEOUT_SECONDS)
        except paramiko.SSHException as error:
            if not self.alive or time.monotonic() >= deadline:
                raise SessionLost("se perdió la conexión") from error
            raise ConnectionDenied("el servidor no abre el subsistema sftp para esta cuenta") from error
        except OF_ITS_THREAD as error:
            raise SessionLost("se perdió la conexión") from error
        except BaseException:
            with contextlib.suppress(*BROKEN):
                channel.close()
            raise

    def run(self, command: str, standard_input: bytes, deadline_seconds: float) -> bytes:
        """The output of a command on the server. Raises `CommandFailed` unless it succeeds in time.

        `standard_input` is sent before any output is read, so both must fit into a channel's window.
        """
        try:
            with self._open_channel() as channel, _closed_after(channel, deadline_seconds):
                channel.exec_command(command)
                with contextlib.suppress(OSError):  # it may end without reading; then its exit status tells why
                    channel.sendall(standard_input)
                    channel.shutdown_write()
                output = b"".join(iter(lambda: channel.recv(RECEIVE_BYTES), b""))
                status = channel.recv_exit_status()
        except (*BROKEN, SessionLost, ConnectionFull) as error:
            raise CommandUnanswered("el servidor no ejecuta órdenes para esta cuenta") from error
        if status == NO_EXIT_STATUS:
            raise CommandUnanswered("la orden no terminó a tiempo")
        if status != 0:
            raise CommandFailed(f"la orden terminó con el código {status}")
        return output

    def close(self) -> None:
        """End the connection and everything running on it."""
        self._transport.close()

    def _open_channel(self) -> paramiko.Channel:
        try:
            return self._transport.open_session(timeout=ANSWER_TIMEOUT_SECONDS)
        except paramiko.ChannelException as error:
            raise ConnectionFull("el servidor no abre más canales") from error
        except BROKEN as error:
            raise SessionLost("se perdió la conexión") from error


def _open_transport(settings: SshSettings, where: str) -> paramiko.Transport:
    try:
        tcp = connect(settings.host, settings.port, CONNECT_TIMEOUT_SECONDS)
    except OSError as error:
        raise ProviderUnavailable(f"no se pudo conectar con {where}: {_explain_socket(error)}") from error
    try:
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # paramiko would retry sending for ever; the kernel gives up when nothing is acknowledged for this long.
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(TRANSFER_TIMEOUT_SECONDS * 1000))
        transport = TransportThatListens(tcp)
    except BaseException:
        tcp.close()
        raise
    transport.banner_timeout = transport.handshake_timeout = ANSWER_TIMEOUT_SECONDS
    transport.auth_timeout = transport.channel_timeout = ANSWER_TIMEOUT_SECONDS
    transport.set_keepalive(KEEPALIVE_SECONDS)
    return transport


def _negotiate(transport: paramiko.Transport, settings: SshSettings) -> None:
    """Negotiate, verify the server's key, and authenticate. Raises `ConnectionDenied`, and paramiko's exceptions."""
    options = transport.get_security_options()
    options.ciphers = sorted(options.ciphers, key=lambda cipher: "gcm" not in cipher)  # one pass over the bytes
    expected = {key[4 : 4 + int.from_bytes(key[:4], "big")].decode() for key in settings.trusted_keys}
    options.key_types = sorted(options.key_types, key=lambda algorithm: _key_type_of(algorithm) not in expected)
    transport.start_client(timeout=ANSWER_TIMEOUT_SECONDS)
    where = one_line(f"{settings.host}:{settings.port}")
    shown = transport.get_remote_server_key().asbytes()
    if shown not in settings.trusted_keys:
        digest = base64.b64encode(hashlib.sha256(shown).digest()).decode().rstrip("=")
        key_type = transport.get_remote_server_key().get_name()
        reason = (
            "cambiada: no es la que está guardada; si el servidor la cambió a sabiendas, corrija credenciales.host_key"
            if key_type in expected
            else "desconocida: de este tipo no hay ninguna guardada; compruébela y guárdela en credenciales.host_key"
        )
        raise ConnectionDenied(f"{where} muestra una clave de host {reason} ({key_type} SHA256:{digest})")
    Authentication(transport, settings.username, settings.private_key, settings.password).perform(where)


def _key_type_of(algorithm: str) -> str:
    """The type of key that a host key algorithm uses: RSA keys sign in several ways."""
    return "ssh-rsa" if algorithm.startswith("rsa-sha2-") else algorithm


def _explain(error: Exception, where: str) -> ProviderError:
    if isinstance(error, TooManyAttempts):
        return ConnectionDenied(f"{where} no acepta las credenciales: cortó la conexión por demasiados intentos")
    if isinstance(error, paramiko.AuthenticationException):  # it takes none of the algorithms that a key can sign with
        return ConnectionDenied(f"{where} no acepta las credenciales: no admite el tipo de la clave privada")
    if isinstance(error, paramiko.ssh_exception.IncompatiblePeer):
        return ProviderUnavailable(f"{where} no comparte ningún algoritmo SSH con este programa")
    return ProviderUnavailable(f"{where} no completó la conexión SSH")


def _explain_socket(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "no responde"
    if isinstance(error, ConnectionRefusedError):
        return "conexión rechazada"
    if isinstance(error, socket.gaierror):
        return "no se encuentra el nombre del servidor"
    return reason_of(error) if error.errno else "error de red"


@contextlib.contextmanager
def _closed_after(closable: Closable, seconds: float) -> Iterator[None]:
    """Close a channel or transport after a timeout: some of paramiko's waits are unbounded."""
    timer = threading.Timer(seconds, closable.close)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
