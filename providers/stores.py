"""Names the store behind a row of `cloud_providers`: the bucket, container or directory that holds its objects.

A row may later point at another store. The address is not part of the name: one store has several (name and number,
direct and through a gateway), and they change while the objects stay. So equal names may still mean two stores: to
prove that two differ, put an object into one and look for it in the other.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from config.models import ProviderRow

ACCOUNT_NAME = r"(?i)(?:^|;)\s*AccountName\s*=\s*([^;\s]+)"


def store_of(row: ProviderRow) -> str:
    """The name of a row's store, '' for an unknown kind. It holds no secret."""
    match row.kind:
        case "s3" | "minio":
            return f"s3:{_text(row.options, 'bucket')}"
        case "azure":
            return f"azure:{_azure_account(row)}/{_text(row.options, 'container')}"
        case "gcp" | "gcs":
            return f"gcs:{_text(row.options, 'bucket')}"
        case "sftp":
            return f"sftp:{_text(row.options, 'base_path').rstrip('/')}"
        case "local":
            return f"local:{os.path.realpath(_text(row.options, 'ruta'))}"
        case _:
            return ""


def _text(values: Mapping[str, object], name: str) -> str:
    value = values.get(name)
    return value if isinstance(value, str) else ""


def _azure_account(row: ProviderRow) -> str:
    """The account's name in the row, otherwise the first label of the host in its address."""
    credentials = row.credentials if isinstance(row.credentials, Mapping) else {}
    in_string = re.search(ACCOUNT_NAME, _text(credentials, "connection_string"))
    name = in_string[1] if in_string else _text(credentials, "account_name")
    return name or (urlsplit(_text(row.options, "account_url")).hostname or "").partition(".")[0]
