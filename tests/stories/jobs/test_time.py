"""Dates that are hard to read, and retentions that nobody meant.

The time zone of this process, and the types of the column, are in `test_old_installations`; more dates at the ends of
time in `test_database`; options in `test_command_line`.
"""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.destinations import Destination
from tests.stories.installation import Installation


def _hours_since(moment: datetime) -> float:
    return (datetime.now(UTC) - moment).total_seconds() / 3600


def _use_zone(installation: Installation, zone: str) -> None:
    (row,) = installation.rows("SELECT current_database() AS name")
    installation.execute(f"ALTER DATABASE {row['name']} SET timezone TO '{zone}'")


def _add(installation: Installation, uuid: str, written: str) -> None:
    installation.small_execution(uuid)
    installation.execute("UPDATE ejecuciones_yaml SET fecha_ejecucion = %s WHERE uuid = %s", (written, uuid))


@pytest.mark.parametrize(
    ("zone", "written", "meant"),
    [
        ("Europe/Madrid", "2024-10-27 01:59:59", datetime(2024, 10, 26, 23, 59, 59, tzinfo=UTC)),
        ("Europe/Madrid", "2024-10-27 02:30:00", datetime(2024, 10, 27, 1, 30, tzinfo=UTC)),  # the second time
        ("Europe/Madrid", "2024-10-27 03:00:00", datetime(2024, 10, 27, 2, 0, tzinfo=UTC)),
        ("Europe/Madrid", "2024-03-31 02:30:00", datetime(2024, 3, 31, 1, 30, tzinfo=UTC)),  # as 03:30 in summer
        ("America/New_York", "2024-11-03 01:30:00", datetime(2024, 11, 3, 6, 30, tzinfo=UTC)),  # the second time
        ("America/New_York", "2024-03-10 02:30:00", datetime(2024, 3, 10, 7, 30, tzinfo=UTC)),
    ],
)
def test_an_hour_that_comes_twice_or_never_makes_an_execution_no_older_than_it_is(
    installation: Installation, nas: Destination, zone: str, written: str, meant: datetime
) -> None:
    """A naive date in the hour that daylight saving repeats is taken for the later of the two moments: migrated an hour
    late rather than an hour early.
    """
    _use_zone(installation, zone)
    installation.configure(installation.add_provider(nas))
    _add(installation, "uno", written)
    run = installation.run("--retention-hours", str(_hours_since(meant) + 0.05))
    assert run.exit_code == 0, str(run)
    assert installation.place("uno")[0] is False
    run = installation.run("--retention-hours", str(_hours_since(meant) - 0.05))
    assert run.exit_code == 0, str(run)
    assert installation.place("uno")[0] is True


def test_zoned_dates_of_the_repeated_hour_are_two_moments(bare_installation: Installation, nas: Destination) -> None:
    bare_installation.install(("fecha_ejecucion  TIMESTAMP", "fecha_ejecucion TIMESTAMPTZ"))
    _use_zone(bare_installation, "Europe/Madrid")
    bare_installation.configure(bare_installation.add_provider(nas))
    _add(bare_installation, "verano", "2024-10-27 02:30:00+02")
    _add(bare_installation, "invierno", "2024-10-27 02:30:00+01")
    between = _hours_since(datetime(2024, 10, 27, 1, 0, tzinfo=UTC))
    assert bare_installation.run("--retention-hours", str(between)).exit_code == 0
    assert bare_installation.place("verano")[0] is True
    assert bare_installation.place("invierno")[0] is False


def test_every_odd_date_is_taken_up_when_it_is_due_and_stops_no_other(
    installation: Installation, nas: Destination
) -> None:
    """The pages of candidates go by the date: one that could not be written and read again would end them."""
    _use_zone(installation, "Europe/Madrid")
    installation.execute(
        "ALTER ROLE CURRENT_USER IN DATABASE " + _database(installation) + " SET datestyle TO 'SQL, DMY'"
    )
    installation.configure(installation.add_provider(nas))
    due = {
        "sin fin hacia atrás": "-infinity",
        "antes de Cristo": "0044-03-15 BC",
        "hora local antigua": "1850-06-01 12:00:00",
        "microsegundos": "1999-12-31 23:59:59.999999",
        "hora repetida": "2024-10-27 02:30:00",
        "hora que no hubo": "2024-03-31 02:30:00",
    }
    not_due = {"sin fin": "infinity", "lejos": "294000-01-01", "dentro de nada": "now"}
    for uuid, written in {**due, **not_due}.items():
        _add(installation, uuid, written)
    installation.execute(
        "UPDATE ejecuciones_yaml SET fecha_ejecucion = now() AT TIME ZONE 'Europe/Madrid' + interval '5 minutes' "
        "WHERE uuid = 'dentro de nada'"
    )
    installation.add_execution("sin fecha", installation.new_directory("sin fecha"))
    installation.execute("UPDATE ejecuciones_yaml SET fecha_ejecucion = NULL WHERE uuid = 'sin fecha'")
    run = installation.run()
    assert run.exit_code == 0, str(run)
    migrated = {row["uuid"] for row in installation.rows("SELECT uuid FROM ejecuciones_yaml WHERE migrado_a_nube")}
    assert migrated == set(due)
    assert installation.run("status").exit_code == 0


def _database(installation: Installation) -> str:
    return str(installation.rows("SELECT current_database() AS name")[0]["name"])


@pytest.mark.parametrize(
    ("column", "exit_code", "migrated"),
    [("NULL", 0, True), ("0", 0, True), ("-1", 2, False), ("1000000000", 0, False), ("2147483647", 0, False)],
)
def test_a_retention_that_nobody_meant(
    installation: Installation, nas: Destination, column: str, exit_code: int, migrated: bool
) -> None:
    """None is at once, a negative one is refused, and one of more than a hundred thousand years is never."""
    installation.configure(installation.add_provider(nas))
    installation.execute(f"UPDATE ejecuciones_config SET tiempo_retencion_local = {column}")  # noqa: S608 listed above
    _add(installation, "uno", "1900-01-01")
    run = installation.run()
    assert run.exit_code == exit_code, str(run)
    assert installation.place("uno")[0] is migrated
    if exit_code:
        assert [line for line in run.messages("ERROR") if "tiempo_retencion_local" in line]
        assert installation.run("--retention-hours", "0.25").exit_code == exit_code  # it does not hide what is wrong
    else:
        assert run.messages("ERROR") == []
    status = installation.run("status")
    assert status.exit_code == (1 if exit_code else 0)
    assert ("tiempo_retencion_local" in status.output) == bool(exit_code)
