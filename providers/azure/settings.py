"""The settings of an Azure container in a row of `cloud_providers`."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from azure.storage.blob import BlobServiceClient

from config.fields import FieldError, Fields, is_plain_url
from config.models import ProviderRow

ACCESS_TIERS = ("Hot", "Cool", "Cold")
"""Tiers whose blobs can be read at once. See `_access_tier` for the fourth one."""

ACCOUNT_NAME = re.compile(r"[a-z0-9]{3,24}")
CONTAINER_NAME = re.compile(r"\$root|\$web|[a-z0-9](?:-?[a-z0-9]){2,62}")
SAS_TOKEN = re.compile(r"(?=.*\bsig=)[^\s&=?]+=[^\s&]*(?:&[^\s&=]+=[^\s&]*)*")


@dataclass(frozen=True, slots=True)
class Account:
    """A storage account's address and its authentication: by `key`, or else by `sas_token` (without `?`)."""

    name: str
    url: str
    key: str | None = field(default=None, repr=False)
    sas_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class AzureSettings:
    """The row's validated fields."""

    account: Account
    container: str
    access_tier: str | None
    """In Azure's spelling."""

    @property
    def container_url(self) -> str:
        """The address of the container."""
        return f"{self.account.url}/{self.container}"


def read_settings(row: ProviderRow) -> AzureSettings:
    """Raises `FieldError`, which names a field and never its value."""
    options = Fields("configuracion", row.options)
    container = _container(options)
    tier = _access_tier(options)
    return AzureSettings(_account(row.credentials, options), container, tier)


def _account(credentials: Mapping[str, object] | str | None, options: Fields) -> Account:
    if not isinstance(credentials, Mapping):
        raise FieldError("credenciales: debe ser un objeto JSON")
    fields = Fields("credenciales", credentials)
    url = options.text("account_url")
    if url is not None:
        _require_url(url, "configuracion.account_url")
    connection_string = fields.text("connection_string")
    if connection_string is not None:
        return _account_of_connection_string(connection_string, url)
    name = fields.required_text("account_name")
    if not ACCOUNT_NAME.fullmatch(name):
        raise FieldError("credenciales.account_name: no es un nombre de cuenta de Azure")
    url = (url or f"https://{name}.blob.core.windows.net").rstrip("/")
    sas_token = fields.text("sas_token")
    if sas_token is not None:
        return Account(name, url, sas_token=_checked_sas_token(sas_token, "credenciales.sas_token"))
    key = fields.text("account_key")
    if key is None:
        raise FieldError("credenciales.sas_token: falta (o account_key, o connection_string)")
    _require_key(key, "credenciales.account_key")
    return Account(name, url, key=key)


def _account_of_connection_string(text: str, account_url: str | None) -> Account:
    """The account in a connection string, which the SDK parses in all its forms."""
    label = "credenciales.connection_string"
    try:
        client = BlobServiceClient.from_connection_string(text.strip())
    except ValueError:
        raise FieldError(f"{label}: no es una cadena de conexión válida") from None
    own_url, _, sas_token = str(client.url).partition("?")
    url = (account_url or own_url).rstrip("/")
    _require_url(url, label)
    # An emulator's address has the account in its path.
    name = client.account_name or urlsplit(url).path.strip("/") or urlsplit(url).netloc.partition(".")[0]
    key = getattr(client.credential, "account_key", None)
    if key is None:
        return Account(name, url, sas_token=_checked_sas_token(sas_token, label))
    _require_key(key, label)
    return Account(name, url, key=key)


def _container(options: Fields) -> str:
    name = options.required_text("container")
    if not CONTAINER_NAME.fullmatch(name):
        raise FieldError("configuracion.container: no es un nombre de contenedor de Azure")
    return name


def _require_url(url: str, label: str) -> None:
    if not is_plain_url(url):
        raise FieldError(f"{label}: la dirección de la cuenta debe ser http(s) y sin parámetros ni usuario")


def _checked_sas_token(token: str, label: str) -> str:
    """The token without the `?` that the portal shows before it."""
    token = token.strip().lstrip("?")
    if not SAS_TOKEN.fullmatch(token):
        raise FieldError(f"{label}: no contiene un token SAS")
    return token


def _require_key(key: str, label: str) -> None:
    try:
        base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError):
        raise FieldError(f"{label}: la clave no es base64 válido") from None


def _access_tier(options: Fields) -> str | None:
    """The tier in Azure's spelling. Archive is refused: its blobs cannot be read, so no copy could be read back."""
    tier = options.text("access_tier")
    if tier is None or tier.capitalize() in ACCESS_TIERS:
        return tier and tier.capitalize()
    if tier.capitalize() == "Archive":
        raise FieldError("configuracion.access_tier: Archive no permite releer la copia; use Cold y un ciclo de vida")
    raise FieldError(f"configuracion.access_tier: debe ser uno de {', '.join(ACCESS_TIERS)}")
