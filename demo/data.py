"""The demonstration's data: executions made of real files, old and new temporary files; and its own comparison of two
trees, which shares no code with the program being shown.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

MEBIBYTE = 1024 * 1024
LARGE_LOG_BYTES = 200 * MEBIBYTE
HOUR_SECONDS = 3600

ODD_NAMES = (
    "Análisis de ñandúes 📈.csv",
    " espacio al principio y al final ",
    "comillas 'simples' y \"dobles\".txt",
    "100% #1 ?clave=valor&otra+más.txt",
    "dos\nlíneas.txt",
    "contra\\barra:y*asterisco.txt",
    "-rf",
    ".oculto",
    "x" * 200 + ".txt",
    os.fsdecode(b"latin1-\xf1.txt"),
)
"""Names that Linux accepts and careless programs do not; the last one is not UTF-8."""


@dataclass(frozen=True, slots=True)
class DemoExecution:
    """One execution of the demonstration, as SAGE would have left it."""

    number: int
    uuid: str
    directory: Path


def numbered_execution(root: Path, number: int) -> DemoExecution:
    """The execution with this number, which has the same UUID in every demonstration."""
    identifier = str(uuid.uuid5(uuid.NAMESPACE_URL, f"janitor-daemon/demo/{number}"))
    return DemoExecution(number, identifier, root / identifier)


def write_execution(execution: DemoExecution) -> None:
    """Make an ordinary execution: its definition, its results and its log; their size depends on the number."""
    directory, number = execution.directory, execution.number
    (directory / "salida").mkdir(parents=True)
    (directory / "logs").mkdir()
    definition = f"nombre: informe-{number:02}\nfuente: ventas\ncolumnas: [fecha, tienda, importe]\n"
    (directory / "definicion.yaml").write_text(definition, encoding="utf-8")
    rows = (f"2024-01-{day % 28 + 1:02},tienda-{day % 7},{day * number % 9973}.50\n" for day in range(number * 40))
    (directory / "salida" / "resultados.csv").write_text("fecha,tienda,importe\n" + "".join(rows), encoding="utf-8")
    steps = (f"INFO paso {step} de la ejecución {execution.uuid} terminado\n" for step in range(number * 10))
    (directory / "logs" / "ejecucion.log").write_text("".join(steps), encoding="utf-8")


def write_rich_execution(execution: DemoExecution) -> None:
    """Make an execution with everything: a large log, odd names, an empty file, links, empty directories, modes.

    Every entry has a time of its own, so that a comparison of times means something.
    """
    write_execution(execution)
    directory = execution.directory
    _write_large_log(directory / "logs" / "detalle.log")
    odd = directory / "nombres raros"
    odd.mkdir()
    for name in ODD_NAMES:
        (odd / name).write_text(f"contenido de {name!r}\n", encoding="utf-8")
    (directory / "salida" / "sin_filas.csv").touch()
    (directory / "vacío" / "y más" / "adentro").mkdir(parents=True)
    _write_links(directory)
    _set_modes_and_times(directory)


def _write_large_log(path: Path) -> None:
    """Each MiB begins with its own number, so that no two parts of the file are alike."""
    lines = (f"2024-01-28 03:00:{line % 60:02} DEBUG fila {line} leída y transformada\n" for line in range(20_000))
    text = "".join(lines).encode()[:MEBIBYTE]
    with path.open("wb") as log:
        for block in range(LARGE_LOG_BYTES // MEBIBYTE):
            heading = f"=== bloque {block} ===\n".encode()
            log.write(heading + text[len(heading) :])


def _write_links(directory: Path) -> None:
    (directory / "último.log").symlink_to("logs/ejecucion.log")
    (directory / "resultados").symlink_to("salida")
    (directory / "enlace roto").symlink_to("no/existe")
    (directory / "enlace absoluto").symlink_to("/etc/hostname")


def _set_modes_and_times(directory: Path) -> None:
    script = directory / "repetir.sh"
    script.write_text("#!/bin/sh\necho repetir\n", encoding="utf-8")
    script.chmod(0o750)
    (directory / "definicion.yaml").chmod(0o440)
    (directory / "vacío").chmod(0o700)
    deepest_first = sorted(directory.rglob("*"), key=lambda path: len(path.parts), reverse=True)
    for number, path in enumerate((*deepest_first, directory)):
        time_ns = 1_700_000_000_123_456_789 + number * 61_000_000_007
        os.utime(path, ns=(time_ns, time_ns), follow_symlinks=False)


@dataclass(frozen=True, slots=True)
class TempFiles:
    """The contents of the temporary directory before it is cleaned."""

    to_be_deleted: frozenset[Path]
    to_be_kept: frozenset[Path]


def write_temp_files(directory: Path, outside: Path) -> TempFiles:
    """Make six old files, and what must stay: new files, an old directory, an old link to an old file `outside`."""
    two_days_ago = time.time() - 48 * HOUR_SECONDS
    old = [directory / f"informe-{number}.tmp" for number in range(6)]
    new = [directory / f"en-uso-{number}.tmp" for number in range(3)]
    for path in (*old, *new, outside):
        path.write_bytes(b"x" * 300_000)
    old_directory = directory / "carpeta-antigua"
    old_directory.mkdir()
    link = directory / "enlace-antiguo"
    link.symlink_to(outside)
    for path in (*old, outside, old_directory, link):
        os.utime(path, (two_days_ago, two_days_ago), follow_symlinks=False)
    return TempFiles(frozenset(old), frozenset((*new, old_directory, link, outside)))


@dataclass(frozen=True, slots=True)
class Item:
    """A file, directory or link: `content` is a file's SHA-256 or a link's target; a link's mode means nothing."""

    kind: str
    mode: int
    mtime_ns: int
    size_bytes: int
    content: str


def describe_tree(directory: Path) -> dict[str, Item]:
    """Everything in a directory, itself included as '.', by relative path. No link is followed."""
    described = {".": _describe(directory)}
    for parent, directories, files in os.walk(directory):
        for name in (*directories, *files):
            path = Path(parent, name)
            described[os.path.relpath(path, directory)] = _describe(path)
    return described


def _describe(path: Path) -> Item:
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        return Item("link", 0, status.st_mtime_ns, 0, str(path.readlink()))
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISDIR(status.st_mode):
        return Item("directory", mode, status.st_mtime_ns, 0, "")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Item("file", mode, status.st_mtime_ns, status.st_size, digest)


def differences(expected: Mapping[str, Item], found: Mapping[str, Item]) -> list[str]:
    """Which paths differ between two trees, and how, in Spanish."""
    return [
        f"{path!r}: {expected.get(path, 'no existía')} antes, {found.get(path, 'no existe')} ahora"
        for path in sorted({*expected, *found})
        if expected.get(path) != found.get(path)
    ]


def write_checksums(path: Path, tree: Mapping[str, Item]) -> None:
    """Write the files' hashes in the format of `sha256sum --check` (GNU coreutils escapes a backslash and a newline in
    a name, and marks that by a backslash before the hash).
    """
    path.write_bytes(b"".join(_checksum_lines(tree)))


def _checksum_lines(tree: Mapping[str, Item]) -> Iterator[bytes]:
    for name, item in sorted(tree.items()):
        if item.kind == "file":
            escaped = name.replace("\\", "\\\\").replace("\n", "\\n")
            mark = "\\" if escaped != name else ""
            yield os.fsencode(f"{mark}{item.content}  ./{escaped}\n")
