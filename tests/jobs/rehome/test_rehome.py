"""What went to an alternate comes home: copied, proven, switched in one commit, removed there only then.

Where else a committed copy is given up: nowhere but here and where the platform takes a migration back.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest

from config.errors import MigrationError, RunInterrupted
from providers.errors import ProviderUnavailable
from providers.mounts import TRUSTED_NAME
from sql.database import Database
from storage import lease
from tests.faults.faulty_provider import EVERY_CALL, Call, Fault, fail
from tests.jobs.rehome.conftest import Away
from tests.repository import statements_of

PLACE = "ejecuciones/uno"
COPY = {f"{PLACE}/ejecucion.txt", f"{PLACE}/tabla.txt", f"{PLACE}.manifest.json"}


def test_a_copy_is_moved_to_the_primary_and_the_old_one_removed_only_afterwards(away: Away) -> None:
    away.migrate("uno")
    assert away.is_at("uno", away.other_id)
    outcome = away.rehome()
    assert (outcome.counts["rehomed"], outcome.failures) == (1, ())
    assert away.installation.place("uno") == (True, f"cloud://local/{PLACE}", away.home_id)
    assert away.home.everything_stored() == COPY
    assert away.other.everything_stored() == COPY
    away.tick()
    assert away.other.everything_stored() == set()
    assert away.home.everything_stored() == COPY
    away.require_whole("uno")
    assert away.installation.unfinished() == {"attempts": 0, "leases": 0, "removals": 0}
    assert away.rehome().counts == {}


def lose_the_manifest(away: Away) -> None:
    (away.home.directory / f"{PLACE}.manifest.json").unlink()


def lose_everything(away: Away) -> None:
    """An empty directory counts as not mounted unless somebody says that it is the right one."""
    for path in away.home.directory.iterdir():
        shutil.rmtree(path)
    (away.home.directory / TRUSTED_NAME).touch()


def lose_a_file(away: Away) -> None:
    (away.home.directory / PLACE / "tabla.txt").unlink()


def shorten_a_file(away: Away) -> None:
    (away.home.directory / PLACE / "tabla.txt").write_text("x")


def point_home_elsewhere(away: Away) -> None:
    elsewhere = away.installation.directory / "elsewhere"
    elsewhere.mkdir()
    away.installation.execute(
        "UPDATE cloud_providers SET configuracion = jsonb_build_object('ruta', %s::text) WHERE id = %s",
        (str(elsewhere), away.home_id),
    )


@pytest.mark.parametrize(
    "harm", [lose_the_manifest, lose_everything, lose_a_file, shorten_a_file, point_home_elsewhere]
)
def test_the_old_copy_stays_while_the_new_one_is_not_whole(away: Away, harm: Callable[[Away], None]) -> None:
    away.migrate("uno")
    away.rehome()
    harm(away)
    run = away.installation.run("--migrate-only")
    assert any(
        "puede ser lo único que queda, pues la copia que dice su fila" in message for message in run.messages("WARNING")
    ), str(run)
    assert away.other.everything_stored() == COPY


@pytest.mark.parametrize(
    ("home", "other"),
    [("s3-moto", "sftp-openssh"), ("sftp-openssh", "azure"), ("azure", "gcs"), ("gcs", "s3-moto")],
)
def test_it_comes_from_one_kind_of_server_to_another(
    new_away: Callable[[str, str], Away], home: str, other: str
) -> None:
    away = new_away(home, other)
    away.migrate("uno")
    assert away.rehome().counts["rehomed"] == 1
    away.tick()
    assert away.other.everything_stored() == set()
    away.require_whole("uno")


def test_what_is_at_home_already_is_proven_and_nothing_is_sent(away: Away) -> None:
    away.migrate("uno")
    copy_of_copy(away)
    assert away.rehome().counts == {"rehomed": 1, "rehomed_bytes": 0, "found_equal": 1}
    assert [call for call in away.used[away.home_id].calls if call[0] in ("put", "put_new", "replace")] == []
    assert away.is_at("uno", away.home_id)
    away.require_whole("uno")


def copy_of_copy(away: Away) -> None:
    """The same copy at home, by another hand."""
    for name in COPY:
        path = away.home.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((away.other.directory / name).read_bytes())


@pytest.mark.parametrize("other", ['"installation": "another-installation"', '"installation": null'])
def test_an_equal_copy_of_another_installation_is_not_taken_for_ours(away: Away, other: str) -> None:
    """Its owner may remove it, and the next tick would have removed ours."""
    away.migrate("uno")
    copy_of_copy(away)
    manifest = away.home.directory / f"{PLACE}.manifest.json"
    manifest.write_text(re.sub(r'"installation": "[^"]*"', other, manifest.read_text()))
    before = manifest.read_bytes()
    assert away.rehome().counts["rehomed"] == 0
    away.tick()
    assert away.other.everything_stored() == COPY
    assert manifest.read_bytes() == before
    assert away.is_at("uno", away.other_id)


def test_a_damaged_copy_at_home_is_not_believed(away: Away) -> None:
    away.migrate("uno")
    copy_of_copy(away)
    table = away.home.directory / PLACE / "tabla.txt"
    table.write_bytes(b"x" * table.stat().st_size)
    away.rehome()
    assert table.read_text() == "a,b\n1,uno\n" or away.is_at("uno", away.other_id)
    away.require_whole("uno")


def test_two_names_of_one_place_are_one_copy_that_stays(away: Away) -> None:
    """The primary provider leads to the very directory where the copy is: nothing may be written or removed there."""
    away.migrate("uno")
    away.installation.execute(
        "UPDATE cloud_providers SET configuracion = (SELECT configuracion FROM cloud_providers WHERE id = %s) "
        "WHERE id = %s", (away.other_id, away.home_id),
    )  # fmt: skip
    before = (away.other.directory / f"{PLACE}.manifest.json").read_bytes()
    assert away.rehome().counts["found_equal"] == 1
    away.tick()
    assert away.other.everything_stored() == COPY
    assert (away.other.directory / f"{PLACE}.manifest.json").read_bytes() == before
    away.require_whole("uno")


def test_a_damaged_old_copy_stays_where_it_is_and_is_not_passed_on(away: Away) -> None:
    away.migrate("uno", "dos")
    table = away.other.directory / PLACE / "tabla.txt"
    table.write_bytes(b"x" * table.stat().st_size)
    outcome = away.rehome()
    assert outcome.failures == ("1 ejecución no se pudo llevar al proveedor primario",)
    assert (away.is_at("uno", away.other_id), away.is_at("dos", away.home_id)) == (True, True)
    assert f"{PLACE}.manifest.json" not in away.home.everything_stored()
    (row,) = away.installation.rows("SELECT tries, error_code FROM janitor_rehomes WHERE error_code IS NOT NULL")
    assert (row["tries"], row["error_code"]) == (1, "old_copy_damaged")


@pytest.mark.usefixtures("little_patience")
def test_one_that_fails_again_and_again_is_tried_less_and_less_often(away: Away) -> None:
    away.migrate("uno")
    away.faults[away.other_id] = [Fault("open", fail(ProviderUnavailable("no responde")), calls=EVERY_CALL)]
    assert away.rehome().counts["failed"] == 1
    assert away.rehome().counts["failed"] == 1
    assert away.rehome().counts == {}
    (row,) = away.installation.rows("SELECT tries, next_at > now() AS waits FROM janitor_rehomes")
    assert (row["tries"], row["waits"]) == (2, True)
    assert away.installation.unfinished()["leases"] == 0


def test_a_tick_does_not_pass_its_limit(away: Away) -> None:
    away.migrate("uno", "dos", "tres")
    assert away.rehome(max_bytes=1).counts["rehomed"] == 1
    assert away.rehome(max_bytes=1).counts["rehomed"] == 1
    assert away.rehome(max_bytes=1000).counts["rehomed"] == 1


CHANGES = {
    "uno": "UPDATE ejecuciones_yaml SET migrado_a_nube = false WHERE uuid = 'uno'",
    "dos": "UPDATE ejecuciones_yaml SET ruta_nube = 'cloud://local/otra/cosa' WHERE uuid = 'dos'",
    "tres": "UPDATE ejecuciones_yaml SET uuid = 'otro' WHERE uuid = 'tres'",
    "cuatro": "UPDATE ejecuciones_yaml SET nube_provider_id = NULL WHERE uuid = 'cuatro'",
    "cinco": "DELETE FROM ejecuciones_yaml WHERE uuid = 'cinco'",
    "seis": "UPDATE janitor_migrations SET fencing_token = fencing_token + 1 WHERE uuid = 'seis'",
}
"""What others may do to a row while its copy is on its way, by the uuid of the row."""


def test_a_row_that_changed_meanwhile_is_not_switched(away: Away) -> None:
    away.migrate(*CHANGES)

    def interfere(call: Call) -> Any:
        away.installation.execute(CHANGES[call.arguments[0].split("/")[1].removesuffix(".manifest.json")])
        return call.proceed()

    away.faults[away.home_id] = [Fault("put", interfere, key="*.manifest.json", calls=EVERY_CALL)]
    before = away.other.everything_stored()
    outcome = away.rehome()
    assert (outcome.counts["rehomed"], outcome.counts["failed"]) == (0, len(CHANGES))
    rows = away.installation.rows("SELECT nube_provider_id FROM ejecuciones_yaml")
    assert away.home_id not in [row["nube_provider_id"] for row in rows]
    assert away.other.everything_stored() == before


def test_one_that_an_operator_holds_stays_where_it_is(away: Away) -> None:
    away.migrate("uno", "dos")
    away.installation.execute(
        "INSERT INTO janitor_holds (execution_id, uuid, reason, host, os_user) "
        "SELECT id, uuid, 'se mira', 'norte', 'root' FROM ejecuciones_yaml WHERE uuid = 'uno'"
    )
    assert away.rehome().counts["rehomed"] == 1
    assert (away.is_at("uno", away.other_id), away.is_at("dos", away.home_id)) == (True, True)


@dataclass
class Interfering:
    """A database in which something happens right before one statement of the job. `happen` gets its parameters."""

    database: Database
    statement: str
    happen: Callable[[dict[str, Any]], object]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.database, name)

    def job_query(self, folder: str, name: str, parameters: dict[str, Any]) -> Any:
        if name == self.statement:
            self.happen(parameters)
        return self.database.job_query(folder, name, parameters)


HOLD = (
    "INSERT INTO janitor_holds (execution_id, uuid, reason, host, os_user) "
    "SELECT id, uuid, 'se mira', 'norte', 'root' FROM ejecuciones_yaml"
)
NO_MORE_AS_CLAIMED = {
    "UPDATE ejecuciones_yaml SET migrado_a_nube = false": "UPDATE ejecuciones_yaml SET migrado_a_nube = true",
    "UPDATE ejecuciones_yaml SET uuid = 'otro'": "UPDATE ejecuciones_yaml SET uuid = 'uno'",
    "UPDATE ejecuciones_yaml SET ruta_nube = ruta_nube || '/x'": (
        "UPDATE ejecuciones_yaml SET ruta_nube = rtrim(ruta_nube, '/x')"
    ),
    "UPDATE ejecuciones_yaml SET nube_provider_id = -nube_provider_id": (
        "UPDATE ejecuciones_yaml SET nube_provider_id = -nube_provider_id"
    ),
    HOLD: "DELETE FROM janitor_holds",
}
"""What may change a claimed execution, and what undoes it."""


@pytest.mark.parametrize("change", NO_MORE_AS_CLAIMED)
def test_what_changes_right_before_the_switch_is_heeded(away: Away, change: str) -> None:
    """No other statement tells this one: a lease that was just seen counts for half a second."""
    away.migrate("uno")
    outcome = away.rehome(
        wrap=lambda database: Interfering(database, "switch", lambda _: away.installation.execute(change))
    )
    assert outcome.counts["rehomed"] == 0
    assert away.installation.rows("SELECT FROM janitor_rehomes WHERE rehomed_at IS NOT NULL") == []
    assert away.other.everything_stored() == COPY


def test_what_changes_during_a_move_ends_its_lease(away: Away) -> None:
    away.migrate("uno")
    answers: dict[str, object] = {}

    def change_and_ask(database: Database, parameters: dict[str, Any]) -> None:
        for change, undo in NO_MORE_AS_CLAIMED.items():
            away.installation.execute(change)
            answers[change] = database.job_query("jobs/rehome", "seconds_left", parameters)
            away.installation.execute(undo)

    outcome = away.rehome(
        wrap=lambda database: Interfering(database, "switch", lambda known: change_and_ask(database, known))
    )
    assert list(answers) == list(NO_MORE_AS_CLAIMED)
    assert not any(answers.values())
    assert outcome.counts["rehomed"] == 1


@pytest.mark.parametrize(
    "change",
    [
        *NO_MORE_AS_CLAIMED,
        "UPDATE janitor_migrations SET local_copy = 'deleting'",
        "UPDATE janitor_migrations SET manifest_sha256 = repeat('0', 64)",
        "UPDATE janitor_jobs SET fencing_token = fencing_token + 1",
    ],
)
def test_what_changes_right_before_the_claim_is_not_claimed(away: Away, change: str) -> None:
    """A claim would take the lease from whoever has it, such as a removal."""
    away.migrate("uno")
    tokens = away.installation.rows("SELECT fencing_token FROM janitor_migrations")
    outcome = away.rehome(
        wrap=lambda database: Interfering(database, "claim_away", lambda _: away.installation.execute(change))
    )
    assert outcome.counts["rehomed"] == 0
    assert away.installation.rows("SELECT fencing_token FROM janitor_migrations") == tokens
    assert away.home.everything_stored() == set()


def test_what_others_have_at_home_is_left_alone(away: Away) -> None:
    away.migrate("uno")
    foreign = away.home.directory / PLACE / "tabla.txt"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("de otros")
    assert away.rehome().counts["failed"] == 1
    assert foreign.read_text() == "de otros"
    assert away.is_at("uno", away.other_id)
    away.require_whole("uno")


def test_what_others_have_at_the_old_place_keeps_all_of_it(away: Away) -> None:
    """Which of the objects there are ours nobody knows any more."""
    away.migrate("uno")
    away.installation.execute("UPDATE janitor_attempts SET foreign_objects = true")
    before = away.other.everything_stored()
    assert away.rehome().counts["rehomed"] == 1
    away.installation.execute("UPDATE janitor_attempts SET foreign_objects = false")
    away.tick()
    assert away.other.everything_stored() == before


def test_no_file_is_written_to_this_host(away: Away, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy passes through memory alone: a full disk does not matter."""
    away.migrate("uno")
    monkeypatch.setattr("tempfile._get_candidate_names", no_names)
    assert away.rehome().counts["rehomed"] == 1


