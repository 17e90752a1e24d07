"""Secrets kept encrypted, as an operator lives it: a key, a value that nobody sees, a provider that uses it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from azure.storage.blob import generate_container_sas
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from commands.secret_store import set_secret
from config import logs
from config.logs import Redactor
from janitor_daemon import run_command_line
from sql.database import Database
from tests.config.text.test_wording import english_words
from tests.destinations import Destination
from tests.processes import wait_until
from tests.servers.sftp.ssh import SftpServer
from tests.stories.installation import Installation

MakeDestination = Callable[[str], Destination]

COMMANDS = ("new-key", "set", "list", "rotate", "remove")


def _secret(
    installation: Installation, keys: str | None, *arguments: str, value: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a command of the group, with `value` as its standard input."""
    environment = {**installation.environment, **({} if keys is None else {"JANITOR_SECRET_KEYS": keys})}
    return subprocess.run(
        [sys.executable, str(installation.program), "--debug", "secret", *arguments],
        input=value, env=environment, cwd=installation.directory, check=False, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip


def _new_key(installation: Installation) -> str:
    made = _secret(installation, None, "new-key", value="")
    assert made.returncode == 0, made.stderr
    assert "JANITOR_SECRET_KEYS" in made.stderr
    return made.stdout.removesuffix("\n")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_each_command_is_in_spanish(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["secret", command, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"Uso: janitor-daemon secret {command} [OPCIONES]")
    assert english_words(text) == []


def test_the_group_alone_says_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["secret"]) == 2
    text = capsys.readouterr().err
    assert [command for command in COMMANDS if f"\n  {command} " not in text] == []
    assert english_words(text) == []


def test_keys_are_changed_without_a_moment_in_which_a_provider_is_without_its_secret(
    installation: Installation, new_destination: MakeDestination
) -> None:
    real = new_destination("s3-rclone")
    value = str((real.credentials or {})["secret_key"])
    provider = installation.add_provider(real.with_credentials(secret_key={"secreto": "minio"}), "MinIO")
    installation.configure(provider)
    first, second = _new_key(installation), _new_key(installation)
    assert first != second

    def migrates(uuid: str, keys: str) -> None:
        installation.small_execution(uuid)
        run = installation.run("--debug", JANITOR_SECRET_KEYS=keys)
        assert run.exit_code == 0, str(run)
        assert installation.place(uuid)[2] == provider
        assert not [hidden for hidden in (value, first, second) if hidden in run.errors]

    def told(keys: str, *arguments: str, given: str = "") -> str:
        done = _secret(installation, keys, *arguments, value=given)
        assert done.returncode == 0, done.stderr
        assert not [hidden for hidden in (value, first, second) if hidden in done.stdout + done.stderr]
        return done.stdout

    assert told(first, "list") == "minio: NO EXISTE; lo usa MinIO\n"
    assert told(first, "set", "minio", given=f"{value}\n") == "Secreto minio guardado\n"
    migrates("uno", first)
    lost = installation.run("status", JANITOR_SECRET_KEYS=second)
    assert (lost.exit_code, "secret rotate" in lost.output, "corrija su fila" in lost.output) == (1, True, False)
    both = f"{second},{first}"
    assert told(both, "list") == "minio: cifrado con una clave anterior (la número 2); lo usa MinIO\n"
    migrates("dos", both)
    assert told(both, "rotate").startswith("Cifrados de nuevo con la primera clave: 1;")
    migrates("tres", both)
    assert told(second, "list") == "minio: cifrado con la clave actual; lo usa MinIO\n"
    migrates("cuatro", second)

    refused = _secret(installation, second, "remove", "minio")
    assert (refused.returncode, "minio" in refused.stderr) == (2, True)
    assert "el secreto 'minio' lo usa MinIO; con --force se borra igualmente" in refused.stderr
    assert told(second, "remove", "--force", "minio") == "Secreto minio borrado\n"
    everything = json.dumps(installation.everything_in_the_database())
    assert not [hidden for hidden in (value, first, second) if hidden in everything]


def test_what_cannot_be_done_is_one_clear_line_and_exit_code_2(installation: Installation) -> None:
    key = Fernet.generate_key().decode()
    hidden = "no-debe-verse"
    assert _secret(installation, key, "set", "a", value=hidden).returncode == 0
    cases = [
        (None, ["set", "a"], "falta la variable JANITOR_SECRET_KEYS"),
        (f"{key},{hidden}", ["rotate"], "JANITOR_SECRET_KEYS: la clave número 2 no es válida"),
        (
            Fernet.generate_key().decode(),
            ["rotate"],
            "ninguna clave de JANITOR_SECRET_KEYS abre 'a'; no se cambió ninguno",
        ),
        (key, ["set", "x" * 256], "el nombre debe tener de 1 a 255 caracteres imprimibles"),
        (key, ["remove", "b"], "no existe el secreto 'b' en secretos_nube"),
        (key, ["set", "a", hidden], "Sobran argumentos: "),
    ]
    before = installation.everything_in_the_database()
    for keys, arguments, message in cases:
        done = _secret(installation, keys, *arguments, value=f"{hidden} otro")
        assert done.returncode == 2, done.stderr
        assert message in done.stderr
        assert not done.stdout
        if hidden not in arguments:
            assert hidden not in done.stderr
    assert installation.everything_in_the_database() == before


def _at_a_terminal(installation: Installation, key: str, *typed: str) -> tuple[int, str]:
    """Run `secret set x` at a terminal of its own; its exit code and all that the terminal shows."""
    terminal, end = os.openpty()
    command = subprocess.Popen(
        [sys.executable, str(installation.program), "secret", "set", "x"],
        stdin=end, stdout=end, stderr=end, start_new_session=True, cwd=installation.directory,
        env={**installation.environment, "JANITOR_SECRET_KEYS": key},
    )  # fmt: skip
    os.close(end)
    shown = ""
    try:
        for prompt, line in zip(("Valor: ", "Otra vez: "), typed, strict=True):
            while prompt not in shown:
                shown += os.read(terminal, 1000).decode()
            os.write(terminal, f"{line}\n".encode())
        command.wait(30)
        shown += os.read(terminal, 10_000).decode()
    finally:
        command.kill()
        command.wait()
        os.close(terminal)
    return command.returncode, shown


def test_at_a_terminal_the_value_is_asked_for_twice_and_not_shown(installation: Installation, nas: Destination) -> None:
    key = Fernet.generate_key().decode()
    exit_code, shown = _at_a_terminal(installation, key, "clave ñ tecleada", "clave ñ tecleada")
    assert exit_code == 0, shown
    assert "Secreto x guardado" in shown
    assert "tecleada" not in shown
    assert _secret(installation, key, "list").stdout.startswith("x: cifrado con la clave actual")
    exit_code, other = _at_a_terminal(installation, key, "una tecleada", "otra tecleada")
    assert exit_code == 2
    assert "los dos valores no son iguales; no se guardó nada" in other
    assert "tecleada" not in other


def _encrypted_pem(private_key: str) -> tuple[str, str]:
    """A private key behind a passphrase, and the passphrase."""
    key = serialization.load_ssh_private_key(private_key.encode(), None)
    locked = serialization.BestAvailableEncryption(b"frase \xc3\xb1 de paso")
    text = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, locked)
    return text.decode(), "frase ñ de paso"


