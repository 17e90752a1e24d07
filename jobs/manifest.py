"""The manifest: what makes a copy complete, and restorable with no database.

A JSON object, stored beside the execution's objects and after them:

    format, version       "janitor-manifest", 1
    execution, directory  the execution's uuid and where it lay
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
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from config.models import Entry, EntryKind, Execution, Tree
from jobs.keys import Place
from jobs.retries import with_retries
from providers.base import IntegrityError, NameEncoding, Provider, UnsafeSource

FORMAT = "janitor-manifest"
VERSION = 1
TEXT = NameEncoding()

MAXIMUM_SIZE_BYTES = 512 * 1024 * 1024
"""More than two million files. A larger one is neither written nor read: it is held in memory while it is checked."""

LONGEST_TARGET_BYTES = 4095
"""Of a symbolic link, on Linux. Source: PATH_MAX, which counts the final null."""

LATEST_TIME_NS = 2**63 * 10**9
"""Where a 64-bit number of seconds ends."""

SHA256 = re.compile("[0-9a-f]{64}")


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
    """The manifest of a tree whose files' hashes are known. Raises `KeyError` for a file without one,
    and `UnsafeSource` for more files than a manifest may name.

    Equal trees have equal manifests: one that a run which was thought dead sends late, over that of a committed copy,
    changes nothing. So it says nothing of when or by whom the copy was made.
    """
    entries = tuple(
        dataclasses.replace(entry, sha256=sha256_by_path[entry.path]) if entry.kind is EntryKind.FILE else entry
        for entry in tree.entries
    )
    header = {
        "format": FORMAT,
        "version": VERSION,
        "execution": execution.uuid,
        "directory": execution.directory,
        "file_count": len(tree.files),
        "size_bytes": tree.size_bytes,
    }
    lines = ",\n".join(json.dumps(_to_json(entry), ensure_ascii=False) for entry in entries)
    head = json.dumps(header, ensure_ascii=False, indent=0)[:-2]
    content = f'{head},\n"entries": [\n{lines}\n]}}\n'.encode()
    if len(content) > MAXIMUM_SIZE_BYTES:
        raise UnsafeSource(f"tiene demasiados ficheros: {len(entries)}")
    return Manifest(content, Tree(entries))


def read_manifest(content: bytes) -> Manifest:
    """Understand a stored manifest, which may have been written by somebody who wishes harm.

    Raises `IntegrityError` when it is none, or of a version not known here, or describes no directory: a name twice,
    or something that lies in what is no directory of the same manifest.
    """
    try:
        document = json.loads(content)
        if document["format"] != FORMAT or document["version"] != VERSION:
            raise IntegrityError("el manifiesto es de un formato o una versión que este programa no conoce")
        entries = sorted((_from_json(item) for item in document["entries"]), key=lambda entry: entry.path)
        _require_one_directory(entries)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise IntegrityError("el manifiesto no se puede leer") from error
    return Manifest(content, Tree(tuple(entries)))


def _require_one_directory(entries: Sequence[Entry]) -> None:
    """Raises `ValueError` unless every entry lies in a directory among them, up to the one at the top."""
    kinds = {entry.path: entry.kind for entry in entries}
    if len(kinds) != len(entries) or kinds.get("") is not EntryKind.DIRECTORY:
        raise ValueError("a path twice, or no directory at the top")
    if any(kinds.get(path.rpartition("/")[0]) is not EntryKind.DIRECTORY for path in kinds):
        raise ValueError("an entry that lies in no directory")


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


def _from_json(item: Mapping[str, object]) -> Entry:
    kind = EntryKind(_text(item["kind"]))
    path = TEXT.decode(_text(item["path"]))
    if path != "" and any(part in ("", ".", "..") or "\0" in part for part in path.split("/")):
        raise ValueError("a path that leaves its directory")
    return Entry(
        path=path,
        kind=kind,
        mode=int(_text(item["mode"]), 8) & 0o7777,
        mtime_ns=_number(item["mtime_ns"], -LATEST_TIME_NS, LATEST_TIME_NS),
        size_bytes=_number(item["size_bytes"], 0, 2**63 - 1) if kind is EntryKind.FILE else 0,
        link_target=_link_target(item["target"]) if kind is EntryKind.LINK else None,
        sha256=_sha256(item["sha256"]) if kind is EntryKind.FILE else None,
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


def _number(value: object, minimum: int, maximum: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
        raise ValueError("no whole number, or none that can be")
    return value


def _link_target(value: object) -> str:
    target = TEXT.decode(_text(value))
    if not 0 < len(target.encode("utf-8", "surrogateescape")) <= LONGEST_TARGET_BYTES or "\0" in target:
        raise ValueError("no link could have this target")
    return target


def _sha256(value: object) -> str:
    if not SHA256.fullmatch(_text(value)):
        raise ValueError("no SHA-256")
    return _text(value)


def fetch_manifest(provider: Provider, place: Place, sha256: str | None, interruption: threading.Event) -> Manifest:
    """Read the manifest of a committed copy. Raises `IntegrityError` when it is not the one recorded as `sha256`, which
    is looked at before anything in it is.
    """
    content = with_retries(lambda: _read_bounded(provider, place.manifest_key), interruption)
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise IntegrityError("el manifiesto de la nube no es el que se guardó al migrar")
    return read_manifest(content)


def _read_bounded(provider: Provider, key: str) -> bytes:
    content = bytearray()
    for chunk in provider.open(key):
        content += chunk
        if len(content) > MAXIMUM_SIZE_BYTES:
            raise IntegrityError("el manifiesto de la nube es demasiado grande")
    return bytes(content)
