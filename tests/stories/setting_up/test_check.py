"""`check` finds what would keep a tick from working, one line for each, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from commands.check import check_everything
from commands.check_rights import with_advice
from config.models import ProviderRow
from config.settings import load_settings
from jobs.settings import settings_of_jobs
from providers import build_provider
from providers.base import Provider
from providers.errors import AccessDenied
from providers.shared.answers import CLOCK_IS_OFF
from sql.database import Database
from tests.destinations import Destination
from tests.faults.http_effects import address_of, behind, refuse
from tests.faults.http_proxy import Fault, HttpFaultProxy
from tests.repository import REPOSITORY
from tests.stories.installation import PROGRAM, Installation, Run


@pytest.fixture
def ready(installation: Installation, nas: Destination) -> Installation:
    """Everything is in order."""
    installation.configure(installation.add_provider(nas, "El NAS"), eliminar_despues_de_migrar=True)
    return installation


def findings(run: Run, mark: str = "ERROR") -> list[str]:
    """The lines of one kind, without their mark."""
    return [line[7:] for line in run.output.splitlines() if line.startswith(mark)]


def advice(run: Run) -> list[str]:
    """The advice, without what is true of every machine with a single disk."""
    return [line for line in findings(run, "aviso") if "está en el mismo sistema de ficheros que" not in line]


def test_where_all_is_in_order_nothing_else_is_said(ready: Installation) -> None:
    run = ready.run("check")
    assert run.exit_code == 0, str(run)
    assert findings(run) == advice(run) == []
    subjects = " ".join(findings(run, "bien"))
    for subject in ("raíz", "registro", "bloqueo", "archivos temporales", "proveedor El NAS"):
        assert subject in subjects


@pytest.mark.parametrize("has_server", [True, False], ids=["before init-db", "no server"])
def test_what_needs_no_database_is_checked_without_one(bare_installation: Installation, *, has_server: bool) -> None:
    """A newcomer learns everything at once; the database itself is told last, as before."""
    address = {} if has_server else {"DATABASE_URL": "postgresql://nadie@127.0.0.1:1/nada"}
    missing = bare_installation.directory / "no-está"
    settings = {"BACKUP_ENABLED": "true", "BACKUP_PG_BIN": str(missing), "JANITOR_REPORT_DAY": "9"}
    run = bare_installation.run("check", JANITOR_ROOTS=str(missing), TEMP_DIR="/", **settings, **address)
    assert run.exit_code == (2 if has_server else 3), str(run)
    told = "\n".join(findings(run))
    for wanted in (f"raíz {missing}: no existe", "directorio temporal", "JANITOR_REPORT_DAY", "no hay pg_dump y psql"):
        assert wanted in told, str(run)
    assert {"variables", "bloqueo"} <= {line.split()[0].strip(":") for line in findings(run, "bien")}
    assert len(run.messages("ERROR")) == 1


LATE_CLOCK = """CREATE FUNCTION public.now() RETURNS timestamptz LANGUAGE sql STABLE
AS $$ SELECT pg_catalog.now() - interval '10 days 1 hour' $$"""


@pytest.mark.parametrize("destination", ["s3-rclone"])
def test_a_clock_that_is_off_is_reported_before_credentials_are_doubted(
    ready: Installation, new_destination: Callable[[str], Destination], destination: str
) -> None:
    """For the program, the database's clock is the one of a function that comes before PostgreSQL's own."""
    real = new_destination(destination)

    skewed = Fault("refused", refuse("s3", 403, "RequestTimeTooSkewed"), "^PUT ")
    ready.execute(LATE_CLOCK)
    late = {"DATABASE_URL": f"{ready.database_url}?options=-csearch_path%3Dpublic,pg_catalog"}
    try:
        with HttpFaultProxy(address_of(real), skewed) as proxy:
            ready.configure(ready.add_provider(behind(real, proxy.url), "Amazon"))
            check = ready.run("check", **late)
            ready.small_execution("u-1")
            ready.run("--migrate-only")
        status = ready.run("status", **late)
        health = ready.run("health", **late)
    finally:
        ready.execute("DROP FUNCTION public.now()")
    told = findings(check)
    assert told[0].startswith("reloj: el de este equipo va 10 d adelantado"), str(check)
    assert "póngalo en hora (NTP)" in "".join(told[1:]), str(check)
    assert "revise las credenciales" not in check.output + with_advice(AccessDenied(CLOCK_IS_OFF))
    clock, provider = (line for line in status.output.splitlines() if line.startswith("  ! "))
    assert "reloj: el de este equipo va 10 d adelantado" in clock, str(status)
    assert "antes de tocar las credenciales" in provider
    assert "10 d adelantado" in health.output
    assert "reloj" not in ready.run("check").output


def _no_roots(ready: Installation) -> dict[str, str | None]:
    return {"JANITOR_ROOTS": None}


def _missing_root(ready: Installation) -> dict[str, str | None]:
    return {"JANITOR_ROOTS": str(ready.directory / "no-está")}


def _root_of_the_system(ready: Installation) -> dict[str, str | None]:
    return {"JANITOR_ROOTS": "/etc"}


def _unwritable_root(ready: Installation) -> dict[str, str | None]:
    ready.executions.chmod(0o555)
    return {}


def _link_as_root(ready: Installation) -> dict[str, str | None]:
    (ready.directory / "enlace").symlink_to(ready.executions)
    return {"JANITOR_ROOTS": str(ready.directory / "enlace")}


def _copies_in_a_root(ready: Installation) -> dict[str, str | None]:
    root = _directory_of_copies(ready)  # the directory above holds the program's own, too
    (root / "copias").mkdir()
    ready.execute(
        "UPDATE cloud_providers SET configuracion = jsonb_build_object('ruta', %s::text)", (f"{root}/copias",)
    )
    return {"JANITOR_ROOTS": f"{ready.executions}:{root}"}


def _root_among_copies(ready: Installation) -> dict[str, str | None]:
    root = _directory_of_copies(ready) / "dentro"
    root.mkdir()
    return {"JANITOR_ROOTS": str(root)}


def _directory_of_copies(ready: Installation) -> Path:
    (row,) = ready.rows("SELECT configuracion->>'ruta' AS path FROM cloud_providers")
    return Path(row["path"])


def _bad_keys(ready: Installation) -> dict[str, str | None]:
    return {"JANITOR_SECRET_KEYS": "no-es-una-clave"}


def _dotenv_of(mode: int) -> Callable[[Installation], dict[str, str | None]]:
    def make(ready: Installation) -> dict[str, str | None]:
        path = Path(ready.environment["HOME"], ".env")
        path.write_text("LANG=C.UTF-8\n")
        path.chmod(mode)
        return {}

    return make


def _unwritable(name: str) -> Callable[[Installation], dict[str, str | None]]:
    def make(ready: Installation) -> dict[str, str | None]:
        directory = ready.directory / name
        directory.mkdir(exist_ok=True)
        directory.chmod(0o555)
        return {}

    return make


def _no_lock_directory(ready: Installation) -> dict[str, str | None]:
    return {"JANITOR_LOCK_DIR": str(ready.directory / "no-está")}


WRONG: dict[str, tuple[Callable[[Installation], dict[str, str | None]], str]] = {
    "no roots, though deletion is on": (
        _no_roots,
        r"raíces: JANITOR_ROOTS no está definida.*eliminar_despues",
    ),
    "a root that is missing": (_missing_root, r"raíz .*/no-está: no existe; móntela"),
    "a root of the system": (_root_of_the_system, r"raíz /etc: es un directorio del sistema"),
    "a root that may not be written to": (_unwritable_root, r"raíz .*: no se puede escribir en ella: .*chmod u\+rwX"),
    "a link as a root": (_link_as_root, r"raíz .*/enlace: es o atraviesa un enlace simbólico"),
    "copies in a root": (_copies_in_a_root, r"proveedor El NAS \(local\): su ruta .* está dentro de la raíz"),
    "a root among copies": (_root_among_copies, r"proveedor El NAS \(local\): su ruta .* está dentro de la raíz"),
    "keys that are none": (_bad_keys, r"claves de los secretos: JANITOR_SECRET_KEYS: la clave número 1"),
    "a .env that all read": (_dotenv_of(0o644), r"\.env: tiene modo 644 .*chmod 600 /.*/\.env"),
    "a .env that its group writes": (_dotenv_of(0o660), r"\.env: tiene modo 660 .*chmod 600 /.*/\.env"),
    "a log directory that may not be written to": (_unwritable("registros"), r"registro .*chmod u\+rwX .*/registros"),
    "a lock directory that may not be written to": (_unwritable("bloqueos"), r"bloqueo .*chmod u\+rwX .*/bloqueos"),
    "a lock directory that is missing": (_no_lock_directory, r"bloqueo .*/no-está: no es un directorio que exista"),
    "temporary files that may not be removed": (_unwritable("temporales"), r"archivos temporales .*chmod u\+rwX"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_on_this_host_is_said_in_one_line(ready: Installation, name: str) -> None:
    make, wanted = WRONG[name]
    run = ready.run_as_ordinary_user("check", **make(ready))
    assert run.exit_code == 1, str(run)
    (line,) = findings(run)
    assert re.match(wanted, line), line


def test_roots_need_not_be_set_or_writable_where_nothing_is_deleted(ready: Installation) -> None:
    ready.execute("UPDATE ejecuciones_config SET eliminar_despues_de_migrar = false")
    assert ready.run("check", JANITOR_ROOTS=None).exit_code == 0
    ready.executions.chmod(0o555)
    run = ready.run_as_ordinary_user("check")
    assert run.exit_code == 0, str(run)
    assert len(advice(run)) == 1


@pytest.mark.parametrize("mode", [0o000, 0o555])
def test_a_directory_that_may_not_be_used_is_named_and_not_its_credentials(
    ready: Installation, nas: Destination, mode: int
) -> None:
    nas.directory.chmod(mode)
    run = ready.run_as_ordinary_user("check")
    nas.directory.chmod(0o755)
    told = [line for line in findings(run) if "permiso denegado: " in line]
    assert told, str(run)
    assert not re.search("varios ficheros|credenciales", run.output)
    if mode == 0:
        (line,) = told
        advice = "revise el dueño y los permisos del directorio configuracion.ruta"
        assert line.endswith(f"permiso denegado: {nas.directory}; {advice}")


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o400])
def test_a_dotenv_that_only_its_owner_changes_is_in_order(ready: Installation, mode: int) -> None:
    _dotenv_of(mode)(ready)
    assert ready.run("check").exit_code == 0


# Rights at a provider


REFUSED: dict[str, tuple[str, str]] = {
    r"^PUT /[^?]*janitor-check-[0-9a-f]{16}": ("escribir (s3:PutObject)", "no se puede migrar nada a este proveedor"),
    r"^GET /[^?]*janitor-check-[0-9a-f]{16}": ("leer (s3:GetObject)", "no se puede probar ni restaurar ninguna copia"),
    r"^GET /[^?]*\?.*list-type": ("listar (s3:ListBucket)", "no se sabe qué hay ya en cada lugar"),
    r"^DELETE /[^?]*janitor-check-[0-9a-f]{16}($|\?x-id)": (
        "borrar (s3:DeleteObject)",
        "lo que deja un intento fallido",
    ),
    r"^POST /[^?]*\?.*uploads": ("empezar subidas por partes (s3:PutObject)", "no van los ficheros de más de 8 MiB"),
    r"^GET /[^?]*\?.*uploads": (
        "listar subidas por partes (s3:ListBucketMultipartUploads)",
        "las subidas sin terminar se quedan",
    ),
    r"^DELETE /.*uploadId": (
        "abandonar subidas por partes (s3:AbortMultipartUpload)",
        "las subidas sin terminar se quedan",
    ),
}


@pytest.mark.parametrize("request_line", REFUSED, ids=lambda line: REFUSED[line][0])
def test_each_right_is_tried_and_what_follows_without_it_is_said(
    ready: Installation, new_destination: Callable[[str], Destination], request_line: str
) -> None:
    """On S3, where each has a name of its own. The object of the trial is gone, unless deletion is what is refused."""
    name, consequence = REFUSED[request_line]
    real = new_destination("s3-swift")
    with HttpFaultProxy(address_of(real), Fault("refused", refuse("s3", 403, "AccessDenied"), request_line)) as proxy:
        ready.configure(ready.add_provider(behind(real, proxy.url), "Amazon"))
        run = ready.run("check")
    assert run.exit_code == 1, str(run)
    told = findings(run)
    assert [line for line in told if f"no puede {name}: " in line and f"sin eso {consequence}" in line], str(run)
    left = {key for key in real.everything_stored() if not name.startswith("abandonar") or "(unfinished)" not in key}
    if name.startswith("borrar"):
        (key,) = left
        assert told[-1].endswith(f"queda el objeto de prueba {key}: bórrelo a mano")
    else:
        assert left == set()


def test_a_provider_that_refuses_everything_is_one_line(
    ready: Installation, new_destination: Callable[[str], Destination]
) -> None:
    real = new_destination("s3-rclone").with_credentials(secret_key="no-es-esta")
    ready.configure(ready.add_provider(real, "Amazon"))
    run = ready.run("check")
    assert run.exit_code == 1, str(run)
    (line,) = findings(run)
    assert "revise las credenciales" in line


def test_a_check_that_cannot_be_made_stops_no_other(
    installation: Installation, nas: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A vendor's package is there and does not load; then the remaining providers are checked, and the secrets."""
    installation.add_provider(nas, "Primero")
    installation.add_provider(nas, "El NAS")

    def build_unless_first(row: ProviderRow) -> Provider:
        if row.name == "Primero":
            raise ImportError("cannot import name 'ssl'")
        return build_provider(row)

    monkeypatch.setattr("commands.check.build_provider", build_unless_first)
    settings = load_settings(installation.environment, jobs=settings_of_jobs)
    with contextlib.closing(Database(settings.database_url, settings.host)) as database:
        found = {finding.subject: finding for finding in check_everything(database, settings)}
    assert "no se puede cargar (cannot import name 'ssl'); instale" in found["proveedor Primero (local)"].text
    assert found["proveedor El NAS (local)"].in_order


