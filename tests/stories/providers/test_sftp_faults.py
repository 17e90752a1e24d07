"""An SFTP server or the line to it goes wrong in a tick: nothing is lost, nothing wrong is committed, nothing stays."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.destinations import Destination, sftp_destination
from tests.faults import sftp_liar as liar
from tests.faults.sftp_liar import Fault, LyingSftpServer
from tests.faults.sftp_line import Direction, FaultyLine, LineFault, Trouble, unroutable_port
from tests.servers.sftp.asyncssh_server import AsyncSsh
from tests.stories.installation import Installation, Run
from tests.stories.programs import lose_patience_soon
from tests.stories.trees import Snapshot, require_stored, snapshot

NOTHING_UNFINISHED = {"attempts": 0, "leases": 0, "removals": 0}

MOST_CONNECTIONS = 150
"""How often a run may try a server that resets every connection: tries have growing pauses between them."""

UNFINISHED_FILE = rb"/ejecuciones/.*\.janitor-.*\.part$"
MANIFEST = rb"manifest\.json$"

PERSON_WANTED = ("permiso denegado", "credenciales", "clave de host", "no existe el directorio", "espacio")
"""What the reasons say that only a person can mend: then the exit code is 1, though the alternate took everything."""


def flip_a_bit(content: bytes) -> bytes:
    return bytes([content[0] ^ 4]) + content[1:]


@dataclass
class Scene:
    """An installation whose primary is the server that lies, its alternate a directory, and an execution to migrate."""

    installation: Installation
    server: LyingSftpServer
    primary: Destination
    nas: Destination
    primary_id: int
    alternate_id: int
    directory: Path
    before: Snapshot

    def through(self, port: int) -> None:
        """Have the primary's row name another port."""
        self.installation.execute(
            "UPDATE cloud_providers SET credenciales = jsonb_set(credenciales, '{port}', to_jsonb(%s)) WHERE id = %s",
            (port, self.primary_id),
        )

    def tick(self, *faults: Fault) -> Run:
        """One tick while these things go wrong, which shows nobody a secret."""
        with self.server.going_wrong(*faults):
            run = self.installation.run(JANITOR_TRANSFERS="1")
        told = run.output + run.errors + self.installation.log_file.read_text()
        rows = json.dumps(self.installation.rows("SELECT error FROM janitor_attempts"))
        for secret in self.primary.secrets:
            assert secret not in told
            assert secret not in rows
        assert "Traceback" not in told
        return run

    def require_gone_to_the_alternate(self, run: Run, reason: str) -> None:
        """One line names the primary and says why; the copy on the alternate is whole."""
        assert run.exit_code == (1 if run.needs_a_person else 0), str(run)
        assert run.needs_a_person == any(part in reason for part in PERSON_WANTED), str(run)
        (line,) = [line for line in run.messages("ERROR") if line.startswith("Error subiendo uno a La lejana: ")]
        assert reason in line
        assert run.said("INFO", "Intentando migrar al proveedor alternativo: El NAS")
        assert self.installation.place("uno") == (True, "cloud://local/ejecuciones/uno", self.alternate_id)
        require_stored(self.nas, "ejecuciones/uno", self.directory)

    def require_nothing_left_after_another_tick(self) -> None:
        """With nothing going wrong any more."""
        self.through(self.server.port)
        run = self.tick()
        assert run.exit_code == 0, str(run)
        assert self.installation.unfinished() == NOTHING_UNFINISHED
        assert self.primary.everything_stored() == set()

    def require_migrated_to_the_primary(self, run: Run) -> None:
        """Exit code 0, a whole copy and nothing beside it, and nothing left to do."""
        assert run.exit_code == 0, str(run)
        assert self.installation.place("uno") == (True, "cloud://sftp/ejecuciones/uno", self.primary_id)
        require_stored(self.primary, "ejecuciones/uno", self.directory)
        stored = {name for name in self.primary.everything_stored() if ".janitor-" in name or name.endswith("/")}
        assert stored == set()
        assert self.installation.unfinished() == NOTHING_UNFINISHED


@pytest.fixture
def scene(installation: Installation, lying_sftp_server: LyingSftpServer, nas: Destination) -> Iterator[Scene]:
    """Everything well so far."""
    lose_patience_soon(installation)
    primary = sftp_destination("sftp-liar", lying_sftp_server)
    primary_id = installation.add_provider(primary, "La lejana")
    alternate_id = installation.add_provider(nas, "El NAS")
    installation.configure(primary_id, alternate_id)
    directory = installation.small_execution("uno", a="a" * 300, b="b" * 200, c="c" * 100)
    yield Scene(installation, lying_sftp_server, primary, nas, primary_id, alternate_id, directory, snapshot(directory))
    lying_sftp_server.accepts_logins, lying_sftp_server.commands = True, None


REFUSALS: list[tuple[str, Sequence[Fault], str]] = [
    (
        "the disk fills up",
        [Fault("WRITE", liar.refuse(liar.FAILURE, "No space left on device"), calls=range(3, 99))],
        "no queda espacio",
    ),
    (
        "the account may not write any more",
        [Fault("OPEN", liar.refuse(liar.PERMISSION_DENIED), UNFINISHED_FILE, range(4, 99))],
        "permiso denegado",
    ),
    ("nothing is stored", [Fault("RENAME", liar.pretend)], "no están o difieren"),
]


@pytest.mark.parametrize(("faults", "reason"), [pytest.param(list(f), r, id=name) for name, f, r in REFUSALS])
def test_a_server_that_keeps_failing_is_given_up_for_the_alternate(
    scene: Scene, faults: list[Fault], reason: str
) -> None:
    fresh = [Fault(fault.kind, fault.effect, fault.path, fault.calls) for fault in faults]
    scene.require_gone_to_the_alternate(scene.tick(*fresh), reason)
    scene.require_nothing_left_after_another_tick()


