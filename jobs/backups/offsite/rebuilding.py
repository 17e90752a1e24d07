"""Writes the rows of backups that only a provider knows: on a new machine, or after a loss of the database.

What is there is listed, and each hash file is read: it says what the backup is. A copy whose hash file is missing was
not finished, and is left out. The hashes themselves are checked when a backup is fetched.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import MAXYEAR, MINYEAR, datetime, tzinfo
from functools import partial
from pathlib import Path
from typing import NamedTuple

from config.errors import MigrationError, RunInterrupted
from jobs.backups.files.names import DIFFERENTIAL, FULL, NAME, STAMP
from jobs.backups.offsite.copies import Copies, Copy, Spot
from jobs.backups.offsite.sending import LARGEST_HASH_FILE_BYTES, about_in, beginning_of, plain_hash_in
from jobs.backups.offsite.stores import Stores
from jobs.backups.records import Found, Records, Written
from jobs.backups.result import Kind
from providers.retries import with_retries

KINDS = {FULL: Kind.FULL, DIFFERENTIAL: Kind.DIFFERENTIAL}
SHA256 = re.compile("[0-9a-f]{64}")
MD5 = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class FoundCopy:
    """A complete copy at a provider, and what its hash file says."""

    spot: Spot
    stored_bytes: int
    stored_sha256: str
    backup: Found
    base_name: str | None
    lacks_description: bool = False
    """Whether a full one's description is not there: it restores, and that is all."""


class Findings(NamedTuple):
    """Every complete copy at a provider, and of what cannot be read, why, a line each."""

    copies: list[FoundCopy]
    unread: list[str]


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """The result for one copy; `lacks_base`: no row says which full backup a differential needs."""

    copy: FoundCopy
    row: Written
    lacks_base: bool = False


def found_copies(stores: Stores, provider_id: int, directory: Path, zone: tzinfo) -> Findings:
    """Every complete copy at a provider, full ones first, each kind by its time; they would lie in `directory`.

    An object that cannot be read keeps no other one from being found. Raises `StoreUnusable`, `MigrationError`.
    """
    listed = stores.listed(provider_id)
    found, unread = [], []
    for spot in map(Spot, sorted(listed)):
        if not 0 < listed.get(spot.hash_key, 0) <= LARGEST_HASH_FILE_BYTES:
            continue
        try:
            copy = _copy(spot, listed, _hash_text(stores, provider_id, spot), directory, zone)
        except MigrationError as error:
            if error.provider_wide or isinstance(error, RunInterrupted):
                raise
            unread.append(f"{spot.hash_key}: {error}")
            continue
        if copy is not None:
            found.append(copy)
    fulls = [copy for copy in found if copy.backup.kind is Kind.FULL]
    differentials = [_with_base(copy, fulls) for copy in found if copy.backup.kind is not Kind.FULL]
    return Findings([*fulls, *differentials], unread)


def rebuild(
    copies: list[FoundCopy], provider_id: int, store: str, records: Records, rows: Copies, made_by: str
) -> Iterator[Rebuilt]:
    """Write the rows of some copies, in this order; what the database knows already stays as it is.

    Bytes that are not those of the backup that is known by their name are no copy of it.

    May be repeated. Raises `DatabaseError`.
    """
    fulls = {backup.name: backup.id for backup in records.all() if backup.is_full and backup.is_good}
    for copy in copies:
        base_id = fulls.get(copy.base_name or "")
        written = records.rebuild(copy.backup, base_id, made_by)
        is_full = copy.backup.kind is Kind.FULL
        if written.backup_id is not None:
            if is_full:
                fulls[copy.backup.path.name] = written.backup_id
            row = Copy(written.backup_id, provider_id, store, copy.spot)
            rows.finish(row, copy.stored_bytes, copy.stored_sha256, "sha256-file")
        yield Rebuilt(copy, written, lacks_base=not is_full and base_id is None)


def _hash_text(stores: Stores, provider_id: int, spot: Spot) -> bytes:
    """Raises `MigrationError`."""
    provider = stores.open(provider_id)
    read = partial(beginning_of, provider, spot.hash_key, LARGEST_HASH_FILE_BYTES)
    return with_retries(read, stores.interruption, provider.progress)


def _copy(spot: Spot, listed: Mapping[str, int], text: bytes, directory: Path, zone: tzinfo) -> FoundCopy | None:
    """What a hash file says of the copy at a place; `None` if that is no copy of a backup."""
    name = NAME.fullmatch(spot.name)
    named = None if name is None else _instant_in(name[1], zone)
    sha256 = text.decode("ascii", "replace").partition(" ")[0]
    if name is None or named is None or not SHA256.fullmatch(sha256):
        return None
    about = about_in(text)
    if about.get("sha256") is not None and plain_hash_in(text, spot) is None:
        return None  # it names the bytes of one backup and describes another one
    stored_bytes = listed[spot.key]
    plain_sha256 = None if spot.is_encrypted else sha256
    backup = Found(
        kind=KINDS[name[2]],
        path=directory / spot.name,
        made=_instant(about.get("made")) or named,
        size_bytes=_size(about.get("size_bytes"), stored_bytes) if spot.is_encrypted else stored_bytes,
        md5=_matching(MD5, about.get("md5")),
        sha256=_matching(SHA256, about.get("sha256")) or plain_sha256,
        tables=_number(about.get("tables")),
        rows=_number(about.get("rows")),
        description_sha256=_matching(SHA256, about.get("description_sha256")),
    )
    base = about.get("base")
    base_name = base if isinstance(base, str) and NAME.fullmatch(base) else None
    lacks_description = backup.kind is Kind.FULL and spot.description_key not in listed
    return FoundCopy(spot, stored_bytes, sha256, backup, base_name, lacks_description)


def _with_base(copy: FoundCopy, fulls: list[FoundCopy]) -> FoundCopy:
    """Give a differential whose hash file names no full one, as another program stored it, the newest one before it."""
    if copy.base_name is not None:
        return copy
    before = [full.spot.name for full in fulls if full.backup.made <= copy.backup.made]
    return replace(copy, base_name=before[-1] if before else None)


def _instant(text: object) -> datetime | None:
    """The instant that a hash file gives, if it gives one that every time zone can show."""
    with contextlib.suppress(ValueError, TypeError):
        found = datetime.fromisoformat(str(text))
        if found.tzinfo is not None and MINYEAR < found.year < MAXYEAR:
            return found
    return None


def _instant_in(stamp: str, zone: tzinfo) -> datetime | None:
    """The local time in a name, if there is such a time."""
    with contextlib.suppress(ValueError):
        return datetime.strptime(stamp, STAMP).replace(tzinfo=zone)
    return None


def _size(value: object, stored_bytes: int) -> int | None:
    """The size that a hash file gives of what was encrypted: encryption makes nothing smaller."""
    size_bytes = _number(value)
    return size_bytes if size_bytes is not None and size_bytes < stored_bytes else None


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63 else None


def _matching(pattern: re.Pattern[str], value: object) -> str | None:
    return value if isinstance(value, str) and pattern.fullmatch(value) else None
