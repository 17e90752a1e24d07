"""Secrets that a provider's row names instead of holding: `{"secreto": "name"}`, encrypted in `secretos_nube`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from config.fields import FieldError

KEYS_VARIABLE = "JANITOR_SECRET_KEYS"

FetchSecret = Callable[[str], bytes | None]
"""Gives the encrypted value (`valor_cifrado`) of a name, `None` when there is no such row."""


def resolve_secrets(credentials: object, fetch: FetchSecret) -> object:
    """`credentials` with every `{"secreto": name}`, at any depth, replaced by what it stands for.

    Raises `FieldError` naming the secret, never its value, when it is missing or none of the keys opens it.
    """
    if isinstance(credentials, Mapping):
        name = credentials.get("secreto")
        if len(credentials) == 1 and isinstance(name, str):
            return _decrypt(name, fetch(name))
        return {key: resolve_secrets(value, fetch) for key, value in credentials.items()}
    return credentials


def _decrypt(name: str, encrypted: bytes | None) -> str:
    from cryptography.fernet import Fernet, InvalidToken, MultiFernet

    keys = os.environ.get(KEYS_VARIABLE, "").replace(",", " ").split()
    if not keys:
        raise FieldError(f"el secreto {name!r} está cifrado y falta la variable {KEYS_VARIABLE}")
    if encrypted is None:
        raise FieldError(f"no existe el secreto {name!r} en secretos_nube")
    try:
        return MultiFernet([Fernet(key) for key in keys]).decrypt(encrypted).decode()
    except InvalidToken:
        raise FieldError(f"ninguna clave de {KEYS_VARIABLE} abre el secreto {name!r}") from None
    except UnicodeDecodeError:
        raise FieldError(f"el secreto {name!r} no es un texto en UTF-8") from None
    except ValueError:
        raise FieldError(f"{KEYS_VARIABLE}: alguna clave no es válida (32 bytes en base64 de URL)") from None
