"""Secrets that a provider's row names instead of holding: `{"secreto": "name"}`, encrypted in `secretos_nube`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from config.fields import FieldError
from config.logs import learn_secrets

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

KEYS_VARIABLE = "JANITOR_SECRET_KEYS"

PUT_KEY_BACK = "ponga la clave anterior detrás de la nueva, separadas por una coma"

SECRET_FIELDS = (
    *("secret_key", "session_token", "connection_string", "account_key", "sas_token"),
    *("password", "private_key", "private_key_passphrase"),
)
"""Fields of `credenciales` that give access to anyone who reads them. SFTP and service accounts use `private_key`."""

SHORTEST_SECRET_OF_ANY_FIELD = 8
"""A shorter user name or host (`sage`, say) is part of every path, and redacting it would spoil the log. Passwords
and other real secrets are learnt by their fields, whatever their length."""

FetchSecret = Callable[[str], bytes | None]
"""Returns the encrypted value (`valor_cifrado`) of a name, `None` if there is no such row."""


class SecretKeys:
    """The keys in `JANITOR_SECRET_KEYS`: the first one encrypts, and each decrypts what it encrypted before.

    The tokens are Fernet's (https://github.com/fernet/spec): AES-128-CBC, authenticated with HMAC-SHA256.
    """

    def __init__(self, fernets: Sequence[Fernet]) -> None:
        from cryptography.fernet import MultiFernet

        self._fernets = tuple(fernets)
        self._all = MultiFernet(self._fernets)

    @classmethod
    def from_environment(cls) -> SecretKeys:
        """The keys of this process. Raises `FieldError`, never with a value, if there is no key or one is invalid."""
        from cryptography.fernet import Fernet

        keys = os.environ.get(KEYS_VARIABLE, "").replace(",", " ").split()
        if not keys:
            raise FieldError(f"falta la variable {KEYS_VARIABLE}; secret new-key escribe una clave nueva")
        fernets = []
        for number, key in enumerate(keys, start=1):
            learn_secrets(key)
            try:
                fernets.append(Fernet(key))
            except ValueError:
                raise FieldError(
                    f"{KEYS_VARIABLE}: la clave número {number} no es válida (32 bytes en base64 de URL)"
                ) from None
        return cls(fernets)

    def encrypt(self, secret: str) -> str:
        """An ASCII token that only these keys open."""
        return self._all.encrypt(secret.encode()).decode()

    def renew(self, encrypted: bytes) -> str | None:
        """The same secret in a token of the first key; `None` if none of the keys opens it."""
        from cryptography.fernet import InvalidToken

        try:
            return self._all.rotate(encrypted).decode()
        except InvalidToken:
            return None

    def open(self, encrypted: bytes) -> tuple[int, bytes] | None:
        """The index of the key that opens a token, and the token's content; `None` if no key does."""
        from cryptography.fernet import InvalidToken

        for place, fernet in enumerate(self._fernets):
            try:
                return place, fernet.decrypt(encrypted)
            except InvalidToken:
                continue
        return None


def resolve_secrets(credentials: object, fetch: FetchSecret) -> object:
    """`credentials` with every `{"secreto": name}`, at any depth, replaced by its secret.

    The redactor learns every secret, in any field: an encrypted host name must not appear in a log either.
    Raises `FieldError` naming the secret, never its value, when it is missing or none of the keys opens it.
    """
    name = _name_in(credentials)
    if name is not None:
        return _decrypt(name, fetch(name))
    if isinstance(credentials, Mapping):
        return {key: resolve_secrets(value, fetch) for key, value in credentials.items()}
    return credentials


def named_secrets(credentials: object) -> Iterator[str]:
    """The names that `resolve_secrets` would look up, in order, with repetitions."""
    name = _name_in(credentials)
    if name is not None:
        yield name
    elif isinstance(credentials, Mapping):
        for value in credentials.values():
            yield from named_secrets(value)


def literal_secrets(credentials: object) -> tuple[str, ...]:
    """The fields of `SECRET_FIELDS` that hold their secret in plain text, readable by anyone who may read the row."""
    if not isinstance(credentials, Mapping):
        return ()
    return tuple(name for name in SECRET_FIELDS if isinstance(credentials.get(name), str) and credentials[name])


def _name_in(credentials: object) -> str | None:
    if isinstance(credentials, Mapping) and len(credentials) == 1:
        name = credentials.get("secreto")
        return name if isinstance(name, str) else None
    return None


def _decrypt(name: str, encrypted: bytes | None) -> str:
    try:
        keys = SecretKeys.from_environment()
    except FieldError as error:
        raise FieldError(f"el secreto {name!r} está cifrado y no se puede abrir: {error}") from None
    if encrypted is None:
        raise FieldError(f"no existe el secreto {name!r} en secretos_nube")
    opened = keys.open(encrypted)
    if opened is None:
        raise FieldError(f"ninguna clave de {KEYS_VARIABLE} abre el secreto {name!r}: {PUT_KEY_BACK}")
    try:
        secret = opened[1].decode()
    except UnicodeDecodeError:
        raise FieldError(f"el secreto {name!r} no es un texto en UTF-8") from None
    if len(secret) >= SHORTEST_SECRET_OF_ANY_FIELD:
        learn_secrets(secret)
    return secret
