"""Small copies to restore, and calls of the system that fold names as a careless file system does."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from jobs.migration.restore.filling import Download, Restored
from jobs.migration.restore.run import Restore
from providers.base import Provider
from providers.sources import BytesSource
from storage.keys import Place
from storage.traffic.transfers import TransferPool
from tests.servers.odd_file_system import Rules

PLACE = Place("ejecuciones/uuid-1")
TIME_NS = 1_700_000_000_123_456_789

Copy = Mapping[str, bytes | str | None]
"""Path to the bytes of a file, the target of a link, or `None` for a directory. The top need not be named."""


def store_copy(provider: Provider, copy: Copy, modes: Mapping[str, str] | None = None) -> None:
    """Store an execution with its manifest; modes are those of ordinary files and directories unless given."""
    entries: list[dict[str, object]] = []
    for path, content in {"": None, **copy}.items():
        said: dict[str, object] = {"path": path, "mtime_ns": TIME_NS}
        if content is None:
            said |= {"kind": "directory", "mode": "0755"}
        elif isinstance(content, str):
            said |= {"kind": "link", "mode": "0777", "target": content}
        else:
            provider.put(PLACE.key_of(path), BytesSource(content))
            sha256 = hashlib.sha256(content).hexdigest()
            said |= {"kind": "file", "mode": "0644", "size_bytes": len(content), "sha256": sha256}
        entries.append({**said, "mode": (modes or {}).get(path, said["mode"])})
    manifest = {"format": "janitor-manifest", "version": 1, "entries": entries}
    provider.put(PLACE.manifest_key, BytesSource(json.dumps(manifest).encode()))


def restore_copy(provider: Provider, destination: Path, interruption: threading.Event | None = None) -> Restored:
    """Restore it, two files at a time."""
    with contextlib.closing(TransferPool(2)) as pool:
        return Restore(Download(provider, PLACE, pool, interruption or threading.Event())).run(destination, None)


def contents(directory: Path) -> Copy:
    """What lies below a directory, as `Copy` says it."""
    found: dict[str, bytes | str | None] = {}
    for path in sorted(directory.rglob("*")):
        name = str(path.relative_to(directory))
        if path.is_symlink():
            found[name] = str(path.readlink())
        else:
            found[name] = None if path.is_dir() else path.read_bytes()
    return found


@contextlib.contextmanager
def folding_calls(monkeypatch: pytest.MonkeyPatch, rules: Rules, top: Path) -> Iterator[None]:
    """Let the calls by which names are made and opened below a directory take names for one another, for machines that
    mount nothing. They do it only where they are given a directory's descriptor.
    """
    originals = {name: getattr(os, name) for name in ("open", "mkdir", "symlink", "stat", "readlink", "utime")}

    def folded(name: Any, options: Mapping[str, Any]) -> Any:
        directory = Path(f"/proc/self/fd/{options.get('dir_fd')}")
        if options.get("dir_fd") is None or name == "." or not directory.readlink().is_relative_to(top):
            return name
        listed = {rules.key(other): other for other in os.listdir(directory)}
        return listed.get(rules.key(str(name)), rules.stored(str(name)) or name)

    turn = threading.RLock()  # a file system looks for a name and makes it in one step

    def folding(call: Any) -> Any:
        def call_with_folded(name: Any, *arguments: Any, **options: Any) -> Any:
            with turn:
                return call(folded(name, options), *arguments, **options)

        return call_with_folded

    def symlink(target: Any, name: Any, **options: Any) -> None:
        with turn:
            originals["symlink"](target, folded(name, options), **options)

    with monkeypatch.context() as patched:
        for name, call in originals.items():
            patched.setattr(os, name, symlink if name == "symlink" else folding(call))
        yield
