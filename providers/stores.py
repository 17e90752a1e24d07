"""Names the store behind a row of `cloud_providers`: the bucket, container or directory that holds its objects.

A row that is pointed at another one leads to another store. The address is no part of the name: one store has many, by
name and number, directly and through a gateway, and they change while the objects stay. So equal names may still be two
stores: whoever must know that two are different puts an object into one and looks for it in the other.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from config.models import ProviderRow

ACCOUNT_NAME = re.compile(r"(?i)(?:^|;)\s*AccountName\s*=\s*([^;\s]+)")


def store_of(row: ProviderRow) -> str:
    """The name of a row's store, '' for a kind that is not known here. It holds no secret."""
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
    """By its name where the row has that, otherwise by where its address puts the name: before the rest of the host."""
    credentials = row.credentials if isinstance(row.credentials, Mapping) else {}
    in_string = ACCOUNT_NAME.search(_text(credentials, "connection_string"))
    name = in_string[1] if in_string else _text(credentials, "account_name")
    return name or (urlsplit(_text(row.options, "account_url")).hostname or "").partition(".")[0]
