"""Several hosts on one database, of which one is stopped for longer than its lease, and woken.

In each story the host "norte" is held at a certain request or statement and stopped (SIGSTOP); its lease expires;
"sur" takes over, migrates and deletes; "norte" is woken, and what it had sent by then still arrives. Whatever it does
next, the copy that "sur" committed must stay as it is, and so must the rows.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.destinations import Destination
from tests.processes import wait_until
from tests.servers.postgres.postgres_proxy import Accident, PostgresProxy
from tests.stories.doors import NOTHING, Door
from tests.stories.installation import Installation, Run, RunningCommand
from tests.stories.programs import use_program_with
from tests.stories.trees import copy_tree, make_usual_tree, require_stored, snapshot

NEVER_AGAIN = {"attempts": 0, "leases": 0, "removals": 0}
FRESH_SECONDS = 0.5
"""How old the answer that the claim still holds may be: see `storage.lease`. Nobody is stopped for so short a
time."""

FIRST_LOOK = rb"GET /[^ ]*list-type=2"
A_FILE = rb"PUT /[^ ]*tabla\.csv"
THE_MANIFEST = rb"PUT /[^ ]*\.manifest\.json"
THE_MANIFEST_IS_SOUGHT = rb"HEAD /[^ ]*\.manifest\.json"
COMMIT = b"The one moment in which"
BEFORE_A_REMOVAL = b"Asked and written at once"
END_OF_REMOVAL = b"SET local_copy = 'deleted'"
NO_STATEMENT = b"no statement holds this"


class TwoHosts:
    """An installation that two hosts share, with all its directories and one execution on an S3 server."""

    def __init__(self, installation: Installation, real: Destination) -> None:
        self.installation = installation
        self.real = real
        self.provider = installation.add_provider(real)
        installation.configure(self.provider, eliminar_despues_de_migrar=True)
        self.directory = installation.new_directory("uno")
        make_usual_tree(self.directory)
        installation.add_execution("uno", self.directory)
        self.original = copy_tree(self.directory, installation.directory / "original")

    def start(self, host: str, **variables: str) -> RunningCommand:
        """Start a tick on a host."""
        own = self.installation.directory / f"bloqueos-{host}"
        own.mkdir(exist_ok=True)
        fixed = {"JANITOR_HOST": host, "JANITOR_LOCK_DIR": str(own), "JANITOR_LOG_DIR": str(own)}
        return self.installation.start(**{**fixed, **variables})

    def run(self, host: str) -> Run:
        """Run a tick on a host to its end."""
        with self.start(host) as command:
            return command.finish()

    def lead_through(self, url: object) -> None:
        """Have runs that begin from now on find the S3 server at this address."""
        self.installation.execute(
            "UPDATE cloud_providers SET configuracion = jsonb_set(configuracion, '{endpoint_url}', to_jsonb(%s::text))",
            (str(url),),
        )

    def expire_lease(self) -> None:
        """Let the time of a lease be over."""
        self.installation.execute("UPDATE janitor_migrations SET lease_expires_at = now() - interval '1 second'")

    def stored(self) -> dict[str, str]:
        """What lies on the server: every object's hash."""
        lines = self.real.rclone("hashsum", "sha256", "--download", self.real.rclone_remote()).splitlines()
        return {line[66:]: line[:64] for line in lines}

    def require_restorable(self, tree: Path) -> None:
        """The committed copy is that tree, and its manifest the one that the database knows: so a restore takes it."""
        require_stored(self.real, "ejecuciones/uno", tree)
        migration = self.installation.migration("uno")
        assert self.stored()["ejecuciones/uno.manifest.json"] == migration["manifest_sha256"]

    def require_left_in_order(self) -> None:
        """What "norte" left is nothing that another tick would not clear away; and then nothing is left."""
        run = self.run("norte")
        assert run.exit_code == 0, str(run)
        assert self.installation.unfinished() == NEVER_AGAIN
        assert not [key for key in self.real.everything_stored() if "unfinished" in key]


@pytest.fixture
def hosts(installation: Installation, new_destination: Callable[[str], Destination]) -> TwoHosts:
    """Two hosts and a server."""
    return TwoHosts(installation, new_destination("s3-rclone"))


@contextlib.contextmanager
def _asleep(hosts: TwoHosts, request: bytes = NOTHING, statement: bytes = NO_STATEMENT) -> Iterator[RunningCommand]:
    """The run of "norte", stopped while a request or a statement of its own is on the way, its lease over.

    In the end it is woken, and what was on the way arrives.
    """
    with _stopped(hosts, request, statement) as command:
        hosts.expire_lease()
        yield command


