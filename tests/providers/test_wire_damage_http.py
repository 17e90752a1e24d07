"""A thousand damages per provider, on the wire and at rest: each one is refused by `put` or found by the comparison.

The comparison is the product's own (`storage.uploading.proof`): the listing against what was sent, and the digests of
what no listing proves. The seed is in the message of every failure; `WIRE_DAMAGE_SEED` in the environment repeats it.
"""

from __future__ import annotations

import base64
import hashlib
import os
import random
import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from config.errors import MigrationError
from config.models import Attempt, Entry, EntryKind, Execution, PutReceipt
from files.tree import Tree
from providers import build_provider
from providers.base import PART_SIZE_BYTES, Provider
from providers.sources import BytesSource
from sql.database import Database
from storage.keys import Place
from storage.sending import LocalFiles, Sender
from storage.traffic.transfers import TransferPool
from storage.uploading.proof import Proof
from storage.uploading.task import Receipts, UploadTask
from tests.destinations import Destination
from tests.faults.http_effects import address_of, behind, flip_random_bit, truncate_randomly
from tests.faults.http_proxy import Exchange, Fault, HttpFaultProxy
from tests.servers.gcs_emulator import GcsEmulator
from tests.servers.rclone_s3 import RcloneS3

PREFIX = "p/ejecuciones/uno"
MANIFEST_KEY = f"{PREFIX}.manifest.json"
THREADS = 8
LONGEST_BYTES = 400
SOUND_OBJECTS = 20
SEED = int(os.environ.get("WIRE_DAMAGE_SEED", secrets.randbelow(1_000_000)))


@pytest.fixture
def pool() -> Iterator[TransferPool]:
    """What the comparison reads back with."""
    with closing(TransferPool(THREADS)) as made:
        yield made


def found_wrong(provider: Provider, receipts: dict[str, PutReceipt], pool: TransferPool) -> set[str]:
    """The keys at which the product finds other bytes than were sent."""
    attempt = Attempt(1, provider.id, PREFIX, earlier_attempts_here=0, foreign_objects_here=False)
    database = Database("postgresql://unused", "host")
    keys = sorted(receipts.keys() - {MANIFEST_KEY})
    files = [(key.removeprefix(f"{PREFIX}/"), receipts[key].size_bytes) for key in keys]
    top = Entry("", EntryKind.DIRECTORY, 0o755, 0)
    tree = Tree((top, *(Entry(path, EntryKind.FILE, 0o644, 0, size) for path, size in files)))
    execution, original = Execution(1, "uno", None), LocalFiles(-1)
    place = Place(PREFIX)
    sent = Receipts(tree, place)
    for position, key in enumerate([*keys, MANIFEST_KEY], 1):
        sent.note(position, receipts[key])
    stop = threading.Event()
    task = UploadTask(provider, attempt, execution, place, tree, original, sent, database, pool, stop)
    compared = Proof(task, Sender(provider, original, pool.traffic, stop)).compare(may_remove=False)
    return {sent.key(position) for position in compared.wrong}


def random_contents(dice: random.Random, name: str, count: int, longest_bytes: int = LONGEST_BYTES) -> dict[str, bytes]:
    """Keys and bytes to store there."""
    return {f"{PREFIX}/{name}{number}": dice.randbytes(dice.randint(1, longest_bytes)) for number in range(count)}


def send(provider: Provider, contents: dict[str, bytes]) -> dict[str, PutReceipt]:
    """Put everything; the receipts of what was not refused."""

    def put(key: str) -> tuple[str, PutReceipt | None]:
        try:
            return key, provider.put(key, BytesSource(contents[key]))
        except MigrationError:
            return key, None

    with ThreadPoolExecutor(THREADS) as executor:
        return {key: receipt for key, receipt in executor.map(put, contents) if receipt is not None}


