"""The memory that an execution takes grows by so little with each file that a million fit into 300 MB."""

from __future__ import annotations

import hashlib
import os
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from config.models import Attempt, Execution, PutReceipt, StoredObject
from files import directory_names
from files.descriptors import closing_descriptor
from files.walk import walk_tree
from jobs.migration.directories import DirectoryJudge
from jobs.migration.removal.removal import remove_local_copy
from providers.base import Provider
from providers.errors import ObjectNotFound
from providers.sources import BytesSource, Source
from sql.database import Database
from storage.keys import Place
from storage.manifest import fetch_manifest, make_manifest
from storage.sending import LocalFiles
from storage.traffic.transfers import TransferPool
from storage.upload import Upload
from tests.executions.manifests import content_of, hashed
from tests.executions.permissions import Granted

NEVER = threading.Event()
PLACE = Place("ejecuciones/uuid-1")
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()

FEW_FILES, MANY_FILES, MOST_FILES = 500, 4_500, 1_000_000
MEMORY_FOR_MOST_FILES_BYTES = 250_000_000
"""What Python, the libraries, threads and buffers leave of 300 MB."""


class NullProvider(Provider):
    """Keeps nothing but what it must to tell of empty files, in order, what a store with checksums would."""

    def __init__(self, files: int) -> None:
        super().__init__(1, "null", "s3")
        self._files = files
        self._manifest = StoredObject(PLACE.manifest_key, 0)

    def put(self, key: str, source: Source) -> PutReceipt:
        digest = hashlib.sha256()
        for chunk in source.chunks(4096):
            digest.update(chunk)
        checksum = f"etag:{digest.hexdigest()[:32]}"
        if key == PLACE.manifest_key:
            self._manifest = StoredObject(key, source.size_bytes, checksum)
        return PutReceipt(source.size_bytes, digest.hexdigest(), frozenset({checksum}))

    def list(self, prefix: str) -> Iterator[StoredObject]:
        if self._manifest.size_bytes:
            yield from (StoredObject(prefix + name_of(n), 0, f"etag:{EMPTY_SHA256[:32]}") for n in range(self._files))

    def stat(self, key: str) -> StoredObject:
        if not self._manifest.size_bytes:
            raise ObjectNotFound(key)
        return self._manifest

    def open(self, key: str) -> Iterator[bytes]:
        raise NotImplementedError

    delete = discard_unfinished = open  # type: ignore[assignment]

    def close(self) -> None:
        """Nothing is open."""


def name_of(number: int) -> str:
    return f"file-{number:07}.csv"


def peak_memory_bytes(root: Path, files: int) -> int:
    """Most that is held at once while an execution of empty files is stored, proven and removed."""
    directory = root / f"e{files}"
    directory.mkdir()
    for number in range(files):
        (directory / name_of(number)).touch()
    execution = Execution(1, "uuid-1", str(directory))
    attempt = Attempt(1, 1, PLACE.key_prefix, earlier_attempts_here=0, foreign_objects_here=False)
    database = Database("postgresql://unused", "host")
    database.installation = "installation-1"
    provider = NullProvider(files)
    with closing(TransferPool(2)) as pool, closing_descriptor(os.open(directory, os.O_RDONLY)) as descriptor:
        tracemalloc.start()
        tree = walk_tree(descriptor)
        original = LocalFiles(descriptor)
        copy, manifest = Upload(provider, attempt, execution, tree, original, database, pool, NEVER).run()
        remove_local_copy(DirectoryJudge([str(root)]), execution, lambda: manifest.tree, NEVER, Granted())
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert (copy.file_count, directory.exists()) == (files, False)
    return peak_bytes


@pytest.mark.timeout(120)
def test_a_million_files_fit_into_the_memory(quick_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Database, "note_place", lambda *_, **__: None)
    monkeypatch.setattr(directory_names, "NAMES_SORTED_AT_ONCE", 200)
    few, many = (peak_memory_bytes(quick_directory, files) for files in (FEW_FILES, MANY_FILES))
    bytes_per_file = (many - few) / (MANY_FILES - FEW_FILES)
    assert bytes_per_file * MOST_FILES < MEMORY_FOR_MOST_FILES_BYTES


class ManifestProvider(NullProvider):
    """Has a manifest, and counts how often it is read."""

    def __init__(self, content: bytes) -> None:
        super().__init__(0)
        self.content = content
        self.reads = 0

    def open(self, key: str) -> Iterator[bytes]:
        self.reads += 1
        return BytesSource(self.content).chunks(1000)


@pytest.mark.parametrize(("kept_bytes", "reads"), [(10**6, 1), (10, 2)])
def test_a_large_manifest_is_understood_without_being_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept_bytes: int, reads: int
) -> None:
    monkeypatch.setattr("storage.manifest.KEPT_SIZE_BYTES", kept_bytes)
    for number in range(20):
        (tmp_path / name_of(number)).touch()
    with closing_descriptor(os.open(tmp_path, os.O_RDONLY)) as descriptor:
        tree = hashed(walk_tree(descriptor), {name_of(number): EMPTY_SHA256 for number in range(20)})
    manifest = make_manifest(Execution(1, "uuid-1", "/e1"), tree, "installation-1")
    provider = ManifestProvider(content_of(manifest))
    found = fetch_manifest(provider, PLACE, manifest.sha256, NEVER)
    assert [entry.path for entry in found] == [entry.path for entry in tree]
    assert provider.reads == reads


def test_names_are_in_order_though_they_are_sorted_in_portions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b", "a", "c.d", "a.b", "ñ", "\udcff", "z"):
        (tmp_path / name).touch()
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "e").touch()
    with closing_descriptor(os.open(tmp_path, os.O_RDONLY)) as descriptor:
        at_once = [entry.path for entry in walk_tree(descriptor)]
        monkeypatch.setattr(directory_names, "NAMES_SORTED_AT_ONCE", 2)
        in_portions = [entry.path for entry in walk_tree(descriptor)]
    assert in_portions == at_once == ["", "a", "a.b", "b", "c", "c.d", "c/e", "z", "ñ", "\udcff"]