def _service_account() -> str:
    """A service account's file, as Google gives it out, of several lines."""
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    account = {"type": "service_account", "project_id": "p", "private_key_id": "0a1b2c3d", "private_key": pem}
    places = {"client_email": "robot@p.iam.gserviceaccount.com", "token_uri": "http://127.0.0.1:9/token"}
    return json.dumps({**account, **places}, indent=2) + "\n"


def _azure_connection_string(destination: Destination) -> Mapping[str, str]:
    credentials = destination.credentials or {}
    return {
        "connection_string": f"AccountName={credentials['account_name']};AccountKey={credentials['account_key']};"
        f"BlobEndpoint={destination.options['account_url']}"
    }


def _azure_sas(destination: Destination) -> Mapping[str, str]:
    credentials = destination.credentials or {}
    token = generate_container_sas(
        credentials["account_name"], destination.options["container"], credentials["account_key"],
        permission="racwdl", expiry=datetime.now(UTC) + timedelta(hours=1),
    )  # fmt: skip
    return {"account_name": credentials["account_name"], "sas_token": f"?{token}"}


def _sftp_with_locked_key(destination: Destination) -> Mapping[str, str]:
    assert isinstance(destination.server, SftpServer)
    private_key, passphrase = _encrypted_pem(destination.server.private_key)
    credentials = {**(destination.credentials or {}), "private_key": private_key, "private_key_passphrase": passphrase}
    return {name: str(value) for name, value in credentials.items()}


def _as_it_is(destination: Destination) -> Mapping[str, str]:
    return {name: str(value) for name, value in (destination.credentials or {}).items()}


ENTIRELY_SECRET: dict[str, tuple[str, Callable[[Destination], Mapping[str, str]]]] = {
    "s3": ("s3-swift", lambda destination: {**_as_it_is(destination), "region": "us-east-1"}),
    "minio": ("minio-rclone", _as_it_is),
    "azure, account key": ("azure", _as_it_is),
    "azure, connection string": ("azure", _azure_connection_string),
    "azure, SAS": ("azure", _azure_sas),
    "s3, session token": ("s3-moto", lambda destination: {**_as_it_is(destination), "session_token": "a-token" * 9}),
    "sftp, password": ("sftp-asyncssh", _as_it_is),
    "sftp, locked key": ("sftp-openssh", _sftp_with_locked_key),
}
"""Destinations, and what to put into `credenciales`, all of it by names of secrets."""


