"""Trees, names and texts by somebody who wishes harm: nothing outside is read or touched, nothing forges a line of the
log or steers a terminal, and one bad execution stops no other.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from config.models import ContentDigest, PutReceipt, StoredObject
from config.settings import load_settings
from janitor_daemon import JanitorDaemon
from providers import KINDS
from providers.local.provider import LocalProvider
from providers.sources import Source
from tests.destinations import Destination
from tests.files.test_mounts import bound
from tests.stories.installation import Installation, Run
from tests.stories.setting_up.test_misconfigured_providers import VALID
from tests.stories.trees import make_usual_tree, snapshot

TERMINAL = "\x1b[31mrojo\x07\r\u202eatrás\u2028línea\x9b2J"
FORGED = "\n2026-01-01 00:00:00,000 - janitor_daemon - INFO - Ejecución falsa migrada exitosamente a cloud://x"


@pytest.fixture
def ready(installation: Installation, nas: Destination) -> Installation:
    """Migrates to a mounted directory, and deletes; one good execution is due."""
    installation.configure(installation.add_provider(nas), eliminar_despues_de_migrar=True)
    installation.small_execution("buena")
    return installation


@pytest.fixture
def outside(installation: Installation) -> Path:
    """A directory of somebody else."""
    path = installation.directory / "de otros"
    path.mkdir()
    (path / "importante.txt").write_text("no tocar")
    (path / "sub").mkdir()
    (path / "sub" / "más.txt").write_text("tampoco")
    return path


def require_only_the_good_one(installation: Installation, run: Run, *bad: str) -> None:
    """The bad ones are refused, each in a line of its own; the good one is migrated and gone."""
    assert run.exit_code == 1, str(run)
    assert "Traceback" not in run.errors
    assert "error inesperado" not in run.errors
    for uuid in bad:
        assert installation.place(uuid) == (False, None, None)
    errors = [line for line in run.messages("ERROR") if line.startswith("No se pudo migrar la ejecución ")]
    assert len(errors) == len(bad), str(run)
    assert installation.place("buena")[0] is True
    assert not (installation.executions / "buena").exists()
    unfinished = installation.unfinished()
    assert (unfinished["leases"], unfinished["removals"]) == (0, 0)


# What is mounted, and what has other names


@pytest.mark.parametrize("where", ["", "sub", "sub/fichero"])
def test_what_is_mounted_in_an_execution_is_neither_uploaded_nor_deleted(
    ready: Installation, nas: Destination, outside: Path, where: str
) -> None:
    """Of the same disk: no device number tells."""
    directory = ready.new_directory("montada")
    (directory / "sub").mkdir()
    (directory / "sub" / "fichero").write_text("propio")
    ready.add_execution("montada", directory)
    source = outside / "importante.txt" if where.endswith("fichero") else outside
    before = snapshot(outside)
    with bound(source, directory / where):
        run = ready.run()
        require_only_the_good_one(ready, run, "montada")
        assert "es un punto de montaje" in run.errors
        assert snapshot(outside) == before
    assert not [name for name in nas.everything_stored() if "importante" in name or "montada" in name]
    ready.run()
    assert ready.place("montada")[0] is True
    assert not directory.exists()
    assert snapshot(outside) == before


def test_a_hard_link_to_a_file_outside_is_a_file_and_only_its_name_goes(
    ready: Installation, nas: Destination, outside: Path
) -> None:
    """It is the same file: what is sent are its bytes, what is deleted is the execution's name for it."""
    directory = ready.new_directory("enlazada")
    os.link(outside / "importante.txt", directory / "propio.txt")
    ready.add_execution("enlazada", directory)
    before = snapshot(outside)
    inode = (outside / "importante.txt").stat().st_ino
    assert ready.run().exit_code == 0
    assert not directory.exists()
    assert snapshot(outside) == before
    status = (outside / "importante.txt").stat()
    assert (status.st_ino, status.st_nlink) == (inode, 1)
    assert (nas.directory / "ejecuciones" / "enlazada" / "propio.txt").read_text() == "no tocar"


# Roots


def test_roots_that_nest_overlap_repeat_or_are_empty_mean_what_they_say(ready: Installation) -> None:
    inner = ready.executions / "2026"
    (inner / "enero").mkdir(parents=True)
    ready.add_execution("interior", inner)
    ready.add_execution("dentro", inner / "enero")
    top = str(ready.executions)
    run = ready.run(JANITOR_ROOTS=f":{top}:{top}/:{inner}/../2026::{top}/./2026//:/no/existe:")
    require_only_the_good_one(ready, run, "interior")
    assert "es o contiene una de las raíces" in run.errors
    assert ready.place("dentro")[0] is True
    assert not (inner / "enero").exists()


