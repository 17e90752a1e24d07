"""Signs S3 requests: botocore's signing takes as long as much of the rest of a small request.

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
"""Replaces the SHA-256 of a body that is protected otherwise."""


NOTHING: Mapping[str, str] = {}

SHA256_OF_NOTHING = hashlib.sha256().hexdigest()


class RequestSigner:
    """Signs requests for objects of one bucket. Safe for several threads."""

    def __init__(
        self,
        bucket_url: str,
        region: str,
        credentials: Callable[[], ReadOnlyCredentials],
        headers: Mapping[str, str],
    ) -> None:
        """`headers` are sent with every request; their names are in lower case."""
        parts = urllib.parse.urlsplit(bucket_url)
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._host = parts.netloc
        self._path = parts.path
        self._region = region
        self._credentials = credentials
        self._headers = headers
        self._latest_now = (0, "")
        self._forms: dict[tuple[str, ...], tuple[str, str]] = {}
        self._latest_key: tuple[tuple[str, str], bytes] = (("", ""), b"")

    def sign(
        self, name: str | None, sha256: str, more: Mapping[str, str] = NOTHING, query: str = "", method: str = "PUT"
    ) -> tuple[str, list[tuple[str, str]]]:
        """The path of an object, of the bucket where `name` is `None`, and the headers that a request with these bytes
        needs besides those of HTTP.

        `more` are headers of this request alone, their names in lower case; `query` is as S3 wants it signed: in the
        order of the names, in percent notation.
        """
        now = self._now()
        credentials = self._credentials()
        headers = {"host": self._host, **self._headers, **more, "x-amz-content-sha256": sha256, "x-amz-date": now}
        if credentials.token:
            headers["x-amz-security-token"] = credentials.token
        path = self._path or "/" if name is None else f"{self._path}/{urllib.parse.quote(name)}"
        signed_names, form = self._form_of(tuple(headers))
        request = f"{method}\n{path}\n{query}\n{form % headers}\n{signed_names}\n{sha256}"
        scope = f"{now[:8]}/{self._region}/s3/aws4_request"
        to_sign = f"{ALGORITHM}\n{now}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        signature = _hmac(self._key(credentials.secret_key or "", now[:8]), to_sign).hex()
        credential = f"Credential={credentials.access_key}/{scope}"
        del headers["host"]
        headers["authorization"] = f"{ALGORITHM} {credential}, SignedHeaders={signed_names}, Signature={signature}"
        return f"{path}?{query}" if query else path, list(headers.items())

    def signed_url(self, name: str, seconds: int) -> str:
        """An address that reads the object for some seconds. Unlike botocore's, its parts get into no debug log.

        Source: "Authenticating Requests: Using Query Parameters (AWS Signature Version 4)", Amazon S3 API Reference.
        """
        now = self._now()
        credentials = self._credentials()
        scope = f"{now[:8]}/{self._region}/s3/aws4_request"
        parameters = {
            "X-Amz-Algorithm": ALGORITHM,
            "X-Amz-Credential": f"{credentials.access_key}/{scope}",
            "X-Amz-Date": now,
            "X-Amz-Expires": str(seconds),
            "X-Amz-SignedHeaders": "host",
            **self._headers,
        }
        if credentials.token:
            parameters["X-Amz-Security-Token"] = credentials.token
        query = "&".join(f"{key}={urllib.parse.quote(value, safe='')}" for key, value in sorted(parameters.items()))
        path = "/".join((self._path, urllib.parse.quote(name)))
        request = f"GET\n{path}\n{query}\nhost:{self._host}\n\nhost\n{UNSIGNED_PAYLOAD}"
        to_sign = f"{ALGORITHM}\n{now}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        signature = _hmac(self._key(credentials.secret_key or "", now[:8]), to_sign).hex()
        return f"{self._origin}{path}?{query}&X-Amz-Signature={signature}"

    def _now(self) -> str:
        """The time in S3's notation; cached for a second, because formatting it is comparatively slow."""
        second = int(time.time())
        known_for, text = self._latest_now
        if known_for != second:
            text = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
            self._latest_now = (second, text)
        return text

    def _form_of(self, names: tuple[str, ...]) -> tuple[str, str]:
        """The sorted names of headers, and the template for their values."""
        if names not in self._forms:
            in_order = sorted(names)
            self._forms[names] = (";".join(in_order), "".join(f"{name}:%({name})s\n" for name in in_order))
        return self._forms[names]

    def _key(self, secret_key: str, date: str) -> bytes:
        """The signing key, valid for one day."""
        known_for, key = self._latest_key
        if known_for != (secret_key, date):
            key = f"AWS4{secret_key}".encode()
            for part in (date, self._region, "s3", "aws4_request"):
                key = _hmac(key, part)
            self._latest_key = ((secret_key, date), key)
        return key


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