def test_every_field_of_every_kind_of_provider_may_be_a_secret(
    installation: Installation, new_destination: MakeDestination, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`check` writes, reads, lists and deletes on each of them; what is of several lines is stored by the command."""
    key = Fernet.generate_key().decode()
    monkeypatch.setenv("JANITOR_SECRET_KEYS", key)
    monkeypatch.setattr(logs, "redactor", Redactor())  # this process's own learns nothing for other tests
    hidden: list[str] = []
    with contextlib.closing(Database(installation.database_url, "host")) as database:
        for case, (name, credentials_of) in ENTIRELY_SECRET.items():
            destination = new_destination(name)
            credentials = credentials_of(destination)
            for field, value in credentials.items():
                if "\n" in value:
                    assert _secret(installation, key, "set", f"{case}: {field}", value=value).returncode == 0
                else:
                    set_secret(database, f"{case}: {field}", lambda value=value: value)  # type: ignore[misc]
                if field != "host":  # all of them are on one host
                    hidden += [line for line in value.splitlines() if len(line) >= 8]
            named = replace(destination, credentials={field: {"secreto": f"{case}: {field}"} for field in credentials})
            provider = installation.add_provider(named, case)
    installation.configure(provider)
    run = installation.run("--debug", "check", JANITOR_SECRET_KEYS=key)
    assert run.exit_code == 0, str(run)
    in_order = [line for line in run.output.splitlines() if line.endswith("escribe, lee, lista y borra")]
    assert len(in_order) == len(ENTIRELY_SECRET)
    assert not [line for line in hidden if line in run.output + run.errors]


def test_a_whole_service_account_may_be_a_secret(installation: Installation, nas: Destination) -> None:
    """No emulator asks for a token, so this goes as far as that: the key is read, its token's server is not there."""
    account, key = _service_account(), Fernet.generate_key().decode()
    assert _secret(installation, key, "set", "cuenta", value=account).returncode == 0
    provider = installation.add_provider_row("Google", "gcp", {"secreto": "cuenta"}, {"bucket": "cubo"})
    installation.configure(provider, installation.add_provider(nas))
    installation.small_execution("uno")
    run = installation.run("--debug", JANITOR_SECRET_KEYS=key)
    assert run.exit_code == 0, str(run)
    assert [line for line in run.messages("ERROR") if line.startswith("Error subiendo uno a Google: ")], str(run)
    assert not [line for line in run.messages("ERROR") if "no se puede usar" in line]
    private_key = json.loads(account)["private_key"].splitlines()[1:-1]
    assert not [line for line in private_key if line in run.errors]


def test_check_advises_to_encrypt_literal_secrets(installation: Installation, nas: Destination) -> None:
    good = installation.add_provider(nas)
    literal = {"host": "127.0.0.1", "username": "sage", "password": "no-debe-verse", "host_key": "ssh-rsa AAAA"}
    installation.add_provider_row("Archivo", "sftp", literal, {"base_path": "/x"}, active=False)
    installation.add_provider_row("Cifrado", "sftp", {**literal, "password": {"secreto": "x"}}, {}, active=False)
    installation.configure(good)
    run = installation.run("check", JANITOR_SECRET_KEYS=Fernet.generate_key().decode())
    advised = [line for line in run.output.splitlines() if line.startswith("aviso")]
    advice = [line for line in advised if "está en el mismo sistema de ficheros que" not in line]
    beginning = "aviso  proveedor Archivo: guarda sin cifrar credenciales.password; para cifrarlo ejecute "
    assert advice == [f"""{beginning}'secret set NOMBRE' y ponga {{"secreto": "NOMBRE"}} en lugar del valor"""]
    assert "no-debe-verse" not in run.output + run.errors
    installation.execute("DELETE FROM cloud_providers WHERE nombre = 'Cifrado'")  # whose secret does not exist
    assert installation.run("check").exit_code == 0


def test_an_operator_finds_no_value_in_the_arguments_of_the_command_while_it_waits(installation: Installation) -> None:
    key = Fernet.generate_key().decode()
    command = subprocess.Popen(
        [sys.executable, str(installation.program), "secret", "set", "x"], stdin=subprocess.PIPE, text=True,
        cwd=installation.directory, env={**installation.environment, "JANITOR_SECRET_KEYS": key},
    )  # fmt: skip
    connected = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'janitor_daemon'"
    wait_until(lambda: installation.rows(connected), 30)
    assert command.stdin is not None
    command.stdin.write("no-debe-verse")
    command.stdin.flush()
    with open(f"/proc/{command.pid}/cmdline") as arguments:  # noqa: PTH123
        shown = arguments.read()
    command.stdin.close()
    assert command.wait(30) == 0
    assert "secret\x00set\x00x\x00" in shown
    assert not [hidden for hidden in ("no-debe-verse", key) if hidden in shown]
