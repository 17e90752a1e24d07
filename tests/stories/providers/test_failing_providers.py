"""Providers that are down, wrong or missing: nothing is lost, the alternates are used, and nothing is left behind."""

from __future__ import annotations

import base64
import contextlib
import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from tests.destinations import Destination, local_destination
from tests.stories.doors import Door, SilentDoor, refused_port
from tests.stories.installation import Installation, Run
from tests.stories.programs import lose_patience_soon
from tests.stories.trees import require_stored, snapshot

MakeDestination = Callable[[str], Destination]


def _at_port(kind: str, port: int) -> Destination:
    """What a row says of a server that is not well."""
    rows: dict[str, tuple[dict[str, object], dict[str, object]]] = {
        "s3": (
            {"access_key": "AKIACAIDO", "secret_key": "clave-caida"},
            {"bucket": "ejecuciones", "endpoint_url": f"http://127.0.0.1:{port}"},
        ),
        "azure": (
            {"account_name": "janitor", "account_key": base64.b64encode(b"clave caida").decode()},
            {"container": "ejecuciones", "account_url": f"http://127.0.0.1:{port}/janitor"},
        ),
        "gcs": ({}, {"bucket": "ejecuciones", "endpoint_url": f"http://127.0.0.1:{port}", "project": "p"}),
        "sftp": (
            {
                "host": "127.0.0.1",
                "port": port,
                "username": "sage",
                "password": "clave-caida",
                "host_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl",
            },
            {"base_path": "/ejecuciones"},
        ),
    }
    credentials, options = rows[kind]
    return Destination(f"{kind}-caido", kind, credentials, options, "")


MANIFEST_IS_PUT = rb"PUT /[^ ]*\.manifest\.json"
MOST_CALLS = 2
"""How often a server that never answers may be called in a tick: each call waits, and an SDK would repeat it."""

KINDS_WITH_A_SERVER = ("s3", "azure", "gcs", "sftp")


def _require_gone_to_the_alternate(
    installation: Installation, run: Run, alternate: int, nas: Destination, exit_code: int = 1
) -> None:
    """And the run ends with 1 where a person has to mend the primary."""
    assert run.exit_code == exit_code, str(run)
    assert installation.place("uno") == (True, "cloud://local/ejecuciones/uno", alternate)
    assert [line for line in run.messages("ERROR") if line.startswith("Error subiendo uno")]
    assert run.said("INFO", "Intentando migrar al proveedor alternativo: El NAS")
    require_stored(nas, "ejecuciones/uno", installation.executions / "uno")


def _tick_of_each_kind(new_installation: Callable[[], Installation], ports: Sequence[int]) -> None:
    """One tick for each kind, all at the same time, with a primary at its port and a directory as the alternate.

    The primary is tried once.
    """
    with contextlib.ExitStack() as stack:
        started = []
        for kind, port in zip(KINDS_WITH_A_SERVER, ports, strict=True):
            installation = new_installation()
            nas = local_destination("nas", installation.directory / "nas")
            primary = installation.add_provider(_at_port(kind, port), "La caída")
            alternate = installation.add_provider(nas, "El NAS")
            installation.configure(primary, alternate)
            installation.small_execution("uno")
            started.append((installation, stack.enter_context(installation.start()), primary, alternate, nas))
        for installation, command, primary, alternate, nas in started:
            run = command.finish()
            _require_gone_to_the_alternate(installation, run, alternate, nas, exit_code=0)
            assert [provider for provider, _ in installation.attempts("uno")] == [primary, alternate]


def test_a_primary_whose_port_is_refused_is_tried_once(new_installation: Callable[[], Installation]) -> None:
    _tick_of_each_kind(new_installation, [refused_port()] * len(KINDS_WITH_A_SERVER))


def test_a_primary_that_never_answers_is_called_few_times(new_installation: Callable[[], Installation]) -> None:
    with contextlib.ExitStack() as stack:
        doors = [stack.enter_context(SilentDoor()) for _ in KINDS_WITH_A_SERVER]
        _tick_of_each_kind(new_installation, [door.port for door in doors])
        calls = {kind: door.connections() for kind, door in zip(KINDS_WITH_A_SERVER, doors, strict=True)}
    assert all(0 < each <= MOST_CALLS for each in calls.values()), calls


