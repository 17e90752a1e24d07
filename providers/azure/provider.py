"""Azure Blob Storage: obstore transfers the bytes in both directions, except small uploads, which use `DirectHttp`.
Azure's SDK looks up and deletes blobs, but does not list them.
"""

from __future__ import annotations

import base64
import binascii
import functools
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import requests
from azure.core import MatchConditions
from azure.core.exceptions import AzureError, HttpResponseError, ResourceExistsError
from azure.core.pipeline.transport import RequestsTransport
from azure.storage.blob import (
    BlobBlock,
    BlobClient,
    BlobSasPermissions,
    BlobServiceClient,
    ContainerClient,
    StandardBlobTier,
    generate_blob_sas,
)
from obstore.store import AzureStore

from config.fields import FieldError, Fields, is_plain_url
from config.models import ProviderRow, PutReceipt, StoredObject
from providers.azure.requests import (
    NO_CONDITION,
    ONLY_NEW,
    Authorization,
    AzureListings,
    ListedBlob,
    Refused,
    SasToken,
    SharedKey,
)
from providers.base import (
    ANSWER_TIMEOUT_SECONDS,
    BACKSLASH,
    CONNECT_TIMEOUT_SECONDS,
    CONTROL_CHARACTERS,
    DELETE_CHARACTER,
    FINAL_PERIOD,
    PART_SIZE_BYTES,
    QUOTE,
    AccessDenied,
    CannotDiscard,
    CannotSign,
    ConditionFailed,
    DestinationMissing,
    IntegrityError,
    InvalidKey,
    NameEncoding,
    ObjectArchived,
    ObjectNotFound,
    ObjectProtected,
    ObjectTooLarge,
    Provider,
    ProviderError,
    ProviderUnavailable,
    SlowDown,
    Source,
    StorageFull,
    is_directory_of_keys,
    part_size_for,
)
from providers.retries import Result, with_retries
from providers.shared.answers import (
    ARCHIVED,
    ARCHIVED_CODES,
    CLOCK_IS_OFF,
    PARSER_ERRORS,
    clock_is_off,
    deadline_seconds,
    sent_elsewhere,
    unintelligible,
)
from providers.shared.direct_http import DirectHttp, reaches_directly
from providers.shared.network import Network, NetworkRules
from providers.shared.network_errors import PROXY_REFUSES_US, network_error
from providers.shared.object_store_put import (
    DAMAGED_CODES,
    DENIED_CODES,
    EXISTING_CODES,
    FULL_CODES,
    PROTECTED,
    PROTECTED_CODES,
    TRANSIENT_CODES,
    HashingReader,
    Mode,
    ObjectStorePut,
    SentBytes,
    hash_source,
    network_options,
    require_stored,
)
from providers.shared.object_store_reading import ResumableObjectStoreGet
from providers.shared.paced_requests import mount_paced
from providers.shared.resumed_reads import resumed
from providers.shared.throttling import asks_to_slow_down, pause_seconds

if TYPE_CHECKING:
    from obstore import Attributes
    from obstore.store import AzureConfig, ClientConfig, RetryConfig
    from typing_extensions import Buffer

BEFORE_AZURE = datetime(2000, 1, 1, tzinfo=UTC)
"""Earlier than the modification of any finished blob."""

LONGEST_NAME_CHARACTERS = 1024
"""Azure's limit for a blob's name."""

ACCESS_TIERS = ("Hot", "Cool", "Cold")
"""Tiers whose blobs can be read at once. See `_access_tier` for the fourth one."""

NONCHARACTERS = {
    character: "".join(f"{QUOTE}{byte:02X}" for byte in character.encode()) for character in ("\ufffe", "\uffff")
}
"""Valid in a file name, not in the XML of a listing: encoded as bytes that are not UTF-8."""

MISSING_CONTAINER_CODES = frozenset({"ContainerNotFound", "ContainerBeingDeleted", "ContainerDisabled"})

ACCOUNT_NAME = re.compile(r"[a-z0-9]{3,24}")
CONTAINER_NAME = re.compile(r"\$root|\$web|[a-z0-9](?:-?[a-z0-9]){2,62}")
SAS_TOKEN = re.compile(r"(?=.*\bsig=)[^\s&=?]+=[^\s&]*(?:&[^\s&=]+=[^\s&]*)*")

ERROR_CODE = re.compile(r"[A-Za-z]{1,40}(?:\d{1,3}[A-Za-z]{0,40})?")
"""Any other text is not an Azure code, and may be a part of the request that a server repeats."""

