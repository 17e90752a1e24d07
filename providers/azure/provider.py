"""Azure Blob Storage: `DirectHttp` sends small files, obstore those between it and one part, the SDK the blocks of
larger ones. obstore reads blobs. Azure's SDK looks up and deletes them, but does not list them.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import requests
from azure.core import MatchConditions
from azure.core.pipeline.transport import RequestsTransport
from azure.storage.blob import BlobClient, BlobSasPermissions, ContainerClient, StandardBlobTier, generate_blob_sas
from obstore.store import AzureStore

from config.fields import Fields
from config.models import ProviderRow, PutReceipt, StoredObject
from providers.azure.blocks import UploadsInBlocks
from providers.azure.errors import existing_as_failed_condition, translated_errors
from providers.azure.requests import (
    NO_CONDITION,
    ONLY_NEW,
    Authorization,
    AzureListings,
    ListedBlob,
    SasToken,
    SharedKey,
)
from providers.azure.settings import Account, AzureSettings, read_settings
from providers.base import (
    ANSWER_TIMEOUT_SECONDS,
    CONNECT_TIMEOUT_SECONDS,
    PART_SIZE_BYTES,
    Provider,
    is_directory_of_keys,
)
from providers.errors import (
    AccessDenied,
    CannotDiscard,
    CannotSign,
    ConditionFailed,
    InvalidKey,
    ObjectNotFound,
    ObjectProtected,
)
from providers.names import BACKSLASH, CONTROL_CHARACTERS, DELETE_CHARACTER, FINAL_PERIOD, QUOTE, NameEncoding
from providers.retries import Result, with_retries
from providers.shared.answers import deadline_seconds, unintelligible
from providers.shared.direct_http import DirectHttp, reaches_directly
from providers.shared.network import Network, NetworkRules
from providers.shared.object_store_errors import require_stored
from providers.shared.object_store_put import (
    HashingReader,
    Mode,
    ObjectStorePut,
    SentBytes,
    hash_source,
    network_options,
)
from providers.shared.object_store_reading import ResumableObjectStoreGet
from providers.shared.paced_requests import mount_paced
from providers.shared.resumed_reads import resumed
from providers.sources import Source

if TYPE_CHECKING:
    from obstore import Attributes
    from obstore.store import AzureConfig, ClientConfig, RetryConfig

BEFORE_AZURE = datetime(2000, 1, 1, tzinfo=UTC)
"""Earlier than the modification of any finished blob."""

LONGEST_NAME_CHARACTERS = 1024
"""Azure's limit for a blob's name."""

NONCHARACTERS = {
    character: "".join(f"{QUOTE}{byte:02X}" for byte in character.encode()) for character in ("\ufffe", "\uffff")
}
"""Valid in a file name, not in the XML of a listing: encoded as bytes that are not UTF-8."""

NO_MD5 = ()
"""Azure has no MD5 of a blob made of blocks."""

# The SDK also warns of answers that its own errors tell of; without a handler of ours that would go to the console.
logging.getLogger("azure").addHandler(logging.NullHandler())


class AzureProvider(Provider):
    """A container of Azure Blob Storage. See `Provider` for what it promises.

    A file of up to `PART_SIZE_BYTES` is one Put Blob, whose MD5 Azure computes, keeps and lists. A larger one consists
    of blocks and has no checksum by Azure (it never checks one set by the client): it must be read back.
    """

    longest_signature_seconds = 366 * 86400
    """Azure itself sets no limit."""

    def __init__(self, row: ProviderRow) -> None:
        super().__init__(row.id, row.name, row.kind)
        settings = read_settings(row)
        account, tier = settings.account, settings.access_tier
        self._names = NameEncoding(BACKSLASH, DELETE_CHARACTER, CONTROL_CHARACTERS, NONCHARACTERS, final_period=True)
        self._given_tier = StandardBlobTier(tier) if tier else None
        self._attributes: Attributes | None = {"Storage-Class": tier} if tier else None
        rules = NetworkRules(Fields("configuracion", row.options))
        network = rules.for_url(account.url)
        build_store = functools.partial(_store, settings, network)
        self._downloads = ResumableObjectStoreGet(build_store, account.url)
        session = requests.Session()
        mount_paced(session, rules)
        self._container = _container_client(settings, session)
        self._settings = settings
        self._authorization = _authorization(account)
        self._listings = AzureListings(session, settings.container_url, self._authorization)
        self._direct = DirectHttp(account.url, network.trust)
        self._blob_headers = {"x-ms-blob-type": "BlockBlob", **({"x-ms-access-tier": tier} if tier else {})}
        send_small = self._send_small if reaches_directly(account.url, network) else None
        self._uploads = ObjectStorePut(build_store, account.url, NO_MD5, send_small)
        self._in_blocks = UploadsInBlocks(self._container, self._given_tier, self._uploads, self._repeated)

    def put(self, key: str, source: Source) -> PutReceipt:
        if source.size_bytes > PART_SIZE_BYTES:
            return _receipt(self._in_blocks.put(self._name(key), source, {}))
        return _receipt(self._uploads.put_small(self._name(key), source, self._attributes))

    def put_new_many(self, sources: Mapping[str, Source]) -> Iterator[tuple[str, PutReceipt]]:
        """See `Provider`. Block uploads carry the condition too: a run that was stopped may send all blocks after
        `discard_unfinished`.
        """
        for key, source in sources.items():
            name = self._name(key)
            if source.size_bytes <= PART_SIZE_BYTES:
                yield key, _receipt(self._uploads.put_small(name, source, self._attributes, "create"))
            else:
                yield key, _receipt(self._in_blocks.put(name, source, _condition(None)))

    def _repeated(self, request: Callable[[], Result]) -> Result:
        """One request of several, retried while its error allows. Raises `ProviderError`."""

        def ask() -> Result:
            with translated_errors():
                return request()

        return with_retries(ask, self.progress.interruption, self.progress)

    def replace(self, key: str, source: Source, expected: StoredObject | None) -> PutReceipt:
        """See `Provider`. The condition goes with the request that makes the blob visible."""
        name = self._name(key)
        condition = _condition(self._as_seen(expected))
        if source.size_bytes > PART_SIZE_BYTES:
            return _receipt(self._in_blocks.put(name, source, condition))
        reader = HashingReader(source)
        with translated_errors(), existing_as_failed_condition():
            self._put_if(self._container.get_blob_client(name), bytes(reader.whole()), condition)
        return _receipt(reader.sent())

    def _put_if(self, blob: BlobClient, content: bytes, condition: Mapping[str, Any]) -> None:
        blob.upload_blob(
            content,
            length=len(content),
            overwrite=True,
            standard_blob_tier=self._given_tier,
            read_timeout=deadline_seconds(len(content)),
            **condition,
        )

    def replaces_safely(self, prefix: str = "") -> bool:
        """Always: every version of Azure's API supports these conditions."""
        del prefix
        return True

    def creates_safely(self, prefix: str = "") -> bool:
        """As `replaces_safely`."""
        del prefix
        return True

    def deletes_safely(self, prefix: str = "") -> bool:
        """As `replaces_safely`."""
        del prefix
        return True

    def delete_exactly(self, stored: StoredObject) -> None:
        seen = stored if stored.version else self._look_for(stored)
        if seen is None:
            return
        try:
            with translated_errors():
                self._container.delete_blob(self._name(seen.key), **_condition(seen))
        except ObjectNotFound:
            return
        except ConditionFailed:  # also the answer if there is no blob
            if self._look_for(seen) is not None:
                raise

    def _send_small(self, name: str, content: bytes, _: SentBytes, mode: Mode) -> None:
        path = f"{urlsplit(self._settings.container_url).path}/{quote(name)}"
        condition = ONLY_NEW if mode == "create" else NO_CONDITION
        target, headers = self._authorization.of_put(path, self._blob_headers, len(content), condition)
        require_stored(self._direct.put(target, headers.items(), content))

    def measure(self, source: Source) -> PutReceipt:
        return _receipt(hash_source(source, NO_MD5))

    def open(self, key: str) -> Iterator[bytes]:
        return self.open_from(key, 0, 0)

    def open_from(self, key: str, size_bytes: int, start_bytes: int) -> Iterator[bytes]:
        reading = self._downloads.of_object(self._name(key))
        return resumed(lambda position: reading.from_position(start_bytes + position), self.progress)

    def stat(self, key: str) -> StoredObject:
        with translated_errors():
            blob = self._container.get_blob_client(self._name(key)).get_blob_properties()
            md5 = blob.content_settings.content_md5
            stored = _stored(key, blob.etag, blob.size, bytes(md5).hex() if md5 else None)
            return stored._replace(version=blob.etag)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        for blob in self._blobs(prefix, "metadata"):
            if not blob.is_directory:
                yield _stored(self._names.decode(blob.name), blob.etag, blob.size_bytes, blob.md5)

    def delete(self, key: str) -> None:
        try:
            with translated_errors():
                self._container.delete_blob(self._name(key))
        except ObjectNotFound:
            return

    def discard_unfinished(self, prefix: str) -> None:
        for name in self._unfinished_names(prefix):
            self._discard_blocks(name)

    def request_restore(self, key: str) -> bool:
        """See `Provider`. The blob stays readable: it changes its tier."""
        blob = self._container.get_blob_client(self._name(key))
        with translated_errors():
            properties = blob.get_blob_properties()
            is_archived = bool(properties.blob_tier == StandardBlobTier.ARCHIVE.value)
            if is_archived and not properties.archive_status:  # else it was requested already
                blob.set_standard_blob_tier(StandardBlobTier.HOT)
        return is_archived

    def discard_unfinished_but_for(self, prefix: str, is_wanted: Callable[[str], bool]) -> bool:
        """See `Provider`. The existing blocks are looked up when their key is stored."""
        is_any_wanted = False
        for name in self._unfinished_names(prefix):
            if is_wanted(self._names.decode(name)):
                self._in_blocks.continue_with(name)
                is_any_wanted = True
            else:
                self._discard_blocks(name)
        return is_any_wanted

    def _unfinished_names(self, prefix: str) -> Iterator[str]:
        """Names with uncommitted blocks and no blob: of all keys below a directory, or of exactly one key."""
        finished_names = {blob.name for blob in self._blobs(prefix, "metadata")}
        for blob in self._blobs(prefix, "uncommittedblobs"):
            if blob.name in finished_names:
                continue
            if is_directory_of_keys(prefix) or self._names.decode(blob.name) == prefix:
                yield blob.name

    def _signed_url(self, key: str, seconds: int) -> str:
        if not self._settings.account.key:
            raise CannotSign("un sas_token no puede firmar; hace falta account_key en credenciales")
        name = self._name(key)
        signed = generate_blob_sas(
            self._settings.account.name,
            self._settings.container,
            name,
            account_key=self._settings.account.key,
            permission=BlobSasPermissions(read=True),
            expiry=datetime.now(UTC) + timedelta(seconds=seconds),
            protocol="https" if self._settings.account.url.startswith("https:") else None,
        )
        return f"{self._settings.container_url}/{quote(name)}?{signed}"

    def close(self) -> None:
        self._container.close()
        self._direct.close()

    def _discard_blocks(self, name: str) -> None:
        """Delete Blob discards uncommitted blocks; its condition fails for every finished blob.

        If a store fails the condition for such blocks too, they stay until Azure drops them after a week.
        """
        try:
            with translated_errors():
                self._container.delete_blob(name, if_unmodified_since=BEFORE_AZURE)
        except (ConditionFailed, ObjectNotFound):
            return  # finished or discarded meanwhile
        except (AccessDenied, ObjectProtected) as refusal:  # finished blobs were listed just before
            raise CannotDiscard(f"falta el permiso de borrar (d): {refusal}") from None

    def _blobs(self, prefix: str, include: str) -> Iterator[ListedBlob]:
        """Blobs whose key starts with `prefix`. The request omits its end if a name might encode that differently."""
        stem = self._names.encode(prefix.rstrip("." + FINAL_PERIOD))
        for blob in self._listings.blobs(stem, include, self._repeated):
            if self._names.decode(blob.name).startswith(prefix):
                yield blob

    def _name(self, key: str) -> str:
        name = self._names.encode(key)
        if len(name) > LONGEST_NAME_CHARACTERS:
            raise InvalidKey(f"el nombre ocuparía {len(name)} caracteres y Azure admite {LONGEST_NAME_CHARACTERS}")
        return name


