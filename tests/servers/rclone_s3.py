"""`rclone serve s3`: fast; rejects a wrong MD5, ignores If-None-Match. Buckets are directories."""

from __future__ import annotations

from pathlib import Path

from demo.servers.process import ServerDidNotStart
from demo.servers.s3 import EmbeddedS3, rclone_program
from tests.servers.base import S3Server, ServerUnavailable


class RcloneS3(S3Server):
    """The demonstration's own S3 server. Objects lie as files in `bucket_directory`."""

    name = "rclone serve s3"

    def __init__(self) -> None:
        super().__init__()
        self._embedded = EmbeddedS3(self.directory / "buckets")
        self.access_key = self._embedded.access_key
        self.secret_key = self._embedded.secret_key

    def start(self) -> None:
        try:
            rclone_program()
        except ServerDidNotStart as error:
            raise ServerUnavailable(str(error)) from error
        self._embedded.start()
        self.endpoint_url = self._embedded.endpoint_url

    def stop(self) -> None:
        self._embedded.stop()
        super().stop()

    def bucket_directory(self, bucket: str) -> Path:
        """Where the objects of a bucket lie."""
        return self._embedded.directory / bucket