def damaging() -> Fault:
    """Flips a bit of every body that stores something, or takes its end away: by chance, but the same for a seed."""

    def strike(exchange: Exchange) -> None:
        dice = random.Random(f"{SEED} {hashlib.sha256(exchange.body).hexdigest()}")  # noqa: S311 not a secret
        change = dice.choice((flip_random_bit, truncate_randomly))
        exchange.answer(exchange.forward(change(exchange.body, dice)))

    return Fault("damaged", strike, r"^(PUT|POST) (?!.*uploads=)", body=b"(?s).")


def keys_of_right_content(real: Destination, contents: dict[str, bytes]) -> set[str]:
    """In a request to GCS the content stands among other things, and a bit of those may be the one that flips.

    Then the MD5 is right, which the product does not look at. Nowhere else may anything be right.
    """
    if not isinstance(real.server, GcsEmulator):
        return set()
    md5s = {blob.name: blob.md5_hash for blob in real.server.client.list_blobs(real.options["bucket"])}
    return {
        key
        for key, content in contents.items()
        if md5s.get(key) == base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
    }


@pytest.mark.parametrize(
    ("name", "small_objects", "large_objects"),
    [("s3-rclone", 996, 4), ("s3-swift", 50, 2), ("azure", 996, 4), ("gcs", 996, 4)],
)
def test_every_damage_on_the_wire_is_refused_or_found(
    new_destination: Callable[[str], Destination],
    pool: TransferPool,
    name: str,
    small_objects: int,
    large_objects: int,
) -> None:
    dice = random.Random(SEED)  # noqa: S311 not a secret
    real = new_destination(name)
    contents = random_contents(dice, "small", small_objects)
    large_bytes = [PART_SIZE_BYTES + dice.randint(1, LONGEST_BYTES) for _ in range(large_objects)]
    contents |= {f"{PREFIX}/large{number}": dice.randbytes(size) for number, size in enumerate(large_bytes)}
    sound = random_contents(dice, "sound", SOUND_OBJECTS) | {MANIFEST_KEY: b"{}"}
    with HttpFaultProxy(address_of(real), damaging()) as proxy:
        with closing(build_provider(behind(real, proxy.url).provider_row())) as provider:
            receipts = send(provider, contents)
        assert proxy.strikes["damaged"] >= len(contents)
        with closing(build_provider(real.provider_row())) as provider:
            receipts |= send(provider, sound)
            wrong = found_wrong(provider, receipts, pool)
    believed = receipts.keys() - wrong
    assert sound.keys() <= believed, f"seed {SEED}"
    unharmed = believed - sound.keys()
    assert unharmed <= keys_of_right_content(real, contents), f"seed {SEED}"
    assert len(unharmed) < len(contents) / 2, f"seed {SEED}: hardly anything was damaged"


@pytest.mark.parametrize("name", ["s3-rclone"])
def test_every_damage_at_rest_is_found(
    new_destination: Callable[[str], Destination], rclone_s3: RcloneS3, pool: TransferPool, name: str
) -> None:
    """Only rclone's server keeps objects as files that can be damaged without anybody noticing."""
    dice = random.Random(SEED)  # noqa: S311 not a secret
    real = new_destination(name)
    contents = random_contents(dice, "file", 200) | {MANIFEST_KEY: b"{}"}
    contents[f"{PREFIX}/large"] = dice.randbytes(PART_SIZE_BYTES + 1)
    damaged = {key for key in contents if dice.random() < 0.5} | {f"{PREFIX}/large"}
    with closing(build_provider(real.provider_row())) as provider:
        receipts = send(provider, contents)
        assert found_wrong(provider, receipts, pool) == set()
        for key in damaged:
            damage_file(rclone_s3.bucket_directory(real.options["bucket"]) / key, dice)
        real.everything_stored()  # of two requests at once that notice a new time, rclone may tell one the old checksum
        assert found_wrong(provider, receipts, pool) == damaged, f"seed {SEED}"


def damage_file(path: Path, dice: random.Random) -> None:
    """Flip a bit and change the time. rclone remembers checksums until the time changes; a quick write may keep it."""
    later_ns = path.stat().st_mtime_ns + 10**9
    path.write_bytes(flip_random_bit(path.read_bytes(), dice))
    os.utime(path, ns=(later_ns, later_ns))
