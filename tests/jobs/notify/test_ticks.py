"""Whole ticks on the command line: what they tell, and that telling never decides how they end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.destinations import Destination
from tests.jobs.notify.conftest import QUIET_DISKS
from tests.jobs.notify.ntfy import Ntfy
from tests.jobs.notify.services import Webhook
from tests.servers.authority import PrivateAuthority
from tests.servers.canned_http import Answer
from tests.stories.installation import Installation

NOTHING_LISTENS = "json://127.0.0.1:9/?password=muy-secreto-1234"


@pytest.fixture
def webhook() -> Webhook:
    """Takes everything."""
    return Webhook()


@pytest.fixture
def sage(installation: Installation, webhook: Webhook) -> Iterator[Installation]:
    """An installation that tells the webhook."""
    with webhook.serving() as url:
        installation.environment.update({**QUIET_DISKS, "JANITOR_NOTIFY_URLS": url, "JANITOR_HOST": "norte"})
        yield installation


def test_a_provider_that_fails_and_recovers_is_two_messages(
    sage: Installation, nas: Destination, webhook: Webhook
) -> None:
    provider = sage.add_provider_row("nas", "local", None, {})
    sage.configure(provider, sage.add_provider(nas, "otro"))
    sage.small_execution("uno")
    assert sage.run("--dry-run").exit_code == 1
    assert webhook.tried == 0
    run = sage.run()
    assert run.exit_code == 1, str(run)
    (message,) = webhook.messages
    unusable, replaced = message.splitlines()
    assert unusable.startswith("🆘 El proveedor nas no se puede usar: ")
    assert replaced.startswith("🟡 Se usa el proveedor alternativo otro, porque el primario")
    assert len(sage.rows("SELECT FROM notificaciones WHERE tipo = 'JANITOR'")) == 2
    sage.run()
    assert len(webhook.messages) == 1
    sage.execute("UPDATE cloud_providers SET configuracion = (SELECT configuracion FROM cloud_providers "
                 "WHERE nombre = 'otro') WHERE nombre = 'nas'")  # fmt: skip
    sage.small_execution("dos")
    run = sage.run()
    assert run.exit_code == 0, str(run)
    assert [line.partition(": ")[0] for line in webhook.messages[1].splitlines()] == ["✅ Resuelto", "✅ Resuelto"]


def test_an_ntfy_server_gets_what_a_tick_has_to_tell(sage: Installation, tmp_path: Path) -> None:
    """Each is a process of its own; `status` reports a wrong password, and the notice is not lost."""
    sage.configure(sage.add_provider_row("nas", "local", None, {}))
    sage.small_execution("uno")
    authority = PrivateAuthority(tmp_path)
    sage.environment["SSL_CERT_FILE"] = str(authority.bundle)
    with Ntfy(authority) as ntfy:
        sage.environment["JANITOR_NOTIFY_URLS"] = ntfy.url("otra-clave-9999")
        with sage.start_python() as tick:
            assert tick.finish().exit_code == 1
        assert "401: no acepta el usuario, la contraseña o el token" in sage.run("status", "--quiet").output
        sage.environment["JANITOR_NOTIFY_URLS"] = ntfy.url()
        sage.execute("UPDATE janitor_channels SET not_before = NULL")
        with sage.start_python() as tick:
            assert tick.finish().exit_code == 1
        (message,) = ntfy.messages
    assert message.startswith("🆘 El proveedor nas no se puede usar: ")


def test_a_channel_that_fails_changes_nothing_but_its_own_job(sage: Installation) -> None:
    sage.environment["JANITOR_ROOTS"] += f":{sage.directory}/ausente"
    sage.environment["JANITOR_NOTIFY_URLS"] = NOTHING_LISTENS
    run = sage.run("--only", "temp,notify")
    assert run.exit_code == 1, "it was asked for by its name"
    sage.execute("UPDATE janitor_channels SET not_before = NULL")
    run = sage.run("--skip", "migration")
    assert run.exit_code == 0, str(run)
    failure = "no se pudo avisar por json://127.0.0.1:9: fallo de red: conexión rechazada; 1 aviso en espera, se repite"
    assert failure in run.messages("WARNING")
    (job,) = sage.rows("SELECT last_outcome, last_error FROM janitor_jobs WHERE job = 'notify'")
    assert (job["last_outcome"], job["last_error"]) == ("failed", failure.partition(";")[0])
    sage.execute("DROP TABLE janitor_deliveries")
    run = sage.run("--skip", "migration")
    assert run.exit_code == 0, str(run)
    assert any("El trabajo de avisos no pudo terminar" in line for line in run.messages("ERROR"))
    assert "muy-secreto-1234" not in run.errors + str(sage.everything_in_the_database())


def test_a_run_that_finds_its_work_taken_says_so_though_it_could_tell(sage: Installation) -> None:
    from jobs.locks import job_lock
    from sql.database import database_identity

    directory, identity = sage.directory / "bloqueos", database_identity(sage.database_url)
    with job_lock(directory, "norte", identity, "migration"), job_lock(directory, "norte", identity, "temp"):
        assert sage.run("--skip", "history").exit_code == 75
        assert sage.run("--only", "notify").exit_code == 0
    assert len(sage.rows("SELECT FROM janitor_job_runs WHERE job = 'notify'")) == 1


def test_notify_test_says_how_each_channel_fared(sage: Installation, webhook: Webhook) -> None:
    url = sage.environment["JANITOR_NOTIFY_URLS"]
    run = sage.run("notify", "test")
    name = url.rpartition("/")[0]
    assert (run.exit_code, run.output) == (0, f"bien   {name}: lo aceptó\n")
    assert webhook.messages == ["Prueba desde norte: los avisos llegan por aquí. No hay que hacer nada."]
    webhook.answers = [Answer(500)]
    run = sage.run("notify", "test", JANITOR_NOTIFY_URLS=f"{url} {NOTHING_LISTENS},nada://x")
    assert run.exit_code == 1
    assert set(run.output.splitlines()) == {
        "ERROR  json://127.0.0.1:9: fallo de red: conexión rechazada",
        f"ERROR  {name}: respondió 500: fallo interno del servicio",
        "ERROR  nada: apprise no entiende su dirección; corríjala en JANITOR_NOTIFY_URLS",
    }
    assert webhook.tried == 2
    run = sage.run("notify", "test", JANITOR_NOTIFY_URLS=None)
    assert run.exit_code == 2
    assert "no hay ningún canal de avisos: indique TELEGRAM_TOKEN y ADMIN_ID, o JANITOR_NOTIFY_URLS" in run.errors
    check = sage.run("check", JANITOR_NOTIFY_URLS=f"{url} nada://x").output
    assert f"bien   avisos por {name}: la dirección se entiende" in check
    assert "ERROR  avisos por nada: apprise no entiende su dirección" in check
