"""Looks into a copy: what its manifest names, and an address at which one of its files can be read."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from datetime import datetime, tzinfo
from functools import partial

from config.logs import one_line, printable_json
from config.models import Entry, EntryKind
from config.process.last_line import in_units
from config.text.plurals import files
from files.tree import Tree
from jobs.migration.restore.errors import RestoreImpossible
from jobs.migration.restore.source import CHECK_AND_AGAIN, StoredCopy, errors_named
from providers.errors import CannotSign, IntegrityError
from providers.retries import with_retries
from storage.manifest import fetch_manifest

NS_PER_SECOND = 10**9
SHOWN_OF_HASH = 12


def entries_of(copy: StoredCopy, interruption: threading.Event) -> Tree:
    """What the manifest names. Raises `MigrationError`."""
    with errors_named(copy.place.name, copy.provider.name, CHECK_AND_AGAIN, "leer"):
        return fetch_manifest(copy.provider, copy.place, copy.manifest_sha256, interruption)


def describe_entries(tree: Tree, zone: tzinfo) -> Iterator[str]:
    """One line for each entry, and one with the sums."""
    for entry in tree.entries[1:]:
        yield _line_of(entry, zone)
    yield f"{files(tree.file_count)}, {in_units(tree.size_bytes)}"


def _line_of(entry: Entry, zone: tzinfo) -> str:
    size = in_units(entry.size_bytes) if entry.kind is EntryKind.FILE else "-"
    sha256 = (entry.sha256 or "-")[:SHOWN_OF_HASH]
    shown = f"{entry.path}/" if entry.kind is EntryKind.DIRECTORY else entry.path
    target = f" -> {entry.link_target}" if entry.link_target is not None else ""
    return f"{entry.mode:04o} {size:>8} {_time_of(entry, zone):16} {sha256:{SHOWN_OF_HASH}} {shown}{target}"


def _time_of(entry: Entry, zone: tzinfo) -> str:
    try:
        return f"{datetime.fromtimestamp(entry.mtime_ns // NS_PER_SECOND, zone):%Y-%m-%d %H:%M}"
    except (ValueError, OverflowError, OSError):  # a manifest may name years that no calendar has
        return "-"


def json_of_entries(copy: StoredCopy, tree: Tree) -> Iterator[str]:
    """The same as the pieces of one JSON object, an entry a line."""
    head = {
        "execution": copy.place.name,
        "provider": copy.provider.name,
        "provider_id": copy.provider.id,
        "uri": copy.place.uri(copy.provider.kind),
        "file_count": tree.file_count,
        "size_bytes": tree.size_bytes,
    }
    yield printable_json(head)[:-1] + ', "entries": ['
    separator = ""
    for entry in tree:
        yield f"{separator}\n{printable_json(_fields_of(entry))}"
        separator = ","
    yield "\n]}"


def _fields_of(entry: Entry) -> Mapping[str, object]:
    fields: dict[str, object] = {
        "path": entry.path,
        "kind": entry.kind.value,
        "mode": f"{entry.mode:04o}",
        "mtime_ns": entry.mtime_ns,
    }
    if entry.kind is EntryKind.FILE:
        fields |= {"size_bytes": entry.size_bytes, "sha256": entry.sha256}
    if entry.link_target is not None:
        fields["target"] = entry.link_target
    return fields


def signed_url(copy: StoredCopy, path: str, seconds: int, interruption: threading.Event) -> str:
    """An address at which a file of the copy can be read for some seconds.

    Raises `RestoreImpossible` for what is no file of the manifest, and `MigrationError`, also if the object is missing
    or has another size.
    """
    tree = entries_of(copy, interruption)
    position = tree.find(path.removeprefix("./"))
    if position is None or not tree.is_file(position):
        what = "no está en su manifiesto" if position is None else "no es un fichero"
        raise RestoreImpossible(f"la ejecución {one_line(copy.place.name)}: {one_line(path)} {what}; véalos con ls")
    entry = tree.entry(position)
    key = copy.place.key_of(entry.path)
    try:
        url = copy.provider.signed_url(key, seconds)
    except CannotSign as error:
        raise CannotSign(f"{one_line(copy.provider.name)} no da direcciones: {error}") from error
    with errors_named(copy.place.name, copy.provider.name, CHECK_AND_AGAIN, "leer"):
        stored = with_retries(partial(copy.provider.stat, key), interruption, copy.provider.progress)
        if stored.size_bytes != entry.size_bytes:
            raise IntegrityError(f"{one_line(path)} tiene allí {stored.size_bytes} bytes y no {entry.size_bytes}")
    return url
