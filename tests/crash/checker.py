"""Looks at what runs have left, and says what is wrong with it. Shares no code with the program that it checks.

It knows the contract alone: the platform's tables, the keys, the manifest's name, and the names that the daemon gives
to what it sets aside.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extras

Tree = dict[bytes, tuple[object, ...]]
"""Path below the top (the top itself is `b""`) to kind, mode, time of change, and bytes or target of a link."""

UNFINISHED = {
    "open attempts": "SELECT id::text FROM janitor_attempts WHERE state IN ('open', 'abandoned')",
    "leases": "SELECT uuid FROM janitor_migrations WHERE lease_expires_at IS NOT NULL",
    "removals": "SELECT uuid FROM janitor_migrations WHERE local_copy = 'deleting'",
    "runs without an end": "SELECT id::text FROM janitor_runs WHERE finished_at IS NULL AND id = "
    "(SELECT max(id) FROM janitor_runs)",
}
TABLES = ("ejecuciones_yaml", "ejecuciones_config", "cloud_providers", "janitor_migrations", "janitor_attempts")


@dataclass(frozen=True)
class Original:
    """An execution as it was before anything was done with it."""

    uuid: str
    directory: Path
    tree: Tree


class Store:
    """All that a destination holds, read by the vendor's own client, or from the file system where it is one."""

    def __init__(self, kind: str, credentials: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        self.kind = kind
        self._credentials = credentials
        self._options = options
        self._client: Any = None

    def contents(self, prefix: str) -> dict[str, bytes]:
        """The bytes of every object whose key begins so."""
        return {key: read() for key, _, read in self._listing(prefix)}

    def stamps(self) -> dict[str, object]:
        """For every object what changes when it is written again, be it with the same bytes."""
        return {key: stamp for key, stamp, _ in self._listing("")}

    def names(self) -> set[str]:
        """The names of everything that is there: also unfinished uploads, partial files and empty directories."""
        match self.kind:
            case "s3" | "minio":
                listed = {item["Key"] for item in self._s3_listing("")}
                return listed | {f"{key} (unfinished)" for key in self._s3_unfinished()}
            case "azure":
                finished = set(self.stamps())
                begun = {blob.name for blob in self._azure().list_blobs(include=["uncommittedblobs"])} - finished
                return finished | {f"{name} (unfinished)" for name in begun}
            case "gcs" | "gcp":
                return {blob.name for blob in self._gcs().list_blobs()}
        return set(self.stamps()) | {f"{path}/" for path in _empty_directories(self.directory)}

    @property
    def directory(self) -> Path:
        """Where a destination that is a directory of this machine lies."""
        return Path(self._options["base_path"] if self.kind == "sftp" else self._options["ruta"])

    def _listing(self, prefix: str) -> Iterator[tuple[str, object, Callable[[], bytes]]]:
        """Key, stamp, and how to read it, of every object whose key begins so."""
        match self.kind:
            case "s3" | "minio":
                for item in self._s3_listing(prefix):
                    yield item["Key"], (item["ETag"], item["LastModified"]), partial(self._read_s3, item["Key"])
            case "azure":
                for blob in self._azure().list_blobs(name_starts_with=prefix):
                    stamp = (blob.etag, blob.last_modified)
                    yield blob.name, stamp, self._azure().download_blob(blob.name).readall
            case "gcs" | "gcp":
                for item in self._gcs().list_blobs(prefix=prefix):
                    yield item.name, (item.generation, item.updated), item.download_as_bytes
            case _:
                yield from self._files(prefix)

    def _files(self, prefix: str) -> Iterator[tuple[str, object, Callable[[], bytes]]]:
        for parent, _, names in os.walk(self.directory):
            for path in (Path(parent, name) for name in names):
                key = str(path.relative_to(self.directory))
                if key.startswith(prefix):
                    status = path.lstat()
                    yield key, (status.st_ino, status.st_ctime_ns), path.read_bytes

    def _read_s3(self, key: str) -> bytes:
        content: bytes = self._s3().get_object(Bucket=self._options["bucket"], Key=key)["Body"].read()
        return content

    def _s3(self) -> Any:
        if self._client is None:
            import boto3
            from botocore.config import Config

            self._client = boto3.client(
                "s3",
                endpoint_url=self._options["endpoint_url"],
                aws_access_key_id=self._credentials["access_key"],
                aws_secret_access_key=self._credentials["secret_key"],
                region_name="us-east-1",
                config=Config(s3={"addressing_style": "path"}),
            )
        return self._client

    def _s3_listing(self, prefix: str) -> Iterator[Mapping[str, Any]]:
        pages = self._s3().get_paginator("list_objects_v2").paginate(Bucket=self._options["bucket"], Prefix=prefix)
        for page in pages:
            yield from page.get("Contents", [])

    def _s3_unfinished(self) -> list[str]:
        client = self._s3()
        try:
            answer = client.list_multipart_uploads(Bucket=self._options["bucket"])
        except client.exceptions.NoSuchUpload:  # how rclone's server says that there are none
            return []
        return [upload["Key"] for upload in answer.get("Uploads", [])]

    def _azure(self) -> Any:
        if self._client is None:
            from azure.storage.blob import ContainerClient

            self._client = ContainerClient(
                self._options["account_url"],
                self._options["container"],
                credential={key: self._credentials[key] for key in ("account_name", "account_key")},
            )
        return self._client

    def _gcs(self) -> Any:
        if self._client is None:
            from google.auth.credentials import AnonymousCredentials
            from google.cloud import storage  # type: ignore[import-untyped]

            client = storage.Client(
                project=self._options["project"],
                credentials=AnonymousCredentials(),
                client_options={"api_endpoint": self._options["endpoint_url"]},
            )
            self._client = client.bucket(self._options["bucket"])
        return self._client


def _empty_directories(top: Path) -> Iterator[Path]:
    for parent, directories, names in os.walk(top):
        if not directories and not names and Path(parent) != top:
            yield Path(parent).relative_to(top)


class Checker:
    """What must hold for some executions of one database, which go to any of some stores (by id of their rows)."""

    def __init__(self, database_url: str, stores: Mapping[int, Store], prefix: str) -> None:
        self._connection = psycopg2.connect(database_url)
        self._connection.autocommit = True
        self.stores = stores
        self._prefix = prefix
        self._known_keys: dict[int, set[str]] = {provider_id: set() for provider_id in stores}

    def close(self) -> None:
        """Leave the database."""
        self._connection.close()

    def wrong_at_any_moment(self, original: Original) -> Iterator[str]:
        """What must never be, whenever the last run ended."""
        row = self._row(original.uuid)
        if not row["migrado_a_nube"]:
            yield from (f"removed before the commit: {what}" for what in self._missing_locally(original))
            return
        yield from self._wrong_remotely(original, row)

    def wrong_at_rest(self, originals: list[Original], *, deleted: bool) -> Iterator[str]:
        """What must not be once ordinary runs have had their chance; earlier executions were looked at before."""
        for original in originals:
            row = self._row(original.uuid)
            if not row["migrado_a_nube"]:
                yield f"{original.uuid} is not migrated"
                continue
            yield from self._wrong_remotely(original, row)
            yield from self._wrong_locally(original, deleted=deleted)
            place = row["ruta_nube"].split("://")[-1].partition("/")[2]
            self._known_keys[row["nube_provider_id"]] |= {f"{place}.manifest.json", *expected_objects(original, place)}
        yield from self._left_over()

    def state(self) -> dict[str, object]:
        """Everything that a run which has nothing to do must leave as it is, row versions included."""
        rows: dict[str, object] = {
            table: self._ask(f"SELECT xmin::text, t::text FROM {table} AS t ORDER BY 2")  # noqa: S608 our own names
            for table in TABLES
        }
        for provider_id, store in self.stores.items():
            rows[f"store {provider_id}"] = (store.names(), store.stamps())
            if store.kind in ("sftp", "local"):
                rows[f"directories {provider_id}"] = _stamps(store.directory)
        return rows

    def _missing_locally(self, original: Original) -> Iterator[str]:
        trash = original.directory.parent / f".janitor-trash-{self._row(original.uuid)['id']}-{original.uuid}"
        present = [path for path in (original.directory, trash) if path.exists()]
        if len(present) != 1:
            yield f"{original.uuid} lies at {len(present)} places"
        elif tree_of(present[0]) != original.tree:
            yield f"{original.uuid} differs"

    def _wrong_remotely(self, original: Original, row: Mapping[str, Any]) -> Iterator[str]:
        store = self.stores.get(row["nube_provider_id"])
        place = "/".join(part for part in (self._prefix, "ejecuciones", original.uuid) if part)
        if store is None or row["ruta_nube"] != f"cloud://{store.kind}/{place}":
            yield f"{original.uuid}: its row says {row['ruta_nube']} on provider {row['nube_provider_id']}"
            return
        contents = store.contents(place)
        found = {key: _sha256(content) for key, content in contents.items() if key.startswith(f"{place}/")}
        if found != expected_objects(original, place):
            yield f"{original.uuid}: committed, but {place} holds {found}"
        manifest = contents.get(f"{place}.manifest.json")
        if manifest is None or _described(json.loads(manifest)) != _described_by_tree(original.tree):
            yield f"{original.uuid}: committed, but its manifest is {manifest!r}"

    def _wrong_locally(self, original: Original, *, deleted: bool) -> Iterator[str]:
        if deleted and original.directory.exists():
            yield f"the local copy of {original.uuid} is still there"
        if not deleted and tree_of(original.directory) != original.tree:
            yield f"the local copy of {original.uuid} was to stay, and differs"
        for name in os.listdir(original.directory.parent):
            if name.startswith(".janitor"):
                yield f"left behind: {name}"

    def _left_over(self) -> Iterator[str]:
        for what, question in UNFINISHED.items():
            found = [next(iter(row.values())) for row in self._ask(question)]
            if found:
                yield f"{what}: {found}"
        for provider_id, store in self.stores.items():
            for key in sorted(store.names() - self._known_keys[provider_id]):
                yield f"no row knows of {key} in store {provider_id}"

    def _row(self, uuid: str) -> Mapping[str, Any]:
        (row,) = self._ask("SELECT * FROM ejecuciones_yaml WHERE uuid = %s", (uuid,))
        return row

    def _ask(self, question: str, parameters: tuple[object, ...] | None = None) -> list[dict[str, Any]]:
        with self._connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
            cursor.execute(question, parameters)
            return [dict(row) for row in cursor.fetchall()]


def _described(manifest: Mapping[str, Any]) -> dict[str, tuple[object, ...]]:
    """By path all that a restore goes by: kind, mode, time, and bytes or target."""
    return {
        entry["path"]: (
            entry["kind"],
            int(entry["mode"], 8),
            entry["mtime_ns"],
            entry.get("sha256") or entry.get("target"),
        )
        for entry in manifest["entries"]
    }


def _described_by_tree(tree: Tree) -> dict[str, tuple[object, ...]]:
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}
    return {
        _shown(path): (kinds[kind], mode, mtime_ns, _shown(content) if isinstance(content, bytes) else content)
        for path, (kind, mode, mtime_ns, content) in tree.items()
        if isinstance(kind, int)
    }