@contextlib.contextmanager
def _stopped(hosts: TwoHosts, request: bytes = NOTHING, statement: bytes = NO_STATEMENT) -> Iterator[RunningCommand]:
    """The same, its lease as long as it is."""
    endpoint = str(hosts.real.options["endpoint_url"])
    with (
        Door(int(endpoint.rpartition(":")[2]), hold=request) as door,
        PostgresProxy(hosts.installation.database_url, statement, Accident.HELD) as proxy,
    ):
        hosts.lead_through(door.url)
        with hosts.start("norte", DATABASE_URL=proxy.url) as command:
            wait_until(lambda: door.met.is_set() or proxy.met.is_set() or command.process.poll() is not None, 30)
            assert door.met.is_set() or proxy.met.is_set(), command.errors()
            command.process.send_signal(signal.SIGSTOP)
            asleep_since = time.monotonic()
            hosts.lead_through(endpoint)
            yield command
            while time.monotonic() < asleep_since + FRESH_SECONDS:
                time.sleep(0.05)
            command.process.send_signal(signal.SIGCONT)
            door.open()
            proxy.release()
            command.finish()


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param({"request": FIRST_LOOK}, id="first look"),
        pytest.param({"request": A_FILE}, id="file"),
        pytest.param({"request": THE_MANIFEST}, id="manifest"),
        pytest.param({"request": THE_MANIFEST_IS_SOUGHT}, id="proof"),
        pytest.param({"statement": COMMIT}, id="commit"),
    ],
)
def test_a_host_that_slept_past_its_lease_changes_nothing_of_what_another_one_did(
    hosts: TwoHosts, moment: dict[str, bytes]
) -> None:
    with _asleep(hosts, **moment) as command:
        run = hosts.run("sur")
        assert run.exit_code == 0, str(run)
        assert hosts.installation.place("uno")[0] is True
        assert not hosts.directory.exists()
        stored = hosts.stored()
        migration = hosts.installation.migration("uno")
        attempts = hosts.installation.attempts("uno")
    run = command.finish()
    assert run.exit_code == 1, str(run)
    assert len([line for line in run.messages("ERROR") if line.startswith("No se pudo migrar la ejecución uno")]) == 1
    assert "Traceback" not in run.errors
    assert hosts.stored() == stored
    assert hosts.installation.migration("uno") == migration
    assert sorted(hosts.installation.attempts("uno")) == sorted(attempts)
    hosts.require_restorable(hosts.original)
    hosts.require_left_in_order()


def test_a_file_that_arrives_late_replaces_none_that_was_written_again(
    installation: Installation, new_destination: Callable[[str], Destination]
) -> None:
    """Both have looked, and found nothing there; on a server that keeps conditions.

    Looked for besides: every way in which a provider sends a file, in `tests/storage/test_late_requests.py`.
    """
    hosts = TwoHosts(installation, new_destination("s3-moto"))
    with _asleep(hosts, A_FILE) as command:
        (hosts.directory / "resultados" / "tabla.csv").write_text("fecha,importe\n" + "2026-02-28,6543.21\n" * 500)
        original = copy_tree(hosts.directory, installation.directory / "original nuevo")
        run = hosts.run("sur")
        assert run.exit_code == 0, str(run)
        assert not hosts.directory.exists()
        hosts.require_restorable(original)
        stored = hosts.stored()
    assert command.finish().exit_code == 1
    assert hosts.stored() == stored
    hosts.require_restorable(original)


def test_after_that_the_execution_can_be_restored(hosts: TwoHosts) -> None:
    """Where the local copy was kept, too, and by the program itself."""
    hosts.installation.configure(hosts.provider, eliminar_despues_de_migrar=False)
    with _asleep(hosts, THE_MANIFEST):
        assert hosts.run("sur").exit_code == 0
        before = snapshot(hosts.directory)
    assert snapshot(hosts.directory) == before
    restored = hosts.installation.directory / "restaurada"
    run = hosts.installation.run("restore", "uno", str(restored))
    assert run.exit_code == 0, str(run)
    assert snapshot(restored) == snapshot(hosts.original)
    assert hosts.installation.migration("uno")["local_copy"] == "kept"


def _fail_after_the_manifest(hosts: TwoHosts) -> None:
    """An attempt that is not committed, though all of it is stored: then all that is there is our own.

    It sends one file at a time: rclone's server answers 500 if two requests make a directory at once. That is as good
    as no answer, and closes the place for changed files.
    """
    with (
        PostgresProxy(hosts.installation.database_url, COMMIT, Accident.HELD) as proxy,
        hosts.start("norte", DATABASE_URL=proxy.url, JANITOR_TRANSFERS="1") as command,
    ):
        wait_until(proxy.met.is_set, 30)
        command.stop(signal.SIGKILL)
    hosts.expire_lease()
    assert "ejecuciones/uno.manifest.json" in hosts.real.everything_stored()


