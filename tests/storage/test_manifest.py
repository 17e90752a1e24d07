"""A manifest says everything of a tree, comes back as it was, and is believed only when it can be true."""

from __future__ import annotations

import hashlib
import json
import math
import os
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from config.errors import UnsafeSource
from config.models import EntryKind, Execution, ProviderRow
from files.descriptors import closing_descriptor
from files.tree import Tree
from files.walk import hash_file, walk_tree
from providers.errors import IntegrityError, ObjectNotFound
from providers.local.provider import LocalProvider
from providers.sources import BytesSource
from storage.keys import Place, place_from_uri, place_of
from storage.manifest import Manifest, fetch_manifest, make_manifest, read_manifest
from tests.executions.manifests import content_of, manifest_of_hashed
from tests.stories.trees import copy_tree, expected_entries, make_odd_tree

NEVER = threading.Event()
EXECUTION = Execution(7, "uuid-7", "/data/ejecución/7")
PLACE = Place("p/ejecuciones/uuid-7")


def manifest_of(directory: Path) -> Manifest:
    with closing_descriptor(os.open(directory, os.O_RDONLY)) as descriptor:
        tree = walk_tree(descriptor)
        hashes = {file.path: hash_file(descriptor, file, NEVER) for file in tree.files}
        return manifest_of_hashed(EXECUTION, tree, hashes)


def document(**changes: object) -> dict[str, Any]:
    """A small manifest as it may lie in the cloud."""
    entries = [
        {"path": "", "kind": "directory", "mode": "0755", "mtime_ns": 1},
        {"path": "a", "kind": "file", "mode": "0644", "mtime_ns": 2, "size_bytes": 3, "sha256": "ab" * 32},
        {"path": "b", "kind": "link", "mode": "0777", "mtime_ns": 3, "target": "../x"},
    ]
    return {"format": "janitor-manifest", "version": 1, "entries": entries, **changes}


def read(value: object) -> Tree:
    return read_manifest(json.dumps(value).encode())


