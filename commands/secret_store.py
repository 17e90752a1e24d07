"""Providers' secrets, encrypted in `secretos_nube`: stored, listed, re-encrypted, removed.

The keys are in `JANITOR_SECRET_KEYS` and nowhere else: the database never sees a key or a plaintext secret.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from config.errors import ConfigurationError
from config.logs import learn_secrets, one_line
from config.secrets import KEYS_VARIABLE, SecretKeys
from sql.database import Database
from sql.platform.stored_secrets import StoredSecret

LONGEST_NAME_CHARACTERS = 255
LARGEST_SECRET_BYTES = 1024 * 1024
TRIES_OF_ROTATION = 5


class SecretRefused(ConfigurationError):
    """An operation on a secret is impossible. The message, in Spanish, names secrets, never values."""


@dataclass(frozen=True, slots=True)
class SecretListing:
    """What may be shown of one name: how it is encrypted, in Spanish, and which providers use it."""

    name: str
    state: str
    providers: tuple[str, ...]

    def __str__(self) -> str:
        use = f"lo usa {', '.join(self.providers)}" if self.providers else "no lo usa ningún proveedor"
        return f"{one_line(self.name)}: {self.state}; {use}"


def new_key() -> str:
    """A fresh key for `JANITOR_SECRET_KEYS`."""
    from cryptography.fernet import Fernet

    return Fernet.generate_key().decode()


def read_secret(stream: BinaryIO) -> str:
    """The secret in a stream, without one line end at its end. Raises `SecretRefused`."""
    content = stream.read(LARGEST_SECRET_BYTES + 1)
    if len(content) > LARGEST_SECRET_BYTES:
        raise SecretRefused(f"el valor ocupa más de {LARGEST_SECRET_BYTES} bytes")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise SecretRefused("el valor no es un texto en UTF-8") from None
    return text.removesuffix("\r\n") if text.endswith("\r\n") else text.removesuffix("\n")


def set_secret(database: Database, name: str, ask: Callable[[], str]) -> bool:
    """Encrypt the secret from `ask` with the first key and store it; return whether it replaced one.

    Name and keys are checked before `ask` is called. Raises `SecretRefused`, `FieldError` for the keys, and
    `DatabaseError`.
    """
    _require_name(name)
    keys = SecretKeys.from_environment()
    database.connect()
    value = ask()
    learn_secrets(value)
    if not value:
        raise SecretRefused("el valor está vacío; no se guardó nada")
    return database.stored_secrets.store(name, keys.encrypt(value))


def list_secrets(database: Database) -> Iterator[SecretListing]:
    """Every stored name, then those that a provider uses but that are not stored. Raises `FieldError`."""
    keys = SecretKeys.from_environment()
    stored = database.stored_secrets.all()
    names = [secret.name for secret in stored]
    uses = _uses(database)
    for secret in stored:
        state = "tiene varios valores distintos" if names.count(secret.name) > 1 else _state(keys, secret)
        yield SecretListing(secret.name, state, tuple(uses.get(secret.name, ())))
    for name, providers in sorted(uses.items()):
        if name not in names:
            yield SecretListing(name, "NO EXISTE", tuple(providers))


def rotate_secrets(database: Database) -> int:
    """Re-encrypt every secret with the first key, all or none; return how many. Afterwards it decrypts them all.

    Raises `SecretRefused`, with the name, when one cannot be decrypted, or when others keep changing them.
    """
    keys = SecretKeys.from_environment()
    for _ in range(TRIES_OF_ROTATION):
        count = database.stored_secrets.replace(_encrypted_anew(keys, database.stored_secrets.all()))
        if count is not None:
            return count
    raise SecretRefused("los secretos cambian mientras se cifran de nuevo; no se cambió ninguno, repítalo")


def remove_secret(database: Database, name: str) -> None:
    """Remove a secret that no active provider uses. Raises `SecretRefused`."""
    active = [use.provider for use in database.stored_secrets.uses() if use.active and name in use.names]
    if active:
        raise SecretRefused(f"el secreto {name!r} lo usa {', '.join(active)}; con --force se borra igualmente")
    force_removal(database, name)


def force_removal(database: Database, name: str) -> None:
    """Remove a secret even if a provider uses it. Raises `SecretRefused` when there is none of this name."""
    if not database.stored_secrets.remove(name):
        raise SecretRefused(f"no existe el secreto {name!r} en secretos_nube")


def _require_name(name: str) -> None:
    if not (name.strip() and name.isprintable() and len(name) <= LONGEST_NAME_CHARACTERS):
        raise SecretRefused(f"el nombre debe tener de 1 a {LONGEST_NAME_CHARACTERS} caracteres imprimibles")


def _state(keys: SecretKeys, secret: StoredSecret) -> str:
    opened = keys.open(secret.token)
    if opened is None:
        return f"NO SE PUEDE DESCIFRAR con {KEYS_VARIABLE}"
    place, _ = opened
    return "cifrado con la clave actual" if place == 0 else f"cifrado con una clave anterior (la número {place + 1})"


def _uses(database: Database) -> dict[str, list[str]]:
    uses: dict[str, list[str]] = {}
    for use in database.stored_secrets.uses():
        for name in use.names:
            uses.setdefault(name, []).append(use.provider if use.active else f"{use.provider} (inactivo)")
    return uses


def _encrypted_anew(keys: SecretKeys, stored: Iterable[StoredSecret]) -> list[tuple[StoredSecret, str]]:
    """Each secret with its new token, or `SecretRefused` with the names of those that no key decrypts."""
    renewed = [(secret, keys.renew(secret.token)) for secret in stored]
    closed = [repr(secret.name) for secret, token in renewed if token is None]
    if closed:
        raise SecretRefused(f"ninguna clave de {KEYS_VARIABLE} abre {', '.join(closed)}; no se cambió ninguno")
    return [(secret, token) for secret, token in renewed if token is not None]
