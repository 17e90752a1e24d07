"""One attempt stores an execution whole and believes only what it proved; every lie of a provider is found out."""

from __future__ import annotations

import json
import logging
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

import providers.s3.provider
from config.errors import MigrationError, RunInterrupted, SourceChanged
from config.logs import logger
from config.models import Evidence, ProvenCopy
from demo.servers.postgres import EmbeddedPostgres
from files.descriptors import closing_descriptor
from files.tree import Tree
from files.walk import walk_tree
from providers import build_provider
from providers.base import PART_SIZE_BYTES, Provider
from providers.errors import (
    AccessDenied,
    IntegrityError,
    InvalidKey,
    ProviderError,
    ProviderUnavailable,
    StorageFull,
    UnsafeDestination,
)
from providers.probes import CHECK_NAME
from providers.sources import BytesSource
from sql.database import Database
from storage.manifest import Manifest, read_manifest
from storage.sending import Assistance, LocalFiles
from storage.traffic.transfers import TransferPool
from storage.upload import Upload
from tests.constants import change_constant
from tests.databases.platform_database import Platform, claim_one, open_attempt
from tests.destinations import Destination
from tests.executions.manifests import content_of
from tests.faults import http_proxy
from tests.faults.faulty_provider import (
    EVERY_CALL,
    Fault,
    FaultyProvider,
    after,
    fail,
    flip_bit,
    given_up,
    hide,
    lie_about_checksum,
    lie_about_size,
    lose_answer,
    not_found,
    store,
    store_nothing,
    truncate,
)
from tests.faults.http_effects import address_of, answer_after, behind, never_answer, refuse, reset_at_once
from tests.faults.http_proxy import HttpFaultProxy

NEVER = threading.Event()
KEY_PREFIX = "p/ejecuciones/uuid-1"
MANIFEST = "uuid-1.manifest.json"
FILES = {
    "large.bin": b"0123456789abcdef" * 4096,
    "registro.log": b"line\n" * 100,
    "tabla.csv": b"1,2,3\n",
    "vacio": b"",
}
"""Their names in the order in which one thread sends them: largest first."""


@dataclass
class Bench:
    """An execution, the run that has claimed it, and where it is to go."""

    platform: Platform
    database: Database
    directory: Path
    destination: Destination
    pool: TransferPool

    def __post_init__(self) -> None:
        self.claim = claim_one(self.database, self.platform.add_execution(self.directory))

    def provider(self, *faults: Fault) -> FaultyProvider:
        """The destination, with faults."""
        return FaultyProvider(self.real_provider(), faults)

    def real_provider(self) -> Provider:
        return build_provider(self.destination.provider_row())

    def upload(
        self, provider: Provider, interruption: threading.Event = NEVER, assistance: Assistance | None = None
    ) -> tuple[ProvenCopy, Manifest]:
        """A new attempt, from the recording of it to the proof."""
        attempt = open_attempt(self.database, self.claim, provider.id, KEY_PREFIX)
        with closing_descriptor(os.open(self.directory, os.O_RDONLY)) as descriptor:
            execution = self.claim.execution
            try:
                upload = Upload(
                    provider,
                    attempt,
                    execution,
                    walk_tree(descriptor),
                    LocalFiles(descriptor),
                    self.database,
                    self.pool,
                    interruption,
                    assistance=assistance,
                )
                return upload.run()
            except MigrationError as error:
                self.database.abandon_attempt(attempt, error.code, str(error))
                raise

    def stored(self) -> dict[str, bytes]:
        """All that the destination holds, below the prefix without it."""
        with closing(self.real_provider()) as provider:
            keys = [stored.key for stored in provider.list("p/ejecuciones/")]
            return {key.removeprefix("p/ejecuciones/"): b"".join(provider.open(key)) for key in keys}

    def stored_files(self) -> dict[str, bytes]:
        """The same without the manifest, by name."""
        return {key.removeprefix("uuid-1/"): content for key, content in self.stored().items() if key != MANIFEST}

    def put(self, key: str, content: bytes) -> None:
        """Store something past the daemon."""
        with closing(self.real_provider()) as provider:
            provider.put(key, BytesSource(content))

    def require_complete(self, copy: ProvenCopy, manifest: Manifest) -> None:
        """The destination holds exactly the files as they are now, and the manifest."""
        now = {path.name: path.read_bytes() for path in self.directory.iterdir()}
        assert self.stored_files() == now
        assert self.stored()[MANIFEST] == content_of(manifest)
        assert copy.manifest_sha256 == manifest.sha256