@pytest.mark.parametrize(
    ("earlier_attempt", "moment"),
    [
        pytest.param(True, FIRST_LOOK, id="first look"),
        pytest.param(True, THE_MANIFEST_IS_SOUGHT, id="before the manifest is removed"),
        pytest.param(False, THE_MANIFEST_IS_SOUGHT, id="proof"),
    ],
)
def test_a_host_that_slept_changes_nothing_of_a_copy_that_differs_from_its_own(
    hosts: TwoHosts, earlier_attempt: bool, moment: bytes
) -> None:
    """Each host has a state of the execution of its own. After an earlier attempt, what is there counts as our own,
    and its manifest would be removed; and what differs from what was sent would be sent again.
    """
    if earlier_attempt:
        _fail_after_the_manifest(hosts)
    with _asleep(hosts, moment) as command:
        hosts.directory.rename(hosts.installation.directory / "disco del norte")
        other = hosts.installation.new_directory("uno")
        make_usual_tree(other, "del sur")
        (other / "de más.txt").write_text("solo en el sur")
        original = copy_tree(other, hosts.installation.directory / "original del sur")
        run = hosts.run("sur")
        assert run.exit_code == 0, str(run)
        hosts.require_restorable(original)
        stored = hosts.stored()
    run = command.finish()
    assert run.exit_code == 1, str(run)
    assert hosts.stored() == stored
    hosts.require_restorable(original)


def test_a_host_that_slept_before_the_removal_leaves_the_directory_where_the_row_was_taken_back(
    hosts: TwoHosts,
) -> None:
    """Meanwhile the platform took the migration back: the row does not say any more that there is a copy."""
    with PostgresProxy(hosts.installation.database_url, BEFORE_A_REMOVAL, Accident.HELD, times=1000) as proxy:
        hosts.installation.configure(hosts.provider, eliminar_despues_de_migrar=True)
        assert proxy.struck == 0
    hosts.installation.configure(hosts.provider, eliminar_despues_de_migrar=False)
    assert hosts.run("norte").exit_code == 0
    hosts.installation.execute("UPDATE janitor_migrations SET local_copy = 'deleting'")  # as a commit leaves it
    hosts.installation.configure(hosts.provider, eliminar_despues_de_migrar=True, tiempo_retencion_local=1000)
    with _asleep(hosts, statement=BEFORE_A_REMOVAL) as command:
        hosts.installation.execute("UPDATE ejecuciones_yaml SET migrado_a_nube = false, ruta_nube = NULL")
    run = command.finish()
    assert run.exit_code == 1, str(run)
    assert [line for line in run.messages("ERROR") if line.startswith("No se borró la copia local de la ejecución uno")]
    assert snapshot(hosts.directory) == snapshot(hosts.original)
    hosts.installation.configure(hosts.provider, eliminar_despues_de_migrar=True)
    hosts.require_left_in_order()
    hosts.require_restorable(hosts.original)


def test_nobody_takes_over_a_removal_and_the_woken_host_finishes_it(hosts: TwoHosts) -> None:
    with _asleep(hosts, statement=END_OF_REMOVAL) as command:
        assert os.listdir(hosts.installation.executions) == []
        run = hosts.run("sur")
        assert run.exit_code == 0, str(run)
        assert hosts.installation.migration("uno")["local_copy"] == "deleting"
    assert command.finish().exit_code == 0
    assert hosts.installation.migration("uno")["local_copy"] == "deleted"
    hosts.require_restorable(hosts.original)
    hosts.require_left_in_order()


def test_a_host_that_nobody_took_over_from_continues_or_begins_again(hosts: TwoHosts) -> None:
    """Its lease is over, and the next tick finds everything as it should be."""
    with _asleep(hosts, A_FILE) as command:
        pass
    run = command.finish()
    assert run.exit_code in (0, 1), str(run)
    hosts.require_left_in_order()
    assert hosts.installation.place("uno")[0] is True
    hosts.require_restorable(hosts.original)


# Leases that are short, so that they really run out

LEASE = {"config__models__LEASE_SECONDS": 9}
RENEWAL = b"SET lease_expires_at = now() + make_interval"


def test_a_lease_that_runs_out_while_its_holder_is_stopped_is_taken_over(hosts: TwoHosts) -> None:
    """Nobody helps it along: the other host waits until it is over."""
    use_program_with(hosts.installation, **LEASE)
    with _stopped(hosts, THE_MANIFEST) as command:
        assert hosts.run("sur").exit_code == 0
        assert hosts.installation.place("uno")[0] is False  # too early
        wait_until(lambda: not hosts.installation.rows(LEASES_IN_FORCE), 30)
        run = hosts.run("sur")
        assert run.exit_code == 0, str(run)
        assert hosts.installation.place("uno")[0] is True
        stored = hosts.stored()
    assert command.finish().exit_code == 1
    assert hosts.stored() == stored
    hosts.require_restorable(hosts.original)
    hosts.require_left_in_order()


