"""What tests do with trees and manifests beside what the program does."""

from __future__ import annotations

from collections.abc import Mapping

from config.models import Execution
from files.descriptors import CHUNK_SIZE_BYTES
from files.tree import Tree
from storage.manifest import Manifest, make_manifest


def hashed(tree: Tree, sha256_by_path: Mapping[str, str]) -> Tree:
    """The same tree, its files' hashes known."""
    return Tree(entry._replace(sha256=sha256_by_path.get(entry.path)) for entry in tree)


def manifest_of_hashed(execution: Execution, tree: Tree, sha256_by_path: Mapping[str, str]) -> Manifest:
    """The manifest of a tree whose files have these hashes."""
    return make_manifest(execution, hashed(tree, sha256_by_path), "installation-1")


def content_of(manifest: Manifest) -> bytes:
    """What is stored."""
    return b"".join(manifest.chunks(CHUNK_SIZE_BYTES))