def no_names() -> Any:
    raise AssertionError("a temporary file")


def test_history_tells_what_became_of_a_moved_copy_and_when(away: Away) -> None:
    """Where else an attempt that succeeded is no longer called committed: nowhere."""
    away.migrate("uno")
    committed = away.installation.rows("SELECT finished_at FROM janitor_attempts")[0]["finished_at"]
    assert away.rehome().counts["rehomed"] == 1
    _require_told(away, committed)
    away.tick()
    _require_told(away, committed)
    away.installation.execute("UPDATE janitor_audit SET details = details - 'from_committed_at'")
    (earlier,) = away.installation.rows("SELECT migrated_at FROM janitor_migrations")
    _require_told(away, earlier["migrated_at"])


def _require_told(away: Away, committed: datetime) -> None:
    run = away.installation.run("history", "uno", "--json")
    events = [event for event in json.loads(run.output)["events"] if event["event"] != "local_copy_deleted"]
    assert [(event["event"], event["provider"]) for event in events] == [
        ("attempt_began", "alternativo"), ("migrated", "alternativo"), ("attempt_began", "principal"),
        ("migrated", "principal"), ("rehomed", None),
    ], str(run)  # fmt: skip
    assert datetime.fromisoformat(events[1]["at"]) == committed


def test_old_copies_at_a_provider_that_is_switched_off_need_a_person(away: Away) -> None:
    away.migrate("uno")
    assert away.rehome().counts["rehomed"] == 1
    switch = "UPDATE cloud_providers SET activo = %s WHERE id = %s"
    away.installation.execute(switch, (False, away.other_id))
    away.tick()
    assert away.other.everything_stored() == COPY
    (inactive,) = _needed(away)
    assert inactive["code"] == "provider_inactive"  # one line for one cause, while the policy names it
    away.installation.configure(away.home_id, eliminar_despues_de_migrar=True)
    (wrong,) = _needed(away)
    assert "no está activo, y guarda 1 copia antigua" in wrong["text"]
    away.installation.execute(switch, (True, away.other_id))
    away.tick()
    assert away.other.everything_stored() == set()
    assert _needed(away) == []


