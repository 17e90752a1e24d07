"""The manifest, which makes a copy complete and restorable without a database.

A JSON object, stored next to the execution's objects and after them:

    format, version       "janitor-manifest", 1
    execution, directory  the execution's uuid and its original directory
    row, installation     the id of its row, and the name of the installation whose row that is: whose copy this is
    attempt               the attempt that wrote it; null where the store replaces under no conditions
    file_count, size_bytes
    entries               one object for each file, directory (the execution's own has the path "") and symbolic link:
                          path, kind ("file", "directory", "link"), mode (octal text), mtime_ns;
                          files: size_bytes, sha256; links: target

Paths and targets are text; a byte that is no UTF-8 is written as U+201B and two hexadecimal digits, and U+201B itself
is doubled, as in object keys.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from config.errors import UnsafeSource
from config.models import Entry, EntryKind, Execution, StoredObject
from files.tree import Tree
from providers.base import Provider
from providers.errors import IntegrityError, ObjectNotFound
from providers.mounts import require_mounted
from providers.names import NameEncoding
from providers.retries import with_retries
from storage.keys import Place

FORMAT = "janitor-manifest"
VERSION = 1
TEXT = NameEncoding()

MAXIMUM_SIZE_BYTES = 512 * 1024 * 1024
"""Each file takes its path and some 180 bytes: 2.3 million files have room with paths of 50 bytes, 1.9 million with
paths of 100, 450,000 with paths of 1,000. A larger one is neither written nor read: one of another shape than ours is
held in memory while it is understood.
"""

KEPT_SIZE_BYTES = 8 * 1024 * 1024
"""One that is larger is read once to compare it with its record and once more to understand it, but never whole."""

MOST_BYTES_BESIDE_PATH = 300
MOST_BYTES_OF_CHARACTER = 6
"""Of a path in JSON: a control character is written as `\\u` and four digits."""

KEPT_UNTIL_SENT_BYTES = 256 * 1024
"""One that is surely no larger is made once only, to be hashed and to be sent."""

NO_SHA256 = "0" * 64
BETWEEN_ENTRIES = ",\n"

ENTRIES_BEGIN = b'"entries": ['
ENTRIES_END = b"]}"
LONGEST_LINE_BYTES = 1024 * 1024

NOT_UNDERSTOOD = (ValueError, KeyError, TypeError, OverflowError, RecursionError)

LONGEST_TARGET_BYTES = 4095
"""Of a symbolic link, on Linux. Source: PATH_MAX, which counts the final null."""

TIMES_NS = range(-(2**63) * 10**9, 2**63 * 10**9)
"""Those of a 64-bit number of seconds."""

SIZES_BYTES = range(2**63)

SHA256 = re.compile("[0-9a-f]{64}")

quoted = json.JSONEncoder(ensure_ascii=False).encode


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest ready to be stored: a `Source` whose bytes are made from the tree at each reading. The bytes of a
    small one are `kept`.

    `sha256` is the hash of these bytes, which the database also records.
    """

    execution: Execution
    installation: str
    attempt_id: int | None
    tree: Tree
    size_bytes: int
    sha256: str
    kept: bytes | None = field(default=None, repr=False, compare=False)

    def chunks(self, chunk_size_bytes: int) -> Iterator[bytes]:
        """See `Source`."""
        pending = bytearray()
        for piece in self._pieces():
            pending += piece
            while len(pending) >= chunk_size_bytes:
                yield bytes(pending[:chunk_size_bytes])
                del pending[:chunk_size_bytes]
        if pending:
            yield bytes(pending)

    def _pieces(self) -> Iterable[bytes]:
        if self.kept is not None:
            return (self.kept,)
        return _pieces(self.execution, self.installation, self.attempt_id, self.tree)


@dataclass(frozen=True, slots=True)
class ManifestHead:
    """The part of a manifest before its entries. Earlier versions have `None` as `installation` and `row`."""

    execution: str
    installation: str | None
    row: int | None
    directory: str | None = None
    attempt: int | None = None


