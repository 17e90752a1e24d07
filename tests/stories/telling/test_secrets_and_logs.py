"""No secret shows anywhere, and the lines of the JSON log are what programs expect."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest

from tests.destinations import Destination
from tests.processes import wait_until
from tests.servers.sftp.ssh import new_key_pair
from tests.stories.doors import refused_port, silent_server
from tests.stories.installation import Installation

MakeDestination = Callable[[str], Destination]


def _everything_shown(installation: Installation, console: str) -> Iterator[tuple[str, str]]:
    """All that a run leaves for others to read, but for the row that the secrets are in."""
    yield "console", console
    for path in installation.logs.iterdir():
        yield path.name, path.read_text(encoding="utf-8")
    for table, lines in installation.everything_in_the_database().items():
        if table != "cloud_providers":
            yield table, "\n".join(lines)


def _require_hidden(installation: Installation, console: str, secrets: tuple[str, ...]) -> None:
    for place, text in _everything_shown(installation, console):
        for secret in secrets:
            assert secret not in text, f"a secret shows in {place}"
            assert base64.b64encode(secret.encode()).decode().rstrip("=") not in text


def _command_lines_below(process_id: int) -> str:
    """The command lines of a process and all its children, as `ps` shows them."""
    shown = Path(f"/proc/{process_id}/cmdline").read_text()
    for children in Path(f"/proc/{process_id}/task").glob("*/children"):
        shown += "".join(_command_lines_below(int(child)) for child in children.read_text().split())
    return shown


def test_a_debug_run_that_succeeds_shows_no_secret(installation: Installation, destinations: Destination) -> None:
    installation.configure(installation.add_provider(destinations), eliminar_despues_de_migrar=True)
    installation.small_execution("uno")
    run = installation.run("--debug")
    assert run.exit_code == 0, str(run)
    assert "Migrando ejecución uno a la nube" in run.errors
    _require_hidden(installation, run.errors + run.output, (*destinations.secrets, _password(installation)))


def _password(installation: Installation) -> str:
    match = re.search(r":([^:@/]+)@", installation.database_url)
    assert match is not None
    return match[1]


def _rows_full_of_secrets(port: int) -> tuple[list[Destination], tuple[str, ...]]:
    """One row of each kind with a secret in every field that can hold one, at a server that is not there."""
    url = f"http://127.0.0.1:{port}"
    account_key = base64.b64encode(b"azure-cuenta-XYZZY-secreta").decode()
    signature = "firma+XYZZY/secreta="
    ssh_key, _ = new_key_pair()
    secret_key, token = "s3/clave+XYZZY secreta=", "s3-sesion-XYZZY-secreta"
    azure: dict[str, object] = {"container": "cubo", "account_url": f"{url}/cuenta"}
    sas = "?sv=2024-01-01&sig=firma%2BXYZZY%2Fsecreta%3D"
    connection = f"DefaultEndpointsProtocol=http;AccountName=cuenta;AccountKey={account_key};BlobEndpoint={url}/cuenta"
    host_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
    sftp = {"host": "127.0.0.1", "port": port, "username": "sage", "host_key": host_key}
    options: dict[str, object] = {"bucket": "cubo", "endpoint_url": url}
    rows: list[tuple[str, dict[str, object], dict[str, object]]] = [
        ("s3", {"access_key": "AKIAXYZZYSECRETA", "secret_key": secret_key, "session_token": token}, options),
        ("azure", {"account_name": "cuenta", "account_key": account_key}, azure),
        ("azure", {"account_name": "cuenta", "sas_token": sas}, azure),
        ("azure", {"connection_string": connection}, azure),
        ("sftp", {**sftp, "password": "sftp-clave-XYZZY-secreta"}, {"base_path": "/cubo"}),
        ("sftp", {**sftp, "private_key": ssh_key}, {"base_path": "/cubo"}),
        (
            "gcp",
            {"type": "service_account", "private_key": ssh_key, "private_key_id": "id-XYZZY", "client_email": "a@b"},
            {"bucket": "cubo"},
        ),
        ("ftp", {"password": "ftp-clave-XYZZY-secreta"}, {}),
    ]
    destinations = [
        Destination(f"{kind} {number}", kind, credentials, settings, "")
        for number, (kind, credentials, settings) in enumerate(rows)
    ]
    key_lines = tuple(line for line in ssh_key.splitlines() if "PRIVATE KEY" not in line)
    secrets = (secret_key, token, account_key, sas, "firma%2BXYZZY%2Fsecreta%3D", signature, *key_lines)
    return destinations, (*secrets, "sftp-clave-XYZZY-secreta", "ftp-clave-XYZZY-secreta", "XYZZY")


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_debug_run_that_fails_everywhere_shows_no_secret(installation: Installation, log_format: str) -> None:
    destinations, secrets = _rows_full_of_secrets(refused_port())
    providers = [installation.add_provider(destination) for destination in destinations]
    installation.configure(*providers)
    installation.small_execution("uno")
    run = installation.run("--debug", JANITOR_LOG_FORMAT=log_format)
    assert run.exit_code == 1, str(run)
    assert "Traceback" in run.errors  # what the debug log is for
    _require_hidden(installation, run.errors + run.output, (*secrets, _password(installation)))


def test_commands_for_operators_show_no_secret_either(installation: Installation) -> None:
    destinations, secrets = _rows_full_of_secrets(refused_port())
    for destination in destinations:
        installation.add_provider(destination)
    for arguments in (["check"], ["--debug", "check"], ["status", "--json"]):
        run = installation.run(*arguments)
        assert run.output
        for secret in (*secrets, _password(installation)):
            assert secret not in run.output + run.errors


def test_no_secret_is_on_the_command_line_of_any_process(installation: Installation) -> None:
    with silent_server() as port:
        destinations, secrets = _rows_full_of_secrets(port)
        installation.configure(installation.add_provider(destinations[0]))
        installation.small_execution("uno")
        with installation.start_python("--debug") as command:
            wait_until(lambda: "Migrando ejecución uno" in command.errors(), 30)
            shown = _command_lines_below(command.process.pid)
    assert "janitor_daemon.py" in shown
    assert not [secret for secret in (*secrets, _password(installation)) if secret in shown]


def test_the_database_password_does_not_show_when_the_server_refuses_it(installation: Installation) -> None:
    password = _password(installation)
    wrong = installation.database_url.replace(password, "clave-XYZZY-equivocada")
    run = installation.run("--debug", DATABASE_URL=wrong)
    assert run.exit_code == 3, str(run)
    assert "XYZZY" not in run.errors + installation.log_file.read_text()


def require_same_lines(one: str, other: str) -> None:
    """In whatever order those stand that two executions have logged in the same moment."""
    assert one[-1] == other[-1] == "\n"
    assert sorted(one.split("\n")) == sorted(other.split("\n"))


def test_every_line_of_the_json_log_is_what_programs_expect(installation: Installation, nas: Destination) -> None:
    bad = installation.add_provider_row('Mala\n{"a"}', "s3", {}, {})
    installation.configure(bad, installation.add_provider(nas, 'El "NAS" \u2028'), eliminar_despues_de_migrar=True)
    installation.small_execution("uno")
    installation.add_execution('ma"la\n\x1b[31m', "/etc")
    installation.add_execution("no-esta", installation.executions / "no-esta")
    run = installation.run("--debug", JANITOR_LOG_FORMAT="json")
    assert run.exit_code == 1, str(run)
    require_same_lines(installation.log_file.read_text(), run.errors)
    lines = [json.loads(line) for line in run.errors.split("\n")[:-1]]
    for line in lines:
        assert datetime.fromisoformat(line["timestamp"]).tzinfo is not None
        assert line["level"] in ("DEBUG", "INFO", "WARNING", "ERROR")
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", line["event"])
        assert line["message"]
        assert line["message"].isprintable() or line["level"] == "DEBUG"
    events = {line["event"]: line for line in lines}
    assert events["migration_started"]["execution"] == "uno"
    assert events["migration_finished"]["uri"] == "cloud://local/ejecuciones/uno"
    assert events["migration_finished"]["file_count"] == 2
    assert events["migration_failed"]["level"] == "ERROR"
    assert events["directory_missing"]["level"] == "WARNING"
    assert events["trying_alternate"]["message"].startswith("Intentando migrar al proveedor alternativo: ")
    assert events["temp_files_cleaned"]["deleted_files"] == 0


def test_foreign_text_cannot_forge_lines_of_the_log(installation: Installation, nas: Destination) -> None:
    forged = "x\n2026-01-01 00:00:00,000 - janitor_daemon - INFO - Ejecución falsa migrada exitosamente a cloud://nada"
    installation.configure(installation.add_provider(nas, forged[:250]))
    installation.add_execution(forged[:64], installation.executions / forged)
    installation.add_execution("otra", installation.executions / "\x1b[2J\x07\u202e")
    run = installation.run("--all-dirs")
    assert run.exit_code == 1, str(run)
    assert len(run.messages()) == len(run.errors.split("\n")) - 1
    assert not [line for line in run.messages("INFO") if line.startswith("Ejecución falsa")]
    assert all(line.isprintable() for line in run.errors.split("\n"))


def test_a_log_directory_that_cannot_be_used_is_no_reason_not_to_work(
    installation: Installation, nas: Destination
) -> None:
    installation.configure(installation.add_provider(nas))
    installation.small_execution("uno")
    obstacle = installation.directory / "fichero"
    obstacle.touch()
    run = installation.run(JANITOR_LOG_DIR=str(obstacle / "registros"))
    assert run.exit_code == 1, str(run)  # as cron may show nobody what a run says that ends with 0
    assert [line for line in run.messages("WARNING") if "registros" in line]
    assert installation.place("uno")[0] is True
