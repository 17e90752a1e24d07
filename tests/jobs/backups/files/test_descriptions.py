"""The description beside a full backup: only the bytes that were recorded are used, and none become statements.

Who can write at a provider can put anything there.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.backups.errors import DamagedBackup, FullBackupNeeded
from jobs.backups.files.description import FORMAT, Description, Locale, read_description
from jobs.backups.files.names import description_name
from jobs.backups.keeping.damage import damage_of, require_base
from jobs.backups.offsite.fetching import NotFetched
from jobs.backups.offsite.sending import about_in
from jobs.backups.verification.using import verify
from providers import build_provider
from providers.sources import BytesSource
from tests.jobs.backups.desk import FULL_NAME, PREFIX, Desk, recipient_of
from tests.jobs.backups.pairs import Pair

PROGRAM = "UTF8';\n\\! id > /tmp/ran\n--"
BESIDE = description_name(FULL_NAME)
WHOLE = Description(
    FORMAT, "20260302_030000_0123456789abcdef", FULL_NAME, 90, "a" * 64, "b" * 32, 10, 80, 5000, "c" * 64, "sage", 5,
    "UTF8", 18, 18, 1, 1, {"4242": "d" * 64}, ["ana"], {"bytea_output": "hex"}, Locale("c", "C", "C.UTF-8"),
)  # fmt: skip


def changed(**fields: object) -> bytes:
    """A description with other values in some fields."""
    return json.dumps({**json.loads(WHOLE.to_bytes()), **fields}).encode()


def put(desk: Desk, number: int, name: str, content: bytes) -> None:
    """Replace what a provider has under a name."""
    with closing(build_provider(desk.destinations[number].provider_row())) as provider:
        provider.delete(f"{PREFIX}/backups/{name}")
        provider.put(f"{PREFIX}/backups/{name}", BytesSource(content))


@pytest.mark.parametrize(
    "fields",
    [
        {"encoding": PROGRAM},
        {"settings": {PROGRAM: "1"}},
        {"settings": {"work_mem": "4MB"}},
        {"settings": {"bytea_output": "hex\0"}},
        {"settings": ["bytea_output"]},
        {"id": f"20260302_030000_0123456789abcdef{PROGRAM}"},
        {"large_objects": {"4242); \\! id": "d"}},
        {"locale": {"provider": PROGRAM, "collate": "C", "ctype": "C"}},
        {"locale": {"provider": "c", "collate": "\ud800", "ctype": "C"}},
        {"roles": ["ana\0"]},
        {"roles": "ana"},
        {"tablespaces": ["fast\0"]},
        {"server_major": "18"},
        {"rows": True},
        {"data_start": -1},
        {"data_end": 9},
    ],
    ids=str,
)
def test_what_no_backup_is_described_by_is_refused(tmp_path: Path, fields: dict[str, object]) -> None:
    path = tmp_path / BESIDE
    path.write_bytes(WHOLE.to_bytes())
    assert read_description(path) == WHOLE
    path.write_bytes(changed(**fields))
    with pytest.raises(FullBackupNeeded, match="dañado"):
        read_description(path)


def test_how_amounts_are_written_is_described_wherever_they_are(pair: Pair) -> None:
    """In domains, arrays and ranges, and in those of these."""
    pair.change(
        "CREATE DOMAIN price AS money",
        "CREATE DOMAIN low_price AS price",
        "CREATE TYPE price_range AS RANGE (subtype = money)",
        "CREATE TABLE a (b integer)",
    )
    for kind in ("integer[]", "money", "low_price", "price[]", "price_range", "price_multirange", "price_range[]"):
        pair.change(f"ALTER TABLE a ALTER b TYPE {kind} USING NULL")
        full = pair.full()
        settings = read_description(pair.directory / description_name(full.path.name)).settings
        assert ("lc_monetary" in settings) == (kind != "integer[]"), kind


def test_another_description_at_the_provider_is_not_fetched(
    desk: Desk, near: int, identity: Path, tmp_path: Path
) -> None:
    backup = desk.make()
    assert desk.run() == []
    put(desk, near, BESIDE, changed())
    with pytest.raises(NotFetched, match="no es lo que se copió"):
        desk.fetch(backup, tmp_path / "fetched")
    assert list((tmp_path / "fetched").iterdir()) == []
    desk.platform.sql("UPDATE janitor_backups SET description_sha256 = NULL")  # one of an older version
    assert desk.fetch(desk.shelf().named(backup.id), tmp_path / "older")[BESIDE] == changed()
    about = about_in(desk.remote(near)[f"{FULL_NAME}.sha256"])
    assert about["description_sha256"] == backup.description_sha256
    assert backup.description_sha256 is not None
    desk.platform.sql("DELETE FROM janitor_backup_copies")
    recipients = [recipient_of(identity)]
    assert desk.run(recipients) == []
    assert about_in(desk.remote(near)[f"{FULL_NAME}.age.sha256"])["description_sha256"] == backup.description_sha256


def test_another_full_one_under_the_name_is_no_base(desk: Desk) -> None:
    """With everything beside it: what is written there belongs together."""
    one = desk.make("backup_20260101_030000_FULL.sql.gz")
    backup = desk.make(content=b"SELECT 2;\n")
    described = replace(WHOLE, sha256=str(backup.sha256)).to_bytes()
    (desk.directory / BESIDE).write_bytes(described)
    known = replace(backup, description_sha256=hashlib.sha256(described).hexdigest())
    require_base(known)
    older = replace(known, description_sha256=None)
    require_base(older)
    (desk.directory / BESIDE).write_bytes(replace(WHOLE, sha256=str(one.sha256)).to_bytes())
    for recorded in (known, older):
        with pytest.raises(FullBackupNeeded, match="no es"):
            require_base(recorded)
    (desk.directory / BESIDE).write_bytes(described)
    beside = f"{FULL_NAME}.sha256"
    (desk.directory / beside).write_bytes((desk.directory / f"{one.name}.sha256").read_bytes())
    for recorded in (known, older):
        with pytest.raises(FullBackupNeeded, match="no es el completo que consta"):
            require_base(recorded)


def test_another_description_on_the_disk_is_used_for_nothing(desk: Desk, near: int) -> None:
    backup = desk.make()
    (desk.directory / BESIDE).write_bytes(changed())
    assert "no es lo que se copió" in damage_of(backup)
    with pytest.raises(FullBackupNeeded, match="no es lo que se copió"):
        require_base(backup)
    with pytest.raises(DamagedBackup, match="no es lo que se copió"):
        verify(backup, desk.shelf(), desk.records, None, desk.delivery().fetcher.stores.interruption)
    (failure,) = desk.run()
    assert "no es lo que se copió" in failure
    assert desk.remote(near) == {}
