"""The signature of a PUT to S3, of an object or a part: botocore's takes longer than all the rest of a small request.

Source: "Authenticating Requests: Using the Authorization Header (AWS Signature Version 4)", Amazon S3 API Reference.
"""

from __future__ import annotations

import hashlib
import hmac
import time
import urllib.parse
from collections.abc import Callable, Mapping

from botocore.credentials import ReadOnlyCredentials

ALGORITHM = "AWS4-HMAC-SHA256"

UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
"""In place of the SHA-256 of a body which something else protects."""


NOTHING: Mapping[str, str] = {}


class PutSigner:
    """Says how objects of one bucket are to be put. Safe for several threads."""

    def __init__(
        self,
        bucket_url: str,
        region: str,
        credentials: Callable[[], ReadOnlyCredentials],
        headers: Mapping[str, str],
    ) -> None:
        """`headers` go with every request; their names are in lower case."""
        parts = urllib.parse.urlsplit(bucket_url)
        self._host = parts.netloc
        self._path = parts.path
        self._region = region
        self._credentials = credentials
        self._headers = headers
        self._latest_key: tuple[tuple[str, str], bytes] = (("", ""), b"")

    def sign(
        self, name: str, sha256: str, digest: Mapping[str, str] = NOTHING, query: str = ""
    ) -> tuple[str, list[tuple[str, str]]]:
        """The path of an object, and the headers that a request with these bytes needs besides those of HTTP.

        `digest` is the header that says the MD5; `query` is as S3 wants it signed: in the order of the names, in
        percent notation.
        """
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        credentials = self._credentials()
        headers = {"host": self._host, **self._headers, **digest, "x-amz-content-sha256": sha256, "x-amz-date": now}
        if credentials.token:
            headers["x-amz-security-token"] = credentials.token
        path = f"{self._path}/{urllib.parse.quote(name)}"
        names = sorted(headers)
        lines = "".join(f"{name}:{headers[name]}\n" for name in names)
        signed_names = ";".join(names)
        request = f"PUT\n{path}\n{query}\n{lines}\n{signed_names}\n{sha256}"
        scope = f"{now[:8]}/{self._region}/s3/aws4_request"
        to_sign = f"{ALGORITHM}\n{now}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        signature = _hmac(self._key(credentials.secret_key or "", now[:8]), to_sign).hex()
        credential = f"Credential={credentials.access_key}/{scope}"
        del headers["host"]
        headers["authorization"] = f"{ALGORITHM} {credential}, SignedHeaders={signed_names}, Signature={signature}"
        return f"{path}?{query}" if query else path, list(headers.items())

    def _key(self, secret_key: str, date: str) -> bytes:
        """Good for a day."""
        known_for, key = self._latest_key
        if known_for != (secret_key, date):
            key = f"AWS4{secret_key}".encode()
            for part in (date, self._region, "s3", "aws4_request"):
                key = _hmac(key, part)
            self._latest_key = ((secret_key, date), key)
        return key


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
