"""Checks whether this host is fit for a tick: roots, the program's own directories, `.env`, the keys of secrets."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from config.fields import FieldError
from config.logs import one_line
from config.models import MigrationPolicy, ProviderRow
from config.process.log_output import LOG_FILE_NAME
from config.process.system_paths import is_of_system
from config.process.write_advice import advice_to_write
from config.secrets import KEYS_VARIABLE, SecretKeys
from config.settings import Settings
from config.text.wording import reason_of
from files.descriptors import closing_descriptor, open_directory_path
from jobs.findings import Finding, advised, bad, good
from jobs.locks import lock_fault
from jobs.temp_files.guard import copies_fault, lock_directory_fault, log_directory_fault, temp_directory_fault
from sql.database import database_identity

OPEN_TO_OTHERS = stat.S_IWGRP | stat.S_IROTH | stat.S_IWOTH
"""The permissions that others must not have on a file with a password. Its group may read it."""


FOR_DATA = ("/srv", "/mnt", "/media")
"""System directories that exist for other programs' files."""


def check_roots(settings: Settings, policy: MigrationPolicy, rows: Iterable[ProviderRow]) -> Iterator[Finding]:
    """The directories of executions: whether a tick can work in them, and whether they hold nothing else."""
    if not settings.roots:
        text = "JANITOR_ROOTS no está definida: no se borrará ninguna copia local"
        if policy.delete_after_migration:
            wanted = "aunque eliminar_despues_de_migrar lo pide; indique en ella los directorios de las ejecuciones"
            yield bad("raíces", f"{text}, {wanted}")
        else:
            yield good("raíces", text)
    copies = [(row, os.path.realpath(path)) for row in rows if (path := _directory_of_copies(row)) is not None]
    for root in settings.roots:
        yield _check_root(root, deletes=policy.delete_after_migration)
        for row, path in copies:
            if _overlap(os.path.realpath(root), path):
                yield bad(
                    f"proveedor {row.name} ({row.kind})",
                    f"su ruta {one_line(path)} está dentro de la raíz {one_line(root)}, o al revés: una fila podría "
                    "nombrar una copia como si fuera un original; guarde las copias fuera de JANITOR_ROOTS",
                )


def _directory_of_copies(row: ProviderRow) -> str | None:
    path = row.options.get("ruta")
    return path if row.kind == "local" and row.active and isinstance(path, str) and "\0" not in path else None


def _overlap(one: str, other: str) -> bool:
    return f"{one}/".startswith(f"{other.rstrip('/')}/") or f"{other}/".startswith(f"{one}/")


def _check_root(root: str, *, deletes: bool) -> Finding:
    subject = f"raíz {one_line(root)}"
    if _is_too_much(root) or _is_too_much(os.path.realpath(root)):
        return bad(subject, "es un directorio del sistema: ponga en JANITOR_ROOTS solo los de las ejecuciones")
    if (fault := _why_it_cannot_be_opened(root)) is not None:
        return bad(subject, fault)
    if _is_writable(Path(root)):
        return good(subject, "existe y se puede escribir en ella")
    text = f"no se puede escribir en ella: {_advice(Path(root), 'JANITOR_ROOTS')}"
    if deletes:
        return bad(subject, f"{text}; hasta entonces no se borra ninguna copia local")
    return advised(subject, f"{text}, si se han de borrar copias locales")


def _is_too_much(path: str) -> bool:
    return is_of_system(path) and path not in FOR_DATA


def _why_it_cannot_be_opened(root: str) -> str | None:
    try:
        with closing_descriptor(open_directory_path(root)):
            return None
    except FileNotFoundError:
        return "no existe; móntela, créela o corrija JANITOR_ROOTS"
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            return "es o atraviesa un enlace simbólico, o no es un directorio; use la ruta real"
        return f"no se puede abrir: {reason_of(error)}; {advice_to_write(Path(root), error, 'JANITOR_ROOTS')}"