def test_old_copies_of_the_database_before_a_move_are_not_blamed_on_rights(away: Away) -> None:
    """The database is another installation now, which may not remove what it cannot prove to be its own."""
    away.migrate("uno")
    away.installation.execute("UPDATE janitor_installation SET installation = 'otra'")
    assert away.rehome().counts["rehomed"] == 1
    away.tick()
    assert away.other.everything_stored() == COPY
    (wrong,) = _needed(away)
    assert "sin poder borrarse: 1 copia antigua, llevada a otro proveedor" in wrong["text"]
    assert "de otra instalación, como la base de datos de antes" in wrong["advice"]


def test_a_moved_database_that_continues_the_old_one_removes_its_old_copies(away: Away) -> None:
    """As docs/moving.md has it: said before the first run there."""
    away.migrate("uno")
    away.installation.execute("UPDATE janitor_installation SET origin = 'the server before'")
    away.installation.execute(statements_of("moving.md", "Another database or server"))
    assert away.rehome().counts["rehomed"] == 1
    away.tick()
    assert away.other.everything_stored() == set()


def _needed(away: Away) -> list[dict[str, Any]]:
    """What `status` says that needs a person."""
    run = away.installation.run("status", "--json")
    needed: list[dict[str, Any]] = json.loads(run.output)["needs_person"]
    return needed


