"""The table `secretos_nube`: secrets under their names, encrypted. For `secret` and `check`; no run changes it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NamedTuple

from config.fields import FieldError
from config.secrets import literal_secrets, named_secrets
from sql.connection import Connection, Row
from sql.platform.configuration import json_object, provider_name, stored_bytes


class StoredSecret(NamedTuple):
    """One row of `secretos_nube`: its token, and the column as text, which identifies this state of the row."""

    name: str
    token: bytes
    column_text: str | None


class SecretUse(NamedTuple):
    """The secrets that a provider's row names, and the fields that hold a secret in plain text."""

    provider: str
    active: bool
    names: tuple[str, ...]
    literal_fields: tuple[str, ...]


class StoredSecrets:
    """All secrets, and who uses them. All methods raise as `Connection.query`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def all(self) -> list[StoredSecret]:
        """Every secret, still encrypted, by name; a name twice if it has two values."""
        return [
            StoredSecret(row["nombre"], stored_bytes(row["valor_cifrado"]), row["valor_cifrado"])
            for row in self._connection.query("list_secrets")
        ]

    def store(self, name: str, token: str) -> bool:
        """Replace the encrypted secret of this name and return `True`, or add it: never a second one of a name."""
        # No escapes, as PostgreSQL refuses those that its encoding lacks, even where it holds the text itself.
        secret = json.dumps({"nombre": name, "valor_cifrado": token}, ensure_ascii=False)
        return bool(self._connection.query("store_secret", {"secret": secret})[0]["replaced"])

    def replace(self, renewed: Iterable[tuple[StoredSecret, str]]) -> int | None:
        """Replace all tokens that were read, at once; return their number. If any other token exists by now, change
        nothing and return `None`.
        """
        secrets = [
            {"nombre": secret.name, "valor_cifrado": token, "previous": secret.column_text} for secret, token in renewed
        ]
        (outcome,) = self._connection.query("replace_secrets", {"secrets": json.dumps(secrets, ensure_ascii=False)})
        return None if outcome["changed"] else int(outcome["replaced"])

    def remove(self, name: str) -> bool:
        """Remove a secret; `False` if there was none with this name."""
        return bool(self._connection.query_once("remove_secret", {"name": name}))

    def uses(self) -> list[SecretUse]:
        """How each row of `cloud_providers` refers to its secrets; unreadable rows are left out."""
        return [use for row in self._connection.query("load_providers") if (use := _secret_use(row)) is not None]


def _secret_use(row: Row) -> SecretUse | None:
    try:
        credentials = json_object("credenciales", row["credenciales"], text_allowed=True)
    except FieldError:
        return None
    names = tuple(dict.fromkeys(named_secrets(credentials)))
    return SecretUse(provider_name(row), row["activo"] is True, names, literal_secrets(credentials))
