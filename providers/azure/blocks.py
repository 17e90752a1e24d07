"""Uploads in blocks to Azure: each block is retried alone, and the next attempt reuses staged blocks.

obstore supports no condition on the list of blocks, so the SDK sends them.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from azure.storage.blob import BlobBlock, BlobClient, ContainerClient, StandardBlobTier

from providers.azure.errors import BlocksLost, existing_as_failed_condition, translated_errors
from providers.base import part_size_for
from providers.errors import AccessDenied, ConditionFailed, ObjectNotFound, ProviderUnavailable
from providers.retries import Repeated
from providers.shared.answers import deadline_seconds
from providers.shared.object_store_put import ObjectStorePut, SentBytes
from providers.sources import Source

if TYPE_CHECKING:
    from typing_extensions import Buffer

BLOCK_NAME_BYTES = 20
"""As long as obstore's: all block names of a blob must have one length, including uncommitted blocks."""


class UploadsInBlocks:
    """Stores large blobs of one container. Safe for several threads, each with a different name."""

    def __init__(
        self, container: ContainerClient, tier: StandardBlobTier | None, parts: ObjectStorePut, repeated: Repeated
    ) -> None:
        self._container = container
        self._tier = tier
        self._parts = parts
        self._repeated = repeated
        self._begun: set[str] = set()
        """Names of uploads known to be unfinished."""

    def put(self, name: str, source: Source, condition: Mapping[str, Any]) -> SentBytes:
        """Send several blocks at a time. Each block is retried by itself. A block staged by an earlier try, whose name
        proves equal bytes, is not sent again. The condition, as the SDK's parameters, goes with the list of blocks.

        Raises `ProviderError`, or unchanged what `source` raises.
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
            sent = self._parts.send_parts_by_prefix(source, stage)
            self._commit(blob, [blocks[number] for number in sorted(blocks)], condition)
        return sent

    def continue_with(self, name: str) -> None:
        """Look up the staged blocks of a name when it is stored next."""
        self._begun.add(name)

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
                with translated_errors(), existing_as_failed_condition():
                    blob.commit_block_list(blocks, standard_blob_tier=self._tier, **condition)
            except BlocksLost as error:
                return error
            except ProviderUnavailable as error:
                unanswered.append(error)
                raise
            except ConditionFailed:  # perhaps committed before, by a request whose answer was lost
                if not (unanswered and _is_made_of(blob, blocks)):
                    raise
            return None

        lost = self._repeated(commit)
        if lost is not None:
            raise lost


def _block(number: int, sha256_so_far: bytes) -> BlobBlock:
    """A block whose name identifies all bytes up to its end and the number of blocks in them. So a block with other
    bytes can never replace it.
    """
    mark = base64.urlsafe_b64encode(sha256_so_far).decode()
    return BlobBlock(f"{number:04}{mark[: BLOCK_NAME_BYTES - 4]}")


def _is_made_of(blob: BlobClient, blocks: Sequence[BlobBlock]) -> bool:
    """Whether a blob consists of exactly these blocks."""
    with translated_errors():
        committed, _ = blob.get_block_list("committed")
    return [block.id for block in committed] == [block.id for block in blocks]
