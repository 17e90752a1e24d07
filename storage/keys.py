"""Where an execution's objects are stored, and how a row names that place."""

from __future__ import annotations

import hashlib
import os
from typing import NamedTuple

from config.errors import UnsafeSource
from config.logs import one_line
from providers.probes import CHECK_NAME, probe_key

MANIFEST_SUFFIX = ".manifest.json"

INCOMPLETE_MARK = ".janitor-restore-incomplete"
"""A file in a directory while a restore fills it, so that half an execution never looks whole. It names the restored
copy. If the execution itself has a file of that name, a number is added.
"""


class Place(NamedTuple):
    """The keys of one execution below a prefix: its files under `key_prefix`/, its manifest next to it."""

    key_prefix: str

    @property
    def parent(self) -> str:
        """The common prefix of all executions' places."""
        return self.key_prefix.rpartition("/")[0]

    @property
    def name(self) -> str:
        """The place's own name below the parent: the uuid."""
        return self.key_prefix.rpartition("/")[2]

    @property
    def manifest_key(self) -> str:
        """The manifest's key. It is outside the prefix of the files, so no file can take its place."""
        return self.key_prefix + MANIFEST_SUFFIX

    @property
    def files_prefix(self) -> str:
        """The prefix of every file's key."""
        return f"{self.key_prefix}/"

    @property
    def unfinished_prefixes(self) -> tuple[str, str]:
        """Where unfinished uploads of this execution, and of no other, can be: `key_prefix` alone is also the beginning
        of every longer uuid.
        """
        return (self.files_prefix, self.manifest_key)

    @property
    def probe_prefix(self) -> str:
        """Where probe objects go that the holder of this execution's claim stores: outside the prefix of the files, and
        nobody else's. Two processes that store and remove objects of one name mislead each other, and some servers then
        keep an object that both have removed.
        """
        digest = hashlib.sha256(os.fsencode(self.name)).hexdigest()
        return probe_key(self.parent, f"{CHECK_NAME}{digest[:16]}")

    def key_of(self, path: str) -> str:
        """The key of a file, from its path in the execution's directory."""
        return f"{self.key_prefix}/{path}"

    def uri(self, kind: str) -> str:
        """`ruta_nube`: the execution's address on a provider of this kind."""
        return f"cloud://{kind}/{self.key_prefix}"


def place_of(prefix: str, uuid: str) -> Place:
    """The place of an execution. Raises `UnsafeSource` for a uuid that cannot be one part of a key."""
    if (
        not uuid
        or not uuid.isprintable()
        or uuid != uuid.strip()
        or uuid in (".", "..")
        or any(character in uuid for character in "/\\")
        or uuid.endswith(MANIFEST_SUFFIX)
    ):
        raise UnsafeSource(f"el uuid no sirve como nombre en la nube: {one_line(repr(uuid))}")
    return Place(f"{shared_prefix(prefix)}/{uuid}")


def shared_prefix(prefix: str) -> str:
    """The common prefix of all executions' places."""
    return f"{prefix}/ejecuciones" if prefix else "ejecuciones"


def place_from_uri(uri: str) -> Place:
    """The place that a row's `ruta_nube` names. Raises `ValueError` if it is no such URI."""
    scheme, _, rest = uri.partition("://")
    _kind, _, key_prefix = rest.partition("/")
    parts = key_prefix.split("/")
    if scheme != "cloud" or any(part in ("", ".", "..") for part in parts):
        raise ValueError(uri)
    return Place(key_prefix)