def make_manifest(execution: Execution, tree: Tree, installation: str, attempt_id: int | None = None) -> Manifest:
    """Make the manifest of a tree whose file hashes are known. Raises `ValueError` for a file without one, and
    `UnsafeSource` for more files than a manifest may name.

    With `attempt_id`, no two attempts have equal manifests. Many stores identify an object's version by its content,
    and a late request meant for an earlier manifest must not hit an equal one. Without it, equal trees of one row have
    equal manifests: where stores know no conditions, a late one that overwrites a committed copy's changes nothing.
    """
    pieces = _pieces(execution, installation, attempt_id, tree)
    kept = b"".join(pieces) if _most_bytes(tree) <= KEPT_UNTIL_SENT_BYTES else None
    digest = hashlib.sha256()
    size_bytes = 0
    for piece in pieces if kept is None else (kept,):
        digest.update(piece)
        size_bytes += len(piece)
        if size_bytes > MAXIMUM_SIZE_BYTES:
            raise UnsafeSource(f"tiene demasiados ficheros: {len(tree)}")
    return Manifest(execution, installation, attempt_id, tree, size_bytes, digest.hexdigest(), kept)


def require_nameable(tree: Tree) -> None:
    """Raises `UnsafeSource` for more files than a manifest may name, before any of them is sent.

    An entry has the same length whatever its hash is. Only trees that may be too large are counted.
    """
    if _most_bytes(tree) <= MAXIMUM_SIZE_BYTES:
        return
    hashed = (entry._replace(sha256=NO_SHA256) if entry.kind is EntryKind.FILE else entry for entry in tree)
    if sum(len(_line(entry).encode()) + len(BETWEEN_ENTRIES) for entry in hashed) > MAXIMUM_SIZE_BYTES:
        raise UnsafeSource(f"tiene demasiados ficheros: {len(tree)}")


def _most_bytes(tree: Tree) -> int:
    """An upper bound for the bytes that the entries take."""
    return len(tree) * MOST_BYTES_BESIDE_PATH + tree.text_bytes * MOST_BYTES_OF_CHARACTER


def _pieces(execution: Execution, installation: str, attempt_id: int | None, tree: Tree) -> Iterator[bytes]:
    header = {
        "format": FORMAT,
        "version": VERSION,
        "execution": execution.uuid,
        "directory": execution.directory,
        "row": execution.id,
        "installation": installation,
        "attempt": attempt_id,
        "file_count": tree.file_count,
        "size_bytes": tree.size_bytes,
    }
    yield json.dumps(header, ensure_ascii=False, indent=0)[:-2].encode()
    before = f",\n{ENTRIES_BEGIN.decode()}\n"
    for entry in tree:
        yield f"{before}{_line(entry)}".encode()
        before = ",\n"
    yield b"\n%s\n" % ENTRIES_END


def _line(entry: Entry) -> str:
    """One entry as JSON. Written by hand, because that takes a tenth of the time of `json.dumps` on a dictionary."""
    common = f'{_text(entry.path)}, "kind": "{entry.kind}", "mode": "{entry.mode:04o}", "mtime_ns": {entry.mtime_ns}'
    rest = ""
    if entry.kind is EntryKind.FILE:
        if entry.sha256 is None:
            raise ValueError(f"no hash of {entry.path!r}")
        rest = f', "size_bytes": {entry.size_bytes}, "sha256": "{entry.sha256}"'
    elif entry.link_target is not None:
        rest = f', "target": {_text(entry.link_target)}'
    return f'{{"path": {common}{rest}}}'


def _text(value: str) -> str:
    return quoted(value if value.isascii() else TEXT.encode(value))


def read_manifest(content: bytes) -> Tree:
    """Parse a stored manifest, which may have been written by an attacker.

    Raises `IntegrityError` when it is no manifest, has an unknown version or describes no directory: it has a name
    twice, or an entry whose parent is no directory of the same manifest.
    """
    try:
        return _read_lines([content])
    except NOT_UNDERSTOOD:
        return _read_whole(content)


def _read_lines(chunks: Iterable[bytes]) -> Tree:
    """Parse a manifest in our own shape line by line, one entry per line.

    Raises one of `NOT_UNDERSTOOD` for any other shape.
    """
    lines = _lines(chunks)
    _require_known(_document_before_entries(lines))
    return _tree_of(_entries_in(lines))