BLOCK_NAME_BYTES = 20
"""As long as obstore's: all block names of a blob must have one length, including uncommitted blocks."""


class BlocksLost(ProviderUnavailable):
    """Staged blocks are gone and must be sent again."""


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
        options = Fields("configuracion", row.options)
        container = _container(options)
        tier = _access_tier(options)
        account = _account(row.credentials, options)
        self._names = NameEncoding(BACKSLASH, DELETE_CHARACTER, CONTROL_CHARACTERS, NONCHARACTERS, final_period=True)
        self._given_tier = StandardBlobTier(tier) if tier else None
        self._attributes: Attributes | None = {"Storage-Class": tier} if tier else None
        rules = NetworkRules(options)
        network = rules.for_url(account.url)
        build_store = functools.partial(_store, account, container, network)
        self._downloads = ResumableObjectStoreGet(build_store, account.url)
        session = requests.Session()
        mount_paced(session, rules)
        self._container = _container_client(account, container, session)
        self._container_url = f"{account.url}/{container}"
        self._container_name = container
        self._account = account
        self._authorization = _authorization(account)
        self._listings = AzureListings(session, self._container_url, self._authorization)
        self._direct = DirectHttp(account.url, network.trust)
        self._blob_headers = {"x-ms-blob-type": "BlockBlob", **({"x-ms-access-tier": tier} if tier else {})}
        send_small = self._send_small if reaches_directly(account.url, network) else None
        self._uploads = ObjectStorePut(build_store, account.url, NO_MD5, send_small)
        self._begun: set[str] = set()
        """Names of block uploads known to be unfinished."""

    def put(self, key: str, source: Source) -> PutReceipt:
        if source.size_bytes > PART_SIZE_BYTES:
            return self._put_in_blocks(self._name(key), source, {})
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
                yield key, self._put_in_blocks(name, source, _condition(None))

    def _put_in_blocks(self, name: str, source: Source, condition: Mapping[str, Any]) -> PutReceipt:
        """Send several blocks at a time, like obstore, which supports no condition on the block list. Each block is
        retried by itself. A block staged by an earlier try, whose name proves equal bytes, is not sent again.
        """
        blob = self._container.get_blob_client(name)
        timeout_seconds = deadline_seconds(part_size_for(source.size_bytes))
        staged = self._staged(blob, name)
        blocks: dict[int, BlobBlock] = {}

        def stage(number: int, part: Buffer, sha256_so_far: bytes) -> None:
            blocks[number] = block = _block(number, sha256_so_far)
            content = bytes(part)
            if staged.get(block.id) == len(content):
                return
            self._repeated(lambda: blob.stage_block(block.id, content, len(content), read_timeout=timeout_seconds))

        with self._noting_what_is_begun(name):
            sent = self._uploads.send_parts_by_prefix(source, stage)
            self._commit(blob, [blocks[number] for number in sorted(blocks)], condition)
        return _receipt(sent)

    def _staged(self, blob: BlobClient, name: str) -> Mapping[str, int]:
        """The size of each uncommitted block by name. Requested only for unfinished uploads, and treated as empty if
        the request is not allowed.
        """
        if name not in self._begun:
            return {}
        self._begun.discard(name)
        try:
            _, uncommitted = self._repeated(lambda: blob.get_block_list("uncommitted"))
        except (ObjectNotFound, AccessDenied):
            return {}
        return {block.id: block.size for block in uncommitted}

    @contextmanager
    def _noting_what_is_begun(self, name: str) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._begun.add(name)
            raise

    def _commit(self, blob: BlobClient, blocks: list[BlobBlock], condition: Mapping[str, Any]) -> None:
        """Make a blob of staged blocks. Raises `BlocksLost`; the caller then sends all of them again."""
        unanswered: list[ProviderUnavailable] = []

        def commit() -> BlocksLost | None:
            try:
                with _translated_errors(), _there_as_failed_condition():
                    blob.commit_block_list(blocks, standard_blob_tier=self._given_tier, **condition)
            except BlocksLost as error:
                return error
            except ProviderUnavailable as error:
                unanswered.append(error)
                raise
            except ConditionFailed:  # perhaps committed before, by a request whose answer was lost
                if not (unanswered and _is_made_of(blob, blocks)):
                    raise
            return None

        lost = with_retries(commit, self.progress.interruption, self.progress)
        if lost is not None:
            raise lost

    def _repeated(self, request: Callable[[], Result]) -> Result:
        """One request of several, retried while its error allows. Raises `ProviderError`."""

        def ask() -> Result:
            with _translated_errors():
                return request()

        return with_retries(ask, self.progress.interruption, self.progress)

    def replace(self, key: str, source: Source, expected: StoredObject | None) -> PutReceipt:
        """See `Provider`. The condition goes with the request that makes the blob visible."""
        name = self._name(key)
        condition = _condition(self._as_seen(expected))
        if source.size_bytes > PART_SIZE_BYTES:
            return self._put_in_blocks(name, source, condition)
        reader = HashingReader(source)
        with _translated_errors(), _there_as_failed_condition():
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
            with _translated_errors():
                self._container.delete_blob(self._name(seen.key), **_condition(seen))
        except ObjectNotFound:
            return
        except ConditionFailed:  # also the answer if there is no blob
            if self._look_for(seen) is not None:
                raise

    def _send_small(self, name: str, content: bytes, _: SentBytes, mode: Mode) -> None:
        path = f"{urlsplit(self._container_url).path}/{quote(name)}"
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
        with _translated_errors():
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
            with _translated_errors():
                self._container.delete_blob(self._name(key))
        except ObjectNotFound:
            return

    def discard_unfinished(self, prefix: str) -> None:
        for name in self._unfinished_names(prefix):
            self._discard_blocks(name)

    def request_restore(self, key: str) -> bool:
        """See `Provider`. The blob stays readable: it changes its tier."""
        blob = self._container.get_blob_client(self._name(key))
        with _translated_errors():
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
                self._begun.add(name)
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
        if not self._account.key:
            raise CannotSign("un sas_token no puede firmar; hace falta account_key en credenciales")
        name = self._name(key)
        signed = generate_blob_sas(
            self._account.name,
            self._container_name,
            name,
            account_key=self._account.key,
            permission=BlobSasPermissions(read=True),
            expiry=datetime.now(UTC) + timedelta(seconds=seconds),
            protocol="https" if self._account.url.startswith("https:") else None,
        )
        return f"{self._container_url}/{quote(name)}?{signed}"

    def close(self) -> None:
        self._container.close()
        self._direct.close()

    def _discard_blocks(self, name: str) -> None:
        """Delete Blob discards uncommitted blocks; its condition fails for every finished blob.

        If a store fails the condition for such blocks too, they stay until Azure drops them after a week.
        """
        try:
            with _translated_errors():
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


