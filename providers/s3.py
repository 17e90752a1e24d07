"""Amazon S3 and everything that speaks its language: MinIO, Ceph, Swift and others.

obstore carries the bytes, but for small files on their way there, which go by `DirectHttp`, and large objects on their
way back: `S3Requests` brings those, lists, asks and deletes. boto3 finds credentials and Amazon's addresses, and serves
names that obstore refuses.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import botocore.config
import botocore.exceptions
import botocore.httpsession
from botocore.credentials import ReadOnlyCredentials
from obstore.store import S3Store

from config.models import EVERYTHING, ProviderRow, PutReceipt, Span, StoredObject
from providers.answers import deadline_seconds
from providers.base import (
    ANSWER_TIMEOUT_SECONDS,
    CHUNK_SIZE_BYTES,
    CONNECT_TIMEOUT_SECONDS,
    PART_SIZE_BYTES,
    SLOWEST_HASHING_BYTES_PER_SECOND,
    SPANS_AT_ONCE,
    AccessDenied,
    ConditionFailed,
    NameEncoding,
    ObjectNotFound,
    Provider,
    ProviderError,
    Source,
    is_directory_of_keys,
    part_size_for,
)
from providers.direct_http import DirectHttp, reaches_directly
from providers.object_store_get import ObjectStoreGet
from providers.object_store_put import (
    HashingReader,
    Md5Of,
    Mode,
    ObjectStorePut,
    SentBytes,
    hash_source,
    multipart_md5,
    require_stored,
)
from providers.part_buffers import PartBuffers
from providers.probes import CONDITIONS_NAME, Remembered, prefix_of, probe_key
from providers.s3_conditions import Conditions, probe_conditions
from providers.s3_errors import is_optional_refusal, is_unexplained, refused_as_optional, translated_errors
from providers.s3_requests import CONNECTIONS, Listed, NoSuchUpload, S3Requests, Unfinished, use_paced_connections
from providers.s3_settings import read_settings
from providers.s3_signature import PutSigner

if TYPE_CHECKING:
    import boto3
    from obstore import Attributes
    from obstore.store import ClientConfig, ObjectStore, RetryConfig, S3Credential
    from typing_extensions import Buffer

CONTROL_CHARACTER = re.compile("[\x00-\x1f\x7f]")
"""What obstore refuses in a name; such objects, which are rare, travel through boto3."""

REQUESTER_PAYS = {"x-amz-request-payer": "requester"}

RANGE_SIZE_BYTES = 64 * 1024 * 1024
"""Larger objects are read in ranges of this size: a server that reads all of an object before it sends it is asked for
less at once, and while it reads for one, another one's bytes travel."""


