"""Files are stored only where there is nothing, or over exactly what was seen there; what came in between is looked at.

What arrives late from a run that died is held up for real in `tests/storage/test_late_requests.py` and in
the stories of hosts.
"""

from __future__ import annotations

import itertools
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from config.models import Evidence
from files.descriptors import closing_descriptor
from files.walk import walk_tree
from providers.errors import ConditionFailed, ProviderUnavailable, StorageFull, UnsafeDestination
from providers.probes import CONDITIONS_NAME
from storage import helpers as helpers_module
from storage.helpers import Helpers
from storage.keys import Place
from storage.lease import Lease, now
from storage.sending import LOOKS_AT_A_KEY, Assistance, FileToSend, SendFiles
from storage.traffic.pace import Traffic
from storage.uploading import files as files_of_upload
from tests.destinations import Destination
from tests.faults import http_proxy
from tests.faults.faulty_provider import (
    EVERY_CALL,
    Fault,
    after,
    fail,
    flip_bit,
    given_up,
    lie_about_checksum,
    lose_answer,
)
from tests.faults.http_effects import address_of, behind, lose_the_answer
from tests.faults.http_proxy import ONCE, HttpFaultProxy
from tests.servers.base import S3Server
from tests.storage.test_upload import FILES, KEY_PREFIX, MANIFEST, Bench, bench, platform, pool, shared_platform

__all__ = ["bench", "platform", "pool", "shared_platform"]  # fixtures

NAME = "registro.log"
KEY = f"{KEY_PREFIX}/{NAME}"
PARENT = KEY_PREFIX.rpartition("/")[0]
PROBES = Place(KEY_PREFIX).probe_prefix
NEVER = threading.Event()
FOR_LONG = Lease(lambda: 3600.0)

with_conditions = pytest.mark.parametrize("bench", ["s3-moto", "azure"], indirect=True)
on_http = pytest.mark.parametrize("bench", ["s3-moto", "azure", "s3-rclone"], indirect=True)


@pytest.fixture
def two_helpers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Helpers]:
    """Worth it from two files on, each of which is handed over alone."""
    monkeypatch.setattr(helpers_module, "FILES_WORTH_HELP", 2)
    monkeypatch.setattr(files_of_upload, "FILES_HANDED_OVER", 1)
    with closing(Helpers(2, 2, Traffic())) as helpers:
        yield helpers


def an_earlier_attempt_stores_other_bytes(bench: Bench) -> None:
    refusal = Fault("put", fail(StorageFull("lleno")), key="*.manifest.json")
    with bench.provider(refusal) as provider, pytest.raises(StorageFull):
        bench.upload(provider)
    (bench.directory / NAME).write_bytes(b"LINE\n" * 100)  # as long as before


def an_earlier_attempt_may_have_sent(bench: Bench) -> None:
    """Its bytes may come late, so what appears under the key need not be somebody else's."""
    full = Fault("put", fail(StorageFull("lleno")), KEY, EVERY_CALL)
    with bench.provider(full) as provider, pytest.raises(StorageFull):
        bench.upload(provider)


def late_bytes_come(bench: Bench) -> Callable[[], None]:
    """Others each time."""
    numbers = itertools.count(100)
    return lambda: bench.put(KEY, str(next(numbers)).encode() * 50)


@on_http
def test_an_answer_that_was_lost_on_the_way_ends_in_a_proven_copy(bench: Bench) -> None:
    """The server has the object, and refuses to store it once more. What it holds is read back."""
    lost = http_proxy.Fault("lost", lose_the_answer, rf"^PUT .*/{NAME}", ONCE)
    real = bench.destination
    with HttpFaultProxy(address_of(real), lost) as proxy:
        bench.destination = behind(real, proxy.url)
        with bench.provider() as provider:
            copy, manifest = bench.upload(provider)
    bench.destination = real
    assert proxy.strikes == {"lost": 1}
    bench.require_complete(copy, manifest)
    expected = Evidence.CHECKSUM if real.name == "s3-rclone" else Evidence.READ_BACK
    assert copy.evidence is expected
    assert len([line for line in proxy.seen if re.match(rf"PUT .*/{NAME}", line)]) == 2


