"""Rows that point where they must not: refused one by one with a clear line, the rest done."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.destinations import Destination
from tests.stories.installation import Installation, Run
from tests.stories.trees import snapshot


def _tick_with_a_good_one_beside(installation: Installation, nas: Destination, **environment: str | None) -> Run:
    installation.configure(installation.add_provider(nas), eliminar_despues_de_migrar=True)
    installation.small_execution("buena")
    return installation.run(**environment)


def _require_refused(installation: Installation, nas: Destination, run: Run, ids: list[int]) -> None:
    """Each of these is named in one line, nothing of them was sent, and the good one is migrated."""
    assert run.exit_code == 1, str(run)
    failed = [line for line in run.messages("ERROR") if line.startswith("No se pudo migrar la ejecución ")]
    assert len(failed) == len(ids), str(run)
    assert "Traceback" not in run.errors
    assert "error inesperado" not in run.errors
    (migrated,) = installation.rows("SELECT uuid::text AS uuid FROM ejecuciones_yaml WHERE migrado_a_nube")
    assert migrated["uuid"] == "buena"
    refused = installation.rows(
        "SELECT execution_id AS id FROM janitor_migrations WHERE state IN ('refused', 'failed')"
    )
    assert sorted(row["id"] for row in refused) == sorted(ids)
    assert {name.split("/")[1] for name in nas.everything_stored()} == {"buena", "buena.manifest.json"}
    assert installation.unfinished() == {"attempts": 0, "leases": 0, "removals": 0}


def _outside(installation: Installation, name: str) -> Path:
    """A directory of somebody else, outside the roots."""
    path = installation.directory / "de otros" / name
    path.mkdir(parents=True)
    (path / "importante.txt").write_text("no tocar")
    return path


def _link(installation: Installation, name: str) -> Path:
    link = installation.executions / name
    link.symlink_to(_outside(installation, name))
    return link


def _through_a_link(installation: Installation, name: str) -> Path:
    (_outside(installation, name) / "dentro" / "más").mkdir(parents=True)
    (installation.executions / name).symlink_to(installation.directory / "de otros" / name)
    return installation.executions / name / "dentro"


def _file(installation: Installation, name: str) -> Path:
    path = installation.executions / name
    path.touch()
    return path


MUST_NOT_BE_TOUCHED: dict[str, Callable[[Installation, str], Path | str | None]] = {
    "the top": lambda installation, name: "/",
    "the top, written oddly": lambda installation, name: "//.//",
    "a system directory": lambda installation, name: "/etc",
    "below a system directory": lambda installation, name: "/etc/ssl",
    "the home directories": lambda installation, name: "/home",
    "a process": lambda installation, name: "/proc/self",
    "two dots": lambda installation, name: f"{installation.executions}/../{_outside(installation, name).name}",
    "one dot": lambda installation, name: f"{installation.executions}/./uno",
    "relative": lambda installation, name: "ejecuciones/uno",
    "a link": _link,
    "a link, with a slash": lambda installation, name: f"{_link(installation, name)}/",
    "through a link": _through_a_link,
    "far through a link": lambda installation, name: _through_a_link(installation, name) / "más",
    "a file": _file,
    "empty": lambda installation, name: "",
    "a blank": lambda installation, name: " ",
    "a line end": lambda installation, name: "uno\ndos",
}


@pytest.mark.parametrize("roots", ["set", "unset"])
def test_directories_that_must_not_be_touched_are_refused(
    installation: Installation, nas: Destination, roots: str
) -> None:
    ids = [installation.add_execution(name, make(installation, name)) for name, make in MUST_NOT_BE_TOUCHED.items()]
    before = snapshot(installation.directory / "de otros")
    run = _tick_with_a_good_one_beside(installation, nas, **({} if roots == "set" else {"JANITOR_ROOTS": None}))
    _require_refused(installation, nas, run, ids)
    assert snapshot(installation.directory / "de otros") == before


def test_with_roots_set_only_what_is_properly_inside_one_is_touched(
    installation: Installation, nas: Destination
) -> None:
    second_root = installation.directory / "ejecuciones-2"  # begins with the same text as the first one
    third = installation.directory / "ejecuciones-3" / "uno"
    for path in (second_root / "dentro", third):
        path.mkdir(parents=True)
    bad: dict[str, Path | str] = {
        "outside": _outside(installation, "outside"),
        "a root": installation.executions,
        "a root, with a slash": f"{installation.executions}/",
        "a parent of the roots": installation.directory,
        "beside a root, of a similar name": third,
    }
    ids = [installation.add_execution(name, path) for name, path in bad.items()]
    run = _tick_with_a_good_one_beside(
        installation, nas, JANITOR_ROOTS=f"{installation.executions}:{second_root}:/no/existe"
    )
    _require_refused(installation, nas, run, ids)
    assert third.exists()
    assert (installation.directory / "de otros" / "outside" / "importante.txt").exists()


def test_a_root_that_is_a_link_leads_nowhere(installation: Installation, nas: Destination) -> None:
    link = installation.directory / "raiz"
    link.symlink_to(installation.executions)
    installation.configure(installation.add_provider(nas), eliminar_despues_de_migrar=True)
    directory = installation.new_directory("uno")
    installation.add_execution("uno", link / "uno")
    run = installation.run(JANITOR_ROOTS=str(link))
    assert run.exit_code == 1, str(run)
    assert installation.place("uno")[0] is False
    assert directory.exists()


def test_executions_that_share_or_contain_each_others_directories_are_refused(
    installation: Installation, nas: Destination
) -> None:
    shared = installation.new_directory("compartido")
    outer = installation.new_directory("fuera")
    (outer / "medio" / "dentro").mkdir(parents=True)
    similar = installation.new_directory("fuera-parecido")
    rows: dict[str, Path | str] = {
        "comparte-1": shared,
        "comparte-2": f"{installation.executions}//compartido/",
        "contiene": outer,
        "dentro": outer / "medio" / "dentro",
    }
    ids = [installation.add_execution(name, path) for name, path in rows.items()]
    installation.configure(installation.add_provider(nas), eliminar_despues_de_migrar=True)
    installation.add_execution("parecido", similar)
    run = installation.run()
    assert run.exit_code == 1, str(run)
    assert [installation.place(name)[0] for name in rows] == [False] * 4
    assert installation.place("parecido")[0] is True
    assert not similar.exists()
    refused = installation.rows("SELECT execution_id AS id FROM janitor_migrations WHERE state = 'refused'")
    assert sorted(row["id"] for row in refused) == sorted(ids)
    assert shared.exists()
    assert (outer / "medio" / "dentro").exists()


BAD_UUIDS = {
    "slash": "a/b",
    "parent": "..",
    "here": ".",
    "up and away": "../../otra",
    "backslash": "a\\b",
    "control": "a\x01b",
    "line end": "a\nb",
    "blank": " ",
    "empty": "",
    "bidi": "a\u202eb",
    "manifest": "otra.manifest.json",
}


def test_uuids_that_are_no_names_are_refused(installation: Installation, nas: Destination) -> None:
    ids = []
    for name, uuid in BAD_UUIDS.items():
        ids.append(installation.add_execution(uuid, installation.new_directory(name)))
    run = _tick_with_a_good_one_beside(installation, nas)
    _require_refused(installation, nas, run, ids)
    assert all((installation.executions / name).exists() for name in BAD_UUIDS)
    assert all(line.isprintable() for line in run.errors.split("\n"))


def test_rows_of_the_same_uuid_are_refused(installation: Installation, nas: Destination) -> None:
    ids = [installation.add_execution("doble", installation.new_directory(f"doble-{number}")) for number in (1, 2)]
    run = _tick_with_a_good_one_beside(installation, nas)
    _require_refused(installation, nas, run, ids)


def test_a_uuid_that_a_migrated_row_has_is_not_stored_over_its_copy(
    installation: Installation, nas: Destination
) -> None:
    installation.configure(installation.add_provider(nas))
    (installation.new_directory("uno") / "a.txt").write_text("el primero")
    installation.add_execution("repetida", installation.executions / "uno")
    assert installation.run().exit_code == 0
    (installation.new_directory("dos") / "a.txt").write_text("el segundo")
    installation.add_execution("repetida", installation.executions / "dos")
    run = installation.run()
    assert run.exit_code == 1, str(run)
    assert (nas.directory / "ejecuciones" / "repetida" / "a.txt").read_text() == "el primero"


@pytest.mark.parametrize("prefix", ["..", "sage/../..", "sage/./x", "sage/\x01", "sage\n"])
def test_a_prefix_that_leads_elsewhere_stops_the_migration(
    installation: Installation, nas: Destination, prefix: str
) -> None:
    installation.configure(installation.add_provider(nas), prefijo_ruta_nube=prefix, eliminar_despues_de_migrar=True)
    directory = installation.small_execution("uno")
    run = installation.run()
    assert run.exit_code == 2, str(run)
    (error,) = run.messages("ERROR")
    assert "prefijo_ruta_nube" in error
    assert installation.place("uno") == (False, None, None)
    assert nas.everything_stored() == set()
    assert directory.exists()


@pytest.mark.parametrize("kind", ["socket", "fifo"])
@pytest.mark.timeout(60)
def test_sockets_and_fifos_are_refused_without_being_opened(
    installation: Installation, nas: Destination, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = installation.new_directory("rara") / "sub"
    directory.mkdir()
    (directory / "fichero.txt").touch()
    if kind == "fifo":
        os.mkfifo(directory / "especial")
    else:
        monkeypatch.chdir(directory)  # a socket's address must be short
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("especial")
    identifier = installation.add_execution("rara", directory.parent)
    run = _tick_with_a_good_one_beside(installation, nas)
    _require_refused(installation, nas, run, [identifier])
    assert "sub/especial" in run.errors
    assert sorted(os.listdir(directory)) == ["especial", "fichero.txt"]