def test_roots_of_nothing_are_no_roots(ready: Installation) -> None:
    run = ready.run(JANITOR_ROOTS="::")
    assert run.exit_code == 0
    assert len([line for line in run.messages("WARNING") if line.startswith("JANITOR_ROOTS no está definida")]) == 1
    assert (ready.executions / "buena").is_dir()


@pytest.mark.parametrize("roots", ["/", "/srv:/srv/..", "srv"])
def test_the_whole_disk_is_no_root(ready: Installation, roots: str) -> None:
    run = ready.run(JANITOR_ROOTS=roots)
    assert run.exit_code == 2
    assert "JANITOR_ROOTS" in run.errors
    assert ready.place("buena")[0] is False


# Copies within the roots


@pytest.mark.parametrize(
    ("prefix_now", "path"),
    [
        *[("viejo", "viejo/ejecuciones/buena"), ("viejo", "viejo/ejecuciones"), ("viejo", "viejo")],
        *[("nuevo", "viejo/ejecuciones/buena"), ("nuevo", "viejo/ejecuciones/buena/sub")],
    ],
)
def test_a_row_that_names_a_copy_does_not_get_it_moved_away(ready: Installation, prefix_now: str, path: str) -> None:
    """Copies in a mounted directory below a root: moved elsewhere, they would be missing where their rows say."""
    nas_in_root = ready.executions / "nas"
    nas_in_root.mkdir()
    here = ready.add_provider_row("NAS en la raíz", "local", None, {"ruta": str(nas_in_root)})
    ready.configure(here, prefijo_ruta_nube="viejo")
    assert ready.run().exit_code == 0
    (nas_in_root / "viejo" / "ejecuciones" / "buena" / "sub").mkdir()
    copies = snapshot(nas_in_root)
    ready.add_execution("hostil", nas_in_root / path)
    ready.configure(1, eliminar_despues_de_migrar=True, prefijo_ruta_nube=prefix_now)
    run = ready.run()
    assert run.exit_code == 1, str(run)
    assert "copia" in run.messages("ERROR")[0]
    assert ready.place("hostil")[0] is False
    assert snapshot(nas_in_root) == copies


def test_executions_that_lie_where_their_copies_would_are_refused(ready: Installation) -> None:
    """Each would be sent over itself."""
    directory = ready.executions / "buena"
    before = snapshot(directory)
    ready.configure(
        ready.add_provider_row("la misma", "local", None, {"ruta": str(ready.directory)}),
        eliminar_despues_de_migrar=True,
    )
    assert ready.executions.name == "ejecuciones"
    run = ready.run("--migrate-only")  # the temporary directory lies among the copies, too
    assert run.exit_code == 1, str(run)
    assert "lleva a donde se guardan las copias" in run.errors
    assert snapshot(directory) == before


# Names and lengths


def deep_tree(directory: Path, levels: int) -> None:
    """Deeper than any path can say."""
    descriptor = os.open(directory, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=descriptor)
        below = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)


@pytest.fixture
def abyss(ready: Installation) -> Iterator[Path]:
    """An execution of 2,500 nested directories."""
    directory = ready.new_directory("abismo")
    deep_tree(directory, 2500)
    yield directory
    subprocess.run(["rm", "-rf", str(directory)], check=True, timeout=60)


def test_an_execution_deeper_than_any_path_is_refused(ready: Installation, abyss: Path) -> None:
    ready.add_execution("abismo", abyss)
    run = ready.run()
    require_only_the_good_one(ready, run, "abismo")
    assert "directorios anidados" in run.errors


def test_directories_of_absurd_length_are_not_there(ready: Installation) -> None:
    for number, path in enumerate(["x" * 256, "x/" * 3000, "/" * 5000 + "x", "é" * 100_000]):
        ready.add_execution(f"larga-{number}", f"{ready.executions}/{path}")
    run = ready.run()
    assert run.exit_code == 0, str(run)
    assert len([line for line in run.messages("WARNING") if line.startswith("Directorio no encontrado")]) == 4
    assert ready.place("buena")[0] is True


@pytest.mark.parametrize("character", ["😀", "日", "e\u0301"])
def test_the_longest_uuids_are_migrated_deleted_and_restored(
    ready: Installation, new_destination: Callable[[str], Destination], character: str
) -> None:
    """Where they lie, and what they are called while they are removed, must hold 64 characters of four bytes each."""
    uuid = (character * 64)[:64]
    ready.configure(ready.add_provider(new_destination("s3-moto")), eliminar_despues_de_migrar=True)
    directory = ready.new_directory("larga")
    make_usual_tree(directory)
    (directory / ("ñ" * 127)).write_text("254 bytes de nombre")
    original = snapshot(directory)
    ready.add_execution(uuid, directory)
    run = ready.run()
    assert run.exit_code == 0, str(run)
    assert sorted(os.listdir(ready.executions)) == []
    assert ready.run("restore", uuid, str(ready.directory / "restaurada")).exit_code == 0
    assert snapshot(ready.directory / "restaurada") == original