def test_what_has_a_damaged_manifest_is_left_for_a_person(scene: Scene) -> None:
    """Every write has another bit, the manifest's, too: it may be of a whole copy, and of anybody's."""
    scene.require_gone_to_the_alternate(
        scene.tick(Fault("WRITE", liar.write_otherwise(flip_a_bit))), "difieren de lo enviado"
    )
    left = scene.primary.everything_stored()
    scene.through(scene.server.port)
    run = scene.tick()
    assert run.exit_code == 0, str(run)
    (line,) = [line for line in run.messages("WARNING") if line.startswith("Quedan restos de la ejecución uno en La")]
    assert "el manifiesto que hay allí no se puede leer" in line
    assert scene.primary.everything_stored() == left != set()


def test_without_an_alternate_the_local_directory_is_kept(scene: Scene) -> None:
    scene.installation.configure(scene.primary_id, eliminar_despues_de_migrar=True)
    run = scene.tick(Fault("WRITE", liar.write_otherwise(flip_a_bit)))
    assert run.exit_code == 1, str(run)
    (line,) = [line for line in run.messages("ERROR") if line.startswith("No se pudo migrar la ejecución uno")]
    assert "difieren de lo enviado" in line
    assert scene.installation.place("uno") == (False, None, None)
    assert snapshot(scene.directory) == scene.before
    run = scene.tick()
    assert run.exit_code == 0, str(run)
    assert not scene.directory.exists()
    assert scene.installation.unfinished() == NOTHING_UNFINISHED
    assert len(scene.primary.everything_stored()) == 4


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault("RENAME", liar.lose_answer, MANIFEST, (1,)), id="the manifest's answer is lost"),
        pytest.param(Fault("RENAME", liar.cut, MANIFEST, (1,)), id="the manifest gets no name"),
        pytest.param(Fault("WRITE", liar.write_otherwise(flip_a_bit), calls=(2,)), id="one write has another bit"),
    ],
)
def test_what_goes_wrong_once_is_repaired_in_the_same_tick(scene: Scene, fault: Fault) -> None:
    run = scene.tick(Fault(fault.kind, fault.effect, fault.path, fault.calls))
    scene.require_migrated_to_the_primary(run)
    assert not run.messages("ERROR")


def test_a_password_that_is_changed_in_the_middle_is_reported(scene: Scene) -> None:
    def lock_out(request: liar.Request) -> None:
        scene.server.accepts_logins = False
        request.cut()

    run = scene.tick(Fault("RENAME", lock_out, calls=(2,)))
    scene.require_gone_to_the_alternate(run, "no acepta las credenciales")
    scene.server.accepts_logins = True
    scene.require_nothing_left_after_another_tick()


def test_a_host_key_that_changes_in_the_middle_is_reported(scene: Scene, asyncssh_server: AsyncSsh) -> None:
    with FaultyLine(scene.server.port) as line:
        scene.through(line.port)

        def lead_elsewhere(request: liar.Request) -> None:
            line.target_port = asyncssh_server.port
            request.cut()

        run = scene.tick(Fault("RENAME", lead_elsewhere, calls=(2,)))
        assert line.connections > 1
    scene.require_gone_to_the_alternate(run, "clave de host cambiada")
    scene.require_nothing_left_after_another_tick()


def test_a_base_directory_that_vanishes_in_the_middle_is_never_created_again(scene: Scene) -> None:
    def remove_all(request: liar.Request) -> None:
        shutil.rmtree(scene.primary.directory)
        request.forward()

    run = scene.tick(Fault("OPEN", remove_all, UNFINISHED_FILE, (3,)))
    scene.require_gone_to_the_alternate(run, "no existe el directorio")
    assert not scene.primary.directory.exists()
    scene.primary.directory.mkdir()
    scene.require_nothing_left_after_another_tick()


def test_a_line_that_is_reset_again_and_again_is_given_up(scene: Scene) -> None:
    """Every connection, as soon as it begins to be used."""
    with FaultyLine(scene.server.port, LineFault(Trouble.RESET, Direction.UP, 3200)) as line:
        scene.through(line.port)
        run = scene.tick()
        assert 1 < line.struck <= MOST_CONNECTIONS
    scene.require_gone_to_the_alternate(run, "conexión")
    scene.require_nothing_left_after_another_tick()


def test_a_line_that_falls_silent_after_the_greeting_is_given_up(scene: Scene) -> None:
    with FaultyLine(scene.server.port, LineFault(Trouble.SILENCE, Direction.DOWN, 40)) as line:
        scene.through(line.port)
        run = scene.tick()
        assert line.struck
        assert line.connections == 1
    scene.require_gone_to_the_alternate(run, "no completó la conexión SSH")


def test_a_host_that_no_packet_reaches_is_given_up(scene: Scene) -> None:
    with unroutable_port() as port:
        scene.through(port)
        run = scene.tick()
    scene.require_gone_to_the_alternate(run, "no responde")


def test_commands_with_false_answers_prove_nothing(scene: Scene) -> None:
    """`sha256sum` says what was sent, of a disk that holds something else, but not in its own words."""

    async def lie(command: str, standard_input: bytes) -> tuple[bytes, int]:
        output, exit_status = await liar.run_command(command, standard_input)
        return output.upper(), exit_status

    scene.server.commands = lie
    before = scene.server.commands_run
    run = scene.tick(Fault("WRITE", liar.write_otherwise(flip_a_bit), calls=(2,)))
    assert scene.server.commands_run > before
    scene.require_migrated_to_the_primary(run)
    assert scene.installation.migration("uno")["evidence"] == "read-back"
