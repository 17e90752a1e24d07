"""The manifest: what makes a copy complete, and restorable with no database.

A JSON object, stored beside the execution's objects and after them:

    format, version       "janitor-manifest", 1
    execution, directory  the execution's uuid and where it lay
    created_at            when the copy was made (RFC 3339, UTC)
    file_count, size_bytes
    entries               one object for each file, directory (the execution's own has the path "") and symbolic link:
                          path, kind ("file", "directory", "link"), mode (octal text), mtime_ns;
                          files: size_bytes, sha256; links: target

Paths and targets are text; a byte that is no UTF-8 is written as U+201B and two hexadecimal digits, and U+201B itself
is doubled, as in object keys.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from config.models import Entry, EntryKind, Execution, Tree
from jobs.keys import Place
from jobs.retries import with_retries
from providers.base import IntegrityError, NameEncoding, Provider

FORMAT = "janitor-manifest"
VERSION = 1
TEXT = NameEncoding()


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest as it is stored: its bytes, and what they say."""

    content: bytes
    tree: Tree

    @property
    def sha256(self) -> str:
        """Hash of the stored bytes, which the database keeps too."""
        return hashlib.sha256(self.content).hexdigest()


def make_manifest(execution: Execution, tree: Tree, sha256_by_path: Mapping[str, str]) -> Manifest:
    """The manifest of a tree whose files' hashes are known. Raises `KeyError` for a file without one."""
    entries = tuple(
        dataclasses.replace(entry, sha256=sha256_by_path[entry.path]) if entry.kind is EntryKind.FILE else entry
        for entry in tree.entries
    )
    header = {
        "format": FORMAT,
        "version": VERSION,
        "execution": execution.uuid,
        "directory": execution.directory,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "file_count": len(tree.files),
        "size_bytes": tree.size_bytes,
    }
    lines = ",\n".join(json.dumps(_to_json(entry), ensure_ascii=False) for entry in entries)
    head = json.dumps(header, ensure_ascii=False, indent=0)[:-2]
    return Manifest(f'{head},\n"entries": [\n{lines}\n]}}\n'.encode(), Tree(entries))


def read_manifest(content: bytes) -> Manifest:
    """Understand a stored manifest. Raises `IntegrityError` when it is none, or of a version not known here."""
    try:
        document = json.loads(content)
        if document["format"] != FORMAT or document["version"] != VERSION:
            raise IntegrityError("el manifiesto es de un formato o una versión que este programa no conoce")
        return Manifest(content, Tree(tuple(_from_json(item) for item in document["entries"])))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise IntegrityError("el manifiesto no se puede leer") from error


def _to_json(entry: Entry) -> dict[str, object]:
    item: dict[str, object] = {
        "path": TEXT.encode(entry.path),
        "kind": entry.kind.value,
        "mode": f"{entry.mode:04o}",
        "mtime_ns": entry.mtime_ns,
    }
    if entry.kind is EntryKind.FILE:
        item |= {"size_bytes": entry.size_bytes, "sha256": entry.sha256}
    if entry.link_target is not None:
        item["target"] = TEXT.encode(entry.link_target)
    return item


def _from_json(item: Mapping[str, str | int]) -> Entry:
    kind = EntryKind(str(item["kind"]))
    path = TEXT.decode(str(item["path"]))
    if path != "" and any(part in ("", ".", "..") or "\0" in part for part in path.split("/")):
        raise ValueError("a path that leaves its directory")
    return Entry(
        path=path,
        kind=kind,
        mode=int(str(item["mode"]), 8) & 0o7777,
        mtime_ns=int(item["mtime_ns"]),
        size_bytes=int(item["size_bytes"]) if kind is EntryKind.FILE else 0,
        link_target=TEXT.decode(str(item["target"])) if kind is EntryKind.LINK else None,
        sha256=str(item["sha256"]) if kind is EntryKind.FILE else None,
    )


def fetch_manifest(provider: Provider, place: Place, sha256: str | None, interruption: threading.Event) -> Manifest:
    """Read the manifest of a committed copy. Raises `IntegrityError` when it is not the one recorded as `sha256`."""
    content = with_retries(lambda: b"".join(provider.open(place.manifest_key)), interruption)
    manifest = read_manifest(content)
    if sha256 is not None and manifest.sha256 != sha256:
        raise IntegrityError("el manifiesto de la nube no es el que se guardó al migrar")
    return manifest
