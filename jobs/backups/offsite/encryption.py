"""Encrypts what leaves this host with age, for the owners of some keys. The host needs no private key for it.

Nothing is held in memory. The library hides the errors of the files that it is given: they are kept, and raised again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from config.errors import ConfigurationError
from config.logs import learn_secrets
from config.text.files import UnreadableFile, read_text
from jobs.backups.errors import BackupError, DamagedBackup

Identity = object
"""A private key, as the library has it."""

Recipient = object
"""A public key."""

SECRET_KEY = "AGE-SECRET-KEY-"  # noqa: S105 how a line with one begins
OPENSSH_KEY = "-----BEGIN "
SSH_RECIPIENT = "ssh-"


IF_PROTECTED = (
    "; si una contraseña la protege, dé otro fichero sin ella: 'age -d -o OTRO FICHERO', o en una copia de una de ssh, "
    "'ssh-keygen -p'"
)

NO_KEY_FITS = "No matching keys found"
"""How the library says that a file is for other keys, or that the line of one is damaged."""


class CannotDecrypt(BackupError):
    """A file is not for the keys that were given, as far as can be told."""


def require_recipients(recipients: Sequence[str]) -> None:
    """Raise `ConfigurationError` for what is no public key of age. Call it before anything is written."""
    for position, text in enumerate(recipients, start=1):
        try:
            _recipient(text)
        except ValueError as error:
            raise ConfigurationError(
                f"BACKUP_RECIPIENTS: la clave número {position} no es una clave pública de age (age1… o ssh-…); "
                "haga un par con 'age-keygen' y ponga aquí la pública"
            ) from error


def identities_in(path: Path) -> list[Identity]:
    """The private keys of a file, as `age-keygen` and `ssh-keygen` write it. Raises `ConfigurationError`."""
    try:
        text = read_text(path)
        learn_secrets([line for line in text.splitlines() if line.startswith(SECRET_KEY)])
        found = list(_identities(text))
    except UnreadableFile as error:
        raise ConfigurationError(
            f"el fichero de la clave privada (--identity o BACKUP_IDENTITY_FILE) {error}{IF_PROTECTED}"
        ) from error
    except ValueError:  # its message could quote the key
        raise ConfigurationError(
            "el fichero de la clave privada (--identity o BACKUP_IDENTITY_FILE) tiene una clave que no se "
            f"entiende{IF_PROTECTED}"
        ) from None
    if not found:
        raise ConfigurationError(
            f"el fichero de --identity o de BACKUP_IDENTITY_FILE no tiene ninguna clave privada ({SECRET_KEY}…)"
        )
    return found


def identities_of(path: Path | None) -> list[Identity]:
    """The private keys of a file, none without one. Raises `ConfigurationError`."""
    return [] if path is None else identities_in(path)


def encrypt(chunks: Iterable[bytes], write: Callable[[bytes], object], recipients: Sequence[str]) -> None:
    """Encrypt. Raises whatever `chunks` and `write` raise."""
    import pyrage

    ends = _Ends(_reader(chunks), write)
    try:
        pyrage.encrypt_io(ends, ends, [_recipient(text) for text in recipients])
    except (pyrage.EncryptError, OSError) as error:
        ends.raise_own()
        raise BackupError(f"no se pudo cifrar: {error}") from error


def decrypt(chunks: Iterable[bytes], write: Callable[[bytes], object], identities: Sequence[Identity]) -> None:
    """Decrypt. Raises `CannotDecrypt`, and whatever `chunks` and `write` raise.

    Raises `DamagedBackup`, perhaps after a part was written, where it is not what was encrypted: a key fits, and yet
    its beginning or something behind it does not.
    """
    import pyrage

    ends = _Ends(_reader(chunks), write)
    try:
        pyrage.decrypt_io(ends, ends, identities)
    except (pyrage.DecryptError, OSError) as error:
        ends.raise_own()
        if str(error) != NO_KEY_FITS:
            raise DamagedBackup("está dañado: no es lo que se cifró") from error
        raise CannotDecrypt(
            "no se pudo descifrar: el archivo no es para la clave privada de --identity o BACKUP_IDENTITY_FILE, o está "
            "dañado; dé la clave privada de una de las que había en BACKUP_RECIPIENTS cuando se guardó"
        ) from error


class _Ends:
    """Both ends of a stream as the library needs them; keeps the first error."""

    def __init__(self, read: Callable[[int], bytes], write: Callable[[bytes], object]) -> None:
        self._read = read
        self._write = write
        self._error: BaseException | None = None

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; none at the end."""
        try:
            return self._read(size)
        except BaseException as error:
            self._error = self._error or error
            raise

    def write(self, data: bytes) -> int:
        """Write all of the data."""
        try:
            self._write(data)
        except BaseException as error:
            self._error = self._error or error
            raise
        return len(data)

    def flush(self) -> None:
        """Do nothing: nothing is held back."""

    def raise_own(self) -> None:
        """Raise the error of one of the ends, if there was one."""
        if self._error is not None:
            raise self._error


def _reader(chunks: Iterable[bytes]) -> Callable[[int], bytes]:
    """A function that gives the bytes of some chunks in the sizes that are asked for."""
    iterator, rest = iter(chunks), memoryview(b"")

    def read(size: int) -> bytes:
        nonlocal rest
        while not rest:
            chunk = next(iterator, None)
            if chunk is None:
                return b""
            rest = memoryview(chunk)
        taken = rest[:size] if size >= 0 else rest
        rest = rest[len(taken) :]
        return bytes(taken)

    return read


def _recipient(text: str) -> Recipient:
    """Raises `ValueError`."""
    import pyrage

    kind = pyrage.ssh.Recipient if text.startswith(SSH_RECIPIENT) else pyrage.x25519.Recipient
    try:
        recipient: Recipient = kind.from_str(text)
    except pyrage.RecipientError as error:
        raise ValueError(str(error)) from error
    return recipient


def _identities(text: str) -> Iterable[Identity]:
    """Raises `ValueError`."""
    import pyrage

    try:
        if text.lstrip().startswith(OPENSSH_KEY):
            yield pyrage.ssh.Identity.from_buffer(text.encode())
            return
        for line in text.splitlines():
            if line.startswith(SECRET_KEY):
                yield pyrage.x25519.Identity.from_str(line.strip())
    except pyrage.IdentityError as error:
        raise ValueError("identity") from error
