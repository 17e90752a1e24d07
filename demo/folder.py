"""The one folder for everything that the demonstration keeps: recognised by a marker, and emptied at each start."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from config.text.wording import reason_of
from jobs.locks import LockHeld, host_lock

MARKER_NAME = ".janitor-demo"
MARKER_TEXT = "Carpeta de 'janitor-daemon demo': la próxima demostración borra todo lo que hay en ella.\n"
OWNER_VARIABLE = "DEMO_DIRECTORY_MARK"
"""A variable of every process that a demonstration starts: its folder, so that leftovers can be found."""

FREE_BYTES_NEEDED = 1024**3
"""The folder holds the 200 MB log up to three times (original, copy, restored), and PostgreSQL's files."""

STOP_TIMEOUT_SECONDS = 10.0
POLL_INTERVAL_SECONDS = 0.05


class DemoRefused(Exception):
    """The demonstration cannot run here as requested; nothing was touched. The message is in Spanish."""


@dataclass(frozen=True, slots=True)
class DemoFolder:
    """The layout of the folder. All paths are absolute and without symbolic links."""

    path: Path

    @property
    def executions(self) -> Path:
        return self.path / "ejecuciones"

    @property
    def temp(self) -> Path:
        return self.path / "tmp"

    @property
    def postgres(self) -> Path:
        return self.path / "postgres"

    @property
    def s3(self) -> Path:
        return self.path / "s3"

    @property
    def alternate(self) -> Path:
        return self.path / "nas"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def locks(self) -> Path:
        return self.path / "bloqueos"

    @property
    def restored(self) -> Path:
        return self.path / "restaurada"

    @property
    def checksums(self) -> Path:
        return self.path / "original.sha256"

    @property
    def environment_file(self) -> Path:
        return self.path / "entorno.sh"

    @property
    def process_ids(self) -> Path:
        return self.path / "servidores.pid"


@contextlib.contextmanager
def claimed_folder(wanted: Path) -> Iterator[DemoFolder]:
    """Take the folder for this demonstration alone, without an earlier one's files, its servers stopped.

    A folder that is neither empty nor marked as a demonstration's is left unchanged. Raises `DemoRefused`; `LockHeld`
    while another demonstration runs there.
    """
    path = _acceptable(wanted)
    with contextlib.ExitStack() as stack:
        try:
            _make_and_mark(path)
            stack.enter_context(_alone_in(path))
            stop_processes_of(path)
            _empty(path)
            _require_space(path)
            for part in (DemoFolder(path).executions, DemoFolder(path).temp, DemoFolder(path).locks):
                part.mkdir()
        except OSError as error:
            raise DemoRefused(f"no se puede usar la carpeta {path}: {reason_of(error)}") from error
        yield DemoFolder(path)


def _acceptable(wanted: Path) -> Path:
    path = wanted.resolve()
    if ":" in str(path) or not str(path).isprintable():
        raise DemoRefused(
            f"la ruta {str(path)!r} no sirve: JANITOR_ROOTS no admite ':', ni la demostración nombres raros"
        )
    try:
        names = os.listdir(path)
    except FileNotFoundError:
        return path
    except OSError as error:
        raise DemoRefused(f"no se puede usar la carpeta {path}: {reason_of(error)}") from error
    if names and MARKER_NAME not in names:
        raise DemoRefused(f"{path} existe y no es de una demostración: no se toca; elija otra con --directory")
    return path


def _make_and_mark(path: Path) -> None:
    if not path.exists():
        path.mkdir(parents=True)
        path.chmod(0o755)  # if root runs this, PostgreSQL runs as another user, who must pass
    (path / MARKER_NAME).write_text(MARKER_TEXT, encoding="utf-8")


@contextlib.contextmanager
def _alone_in(path: Path) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(host_lock(path, "demo"))
        except LockHeld as error:
            raise LockHeld(f"otra demostración está en marcha en {path}") from error
        yield


def _empty(path: Path) -> None:
    for item in path.iterdir():
        if item.is_dir() and not item.is_symlink():
            shutil.rmtree(item)
        elif item.name != MARKER_NAME and item.suffix != ".lock":
            item.unlink()


def _require_space(path: Path) -> None:
    free_bytes = shutil.disk_usage(path).free
    if free_bytes < FREE_BYTES_NEEDED:
        raise DemoRefused(f"hacen falta {FREE_BYTES_NEEDED >> 20} MB libres en {path} y hay {free_bytes >> 20}")


def stop_processes_of(path: Path) -> None:
    """End what an earlier demonstration left running for this folder (`--keep`), and return when it is gone.

    Processes are recognised by their start environment, never by a process id, which may be another process's by now.
    SIGINT, because PostgreSQL would wait for its clients to leave after SIGTERM.
    """
    for process_id in _processes_of(path):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process_id, signal.SIGINT)
    deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
    while remaining := list(_processes_of(path)):
        if time.monotonic() > deadline:
            raise DemoRefused(f"no terminan los procesos {remaining} de una demostración anterior en {path}")
        time.sleep(POLL_INTERVAL_SECONDS)


def _processes_of(path: Path) -> Iterator[int]:
    """Linux shows a process's environment in `/proc` (proc(5)); elsewhere nothing is found."""
    variable = os.fsencode(f"{OWNER_VARIABLE}={path}")
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):  # ended meanwhile, or somebody else's
            if variable in environment.read_bytes().split(b"\0") and int(environment.parent.name) != os.getpid():
                yield int(environment.parent.name)
