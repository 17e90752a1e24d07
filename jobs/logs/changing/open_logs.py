"""Opens logs, and finds out whether a program has one open for writing."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator

from files.descriptors import open_file_beneath
from files.open_files import OpenFiles, look_at_open_files
from files.writers import Answer, FileInUse, lease_is_whole, release_lease, take_lease
from jobs.logs.errors import LogChanged, LogInUse, LogLeft

IN_USE = "un programa lo tiene abierto para escribir"
CHANGED = "cambió mientras se trabajaba en él"


class OpenLog:
    """A log that is open for reading, with its state at that moment. The caller closes it."""

    def __init__(self, directory: int, name: str) -> None:
        self.name = name
        self.descriptor = open_file_beneath(directory, [name])
        self.status = os.fstat(self.descriptor)
        self._directory = directory
        self._answer: Answer | None = None

    def close(self) -> None:
        """Close the log and give back the lease."""
        os.close(self.descriptor)

    def require_no_writer(self, look: Callable[[], OpenFiles]) -> None:
        """Raises `LogInUse`; `LogLeft` where nobody can tell. `look` is called only where the kernel cannot tell.

        `look` omits files that this process itself writes to, such as the one to which cron sends its output.
        """
        if any(os.path.samestat(self.status, output) for output in _own_outputs()):
            raise LogInUse("este mismo programa escribe en él")
        if self._ask_kernel() is Answer.TAKEN:
            release_lease(self.descriptor)
        else:
            self.require_no_writer_in(look())

    def hold(self) -> None:
        """Keep writers from opening it, if the kernel can; then check that its name still stands for this very file, in
        the state in which it was opened.

        Raises `LogInUse`, `LogChanged`.
        """
        self._ask_kernel()
        try:
            named = os.stat(self.name, dir_fd=self._directory, follow_symlinks=False)
        except FileNotFoundError as error:
            raise LogChanged(CHANGED) from error
        self.require_same(named, moved=False)

    @property
    def is_leased(self) -> bool:
        """Whether the kernel has kept writers out since `hold`."""
        return self._answer is Answer.TAKEN

    def is_gone(self) -> bool:
        """Whether it has no name any more, so its bytes are freed: a hard link elsewhere would keep them."""
        return os.fstat(self.descriptor).st_nlink == 0

    def require_same(self, status: os.stat_result, *, moved: bool) -> None:
        """Raises `LogChanged` unless a look shows this very file, unchanged. Moving it changes its ctime."""
        if _identity(status, moved) != _identity(self.status, moved):
            raise LogChanged(CHANGED)

    def require_still_held(self) -> None:
        """Raises `LogInUse` if a program is waiting to write."""
        if self.is_leased and not lease_is_whole(self.descriptor):
            raise LogInUse("un programa quiso abrirlo para escribir")

    def require_no_writer_in(self, seen: OpenFiles) -> None:
        """Raises `LogInUse` if a look at all processes has shown a writer; `LogLeft` if it could not see enough."""
        if seen.has_writer(self.descriptor):
            raise LogInUse(IN_USE)
        if self._answer is Answer.NO_RIGHT and not seen.is_complete:
            raise LogLeft(
                f"no se puede saber si un programa lo tiene abierto para escribir, pues es del usuario "
                f"{self.status.st_uid}: ejecute este programa como ese usuario o dele CAP_LEASE"
            )

    def _ask_kernel(self) -> Answer:
        try:
            self._answer = take_lease(self.descriptor)
        except FileInUse as error:
            raise LogInUse(IN_USE) from error
        return self._answer


def _own_outputs() -> Iterator[os.stat_result]:
    for standard in (1, 2):
        with contextlib.suppress(OSError):  # closed
            yield os.fstat(standard)


def _identity(status: os.stat_result, moved: bool) -> tuple[int, ...]:
    return (
        *(status.st_dev, status.st_ino, status.st_mode, status.st_nlink, status.st_size, status.st_mtime_ns),
        0 if moved else status.st_ctime_ns,
    )


class FirstLook:
    """One look at all processes per run, made at the first request. It saves work; no irreversible step relies
    on it.
    """

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._seen: OpenFiles | None = None

    def __call__(self) -> OpenFiles:
        with self._turn:
            self._seen = self._seen or look_at_open_files()
            return self._seen