def expected_objects(original: Original, place: str) -> dict[str, str]:
    """The objects that an execution becomes: one for each of its files."""
    return {
        f"{place}/{_shown(path)}": str(entry[-1]) for path, entry in original.tree.items() if entry[0] == stat.S_IFREG
    }


def tree_of(directory: Path) -> Tree:
    """All that a directory is: names, kinds, modes, times, bytes (as SHA-256), targets of links."""
    top = os.fsencode(directory)
    found: Tree = {b"": _describe(top)}
    for parent, directories, files in os.walk(top):
        for name in (*directories, *files):
            path = parent + b"/" + name
            found[path[len(top) + 1 :]] = _describe(path)
    return found


def _describe(path: bytes) -> tuple[object, ...]:
    status = os.lstat(path)
    common = (stat.S_IFMT(status.st_mode), stat.S_IMODE(status.st_mode), status.st_mtime_ns)
    if stat.S_ISLNK(status.st_mode):
        return (*common, os.readlink(path))  # noqa: PTH115 its bytes
    if stat.S_ISREG(status.st_mode):
        return (*common, _sha256(Path(os.fsdecode(path)).read_bytes()))
    return (*common, None)


def _stamps(directory: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of change of everything, so that a file written again with the same bytes shows, too."""
    found = {}
    for parent, directories, files in os.walk(directory):
        for name in (".", *directories, *files):
            status = Path(parent, name).lstat()
            found[f"{parent}/{name}"] = (status.st_ino, status.st_ctime_ns)
    return found


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _shown(path: bytes) -> str:
    return os.fsdecode(path)
