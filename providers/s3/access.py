"""How a bucket is reached: its address, its credentials, the network, and the clients that these make."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import botocore.config
from botocore.credentials import ReadOnlyCredentials
from obstore.store import S3Store

from providers.base import ANSWER_TIMEOUT_SECONDS, CONNECT_TIMEOUT_SECONDS, PART_SIZE_BYTES
from providers.retries import Repeated
from providers.s3.credentials import ChainCredentials, explained_failures
from providers.s3.errors import translated_errors
from providers.s3.requests import S3Requests
from providers.s3.session import CONNECTIONS
from providers.s3.settings import S3Settings
from providers.s3.signature import RequestSigner
from providers.shared.answers import deadline_seconds
from providers.shared.direct_http import DirectHttp, reaches_directly
from providers.shared.network import Network, NetworkRules
from providers.shared.object_store_get import ObjectStoreGet
from providers.shared.object_store_put import network_options

if TYPE_CHECKING:
    import boto3
    from obstore.store import ClientConfig, ObjectStore, RetryConfig, S3Credential

AMAZON_URL = "https://s3.amazonaws.com"

REQUESTER_PAYS = {"x-amz-request-payer": "requester"}


class BucketAccess:
    """Makes clients of one bucket. Nothing is imported, looked for or contacted before it is needed."""

    def __init__(self, settings: S3Settings, rules: NetworkRules, repeated: Repeated) -> None:
        """`repeated` is as in `S3Requests`. Raises `FieldError` for rules that cannot be followed."""
        rules.for_url(settings.endpoint_url or AMAZON_URL)
        self._settings = settings
        self._rules = rules
        self._repeated = repeated
        self._first_use = threading.Lock()

    @property
    def endpoint_url(self) -> str:
        """The address of the server as obstore expects it: the bucket may be a part of its name."""
        if self._settings.accelerate:
            return f"https://{self._settings.bucket}.s3-accelerate.amazonaws.com"
        endpoint = self._settings.endpoint_url or str(self._boto3_client.meta.endpoint_url)
        return endpoint if self._path_style else endpoint.replace("://", f"://{self._settings.bucket}.", 1)

    @property
    def bucket_url(self) -> str:
        """The address of the bucket."""
        bucket = f"/{self._settings.bucket}" if self._path_style and not self._settings.accelerate else ""
        return f"{self.endpoint_url}{bucket}"

    @functools.cached_property
    def network(self) -> Network:
        """The certificates and the proxy for the bucket."""
        return self._rules.for_url(self.bucket_url)

    @property
    def every_header(self) -> Mapping[str, str]:
        """The headers of every request."""
        return REQUESTER_PAYS if self._settings.requester_pays else {}

    @functools.cached_property
    def is_reached_directly(self) -> bool:
        """Whether `direct` reaches the bucket, because no proxy is in the way."""
        return reaches_directly(self.bucket_url, self.network)

    @functools.cached_property
    def direct(self) -> DirectHttp:
        """The client with connections of our own."""
        return DirectHttp(self.bucket_url, self.network.trust)

    @property
    def requests(self) -> S3Requests:
        """The client for short requests. Raises `ProviderError`."""
        with self._first_use:
            return self._short_requests

    @property
    def patient_requests(self) -> S3Requests:
        """The client for requests that take the server or the network as long as a part. Raises `ProviderError`."""
        with self._first_use:
            return self._patient_requests

    @property
    def download(self) -> ObjectStoreGet:
        """obstore, to read objects. Raises `ProviderError`."""
        with self._first_use, translated_errors():
            return self._obstore_download

    @functools.cached_property
    def _short_requests(self) -> S3Requests:
        return self.new_requests(ANSWER_TIMEOUT_SECONDS)

    @functools.cached_property
    def _patient_requests(self) -> S3Requests:
        return self.new_requests(deadline_seconds(PART_SIZE_BYTES))

    @functools.cached_property
    def _obstore_download(self) -> ObjectStoreGet:
        return ObjectStoreGet(self.build_store, self._settings.endpoint_url)

    def new_requests(self, answer_timeout_seconds: float) -> S3Requests:
        """A client of the caller's own, which waits this long for each answer."""
        return S3Requests(
            self.bucket_url,
            self._settings.credentials["region"],
            self._read_credentials(),
            self.network,
            answer_timeout_seconds,
            self._repeated,
            self.direct if self.is_reached_directly else None,
            self.every_header,
        )

    def signer(self, headers: Mapping[str, str] = MappingProxyType({})) -> RequestSigner:
        """A signer of requests that have these headers besides `every_header`."""
        region, credentials = self._settings.credentials["region"], self._read_credentials()
        return RequestSigner(self.bucket_url, region, credentials, {**headers, **self.every_header})

    def build_store(self, client_options: ClientConfig, retry_config: RetryConfig) -> ObjectStore:
        """obstore's client. It also reads `AWS_*` from the environment, unless the settings given here override them.

        `AWS_ENDPOINT_URL_S3` outranks even the argument `endpoint`, so the endpoint is set under that name too.
        """
        endpoint = self.endpoint_url
        config: Any = {"s3_express": False, "skip_signature": False, "aws_endpoint_url_s3": endpoint}
        if self._settings.requester_pays:
            config["request_payer"] = True
        return S3Store(
            self._settings.bucket,
            config=config,
            endpoint=endpoint,
            virtual_hosted_style_request=not self._path_style,
            region=self._settings.credentials["region"],
            credential_provider=self.obstore_credentials(),
            client_options={**client_options, **network_options(self.network)},
            retry_config=retry_config,
        )

    def obstore_credentials(self) -> Callable[[], S3Credential]:
        """What obstore asks for its credentials: the row's key pair, or the SDK's default chain, that is environment,
        profile or role of the machine. Raises `AccessDenied`.
        """
        if "access_key" in self._settings.credentials:
            fixed: S3Credential = {
                "access_key_id": self._settings.credentials["access_key"],
                "secret_access_key": self._settings.credentials["secret_key"],
                "token": self._settings.credentials.get("session_token"),
                "expires_at": None,
            }
            return lambda: fixed
        chain = self._chain_credentials  # finds out at once whether there are any
        return lambda: _for_one_request(chain.now())

    def close(self) -> None:
        """Close the connections that were opened."""
        for opened in ("_short_requests", "_patient_requests", "_boto3_client", "direct"):
            if opened in self.__dict__:
                self.__dict__[opened].close()

    @property
    def _path_style(self) -> bool:
        """Whether the bucket goes in the path: Amazon's certificates do not cover bucket names with dots."""
        return self._settings.endpoint_url is not None or "." in self._settings.bucket

    def _read_credentials(self) -> Callable[[], ReadOnlyCredentials]:
        """The row's key pair, or the current one of the SDK's default chain, which may renew it at any time."""
        if "access_key" in self._settings.credentials:
            names = ("access_key", "secret_key", "session_token")
            fixed = ReadOnlyCredentials(*(self._settings.credentials.get(name) for name in names))
            return lambda: fixed
        return self._credentials_of_chain

    def _credentials_of_chain(self) -> ReadOnlyCredentials:
        return self._chain_credentials.now()

    @functools.cached_property
    def _chain_credentials(self) -> ChainCredentials:
        return ChainCredentials(self._session)

    @functools.cached_property
    def _session(self) -> boto3.Session:
        import boto3  # here: importing it takes as long as the rest of a short run, and most runs do not need it

        with explained_failures():
            session = boto3.Session(
                aws_access_key_id=self._settings.credentials.get("access_key"),
                aws_secret_access_key=self._settings.credentials.get("secret_key"),
                aws_session_token=self._settings.credentials.get("session_token"),
                region_name=self._settings.credentials["region"],
            )
            if "access_key" not in self._settings.credentials:
                self._let_credentials_be_found(session)
                session.get_credentials()  # what is wrong with them is said here, before a client asks
        return session

    def _let_credentials_be_found(self, session: boto3.Session) -> None:
        """The default chain may contact other Amazon servers through its own clients."""
        network = self._rules.for_url(AMAZON_URL)
        inner: Any = session._session  # boto3 hands on neither of these settings
        inner.set_config_variable("ca_bundle", network.trust.path)
        inner.set_default_client_config(botocore.config.Config(proxies=network.proxies))

    @functools.cached_property
    def _boto3_client(self) -> Any:
        """boto3's client, for its knowledge of Amazon's addresses."""
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
        return client


def _for_one_request(credentials: ReadOnlyCredentials) -> S3Credential:
    """Credentials of the SDK's chain as obstore takes them, for one request: obstore keeps them until five minutes
    before their end, which only the SDK knows. It renews them in time, and asking it costs next to nothing.
    """
    return {
        "access_key_id": credentials.access_key or "",
        "secret_access_key": credentials.secret_key or "",
        "token": credentials.token,
        "expires_at": datetime.now(UTC),
    }