def check_own_directories(settings: Settings, copies: Iterable[str]) -> Iterator[Finding]:
    """The program's own directories, for log, lock and temporary files, which must be apart from `copies`."""
    for subject, fault in (("registro", log_directory_fault(settings)), ("bloqueo", lock_directory_fault(settings))):
        if fault is not None:
            yield bad(subject, fault)
    yield _check_log_directory(settings.log_directory)
    yield _check_lock_directory(settings)
    yield _check_temp_directory(settings, copies)


def _check_log_directory(directory: Path) -> Finding:
    subject = f"registro {one_line(directory)}"
    log_file = directory.absolute() / LOG_FILE_NAME
    consequence = "hasta entonces todo va solo a la consola, y cada ciclo termina con 1"
    if log_file.exists() and not os.access(log_file, os.W_OK):
        advice = _advice(log_file, "JANITOR_LOG_DIR")
        return bad(subject, f"no se puede escribir en {one_line(log_file)}: {advice}; {consequence}")
    existing = next(path for path in (log_file.parent, *log_file.parents) if path.exists())
    if not existing.is_dir() or not _is_writable(existing):
        advice = _advice(log_file, "JANITOR_LOG_DIR")
        return bad(subject, f"no se puede escribir en {one_line(existing)}: {advice}; {consequence}")
    return good(subject, "se puede escribir" if existing == log_file.parent else "se creará con el primer ciclo")


def _check_lock_directory(settings: Settings) -> Finding:
    directory = settings.lock_directory
    subject = f"bloqueo {one_line(directory)}"
    if not directory.is_dir():
        return bad(subject, "no es un directorio que exista; indique otro en JANITOR_LOCK_DIR, o ningún ciclo empezará")
    if not _is_writable(directory):
        return bad(subject, f"no se puede escribir en él: {_advice(directory, 'JANITOR_LOCK_DIR')}")
    if (fault := lock_fault(directory, database_identity(settings.database_url))) is not None:
        return bad(subject, fault)
    return good(subject, "se puede escribir")


def _check_temp_directory(settings: Settings, copies: Iterable[str]) -> Finding:
    directory = settings.temp_directory
    fault = temp_directory_fault(settings) or copies_fault(settings, copies)
    if fault is not None:
        return bad("directorio temporal", fault)
    subject = f"archivos temporales {one_line(directory)}"
    if not os.path.lexists(directory):
        return advised(subject, "no existe: la limpieza se omite; créelo o indique otro en TEMP_DIR")
    if not directory.is_dir() or not os.access(directory, os.R_OK) or not _is_writable(directory):
        text = f"no se puede leer y escribir en él: {_advice(directory, 'TEMP_DIR')}"
        return bad(subject, f"{text}; hasta entonces no se limpia nada")
    return good(subject, "se puede escribir")


def _is_writable(directory: Path) -> bool:
    """Whether this user can make and remove entries there, on this file system."""
    return os.access(directory, os.W_OK | os.X_OK)


def _advice(path: Path, variable: str) -> str:
    existing = next(candidate for candidate in (path, *path.parents) if candidate.exists())
    is_read_only = bool(os.statvfs(existing).f_flag & os.ST_RDONLY)
    code = errno.EROFS if is_read_only else errno.EACCES
    advice = advice_to_write(path, OSError(code, os.strerror(code)), variable)
    return f"está montado de solo lectura; {advice}" if is_read_only else advice


def check_dotenv(path: Path = Path(".env")) -> Iterator[Finding]:
    """The file with passwords and keys in the working directory, if there is one."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return
    if mode & OPEN_TO_OTHERS:
        text = f"tiene modo {mode:o} y puede guardar contraseñas: otros usuarios lo leen o lo cambian"
        yield bad(".env", f"{text}; ejecute chmod 600 {one_line(path.absolute())}")
    else:
        yield good(".env", f"se leyó {one_line(path.absolute())}; solo lo cambia su dueño (modo {mode:o})")


def check_secret_keys() -> Iterator[Finding]:
    """The keys of `secretos_nube`, if there are any."""
    if not os.environ.get(KEYS_VARIABLE):
        return
    try:
        SecretKeys.from_environment()
    except FieldError as error:
        text = f"{error}; póngala como la escribió 'secret new-key', o no se abre ningún secreto"
        yield bad("claves de los secretos", text)
    else:
        yield good("claves de los secretos", "se pueden usar")