def _document_before_entries(lines: Iterator[bytes]) -> dict[str, object]:
    head: list[bytes] = []
    for line in lines:
        if line == ENTRIES_BEGIN:
            break
        head.append(line)
    document = json.loads(b"\n".join((*head, ENTRIES_BEGIN, ENTRIES_END)))
    if not isinstance(document, dict):
        raise TypeError("no object")
    return document


def _entries_in(lines: Iterator[bytes]) -> Iterator[Entry]:
    more = True
    for line in lines:
        if line == ENTRIES_END:
            break
        if not more:
            raise ValueError("no comma before an entry")
        more = line.endswith(b",")
        yield _from_json(json.loads(line.removesuffix(b",").decode()))
    else:
        raise ValueError("no end")
    if more or any(lines):
        raise ValueError("an entry is missing, or something follows")


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > LONGEST_LINE_BYTES:
            raise ValueError("a line that is none of ours")
        yield from lines
    yield rest


def _read_whole(content: bytes) -> Tree:
    try:
        document = json.loads(content)
        _require_known(document)
        return _tree_of(sorted((_from_json(item) for item in document["entries"]), key=lambda entry: entry.path))
    except NOT_UNDERSTOOD as error:
        raise IntegrityError("el manifiesto no se puede leer") from error


def _require_known(document: Mapping[str, object]) -> None:
    if document["format"] != FORMAT or document["version"] != VERSION:
        raise IntegrityError("el manifiesto es de un formato o una versión que este programa no conoce")


def _tree_of(entries: Iterable[Entry]) -> Tree:
    """Raises `ValueError` for entries out of order or with the same path."""
    tree = Tree(entries)
    _require_one_directory(tree)
    return tree


def _require_one_directory(tree: Tree) -> None:
    """Raises `ValueError` unless every entry is in a directory among them, up to the top one."""
    directories = set()
    for entry in tree:  # path order: a directory comes before its contents
        if entry.path and entry.path.rpartition("/")[0] not in directories:
            raise ValueError("an entry that is in no directory")
        if entry.kind is EntryKind.DIRECTORY:
            directories.add(entry.path)
    if "" not in directories:
        raise ValueError("no directory at the top")


def _from_json(item: Mapping[str, object]) -> Entry:
    kind = EntryKind(_string(item["kind"]))
    path = TEXT.decode(_string(item["path"]))
    if path != "" and any(part in ("", ".", "..") or "\0" in part for part in path.split("/")):
        raise ValueError("a path that leaves its directory")
    return Entry(
        path=path,
        kind=kind,
        mode=int(_string(item["mode"]), 8) & 0o7777,
        mtime_ns=_number(item["mtime_ns"], TIMES_NS),
        size_bytes=_number(item["size_bytes"], SIZES_BYTES) if kind is EntryKind.FILE else 0,
        link_target=_link_target(item["target"]) if kind is EntryKind.LINK else None,
        sha256=_sha256(item["sha256"]) if kind is EntryKind.FILE else None,
    )


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


def _number(value: object, possible: range) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value not in possible:
        raise ValueError("no whole number, or none that can be")
    return value


def _link_target(value: object) -> str:
    target = TEXT.decode(_string(value))
    if not 0 < len(target.encode("utf-8", "surrogateescape")) <= LONGEST_TARGET_BYTES or "\0" in target:
        raise ValueError("no link could have this target")
    return target


def _sha256(value: object) -> str:
    if not SHA256.fullmatch(_string(value)):
        raise ValueError("no SHA-256")
    return _string(value)


def fetch_manifest(provider: Provider, place: Place, sha256: str | None, interruption: threading.Event) -> Tree:
    """Read the manifest of a committed copy. Raises `IntegrityError` when its hash is not the recorded `sha256`; that
    is checked before anything in it is used. Raises `NotMounted` instead of `ObjectNotFound` where no copy is there.
    """
    return fetch_manifest_and_hash(provider, place, sha256, interruption)[0]