def test_a_primary_that_is_down_is_found_out_once_a_tick_not_once_an_execution(
    installation: Installation, nas: Destination
) -> None:
    alternate = installation.add_provider(nas, "El NAS")
    uuids = [f"e{number:02d}" for number in range(20)]
    with SilentDoor() as door:
        installation.configure(installation.add_provider(_at_port("s3", door.port), "La muda"), alternate)
        for uuid in uuids:
            installation.small_execution(uuid)
        run = installation.run()
        calls = door.connections()
    assert run.exit_code == 0, str(run)
    assert {installation.place(uuid)[2] for uuid in uuids} == {alternate}
    assert 0 < calls <= len(uuids) // 2  # those that were under way when it was found out


def test_when_all_providers_are_down_nothing_is_lost_and_each_execution_is_named(
    installation: Installation, nas: Destination
) -> None:
    primary = installation.add_provider(_at_port("s3", refused_port()), "Una")
    other = installation.add_provider(_at_port("azure", refused_port()), "Otra")
    installation.configure(primary, other, eliminar_despues_de_migrar=True)
    directories = {
        uuid: installation.small_execution(uuid) for uuid in ("uno", "dos", "tres", "cuatro", "cinco", "seis")
    }
    before = {uuid: snapshot(directory) for uuid, directory in directories.items()}
    lose_patience_soon(installation)

    run = installation.run()

    assert run.exit_code == 1, str(run)
    for uuid, directory in directories.items():
        (line,) = [line for line in run.messages("ERROR") if line.startswith(f"No se pudo migrar la ejecución {uuid}")]
        assert "\n" not in line
        assert installation.place(uuid) == (False, None, None)
        assert snapshot(directory) == before[uuid]
    assert any("Limpieza completada" in line for line in run.messages("INFO"))

    home = installation.add_provider(nas, "El NAS")  # another tick, with somewhere to go
    installation.configure(home, eliminar_despues_de_migrar=True)
    assert installation.run().exit_code == 0
    assert {installation.place(uuid)[2] for uuid in directories} == {home}


def test_providers_that_are_inactive_or_missing_are_passed_over(installation: Installation, nas: Destination) -> None:
    switched_off = installation.add_provider(nas, "Apagada", active=False)
    unknown = installation.add_provider(nas, "Sin marcar", active=None)
    good = installation.add_provider(nas, "El NAS")
    installation.configure(switched_off, unknown, 4711, good, good)
    installation.small_execution("uno")
    run = installation.run()
    assert run.exit_code == 0, str(run)
    assert installation.place("uno")[2] == good
    warnings = run.messages("WARNING")
    assert len(warnings) == 3
    for part in ("Apagada", "Sin marcar", "4711"):
        assert [line for line in warnings if part in line]


def test_without_any_usable_provider_each_execution_is_reported(installation: Installation, nas: Destination) -> None:
    installation.configure(installation.add_provider(nas, active=False))
    installation.small_execution("uno")
    run = installation.run()
    assert run.exit_code == 1, str(run)
    assert [line for line in run.messages("ERROR") if line.startswith("No se pudo migrar la ejecución uno")]
    assert installation.place("uno") == (False, None, None)


def _wrong_credentials(destination: Destination) -> Destination:
    other_key = base64.b64encode(b"otra clave que no es").decode()
    match destination.kind:
        case "azure":
            return destination.with_credentials(account_key=other_key)
        case "sftp":
            return destination.with_credentials(password="otra-clave", private_key=None)
        case _:
            return destination.with_credentials(secret_key="otra-clave")


@pytest.mark.parametrize("name", ["s3-swift", "s3-rclone", "azure", "sftp-asyncssh"])
def test_wrong_credentials_are_reported_without_showing_them(
    installation: Installation, new_destination: MakeDestination, nas: Destination, name: str
) -> None:
    destination = _wrong_credentials(new_destination(name))
    alternate = installation.add_provider(nas, "El NAS")
    installation.configure(installation.add_provider(destination, "La primaria"), alternate)
    installation.small_execution("uno")
    run = installation.run()
    _require_gone_to_the_alternate(installation, run, alternate, nas)
    (line,) = [line for line in run.messages("ERROR") if line.startswith("Error subiendo uno a La primaria: ")]
    assert re.search("acceso denegado|no acepta las credenciales", line)
    for secret in (*destination.secrets, "otra-clave", base64.b64encode(b"otra clave que no es").decode()):
        assert secret not in run.errors


