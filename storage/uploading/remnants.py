"""Tells the rest of a directory, whose removal was begun, from an execution that ran again."""

from __future__ import annotations

from config.errors import SourceError
from files.tree import Tree


class SourceShrank(SourceError):
    """Only a part of an already stored execution is left: it must not replace the whole copy."""

    code = "source_shrank"


def is_remnant(tree: Tree, whole: Tree) -> bool:
    """Whether a tree lacks files of a whole one, and has changed none of those that it still has.

    An execution that ran again has written some of them anew.
    """
    common = 0
    for entry in tree.files:
        position = whole.find(entry.path)
        if position is None or not whole.is_file(position):
            continue
        other = whole.entry(position)
        if (entry.size_bytes, entry.mtime_ns) != (other.size_bytes, other.mtime_ns):
            return False
        common += 1
    return common < whole.file_count


def shares_files(tree: Tree, whole: Tree) -> bool:
    """Whether any file of a tree has the name of one of another tree."""
    return any(whole.find(entry.path) is not None for entry in tree.files)
