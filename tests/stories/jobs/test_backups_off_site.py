"""Backups at providers as operators use them: sent by the tick, brought back, found again on a new machine."""

from __future__ import annotations

import contextlib
import fcntl
import json
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pyrage
import pytest

from demo.servers.postgres import EmbeddedPostgres
from tests.commands.json_schemas import require_valid
from tests.databases.lent_databases import DISCONNECTED
from tests.destinations import Destination, local_destination
from tests.jobs.notify.services import MailServer
from tests.processes import wait_until
from tests.servers.authority import PrivateAuthority
from tests.stories.doors import refused_port
from tests.stories.installation import Installation, Run

PREFIX = "sage/principal"
DUE_AGAIN = "UPDATE janitor_jobs SET last_good_at = NULL, tries = 0, last_started_at = NULL WHERE job = 'backup'"


def switch_on(installation: Installation, postgres: EmbeddedPostgres) -> Installation:
    """Let an installation back its database up, and do nothing else."""
    installation.environment.update(
        BACKUP_ENABLED="true",
        BACKUP_PATH=str(installation.directory / "copias"),
        BACKUP_PG_BIN=str(postgres.binaries),
    )
    installation.environment.pop("JANITOR_ROOTS", None)
    return installation


@pytest.fixture
def sage(installation: Installation, postgres: EmbeddedPostgres) -> Installation:
    """An installation whose database is backed up, with a table that changes."""
    installation.configure(None, prefijo_ruta_nube=PREFIX)
    for number in range(3):
        installation.small_execution(f"e-{number}")
    return switch_on(installation, postgres)


@pytest.fixture
def empty_database(
    postgres: EmbeddedPostgres, database_administrator: Callable[[str], None], database_numbers: Iterator[int]
) -> Iterator[str]:
    """The libpq URI of an empty database."""
    name = f"empty_{next(database_numbers)}"
    database_administrator(f"CREATE DATABASE {name}")
    yield postgres.url_of(name)
    database_administrator(DISCONNECTED.format(name=name))
    database_administrator(f"DROP DATABASE {name} WITH (FORCE)")


def done(run: Run) -> Run:
    """A run that ended well."""
    assert run.exit_code == 0, str(run)
    return run


def copies(installation: Installation) -> Path:
    """The directory of the backups."""
    return Path(installation.environment["BACKUP_PATH"])


def contents(directory: Path) -> dict[str, bytes]:
    """Every file directly in a directory."""
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def at_provider(destination: Destination) -> Path:
    """The directory of the backups at a provider of kind `local`."""
    return destination.directory / PREFIX / "backups"


def history(installation: Installation) -> list[str]:
    """The kind of each good backup that was not deleted."""
    rows = installation.rows(
        "SELECT tipo FROM historial_backup WHERE estado = 'COMPLETADO' AND NOT eliminado ORDER BY id_backup"
    )
    return [row["tipo"] for row in rows]


def value_in(database_url: str, question: str) -> Any:
    """The one value that a question has."""
    with contextlib.closing(psycopg2.connect(database_url)) as connection, connection.cursor() as cursor:
        cursor.execute(question)
        ((value,),) = cursor.fetchall()
        return value


def new_key(directory: Path) -> tuple[Path, str]:
    """A file with a private key, and its public key."""
    key = pyrage.x25519.Identity.generate()
    path = directory / "clave.txt"
    path.write_text(f"{key}\n")
    return path, str(key.to_public())


def test_a_failed_copy_is_sent_by_the_next_tick_which_makes_no_other_backup(
    sage: Installation, nas: Destination
) -> None:
    _, public = new_key(sage.directory)
    sage.environment.update(BACKUP_PROVIDERS="nas,2,1,nas", BACKUP_RECIPIENTS=public)
    assert sage.add_provider(nas) == 1
    sage.add_provider_row("lejos", "local", None, {"ruta": str(sage.directory / "no-montado")})
    tick = sage.run(JANITOR_NOTIFY_URLS=f"json://127.0.0.1:{refused_port()}")
    assert tick.exit_code == 1, tick
    assert "lejos" in "".join(tick.messages("ERROR"))
    assert history(sage) == ["COMPLETO"]
    assert len(contents(at_provider(nas))) == len(contents(copies(sage))) == 3
    (job,) = sage.rows("SELECT last_error FROM janitor_jobs WHERE job = 'backup'")
    assert "lejos" in job["last_error"]
    question = "SELECT state FROM janitor_causes WHERE cause LIKE '%backup:%'"  # told once, not also of the job
    assert sage.rows(question) == [{"state": "failed"}]
    (name,) = (path.name for path in copies(sage).glob("*.gz"))
    (copies(sage) / f".{name}.age.part").write_bytes(b"what a killed run was encrypting")
    far = local_destination("lejos", sage.directory / "no-montado")
    checked = sage.run("check").output
    assert checked.count("bien   copias de seguridad en proveedores: 1 copia en nas") == 1
    assert "bien   copias de seguridad en proveedores: 0 copias en lejos" in checked
    sage.execute("UPDATE janitor_jobs SET last_started_at = now() - interval '2 hours' WHERE job = 'backup'")
    done(sage.run())
    assert history(sage) == ["COMPLETO"]
    assert contents(at_provider(far)).keys() == contents(at_provider(nas)).keys()
    assert len(contents(copies(sage))) == 3
    assert sage.rows(question) == [{"state": "ok"}]