def _store(settings: AzureSettings, network: Network, client: ClientConfig, retry: RetryConfig) -> AzureStore:
    """obstore's client. It also reads `AZURE_*` from the environment, unless the settings given here override them."""
    account = settings.account
    config: AzureConfig = {"credential_type": "access_key" if account.key else "sas_token"}
    if account.key:
        config["account_key"] = account.key
    if account.sas_token:
        config["sas_key"] = account.sas_token
    return AzureStore(
        settings.container,
        config=config,
        account_name=account.name,
        endpoint=account.url,
        use_emulator=False,
        use_fabric_endpoint=False,
        skip_signature=False,
        client_options={**client, **network_options(network)},
        retry_config=retry,
    )


def _authorization(account: Account) -> Authorization:
    return SharedKey(account.name, account.key) if account.key else SasToken(account.sas_token or "")


def _container_client(settings: AzureSettings, session: requests.Session) -> ContainerClient:
    account = settings.account
    return ContainerClient(
        account.url,
        settings.container,
        credential=account.sas_token or {"account_name": account.name, "account_key": account.key or ""},
        transport=RequestsTransport(
            session=session,
            use_env_settings=False,
            connection_timeout=CONNECT_TIMEOUT_SECONDS,
            read_timeout=ANSWER_TIMEOUT_SECONDS,
        ),
        retry_total=0,
        permit_redirects=False,
    )


def _receipt(sent: SentBytes) -> PutReceipt:
    checksums = frozenset({f"md5:{sent.md5}"} if sent.md5 else ())
    return PutReceipt(sent.size_bytes, sent.sha256, checksums)


def _stored(key: str, etag: str | None, size_bytes: int | None, md5: str | None) -> StoredObject:
    """The SDK also returns a blob, empty and without a size, for an answer that describes none."""
    if not etag or not isinstance(size_bytes, int):
        raise unintelligible("no describe ningún objeto")
    return StoredObject(key, size_bytes, f"md5:{md5}" if md5 else None)


def _condition(expected: StoredObject | None) -> dict[str, Any]:
    """The SDK's parameters that require the expected blob."""
    if expected is None:
        return {"match_condition": MatchConditions.IfMissing}
    return {"match_condition": MatchConditions.IfNotModified, "etag": expected.version}
