"""The kinds of destination; only here does a row of `cloud_providers` become a provider."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from config.fields import FieldError
from providers.errors import InvalidProviderSettings
from providers.stores import store_of

if TYPE_CHECKING:
    from config.models import ProviderRow
    from providers.base import Provider

KINDS: dict[str, tuple[str, str]] = {
    "s3": ("providers.s3.provider", "S3Provider"),
    "minio": ("providers.s3.provider", "MinioProvider"),
    "azure": ("providers.azure.provider", "AzureProvider"),
    "gcp": ("providers.gcs.provider", "GcsProvider"),
    "gcs": ("providers.gcs.provider", "GcsProvider"),
    "sftp": ("providers.sftp.provider", "SftpProvider"),
    "local": ("providers.local.provider", "LocalProvider"),
}
"""`tipo` to module and class: a kind from the database selects from this table, never from arbitrary modules."""


def import_kind(kind: str) -> None:
    """Import a kind's module and its vendor's SDK. An unknown kind needs nothing."""
    if kind in KINDS:
        importlib.import_module(KINDS[kind][0])


def build_provider(row: ProviderRow) -> Provider:
    """Make the provider that a row describes, importing its SDK only now. No I/O.

    Raises `InvalidProviderSettings` when the kind is unknown or a field is missing or wrong.
    """
    if row.kind not in KINDS:
        known = ", ".join(sorted(KINDS))
        raise InvalidProviderSettings(f"tipo desconocido (se admite: {known})")
    module_name, class_name = KINDS[row.kind]
    provider_class = getattr(importlib.import_module(module_name), class_name)
    try:
        provider: Provider = provider_class(row)
    except FieldError as error:
        raise InvalidProviderSettings(str(error)) from error
    except ValueError as error:  # from an SDK, whose message may quote the field; a bad row must not stop the others
        raise InvalidProviderSettings("un campo tiene un valor con el que no se puede empezar") from error
    provider.store = store_of(row)
    return provider