LEASES_IN_FORCE = "SELECT FROM janitor_migrations WHERE lease_expires_at > now()"


def test_renewals_that_fail_for_a_while_are_repeated(hosts: TwoHosts) -> None:
    """The run waits for a provider, and meanwhile the database does not listen for a while."""
    use_program_with(hosts.installation, **LEASE, sql__connection__LOST_FOR_SECONDS=0.5)
    endpoint = str(hosts.real.options["endpoint_url"])
    with (
        Door(int(endpoint.rpartition(":")[2]), hold=A_FILE) as door,
        PostgresProxy(hosts.installation.database_url, RENEWAL, Accident.STATEMENT_LOST, times=5) as proxy,
    ):
        hosts.lead_through(door.url)
        with hosts.start("norte", DATABASE_URL=proxy.url) as command:
            wait_until(door.met.is_set, 30)
            (first,) = hosts.installation.rows("SELECT lease_expires_at AS at FROM janitor_migrations")
            renewed = "SELECT FROM janitor_migrations WHERE lease_expires_at > %s"
            wait_until(lambda: hosts.installation.rows(renewed, (first["at"],)), 30)
            assert proxy.struck == 5
            door.open()
            run = command.finish()
    assert [line for line in run.messages("WARNING") if line.startswith("No se pudo renovar la reserva")]
    assert run.exit_code == 0, str(run)
    assert hosts.installation.place("uno")[0] is True
    assert hosts.installation.migration("uno")["host"] == "norte"
    hosts.require_restorable(hosts.original)


# The clock


CLOCK_IS_WRONG = """
import datetime, os, time
AHEAD_SECONDS = float(os.environ["RELOJ"])
real_time, real_time_ns = time.time, time.time_ns
time.time = lambda: real_time() + AHEAD_SECONDS
time.time_ns = lambda: real_time_ns() + int(AHEAD_SECONDS * 1e9)
class Wrong(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(time.time(), tz)
datetime.datetime = Wrong
"""


@pytest.mark.parametrize("ahead_days", [-400, 400])
def test_a_host_whose_clock_is_wrong_does_the_same(
    installation: Installation, nas: Destination, ahead_days: int
) -> None:
    """Leases and ages are by the database's clock alone. Only jobs that judge files by the host's clock leave them."""
    modules = installation.directory / "modulos"
    modules.mkdir()
    (modules / "sitecustomize.py").write_text(CLOCK_IS_WRONG)
    wrong = {"PYTHONPATH": str(modules), "RELOJ": str(ahead_days * 86400), "JANITOR_HOST": "sin hora"}
    installation.configure(installation.add_provider(nas), tiempo_retencion_local=24, eliminar_despues_de_migrar=True)
    for uuid, age_hours in (("vieja", 25), ("reciente", 23), ("ajena", 50), ("olvidada", 50)):
        installation.small_execution(uuid, age_hours)
    statement = (
        "INSERT INTO janitor_migrations (execution_id, uuid, state, host, run_id, fencing_token, lease_expires_at) "
        "SELECT id, uuid, 'migrating', 'otro', 0, 1, now() + interval %s FROM ejecuciones_yaml WHERE uuid = %s"
    )
    installation.execute(statement, ("10 minutes", "ajena"))
    installation.execute(statement, ("-1 minute", "olvidada"))
    run = installation.run(**wrong)
    year = str(time.gmtime(time.time() + ahead_days * 86400).tm_year)
    assert all(line.startswith(year) for line in run.errors.splitlines()), run.errors  # its clock is wrong indeed
    assert run.exit_code == 1, str(run)
    assert len(run.messages("ERROR")) == 1, str(run)
    assert "reloj" in run.messages("ERROR")[0]
    assert {uuid: installation.place(uuid)[0] for uuid in ("vieja", "reciente", "ajena", "olvidada")} == {
        "vieja": True, "reciente": False, "ajena": False, "olvidada": True,
    }  # fmt: skip
    (row,) = installation.rows(
        "SELECT count(*) AS count FROM janitor_runs WHERE abs(extract(epoch FROM now() - started_at)) < 600"
    )
    assert row["count"] == 1
    content = nas.directory / "ejecuciones" / "vieja.manifest.json"
    assert hashlib.sha256(content.read_bytes()).hexdigest() == installation.migration("vieja")["manifest_sha256"]