def test_a_run_that_is_killed_while_it_sends_leaves_no_copy_that_counts_and_the_next_one_finishes(
    sage: Installation, new_destination: Callable[[str], Destination]
) -> None:
    """A real upload to a real server, cut within the bytes of the backup's own file."""
    far = new_destination("sftp-openssh")
    sage.environment.update(BACKUP_PROVIDERS=str(sage.add_provider(far)))
    sage.execute("CREATE TABLE datos AS SELECT g, md5(random()::text) FROM generate_series(1, 40000) AS g")
    with sage.start(JANITOR_BANDWIDTH_LIMIT="100K") as running:
        wait_until(lambda: sage.rows("SELECT 1 FROM janitor_backup_copies WHERE stored_at IS NULL"), 60)
        wait_until(lambda: largest_at(far) > 100_000, 60)
        running.stop(signal.SIGKILL)
    whole = contents(copies(sage))
    (name,) = (name for name in whole if name.endswith(".sql.gz"))
    assert not [key for key in far.everything_stored() if key.endswith((".sql.gz", ".sha256"))]
    (entry,) = json.loads(done(sage.run("backup", "list", "--json")).output)
    assert (entry["estado"], entry["copias"]) == ("COMPLETADO", [])

    sage.execute("UPDATE janitor_jobs SET last_started_at = now() - interval '2 hours' WHERE job = 'backup'")
    done(sage.run())
    assert history(sage) == ["COMPLETO"]  # only what was missing was done
    assert contents(copies(sage)) == whole
    stored = contents(at_provider(far))
    assert {key.rpartition("/")[2] for key in far.everything_stored()} == stored.keys() == whole.keys()
    assert stored[name] == whole[name]
    (entry,) = json.loads(done(sage.run("backup", "list", "--json")).output)
    assert [copy["falta_desde"] for copy in entry["copias"]] == [None]


def largest_at(destination: Destination) -> int:
    """The size of the largest file at a provider, finished or not."""
    sizes = [0]
    with contextlib.suppress(FileNotFoundError):  # renamed or removed meanwhile
        sizes += [path.stat().st_size for path in destination.directory.rglob("*") if path.is_file()]
    return max(sizes)


def test_keys_that_are_none_stop_the_job_before_anything_is_written(sage: Installation, nas: Destination) -> None:
    sage.add_provider(nas)
    for arguments in (("backup", "run"), ()):
        run = sage.run(*arguments, BACKUP_PROVIDERS="nas", BACKUP_RECIPIENTS="age1noesunaclave")
        assert run.exit_code == 2, run
        assert "BACKUP_RECIPIENTS" in run.errors
    assert (history(sage), copies(sage).exists(), list(nas.directory.iterdir())) == ([], False, [])


def test_a_differential_fetches_the_full_one_that_only_a_provider_has(sage: Installation, nas: Destination) -> None:
    sage.add_provider(nas)
    sage.environment["BACKUP_PROVIDERS"] = "nas"
    done(sage.run("backup", "run"))
    full = contents(copies(sage))
    for path in copies(sage).iterdir():
        path.unlink()
    sage.execute("DELETE FROM ejecuciones_yaml WHERE uuid = 'e-1'")
    second = done(sage.run("backup", "run"))
    assert "traída" in second.errors
    assert history(sage) == ["COMPLETO", "DIFERENCIAL"]
    assert full.items() <= contents(copies(sage)).items()
    assert contents(at_provider(nas)).keys() == contents(copies(sage)).keys()
    (differential,) = copies(sage).glob("*_DIFF.sql.gz")
    differential.unlink()
    third = done(sage.run("backup", "run"))
    assert "un proveedor tiene otra: tráigala con 'backup download 2 DIRECTORIO' y déjela en su sitio" in third.errors