def test_an_odd_tree_comes_back_as_it_was(tmp_path: Path) -> None:
    make_odd_tree(tmp_path)
    manifest = manifest_of(tmp_path)
    content = content_of(manifest)
    stored = read_manifest(content)
    assert (manifest.size_bytes, manifest.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert [entry._replace(identity=None) for entry in manifest.tree] == list(stored)
    assert {EntryKind.FILE, EntryKind.DIRECTORY, EntryKind.LINK} == {entry.kind for entry in stored}


def test_the_stored_fields_are_those_documented(tmp_path: Path) -> None:
    make_odd_tree(tmp_path)
    manifest = manifest_of(tmp_path)
    stored = json.loads(content_of(manifest).decode("utf-8"))
    whose = ("execution", "directory", "row", "installation", "attempt")
    assert list(stored) == ["format", "version", *whose, "file_count", "size_bytes", "entries"]
    assert (stored["row"], stored["installation"]) == (7, "installation-1")
    assert (stored["format"], stored["version"]) == ("janitor-manifest", 1)
    assert (stored["execution"], stored["directory"]) == ("uuid-7", "/data/ejecución/7")
    files = [entry for entry in stored["entries"] if entry["kind"] == "file"]
    assert (stored["file_count"], stored["size_bytes"]) == (len(files), sum(entry["size_bytes"] for entry in files))
    assert {entry.pop("path"): entry for entry in stored["entries"]} == expected_entries(tmp_path)


def test_equal_trees_have_equal_manifests(tmp_path: Path) -> None:
    """A run that was thought dead may send its manifest late, over that of the copy that another one committed. That
    nothing in it depends on when it was made is in the list of fields above.
    """
    (tmp_path / "one").mkdir()
    make_odd_tree(tmp_path / "one")
    other = copy_tree(tmp_path / "one", tmp_path / "other")
    assert content_of(manifest_of(other)) == content_of(manifest_of(tmp_path / "one"))


def test_one_entry_is_one_line(tmp_path: Path) -> None:
    """So a person can read it, and `grep` and `diff` are of use."""
    make_odd_tree(tmp_path)
    manifest = manifest_of(tmp_path)
    lines = content_of(manifest).decode("utf-8").split("\n")
    assert len([line for line in lines if line.startswith('{"path": ')]) == len(manifest.tree.entries)


def test_a_file_without_a_hash_is_a_defect(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with closing_descriptor(os.open(tmp_path, os.O_RDONLY)) as descriptor, pytest.raises(ValueError, match="hash"):
        make_manifest(EXECUTION, walk_tree(descriptor), "installation-1")


def test_identities_do_not_travel(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    manifest = manifest_of(tmp_path)
    assert all(entry.identity for entry in manifest.tree.entries)
    assert not any(entry.identity for entry in read_manifest(content_of(manifest)).entries)


def test_fields_of_later_versions_do_no_harm() -> None:
    later = document(comment="x")
    later["entries"][1]["owner"] = "sage"
    assert read(later) == read(document())


# What must not be believed


@pytest.mark.parametrize(
    "path",
    [
        *("..", "../a", "a/..", "a/../b", ".", "./a", "a/.", "/", "/etc/passwd", "a//b", "a/", "//a"),
        *("a\0", "a/\0/b", "\u201b2E\u201b2E/a", "a/\u201b2E", "\u201b2Fetc", "a\u201b00", "a\u201b2F\u201b2Fb"),
    ],
)
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_path_that_leaves_its_directory_is_refused(path: str, number: int) -> None:
    hostile = document()
    hostile["entries"][number]["path"] = path
    with pytest.raises(IntegrityError, match="manifiesto"):
        read(hostile)


@pytest.mark.parametrize("path", ["...", "..a", "a..", "..b", "~", "-r", " ", "a\nb", "\u201b\u201b2E", "a\u201bFF"])
def test_an_odd_path_is_none_that_leaves(path: str) -> None:
    odd = document()
    odd["entries"][1]["path"] = path
    assert len(read(odd).entries) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "other"}, {"format": None}, {"version": 0}, {"version": 2}, {"version": "1"}, {"version": None},
        {"entries": None}, {"entries": "abc"}, {"entries": {"a": 1}}, {"entries": [1]}, {"entries": [[]]},
        {"entries": [None]}, {"entries": ["file"]}, {"entries": 3},
    ],
)  # fmt: skip
def test_another_format_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(IntegrityError, match="manifiesto"):
        read(document(**changes))


@pytest.mark.parametrize("number", [0, 1, 2])
def test_an_entry_without_a_field_is_refused(number: int) -> None:
    for name in document()["entries"][number]:
        incomplete = document()
        del incomplete["entries"][number][name]
        with pytest.raises(IntegrityError, match="manifiesto"):
            read(incomplete)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("kind", "socket"), ("kind", ""), ("kind", None), ("kind", 3), ("kind", [])],
        *[("mode", "rwx"), ("mode", ""), ("mode", None), ("mode", "9"), ("mode", "0x1ff"), ("mode", 1.5)],
        *[("mtime_ns", "x"), ("mtime_ns", None), ("mtime_ns", []), ("mtime_ns", math.nan), ("mtime_ns", math.inf)],
        *[("size_bytes", "x"), ("size_bytes", None), ("size_bytes", {}), ("size_bytes", math.inf)],
    ],
)
def test_a_value_that_cannot_be_is_refused(name: str, value: object) -> None:
    wrong = document()
    wrong["entries"][1][name] = value
    with pytest.raises(IntegrityError, match="manifiesto"):
        read(wrong)


def test_no_mode_but_permissions_is_taken() -> None:
    wide = document()
    wide["entries"][1]["mode"] = "104755"
    assert read(wide).entries[1].mode == 0o4755