def fetch_manifest_and_hash(
    provider: Provider, place: Place, sha256: str | None, interruption: threading.Event
) -> tuple[Tree, str]:
    """Like `fetch_manifest`, and also return the SHA-256 of the manifest that was read."""
    try:
        content, found_sha256 = with_retries(
            lambda: _download(provider, place.manifest_key), interruption, provider.progress
        )
    except ObjectNotFound:
        require_mounted(provider)
        raise
    if sha256 is not None and found_sha256 != sha256:
        raise IntegrityError("el manifiesto de la nube no es el que se guardó al migrar")
    if content is not None:
        return read_manifest(content), found_sha256
    tree = with_retries(
        lambda: _read_again(provider, place.manifest_key, found_sha256), interruption, provider.progress
    )
    return tree, found_sha256


def _download(provider: Provider, key: str) -> tuple[bytes | None, str]:
    """A manifest and its SHA-256; `None` for a large manifest. Raises `IntegrityError` for one that is too large."""
    kept = bytearray()
    digest = hashlib.sha256()
    size_bytes = 0
    for chunk in provider.open(key):
        digest.update(chunk)
        size_bytes += len(chunk)
        if size_bytes > MAXIMUM_SIZE_BYTES:
            raise IntegrityError("el manifiesto de la nube es demasiado grande")
        if size_bytes <= KEPT_SIZE_BYTES:
            kept += chunk
    return bytes(kept) if size_bytes == len(kept) else None, digest.hexdigest()


def _read_again(provider: Provider, key: str, sha256: str) -> Tree:
    try:
        return _read_lines(_same_bytes(provider, key, sha256))
    except NOT_UNDERSTOOD:
        return _read_whole(b"".join(_same_bytes(provider, key, sha256)))


def _same_bytes(provider: Provider, key: str, sha256: str) -> Iterator[bytes]:
    """The stored bytes. Raises `IntegrityError` at their end, or soon after, if they are not those read before."""
    digest = hashlib.sha256()
    size_bytes = 0
    for chunk in provider.open(key):
        digest.update(chunk)
        size_bytes += len(chunk)
        if size_bytes > MAXIMUM_SIZE_BYTES:
            break
        yield chunk
    if digest.hexdigest() != sha256:
        raise IntegrityError("el manifiesto de la nube cambió mientras se leía")


@dataclass(frozen=True, slots=True)
class FoundManifest:
    """What is stored under the key of a manifest. `head` is `None` if it is no known manifest, `tree` if it cannot be
    read.
    """

    stored: StoredObject
    sha256: str
    head: ManifestHead | None
    tree: Tree | None


def find_manifest(provider: Provider, place: Place, interruption: threading.Event) -> FoundManifest | None:
    """Look for an object under the key of a place's manifest; `None` if there is none. Raises `MigrationError`."""

    def look() -> FoundManifest | None:
        try:
            stored = provider.stat(place.manifest_key)
            content, sha256 = _download(provider, place.manifest_key)
        except ObjectNotFound:
            return None
        if content is None:
            content = b"".join(_same_bytes(provider, place.manifest_key, sha256))
        return _understood(stored, sha256, content)

    return with_retries(look, interruption, provider.progress)


def _understood(stored: StoredObject, sha256: str, content: bytes) -> FoundManifest:
    try:
        head = _head(_document(content))
    except NOT_UNDERSTOOD:
        return FoundManifest(stored, sha256, None, None)
    try:
        tree = read_manifest(content)
    except IntegrityError:
        tree = None
    return FoundManifest(stored, sha256, head, tree)


def _document(content: bytes) -> dict[str, object]:
    """Parse the document; of a large one in our own shape, only the part before its entries."""
    try:
        return _document_before_entries(_lines([content]))
    except NOT_UNDERSTOOD:
        document = json.loads(content)
        if not isinstance(document, dict):
            raise TypeError("no object") from None
        return document


def _head(document: Mapping[str, object]) -> ManifestHead:
    if document["format"] != FORMAT or document["version"] != VERSION:
        raise ValueError("no manifest of ours")
    installation, row = document.get("installation"), document.get("row")
    directory, attempt = document.get("directory"), document.get("attempt")
    return ManifestHead(
        execution=_string(document["execution"]),
        installation=installation if isinstance(installation, str) else None,
        row=row if isinstance(row, int) else None,
        directory=directory if isinstance(directory, str) else None,
        attempt=attempt if isinstance(attempt, int) else None,
    )