class Killed(BaseException):
    """The process is dead from here on."""


@dataclass
class Mortal:
    """A database whose process dies before or after one of its statements."""

    database: Database
    dies_at: int
    after: bool
    seen: int = 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.database, name)
        if name not in ("job_query", "open_attempt", "abandon_attempt", "note_answered"):
            return method
        return lambda *arguments, **options: self._call(method, *arguments, **options)

    def _call(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        if self.seen > self.dies_at:
            raise Killed
        self.seen += 1
        if self.seen <= self.dies_at:
            return method(*arguments, **options)
        if self.after:
            method(*arguments, **options)
        self.seen += 1
        raise Killed


@pytest.mark.parametrize("after", [False, True])
def test_a_kill_at_any_statement_leaves_the_row_right_and_the_next_run_continues(away: Away, after: bool) -> None:
    """Whatever the last statement was, the row points to a whole copy, and two ticks later nothing is left over."""
    away.migrate("uno")
    for dies_at in range(100):
        mortal: list[Mortal] = []

        def die(database: Database, dies_at: int = dies_at, mortal: list[Mortal] = mortal) -> Mortal:
            mortal.append(Mortal(database, dies_at, after))
            return mortal[0]

        try:
            away.rehome(wrap=die)
        except Killed:
            require_copy(away)
            continue
        break
    assert dies_at > 5
    assert away.is_at("uno", away.home_id)
    away.tick()
    assert away.other.everything_stored() == set()
    assert away.home.everything_stored() == COPY
    away.require_whole("uno")
    assert away.installation.unfinished() == {"attempts": 0, "leases": 0, "removals": 0}


def require_copy(away: Away) -> None:
    """Every object of the copy to which the row points is there, as it was."""
    there = away.home if away.is_at("uno", away.home_id) else away.other
    assert there.everything_stored() >= COPY
    assert (there.directory / PLACE / "tabla.txt").read_text() == "a,b\n1,uno\n"


def test_a_kill_at_a_request_leaves_the_row_right(away: Away) -> None:
    away.migrate("uno")

    def die(call: Call) -> Any:
        with contextlib.suppress(MigrationError):
            call.proceed()
        raise Killed

    killed = []
    for method in ("list", "stat", "put"):
        away.faults[away.home_id] = [Fault(method, die)]
        try:
            away.rehome()
        except Killed:
            killed.append(method)
            require_copy(away)
    assert killed == ["list", "stat", "put"]
    away.faults.clear()
    away.rehome()
    away.tick()
    assert away.is_at("uno", away.home_id)
    assert (away.home.everything_stored(), away.other.everything_stored()) == (COPY, set())
    away.require_whole("uno")


def test_a_stop_leaves_what_was_stored_to_the_next_run(away: Away) -> None:
    away.migrate("uno")

    def stop(call: Call) -> Any:
        away.interruption.set()
        return call.proceed()

    away.faults[away.home_id] = [Fault("put", stop, key="*.manifest.json")]
    with pytest.raises(RunInterrupted):
        away.rehome()
    away.faults.clear()
    away.interruption.clear()
    away.interruption.migrations.clear()
    away.tick()
    assert f"{PLACE}/tabla.txt" in away.home.everything_stored(), "a tick leaves it to the job"
    assert away.rehome().counts["rehomed"] == 1
    assert away.is_at("uno", away.home_id)


def test_two_hosts_at_once_do_not_disturb_each_other(away: Away, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second takes the job over after the first was stopped past its lease; the first then writes nothing more."""
    monkeypatch.setattr(lease, "FRESH_SECONDS", 0.0)
    away.migrate("uno")
    second: list[int] = []

    def overtake(call: Call) -> Any:
        away.faults.clear()
        for table in ("janitor_jobs", "janitor_migrations"):
            away.installation.execute(f"UPDATE {table} SET lease_expires_at = now() - interval '1 second'")  # noqa: S608
        second.append(away.rehome(host="sur").counts["rehomed"])
        return call.proceed()

    away.faults[away.home_id] = [Fault("put", overtake, key="*.manifest.json")]
    away.rehome()
    assert second == [1]
    assert away.is_at("uno", away.home_id)
    away.tick()
    away.require_whole("uno")


def test_the_command_says_what_it_does(away: Away) -> None:
    away.migrate("uno")
    off = away.installation.run("rehome")
    assert off.exit_code == 2
    assert "indique JANITOR_REHOME=on" in off.errors
    dry = away.installation.run("rehome", "--dry-run")  # asked before one switches it on
    assert dry.said("INFO", "[simulación] Se llevarían a principal 1 ejecución que están en alternativo, 0.00 MB")
    run = away.installation.run("rehome", JANITOR_REHOME="on")
    assert run.exit_code == 0, str(run)
    assert run.said("INFO", f"Ejecución uno llevada a principal: ahora está en cloud://local/{PLACE}")
