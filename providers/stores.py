"""Names the real store behind a row of `cloud_providers`: where its objects lie, whoever asks for them, and how.

Equal names are one store. Different names may be one all the same, as an address has many spellings: whether they are
shows by an object that is put through one and looked for through the other. No name holds a secret.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from config.models import ProviderRow

DEFAULT_PORTS = {"http": 80, "https": 443}
FROM_CONNECTION_STRING = re.compile(r"(?i)(?:^|;)\s*(AccountName|BlobEndpoint|EndpointSuffix)\s*=\s*([^;]*)")


def store_of(row: ProviderRow) -> str:
    """The name of a row's store, '' for a kind that is not known here."""
    credentials = row.credentials if isinstance(row.credentials, Mapping) else {}
    match row.kind:
        case "s3" | "minio":
            return f"s3:{_address(_text(row.options, 'endpoint_url'))}/{_text(row.options, 'bucket')}"
        case "azure":
            return f"azure:{_azure_account(row.options, credentials)}/{_text(row.options, 'container')}"
        case "gcp" | "gcs":
            return f"gcs:{_address(_text(row.options, 'endpoint_url'))}/{_text(row.options, 'bucket')}"
        case "sftp":
            return f"sftp:{_sftp_account(credentials)}/{_text(row.options, 'base_path').rstrip('/')}"
        case "local":
            return f"local:{os.path.realpath(_text(row.options, 'ruta'))}"
        case _:
            return ""


def _text(values: Mapping[str, object], name: str) -> str:
    value = values.get(name)
    return str(value) if isinstance(value, (str, int)) else ""


def _address(url: str) -> str:
    """Host and port in lower case, and the path; '' for none, which is the vendor's own."""
    try:
        parts = urlsplit(url)
        port = parts.port or DEFAULT_PORTS.get(parts.scheme, 0)
    except ValueError:
        return url
    return f"{parts.hostname or ''}:{port}{parts.path.rstrip('/')}" if url else ""


def _azure_account(options: Mapping[str, object], credentials: Mapping[str, object]) -> str:
    """The account's address as far as the row gives one, otherwise its name."""
    account_url = _text(options, "account_url")
    found = {
        name.lower(): value for name, value in FROM_CONNECTION_STRING.findall(_text(credentials, "connection_string"))
    }
    account_url = account_url or found.get("blobendpoint", "")
    if account_url:
        return _address(account_url)
    account_name = found.get("accountname") or _text(credentials, "account_name")
    return f"{account_name}.blob.{found.get('endpointsuffix', 'core.windows.net')}:443"


def _sftp_account(credentials: Mapping[str, object]) -> str:
    """With the user, as the same path may lead each of them elsewhere."""
    host = _text(credentials, "host").lower()
    return f"{_text(credentials, 'username')}@{host}:{_text(credentials, 'port') or 22}"
