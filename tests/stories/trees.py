"""Executions as they are met in practice and as nobody hopes to meet them, and their comparison.

Nothing here uses the product's code: trees are read through byte paths and plain system calls.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.destinations import Destination

Snapshot = dict[bytes, tuple[object, ...]]
"""Path below the top (the top itself is `b""`) to kind, mode, time of change and content."""


def make_usual_tree(directory: Path, mark: str = "") -> None:
    """What an execution of the platform leaves: its YAML, tables, a log, in a few directories."""
    (directory / "resultados").mkdir()
    (directory / "ejecucion.yaml").write_text(f"nombre: conciliación {mark}\npasos:\n  - cargar\n  - casar\n")
    (directory / "resultados" / "tabla.csv").write_text("fecha,importe\n" + "2026-01-31,1234.56\n" * 500)
    (directory / "resultados" / "errores.csv").write_bytes(b"")
    (directory / "registro.log").write_bytes(os.urandom(3000).hex().encode())


def make_odd_tree(directory: Path, without: Sequence[str] = ()) -> None:
    """Every name, link, mode and time that a Linux file system takes and a program may trip over."""
    make_usual_tree(directory)
    top = os.fsencode(directory)
    names = [
        *("con espacios.txt", " empieza y acaba ", "almohadilla#ciento%mas+interrogacion?y&.txt", "%41.txt", "A.txt"),
        *("comilla'simple.txt", 'comillas"dobles.txt', "barra\\invertida", "salto\nde línea", "tabulador\t.txt"),
        *(".oculto", "..dos puntos", "...", "acaba en punto.", "dos:puntos*y|tubo<>.txt", "\u201b comilla de rclone"),
        *("caf\u00e9.txt", "cafe\u0301.txt", "日本語.txt", "😀.txt", "ñ" * 127 + "x", "-rf", "~", "$(id)", "{{uuid}}"),
    ]
    for name in (name for name in names if name not in without):
        _write(top + b"/" + name.encode(), f"contenido de {name}".encode())
    assert len(os.fsencode("ñ" * 127 + "x")) == 255
    _write(top + b"/latin1 \xe9\xff.txt", b"bytes que no son UTF-8")
    (directory / "dir \udcfe").mkdir()
    _write(top + b"/dir \xfe/\xc3(", b"dentro")
    (directory / "vacio").mkdir()
    (directory / "a" / "b" / "vacio tambien").mkdir(parents=True)
    (directory / "a" / "b" / "fichero vacio").write_bytes(b"")
    (directory / "a.txt").write_text("ordena entre a y a/b")
    _make_links(directory)
    _set_attributes(directory)


def _make_links(directory: Path) -> None:
    (directory / "enlace colgante").symlink_to("no existe")
    (directory / "enlace absoluto").symlink_to("/etc/hostname")
    (directory / "enlace a directorio").symlink_to("resultados")
    (directory / "enlace hacia fuera").symlink_to("../..")
    (directory / "enlace \udcff").symlink_to("no UTF-8 \udcff")
    link = directory / "enlace colgante"
    os.utime(link, ns=(1_234_567_890_123_456_789, 1_234_567_890_123_456_789), follow_symlinks=False)


def _set_attributes(directory: Path) -> None:
    for name, mode in {"A.txt": 0o400, "%41.txt": 0o777, "a.txt": 0o604, "vacio": 0o711, "a/b": 0o750}.items():
        (directory / name).chmod(mode)
    (directory / "resultados").chmod(0o1777)
    os.utime(directory / "A.txt", ns=(0, 1))
    os.utime(directory / "a.txt", ns=(0, 4_102_444_800_987_654_321))  # after 2038
    os.utime(directory / "vacio", ns=(0, 946_684_800_000_000_007))
    directory.chmod(0o751)
    os.utime(directory, ns=(0, 1_700_000_000_000_000_123))


def _write(path: bytes, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def copy_tree(directory: Path, to: Path) -> Path:
    """A copy with all its modes, times and links, made by `cp`."""
    subprocess.run(["cp", "-a", str(directory), str(to)], check=True)
    return to


def snapshot(directory: Path) -> Snapshot:
    """All that a tree is: names, kinds, modes, times, bytes, link targets."""
    top = os.fsencode(directory)
    found: Snapshot = {b"": _describe(top)}
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
        return (*common, status.st_size, hashlib.sha256(_read(path)).hexdigest())
    return common


def _read(path: bytes) -> bytes:
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        return file.read()


UNREADABLE_BY_RCLONE = {
    "": (
        "*\u201b*",
        "*\u201b*/**",
    ),  # local names that are no UTF-8 or hold rclone's quote character: it cannot open them
    "gcs": ("*[#%?]*", "*[\u2409\u240a]*"),  # the emulator gives download links in which names are not escaped
}


def require_stored(destination: Destination, key_prefix: str, original: Path) -> None:
    """The original directory lies below the prefix, complete and with nothing more, says rclone; its manifest beside.

    Links and empty directories are in the manifest alone. The few names that rclone cannot read are compared by hand
    where the destination is a directory, and by what a restore gives where it is not.
    """
    patterns = (*UNREADABLE_BY_RCLONE[""], *UNREADABLE_BY_RCLONE.get(destination.name, ()))
    excludes = [argument for pattern in patterns for argument in ("--exclude", pattern)]
    remote = destination.rclone_remote(key_prefix)
    destination.rclone("check", "--download", "--skip-links", *excludes, str(original), remote)
    if destination.kind in ("sftp", "local"):
        assert _files(destination.directory / key_prefix) == _files(original)
    manifest = read_manifest(destination, key_prefix)
    assert manifest["entries"] == expected_entries(original)
    assert manifest["execution"] == key_prefix.rpartition("/")[2]


def _files(directory: Path) -> dict[bytes, object]:
    return {path: content[-1] for path, content in snapshot(directory).items() if content[0] == stat.S_IFREG}


def read_manifest(destination: Destination, key_prefix: str) -> dict[str, Any]:
    """The manifest as rclone reads it."""
    text = destination.rclone("cat", destination.rclone_remote(f"{key_prefix}.manifest.json"))
    manifest: dict[str, Any] = json.loads(text)
    manifest["entries"] = {entry.pop("path"): entry for entry in manifest["entries"]}
    return manifest


def expected_entries(directory: Path) -> dict[str, dict[str, object]]:
    """What a manifest must say of a tree, by path."""
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}
    expected: dict[str, dict[str, object]] = {}
    for path, (kind, mode, mtime_ns, *content) in snapshot(directory).items():
        assert isinstance(kind, int)
        entry: dict[str, object] = {"kind": kinds[kind], "mode": f"{mode:04o}", "mtime_ns": mtime_ns}
        if kinds[kind] == "file":
            entry |= {"size_bytes": content[0], "sha256": content[1]}
        elif kinds[kind] == "link":
            assert isinstance(content[0], bytes)
            entry["target"] = written(content[0])
        expected[written(path)] = entry
    return expected


def written(name: bytes) -> str:
    """A name as the manifest's description says: U+201B and two digits for a byte that is no UTF-8, U+201B doubled."""
    text = name.decode("utf-8", "surrogateescape")
    return "".join(
        f"\u201b{ord(character) - 0xDC00:02X}"
        if "\udc80" <= character <= "\udcff"
        else character * 2
        if character == "\u201b"
        else character
        for character in text
    )
