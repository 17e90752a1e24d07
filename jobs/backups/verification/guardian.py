"""A shell that tidies up when this process is done, or is gone: also after SIGKILL, which no `finally` outlives.

It waits for the end of its standard input, which the kernel closes when the last process that holds it has ended.
"""

from __future__ import annotations

import contextlib
import select
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import BinaryIO

from config.logs import one_line
from config.text.wording import reason_of
from jobs.backups.errors import NoScratchServer
from jobs.backups.reading.programs import complaints_in, file_for_complaints
from jobs.backups.verification.confinement import Confinement, command_of

UNSTOPPED = "trap '' PIPE\ntrap 'exit 1' HUP INT TERM\n"
"""Before each script: the reader of its line may be gone, and a shell that a signal ends runs no trap at its
end.
"""

LOOK_SECONDS = 0.5
LONGEST_SECONDS = 300
COMPLAINT_LETTERS = 300


@contextlib.contextmanager
def guarded(
    script: str,
    arguments: Sequence[str],
    require_going_on: Callable[[], None],
    environment: Mapping[str, str],
    confinement: Confinement | None = None,
) -> Iterator[str]:
    """Start a script that prepares something, prints one line, waits (`cat`), and cleans up; return that line.

    A signal from the terminal does not reach it. When the context is left it has removed everything. Raises
    `NoScratchServer` with what it said when it could not prepare it, and what `require_going_on` raises.
    """
    command = ["/bin/sh", "-c", UNSTOPPED + script, "janitor", *arguments]
    with file_for_complaints() as complaints:
        try:
            process = subprocess.Popen(  # noqa: S603 a script of this folder
                command if confinement is None else command_of(confinement, command), stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=complaints, cwd="/", env=dict(environment), start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise NoScratchServer(f"no se puede ejecutar /bin/sh: {reason_of(error)}") from error
        assert process.stdin is not None  # noqa: S101 for the type checker
        assert process.stdout is not None  # noqa: S101 for the type checker
        try:
            line = _first_line(process, require_going_on)
            if not line:
                raise NoScratchServer(f"el servidor de prueba no se pudo preparar: {_said(process, complaints)}")
            yield line
        finally:
            process.stdin.close()
            process.wait()
            process.stdout.close()
        if process.returncode != 0:
            raise NoScratchServer(f"no se pudo quitar la base de datos de prueba: {_said(process, complaints)}")


def _said(process: subprocess.Popen[bytes], complaints: BinaryIO) -> str:
    process.wait()
    return one_line(complaints_in(complaints).strip()[-COMPLAINT_LETTERS:])


def _first_line(process: subprocess.Popen[bytes], require_going_on: Callable[[], None]) -> str:
    assert process.stdout is not None  # noqa: S101 for the type checker
    end = time.monotonic() + LONGEST_SECONDS
    while not select.select([process.stdout], [], [], LOOK_SECONDS)[0]:
        require_going_on()
        if time.monotonic() > end:
            raise NoScratchServer("el servidor de prueba no empieza; mire el espacio y la carga de la máquina")
    return process.stdout.readline().decode("utf-8", "surrogateescape").rstrip("\n")