@with_conditions
def test_what_is_stored_already_is_not_sent_again_and_read_back(bench: Bench) -> None:
    lost = lose_answer(ProviderUnavailable("se perdió la respuesta"))
    with bench.provider(Fault("put", lost, KEY)) as provider:
        copy, manifest = bench.upload(provider)
    bench.require_complete(copy, manifest)
    assert provider.keys("put").count(NAME) == 2  # the second of which was refused
    assert [key for method, key in provider.calls if method == "digests"] == [f"['{KEY}']"]
    assert copy.evidence is Evidence.READ_BACK


@with_conditions
def test_other_bytes_that_came_meanwhile_before_any_other_attempt_are_of_others_and_stay(bench: Bench) -> None:
    """For example those of a clone of the database, which begins at the same moment."""
    with (
        bench.provider(Fault("put", after(late_bytes_come(bench)), KEY)) as provider,
        pytest.raises(UnsafeDestination, match="otro programa guarda allí a la vez"),
    ):
        bench.upload(provider)
    assert bench.stored_files()[NAME] == b"100" * 50


@with_conditions
def test_other_bytes_that_came_meanwhile_are_replaced(bench: Bench) -> None:
    an_earlier_attempt_may_have_sent(bench)
    with bench.provider(Fault("put", after(late_bytes_come(bench)), KEY)) as provider:
        copy, manifest = bench.upload(provider)
    bench.require_complete(copy, manifest)


@with_conditions
def test_what_an_earlier_attempt_stored_is_replaced_only_as_it_was_seen(bench: Bench) -> None:
    """Looked for besides: what the same attempt has found wrong, below."""
    an_earlier_attempt_stores_other_bytes(bench)
    with bench.provider(Fault("put", after(late_bytes_come(bench)), KEY)) as provider:
        copy, manifest = bench.upload(provider)
    bench.require_complete(copy, manifest)
    assert provider.keys("put").count(NAME) == 2
    assert provider.keys("stat").count(NAME) == 2


@with_conditions
def test_an_earlier_object_that_has_vanished_is_stored_again(bench: Bench) -> None:
    an_earlier_attempt_stores_other_bytes(bench)

    def remove() -> None:
        with closing(bench.real_provider()) as others:
            others.delete(KEY)

    with bench.provider(Fault("stat", after(remove), KEY)) as provider:
        copy, manifest = bench.upload(provider)
    bench.require_complete(copy, manifest)


@with_conditions
def test_a_key_that_others_write_again_and_again_is_given_up(bench: Bench) -> None:
    an_earlier_attempt_may_have_sent(bench)
    with (
        bench.provider(Fault("put", after(late_bytes_come(bench)), KEY, EVERY_CALL)) as provider,
        pytest.raises(ConditionFailed),
    ):
        bench.upload(provider)
    assert provider.keys("put").count(NAME) == 1 + LOOKS_AT_A_KEY


@with_conditions
def test_what_was_found_wrong_is_sent_again_whatever_its_checksum_shows(bench: Bench) -> None:
    """As an object that is damaged at the server, which still shows the checksum of what it was sent."""
    unreadable = given_up(ProviderUnavailable("se cortó la conexión"))
    faults = (
        Fault("list", lie_about_checksum(NAME), calls=(2,)),
        Fault("digests", fail(unreadable), key=f"*{NAME}*"),
    )
    with bench.provider(*faults) as provider:
        copy, manifest = bench.upload(provider)
    bench.require_complete(copy, manifest)
    assert provider.keys("put").count(NAME) == 2
    assert copy.evidence is Evidence.CHECKSUM  # of what was sent the second time


@with_conditions
def test_late_bytes_after_the_files_were_sent_are_found_and_replaced(bench: Bench) -> None:
    with bench.provider(Fault("list", after(late_bytes_come(bench)), calls=(2,))) as provider:
        copy, manifest = bench.upload(provider)
    bench.require_complete(copy, manifest)