@pytest.fixture(scope="module")
def shared_platform(postgres: EmbeddedPostgres) -> Iterator[Platform]:
    """One database for these tests."""
    with closing(Platform(postgres.new_database(f"upload_{secrets.token_hex(4)}"))) as made:
        yield made


@pytest.fixture
def platform(shared_platform: Platform) -> Platform:
    """The platform's database, its tables empty."""
    shared_platform.clear()
    return shared_platform


@pytest.fixture
def pool() -> Iterator[TransferPool]:
    """One transfer at a time, so that the nth call is always the same one."""
    with closing(TransferPool(1)) as made:
        yield made


@pytest.fixture(params=["local"])
def bench(
    request: pytest.FixtureRequest,
    platform: Platform,
    pool: TransferPool,
    tmp_path: Path,
    new_destination: Callable[[str], Destination],
) -> Bench:
    """An execution to go to the local provider, which has no checksums, unless the test says otherwise."""
    directory = tmp_path / "e1"
    directory.mkdir()
    for name, content in FILES.items():
        (directory / name).write_bytes(content)
    return Bench(platform, platform.run(), directory, new_destination(str(request.param)), pool)


with_checksums = pytest.mark.parametrize("bench", ["s3-rclone"], indirect=True)
both_ways = pytest.mark.parametrize("bench", ["local", "s3-rclone"], indirect=True)


# What a good attempt leaves


@pytest.mark.parametrize(
    ("bench", "evidence"),
    [("local", Evidence.READ_BACK), ("s3-rclone", Evidence.CHECKSUM)],
    indirect=["bench"],
)
def test_everything_is_stored_proven_and_described(bench: Bench, evidence: Evidence) -> None:
    with bench.provider() as provider:
        copy, manifest = bench.upload(provider)
    bench.require_complete(copy, manifest)
    assert copy == ProvenCopy(
        uri=f"cloud://{bench.destination.kind}/{KEY_PREFIX}",
        provider_id=1,
        key_prefix=KEY_PREFIX,
        file_count=4,
        size_bytes=sum(map(len, FILES.values())),
        evidence=evidence,
        manifest_sha256=manifest.sha256,
        listing_digest=copy.listing_digest,
    )
    assert (copy.listing_digest is None) is (evidence is Evidence.READ_BACK)
    assert provider.keys("put") == sorted([*FILES, MANIFEST])
    methods = [method for method, _ in provider.calls]
    after_the_last_put = methods[len(methods) - methods[::-1].index("put") :]
    assert set(after_the_last_put) == {"stat", "list"} | ({"digests"} if evidence is Evidence.READ_BACK else set())
    assert provider.keys("discard_unfinished") == provider.keys("delete") == []  # nothing was there before


def test_the_manifest_is_sent_last_and_says_what_was_sent(bench: Bench) -> None:
    with bench.provider() as provider:
        _, manifest = bench.upload(provider)
    puts = [key.rpartition("/")[2] for method, key in provider.calls if method == "put"]
    assert puts == [*FILES, MANIFEST]
    document = json.loads(bench.stored()[MANIFEST])
    assert document["execution"] == "uuid-1"
    assert document["directory"] == str(bench.directory)
    assert read_manifest(content_of(manifest)) == without_identities(manifest.tree)


def without_identities(tree: Tree) -> Tree:
    return read_manifest(json_of(tree))