def test_a_server_that_shows_another_host_key_is_refused(
    installation: Installation, new_destination: MakeDestination, nas: Destination
) -> None:
    another = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
    destination = new_destination("sftp-asyncssh").with_credentials(host_key=another)
    alternate = installation.add_provider(nas, "El NAS")
    installation.configure(installation.add_provider(destination, "La primaria"), alternate)
    installation.small_execution("uno")
    run = installation.run()
    _require_gone_to_the_alternate(installation, run, alternate, nas)
    assert destination.everything_stored() == set()
    _require_of_no_object_and_no_right(installation, run)


def test_a_login_that_is_refused_is_of_no_object_and_no_right(
    installation: Installation, new_destination: MakeDestination
) -> None:
    """As a host key is; a certificate goes the same way."""
    destination = new_destination("sftp-asyncssh").with_credentials(password="otra", private_key=None)
    installation.configure(installation.add_provider(destination, "La primaria"))
    installation.small_execution("uno")
    _require_of_no_object_and_no_right(installation, installation.run())


def _require_of_no_object_and_no_right(installation: Installation, run: Run) -> None:
    """Neither the run nor `check` blames the object that was about to be asked for, nor rights."""
    (told,) = [line for line in run.messages("ERROR") if line.startswith("Error subiendo uno a La primaria: ")]
    assert "ejecuciones/" not in told
    lines = installation.run("check").output.splitlines()
    (found,) = [line for line in lines if line.startswith("ERROR  proveedor La primaria")]
    assert not re.search("permisos de lectura|janitor-check", found)


def _without_its_container(destination: Destination) -> Destination:
    match destination.kind:
        case "azure":
            return destination.with_options(container="no-existe")
        case "sftp":
            return destination.with_options(base_path=f"{destination.options['base_path']}-no-existe")
        case "local":
            return destination.with_options(ruta=f"{destination.options['ruta']}-no-existe")
        case _:
            return destination.with_options(bucket="no-existe")


@pytest.mark.parametrize("name", ["s3-swift", "s3-rclone", "s3-moto", "azure", "gcs", "sftp-asyncssh", "local"])
def test_a_bucket_that_is_not_there_is_never_made(
    installation: Installation, new_destination: MakeDestination, nas: Destination, name: str
) -> None:
    destination = _without_its_container(new_destination(name))
    alternate = installation.add_provider(nas, "El NAS")
    installation.configure(installation.add_provider(destination, "La primaria"), alternate)
    installation.small_execution("uno")
    run = installation.run()
    _require_gone_to_the_alternate(installation, run, alternate, nas)
    with pytest.raises(AssertionError, match="rclone lsf"):
        destination.rclone("lsf", _remote_of(destination, name))


def _remote_of(destination: Destination, name: str) -> str:
    """rclone's name of the container that is not there."""
    if name in ("local", "sftp-asyncssh"):
        return f"{destination.remote}-no-existe"
    return f"{destination.remote.rpartition(':')[0]}:no-existe"


def test_what_was_pending_goes_to_the_primary_once_it_is_back(
    installation: Installation, new_destination: MakeDestination
) -> None:
    real = new_destination("s3-rclone")
    primary = installation.add_provider(real.with_options(endpoint_url=f"http://127.0.0.1:{refused_port()}"))
    installation.configure(primary, eliminar_despues_de_migrar=True)
    installation.small_execution("uno")
    assert installation.run().exit_code == 1
    installation.execute(
        "UPDATE cloud_providers SET configuracion = jsonb_set(configuracion, '{endpoint_url}', to_jsonb(%s::text))",
        (real.options["endpoint_url"],),
    )
    run = installation.run()
    assert run.exit_code == 0, str(run)
    assert installation.place("uno") == (True, "cloud://s3/ejecuciones/uno", primary)
    assert installation.unfinished() == {"attempts": 0, "leases": 0, "removals": 0}


def _fail_halfway(installation: Installation, real: Destination, **trouble: bytes) -> tuple[int, Run]:
    """One tick whose primary, `real` behind a door, stores some files before the trouble; gives the primary's id."""
    lose_patience_soon(installation)
    port = int(str(real.options["endpoint_url"]).rpartition(":")[2])
    with Door(port, **trouble) as door:
        primary = installation.add_provider(real.with_options(endpoint_url=door.url), "La primaria")
        (alternate,) = installation.rows("SELECT id FROM cloud_providers WHERE nombre = 'La alternativa'")
        installation.configure(primary, alternate["id"])
        directory = installation.new_directory("uno")
        for name in ("a", "b", "c", "z"):
            (directory / name).write_text(name * 100)
        installation.add_execution("uno", directory)
        run = installation.run(JANITOR_TRANSFERS="1")
        assert door.met.is_set()
    assert run.exit_code == 0, str(run)
    assert installation.place("uno")[2] == alternate["id"]
    return primary, run


