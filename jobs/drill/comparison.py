"""Holds a restored directory against the manifest, by its own reading: the restore's word is not taken for it."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from config.errors import RunInterrupted
from config.logs import one_line
from config.models import Entry, EntryKind
from files.descriptors import closing_descriptor
from files.tree import Tree
from files.walk import hash_file, walk_tree


def first_difference(directory: Path, proven: Tree, stop: threading.Event) -> str | None:
    """What differs first, in Spanish; `None` where nothing does. Raises `SourceError`, `OSError`, `RunInterrupted`."""
    with closing_descriptor(os.open(directory, os.O_RDONLY | os.O_DIRECTORY)) as descriptor:
        restored = walk_tree(descriptor)
        if len(restored) != len(proven):
            return f"tiene {len(restored)} entradas, y su manifiesto {len(proven)}"
        for found, expected in zip(restored, proven, strict=True):
            if stop.is_set():
                raise RunInterrupted("interrumpido")
            if _shape(found) != _shape(expected):
                return f"difiere {one_line(expected.path)}"
            if expected.kind is EntryKind.FILE and hash_file(descriptor, found, stop) != expected.sha256:
                return f"tiene otros bytes {one_line(expected.path)}"
    return None


def _shape(entry: Entry) -> tuple[object, ...]:
    return entry.path, entry.kind, entry.size_bytes, entry.link_target
