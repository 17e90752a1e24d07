"""What is refused of one execution takes the provider from no other, and what may be left out stops nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.destinations import Destination
from tests.faults.http_effects import address_of, behind, refuse
from tests.faults.http_proxy import ONCE, Effect, Fault, HttpFaultProxy
from tests.protection import protected
from tests.stories.installation import Installation, Run

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
    directory.mkdir(parents=True)
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