@pytest.mark.parametrize("destination", ["sftp-asyncssh"])
def test_a_verification_by_commands_that_cannot_work_is_found(
    ready: Installation, new_destination: Callable[[str], Destination], destination: str
) -> None:
    """The server gives files and no shell."""
    real = new_destination(destination)
    ready.configure(ready.add_provider(real.with_options(verificacion="comando"), "Archivo"))
    run = ready.run("check")
    assert run.exit_code == 1, str(run)
    (line,) = findings(run)
    assert "no puede comprobar lo guardado: " in line
    assert "verificacion" in line
    assert real.everything_stored() == set()


def test_each_kind_of_provider_passes(ready: Installation, destinations: Destination) -> None:
    ready.configure(ready.add_provider(destinations, "Este"))
    run = ready.run("check")
    assert run.exit_code == 0, str(run)
    (line,) = [line for line in findings(run, "bien") if "proveedor Este" in line]
    assert line.endswith("escribe, lee, lista y borra")
    assert destinations.everything_stored() == set()


KILLED_IN = {
    "an object is there": "LocalProvider.open",
    "an object has no name yet": "Batch.give_names",
}


@pytest.mark.parametrize("method", KILLED_IN.values(), ids=KILLED_IN.keys())
def test_what_a_killed_check_has_left_is_removed_by_the_next(
    ready: Installation, nas: Destination, method: str, tmp_path: Path
) -> None:
    """Looked for besides: a protected object (another name), two checks at once (each a name of its own)."""
    program = tmp_path / "killed.py"
    program.write_text(
        "import os, signal, sys\n"
        f"sys.path.insert(0, {str(REPOSITORY)!r})\n"
        "from providers.local.batch import Batch\n"
        "from providers.local.provider import LocalProvider\n"
        f"{method} = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "import janitor_daemon\n"
        "janitor_daemon.main()\n"
    )
    ready.program = program
    assert ready.run("check").exit_code == -signal.SIGKILL
    assert len(list(nas.directory.iterdir())) == 1
    ready.program = PROGRAM
    assert ready.run("check").exit_code == 0
    assert list(nas.directory.iterdir()) == []
