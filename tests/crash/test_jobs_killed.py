"""The jobs `backup` and `logs` as operators start them, killed at every step, and by strace at system calls.

The checker knows nothing of the program: every backup that the table calls good is whole for `gunzip`, `md5sum` and
`sha256sum`, and restores by `psql` alone; every log is there, byte for byte.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from tests.crash.program import Program
from tests.crash.test_kill_at_system_calls import CALLS, EVERY_ONE, strace
from tests.databases.lent_databases import LentDatabases
from tests.jobs.backups.conftest import new_pair, pair, postgres_16, servers
from tests.jobs.backups.pairs import Pair
from tests.jobs.logs.log_files import make_log, require_nothing_left_over, require_nothing_lost, text
from tests.repository import REPOSITORY
from tests.stories.installation import Installation

__all__ = ["new_pair", "pair", "postgres_16", "servers", "strace"]

MOST_STEPS = 300
MOST_CALLS = 2000
KINDS = {**CALLS, "link": "link,linkat"}
SAMPLE = [("link", 3), ("fsync", 2), ("unlink", 1)]
"""By hand every call of every kind."""


class Scene:
    """An installation that backs another database up."""

    def __init__(self, installation: Installation, pair: Pair) -> None:
        self._installation = installation
        self._pair = pair
        self._restored: set[int] = set()
        self.directory = installation.directory / "copias"
        self.environment: Mapping[str, str] = {
            **installation.environment,
            "BACKUP_ENABLED": "true",
            "BACKUP_PATH": str(self.directory),
            "BACKUP_DATABASE_URL": pair.source_url,
            "BACKUP_PG_BIN": str(pair.binaries),
            "BACKUP_VERIFY_DAYS": "0",
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    @property
    def working_directory(self) -> Path:
        """Where runs begin."""
        return self._installation.directory

    def require_good_ones_restore(self) -> None:
        """Fail unless each backup that the table calls good does; what was restored once is not restored again."""
        rows = {row["id_backup"]: row for row in self._installation.rows("SELECT * FROM historial_backup")}
        for number, row in rows.items():
            if row["estado"] != "COMPLETADO" or number in self._restored:
                continue
            chain = [rows[row["id_backup_base"]], row] if row["id_backup_base"] else [row]
            self._pair.empty_restored()
            for part in chain:
                path = Path(part["ruta_archivo"])
                assert path.stat().st_size == part["tamanio_bytes"]
                told = subprocess.run(["md5sum", path], check=True, capture_output=True, text=True).stdout
                assert told.split()[0] == part["hash_md5"]
                subprocess.run(["sha256sum", "-c", "--quiet", f"{path.name}.sha256"], check=True, cwd=path.parent)
                self._pair.psql(path)
            self._pair.require_equal()
            self._restored.add(number)

    def require_nothing_left(self) -> None:
        """Fail unless no row is under way, and nothing but whole backups and what belongs beside them is there."""
        assert self._installation.rows("SELECT FROM historial_backup WHERE estado = 'EN_PROCESO'") == []
        backups = {path.name.removesuffix(".sql.gz") for path in self.directory.glob("backup_*.sql.gz")}
        assert {path.name.partition(".")[0] for path in self.directory.iterdir()} == backups
        good = self._installation.rows("SELECT FROM historial_backup WHERE estado = 'COMPLETADO'")
        assert len(backups) == len(good)


@pytest.fixture
def installation(tmp_path: Path, installed_databases: LentDatabases) -> Iterator[Installation]:
    """With the program's tables."""
    with installed_databases.lent() as url, closing(Installation(tmp_path / "sage", url)) as made:
        yield made


@pytest.fixture
def scene(installation: Installation, pair: Pair, program: Program) -> Scene:
    """With a full backup, and rows that came after it."""
    pair.change("CREATE TABLE a AS SELECT g AS id, md5(g::text) AS b FROM generate_series(1, 200) g")
    made = Scene(installation, pair)
    first = program.run(("backup", "run"), made.environment, made.working_directory)
    assert first.exit_code == 0, str(first)
    made.require_good_ones_restore()
    pair.change("DELETE FROM a WHERE id < 9", "INSERT INTO a VALUES (900, 'later')")
    installation.execute("UPDATE historial_backup SET fecha_creacion = fecha_creacion - interval '1 hour'")
    return made


def test_backups_killed_at_every_step(scene: Scene, program: Program) -> None:
    arguments = ("backup", "run", "--diff")
    whole = program.run(arguments, scene.environment, scene.working_directory)
    assert whole.exit_code == 0, str(whole)
    first = next(number for number, name in enumerate(whole.reached, 1) if name.endswith("begin_backup"))
    for step in range(first if not EVERY_ONE else 1, MOST_STEPS, 1 if EVERY_ONE else 5):
        ended = program.run(arguments, scene.environment, scene.working_directory, strike_at=step)
        if ended.exit_code == 0:
            break
        assert ended.exit_code == -signal.SIGKILL, str(ended)
    assert step > first + 10
    last = program.run(arguments, scene.environment, scene.working_directory)
    assert last.exit_code == 0, str(last)
    scene.require_nothing_left()
    scene.require_good_ones_restore()


def numbers_of(kind: str) -> Iterator[int]:
    """Which calls of a kind are killed."""
    if EVERY_ONE:
        yield from range(1, MOST_CALLS)
    yield from (number for each, number in SAMPLE if each == kind)


def killed_at(strace: str, arguments: tuple[str, ...], environment: Mapping[str, str], kind: str, number: int) -> int:
    """Run the command line; a process of it, `pg_dump` too, dies at that call. Its exit code."""
    calls = KINDS[kind]
    inject = ("-e", f"trace={calls}", "-e", f"inject={calls}:signal=SIGKILL:when={number}")
    command = [strace, "-f", "-qq", "-o", os.devnull, *inject, sys.executable, "janitor_daemon.py", *arguments]
    run = subprocess.run(command, cwd=REPOSITORY, env=dict(environment), capture_output=True, check=False, timeout=120)
    return run.returncode


@pytest.mark.parametrize("kind", [kind for kind in KINDS if EVERY_ONE or any(kind == each for each, _ in SAMPLE)])
def test_backups_killed_by_strace(strace: str, scene: Scene, program: Program, kind: str) -> None:
    arguments = ("backup", "run", "--diff")
    for number in numbers_of(kind):
        if killed_at(strace, arguments, scene.environment, kind, number) == 0:
            break
    last = program.run(arguments, scene.environment, scene.working_directory)
    assert last.exit_code == 0, str(last)
    scene.require_nothing_left()
    scene.require_good_ones_restore()


@pytest.mark.parametrize("kind", [*(kind for kind in KINDS if EVERY_ONE), *(() if EVERY_ONE else ("rename",))])
def test_logs_killed_by_strace(strace: str, installation: Installation, program: Program, kind: str) -> None:
    directory = installation.directory / "registros"
    environment = {**installation.environment, "LOGS_PATH": str(directory), "PYTHONDONTWRITEBYTECODE": "1"}
    directory.mkdir()
    originals = {f"{number}.log": text(30_000, number) for number in range(3)}
    for number in numbers_of(kind) if EVERY_ONE else (1, 2):
        for name, content in originals.items():
            (directory / f"{name}.gz").unlink(missing_ok=True)
            make_log(directory / name, content)
        ended = killed_at(strace, ("run", "logs"), environment, kind, number)
        require_nothing_lost(directory, originals)
        if ended == 0:
            break
    last = program.run(("run", "logs"), environment, installation.directory)
    assert last.exit_code == 0, str(last)
    require_nothing_left_over(directory)
    require_nothing_lost(directory, originals)
