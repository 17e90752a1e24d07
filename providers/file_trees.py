"""Shared by the kinds that keep objects as plain files: names, temporary names, and counting sent bytes."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping

from config.logs import one_line
from config.models import PutReceipt
from providers.errors import InvalidKey
from providers.sources import Source, exact_chunks

TEMPORARY_NAME = re.compile(r"\.janitor-(?:(?P<target>[0-9a-f]{16})-)?[0-9a-f]{16}\.part")
"""Earlier releases made names without `target`, and such files may still exist."""

FORSAKEN_AFTER_SECONDS = 3600.0
"""A `put` that goes this long without writing has failed, so an unfinished file this old belongs to nobody."""


def temporary_name(target: str) -> str:
    """A new name for the unfinished file of `target`: it is in the same directory, identifies its target, and is short
    enough for any target name.
    """
    return f".janitor-{_mark_of(target)}-{secrets.token_hex(8)}.part"


def is_temporary_name(name: str) -> bool:
    """Whether `temporary_name` could have made it."""
    return TEMPORARY_NAME.fullmatch(name) is not None


def names_to_discard(
    target: str, modified_at: Mapping[str, float | None], clock: Callable[[], float | None]
) -> list[str]:
    """The unfinished files of `target`, in a directory that may hold those of other targets.

    Files of earlier releases do not identify their target: they are included once they are so old that no upload owns
    them, by the `clock` of the file system's host, which is read only then and may be unavailable.
    """
    own = [name for name in modified_at if is_temporary_name_of(target, name)]
    of_unknown_target = [name for name in modified_at if _tells_no_target(name)]
    now = clock() if of_unknown_target else None
    return own if now is None else own + [name for name in of_unknown_target if _is_forsaken(modified_at[name], now)]


def _is_forsaken(modified_at: float | None, now: float) -> bool:
    """Whether a file was last written so long ago that its writer must have failed."""
    return modified_at is not None and now - modified_at > FORSAKEN_AFTER_SECONDS


def is_temporary_name_of(target: str, name: str) -> bool:
    """Whether `temporary_name` could have made it for `target`."""
    match = TEMPORARY_NAME.fullmatch(name)
    return match is not None and match["target"] == _mark_of(target)


def _tells_no_target(name: str) -> bool:
    """Whether an earlier release made the name, so that its target is unknown."""
    match = TEMPORARY_NAME.fullmatch(name)
    return match is not None and match["target"] is None


def _mark_of(target: str) -> str:
    return hashlib.sha256(os.fsencode(target)).hexdigest()[:16]


def parts_of_key(key: str) -> list[str]:
    """The directories and the name of a key. Raises `InvalidKey` if no file could have that name."""
    parts = key.split("/")
    if any(not _is_plain(part) for part in parts) or is_temporary_name(parts[-1]):
        raise InvalidKey(f"no puede ser el nombre de un fichero: {one_line(repr(key))}")
    return parts


def parts_of_prefix(prefix: str) -> tuple[list[str], str] | None:
    """The directories that a prefix names in full, and the beginning of names in the last one.

    `None` if no key can begin with the prefix.
    """
    *directories, beginning = prefix.split("/")
    if any(not _is_plain(part) for part in directories) or "\0" in beginning:
        return None
    return directories, beginning


def _is_plain(part: str) -> bool:
    return part not in ("", ".", "..") and "\0" not in part


class MeteredSource:
    """Counts and hashes the bytes of a source while they are sent, once."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._sha256 = hashlib.sha256()
        self._sent_bytes = 0

    @property
    def size_bytes(self) -> int:
        """How many bytes were announced."""
        return self._source.size_bytes

    def chunks(self, chunk_size_bytes: int) -> Iterator[bytes]:
        """The source's chunks. Raises `IntegrityError` unless they are exactly as many bytes as announced."""
        for chunk in exact_chunks(self._source, chunk_size_bytes):
            self._sent_bytes += len(chunk)
            self._sha256.update(chunk)
            yield chunk

    def receipt(self) -> PutReceipt:
        """What was sent."""
        return PutReceipt(self._sent_bytes, self._sha256.hexdigest())