def json_of(tree: Tree) -> bytes:
    """The manifest's format, written by hand."""
    entries = []
    for entry in tree.entries:
        item = {"path": entry.path, "kind": entry.kind.value, "mode": f"{entry.mode:04o}", "mtime_ns": entry.mtime_ns}
        if entry.sha256:
            item |= {"size_bytes": entry.size_bytes, "sha256": entry.sha256}
        entries.append(item)
    return json.dumps({"format": "janitor-manifest", "version": 1, "entries": entries}).encode()


@both_ways
def test_an_execution_without_files_is_its_manifest(bench: Bench) -> None:
    for name in FILES:
        (bench.directory / name).unlink()
    (bench.directory / "vacio").mkdir()
    with bench.provider() as provider:
        copy, _ = bench.upload(provider)
    assert copy.file_count == 0
    assert set(bench.stored()) == {MANIFEST}


# What an earlier attempt left


def failed_attempt(bench: Bench) -> None:
    """All files are stored; the manifest is refused."""
    refusal = Fault("put", fail(StorageFull("lleno")), key="*.manifest.json")
    with bench.provider(refusal) as provider, pytest.raises(StorageFull):
        bench.upload(provider)
    assert MANIFEST not in bench.stored()


@with_checksums
def test_only_what_differs_is_sent_again(bench: Bench) -> None:
    failed_attempt(bench)
    (bench.directory / "registro.log").write_bytes(b"LINE\n" * 100)  # as long as before
    (bench.directory / "tabla.csv").write_bytes(b"1,2,3,4\n")
    (bench.directory / "nuevo").write_bytes(b"new")
    with bench.provider() as provider:
        copy, manifest = bench.upload(provider)
    assert provider.keys("put") == sorted(["registro.log", "tabla.csv", "nuevo", MANIFEST])
    assert (
        len(provider.keys("digests")) == 1
    )  # large.bin: what was not sent now is read back; the empty file has no bytes
    assert copy.evidence is Evidence.READ_BACK
    bench.require_complete(copy, manifest)


@pytest.mark.parametrize("bench", ["sftp-asyncssh"], indirect=True)
def test_without_checksums_what_an_earlier_attempt_stored_is_read_back_instead_of_sent(bench: Bench) -> None:
    """What is of the same size and differs is found out by that, and sent. Elsewhere it is the same for what has no
    checksum of the provider's: large blobs on Azure.
    """
    failed_attempt(bench)
    bench.put(f"{KEY_PREFIX}/registro.log", flip_bit(FILES["registro.log"]))
    with bench.provider() as provider:
        copy, manifest = bench.upload(provider)
    assert provider.keys("put") == sorted(["registro.log", MANIFEST, MANIFEST])
    assert copy.evidence is Evidence.READ_BACK
    bench.require_complete(copy, manifest)


def test_in_a_directory_everything_is_sent_again(bench: Bench) -> None:
    """A name that a killed run gave may be lost in a power failure, though it is there now."""
    failed_attempt(bench)
    bench.put(f"{KEY_PREFIX}/registro.log", flip_bit(FILES["registro.log"]))
    with bench.provider() as provider:
        copy, manifest = bench.upload(provider)
    assert provider.keys("put") == sorted([*FILES, MANIFEST])
    bench.require_complete(copy, manifest)


@pytest.mark.usefixtures("little_patience")
@pytest.mark.parametrize("bench", ["azure"], indirect=True)
def test_blocks_that_an_earlier_attempt_staged_are_not_sent_again(bench: Bench) -> None:
    (bench.directory / "very large.bin").write_bytes(os.urandom(3 * PART_SIZE_BYTES))
    dead = http_proxy.Fault("dead", reset_at_once, r"comp=block&", on=range(3, 1000))
    with through_proxy(bench, dead) as (provider, _):
        provider.progress.interruption.set()  # it is given up at the first block that fails
        with pytest.raises(MigrationError):
            bench.upload(provider)
    assert bench.destination.everything_stored() == {f"{KEY_PREFIX}/very large.bin (unfinished)"}
    with through_proxy(bench) as (provider, proxy):
        copy, manifest = bench.upload(provider)
    assert sum("comp=block&" in line for line in proxy.seen) == 1
    assert copy.evidence is Evidence.READ_BACK
    bench.require_complete(copy, manifest)