def _bring_back(installation: Installation, primary: int, real: Destination) -> None:
    """The primary answers again, and two ticks pass."""
    installation.execute(
        "UPDATE cloud_providers SET configuracion = jsonb_set(configuracion, '{endpoint_url}', to_jsonb(%s::text)) "
        "WHERE id = %s",
        (real.options["endpoint_url"], primary),
    )
    for _ in range(2):
        run = installation.run()
        assert run.exit_code == 0, str(run)
    assert installation.unfinished() == {"attempts": 0, "leases": 0, "removals": 0}


def test_what_a_failed_attempt_stored_is_removed_once_its_provider_is_back(
    installation: Installation, new_destination: MakeDestination, nas: Destination
) -> None:
    real = new_destination("s3-rclone")
    installation.add_provider(nas, "La alternativa")
    primary, _ = _fail_halfway(installation, real, die=MANIFEST_IS_PUT)
    assert len([key for key in real.everything_stored() if "unfinished" not in key]) == 4
    stored_on_the_alternate = nas.everything_stored()
    _bring_back(installation, primary, real)
    assert real.everything_stored() == set()
    assert nas.everything_stored() == stored_on_the_alternate


def test_what_a_failed_attempt_stored_is_removed_at_once_where_its_provider_still_answers(
    installation: Installation, new_destination: MakeDestination, nas: Destination
) -> None:
    real = new_destination("s3-swift")
    installation.add_provider(nas, "La alternativa")
    _fail_halfway(installation, real, cut=MANIFEST_IS_PUT)
    assert real.everything_stored() == set()
    assert installation.unfinished() == {"attempts": 0, "leases": 0, "removals": 0}


@pytest.mark.parametrize(("name", "trouble"), [("s3-rclone", "die"), ("s3-rclone", "cut"), ("s3-swift", "cut")])
def test_the_committed_copy_survives_when_two_rows_name_the_same_bucket(
    installation: Installation, new_destination: MakeDestination, name: str, trouble: str
) -> None:
    real = new_destination(name)
    installation.add_provider(real, "La alternativa")
    primary, _ = _fail_halfway(installation, real, **{trouble: MANIFEST_IS_PUT})
    original = installation.executions / "uno"
    require_stored(real, "ejecuciones/uno", original)
    _bring_back(installation, primary, real)
    require_stored(real, "ejecuciones/uno", original)


def test_objects_of_others_at_the_place_are_never_removed(
    installation: Installation, new_destination: MakeDestination, nas: Destination
) -> None:
    real = new_destination("s3-rclone")
    stray = installation.directory / "ajeno"
    stray.mkdir()
    (stray / "ajeno.txt").write_text("de otro programa")
    real.rclone("copy", str(stray), real.rclone_remote("ejecuciones/uno"))
    installation.configure(installation.add_provider(real))
    installation.small_execution("uno")
    run = installation.run()
    assert run.exit_code == 0, str(run)
    assert "ejecuciones/uno/ajeno.txt" in real.everything_stored()
    assert "ejecuciones/uno/tabla.txt" in real.everything_stored()
    restored = installation.directory / "restaurada"
    assert installation.run("restore", "uno", str(restored)).exit_code == 0
    assert snapshot(restored) == snapshot(installation.executions / "uno")


def test_a_primary_that_turns_unhealthy_in_the_middle_leaves_the_alternate_a_whole_copy(
    installation: Installation, new_destination: MakeDestination, nas: Destination
) -> None:
    installation.add_provider(nas, "La alternativa")
    _fail_halfway(installation, new_destination("s3-rclone"), die=rb"PUT /[^ ]*/uno/z")
    require_stored(nas, "ejecuciones/uno", installation.executions / "uno")


def test_destinations_of_one_name_are_distinguished(installation: Installation, nas: Destination) -> None:
    """Two rows may have the same name: the id rules."""
    other = replace(nas, options={"ruta": str(installation.directory / "otro")})
    (installation.directory / "otro").mkdir()
    installation.add_provider(other, "Nube")
    installation.configure(installation.add_provider(nas, "Nube"))
    installation.small_execution("uno")
    assert installation.run().exit_code == 0
    assert nas.everything_stored() != set()
    assert other.everything_stored() == set()
