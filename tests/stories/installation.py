"""One installation of the platform and the daemon: its directories, its database, and the commands run in it."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg2
import psycopg2.extras

from sql.database import Database
from tests.destinations import Destination
from tests.disks.privileges import WITHOUT_CAPABILITIES
from tests.processes import wait_until
from tests.repository import REPOSITORY
from tests.stories.forked import ForkedCommand, ForkedCommands, may_be_forked

PROGRAM = REPOSITORY / "janitor_daemon.py"
COMMAND_TIMEOUT_SECONDS = 240
LOG_LINE = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} - janitor_daemon - (?P<level>[A-Z]+) - (?P<message>.*)", re.DOTALL
)

Process = subprocess.Popen[bytes] | ForkedCommand

PLATFORM_TABLES = """
CREATE TABLE cloud_providers (
    id            SERIAL PRIMARY KEY,
    nombre        VARCHAR(255) NOT NULL,
    tipo          VARCHAR(50)  NOT NULL,
    credenciales  JSONB,
    configuracion JSONB,
    activo        BOOLEAN DEFAULT true
);
CREATE TABLE ejecuciones_config (
    id                         SERIAL PRIMARY KEY,
    nube_primaria_id           INTEGER,
    nubes_alternativas         INTEGER[],
    tiempo_retencion_local     INTEGER DEFAULT 0,
    prefijo_ruta_nube          VARCHAR(255) DEFAULT '',
    migrar_automaticamente     BOOLEAN DEFAULT true,
    eliminar_despues_de_migrar BOOLEAN DEFAULT false
);
CREATE TABLE ejecuciones_yaml (
    id               SERIAL PRIMARY KEY,
    uuid             VARCHAR(64) NOT NULL,
    ruta_directorio  TEXT,
    fecha_ejecucion  TIMESTAMP,
    migrado_a_nube   BOOLEAN DEFAULT false,
    ruta_nube        TEXT,
    nube_provider_id INTEGER
);
"""


@dataclass(frozen=True)
class Run:
    """What one command did: how it ended, what it wrote, how long it took."""

    exit_code: int
    output: str
    errors: str
    seconds: float

    def messages(self, level: str = "") -> list[str]:
        """The log lines on the console, of one level or of all, without time and logger."""
        found = [match for line in self.errors.splitlines() if (match := LOG_LINE.fullmatch(line))]
        return [match["message"] for match in found if level in ("", match["level"])]

    def said(self, level: str, message: str) -> bool:
        """Whether exactly this line was logged, exactly once."""
        return self.messages(level).count(message) == 1

    @property
    def needs_a_person(self) -> bool:
        """Whether a provider of the policy waits for somebody to mend it, which makes the exit code 1."""
        return any("que alguien tiene que arreglar: " in line for line in self.messages("INFO"))

    def __repr__(self) -> str:
        return f"exit code {self.exit_code} after {self.seconds:.1f} s\n{self.output}\n{self.errors}"


def _started(command: Sequence[str], environment: Mapping[str, str], directory: Path) -> RunningCommand:
    """A command as a process of its own."""
    started = time.monotonic()
    output_path, errors_path = _new_console(directory)
    with output_path.open("wb") as output, errors_path.open("wb") as errors:
        process = subprocess.Popen(
            command, env=dict(environment), cwd=directory, stdin=subprocess.DEVNULL, stdout=output, stderr=errors
        )
    return RunningCommand(process, output_path, errors_path, started)


def _new_console(directory: Path) -> tuple[Path, Path]:
    """New files for what one more command writes: its output and its errors."""
    for number in itertools.count(len(list(directory.glob("*.stderr")))):
        with contextlib.suppress(FileExistsError):  # another one began at the same time
            (directory / f"{number}.stderr").touch(exist_ok=False)
            break
    return directory / f"{number}.stdout", directory / f"{number}.stderr"


class RunningCommand:
    """A command under way, and the files that are its console. Leaving the context kills it if it still runs."""

    def __init__(self, process: Process, output: Path, errors: Path, started: float) -> None:
        self.process = process
        self._output = output
        self._errors = errors
        self._started = started

    def errors(self) -> str:
        """What it has written to the console so far."""
        return self._errors.read_text(encoding="utf-8")

    def wait_for_line(self, text: str, seconds: float = 30) -> None:
        """Wait until the console shows `text`."""
        wait_until(lambda: text in self.errors() or self.process.poll() is not None, seconds)
        assert text in self.errors(), self.errors()

    def finish(self, seconds: float = COMMAND_TIMEOUT_SECONDS) -> Run:
        """Wait for its end."""
        return Run(
            self.process.wait(seconds),
            self._output.read_text(encoding="utf-8"),
            self.errors(),
            time.monotonic() - self._started,
        )

    def stop(self, signal_number: signal.Signals, seconds: float = 30) -> Run:
        """Send a signal and wait for the end; the time in the answer runs from the signal."""
        self._started = time.monotonic()
        self.process.send_signal(signal_number)
        return self.finish(seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


class Installation:
    """The platform's directories below one directory, its database, and the daemon's command line.

    `executions` is where executions live and what JANITOR_ROOTS names; `environment` is all that a command sees.
    With `forked`, commands are forked where they may be; otherwise each is a Python of its own. `constants` are other
    values for forked commands: see `tests.stories.programs`.
    """

    forked: ForkedCommands | None = None

    def __init__(self, directory: Path, database_url: str) -> None:
        self.directory = directory
        self.database_url = database_url
        self.executions = directory / "ejecuciones"
        self.temporary = directory / "temporales"
        self.logs = directory / "registros"
        self._work = directory / "trabajo"
        self.program = PROGRAM
        self.constants: Mapping[str, float] = {}
        for made in (directory, self.executions, self.temporary, self._work, directory / "bloqueos"):
            made.mkdir()
        self.environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self._work),
            "LANG": "C.UTF-8",
            "AWS_EC2_METADATA_DISABLED": "true",
            "DATABASE_URL": database_url,
            "JANITOR_ROOTS": str(self.executions),
            "JANITOR_LOG_DIR": str(self.logs),
            "JANITOR_LOCK_DIR": str(directory / "bloqueos"),
            "TEMP_DIR": str(self.temporary),
        }
        self.connect()

    def connect(self) -> None:
        """Enter the database, as the platform would."""
        self._connection = psycopg2.connect(self.database_url)
        self._connection.autocommit = True

    def close(self) -> None:
        """Leave the database."""
        self._connection.close()

    # The platform

    def create_platform_tables(self, *variants: tuple[str, str]) -> None:
        """Make the platform's tables as production has them; each variant replaces one text of their definition."""
        create_platform_tables(self.database_url, *variants)

    def install(self, *variants: tuple[str, str]) -> None:
        """The platform's tables and the daemon's own, as `init-db` makes them, without the start of a process."""
        install(self.database_url, *variants)

    def add_provider(self, destination: Destination, name: str | None = None, *, active: bool | None = True) -> int:
        """Add a row for a destination; give its id."""
        return self.add_provider_row(
            name or destination.name, destination.kind, destination.credentials, destination.options, active=active
        )

    def add_provider_row(
        self, name: str, kind: str, credentials: object, options: object, *, active: bool | None = True
    ) -> int:
        """Add a row with whatever it holds; give its id."""
        return self._insert(
            "INSERT INTO cloud_providers (nombre, tipo, credenciales, configuracion, activo) "
            "VALUES (%s, %s, %s, %s, %s) RETURNING id",
            (name, kind, _json(credentials), _json(options), active),
        )

    def configure(self, primary: int | None, *alternates: int, **columns: object) -> int:
        """Add a row of `ejecuciones_config`, which is then the one in force."""
        values = {"nube_primaria_id": primary, "nubes_alternativas": list(alternates) or None, **columns}
        names = ", ".join(values)
        places = ", ".join(["%s"] * len(values))
        return self._insert(
            f"INSERT INTO ejecuciones_config ({names}) VALUES ({places}) RETURNING id",  # noqa: S608 our own names
            tuple(values.values()),
        )

    def new_directory(self, uuid: str) -> Path:
        """An empty directory in which an execution would keep its files."""
        directory = self.executions / uuid
        directory.mkdir()
        return directory

    def add_execution(
        self, uuid: str, directory: Path | str | None, age_hours: float = 48, migrated: bool | None = False
    ) -> int:
        """Add the row of an execution that ended so long ago; give its id."""
        return self._insert(
            "INSERT INTO ejecuciones_yaml (uuid, ruta_directorio, fecha_ejecucion, migrado_a_nube) "
            "VALUES (%s, %s, now() - make_interval(secs => %s), %s) RETURNING id",
            (uuid, None if directory is None else str(directory), age_hours * 3600, migrated),
        )

    def small_execution(self, uuid: str, age_hours: float = 48, **contents: str) -> Path:
        """An execution of two small files, or of those named; give its directory."""
        directory = self.new_directory(uuid)
        for name, text in (contents or {"ejecucion": "nombre: prueba\n", "tabla": f"a,b\n1,{uuid}\n"}).items():
            (directory / f"{name}.txt").write_text(text)
        self.add_execution(uuid, directory, age_hours)
        return directory

    # The daemon

    def start(self, *arguments: str, **environment: str | None) -> RunningCommand:
        """Start a command; `environment` adds variables, or takes them away with `None`."""
        changed = self._changed_environment(environment)
        if self.forked is None or self.program != PROGRAM or not may_be_forked(changed):
            assert not self.constants, "only forked commands have other values"
            return self.start_python(*arguments, **environment)
        started = time.monotonic()
        output, errors = _new_console(self._work)
        return RunningCommand(
            self.forked.start(arguments, changed, self._work, output, errors, self.constants), output, errors, started
        )

    def start_python(self, *arguments: str, **environment: str | None) -> RunningCommand:
        """The same as a Python of its own, for tests that look at the process and its command line."""
        command = [sys.executable, str(self.program), *arguments]
        return _started(command, self._changed_environment(environment), self._work)

    def run_as_ordinary_user(self, *arguments: str, **environment: str | None) -> Run:
        """As `run`, where permissions hold for root, too."""
        command = [sys.executable, "-c", WITHOUT_CAPABILITIES, str(self.program), *arguments]
        with _started(command, self._changed_environment(environment), self._work) as running:
            return running.finish()

    def run(self, *arguments: str, **environment: str | None) -> Run:
        """Run a command to its end."""
        with self.start(*arguments, **environment) as command:
            return command.finish()

    def _changed_environment(self, changes: Mapping[str, str | None]) -> dict[str, str]:
        return {name: value for name, value in {**self.environment, **changes}.items() if value is not None}

    @property
    def log_file(self) -> Path:
        """The log file that operators read."""
        return self.logs / "janitor_daemon.log"

    # What is in the database

    def execute(self, statement: str, parameters: Sequence[object] = ()) -> None:
        """Run a statement, as the platform or an operator would."""
        with self._connection.cursor() as cursor:
            cursor.execute(statement, parameters or None)

    def let_pauses_end(self) -> None:
        """What is left alone for a while after failures, executions, copies and providers, is due from now on."""
        self.execute("UPDATE janitor_migrations SET next_try_at = now() WHERE next_try_at IS NOT NULL")
        self.execute("UPDATE janitor_migrations SET deletion_next_at = now() WHERE deletion_next_at IS NOT NULL")
        self.execute("UPDATE janitor_provider_health SET until = now() WHERE until IS NOT NULL")

    def rows(self, question: str, parameters: Sequence[object] = ()) -> list[dict[str, Any]]:
        """Ask the database."""
        with self._connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
            cursor.execute(question, parameters or None)
            return [dict(row) for row in cursor.fetchall()]

    def execution(self, uuid: str) -> dict[str, Any]:
        """The platform's row of an execution."""
        (row,) = self.rows("SELECT * FROM ejecuciones_yaml WHERE uuid::text = %s", (uuid,))
        return row

    def place(self, uuid: str) -> tuple[bool | None, str | None, int | None]:
        """What the platform reads of an execution: whether it is migrated, whereto, and on which provider."""
        row = self.execution(uuid)
        return row["migrado_a_nube"], row["ruta_nube"], row["nube_provider_id"]

    def migration(self, uuid: str) -> dict[str, Any]:
        """The daemon's own row of an execution."""
        (row,) = self.rows("SELECT * FROM janitor_migrations WHERE uuid = %s", (uuid,))
        return row

    def attempts(self, uuid: str) -> list[tuple[int, str]]:
        """Provider and state of every attempt for an execution, in order."""
        rows = self.rows(
            "SELECT attempt.provider_id, attempt.state FROM janitor_attempts AS attempt "
            "JOIN ejecuciones_yaml AS execution ON execution.id = attempt.execution_id "
            "WHERE execution.uuid::text = %s ORDER BY attempt.id",
            (uuid,),
        )
        return [(row["provider_id"], row["state"]) for row in rows]

    def unfinished(self) -> dict[str, int]:
        """What two clean ticks must not leave: open attempts, leases, removals under way, runs without an end."""
        (row,) = self.rows(
            "SELECT (SELECT count(*) FROM janitor_attempts WHERE state IN ('open', 'abandoned')) AS attempts, "
            "(SELECT count(*) FROM janitor_migrations WHERE lease_expires_at IS NOT NULL) AS leases, "
            "(SELECT count(*) FROM janitor_migrations WHERE local_copy = 'deleting') AS removals"
        )
        return row

    def everything_in_the_database(self) -> dict[str, list[str]]:
        """Every row of every table, and where every sequence stands, as text."""
        tables = [row["name"] for row in self.rows("SELECT tablename AS name FROM pg_tables WHERE schemaname='public'")]
        content = {
            table: [row["line"] for row in self.rows(f'SELECT t::text AS line FROM "{table}" AS t ORDER BY 1')]  # noqa: S608
            for table in tables
        }
        sequences = self.rows("SELECT sequencename || ' ' || coalesce(last_value, 0) AS line FROM pg_sequences")
        return {**content, "(sequences)": sorted(row["line"] for row in sequences)}

    def _insert(self, statement: str, parameters: Iterable[object]) -> int:
        (row,) = self.rows(statement, tuple(parameters))
        return int(row["id"])


def create_platform_tables(database_url: str, *variants: tuple[str, str]) -> None:
    """Make the platform's tables as production has them; each variant replaces one text of their definition."""
    statements = PLATFORM_TABLES
    for usual, unusual in variants:
        assert usual in statements
        statements = statements.replace(usual, unusual)
    with contextlib.closing(psycopg2.connect(database_url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statements)


def install(database_url: str, *variants: tuple[str, str]) -> None:
    """Make the platform's tables and, as `init-db` does, the daemon's own."""
    create_platform_tables(database_url, *variants)
    with contextlib.closing(Database(database_url, "install")) as database:
        database.connect()
        database.initialize()


def _json(value: object) -> str | None:
    return None if value is None else json.dumps(value)
