"""Everything that an operator runs works in a company's network: a proxy with a password, a certificate of its own.

`tests/providers/shared/test_network.py` holds each request of each client to the rules. This shows that a whole
installation needs nothing but the two variables: small files, files in several requests and files in parts.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.destinations import Destination
from tests.faults.forwarding_proxy import ForwardingProxy
from tests.faults.http_proxy import HttpFaultProxy
from tests.servers.authority import PrivateAuthority
from tests.stories.installation import Installation
from tests.stories.trees import snapshot

NAME = "storage.example.test"
"""No resolver knows this server: a request that bypasses the proxy fails."""

LOGIN = ("us er", "p@ss/w:rd%41")
WRITTEN_LOGIN = "us%20er:p%40ss%2Fw%3Ard%2541"
SIZES_BYTES = {"empty": 0, "small": 7, "middling": 300 * 1024, "large": 9 * 1024 * 1024}


@pytest.fixture(params=["s3-rclone", "azure", "gcs"])
def destination(request: pytest.FixtureRequest, new_destination: Callable[[str], Destination]) -> Destination:
    """One of each kind that is reached by HTTP."""
    return new_destination(str(request.param))


def behind_the_name(destination: Destination) -> Destination:
    """The same destination, at an address that only the proxy knows."""
    if destination.kind == "azure":
        return destination.with_options(account_url=f"https://{NAME}/janitor")
    return destination.with_options(endpoint_url=f"https://{NAME}")


def own_url(destination: Destination) -> str:
    """The address at which its server listens, without a path."""
    url = destination.options.get("account_url") or destination.options["endpoint_url"]
    return str(url).removesuffix("/janitor")


def test_check_tick_audit_and_restore_work_through_a_proxy_with_a_private_certificate(
    installation: Installation, destination: Destination, tmp_path: Path
) -> None:
    directory = installation.new_directory("one")
    for name, size_bytes in SIZES_BYTES.items():
        (directory / name).write_bytes(name[:1].encode() * size_bytes)
    before = snapshot(directory)
    installation.add_execution("one", directory)
    provider_id = installation.add_provider(behind_the_name(destination), "Destino")
    installation.configure(provider_id, eliminar_despues_de_migrar=True)
    authority = PrivateAuthority(tmp_path)
    restored = installation.directory / "restored"
    with (
        HttpFaultProxy(own_url(destination), tls=authority.server_context(NAME)) as front,
        ForwardingProxy(LOGIN, {f"{NAME}:443": front.port}) as proxy,
    ):
        network = {
            "HTTPS_PROXY": f"http://{WRITTEN_LOGIN}@{proxy.address}",
            "SSL_CERT_FILE": str(authority.bundle),
        }
        for arguments in (
            ["check"],
            [],
            ["audit", "--all", "--read-back"],
            ["restore", "one", str(restored)],
        ):
            run = installation.run(*arguments, **network)
            assert run.exit_code == 0, (arguments, run)
            assert "p@ss" not in run.errors + run.output
        assert proxy.refused == 0
        assert {line.split()[1] for line in proxy.seen} == {f"{NAME}:443"}
    assert not directory.exists()
    assert snapshot(restored) == before
    assert installation.place("one")[0] is True


@pytest.mark.parametrize("missing", ["HTTPS_PROXY", "SSL_CERT_FILE"])
def test_without_one_of_the_two_nothing_is_lost_and_the_line_names_the_cause(
    installation: Installation, new_destination: Callable[[str], Destination], tmp_path: Path, missing: str
) -> None:
    destination = new_destination("s3-rclone")
    directory = installation.small_execution("one")
    before = snapshot(directory)
    installation.configure(installation.add_provider(behind_the_name(destination), "Destino"))
    authority = PrivateAuthority(tmp_path)
    with (
        HttpFaultProxy(own_url(destination), tls=authority.server_context(NAME)) as front,
        ForwardingProxy(LOGIN, {f"{NAME}:443": front.port}) as proxy,
    ):
        network: dict[str, str | None] = {
            "HTTPS_PROXY": f"http://{WRITTEN_LOGIN}@{proxy.address}",
            "SSL_CERT_FILE": str(authority.bundle),
            missing: None,
        }
        run = installation.run(**network)
    assert run.exit_code == 1, str(run)
    cause = {"HTTPS_PROXY": "no se pudo", "SSL_CERT_FILE": "configuracion.ca_file o SSL_CERT_FILE"}[missing]
    assert any(cause in message for message in run.messages()), str(run)
    assert snapshot(directory) == before
    assert installation.place("one")[0] is False
