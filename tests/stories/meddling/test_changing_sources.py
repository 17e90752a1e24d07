"""Executions that are not as finished as the platform says: what operators read of them, and that nothing is lost."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.destinations import Destination
from tests.processes import wait_until
from tests.stories.doors import Door
from tests.stories.installation import Installation
from tests.stories.trees import snapshot

OPEN_FOR_WRITING = """
import sys
file = open(sys.argv[1], "ab")
print(flush=True)
sys.stdin.read()
"""

STORING_THROUGH_A_MAPPING = """
import mmap, sys
file = open(sys.argv[1], "r+b")
mapping = mmap.mmap(file.fileno(), 0)
mapping[0:1] = b"1"
print(flush=True)
sys.stdin.readline()
mapping[0:1] = b"2"
print(flush=True)
sys.stdin.read()
"""

WRITING_WITHOUT_END = """
import itertools, os, sys, time
file = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)
os.set_blocking(0, False)
for number in itertools.count():
    os.write(file, b"%d\\n" % number)
    if number == 0:
        print(flush=True)
    try:
        if sys.stdin.buffer.raw.read(1) == b"":
            break
    except BlockingIOError:
        pass
    time.sleep(0.002)
"""


@contextlib.contextmanager
def program(text: str, file: Path) -> Iterator[subprocess.Popen[str]]:
    """Another program, which has a file open; it has begun, and ends with the context."""
    command = [sys.executable, "-c", text, str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "\n"
        yield process
        assert process.stdin
        process.stdin.close()
        assert process.wait(30) == 0


def test_what_a_program_has_open_for_writing_is_migrated_and_deleted_once_it_is_closed(
    installation: Installation, nas: Destination
) -> None:
    installation.configure(installation.add_provider(nas), eliminar_despues_de_migrar=True)
    directory = installation.small_execution("uno")
    other = installation.small_execution("dos")
    before = snapshot(directory)
    with program(OPEN_FOR_WRITING, directory / "tabla.txt"):
        for _ in range(2):
            run = installation.run()
            assert run.exit_code == 1, str(run)
            assert run.messages("ERROR") == [
                "No se borró la copia local de la ejecución uno: otro programa tiene abierto para escribir tabla.txt"
            ]
            assert installation.place("uno")[0] is True
            assert snapshot(directory) == before
            assert not other.exists()
        assert "Copias locales por borrar: 1" in installation.run("status").output
    run = installation.run()
    assert run.exit_code == 0, str(run)
    assert not directory.exists()


def test_what_is_stored_through_a_mapping_after_the_upload_is_not_deleted(
    installation: Installation, new_destination: Callable[[str], Destination]
) -> None:
    """It changes no time of the file, unless the file was written to the disk just before."""
    real = new_destination("s3-rclone")
    directory = installation.small_execution("uno")
    file = directory / "tabla.txt"
    port = int(str(real.options["endpoint_url"]).rpartition(":")[2])
    with program(STORING_THROUGH_A_MAPPING, file) as writer, Door(port, hold=rb"PUT /[^ ]*\.manifest\.json") as door:
        installation.configure(
            installation.add_provider(real.with_options(endpoint_url=door.url)), eliminar_despues_de_migrar=True
        )
        with installation.start() as command:
            wait_until(door.met.is_set, 30)
            assert writer.stdin
            assert writer.stdout
            print(file=writer.stdin, flush=True)
            assert writer.stdout.readline() == "\n"
            door.open()
            run = command.finish()
        assert run.exit_code == 1, str(run)
        assert file.read_text()[0] == "2"
        writer.stdin.close()
        writer.wait(30)
        run = installation.run()
        assert run.exit_code == 1, str(run)
        assert run.messages("ERROR") == [
            "No se borró la copia local de la ejecución uno: tabla.txt difiere de la copia de la nube"
        ]
        assert file.read_text()[0] == "2"


def test_of_a_log_that_keeps_growing_no_line_is_lost(installation: Installation, nas: Destination) -> None:
    installation.configure(installation.add_provider(nas), eliminar_despues_de_migrar=True)
    directory = installation.small_execution("uno", registro="")
    other = installation.small_execution("dos")
    log = directory / "registro.txt"
    with program(WRITING_WITHOUT_END, log):
        run = installation.run()
        assert run.exit_code == 1, str(run)
        assert not other.exists()
        assert log.exists()
    written = log.read_text()
    assert written.splitlines() == [str(number) for number in range(len(written.splitlines()))]
    run = installation.run()
    restored = installation.directory / "restaurada"
    assert installation.run("restore", "uno", str(restored)).exit_code == 0
    if run.exit_code == 0:
        assert not log.exists()
        assert (restored / "registro.txt").read_text() == written
    else:  # the writer held still while it was sent: then the copy is older, and the local one stays
        assert log.read_text() == written
        assert written.startswith((restored / "registro.txt").read_text())


def test_an_execution_that_is_rewritten_while_it_is_sent_is_migrated_as_it_is_then(
    installation: Installation, new_destination: Callable[[str], Destination]
) -> None:
    real = new_destination("s3-rclone")
    directory = installation.small_execution("uno", tabla="la primera vez\n")
    old = installation.directory / "la de antes"
    port = int(str(real.options["endpoint_url"]).rpartition(":")[2])
    with Door(port, hold=rb"PUT /[^ ]*/uno/tabla") as door:
        provider = installation.add_provider(real.with_options(endpoint_url=door.url))
        installation.configure(provider, eliminar_despues_de_migrar=True)
        with installation.start() as command:
            wait_until(door.met.is_set, 30)
            directory.rename(old)
            directory.mkdir()
            (directory / "tabla.txt").write_text("otra vez\n")
            door.open()
            run = command.finish()
        assert run.exit_code == 1, str(run)
        reason = f"{directory} fue sustituido por otro directorio"
        assert run.said("ERROR", f"No se pudo migrar la ejecución uno: {reason}")
        assert installation.place("uno") == (False, None, None)
        assert installation.migration("uno")["error"] == reason
        run = installation.run()
        assert run.exit_code == 0, str(run)
        restored = installation.directory / "restaurada"
        assert installation.run("restore", "uno", str(restored)).exit_code == 0
    assert (restored / "tabla.txt").read_text() == "otra vez\n"
    assert not directory.exists()
    assert (old / "tabla.txt").read_text() == "la primera vez\n"
