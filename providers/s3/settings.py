"""The settings of an S3 bucket in a row of `cloud_providers`."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field

from config.fields import FieldError, Fields
from config.models import ProviderRow

BUCKET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
UNREADABLE_STORAGE_CLASSES = frozenset(("GLACIER", "DEEP_ARCHIVE"))
ENCRYPTIONS = ("AES256", "aws:kms", "aws:kms:dsse")


@dataclass(frozen=True, slots=True)
class S3Settings:
    """The row's validated fields. The credentials never show in a repr."""

    bucket: str
    endpoint_url: str | None
    """`None` for Amazon's own."""
    accelerate: bool
    requester_pays: bool
    """Whether this account pays for requests to another account's bucket."""
    storage_class: str | None
    encryption: Mapping[str, str]
    """`sse` and `kms_key_id`, those that are set."""
    credentials: Mapping[str, str] = field(repr=False)
    """`region` always; `access_key`, `secret_key`, `session_token` unless the SDK's default chain finds them."""


def read_settings(row: ProviderRow, *, endpoint_required: bool) -> S3Settings:
    """Raises `FieldError`, which names a field and never its value."""
    options = Fields("configuracion", row.options)
    bucket = _bucket(options)
    endpoint_url = _endpoint_url(options, required=endpoint_required)
    accelerate = options.boolean("acelerar", default=False)
    if accelerate and endpoint_url:
        raise FieldError("configuracion.acelerar: solo sirve con Amazon S3, sin endpoint_url")
    return S3Settings(
        bucket,
        endpoint_url,
        accelerate,
        options.boolean("pagador", default=False),
        _storage_class(options),
        _encryption(options),
        _credentials(row.credentials),
    )


def _bucket(options: Fields) -> str:
    bucket = options.required_text("bucket")
    if not BUCKET_NAME.fullmatch(bucket):
        raise FieldError("configuracion.bucket: no es un nombre de bucket válido")
    return bucket


def _endpoint_url(options: Fields, *, required: bool) -> str | None:
    url = options.required_text("endpoint_url") if required else options.text("endpoint_url")
    if url is None:
        return None
    try:
        parts = urllib.parse.urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        usable = usable and not (parts.query or parts.fragment or "@" in parts.netloc)
    except ValueError:
        usable = False
    if not usable:
        raise FieldError("configuracion.endpoint_url: debe ser como https://servidor:puerto")
    return url.rstrip("/")


def _storage_class(options: Fields) -> str | None:
    """Any class, except those whose objects take hours to become readable: no copy could be read back, to prove or to
    restore it. Objects of `GLACIER_IR` can be read at once.
    """
    storage_class = options.text("storage_class")
    if storage_class is not None and storage_class.upper() in UNREADABLE_STORAGE_CLASSES:
        raise FieldError(
            f"configuracion.storage_class: {storage_class.upper()} no permite releer la copia; use GLACIER_IR, o "
            "STANDARD y una regla de ciclo de vida del bucket que la mueva después"
        )
    return storage_class


def _encryption(options: Fields) -> Mapping[str, str]:
    kind, key = options.text("sse"), options.text("kms_key_id")
    if kind is not None and kind not in ENCRYPTIONS:
        raise FieldError(f"configuracion.sse: debe ser uno de {', '.join(ENCRYPTIONS)}")
    if key is not None and kind in (None, "AES256"):
        raise FieldError("configuracion.kms_key_id: necesita configuracion.sse = aws:kms")
    return {name: value for name, value in (("sse", kind), ("kms_key_id", key)) if value is not None}


def _credentials(values: Mapping[str, object] | str | None) -> Mapping[str, str]:
    """The key pair, if any, and always the region. Without keys the SDK's default chain is used."""
    if isinstance(values, str):
        raise FieldError("credenciales: debe ser un objeto JSON")
    fields = Fields("credenciales", values or {})
    credentials = {"region": fields.text("region") or "us-east-1"}
    if fields.text("access_key") is None and fields.text("secret_key") is None:
        return credentials
    for name in ("access_key", "secret_key"):
        credentials[name] = fields.required_text(name)
    session_token = fields.text("session_token")
    return credentials if session_token is None else {**credentials, "session_token": session_token}