def test_a_differential_that_finds_its_full_one_damaged_tells_of_it_once(sage: Installation, nas: Destination) -> None:
    sage.add_provider(nas)
    sage.environment["BACKUP_PROVIDERS"] = "nas"
    done(sage.run("backup", "run"))
    (full,) = copies(sage).glob("*.gz")
    content = bytearray(full.read_bytes())
    content[len(content) // 2] ^= 1
    full.write_bytes(content)
    second = done(sage.run("backup", "run"))
    assert any("no vale en el disco" in text for text in second.messages("WARNING")), second
    assert history(sage) == ["COMPLETO", "COMPLETO"]
    done(sage.run("backup", "run"))
    told = sage.rows("SELECT titulo FROM notificaciones WHERE semaforo = 'AMARILLO'")
    assert [row["titulo"] for row in told] == ["⚠️ Dañado en el disco un Backup COMPLETO"]
    assert history(sage) == ["COMPLETO", "COMPLETO", "DIFERENCIAL"]


def test_a_new_machine_with_nothing_but_the_provider_finds_proves_and_restores(
    sage: Installation,
    nas: Destination,
    new_installation: Callable[[], Installation],
    postgres: EmbeddedPostgres,
    empty_database: str,
    tmp_path: Path,
) -> None:
    identity, public = new_key(tmp_path)
    sage.add_provider(nas)
    sage.environment.update(BACKUP_PROVIDERS="nas", BACKUP_RECIPIENTS=public)
    done(sage.run("backup", "run", "--full"))
    sage.execute("DELETE FROM ejecuciones_yaml WHERE uuid = 'e-1'")
    done(sage.run("backup", "run", "--diff"))
    assert all(
        content.startswith(b"age-encryption.org/v1")
        for name, content in contents(at_provider(nas)).items()
        if not name.endswith(".sha256")
    )
    for hashes in at_provider(nas).glob("*.sha256"):
        subprocess.run(["sha256sum", "-c", "--quiet", hashes.name], check=True, cwd=at_provider(nas))
    new = switch_on(new_installation(), postgres)
    new.add_provider(nas)
    arguments = ("backup", "rebuild", "--provider", "nas", "--prefix", PREFIX)
    found = done(new.run(*arguments, "--dry-run")).output
    assert ("2 copias enteras" in found, "--prefix" in found) == (True, False)
    assert re.search(r"_FULL\.sql\.gz\.age, COMPLETO, del \d{4}-\d\d-\d\d \d\d:\d\d$", found, re.MULTILINE), found
    elsewhere = done(new.run(*arguments[:-2], "--dry-run")).output
    assert "0 copias enteras en nas, por debajo de su raíz; si la " in elsewhere
    assert history(new) == []
    for _ in range(2):  # it may be repeated
        assert "2 copias enteras" in done(new.run(*arguments)).output
    columns = "id_backup, tipo, nombre_archivo, tamanio_bytes, hash_md5, tablas_respaldadas, registros_totales, "
    question = f"SELECT {columns} id_backup_base, fecha_creacion, estado FROM historial_backup ORDER BY id_backup"  # noqa: S608
    assert new.rows(question) == sage.rows(question)
    listed = json.loads(done(new.run("backup", "list", "--json")).output)
    require_valid("backups", listed)
    assert [entry["en_disco"] for entry in listed] == [False, False]
    assert [copy["clave"] for entry in listed for copy in entry["copias"]] == [
        f"{PREFIX}/backups/{entry['nombre_archivo']}.age" for entry in listed
    ]
    listing = done(new.run("backup", "list")).output
    assert listing.count("no está en el disco") == 2
    assert listing.count("también en nas (id 1)") == 2
    new.execute("UPDATE cloud_providers SET nombre = 'NAS de la oficina'")
    assert "copias: NAS de la oficina (id 1)" in done(new.run("backup", "show", "1")).output
    new.execute("UPDATE cloud_providers SET nombre = 'nas'")
    assert "copias de seguridad: última completa 20" in new.run("check").output
    refused = new.run("backup", "download", "2", str(tmp_path / "sin-clave"))
    assert (refused.exit_code, "--identity" in refused.errors) == (1, True)
    done(new.run("backup", "download", "2", str(tmp_path / "traida"), "--identity", str(identity)))
    assert contents(tmp_path / "traida") == contents(copies(sage))
    assert "Copia 2 comprobada" in done(new.run("backup", "verify", "--identity", str(identity))).output
    done(new.run("backup", "restore", "2", "--to", empty_database, "--identity", str(identity)))
    assert value_in(empty_database, "SELECT count(*) FROM ejecuciones_yaml") == 2


def test_retention_removes_old_chains_from_the_provider_too_and_keeps_the_newest(
    sage: Installation, nas: Destination
) -> None:
    sage.add_provider(nas)
    sage.environment["BACKUP_PROVIDERS"] = "nas"
    for kind in ("--full", "--full"):
        done(sage.run("backup", "run", kind))
    sage.execute("UPDATE historial_backup SET fecha_creacion = fecha_creacion - interval '100 days'")
    for path in copies(sage).iterdir():  # the newest is only at the provider: it must stay there
        path.unlink()
    nas.directory.rename(sage.directory / "desmontado")
    assert sage.run("backup", "clean").exit_code == 1
    nas.directory.mkdir()
    assert "se borraría" not in sage.run("run", "backup", "--dry-run").errors
    assert "el proveedor nas: constan copias en su directorio, que está vacío" in sage.run("check").output
    (sage.directory / "desmontado").rename(nas.directory)
    assert "se borraría la copia 1, backup_" in done(sage.run("run", "backup", "--dry-run")).errors
    assert "1 copia" in done(sage.run("backup", "clean", "--dry-run")).output
    assert len(contents(at_provider(nas))) == 6
    done(sage.run("backup", "clean"))
    (left,) = sage.rows("SELECT nombre_archivo FROM historial_backup WHERE NOT eliminado")
    stem = left["nombre_archivo"].removesuffix(".sql.gz")
    assert {name.partition(".")[0] for name in contents(at_provider(nas))} == {stem}
    assert len(contents(at_provider(nas))) == 3


def test_a_backup_is_sent_by_the_mail_of_the_notices(sage: Installation, tmp_path: Path) -> None:
    done(sage.run("backup", "run"))
    refused = sage.run("backup", "send", "1", "--to", "ana@example.com")
    assert (refused.exit_code, "JANITOR_NOTIFY_URLS" in refused.errors) == (2, True)
    authority, mail = PrivateAuthority(tmp_path), MailServer()
    with mail.serving(authority.server_context("127.0.0.1")) as port:
        address = f"mailtos://{mail.USER}:{mail.PASSWORD}@127.0.0.1:{port}?mode=starttls&from=j@example.com"
        variables = {"JANITOR_NOTIFY_URLS": f"{address}&to=ops@example.com", "SSL_CERT_FILE": str(authority.bundle)}
        sent = done(sage.run("backup", "send", "1", "--to", "ana@example.com", **variables))
    assert "enviada a ana@example.com" in sent.output
    (message,) = mail.messages
    (attached,) = message.iter_attachments()
    assert {attached.get_filename(): attached.get_content()}.items() <= contents(copies(sage)).items()


def test_a_backup_that_is_too_large_for_a_mail_is_not_even_encrypted(sage: Installation, tmp_path: Path) -> None:
    """There may be no room for it."""
    done(sage.run("backup", "run"))
    sage.environment["BACKUP_RECIPIENTS"] = str(pyrage.x25519.Identity.generate().to_public())
    authority, mail = PrivateAuthority(tmp_path), MailServer()
    (path,) = copies(sage).glob("*.sql.gz")
    with path.open("ab") as file, path.with_name(f".{path.name}.age.part").open("wb") as in_use:
        file.truncate(3 * 1024 * 1024)
        fcntl.flock(in_use, fcntl.LOCK_EX)
        sage.rows("UPDATE historial_backup SET tamanio_bytes = 3 * 1024 * 1024 RETURNING 1")
        with mail.serving(authority.server_context("127.0.0.1")) as port:
            address = f"mailtos://{mail.USER}:{mail.PASSWORD}@127.0.0.1:{port}?mode=starttls&from=j@example.com"
            variables = {"JANITOR_NOTIFY_URLS": f"{address}&to=ops@example.com", "SSL_CERT_FILE": str(authority.bundle)}
            order = ("backup", "send", "1", "--to", "ana@example.com")
            sent = done(sage.run(*order, BACKUP_MAIL_MAX_MB="2", **variables))
    assert "sin adjuntar" in sent.output
    (message,) = mail.messages
    assert "más que 2.00 MB (BACKUP_MAIL_MAX_MB)" in str(message.get_content())