def test_what_no_destination_can_name_stays_and_stops_nothing(
    ready: Installation, new_destination: Callable[[str], Destination]
) -> None:
    """A key has 1,024 bytes at most on S3, and so everywhere: an execution can always go to the next provider."""
    ready.configure(1, ready.add_provider(new_destination("s3-moto")), eliminar_despues_de_migrar=True)
    deep = ready.new_directory("honda").joinpath(*["d" * 200] * 6)
    deep.mkdir(parents=True)
    (deep / "fichero").write_text("a más de mil bytes")
    ready.add_execution("honda", ready.executions / "honda")
    require_only_the_good_one(ready, ready.run(), "honda")
    assert (deep / "fichero").exists()


def test_what_one_destination_cannot_name_goes_to_the_next(
    ready: Installation, new_destination: Callable[[str], Destination]
) -> None:
    """A name has 255 bytes at most on a disk; 64 characters of four bytes are one more."""
    s3 = ready.add_provider(new_destination("s3-moto"))
    ready.configure(1, s3, eliminar_despues_de_migrar=True)
    ready.add_execution("😀" * 64, ready.new_directory("corta"))
    run = ready.run()
    assert run.exit_code == 0, str(run)
    assert ready.place("😀" * 64)[2] == s3
    assert ready.place("buena")[2] == 1
    assert os.listdir(ready.executions) == []


def test_a_prefix_of_255_characters_is_a_prefix(ready: Installation, nas: Destination) -> None:
    prefix = "p" * 255
    ready.configure(1, eliminar_despues_de_migrar=True, prefijo_ruta_nube=prefix)
    assert ready.run().exit_code == 0
    assert ready.place("buena")[1] == f"cloud://local/{prefix}/ejecuciones/buena"
    assert ready.run("restore", "buena", str(ready.directory / "restaurada")).exit_code == 0


class CaseBlindProvider(LocalProvider):
    """A disk on which `A` and `a` are one name, as on a share of Windows."""

    def put_many(self, sources: Mapping[str, Source]) -> Iterator[tuple[str, PutReceipt]]:
        for key, source in sources.items():
            ((_, receipt),) = super().put_many({key.lower(): source})
            yield key, receipt

    def put_new_many(self, sources: Mapping[str, Source]) -> Iterator[tuple[str, PutReceipt]]:
        for key, source in sources.items():
            ((_, receipt),) = super().put_new_many({key.lower(): source})
            yield key, receipt

    def replace(self, key: str, source: Source, expected: StoredObject | None) -> PutReceipt:
        return super().replace(key.lower(), source, expected)

    def digests(self, keys: Iterable[str]) -> Iterator[ContentDigest]:
        for key in keys:
            yield from super().digests([key.lower()])

    def open(self, key: str) -> Iterator[bytes]:
        return super().open(key.lower())

    def stat(self, key: str) -> StoredObject:
        return super().stat(key.lower())

    def list(self, prefix: str) -> Iterator[StoredObject]:
        return super().list(prefix.lower())


@pytest.mark.parametrize("contents", [("uno", "dos"), ("igual", "igual")])
def test_names_that_are_one_name_to_the_destination_are_never_taken_for_two(
    ready: Installation,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    contents: tuple[str, str],
) -> None:
    """The second would lie over the first, and both would be deleted here. The log says so."""
    monkeypatch.setitem(KINDS, "local", (__name__, CaseBlindProvider.__name__))
    directory = ready.new_directory("mayúsculas")
    for name, content in zip(("Tabla.csv", "tabla.csv"), contents, strict=True):
        (directory / name).write_text(content)
    ready.add_execution("mayúsculas", directory)
    before = snapshot(directory)
    with monkeypatch.context() as environment:
        for name, value in ready.environment.items():
            environment.setenv(name, value)
        assert JanitorDaemon(load_settings(ready.environment)).run() == 1
    assert ready.place("mayúsculas") == (False, None, None)
    assert ready.place("buena")[0] is True
    assert snapshot(directory) == before
    if contents[0] != contents[1]:
        assert "dos nombres del directorio son uno para ese destino" in caplog.text


# What is shown


def printable_but_for_line_ends(text: str) -> bool:
    return all(line.isprintable() for line in text.split("\n"))