@contextmanager
def through_proxy(bench: Bench, *faults: http_proxy.Fault) -> Iterator[tuple[Provider, HttpFaultProxy]]:
    """The destination's real provider, its requests seen and struck on their way."""
    with (
        HttpFaultProxy(address_of(bench.destination), *faults) as proxy,
        closing(build_provider(behind(bench.destination, proxy.url).provider_row())) as provider,
    ):
        yield provider, proxy


@both_ways
def test_a_copy_that_is_being_renewed_does_not_look_complete(bench: Bench) -> None:
    with bench.provider() as provider:
        bench.upload(provider)  # proven, and then not committed
    assert MANIFEST in bench.stored()
    (bench.directory / "nuevo").write_bytes(b"new")
    with (
        bench.provider(Fault("put", fail(StorageFull("lleno")), calls=EVERY_CALL)) as provider,
        pytest.raises(StorageFull),
    ):
        bench.upload(provider)
    assert MANIFEST not in bench.stored()


def test_own_objects_of_files_that_are_gone_are_removed(bench: Bench) -> None:
    failed_attempt(bench)
    (bench.directory / "registro.log").unlink()
    with bench.provider() as provider:
        copy, manifest = bench.upload(provider)
    bench.require_complete(copy, manifest)
    assert provider.keys("delete") == ["registro.log"]  # the failed attempt left no manifest to remove


def test_unfinished_uploads_of_an_earlier_attempt_are_discarded(bench: Bench) -> None:
    failed_attempt(bench)
    unfinished = bench.destination.directory / KEY_PREFIX / ".janitor-0123456789abcdef.part"
    unfinished.write_bytes(b"half")
    with bench.provider() as provider:
        bench.upload(provider)
    assert not unfinished.exists()


def listing_fails(bench: Bench) -> None:
    """An attempt that never sees what is there."""
    with bench.provider(Fault("list", fail(AccessDenied("denegado")))) as provider, pytest.raises(AccessDenied):
        bench.upload(provider)


def dies_before_listing(bench: Bench) -> None:
    """An attempt of which only the record is left."""
    open_attempt(bench.database, bench.claim, 1, KEY_PREFIX)


