"""Finds from `/proc` which files programs have open for writing, where the kernel grants no lease.

It inspects every descriptor of every process, so it runs once per directory, after the directory was renamed: nothing
in it can be opened by its old path any more. It misses descriptors in transit between processes, and processes that
work in the directory and open files by relative paths.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

INITIAL_PROCESS_NAMESPACE = "pid:[4026531836]"
"""In other namespaces `/proc` does not show every process. Source: PROC_PID_INIT_INO in linux/proc_ns.h."""

FIRST_PROCESS = 1
"""If `/proc` hides other users' processes (hidepid), it hides this one."""

LOOKS_FOR_NEW_PROCESSES = 5

Inode = tuple[int, int]
"""Device and number."""


@dataclass(frozen=True, slots=True)
class Mapped:
    """A file that is written through memory. Its device may differ from the one in `stat` (btrfs, overlays), and its
    path may belong to another mount namespace: so its last name is kept too.
    """

    device: int
    inode: int
    name: str


@dataclass(frozen=True, slots=True)
class OpenFiles:
    """The result of one inspection of all processes.

    `is_complete` says whether every process could be inspected: only then does a file that is not listed have no
    writer.
    """

    written: frozenset[Inode]
    mapped: frozenset[Mapped]
    is_complete: bool

    def has_writer(self, descriptor: int) -> bool:
        """Whether some program has the file of a descriptor open, or mapped, for writing."""
        status = os.fstat(descriptor)
        if (status.st_dev, status.st_ino) in self.written:
            return True
        mappings = [mapped for mapped in self.mapped if mapped.inode == status.st_ino]
        if not mappings:
            return False
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        return any(mapped.device == status.st_dev or mapped.name == name for mapped in mappings)


def look_at_open_files() -> OpenFiles:
    """Inspect every process except this one."""
    look = _Look()
    for _ in range(LOOKS_FOR_NEW_PROCESSES):  # a newly forked process may hold files that its parent has closed by now
        if not look.take_in_new_processes():
            break
    else:
        look.is_complete = False
    return OpenFiles(frozenset(look.written), frozenset(look.mapped), look.is_complete)


class _Look:
    """Collects what the processes have open."""

    def __init__(self) -> None:
        self.written: set[Inode] = set()
        self.mapped: set[Mapped] = set()
        self.is_complete = _shows_all_processes()
        self._seen = {os.getpid()}

    def take_in_new_processes(self) -> int:
        """Inspect the processes that are new since the last call; return their number."""
        new = {int(name) for name in os.listdir("/proc") if name.isdecimal()} - self._seen
        for process_id in new:
            self._take_in(process_id)
        self._seen |= new
        return len(new)

    def _take_in(self, process_id: int) -> None:
        try:
            for directory in _descriptor_tables(process_id):
                self.written.update(_written(directory))
            self.mapped.update(_mapped(process_id))
        except (FileNotFoundError, ProcessLookupError):
            return  # it has ended
        except OSError:
            self.is_complete = False


def _shows_all_processes() -> bool:
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return False
    return namespace == INITIAL_PROCESS_NAMESPACE and Path(f"/proc/{FIRST_PROCESS}").exists()


def _descriptor_tables(process_id: int) -> Iterator[str]:
    """Threads share one table. It disappears for the first thread when that ends, but stays for the others."""
    yield f"/proc/{process_id}/fd"
    if Path(f"/proc/{process_id}/stat").read_text(errors="replace").rpartition(") ")[2].startswith("Z"):
        for thread in os.listdir(f"/proc/{process_id}/task"):
            yield f"/proc/{process_id}/task/{thread}/fd"


def _written(directory: str) -> Iterator[Inode]:
    """The files behind writable descriptors; the mode of each link says whether it is writable (proc_pid_fd(5))."""
    for name in os.listdir(directory):
        path = f"{directory}/{name}"
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            if os.lstat(path).st_mode & stat.S_IWUSR:
                status = Path(path).stat()
                if stat.S_ISREG(status.st_mode):
                    yield status.st_dev, status.st_ino


def _mapped(process_id: int) -> Iterator[Mapped]:
    """The files of shared writable mappings (proc_pid_maps(5), which escapes line ends)."""
    for line in Path(f"/proc/{process_id}/maps").read_bytes().splitlines():
        _, permissions, _, device, inode, *path = line.split(maxsplit=5)
        if permissions[1:2] == b"w" and permissions[3:4] == b"s" and path:
            major, minor = (int(number, 16) for number in device.split(b":"))
            name = Path(os.fsdecode(path[0].replace(b"\\012", b"\n"))).name
            yield Mapped(os.makedev(major, minor), int(inode), name)
