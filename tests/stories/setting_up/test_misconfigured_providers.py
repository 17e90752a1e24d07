"""Rows of `cloud_providers` with a missing or wrong field: named by provider and field, never by value."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.destinations import Destination
from tests.stories.installation import Installation

ABSENT = object()
SECRET = "no-debe-verse"  # every wrong value holds it, and no line may
HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"

VALID: Mapping[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "s3": ({"access_key": "AKIA", "secret_key": "clave"}, {"bucket": "cubo"}),
    "minio": ({"access_key": "AKIA", "secret_key": "clave"}, {"bucket": "cubo", "endpoint_url": "http://127.0.0.1:9"}),
    "azure": ({"account_name": "cuenta", "account_key": "Y2xhdmU="}, {"container": "cubo"}),
    "gcp": ({}, {"bucket": "cubo", "endpoint_url": "http://127.0.0.1:9"}),
    "sftp": (
        {"host": "127.0.0.1", "username": "sage", "password": "clave", "host_key": HOST_KEY},
        {"base_path": "/ejecuciones"},
    ),
    "local": ({}, {"ruta": "/nas"}),
}

WRONG: Mapping[str, list[tuple[str, object]]] = {
    "s3": [
        ("configuracion.bucket", ABSENT),
        ("configuracion.bucket", ""),
        ("configuracion.bucket", 5),
        ("configuracion.bucket", f"{SECRET}/con/barras"),
        ("configuracion.endpoint_url", SECRET),
        ("configuracion.endpoint_url", f"ftp://{SECRET}"),
        ("configuracion.endpoint_url", f"https://usuario:{SECRET}@servidor"),
        ("configuracion.endpoint_url", [SECRET]),
        ("configuracion.storage_class", 5),
        ("configuracion.sse", SECRET),
        ("configuracion.kms_key_id", SECRET),
        ("configuracion.acelerar", SECRET),
        ("credenciales.access_key", ABSENT),
        ("credenciales.secret_key", ABSENT),
        ("credenciales.secret_key", [SECRET]),
        ("credenciales.region", {"otra": SECRET}),
        ("credenciales.session_token", 5),
        ("credenciales", [SECRET]),
        ("credenciales", SECRET),
        ("configuracion", [SECRET]),
        ("configuracion", SECRET),
        ("configuracion", None),
    ],
    "minio": [("configuracion.endpoint_url", ABSENT), ("configuracion.endpoint_url", SECRET)],
    "azure": [
        ("configuracion.container", ABSENT),
        ("configuracion.container", f"{SECRET}_MAL"),
        ("configuracion.account_url", SECRET),
        ("configuracion.account_url", f"https://cuenta.blob.core.windows.net?sig={SECRET}"),
        ("configuracion.access_tier", SECRET),
        ("credenciales.account_name", ABSENT),
        ("credenciales.account_name", f"{SECRET}@"),
        ("credenciales.account_key", f"{SECRET}: no base64"),
        ("credenciales.sas_token", f"{SECRET} sin firma"),
        ("credenciales.connection_string", SECRET),
        ("credenciales.connection_string", f"AccountName=a;AccountKey={SECRET}"),
        ("credenciales", None),
        ("credenciales", SECRET),
    ],
    "gcp": [
        ("configuracion.bucket", ABSENT),
        ("configuracion.bucket", 5),
        ("configuracion.endpoint_url", SECRET),
        ("configuracion.project", [SECRET]),
        ("configuracion.storage_class", 5),
        ("credenciales", {"type": "service_account", "private_key": SECRET, "client_email": "a@b"}),
        ("credenciales", [SECRET]),
    ],
    "sftp": [
        ("credenciales.host", ABSENT),
        ("credenciales.host", 5),
        ("credenciales.port", 0),
        ("credenciales.port", 65536),
        ("credenciales.port", SECRET),
        ("credenciales.port", True),
        ("credenciales.username", ABSENT),
        ("credenciales.password", ABSENT),
        (
            "credenciales.private_key",
            f"-----BEGIN OPENSSH PRIVATE KEY-----\n{SECRET}\n-----END OPENSSH PRIVATE KEY-----",
        ),
        ("credenciales.host_key", ABSENT),
        ("credenciales.host_key", f"ssh-ed25519 {SECRET}"),
        ("configuracion.base_path", ABSENT),
        ("configuracion.base_path", 5),
        ("configuracion.verificacion", SECRET),
        ("credenciales", None),
        ("credenciales", [SECRET]),
    ],
    "local": [
        ("configuracion.ruta", ABSENT),
        ("configuracion.ruta", ""),
        ("configuracion.ruta", f"relativa/{SECRET}"),
        ("configuracion.ruta", 5),
        ("configuracion", None),
    ],
}


def _with_wrong_field(kind: str, field: str, value: object) -> tuple[object, object]:
    """Valid columns, but for one field, or for one whole column."""
    columns: dict[str, Any] = dict(
        zip(("credenciales", "configuracion"), json.loads(json.dumps(VALID[kind])), strict=True)
    )
    column, _, name = field.partition(".")
    if not name:
        columns[column] = value
    elif value is ABSENT:
        del columns[column][name]
    else:
        if name in ("sas_token", "connection_string"):
            columns[column] = {"account_name": "cuenta"} if name == "sas_token" else {}
        columns[column][name] = value
    return columns["credenciales"], columns["configuracion"]


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_field_makes_its_provider_unusable_and_not_the_run(
    installation: Installation, nas: Destination, kind: str
) -> None:
    """All the wrong rows stand before the good one, so that one tick meets each of them."""
    rows = {}
    for number, (field, value) in enumerate(WRONG[kind]):
        name = f"Mala {number:02d}"
        credentials, options = _with_wrong_field(kind, field, value)
        rows[name] = (installation.add_provider_row(name, kind, credentials, options), field)
    good = installation.add_provider(nas, "Buena")
    installation.configure(*(provider for provider, _ in rows.values()), good)
    installation.small_execution("uno")

    run = installation.run()

    assert run.exit_code == 1, str(run)  # somebody has to correct the row, though the alternate took it
    assert installation.place("uno")[2] == good
    told = {name: [line for line in run.messages("ERROR") if name in line] for name in rows}
    wanted = {name: f"El proveedor {name} no se puede usar: {field}" for name, (_, field) in rows.items()}
    assert {name: [line[: len(wanted[name])] for line in lines] for name, lines in told.items()} == {
        name: [line] for name, line in wanted.items()
    }
    assert SECRET not in run.errors
    assert not run.output


def test_an_unknown_kind_of_provider_is_named(installation: Installation, nas: Destination) -> None:
    bad = installation.add_provider_row("Rara", "os.system", {}, {})
    good = installation.add_provider_row("Buena", " LOCAL ", None, {"ruta": str(nas.directory)})
    installation.configure(bad, good)
    installation.small_execution("uno")
    run = installation.run()
    assert run.exit_code == 1, str(run)  # somebody has to correct the row, though the alternate took it
    assert [line for line in run.messages("ERROR") if line.startswith("El proveedor Rara no se puede usar: tipo")]
    assert installation.place("uno") == (True, "cloud://local/ejecuciones/uno", good)


def test_a_file_of_credentials_that_cannot_be_read_is_named_by_its_column(
    installation: Installation, nas: Destination
) -> None:
    bad = installation.add_provider_row("Mala", "gcp", f"/no/existe/{SECRET}.json", {"bucket": "cubo"})
    good = installation.add_provider(nas, "Buena")
    installation.configure(bad, good)
    installation.small_execution("uno")
    run = installation.run()
    assert run.exit_code == 1, str(run)  # somebody has to correct the row, though the alternate took it
    assert installation.place("uno")[2] == good
    assert [line for line in run.messages("ERROR") if "Mala" in line and "credenciales: " in line]
    assert SECRET not in run.errors


def test_check_names_every_wrong_provider_and_what_to_do(installation: Installation, nas: Destination) -> None:
    credentials, options = _with_wrong_field("s3", "configuracion.bucket", ABSENT)
    bad = installation.add_provider_row("Mala", "s3", credentials, options)
    good = installation.add_provider(nas, "Buena")
    installation.configure(bad, good)
    run = installation.run("check")
    assert run.exit_code == 1, str(run)
    lines = run.output.splitlines()
    assert [line for line in lines if line.startswith("ERROR") and "Mala" in line and "configuracion.bucket" in line]
    assert [line for line in lines if line.startswith("bien") and "Buena" in line]
    assert nas.everything_stored() == set()
    installation.configure(good)
    installation.execute("DELETE FROM cloud_providers WHERE id = %s", (bad,))
    assert installation.run("check").exit_code == 0


def test_check_warns_of_a_server_that_late_requests_could_harm(
    installation: Installation, new_destination: Callable[[str], Destination]
) -> None:
    blind, careful = new_destination("gcs"), new_destination("s3-rclone")
    installation.configure(installation.add_provider(careful, "Cuidadosa"), installation.add_provider(blind, "Ciega"))
    run = installation.run("check")
    assert run.exit_code == 0, str(run)
    warnings = [line for line in run.output.splitlines() if line.startswith("aviso") and "condiciones" in line]
    assert ["Ciega" in line for line in warnings] == [True]
    assert blind.everything_stored() == careful.everything_stored() == set()


def test_a_secret_kept_encrypted_in_the_database_is_used(
    installation: Installation, nas: Destination, new_destination: Any
) -> None:
    from cryptography.fernet import Fernet

    old_key, key = Fernet.generate_key(), Fernet.generate_key()
    real = new_destination("s3-rclone")
    secret = real.credentials["secret_key"]
    installation.execute(
        "INSERT INTO secretos_nube (nombre, valor_cifrado) VALUES ('clave-s3', %s)",
        (Fernet(old_key).encrypt(secret.encode()).decode(),),
    )
    named = real.with_credentials(secret_key={"secreto": "clave-s3"})
    primary = installation.add_provider(named, "Con secreto")
    alternate = installation.add_provider(nas, "El NAS")
    installation.configure(primary, alternate)
    installation.small_execution("sin-llave")
    for keys, part in ((None, "JANITOR_SECRET_KEYS"), (key.decode(), "clave-s3")):
        run = installation.run(JANITOR_SECRET_KEYS=keys)
        assert [line for line in run.messages("ERROR") if "Con secreto" in line and part in line], str(run)
    assert installation.place("sin-llave")[2] == alternate

    installation.small_execution("con-llave")
    run = installation.run("--debug", JANITOR_SECRET_KEYS=f"{key.decode()},{old_key.decode()}")
    assert run.exit_code == 0, str(run)
    assert installation.place("con-llave")[2] == primary
    for hidden in (secret, key.decode(), old_key.decode()):
        assert hidden not in run.errors


def test_a_row_that_the_policy_does_not_name_is_ignored(installation: Installation, nas: Destination) -> None:
    """Looked for in a column that is no object and in a secret that is missing; named, both make the exit code 1."""
    rows = {"Lista": [1], "Cifrada": {"password": {"secreto": "no-hay"}}}
    ids = [installation.add_provider_row(name, "sftp", column, {}) for name, column in rows.items()]
    good = installation.add_provider(nas)
    installation.configure(good)
    installation.small_execution("uno")
    run = installation.run()
    assert run.exit_code == 0, str(run)
    assert [name for name in rows if name in run.errors] == []
    debugged = installation.run("--debug")
    assert [name for name in rows if f"El proveedor {name}, que la configuración no nombra" in debugged.errors] == (
        list(rows)
    )
    assert debugged.messages("ERROR") == []

    installation.configure(good, *ids)
    named = installation.run()
    assert named.exit_code == 1, str(named)
    told = [line.partition(" no se puede usar")[0] for line in named.messages("ERROR")]
    assert told == [f"El proveedor {name}" for name in rows]


def test_a_provider_without_a_name_is_known_by_its_id(installation: Installation, nas: Destination) -> None:
    """Looked for in `check`, in `status` and in a row that cannot be read."""
    unreadable = installation.add_provider_row("", "sftp", [1], {})
    nameless = installation.add_provider_row(" ", "local", None, nas.options)
    installation.configure(nameless, unreadable)
    installation.small_execution("uno")
    run = installation.run()
    assert f"ERROR - El proveedor con id {unreadable} no se puede usar" in run.errors
    check = installation.run("check").output
    assert f"proveedor con id {unreadable}: " in check
    assert f"proveedor con id {nameless} (local): " in check
    assert f"  en sin nombre (local, id {nameless}): 1 ejecución" in installation.run("status").output