@dataclass(frozen=True, slots=True)
class _Account:
    """A storage account's address and its authentication: by `key`, or else by `sas_token` (without `?`)."""

    name: str
    url: str
    key: str | None = field(default=None, repr=False)
    sas_token: str | None = field(default=None, repr=False)


def _account(credentials: Mapping[str, object] | str | None, options: Fields) -> _Account:
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
        return _Account(name, url, sas_token=_checked_sas_token(sas_token, "credenciales.sas_token"))
    key = fields.text("account_key")
    if key is None:
        raise FieldError("credenciales.sas_token: falta (o account_key, o connection_string)")
    _require_key(key, "credenciales.account_key")
    return _Account(name, url, key=key)


def _account_of_connection_string(text: str, account_url: str | None) -> _Account:
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
        return _Account(name, url, sas_token=_checked_sas_token(sas_token, label))
    _require_key(key, label)
    return _Account(name, url, key=key)


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


def _store(account: _Account, container: str, network: Network, client: ClientConfig, retry: RetryConfig) -> AzureStore:
    """obstore's client. It also reads `AZURE_*` from the environment, unless the settings given here override them."""
    config: AzureConfig = {"credential_type": "access_key" if account.key else "sas_token"}
    if account.key:
        config["account_key"] = account.key
    if account.sas_token:
        config["sas_key"] = account.sas_token
    return AzureStore(
        container,
        config=config,
        account_name=account.name,
        endpoint=account.url,
        use_emulator=False,
        use_fabric_endpoint=False,
        skip_signature=False,
        client_options={**client, **network_options(network)},
        retry_config=retry,
    )


def _authorization(account: _Account) -> Authorization:
    return SharedKey(account.name, account.key) if account.key else SasToken(account.sas_token or "")