def require_honest(installation: Installation, run: Run) -> None:
    """Neither console nor log file can steer a terminal, and no line in them is forged."""
    log = installation.log_file.read_text(encoding="utf-8")
    for text in (run.errors, run.output, log):
        assert printable_but_for_line_ends(text), repr(text)
        assert not [line for line in text.splitlines() if line.startswith("2026-01-01 00:00:00,000")]


HOSTILE_NAME = f"{TERMINAL}{FORGED}".replace("/", "|")

HOSTILE_NAMES: dict[str, Callable[[Path], None]] = {
    "a fifo": lambda directory: os.mkfifo(directory / HOSTILE_NAME),
    "a directory above it": lambda directory: _below(directory / HOSTILE_NAME),
    "bytes that are no text": lambda directory: os.mkfifo(os.fsencode(directory) + b"/\xff\x1b]0;titulo\x07\xc3("),
}


def _below(directory: Path) -> None:
    directory.mkdir()
    os.mkfifo(directory / "dentro")


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_names_neither_steer_a_terminal_nor_forge_a_line(ready: Installation, log_format: str) -> None:
    for name, make in HOSTILE_NAMES.items():
        directory = ready.new_directory(name + TERMINAL)
        make(directory)
        ready.add_execution(name, directory)
    ready.add_execution("sin directorio", f"{ready.executions}/no está{TERMINAL}{FORGED}")
    ready.add_execution(f"uuid {TERMINAL[:20]}", f"{ready.executions}/{TERMINAL}{FORGED}")
    run = ready.run("--debug", "--all-dirs", JANITOR_LOG_FORMAT=log_format)
    assert run.exit_code == 1
    require_honest(ready, run)
    if log_format == "json":
        assert [json.loads(line) for line in run.errors.splitlines()]
    for command in (("status",), ("--dry-run",), ("check",), ("status", "--json")):
        require_honest(ready, ready.run(*command))
    assert ready.place("buena")[0] is True


def test_texts_of_the_platforms_rows_neither_steer_a_terminal_nor_forge_a_line(
    ready: Installation, tmp_path: Path
) -> None:
    hostile = f"{TERMINAL}{FORGED}"
    bad = [
        ready.add_provider_row(f"malo {hostile}", "local", None, {"ruta": f"/no/existe/{hostile}"}),
        ready.add_provider_row(f"peor {hostile}", hostile[:50], None, {}),
        ready.add_provider_row(f"raro {hostile}", "s3", {"access_key": hostile}, {"bucket": hostile}),
        ready.add_provider_row(f"inactivo {hostile}", "local", None, {}, active=False),
    ]
    ready.configure(*bad, 1)
    run = ready.run("--debug")
    assert run.exit_code == 1, str(run)  # somebody has to mend the rows
    require_honest(ready, run)
    for command in (("status",), ("--dry-run",), ("check",), ("restore", f"no hay {hostile}", str(tmp_path / "r"))):
        require_honest(ready, ready.run(*command))
    ready.execute("UPDATE ejecuciones_yaml SET ruta_nube = %s", (f"cloud://local/{hostile}",))
    run = ready.run("restore", "buena", str(tmp_path / f"a{TERMINAL}"))
    assert run.exit_code == 1
    require_honest(ready, run)


# Texts that a provider's row can hold where its columns are JSON or text: JSONB takes no null character


WHOLLY_HOSTILE = "a\0b\x1b[31m\u202e\ud800"


def _text_fields(kind: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """The columns of a valid row, with one text of it after the other made hostile."""
    columns: tuple[Any, Any] = VALID[kind]
    for index, column in enumerate(columns):
        for name, value in (column or {}).items():
            if isinstance(value, str):
                changed = [dict(part or {}) for part in columns]
                changed[index][name] = f"{value}{WHOLLY_HOSTILE}"
                yield changed[0], changed[1]


def test_a_null_in_any_text_of_a_provider_makes_that_provider_unusable(
    bare_installation: Installation, nas: Destination
) -> None:
    bare_installation.install(
        ("credenciales  JSONB", "credenciales  JSON"), ("configuracion JSONB", "configuracion TEXT")
    )
    bad = [
        bare_installation.add_provider_row(f"{kind} {number}", kind, *columns)
        for kind in VALID
        for number, columns in enumerate(_text_fields(kind))
    ]
    assert len(bad) > 12
    bare_installation.configure(*bad, bare_installation.add_provider(nas))
    bare_installation.small_execution("buena")
    run = bare_installation.run("--debug")
    assert run.exit_code == 1, str(run)  # somebody has to mend the rows
    assert "error inesperado" not in run.errors
    require_honest(bare_installation, run)
    assert bare_installation.place("buena")[2] not in bad