@pytest.mark.parametrize("first", [None, listing_fails, dies_before_listing])
def test_foreign_objects_are_kept_and_remembered(
    bench: Bench, first: Callable[[Bench], None] | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever became of earlier attempts that stored nothing: what is there is not theirs."""
    logger.propagate = True
    bench.put(f"{KEY_PREFIX}/foreign", b"not ours")
    if first:
        first(bench)
    refusal = Fault("put", fail(StorageFull("lleno")), key="*/tabla.csv")
    for _ in range(2):
        with bench.provider(refusal) as provider, pytest.raises(StorageFull):
            bench.upload(provider)
        assert provider.keys("delete") == []
    with bench.provider() as provider:
        bench.upload(provider)
    assert provider.keys("delete") == []
    assert bench.stored_files() == {**FILES, "foreign": b"not ours"}
    marks = bench.platform.sql("SELECT foreign_objects FROM janitor_attempts ORDER BY id")
    assert [mark["foreign_objects"] for mark in marks] == ([None] if first else []) + [True] * 3
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 3
    assert "ya había 1 objeto que este programa no guardó" in warnings[0]


@both_ways
def test_under_a_foreign_manifest_nothing_is_written(bench: Bench) -> None:
    bench.put(f"{KEY_PREFIX}/foreign", b"not ours")
    bench.put(f"{KEY_PREFIX}.manifest.json", b"not ours")
    for _ in range(2):
        with bench.provider() as provider, pytest.raises(UnsafeDestination):
            bench.upload(provider)
        assert provider.keys("put") == provider.keys("delete") == provider.keys("discard_unfinished") == []
    assert bench.stored() == {"uuid-1/foreign": b"not ours", MANIFEST: b"not ours"}


# Lies


FILE_LIES = {
    "a flipped bit": Fault("put", store(flip_bit), key="*/registro.log"),
    "a byte less": Fault("put", store(truncate), key="*/registro.log"),
    "a byte more": Fault("put", store(lambda content: content + b"!"), key="*/registro.log"),
    "nothing stored": Fault("put", store_nothing, key="*/registro.log"),
    "an empty file not stored": Fault("put", store_nothing, key="*/vacio"),
    "not in the listing": Fault("list", hide("registro.log"), calls=(2,)),
    "another size in the listing": Fault("list", lie_about_size("registro.log"), calls=(2,)),
    "a manifest with a flipped bit": Fault("put", store(flip_bit), key="*.manifest.json"),
    "a manifest cut short": Fault("put", store(truncate), key="*.manifest.json"),
    "a manifest not stored": Fault("put", store_nothing, key="*.manifest.json"),
    "a manifest that is not there": Fault(
        "stat", not_found, key="*.manifest.json", calls=(2,)
    ),  # 1 is before it is sent
}


def local_and_some_with_checksums() -> list[tuple[str, str]]:
    """Every lie of a provider without checksums, and those that checksums should tell of one that has them."""
    found_by_checksum = ("a flipped bit", "a byte less", "a manifest with a flipped bit", "nothing stored")
    return [*(("local", lie) for lie in FILE_LIES), *(("s3-rclone", lie) for lie in found_by_checksum)]


@pytest.mark.parametrize(("bench", "lie"), local_and_some_with_checksums(), indirect=["bench"])
def test_a_lie_is_found_out_and_put_right(bench: Bench, lie: str) -> None:
    with bench.provider(FILE_LIES[lie]) as provider:
        copy, manifest = bench.upload(provider)
    bench.require_complete(copy, manifest)
    sent_again = {key for key in provider.keys("put") if provider.keys("put").count(key) > 1}
    name = "vacio" if lie.startswith("an empty") else "registro.log"
    assert sent_again == ({MANIFEST} if "manifest" in lie else {name, MANIFEST})


@pytest.mark.parametrize("lie", FILE_LIES)
def test_a_provider_that_keeps_giving_false_answers_is_not_believed(bench: Bench, lie: str) -> None:
    once = FILE_LIES[lie]
    always = Fault(once.method, once.effect, once.key, EVERY_CALL[once.calls[0] - 1 :])
    with bench.provider(always) as provider, pytest.raises(IntegrityError, match="1 objetos"):
        bench.upload(provider)
    assert provider.keys("put").count(MANIFEST) == 2


@with_checksums
def test_a_checksum_that_proves_nothing_makes_the_object_be_read(bench: Bench) -> None:
    with bench.provider(Fault("list", lie_about_checksum("registro.log"), calls=(2,))) as provider:
        copy, manifest = bench.upload(provider)
    assert copy.evidence is Evidence.READ_BACK
    assert provider.keys("put") == sorted([*FILES, MANIFEST])
    bench.require_complete(copy, manifest)


@with_checksums
def test_a_wrong_checksum_over_wrong_bytes_is_found_out(bench: Bench) -> None:
    faults = (
        Fault("list", lie_about_checksum("registro.log"), calls=EVERY_CALL[1:]),
        Fault("put", store(flip_bit), key="*/registro.log", calls=EVERY_CALL),
    )
    with bench.provider(*faults) as provider, pytest.raises(IntegrityError):
        bench.upload(provider)


def test_a_provider_that_loses_objects_while_they_are_read_back_is_not_believed(bench: Bench) -> None:
    fault = Fault("digests", not_found, key="*registro.log*", calls=EVERY_CALL)
    with bench.provider(fault) as provider, pytest.raises(ProviderError):
        bench.upload(provider)


def test_what_cannot_be_read_back_is_sent_once_more(bench: Bench) -> None:
    """A server's object may be damaged so that every answer that brings it breaks off."""
    unreadable = given_up(ProviderUnavailable("se cortó la conexión"))
    fault = Fault("digests", fail(unreadable), key="*registro.log*")
    with bench.provider(fault) as provider:
        copy, manifest = bench.upload(provider)
    assert provider.keys("put").count("registro.log") == 2
    bench.require_complete(copy, manifest)


def test_what_cannot_be_read_back_then_either_is_not_believed(bench: Bench) -> None:
    error = given_up(ProviderUnavailable("se cortó la conexión"))
    fault = Fault("digests", fail(error), key="*registro.log*", calls=EVERY_CALL)
    with bench.provider(fault) as provider, pytest.raises(ProviderUnavailable) as caught:
        bench.upload(provider)
    assert caught.value is error


@with_checksums
def test_what_only_an_old_listing_shows_is_sent_after_all(bench: Bench) -> None:
    failed_attempt(bench)
    with closing(bench.real_provider()) as real:
        old_listing = list(real.list(f"{KEY_PREFIX}/"))
        real.delete(f"{KEY_PREFIX}/registro.log")
    with bench.provider(Fault("list", lambda _call: old_listing)) as provider:
        copy, manifest = bench.upload(provider)
    bench.require_complete(copy, manifest)


# Failures


def test_an_answer_that_is_lost_once_does_no_harm(bench: Bench) -> None:
    lost = lose_answer(ProviderUnavailable("se perdió la respuesta"))
    methods = ("list", "put", "stat", "digests")
    with bench.provider(*(Fault(method, lost) for method in methods)) as provider:
        copy, manifest = bench.upload(provider)
    bench.require_complete(copy, manifest)


AFTER_THE_FIRST = range(2, 1_000_000)


@pytest.mark.parametrize("bench", ["s3-moto", "s3-swift"], indirect=True)
def test_an_upload_whose_discarding_was_not_answered_does_not_stay(bench: Bench) -> None:
    """The file itself is stored by another one.

    Looked for besides, in `tests/providers/s3/test_s3_uploads.py`: an end whose answer is lost, parts that
    cannot be listed.
    """
    (bench.directory / "very large.bin").write_bytes(os.urandom(2 * PART_SIZE_BYTES + 5))
    faults = (
        http_proxy.Fault("lost", refuse("s3", 404, "NoSuchUpload"), "^PUT .*partNumber=2&", on=(1,)),
        http_proxy.Fault("kept", refuse("s3", 503, "InternalError"), r"^DELETE .*large.bin\?uploadId=", on=(1,)),
    )
    with through_proxy(bench, *faults) as (provider, proxy):
        copy, manifest = bench.upload(provider)
        assert proxy.strikes == {"lost": 1, "kept": 1}
    bench.require_complete(copy, manifest)
    assert not [key for key in bench.destination.everything_stored() if "unfinished" in key]


@with_checksums
@pytest.mark.parametrize("earlier_attempts", [False, True])
def test_a_server_that_reads_all_it_holds_before_it_lists_it_has_the_time_for_that(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, earlier_attempts: bool
) -> None:
    """To prove what was sent, and to look at what an earlier attempt may have left; but not where nothing is known."""
    change_constant("providers__base__ANSWER_TIMEOUT_SECONDS", 0.5, monkeypatch.setattr)
    monkeypatch.setattr(providers.s3.provider, "SLOWEST_HASHING_BYTES_PER_SECOND", 10_000)
    if earlier_attempts:
        failed_attempt(bench)
    of_files = f"^GET (?!.*{CHECK_NAME}).*list-type="  # few bytes are below the prefix of probes
    late = http_proxy.Fault("late", answer_after(2), of_files, http_proxy.EVERY if earlier_attempts else range(2, 100))
    with (
        HttpFaultProxy(address_of(bench.destination), late) as proxy,
        closing(build_provider(behind(bench.destination, proxy.url).provider_row())) as provider,
    ):
        copy, manifest = bench.upload(provider)
        assert proxy.strikes["late"] == 1 + earlier_attempts
    bench.require_complete(copy, manifest)


@pytest.mark.usefixtures("little_patience")
@with_checksums
@pytest.mark.parametrize("earlier_attempts", [False, True])
def test_a_server_that_has_fallen_silent_is_not_waited_for_as_if_it_read(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, earlier_attempts: bool
) -> None:
    change_constant("providers__base__ANSWER_TIMEOUT_SECONDS", 0.5, monkeypatch.setattr)
    monkeypatch.setattr(providers.s3.provider, "SLOWEST_HASHING_BYTES_PER_SECOND", 1_000)
    if earlier_attempts:
        failed_attempt(bench)
    silent = http_proxy.Fault(
        "silent", never_answer, "^(GET|HEAD) ", http_proxy.EVERY if earlier_attempts else range(2, 100)
    )
    with (
        HttpFaultProxy(address_of(bench.destination), silent) as proxy,
        closing(build_provider(behind(bench.destination, proxy.url).provider_row())) as provider,
    ):
        time_as_if_it_read_seconds = sum(map(len, FILES.values())) / 1_000
        with ThreadPoolExecutor(1) as executor, pytest.raises(ProviderUnavailable):
            executor.submit(bench.upload, provider).result(timeout=time_as_if_it_read_seconds / 2)


@pytest.mark.parametrize("method", ["list", "put", "stat", "digests"])
def test_a_refusal_comes_out_as_it_is(bench: Bench, method: str) -> None:
    error = AccessDenied("denegado")
    with bench.provider(Fault(method, fail(error))) as provider, pytest.raises(AccessDenied) as caught:
        bench.upload(provider)
    assert caught.value is error
    assert len(provider.keys(method)) == 1


CHANGES: dict[str, Callable[[Path], object]] = {
    "a file that was sent": lambda directory: append(directory / "large.bin"),
    "the file being sent": lambda directory: append(directory / "tabla.csv"),
    "a file still to be sent": lambda directory: append(directory / "vacio"),
    "a new file": lambda directory: (directory / "nuevo").touch(),
    "a file less": lambda directory: (directory / "large.bin").unlink(),
    "a file less before it was sent": lambda directory: (directory / "vacio").unlink(),
    "a mode": lambda directory: (directory / "large.bin").chmod(0o600),
}


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_meanwhile_is_noticed_and_nothing_looks_complete(bench: Bench, change: str) -> None:
    fault = Fault("put", after(lambda: CHANGES[change](bench.directory)), key="*/tabla.csv")
    with bench.provider(fault) as provider, pytest.raises(SourceChanged):
        bench.upload(provider)
    assert MANIFEST not in bench.stored()
    assert MANIFEST not in provider.keys("put")


def test_names_that_the_provider_cannot_hold_are_refused_before_anything_is_sent(bench: Bench) -> None:
    with bench.provider() as provider:
        provider.longest_key_bytes = len(f"{KEY_PREFIX}/registro.log")  # type: ignore[misc]
        bench.upload(provider)
        (bench.directory / "ñregistro.log").touch()
        provider.calls.clear()
        with pytest.raises(InvalidKey, match="ñregistro"):
            bench.upload(provider)
    assert provider.calls == []


@pytest.mark.parametrize("method", ["put", "digests"])
def test_a_request_to_stop_ends_the_attempt(bench: Bench, method: str) -> None:
    interruption = threading.Event()
    with bench.provider(Fault(method, after(interruption.set))) as provider, pytest.raises(RunInterrupted):
        bench.upload(provider, interruption)
    read = [content for content in FILES.values() if content]  # of an empty file the size is proof
    assert len(provider.keys(method)) == (1 if method == "put" else len(read) + 1)  # a batch of digests is one request
    assert (MANIFEST in bench.stored()) == (method == "digests")


def test_the_place_is_looked_at_and_noted_before_anything_is_sent(bench: Bench) -> None:
    seen: list[object] = []

    def look() -> None:
        seen.extend(bench.platform.sql("SELECT foreign_objects, state FROM janitor_attempts"))

    with bench.provider(Fault("put", after(look))) as provider:
        bench.upload(provider)
    assert seen == [{"foreign_objects": False, "state": "open"}]
