"""The policy in force and the rows of providers, as the platform's tables hold them."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from config.errors import ConfigurationError
from config.fields import FieldError
from config.logs import learn_secrets, one_line
from config.models import MigrationPolicy, ProviderRow
from config.secrets import resolve_secrets
from sql.connection import Row
from sql.session import Session

BYTEA_AS_TEXT = r"\\x(?:[0-9a-f]{2})*"


class UnreadableRow(NamedTuple):
    """A row of `cloud_providers` from which no provider can be built, and why."""

    row: Row
    error: FieldError

    @property
    def id(self) -> int:
        """The provider's id."""
        number: int = self.row["id"]
        return number

    @property
    def name(self) -> str:
        """What operators call the provider."""
        return provider_name(self.row)


class ProviderRows(NamedTuple):
    """All rows of `cloud_providers`."""

    readable: Sequence[ProviderRow]
    unreadable: Sequence[UnreadableRow]


class Configuration(Session):
    """The part of `Database` that reads the platform's configuration."""

    def load_policy(self) -> MigrationPolicy | None:
        """The row of `ejecuciones_config` in force, `None` if there is none. Raises `FieldError` for a wrong value."""
        rows = self._connection.query("load_policy")
        return _policy(rows[0]["policy"]) if rows else None

    def load_provider_rows(self) -> Iterator[ProviderRow | UnreadableRow]:
        """Every row of `cloud_providers` with its secrets resolved, or an unreadable row with its error."""
        for row in self._connection.query("load_providers"):
            try:
                yield _provider_row(row, self._fetch_secret)
            except FieldError as error:
                yield UnreadableRow(row, error)

    def sorted_provider_rows(self) -> ProviderRows:
        """The rows of `load_provider_rows`, the readable ones apart from the others."""
        rows = list(self.load_provider_rows())
        readable = [row for row in rows if isinstance(row, ProviderRow)]
        return ProviderRows(readable, [row for row in rows if not isinstance(row, ProviderRow)])

    def local_directories(self) -> list[str]:
        """The `ruta` of every `local` provider, active or not; an unreadable row holds no copies."""
        found = (_local_directory(row) for row in self._connection.query("list_local_directories"))
        return [directory for directory in found if directory is not None]

    def _fetch_secret(self, name: str) -> bytes | None:
        rows = self._connection.query("load_secret", {"name": name})
        if len(rows) > 1:  # the platform's own table may not enforce unique names
            raise FieldError(f"el secreto {name!r} tiene varios valores distintos en secretos_nube")
        return stored_bytes(rows[0]["valor_cifrado"]) if rows else None


def _policy(row: Mapping[str, object]) -> MigrationPolicy:
    """NULL, or a column missing in an older installation, means the column's default."""
    return MigrationPolicy(
        primary_provider_id=_optional_integer(row.get("nube_primaria_id")),
        alternate_provider_ids=_integers(row.get("nubes_alternativas")),
        retention_hours=_retention(row.get("tiempo_retencion_local")),
        key_prefix=_key_prefix(row.get("prefijo_ruta_nube")),
        migrate_automatically=row.get("migrar_automaticamente") is not False,
        delete_after_migration=row.get("eliminar_despues_de_migrar") is True,
    )