class S3Provider(Provider):
    """A bucket on S3. See `Provider` for what it promises."""

    endpoint_required = False

    listed_at_once = 1000

    def __init__(self, row: ProviderRow) -> None:
        super().__init__(row.id, row.name, row.kind)
        self._settings = read_settings(row, endpoint_required=self.endpoint_required)
        self._names = NameEncoding()
        self._conditions = Remembered(self._probe_conditions)
        self._first_use = threading.Lock()
        self._not_yet_learnt = threading.Lock()
        """Taken by the first who asks, for good: some servers read the whole object to answer."""

    def put(self, key: str, source: Source) -> PutReceipt:
        name = self._names.encode(key)
        if CONTROL_CHARACTER.search(name):
            return _receipt(self._put_through_boto3(name, source, {}))
        sent = self._upload.put(name, source, self._attributes)
        if sent.md5 and sent.part_md5s and self._not_yet_learnt.acquire(blocking=False):
            self._learn_which_md5_is_shown(key, sent.md5, sent.part_md5s)
        return _receipt(sent)

    def put_new_many(self, sources: Mapping[str, Source]) -> Iterator[tuple[str, PutReceipt]]:
        """See `Provider`: under a condition where the server was seen to keep it, as others may refuse what they do not
        know.
        """
        if not self._conditions.get(prefix_of(next(iter(sources), ""))).on_put:
            yield from self.put_many(sources)
            return
        for key, source in sources.items():
            is_large = source.size_bytes > PART_SIZE_BYTES
            yield key, self.put(key, source) if is_large else self._put_new(key, source)

    def _put_new(self, key: str, source: Source) -> PutReceipt:
        name = self._names.encode(key)
        if CONTROL_CHARACTER.search(name):
            return _receipt(self._put_through_boto3(name, source, {"IfNoneMatch": "*"}))
        return _receipt(self._upload.put_small(name, source, self._attributes, "create"))

    def replace(self, key: str, source: Source, expected: StoredObject | None) -> PutReceipt:
        """See `Provider`. The condition goes with the request that makes the object visible.

        A server that knows no such conditions gets every object in parts, however small: whoever takes over discards
        them by `abandon`, and then they cannot become an object any more.
        """
        conditions = self._conditions.get(prefix_of(key))
        with translated_errors(), _missing_as_failed_condition(expected):
            if source.size_bytes > PART_SIZE_BYTES or (source.size_bytes and not conditions.on_put):
                return _receipt(self._replace_in_parts(key, source, expected, conditions))
            if not conditions.on_put:
                self._require_expected(key, expected)
            reader = HashingReader(source)
            headers = {**self._object_headers, **(_condition(expected) if conditions.on_put else {})}
            self._requests.put(self._names.encode(key), bytes(reader.whole()), headers)
            return _receipt(reader.sent())

    def _replace_in_parts(
        self, key: str, source: Source, expected: StoredObject | None, conditions: Conditions
    ) -> SentBytes:
        """Look just before the parts become an object, as some servers know the conditions of a PUT only."""
        reader = HashingReader(source, tuple(Md5Of))
        part_bytes = min(source.size_bytes, part_size_for(source.size_bytes))
        with contextlib.closing(self._new_requests(deadline_seconds(part_bytes))) as requests:
            upload = requests.begin_upload(self._names.encode(key), self._object_headers)
            try:
                parts = reader.parts(PartBuffers(part_size_for(source.size_bytes)))
                etags = [requests.put_part(upload, number, bytes(part)) for number, part in enumerate(parts, start=1)]
                self._require_expected(key, expected)
                requests.complete(upload, etags, _condition(expected) if conditions.on_put else {})
            except BaseException:
                with contextlib.suppress(botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
                    requests.abort(upload)
                raise
        return reader.sent()

    def replaces_safely(self, prefix: str = "") -> bool:
        conditions = self._conditions.get(prefix)
        return conditions.on_put or conditions.on_uploads

    def creates_safely(self, prefix: str = "") -> bool:
        return self._conditions.get(prefix).on_put

    def deletes_safely(self, prefix: str = "") -> bool:
        return self._conditions.get(prefix).on_delete

    def _probe_conditions(self, prefix: str) -> Conditions:
        with translated_errors():
            return probe_conditions(self._requests, self._names.encode(probe_key(prefix, CONDITIONS_NAME)))

    def _learn_which_md5_is_shown(self, key: str, md5: str, part_md5s: Sequence[str]) -> None:
        """S3 shows the MD5 of the parts' MD5s, others that of the whole: from then on the other one is not computed.

        What a server shows differently after all is read back.
        """
        with contextlib.suppress(ProviderError):
            shown = self.stat(key).checksum
            if shown == _checksum(multipart_md5(part_md5s)):
                self._upload.md5s_of_large = (Md5Of.EACH_PART,)
            elif shown == _checksum(md5):
                self._upload.md5s_of_large = (Md5Of.WHOLE,)

    def measure(self, source: Source) -> PutReceipt:
        return _receipt(hash_source(source))

    def open(self, key: str) -> Iterator[bytes]:
        name = self._names.encode(key)
        return self._open_through_boto3(name) if CONTROL_CHARACTER.search(name) else self._download.open(name)

    def open_sized(self, key: str, size_bytes: int) -> Iterator[bytes]:
        """See `Provider`: above `RANGE_SIZE_BYTES` by requests for ranges of this size, one after another."""
        if size_bytes <= RANGE_SIZE_BYTES:
            yield from self.open(key)
            return
        with translated_errors():
            yield from self._requests.read_in_ranges(self._names.encode(key), size_bytes, RANGE_SIZE_BYTES)

    def stat(self, key: str) -> StoredObject:
        with translated_errors():
            found = self._look_at(self._names.encode(key))
            return StoredObject(key, found.size_bytes, _checksum(found.etag), found.etag)

    def _look_at(self, name: str) -> Listed:
        """As the server answers to HEAD, or where it does not let that be asked, as it lists the object: so it also
        tells why, as an answer to HEAD has no body.
        """
        try:
            return self._requests.head(name)
        except botocore.exceptions.ClientError as error:
            if not is_optional_refusal(error) and not is_unexplained(error):
                raise
        first = next(self._requests.list(name), None)
        if first is None or first.name != name:
            raise ObjectNotFound("el objeto no existe")
        return first

    def list(self, prefix: str) -> Iterator[StoredObject]:
        with translated_errors():
            yield from self._listed(self._requests, prefix)

    def list_patiently(self, prefix: str, size_bytes: int, span: Span = EVERYTHING) -> Iterator[StoredObject]:
        """See `Provider`. rclone's server, for one, reads every object for the ETag that it shows, and goes through the
        whole bucket for each page.
        """
        hashing_seconds = size_bytes / SLOWEST_HASHING_BYTES_PER_SECOND
        if hashing_seconds <= ANSWER_TIMEOUT_SECONDS and span == EVERYTHING:
            yield from self.list(prefix)
            return
        at_once = 1 if span == EVERYTHING else SPANS_AT_ONCE
        patience_seconds = ANSWER_TIMEOUT_SECONDS * at_once + hashing_seconds
        with translated_errors(), contextlib.closing(self._new_requests(patience_seconds)) as requests:
            yield from self._listed(requests, prefix, span)

    def _listed(self, requests: S3Requests, prefix: str, span: Span = EVERYTHING) -> Iterator[StoredObject]:
        """S3 lists in the order of the names' UTF-8, which is that of Python's strings; some others do not."""
        after, up_to = (None if key is None else self._names.encode(key) for key in (span.after, span.up_to))
        for found in requests.list(self._names.encode(prefix), after):
            if after is not None and found.name <= after:
                continue
            if up_to is None or found.name <= up_to:
                yield StoredObject(self._names.decode(found.name), found.size_bytes, _checksum(found.etag))
            if up_to is not None and found.name >= up_to:
                return

    def delete(self, key: str) -> None:
        with translated_errors():
            self._requests.delete(self._names.encode(key))

    def delete_exactly(self, stored: StoredObject) -> None:
        etag = _etag(stored)
        if etag is None or not self._conditions.get(prefix_of(stored.key)).on_delete:
            super().delete_exactly(stored)
            return
        try:
            with translated_errors():
                self._requests.delete_if(self._names.encode(stored.key), etag)
        except ObjectNotFound:
            return
        except ConditionFailed:
            # Some servers say so where there is nothing; Swift does of objects in parts, whose ETag for it is not the
            # one that it shows.
            super().delete_exactly(stored)

    def abandon(self, prefix: str) -> None:
        with translated_errors():
            with refused_as_optional("s3:ListBucketMultipartUploads"):
                unfinished = self._unfinished_uploads(prefix)
            with refused_as_optional("s3:AbortMultipartUpload"):
                for upload in unfinished:
                    self._requests.abort(upload)

    def _unfinished_uploads(self, prefix: str) -> Sequence[Unfinished]:
        """All of them before the first is aborted, which would move the pages that follow.

        Swift also shows the one of a key that the prefix is, without its final slash.
        """
        found: list[Unfinished] = []
        name = self._names.encode(prefix)
        with contextlib.suppress(NoSuchUpload):
            found.extend(self._requests.unfinished_uploads(name))
        if is_directory_of_keys(prefix):
            return [upload for upload in found if upload.name.startswith(name)]
        return [upload for upload in found if upload.name == name]

    def close(self) -> None:
        for opened in ("_boto3_client", "_signed_requests", "_direct"):
            if opened in self.__dict__:
                self.__dict__[opened].close()

    @functools.cached_property
    def _signed_requests(self) -> S3Requests:
        return self._new_requests(ANSWER_TIMEOUT_SECONDS)

    def _new_requests(self, answer_timeout_seconds: float) -> S3Requests:
        return S3Requests(
            self._bucket_url,
            self._settings.credentials["region"],
            self._read_credentials(),
            _certificates(),
            answer_timeout_seconds,
            REQUESTER_PAYS if self._settings.requester_pays else {},
        )

    @property
    def _bucket_url(self) -> str:
        bucket = f"/{self._settings.bucket}" if self._path_style and not self._settings.accelerate else ""
        return f"{self._obstore_endpoint()}{bucket}"

    @property
    def _requests(self) -> S3Requests:
        with self._first_use:
            return self._signed_requests

    def _read_credentials(self) -> Callable[[], ReadOnlyCredentials]:
        """The row's key pair, or what the SDK's default chain has just then: it may be renewed at any time."""
        if "access_key" in self._settings.credentials:
            names = ("access_key", "secret_key", "session_token")
            fixed = ReadOnlyCredentials(*(self._settings.credentials.get(name) for name in names))
            return lambda: fixed
        return lambda: self._chain_credentials().get_frozen_credentials()

    def _chain_credentials(self) -> Any:
        found = self._session.get_credentials()
        if found is None:
            raise AccessDenied("no hay credenciales: ni en la fila del proveedor ni en el entorno de esta máquina")
        return found

    @functools.cached_property
    def _session(self) -> boto3.Session:
        import boto3  # here: it takes as long as all the rest of a short run, most of which do without it

        return boto3.Session(
            aws_access_key_id=self._settings.credentials.get("access_key"),
            aws_secret_access_key=self._settings.credentials.get("secret_key"),
            aws_session_token=self._settings.credentials.get("session_token"),
            region_name=self._settings.credentials["region"],
        )

    @functools.cached_property
    def _boto3_client(self) -> Any:
        addressing: Any = {
            "addressing_style": "path" if self._path_style else "virtual",
            "use_accelerate_endpoint": self._settings.accelerate,
        }
        settings: Any = botocore.config.Config  # its stubs lack `ignore_configured_endpoint_urls`
        client: Any = self._session.client(
            "s3",
            endpoint_url=self._settings.endpoint_url,
            config=settings(
                connect_timeout=CONNECT_TIMEOUT_SECONDS,
                read_timeout=ANSWER_TIMEOUT_SECONDS,
                retries={"total_max_attempts": 1},
                max_pool_connections=CONNECTIONS,
                signature_version="s3v4",
                ignore_configured_endpoint_urls=True,
                # Many servers that are not Amazon's reject the checksums that boto3 adds by default since 1.36.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                s3=addressing,
            ),
        )
        use_paced_connections(client._endpoint.http_session)
        client.meta.events.register("before-call.s3", _give_body_time_to_travel)
        if self._settings.requester_pays:
            client.meta.events.register("before-call.s3", _say_who_pays)
        return client

    @property
    def _client(self) -> Any:
        with self._first_use:
            return self._boto3_client

    @functools.cached_property
    def _obstore_upload(self) -> ObjectStorePut:
        send_small = self._send_small if reaches_directly(self._bucket_url) else None
        return ObjectStorePut(self._build_store, self._settings.endpoint_url, send_small=send_small)

    def _send_small(self, name: str, content: bytes, sent: SentBytes, mode: Mode) -> None:
        path, headers = self._signers[mode].sign(name, sent.sha256)
        require_stored(self._direct.put(path, headers, content))

    @functools.cached_property
    def _direct(self) -> DirectHttp:
        return DirectHttp(self._bucket_url, _certificates())

    @functools.cached_property
    def _signers(self) -> Mapping[Mode, PutSigner]:
        modes: Mapping[Mode, Mapping[str, str]] = {"overwrite": {}, "create": {"if-none-match": "*"}}
        always = {**self._object_headers, **(REQUESTER_PAYS if self._settings.requester_pays else {})}
        return {mode: self._signer_of({**condition, **always}) for mode, condition in modes.items()}

    def _signer_of(self, headers: Mapping[str, str]) -> PutSigner:
        return PutSigner(self._bucket_url, self._settings.credentials["region"], self._read_credentials(), headers)

    @property
    def _object_headers(self) -> dict[str, str]:
        settings = {
            "x-amz-storage-class": self._settings.storage_class,
            "x-amz-server-side-encryption": self._settings.encryption.get("sse"),
            "x-amz-server-side-encryption-aws-kms-key-id": self._settings.encryption.get("kms_key_id"),
        }
        return {name: value for name, value in settings.items() if value is not None}

    @property
    def _upload(self) -> ObjectStorePut:
        with self._first_use, translated_errors():
            return self._obstore_upload

    @functools.cached_property
    def _obstore_download(self) -> ObjectStoreGet:
        return ObjectStoreGet(self._build_store, self._settings.endpoint_url)

    @property
    def _download(self) -> ObjectStoreGet:
        with self._first_use, translated_errors():
            return self._obstore_download

    def _build_store(self, client_options: ClientConfig, retry_config: RetryConfig) -> ObjectStore:
        """obstore's client. It also reads `AWS_*` from the environment, where what is given here does not forbid it.

        `AWS_ENDPOINT_URL_S3` outranks even the argument `endpoint`, so the endpoint is set under that name, too.
        """
        endpoint = self._obstore_endpoint()
        config: Any = {"s3_express": False, "skip_signature": False, "aws_endpoint_url_s3": endpoint}
        if self._settings.requester_pays:
            config["request_payer"] = True
        if "sse" in self._settings.encryption:
            config["server_side_encryption"] = self._settings.encryption["sse"]
        if "kms_key_id" in self._settings.encryption:
            config["sse_kms_key_id"] = self._settings.encryption["kms_key_id"]
        return S3Store(
            self._settings.bucket,
            config=config,
            endpoint=endpoint,
            virtual_hosted_style_request=not self._path_style,
            region=self._settings.credentials["region"],
            credential_provider=self._obstore_credentials(),
            client_options=client_options,
            retry_config=retry_config,
        )

    @property
    def _path_style(self) -> bool:
        """Whether the bucket stands in the path: Amazon's certificates do not cover bucket names with dots."""
        return self._settings.endpoint_url is not None or "." in self._settings.bucket

    def _obstore_endpoint(self) -> str:
        if self._settings.accelerate:
            return f"https://{self._settings.bucket}.s3-accelerate.amazonaws.com"
        endpoint = self._settings.endpoint_url or str(self._boto3_client.meta.endpoint_url)
        return endpoint if self._path_style else endpoint.replace("://", f"://{self._settings.bucket}.", 1)

    def _obstore_credentials(self) -> Callable[[], S3Credential]:
        """The row's key pair, or the SDK's default chain: environment, profile, role of the machine."""
        if "access_key" in self._settings.credentials:
            fixed: S3Credential = {
                "access_key_id": self._settings.credentials["access_key"],
                "secret_access_key": self._settings.credentials["secret_key"],
                "token": self._settings.credentials.get("session_token"),
                "expires_at": None,
            }
            return lambda: fixed
        self._chain_credentials()
        from obstore.auth.boto3 import Boto3CredentialProvider  # it imports boto3

        return Boto3CredentialProvider(self._session)

    @property
    def _attributes(self) -> Attributes | None:
        return {"Storage-Class": self._settings.storage_class} if self._settings.storage_class else None

    def _open_through_boto3(self, name: str) -> Iterator[bytes]:
        with translated_errors():
            body = self._client.get_object(Bucket=self._settings.bucket, Key=name)["Body"]
            yield from body.iter_chunks(CHUNK_SIZE_BYTES)

    def _put_through_boto3(self, name: str, source: Source, condition: Mapping[str, str]) -> SentBytes:
        """Slower, but takes names with control characters. The condition is for what goes in one request."""
        reader = HashingReader(source, tuple(Md5Of))
        target = {"Bucket": self._settings.bucket, "Key": name}
        with translated_errors():
            if source.size_bytes <= PART_SIZE_BYTES:
                body = io.BytesIO(reader.whole())
                self._client.put_object(**target, **self._object_settings, **condition, Body=body)
            else:
                self._put_parts(target, reader.parts(PartBuffers(part_size_for(source.size_bytes))))
        return reader.sent()

    def _put_parts(self, target: Mapping[str, str], parts: Iterator[Buffer]) -> None:
        upload_id = self._client.create_multipart_upload(**target, **self._object_settings)["UploadId"]
        try:
            finished = []
            for number, part in enumerate(parts, start=1):
                answer = self._client.upload_part(
                    **target, UploadId=upload_id, PartNumber=number, Body=io.BytesIO(part)
                )
                finished.append({"PartNumber": number, "ETag": answer["ETag"]})
            self._client.complete_multipart_upload(**target, UploadId=upload_id, MultipartUpload={"Parts": finished})
        except BaseException:
            self._requests.abort(Unfinished(target["Key"], upload_id))
            raise

    @property
    def _object_settings(self) -> dict[str, str]:
        settings = {
            "StorageClass": self._settings.storage_class,
            "ServerSideEncryption": self._settings.encryption.get("sse"),
            "SSEKMSKeyId": self._settings.encryption.get("kms_key_id"),
        }
        return {name: value for name, value in settings.items() if value is not None}


class MinioProvider(S3Provider):
    """A bucket on MinIO, or on another server at an address of its own."""

    endpoint_required = True


def _certificates() -> str:
    """Whose certificates are believed, as boto3 has it: those of a file of the environment's, or of the usual ones."""
    return os.environ.get("AWS_CA_BUNDLE") or str(botocore.httpsession.get_cert_path(True))


def _give_body_time_to_travel(params: Mapping[str, Any], **_: object) -> None:
    """A file-like body is handed to the kernel in small pieces, each with its own timeout; but then boto3 waits for
    the answer no longer than to a request without one, while much of the body may still be on its way.
    """
    if isinstance(params["body"], io.BytesIO):
        body_bytes = params["body"].getbuffer().nbytes
        params["context"]["read_timeout"] = max(ANSWER_TIMEOUT_SECONDS, deadline_seconds(body_bytes))


def _say_who_pays(params: Mapping[str, Any], **_: object) -> None:
    params["headers"].update(REQUESTER_PAYS)


def _receipt(sent: SentBytes) -> PutReceipt:
    """The ETags that a server may show: the MD5; for a multipart object usually that of its parts' MD5s instead."""
    checksums = {_checksum(sent.md5)} if sent.md5 else set()
    if sent.part_md5s:
        checksums.add(_checksum(multipart_md5(sent.part_md5s)))
    return PutReceipt(sent.size_bytes, sent.sha256, frozenset(checksums))


@contextlib.contextmanager
def _missing_as_failed_condition(expected: StoredObject | None) -> Iterator[None]:
    """That there is no object is how a server refuses to replace one."""
    try:
        with translated_errors():
            yield
    except ObjectNotFound as error:
        if expected is None:
            raise
        raise ConditionFailed(f"ya no está el objeto que había: {error}") from None


def _condition(expected: StoredObject | None) -> dict[str, str]:
    """The header that asks for what lies there."""
    etag = expected and _etag(expected)
    return {"If-Match": etag} if etag else {"If-None-Match": "*"}


def _etag(stored: StoredObject) -> str | None:
    """As the server shows it."""
    if stored.version is None and stored.checksum:
        return f'"{stored.checksum.removeprefix("etag:")}"'
    return stored.version


def _checksum(etag: str) -> str:
    return "etag:" + etag.strip('"').lower()
