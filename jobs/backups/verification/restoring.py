"""Restores backups by `psql`: a file as anybody can, `gunzip -c FILE | psql`, or a whole chain in one transaction."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from config.logs import one_line
from config.text.wording import reason_of
from jobs.backups.errors import EndUnknown, NoFittingProgram, NoScratchServer, RestoreFailed, require_no_interruption
from jobs.backups.files.compression import NoteBytes, inflated
from jobs.backups.reading.dump import environment
from jobs.backups.reading.programs import Programs, complaints_in, file_for_complaints
from jobs.backups.templates import render
from jobs.backups.verification.restricted import Restraint, restraint_by
from sql.snapshots import program_address, user_of_address

LOOK_SECONDS = 0.25
SECONDS_TO_CANCEL = 2.0
LOST_CONNECTION = 2
"""How `psql` ends when the server has gone: that says nothing of what was being restored."""

FULL_DISK_OF_SERVER = "No space left on device"
WHAT_TO_DO = (
    (
        r'must be (?:able to SET ROLE|member of role) "(?P<role>.+?)"',
        (
            'la copia tiene objetos de ese usuario: ejecute como superusuario GRANT "{role}" TO {user}, '
            "o restaure como superusuario"
        ),
    ),
    (
        r'role "(?P<role>.+?)" does not exist',
        'la copia tiene objetos de ese usuario: ejecute en ese servidor CREATE ROLE "{role}", y repita',
    ),
    (
        r"permission denied for (?P<kind>schema|database|tablespace) (?P<name>.+?)(?: at character| ·|$)",
        (
            "a {owner}, de quien la copia tiene objetos, le falta ese permiso: ejecute en esa base de datos, como "
            'superusuario o como su dueño, GRANT CREATE ON {kind} "{name}" TO {owner}, y repita'
        ),
    ),
    (
        r"must be owner of (?P<what>.+?)(?: at character| ·|$)",
        (
            "eso solo lo puede su dueño: restaure como superusuario o como el dueño de la base de datos "
            "(ALTER DATABASE … OWNER TO {user})"
        ),
    ),
    (
        r"in a read-only transaction|during recovery",
        "ese servidor, o esa base de datos, solo admite lecturas, como una réplica: restaure en el primario o en otra",
    ),
    (
        r'(?P<role>".+?") already exists',
        (
            "en la base de datos ya hay {role}, y la copia también lo tiene: con --force o sin él solo se puede "
            "restaurar donde nada se llame igual; cree otra con createdb"
        ),
    ),
)
"""What an operator can do when the server refuses. PostgreSQL 15 and older ask for membership instead."""

WHAT_THE_SERVER_LACKS = (
    (
        r'ERROR: [^·]+ · DETAIL: Tablespace "(?P<name>.+?)" does not exist',
        'créelo en ese servidor: CREATE TABLESPACE "{name}" LOCATION …',
    ),
    (r'ERROR: extension "(?P<name>.+?)" is not available', "instale en ese servidor el paquete de la extensión {name}"),
    (
        r'ERROR: could not access file "(?P<name>.+?)"',
        "instale en ese servidor el paquete que trae la biblioteca {name}",
    ),
    (
        r"ERROR: (?:compression method \w+ not supported|could not create locale|[^·]+ not supported in this build)",
        "use un servidor que lo tenga, como el original (backup verify --server URL, o restore --to URL)",
    ),
)
"""What says nothing against what was being restored; what follows an error may quote rows."""

STATEMENT = "STATEMENT:"
"""How `psql` begins to repeat the statement that failed. It follows the error, and may have many lines."""

NEW_OWNER = re.compile(r'OWNER TO (?P<role>"(?:[^"]|"")+"|\w+)')

REFUSED_COMMANDS = ("backslash commands are restricted", "\\unrestrict: wrong key")


def restore(
    programs: Programs, database_url: str, backup: Path, interruption: threading.Event, note: NoteBytes
) -> None:
    """Load one file into a database; `note` is given each number of bytes that was read of the file.

    Raises `RestoreFailed`, `NoScratchServer`, `NoFittingProgram`, `DamagedBackup`, `BackupInterrupted` and `OSError`;
    the database holds a part of a full backup then, and nothing of a differential.
    """
    restraint = restraint_by(programs)

    def blocks() -> Iterator[bytes]:
        yield restraint.beginning()
        yield from restraint.text_of(_blocks_of(backup, note))

    _run_psql(programs, database_url, blocks(), backup.name, interruption)


def restore_at_once(
    programs: Programs,
    restraint: Restraint,
    database_url: str,
    backups: Sequence[Path],
    interruption: threading.Event,
    note: NoteBytes,
) -> None:
    """Load a full backup, and perhaps a differential, in one transaction.

    Raises as `restore` does; the database is what it was before then, also if this process is killed. After
    `EndUnknown` and `BackupInterrupted` it may hold everything instead, as the COMMIT may have been under way.
    """

    def blocks() -> Iterator[bytes]:
        yield restraint.beginning()
        yield render("restore_begin")
        for backup in backups:
            yield render("restore_next")
            yield from restraint.text_of(_blocks_of(backup, note))
        yield from restraint.text_of([render("restore_end")])

    names = " y ".join(backup.name for backup in backups)
    _run_psql(programs, database_url, blocks(), names, interruption)


def _blocks_of(backup: Path, note: NoteBytes) -> Iterator[bytes]:
    return inflated(backup, 0, backup.stat().st_size, note)


def _run_psql(
    programs: Programs, database_url: str, blocks: Iterable[bytes], what: str, interruption: threading.Event
) -> None:
    address = program_address(database_url)
    options = ("--no-psqlrc", "--quiet", "--no-password", "--set=ON_ERROR_STOP=1", "--set=ECHO=errors")
    command = [programs.psql, *options, f"--dbname={address.parameters}"]
    with file_for_complaints() as complaints:
        try:
            process = subprocess.Popen(  # noqa: S603 a program of PostgreSQL
                command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=complaints, env=environment(address)
            )
        except OSError as error:
            raise NoFittingProgram(f"no se puede ejecutar {programs.psql}: {reason_of(error)}") from error
        try:
            with _stopped_on(interruption, process):
                _feed(process, blocks, interruption)
                code = process.wait()
        except BaseException:
            _stop(process)
            raise
        complaint, _, statement = complaints_in(complaints).partition(STATEMENT)
        said = [" ".join(line.split()) for line in complaint.splitlines() if line.strip()]
    if code != 0:
        require_no_interruption(interruption)
        user = user_of_address(database_url)
        new_owner = NEW_OWNER.search(statement)
        owner = user if new_owner is None else new_owner["role"]
        text = f"psql terminó con {code} al restaurar {what}: {one_line(' · '.join(said[-3:]))}"
        _raise_failure(code, user, owner, text)


def _raise_failure(code: int, user: str, owner: str, text: str) -> None:
    """Raise the error that the end of `psql` means; `owner` is the role that was to own what could not be made."""
    if any(refused in text for refused in REFUSED_COMMANDS):
        raise RestoreFailed(
            f"{text}: tiene órdenes de psql que podrían ejecutar programas, y ninguna copia hecha aquí las tiene; "
            "alguien la cambió: no la use y averigüe quién escribe donde se guarda"
        )
    if code == LOST_CONNECTION:
        raise EndUnknown(f"{text}: se perdió la conexión con el servidor; mire su registro")
    if code < 0:
        raise EndUnknown(f"{text}: lo mató una señal; mire si falta memoria (dmesg)")
    if FULL_DISK_OF_SERVER in text:
        raise NoScratchServer(f"{text}: el servidor no tiene sitio; libérelo o use otro")
    for pattern, advice in WHAT_THE_SERVER_LACKS:
        if (lack := re.search(pattern, text)) is not None:
            raise NoScratchServer(f"{text}: {advice.format(**lack.groupdict())}")
    if "max_locks_per_transaction" in text:
        raise RestoreFailed(f"{text}: súbalo en ese servidor, o restaure a mano con gunzip y psql")
    for pattern, advice in WHAT_TO_DO:
        if (refusal := re.search(pattern, text)) is not None:
            raise RestoreFailed(f"{text}: {advice.format(**refusal.groupdict(), user=user, owner=owner)}")
    raise RestoreFailed(text)


def _feed(process: subprocess.Popen[bytes], blocks: Iterable[bytes], interruption: threading.Event) -> None:
    assert process.stdin is not None  # noqa: S101 for the type checker
    with contextlib.suppress(BrokenPipeError):  # it ended, and says why
        for block in blocks:
            require_no_interruption(interruption)
            process.stdin.write(block)
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()


@contextlib.contextmanager
def _stopped_on(interruption: threading.Event, process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Within, end `psql` on a request to stop: while it makes an index, it reads nothing for a long time."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(LOOK_SECONDS):
            if interruption.is_set():
                _stop(process)
                return

    watcher = threading.Thread(target=watch, name="psql", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Let `psql` cancel the statement in the server, which would go on without it; then end it."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(SECONDS_TO_CANCEL)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
