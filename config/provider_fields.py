"""The fields that rows of `cloud_providers` may have, by `tipo`: an unknown one is a typing error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from config.models import ProviderRow
from config.text.names import unknown


class KnownFields(NamedTuple):
    """The fields that a kind of provider reads. `credentials` is `None` if they are a third party's document."""

    credentials: frozenset[str] | None
    options: frozenset[str]


_NETWORK = frozenset(("ca_file", "proxy"))
"""The fields that every HTTP provider reads."""

_S3 = KnownFields(
    frozenset(("access_key", "secret_key", "region", "session_token")),
    frozenset(("bucket", "endpoint_url", "storage_class", "sse", "kms_key_id", "acelerar", "pagador")) | _NETWORK,
)
_GCS = KnownFields(None, frozenset(("bucket", "endpoint_url", "project", "storage_class")) | _NETWORK)

KNOWN_FIELDS: Mapping[str, KnownFields] = {
    "s3": _S3,
    "minio": _S3,
    "azure": KnownFields(
        frozenset(("connection_string", "account_name", "sas_token", "account_key")),
        frozenset(("container", "account_url", "access_tier")) | _NETWORK,
    ),
    "gcp": _GCS,
    "gcs": _GCS,
    "sftp": KnownFields(
        frozenset(
            (
                *("host", "port", "username", "password", "private_key", "private_key_passphrase"),
                *("host_key", "known_hosts"),
            )
        ),
        frozenset(("base_path", "verificacion")),
    ),
    "local": KnownFields(frozenset(), frozenset(("ruta",))),
}


def unknown_fields(row: ProviderRow) -> Iterator[str]:
    """Report each unknown field of a row in Spanish, with the field probably meant, never with a value.

    As everywhere, an empty field counts as absent.
    """
    known = KNOWN_FIELDS.get(row.kind)
    if known is None:
        return
    if known.credentials is not None and isinstance(row.credentials, Mapping):
        yield from _unknown_in("credenciales", row.credentials, known.credentials, known)
    yield from _unknown_in("configuracion", row.options, known.options, known)


def _unknown_in(column: str, values: Mapping[str, object], here: frozenset[str], known: KnownFields) -> Iterator[str]:
    for name in sorted(set(values) - here):
        if values[name] in (None, ""):
            continue
        if name in known.options:
            yield f"{column}.{name} no se lee ahí; su sitio es configuracion"
        elif name in (known.credentials or ()):
            yield f"{column}.{name} no se lee ahí; su sitio es credenciales"
        else:
            yield f"{column}.{unknown(name, here)}"
