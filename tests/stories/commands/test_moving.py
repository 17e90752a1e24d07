"""What docs/moving.md tells an operator to send to the database does what it promises."""

from __future__ import annotations

import json
from typing import Any

from tests.destinations import Destination
from tests.repository import statements_of
from tests.stories.installation import Installation


def _status(installation: Installation, host: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(installation.run("status", "--json", JANITOR_HOST=host).output)
    return told


def test_a_host_gets_another_name_or_is_retired(installation: Installation, nas: Destination) -> None:
    """Under its new name it does what it had to do under the old one, such as a removal."""
    installation.configure(installation.add_provider(nas), eliminar_despues_de_migrar=True)
    directory = installation.small_execution("una")
    assert installation.run(JANITOR_HOST="antes").exit_code == 0
    assert not directory.exists()
    rename = statements_of("moving.md", "Another name of a host")
    installation.execute(rename.replace("OLD", "antes").replace("NEW", "ahora"))
    assert installation.run(JANITOR_HOST="ahora").exit_code == 0
    told = _status(installation, "ahora")
    assert ([host["host"] for host in told["hosts"]], told["needs_person"]) == (["ahora"], [])
    installation.execute("UPDATE janitor_runs SET started_at = started_at - interval '5 days'")
    installation.execute("UPDATE janitor_jobs SET last_started_at = last_started_at - interval '5 days'")
    assert installation.run(JANITOR_HOST="otra").exit_code == 0
    assert [each["subject"] for each in _status(installation, "otra")["needs_person"]] == ["máquina ahora"]
    installation.execute(statements_of("moving.md", "Retire a host").replace("NAME", "ahora"))
    assert _status(installation, "otra")["needs_person"] == []


def test_after_an_uninstallation_nothing_of_the_program_is_in_the_database(installation: Installation) -> None:
    installation.execute(statements_of("moving.md", "Uninstall"))
    question = (
        "SELECT relname AS name FROM pg_class WHERE relname LIKE 'janitor%' "
        "UNION ALL SELECT proname FROM pg_proc WHERE proname LIKE 'janitor%'"
    )
    assert installation.rows(question) == []
    assert installation.rows("SELECT count(*) AS count FROM ejecuciones_yaml") == [{"count": 0}]