def _optional_integer(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _integers(value: object) -> tuple[int, ...]:
    return tuple(item for item in value if isinstance(item, int)) if isinstance(value, list) else ()


def _retention(value: object) -> float:
    if value is None:
        return 0.0
    if not isinstance(value, (int, float)) or value < 0:
        raise FieldError("ejecuciones_config.tiempo_retencion_local: debe ser un número de horas mayor o igual que 0")
    return float(value)


def _key_prefix(value: object) -> str:
    """The prefix without leading, final and doubled slashes."""
    parts = [part for part in str(value or "").split("/") if part]
    if any(part in (".", "..") or not part.isprintable() for part in parts):
        raise FieldError("ejecuciones_config.prefijo_ruta_nube: no admite '.', '..' ni caracteres de control")
    return "/".join(parts)


def _provider_row(row: Row, fetch_secret: Callable[[str], bytes | None]) -> ProviderRow:
    credentials = json_object("credenciales", row["credenciales"], text_allowed=True)
    learn_secrets(credentials)
    tokens: list[bytes] = []
    resolved = resolve_secrets(credentials, _noting(tokens, fetch_secret))
    if isinstance(resolved, str) and resolved.lstrip().startswith("{"):  # a secret that holds a whole JSON object
        resolved = json_object("credenciales", resolved, text_allowed=False)
    learn_secrets(resolved)
    options = json_object("configuracion", row["configuracion"], text_allowed=False)
    return ProviderRow(
        id=row["id"],
        name=provider_name(row),
        kind=str(row["tipo"]).strip().lower(),
        credentials=resolved if isinstance(resolved, (Mapping, str)) else None,
        options=options if isinstance(options, Mapping) else {},
        active=row["activo"] is True,
        identity=_identity_of(row, tokens),
    )


def _noting(tokens: list[bytes], fetch_secret: Callable[[str], bytes | None]) -> Callable[[str], bytes | None]:
    """The same function, which also keeps what it returns."""

    def fetch(name: str) -> bytes | None:
        token = fetch_secret(name)
        tokens.append(token or b"")
        return token

    return fetch


def _identity_of(row: Row, tokens: Iterable[bytes]) -> str:
    """A short checksum of a provider's settings as they are stored. Others may read the table that keeps it: 32 bits
    confirm no guess of a password.
    """
    parts = (row["tipo"], row["credenciales"], row["configuracion"], *(token.hex() for token in tokens))
    return f"{zlib.crc32(json.dumps(parts).encode()):08x}"


def provider_name(row: Row) -> str:
    """The provider's name for operators: its id if it has no name."""
    name = one_line(row["nombre"] or "")
    return name if name.strip() else f"con id {row['id']}"


def _local_directory(row: Row) -> str | None:
    try:
        options = json_object("configuracion", row["configuracion"], text_allowed=False)
    except FieldError:
        return None
    directory = options.get("ruta") if isinstance(options, Mapping) else None
    return directory if isinstance(directory, str) and directory and "\0" not in directory else None


def json_object(column: str, text: str | None, *, text_allowed: bool) -> Mapping[str, object] | str | None:
    """The content of a JSON, JSONB or TEXT column: an object, JSON text within JSON, or a bare path if allowed."""
    if text is None or text.strip() in ("", "null"):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = text.strip() if text_allowed and not text.lstrip().startswith(("{", "[")) else None
    if isinstance(value, str) and value.lstrip().startswith("{"):
        return json_object(column, value, text_allowed=text_allowed)
    if isinstance(value, Mapping) or (isinstance(value, str) and text_allowed):
        return value
    raise FieldError(f"{column}: debe ser un objeto JSON")


def stored_bytes(text: str | None) -> bytes:
    """The bytes of a TEXT column, or of a BYTEA column, whose text is `\\x` and hexadecimal digits."""
    if text is None:
        return b""
    if re.fullmatch(BYTEA_AS_TEXT, text):
        return bytes.fromhex(text[2:])
    return text.strip().encode()


def provider_named(providers: Sequence[tuple[int, str]], written: str) -> int:
    """The id of the one among these providers, each with its id and name, that an operator names by either.

    Raises `ConfigurationError`, which lists all of them.
    """
    found = [number for number, name in providers if written == str(number)]
    found = found or [number for number, name in providers if written == name]
    if len(found) == 1:
        return found[0]
    if not providers:
        raise ConfigurationError("cloud_providers no tiene ninguna fila: añada la del proveedor que guarda las copias")
    known = ", ".join(f"{number} ({one_line(name)})" for number, name in providers)
    if found:
        raise ConfigurationError(
            f"hay varios proveedores con el nombre {one_line(written)}: indique su id; hay {known}"
        )
    raise ConfigurationError(f"no hay ningún proveedor con el id o el nombre {one_line(written)}; hay {known}")
