"""The settings of a GCS bucket in a row of `cloud_providers`, and the credentials that they name."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import google.auth
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
from google.oauth2 import service_account

from config.fields import FieldError, Fields, is_plain_url
from config.models import ProviderRow
from providers.errors import AccessDenied, InvalidProviderSettings, ProviderUnavailable

GOOGLE_ENDPOINT_URL = "https://storage.googleapis.com"
"""Passed to the SDK explicitly, because it would otherwise obey `STORAGE_EMULATOR_HOST`."""

SCOPES = ("https://www.googleapis.com/auth/devstorage.read_write",)

STORAGE_CLASSES = (
    *("STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE"),
    *("MULTI_REGIONAL", "REGIONAL", "DURABLE_REDUCED_AVAILABILITY"),
)
"""All of them can be read at once, ARCHIVE too."""

BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")

GivenCredentials = AnonymousCredentials | service_account.Credentials | Path | None
"""Credentials, or the file in which they are, or `None` for Google's application default credentials."""


@dataclass(frozen=True, slots=True)
class GcsSettings:
    """The row's validated fields. The credentials never show in a repr."""

    bucket: str
    endpoint_url: str | None
    """`None` for Google's own."""
    project: str | None
    storage_class: str | None
    credentials: GivenCredentials = field(repr=False)

    @property
    def server_url(self) -> str:
        """The address of the server."""
        return self.endpoint_url or GOOGLE_ENDPOINT_URL


def read_settings(row: ProviderRow) -> GcsSettings:
    """Raises `FieldError`, which names a field and never its value."""
    options = Fields("configuracion", row.options)
    bucket = _bucket(options)
    endpoint_url = _endpoint_url(options)
    return GcsSettings(
        bucket,
        endpoint_url,
        options.text("project"),
        _storage_class(options),
        _given_credentials(row.credentials, anonymous=endpoint_url is not None),
    )


def _bucket(options: Fields) -> str:
    name = options.required_text("bucket")
    if not BUCKET_NAME.fullmatch(name):
        raise FieldError("configuracion.bucket: no es un nombre de bucket de GCS")
    return name


def _endpoint_url(options: Fields) -> str | None:
    url = options.text("endpoint_url")
    if url is None:
        return None
    if not is_plain_url(url):
        raise FieldError("configuracion.endpoint_url: debe ser una dirección http(s) sin parámetros ni usuario")
    return url.rstrip("/")


def _storage_class(options: Fields) -> str | None:
    name = options.text("storage_class")
    if name is None or name.upper() in STORAGE_CLASSES:
        return name and name.upper()
    raise FieldError(f"configuracion.storage_class: debe ser una de {', '.join(STORAGE_CLASSES[:4])}")


def _given_credentials(credentials: Mapping[str, object] | str | None, *, anonymous: bool) -> GivenCredentials:
    if not credentials:
        return AnonymousCredentials() if anonymous else None
    if isinstance(credentials, str):
        return Path(credentials)
    return _service_account(credentials)


def _service_account(info: Mapping[str, object]) -> service_account.Credentials:
    fields = Fields("credenciales", info)
    if fields.required_text("type") != "service_account":
        raise FieldError("credenciales.type: debe ser service_account")
    for name in ("client_email", "token_uri", "private_key"):
        fields.required_text(name)
    try:
        credentials: service_account.Credentials = service_account.Credentials.from_service_account_info(
            dict(info), scopes=SCOPES
        )
    except (ValueError, TypeError):  # from parsing the key; the message may quote it
        raise FieldError("credenciales.private_key: no es una clave privada válida") from None
    return credentials


def find_credentials(given: GivenCredentials, ask: Any) -> Any:
    """The credentials to sign requests with. May contact other machines by `ask`, and take seconds.

    Raises `AccessDenied`, `InvalidProviderSettings`, `ProviderUnavailable`.
    """
    if isinstance(given, Path):
        return _service_account_file(given)
    if given is not None:
        return given
    try:
        credentials, _ = google.auth.default(scopes=SCOPES, request=ask)
    except DefaultCredentialsError:
        raise AccessDenied("no hay credenciales predeterminadas de Google en este equipo") from None
    except GoogleAuthError as error:
        raise ProviderUnavailable(f"no se pudieron obtener credenciales de Google ({type(error).__name__})") from None
    return credentials


def _service_account_file(path: Path) -> service_account.Credentials:
    try:
        info = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        raise InvalidProviderSettings("credenciales: no se puede leer el archivo de la cuenta de servicio") from None
    if not isinstance(info, dict):
        raise InvalidProviderSettings("credenciales: el archivo no contiene una cuenta de servicio")
    try:
        return _service_account(info)
    except FieldError as error:
        raise InvalidProviderSettings(str(error)) from None