def test_where_a_late_file_does_no_harm_files_are_replaced_together_without_a_look(bench: Bench) -> None:
    """It would cost a request for each file that is sent again, which on a destination without checksums are all."""
    an_earlier_attempt_stores_other_bytes(bench)
    with bench.provider() as provider:
        copy, manifest = bench.upload(provider)
    bench.require_complete(copy, manifest)
    assert provider.keys("stat").count(NAME) == 0


@pytest.mark.parametrize("bench", ["s3-moto"], indirect=True)
@pytest.mark.parametrize("helped", [True, False])
def test_what_the_server_does_with_conditions_is_not_asked_among_the_files(
    bench: Bench, two_helpers: Helpers, helped: bool
) -> None:
    real = bench.destination
    with HttpFaultProxy(address_of(real)) as proxy:
        bench.destination = behind(real, proxy.url)
        assistance = Assistance(two_helpers, bench.destination.provider_row(), FOR_LONG) if helped else None
        with bench.provider() as provider:
            copy, manifest = bench.upload(provider, assistance=assistance)
    bench.destination = real
    bench.require_complete(copy, manifest)
    names = {line for line in proxy.seen if line.startswith("PUT") and ".janitor-check" in line}
    assert [line for line in names if f"/{PROBES}/" not in line] == []
    assert len(names) >= 2 if helped else len(names) == 1  # processes that share a name mislead each other


@pytest.mark.parametrize("bench", ["s3-moto"], indirect=True)
def test_what_a_killed_run_left_of_its_probes_is_removed_by_the_next_one(bench: Bench) -> None:
    """By the next attempt for the same execution. Looked for besides: `test_leftovers.py`, where it went elsewhere."""
    an_earlier_attempt_stores_other_bytes(bench)
    bench.put(f"{PROBES}/123/{CONDITIONS_NAME}", b"janitor-daemon")
    bench.put(f"{PARENT}/.janitor-check-0123456789abcdef/{CONDITIONS_NAME}", b"janitor-daemon")  # another run's
    begin_upload(bench.destination, f"{PROBES}/123/{CONDITIONS_NAME}")
    with bench.provider() as provider:
        bench.upload(provider)
    probes = [name for name in bench.destination.everything_stored() if ".janitor-check" in name]
    assert probes == [f"{PARENT}/.janitor-check-0123456789abcdef/{CONDITIONS_NAME}"]


def begin_upload(destination: Destination, key: str) -> None:
    """Leave an upload in parts unfinished."""
    assert isinstance(destination.server, S3Server)
    destination.server.client.create_multipart_upload(Bucket=destination.options["bucket"], Key=key)


@with_conditions
def test_a_helper_does_the_same(bench: Bench, two_helpers: Helpers) -> None:
    """What came in between is replaced, and what is this very file is told of as not sent."""
    with closing_descriptor(os.open(bench.directory, os.O_RDONLY)) as descriptor:
        tree = walk_tree(descriptor)
        files = [
            FileToSend(p, f"{KEY_PREFIX}/{tree.path(p)}", tree.entry(p), may_come_late=True)
            for p in tree.file_positions()
        ]
        bench.put(KEY, flip_bit(FILES[NAME]))
        bench.put(f"{KEY_PREFIX}/tabla.csv", FILES["tabla.csv"])
        order = SendFiles(bench.destination.provider_row(), files, PROBES)
        sent = two_helpers.ask(order, descriptor, NEVER, lambda: now() + 60)
    assert len(sent.receipts) == len(files)
    assert [tree.path(position) for position in sent.not_sent] == ["tabla.csv"]
    assert bench.stored_files() == FILES


@with_conditions
def test_helpers_receive_what_is_stored_already(bench: Bench, two_helpers: Helpers) -> None:
    an_earlier_attempt_stores_other_bytes(bench)
    assistance = Assistance(two_helpers, bench.destination.provider_row(), FOR_LONG)
    with bench.provider() as provider:
        copy, manifest = bench.upload(provider, assistance=assistance)
    bench.require_complete(copy, manifest)
    assert provider.keys("put") == [MANIFEST]