RUBBISH: dict[str, bytes] = {
    "nothing": b"",
    "zeros": bytes(1000),
    "no JSON": b"not found",
    "an error page": b"<html><body>404</body></html>",
    "no UTF-8": b'{"format": "\xff"}',
    "half of it": json.dumps(document()).encode()[:-10],
    "more than it": json.dumps(document()).encode() + b"}",
    "a list": b"[]",
    "a text": b'"janitor-manifest"',
    "null": b"null",
    "a number": b"1",
    "an abyss": b"[" * 100_000,
}


@pytest.mark.parametrize("name", RUBBISH)
def test_rubbish_is_refused(name: str) -> None:
    with pytest.raises(IntegrityError, match="manifiesto"):
        read_manifest(RUBBISH[name])


# Where it lies


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[LocalProvider]:
    """A provider that holds nothing yet."""
    (tmp_path / "nas").mkdir()
    row = ProviderRow(1, "nas", "local", None, {"ruta": str(tmp_path / "nas")}, active=True)
    with closing(LocalProvider(row)) as made:
        yield made


def test_a_manifest_is_fetched_and_compared_with_its_record(provider: LocalProvider) -> None:
    content = json.dumps(document()).encode()
    provider.put(PLACE.manifest_key, BytesSource(content))
    recorded = hashlib.sha256(content).hexdigest()
    for sha256 in (None, recorded):
        assert fetch_manifest(provider, PLACE, sha256, NEVER) == read_manifest(content)
    with pytest.raises(IntegrityError, match="no es el que se guardó"):
        fetch_manifest(provider, PLACE, recorded[::-1], NEVER)


def test_a_manifest_that_is_not_there_is_reported(provider: LocalProvider) -> None:
    with pytest.raises(ObjectNotFound):
        fetch_manifest(provider, PLACE, None, NEVER)


# Keys


@pytest.mark.parametrize(
    ("prefix", "key_prefix"), [("", "ejecuciones/1234-abcd"), ("prod/sage", "prod/sage/ejecuciones/1234-abcd")]
)
def test_places_are_those_of_the_platform(prefix: str, key_prefix: str) -> None:
    place = place_of(prefix, "1234-abcd")
    assert place.key_of("a/b.txt") == f"{key_prefix}/a/b.txt"
    assert place.files_prefix == f"{key_prefix}/"
    assert place.manifest_key == f"{key_prefix}.manifest.json"
    assert place.uri("s3") == f"cloud://s3/{key_prefix}"
    assert place_from_uri(place.uri("s3")) == place


@pytest.mark.parametrize(
    "uuid",
    [
        *("", ".", "..", "a/b", "../a", "/a", "a\\b", "a\nb", "a\0b", " a", "a ", "\t", "a\x7f", "a\u2028b", "\udcff"),
        *("a.manifest.json", ".manifest.json"),
    ],
)
def test_a_uuid_that_is_no_name_is_refused(uuid: str) -> None:
    with pytest.raises(UnsafeSource, match="uuid") as caught:
        place_of("p", uuid)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("uuid", ["1234-abcd", "a b", "ñandú", "...", "a.manifest.json.old", "%2F", "~"])
def test_an_odd_uuid_is_a_name(uuid: str) -> None:
    assert place_of("", uuid).key_prefix == f"ejecuciones/{uuid}"


@pytest.mark.parametrize(
    "uri",
    ["", "cloud://", "cloud://s3", "cloud://s3/", "s3://b/a", "cloud://s3//a", "cloud://s3/a/../b", "/a", "cloud:/a/b"],
)
def test_what_is_no_place_is_refused(uri: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        place_from_uri(uri)


def test_no_file_takes_the_place_of_a_manifest() -> None:
    """Whatever a file is called, and whatever another execution is called."""
    places = [place_of("", uuid) for uuid in ("a", "a.manifest", "a.manifest.jso")]
    manifests = {place.manifest_key for place in places}
    assert not [key for key in manifests for place in places if key.startswith(place.files_prefix)]