def _container_client(account: _Account, container: str, session: requests.Session) -> ContainerClient:
    return ContainerClient(
        account.url,
        container,
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


def _block(number: int, sha256_so_far: bytes) -> BlobBlock:
    """A block whose name identifies all bytes up to its end and the number of blocks in them. So a block with other
    bytes can never replace it.
    """
    mark = base64.urlsafe_b64encode(sha256_so_far).decode()
    return BlobBlock(f"{number:04}{mark[: BLOCK_NAME_BYTES - 4]}")


def _is_made_of(blob: BlobClient, blocks: Sequence[BlobBlock]) -> bool:
    """Whether a blob consists of exactly these blocks."""
    with _translated_errors():
        committed, _ = blob.get_block_list("committed")
    return [block.id for block in committed] == [block.id for block in blocks]


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


@contextmanager
def _there_as_failed_condition() -> Iterator[None]:
    """Azure refuses to create an existing blob with a separate code: raise `ConditionFailed` for it."""
    try:
        yield
    except ResourceExistsError as error:
        if _code_of(error) not in EXISTING_CODES:
            raise
        raise ConditionFailed("ya hay un objeto con ese nombre (HTTP 409)") from None


@contextmanager
def _translated_errors() -> Iterator[None]:
    """Turn the SDK's exceptions into `ProviderError`s."""
    try:
        yield
    except HttpResponseError as error:
        # Not chained: the SDK's messages and their causes hold whole answers and addresses with signatures.
        raise _sdk_answer_error(error) from None
    except Refused as error:
        raise _answer_error(error.status, error.code, error.headers) from None
    except (AzureError, requests.RequestException) as error:
        failed = ProviderUnavailable(f"fallo de red con Azure ({type(error).__name__})")
        raise network_error(error) or failed from None
    except PARSER_ERRORS as error:
        raise unintelligible(type(error).__name__) from None


def _sdk_answer_error(error: HttpResponseError) -> ProviderError:
    if error.status_code is None:
        return ProviderUnavailable(f"fallo de red con Azure ({type(error).__name__})")
    return _answer_error(error.status_code, _code_of(error), getattr(error.response, "headers", {}))


def _code_of(error: HttpResponseError) -> str:
    code = getattr(error, "error_code", None) or ""
    return str(getattr(code, "value", code))


def _answer_error(status: int, code: str, headers: Mapping[str, str]) -> ProviderError:
    if not ERROR_CODE.fullmatch(code):
        code = ""
    answer = f"HTTP {status} {code}".strip()
    if status < 300:
        return unintelligible(answer)
    moved = sent_elsewhere(status, headers.get("Location"))
    if moved is not None:
        return moved
    retry_after = _retry_after(headers)
    if asks_to_slow_down(status, code, retry_after):
        pause = pause_seconds(retry_after, headers.get("Date"))
        return SlowDown(f"Azure pide menos peticiones ({answer})", pause)
    for applies, error_class, reason in (
        (status == 507 or code in FULL_CODES, StorageFull, "el contenedor no tiene espacio o cuota"),
        (status == 413, ObjectTooLarge, "el destino no admite objetos tan grandes"),
        (code in DAMAGED_CODES, IntegrityError, "los datos llegaron dañados a Azure"),
        (status == 408 or status >= 500, ProviderUnavailable, "Azure no pudo atender la petición"),
        (status == 407, AccessDenied, PROXY_REFUSES_US),
        (code in TRANSIENT_CODES, ProviderUnavailable, "Azure no pudo atender la petición"),
        (code in ARCHIVED_CODES, ObjectArchived, ARCHIVED),
        (code in PROTECTED_CODES, ObjectProtected, PROTECTED),
        (status == 403 and clock_is_off(headers.get("Date")), AccessDenied, CLOCK_IS_OFF),
        (status in {401, 403} or code in DENIED_CODES, AccessDenied, "acceso denegado por Azure"),
        (code in MISSING_CONTAINER_CODES, DestinationMissing, "el contenedor no existe"),
        (status == 404, ObjectNotFound, "el objeto no existe"),
        (code == "InvalidBlockList", BlocksLost, "Azure ya no tiene los bloques que se habían enviado"),
        (status == 412, ConditionFailed, "el objeto ya no es el que había"),
    ):
        if applies:
            return error_class(f"{reason} ({answer})")
    return ProviderError(f"Azure rechazó la petición ({answer})")


def _retry_after(headers: Mapping[str, str]) -> str | None:
    """The pause in seconds that Azure requests, in its own header or in HTTP's."""
    milliseconds = headers.get("x-ms-retry-after-ms", "")
    if milliseconds.isascii() and milliseconds.isdigit():
        return str(-(-int(milliseconds) // 1000))
    return headers.get("Retry-After")
