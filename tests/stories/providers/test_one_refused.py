"""What is refused of one execution takes the provider from no other, and what may be left out stops nothing."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import threading
from collections.abc import Callable

import pytest

from tests.destinations import Destination
from tests.disks.protection import protected
from tests.faults.http_effects import address_of, behind, refuse, reset_at_once
from tests.faults.http_proxy import ONCE, Effect, Exchange, Fault, HttpFaultProxy
from tests.running.skips import needs_root
from tests.stories.installation import Installation, Run
from tests.stories.trees import copy_tree, require_stored

MakeDestination = Callable[[str], Destination]

GOOD = [f"buena-{number:02d}" for number in range(20)]
LARGE_BYTES = 9 * 1024 * 1024


def _add_executions(installation: Installation) -> None:
    """Twenty that are good, and in their midst, by age, one whose file or directory is refused."""
    for number, uuid in enumerate(GOOD):
        installation.small_execution(uuid, age_hours=100 - number)
    installation.small_execution("mala", age_hours=98)


def _require_only_one_refused(installation: Installation, run: Run, named: str) -> None:
    assert run.exit_code == 1, str(run)
    assert [uuid for uuid in GOOD if not installation.place(uuid)[0]] == []
    assert installation.place("mala")[0] is False
    (line,) = [line for line in run.messages("ERROR") if line.startswith("Error subiendo mala")]
    assert named in line
    assert not [line for line in run.messages("WARNING") if "no se usará más" in line]


REFUSED_REQUEST = {
    "s3": ("^PUT .*/mala/tabla", b""),
    "azure": ("^PUT .*/mala/tabla", b""),
    "gcs": ("^POST /upload/", b"/mala/tabla"),
}


def _refused(kind: str, effect: Effect) -> Fault:
    request, body = REFUSED_REQUEST[kind]
    return Fault("refused", effect, request, ONCE, body)


@pytest.mark.parametrize("name", ["s3-rclone", "azure", "gcs"])
@pytest.mark.parametrize(
    ("status", "code"), [(403, "AccessDenied"), (507, "InsufficientStorage"), (413, "EntityTooLarge")]
)
def test_one_object_that_is_refused_takes_the_provider_from_no_other(
    installation: Installation, new_destination: MakeDestination, name: str, status: int, code: str
) -> None:
    """One run migrates all the others. Looked for elsewhere, too: a directory that is protected (the next test), one
    object without room or too large for the store, the deletion of leftovers, manifests, listings of uploads.
    """
    real = new_destination(name)
    _add_executions(installation)
    with HttpFaultProxy(address_of(real), _refused(real.kind, refuse(real.kind, status, code))) as proxy:
        installation.configure(installation.add_provider(behind(real, proxy.url), "La nube"))
        run = installation.run()
        _require_only_one_refused(installation, run, "ejecuciones/mala/tabla.txt")
        assert not [name for name in real.everything_stored() if ".janitor-" in name]
        assert installation.run().exit_code == 0
    assert installation.place("mala")[0] is True


@pytest.mark.parametrize("name", ["local", "sftp-openssh", "sftp-asyncssh"])
def test_one_directory_that_is_protected_takes_the_provider_from_no_other(
    installation: Installation, new_destination: MakeDestination, name: str
) -> None:
    destination = new_destination(name)
    _add_executions(installation)
    installation.configure(installation.add_provider(destination, "El NAS"))
    directory = destination.directory / "ejecuciones" / "mala"
    (directory / "vacía").mkdir(parents=True)  # else an ordinary user could remove the directory, and make it again
    with protected(directory):
        for _ in range(2):
            run = installation.run()
            _require_only_one_refused(installation, run, "ejecuciones/mala")
    assert not [name for name in destination.everything_stored() if ".janitor-" in name]
    assert installation.run().exit_code == 0


def test_a_provider_that_refuses_everybody_is_found_out_once(
    installation: Installation, new_destination: MakeDestination, nas: Destination
) -> None:
    """The probe is refused like everything else: one execution meets it, the others go to the alternate at once."""
    real = new_destination("s3-rclone")
    alternate = installation.add_provider(nas, "El NAS")
    _add_executions(installation)
    with HttpFaultProxy(address_of(real), Fault("refused", refuse("s3", 403, "AccessDenied"), "^PUT")) as proxy:
        installation.configure(installation.add_provider(behind(real, proxy.url), "La nube"), alternate)
        run = installation.run()
    assert {installation.place(uuid)[2] for uuid in (*GOOD, "mala")} == {alternate}
    assert len([line for line in run.messages("WARNING") if "no se usará más" in line]) == 1
    assert len([line for line in run.messages("ERROR") if "La nube" in line]) <= 4  # those that were under way


def test_what_has_no_room_waits_for_it_and_is_the_fault_of_no_execution(
    installation: Installation, new_destination: MakeDestination
) -> None:
    """A store that is nearly full takes what fits. The cause is told once, by the provider's name, and stays until all
    had room; the next run takes up what had none. Looked for elsewhere, too: local disks, SFTP and what is left of
    them (`tests/jobs/test_provider_set.py`), the way home (`jobs/rehome/move.py`).
    """
    real = new_destination("s3-rclone")
    large = [installation.small_execution(f"grande-{number}", age_hours=100 - number) for number in range(3)]
    for directory in large:
        (directory / "tabla.txt").write_bytes(b"x" * 20_000)
    installation.small_execution("cabe")
    has_room = threading.Event()

    def refuse_large(exchange: Exchange) -> None:
        if exchange.announced_bytes < 10_000 or has_room.is_set():
            exchange.answer(exchange.forward())
        else:
            refuse("s3", 507, "XMinioStorageFull")(exchange)

    with HttpFaultProxy(address_of(real), Fault("full", refuse_large, "^PUT")) as proxy:
        installation.configure(installation.add_provider(behind(real, proxy.url), "La nube"))
        for _ in range(2):
            run = installation.run("--migrate-only", JANITOR_MAX_ATTEMPTS="1")
            assert run.exit_code == 1, str(run)
            (told,) = [line for line in run.messages("WARNING") if "La nube" in line]
            assert "sin espacio (hacen falta 19" in told
            assert "La nube (sin espacio)" in run.messages("INFO")[-1]
        assert installation.place("cabe")[0] is True
        rows = installation.rows("SELECT failed_runs, quarantined_at, next_try_at FROM janitor_migrations")
        assert all(tuple(row.values()) == (0, None, None) for row in rows)
        (found,) = json.loads(installation.run("status", "--json").output)["needs_person"]
        assert found["code"] == "provider_storage_full"
        assert "La nube" in found["subject"]
        assert "siguen sin migrar 3 ejecuciones" in found["text"]
        has_room.set()
        assert installation.run("--migrate-only").exit_code == 0
    assert all(installation.place(directory.name)[0] for directory in large)
    assert installation.rows("SELECT FROM janitor_provider_health") == []


UPLOADS_ARE_LISTED = r"^GET [^ ]*[?&]uploads"


@pytest.mark.parametrize(("status", "code"), [(403, "AccessDenied"), (501, "NotImplemented")])
def test_uploads_that_may_not_be_listed_stop_nothing_and_are_reported_once(
    installation: Installation, new_destination: MakeDestination, status: int, code: str
) -> None:
    """Also looked for: AbortMultipartUpload, HEAD, the deletion of what a probe or an attempt has left."""
    real = new_destination("s3-rclone")
    uuids = [installation.small_execution(f"e{number}").name for number in range(4)]
    kinds = (
        Fault("uploads", refuse("s3", status, code), UPLOADS_ARE_LISTED),
        Fault("first", refuse("s3", 400, "InvalidRequest"), "^PUT .*manifest.json", range(1, 5)),
    )
    with HttpFaultProxy(address_of(real), *kinds) as proxy:
        installation.configure(installation.add_provider(behind(real, proxy.url), "La nube"))
        assert installation.run().exit_code == 1
        run = installation.run()
    assert run.exit_code == 0, str(run)
    assert all(installation.place(uuid)[0] for uuid in uuids)
    (told,) = run.messages("WARNING")
    assert "s3:ListBucketMultipartUploads" in told
    assert "La nube" in told
    assert f"HTTP {status}" in told


@pytest.mark.parametrize("status", [403, 405, 501])
def test_a_server_that_answers_no_head_is_asked_by_listings(
    installation: Installation, new_destination: MakeDestination, status: int
) -> None:
    real = new_destination("s3-rclone")
    directory = installation.small_execution("una")
    with HttpFaultProxy(address_of(real), Fault("head", refuse("s3", status, "X"), "^HEAD")) as proxy:
        installation.configure(installation.add_provider(behind(real, proxy.url)))
        run = installation.run()
    assert run.exit_code == 0, str(run)
    require_stored(real, "ejecuciones/una", directory)


def test_a_store_that_lets_nothing_be_deleted_takes_executions(
    installation: Installation, new_destination: MakeDestination
) -> None:
    real = new_destination("s3-swift")
    directory = installation.small_execution("una")
    with HttpFaultProxy(address_of(real), Fault("delete", refuse("s3", 403, "AccessDenied"), "^DELETE")) as proxy:
        installation.configure(installation.add_provider(behind(real, proxy.url)))
        run = installation.run()
        assert run.exit_code == 0, str(run)
        installation.small_execution("otra")
        assert installation.run().exit_code == 0
    require_stored(real, "ejecuciones/una", directory)


NOT_STORED_OVER = {"s3": ("^PUT .*manifest.json", b""), "azure": ("^PUT .*manifest.json", b"")}


def _stopped_before_its_commit(installation: Installation, provider_id: int, uuid: str) -> None:
    """Take back what a run wrote last: so a kill just before it leaves an execution."""
    installation.execute(
        "UPDATE ejecuciones_yaml SET migrado_a_nube = false, ruta_nube = NULL, nube_provider_id = NULL WHERE uuid = %s",
        (uuid,),
    )
    installation.execute("UPDATE janitor_attempts SET state = 'open' WHERE provider_id = %s", (provider_id,))
    installation.execute(
        "UPDATE janitor_migrations SET state = 'migrating', manifest_sha256 = NULL WHERE uuid = %s", (uuid,)
    )


@pytest.mark.parametrize("name", ["local", "sftp-openssh"])
def test_an_equal_copy_that_is_protected_since_a_kill_is_recorded_as_it_is(
    installation: Installation, new_destination: MakeDestination, name: str
) -> None:
    """Neither its manifest nor its files can be replaced, and in a directory nothing be added. Elsewhere: one that
    differs, in the next test. Over SFTP a probe must find room in the directory.
    """
    destination = new_destination(name)
    provider_id = installation.add_provider(destination, "El NAS")
    installation.configure(provider_id)
    directory = installation.small_execution("una")
    assert installation.run().exit_code == 0
    _stopped_before_its_commit(installation, provider_id, "una")
    copies = destination.directory / "ejecuciones"
    with contextlib.ExitStack() as stack:
        protected_too = [copies / "una"] if name == "local" else []
        for path in (copies / "una.manifest.json", *(copies / "una").iterdir(), *protected_too):
            stack.enter_context(protected(path))
        run = installation.run()
    assert run.exit_code == 0, str(run)
    assert installation.place("una")[0] is True
    require_stored(destination, "ejecuciones/una", directory)


@needs_root
def test_an_older_manifest_that_is_protected_is_reported_and_others_continue(
    installation: Installation, new_destination: MakeDestination, nas: Destination
) -> None:
    destination = new_destination("local")
    provider_id = installation.add_provider(destination, "El archivo")
    installation.configure(provider_id)
    directory = installation.small_execution("una")
    assert installation.run().exit_code == 0
    _stopped_before_its_commit(installation, provider_id, "una")
    (directory / "tabla.txt").write_text("otra cosa, y más larga que antes\n" * 3)
    installation.small_execution("otra")
    with protected(destination.directory / "ejecuciones" / "una.manifest.json"):
        run = installation.run()
        assert run.exit_code == 1, str(run)
        assert installation.place("otra")[0] is True
        (line,) = [line for line in run.messages("ERROR") if line.startswith("Error subiendo una")]
        assert "una.manifest.json es de una copia anterior" in line
        alternate = installation.add_provider(nas, "El NAS")
        installation.configure(provider_id, alternate)
        installation.run()
    assert installation.place("una")[2] == alternate


def test_a_protected_file_that_differs_is_refused_by_name(
    installation: Installation, new_destination: MakeDestination
) -> None:
    destination = new_destination("local")
    provider_id = installation.add_provider(destination, "El archivo")
    installation.configure(provider_id)
    directory = installation.small_execution("una")
    assert installation.run().exit_code == 0
    _stopped_before_its_commit(installation, provider_id, "una")
    (directory / "tabla.txt").write_text("otra cosa\n")
    copies = destination.directory / "ejecuciones" / "una"
    with protected(copies), protected(copies / "tabla.txt"):
        run = installation.run()
    assert run.exit_code == 1, str(run)
    (line,) = [line for line in run.messages("ERROR") if line.startswith("Error subiendo una")]
    assert re.search("(no permitida|denegado).*una/tabla.txt", line)


def test_a_place_is_closed_where_late_bytes_cannot_be_kept_off(
    installation: Installation, new_destination: MakeDestination
) -> None:
    """What the protocol needs is not left out: an upload of a dead run could end over what has changed since."""
    real = new_destination("s3-moto")
    directory = installation.small_execution("una")
    faults = (
        Fault("uploads", refuse("s3", 403, "AccessDenied"), UPLOADS_ARE_LISTED),
        Fault("lost", reset_at_once, "^PUT .*manifest.json", ONCE),
        Fault("refused", refuse("s3", 400, "InvalidRequest"), "^PUT .*manifest.json", ONCE),
    )
    with HttpFaultProxy(address_of(real), *faults) as proxy:
        installation.configure(installation.add_provider(behind(real, proxy.url), "La nube"))
        installation.run()
        assert installation.place("una")[0] is False
        (directory / "tabla.txt").write_text("otra cosa\n")
        run = installation.run()
        assert run.exit_code == 1, str(run)
        assert [line for line in run.messages("ERROR") if "puede llegar aún algo" in line]
        installation.execute("UPDATE janitor_attempts SET finished_at = finished_at - interval '2 hours'")
        assert installation.run().exit_code == 0
    require_stored(real, "ejecuciones/una", directory)


@pytest.mark.parametrize(
    ("status", "code"), [(403, "AccessDenied"), (405, "MethodNotAllowed"), (501, "NotImplemented")]
)
def test_a_copy_is_not_believed_while_a_late_end_could_replace_a_file_of_it(
    installation: Installation, new_destination: MakeDestination, status: int, code: str
) -> None:
    """Of a file that has changed since, an upload of a killed run is known, may not be discarded, and may still end.

    Looked for besides: uploads that may not be listed (the last test), ends without a condition
    (`tests/storage/test_late_requests.py`). What a file on Azure or GCS is made of always ends under a
    condition.
    """
    real = new_destination("s3-moto")
    held: list[Exchange] = []
    is_held = threading.Event()

    def hold(exchange: Exchange) -> None:
        _ = exchange.body
        held.append(exchange)
        is_held.set()
        exchange.wait_for_the_end()

    faults = (
        Fault("held", hold, r"^POST .*grande.bin\?uploadId=", ONCE),
        Fault("abort", refuse("s3", status, code), "^DELETE .*grande.bin.uploadId="),
    )
    directory = installation.small_execution("una")
    large = directory / "grande.bin"
    with HttpFaultProxy(address_of(real), *faults) as proxy:
        provider_id = installation.add_provider(behind(real, proxy.url), "La nube")
        installation.configure(provider_id, eliminar_despues_de_migrar=True)
        large.write_bytes(b"a" * LARGE_BYTES)
        with installation.start() as command:
            assert is_held.wait(60), command.errors()
            command.stop(signal.SIGKILL)
        large.write_bytes(b"b" * LARGE_BYTES)
        original = copy_tree(directory, installation.directory / "original")
        run = installation.run()
        assert run.exit_code == 1, str(run)
        assert [line for line in run.messages("ERROR") if "puede llegar aún algo" in line], str(run)
        assert installation.place("una")[0] is False
        held[0].forward()
        installation.execute("UPDATE janitor_migrations SET last_held_at = last_held_at - interval '2 hours'")
        run = installation.run()
        assert run.exit_code == 0, str(run)
    assert not directory.exists()
    require_stored(real, "ejecuciones/una", original)


def test_a_manifest_that_may_be_replaced_but_not_removed_is_taken_back_by_an_empty_one(
    installation: Installation, new_destination: MakeDestination
) -> None:
    """Before the first file of the old copy is replaced, nothing there looks complete any more."""
    real = new_destination("s3-moto")
    provider_id = installation.add_provider(real, "La nube")
    installation.configure(provider_id)
    directory = installation.small_execution("una")
    assert installation.run().exit_code == 0
    _stopped_before_its_commit(installation, provider_id, "una")
    (directory / "tabla.txt").write_text("otra cosa\n")
    sizes: list[int] = []

    def note_size(exchange: Exchange) -> None:
        sizes.append(exchange.announced_bytes)
        exchange.answer(exchange.forward())

    faults = (
        Fault("delete", refuse("s3", 403, "AccessDenied"), "^DELETE .*manifest.json"),
        Fault("put", note_size, "^PUT .*(manifest.json|una/tabla.txt)"),
    )
    with HttpFaultProxy(address_of(real), *faults) as proxy:
        address = behind(real, proxy.url).options["endpoint_url"]
        installation.execute(
            "UPDATE cloud_providers SET configuracion = jsonb_set(configuracion, '{endpoint_url}', to_jsonb(%s::text))",
            (address,),
        )
        run = installation.run()
    assert run.exit_code == 0, str(run)
    assert sizes[0] == 0
    assert len(sizes) == 3
    require_stored(real, "ejecuciones/una", directory)
