"""The plain frozen data that the packages exchange.

Paths and object keys are `str` as `os.fsdecode` makes them: bytes that are not UTF-8 travel as lone surrogates
(PEP 383) and reach a file system or a provider only through `os.fsencode` or the provider's own key encoding.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class ProviderRow:
    """One row of `cloud_providers` with its JSON columns parsed. The credentials never show in a repr."""

    id: int
    name: str
    kind: str
    credentials: Mapping[str, object] | str | None = field(repr=False)
    options: Mapping[str, object]
    active: bool
    identity: str = field(default="", compare=False)
    """Differs once the row or a secret that it names has changed. It tells next to nothing about either."""


class MigrationPolicy(NamedTuple):
    """The policy in `ejecuciones_config`. The defaults apply to an installation without a row."""

    primary_provider_id: int | None = None
    alternate_provider_ids: tuple[int, ...] = ()
    retention_hours: float = 0.0
    key_prefix: str = ""
    migrate_automatically: bool = True
    delete_after_migration: bool = False

    @property
    def provider_ids(self) -> tuple[int, ...]:
        """Providers in order of preference, the primary first, without duplicates."""
        if self.primary_provider_id is None:
            return ()
        return tuple(dict.fromkeys((self.primary_provider_id, *self.alternate_provider_ids)))


class Execution(NamedTuple):
    """One row of `ejecuciones_yaml` that is due for migration."""

    id: int
    uuid: str
    directory: str | None


class CommittedCopy(NamedTuple):
    """The record of an execution's last commit, regardless of what its row says now."""

    uri: str
    provider_id: int
    file_count: int
    size_bytes: int
    manifest_sha256: str
    set_aside_inode: str | None = None
    """The inode of the directory whose removal began last, if any."""


LEASE_SECONDS = 900
LATE_SECONDS = 3600
"""The longest time that a request can be in flight after its sender is gone: S3 and Azure refuse signatures older than
fifteen minutes, and an idle connection is dropped in less than an hour.
"""


class Claim(NamedTuple):
    """This run's right to work on one execution, until another run takes over and raises the token.

    `last_copy` is the earlier copy of an execution that is migrated again.
    """

    execution: Execution
    fencing_token: int
    last_copy: CommittedCopy | None = None


class EntryKind(enum.StrEnum):
    """The kinds of entry in a manifest. Any other (sockets, FIFOs, devices) makes an execution unfit to migrate."""

    FILE = "file"
    DIRECTORY = "directory"
    LINK = "link"


class FileIdentity(NamedTuple):
    """Distinguishes one state of one inode from any other: rewriting a file changes at least its ctime."""

    device: int
    inode: int
    size_bytes: int
    mtime_ns: int
    ctime_ns: int


class Entry(NamedTuple):
    """One file, directory or symbolic link of an execution, its path relative to the execution's directory.

    `sha256` (lower-case hex) is known once the file's bytes have been read. `identity` is what this host saw, and
    `None` in a manifest from elsewhere. Both classes are tuples because each file needs several of them.
    """

    path: str
    kind: EntryKind
    mode: int
    mtime_ns: int
    size_bytes: int = 0
    link_target: str | None = None
    sha256: str | None = None
    identity: FileIdentity | None = None


class Evidence(enum.StrEnum):
    """How a copy was proven: by the provider's checksum of the whole object, or by reading it back."""

    CHECKSUM = "checksum"
    READ_BACK = "read-back"


class Attempt(NamedTuple):
    """One recorded attempt to store an execution at one place. Earlier attempts that never looked at the place, and so
    sent nothing, do not count.
    """

    id: int
    provider_id: int
    key_prefix: str
    earlier_attempts_here: int
    foreign_objects_here: bool
    committed_here: bool = False
    """Whether a row ever pointed at this place as the copy of this execution."""
    committed_manifest_sha256: str | None = None
    """The hash of the manifest last committed for this execution, at any place."""
    last_recorded: int | None = None
    """The last attempt of this execution at these keys in this store, through whatever provider row, that was committed
    or found nothing of others there; `None` if the database knows of none.
    """
    late_bytes_until: datetime | None = None
    """Until when bytes of files that have changed since may arrive from an earlier attempt. Discarding its unfinished
    uploads prevents that.
    """


class ProvenCopy(NamedTuple):
    """What the commit of a migrated execution records."""

    uri: str
    provider_id: int
    key_prefix: str
    file_count: int
    size_bytes: int
    evidence: Evidence
    manifest_sha256: str
    listing_digest: int | None = None
    """See `storage.inspection`; `None` if the provider's listing does not prove every file."""
    is_of_others: bool = False
    """Whether another installation stored it, and may remove it under its own rules: the local copy stays."""


class StoredObject(NamedTuple):
    """The provider's answer to a new request about a key.

    `checksum` is in the provider's own notation (`etag:...`, `md5:...`, `crc32c:...`), `None` if it has none.
    `version`, also in its notation, distinguishes this state of the object from any other, so a request can name
    it as its condition. `stat` returns it if the provider has one; `list` may not.
    """

    key: str
    size_bytes: int
    checksum: str | None = None
    version: str | None = None

    def is_same_as(self, other: StoredObject) -> bool:
        """Whether nothing shows that these are different objects or states: compares versions if both have one,
        otherwise size and checksum.
        """
        if self.key != other.key or self.size_bytes != other.size_bytes:
            return False
        if self.version is not None and other.version is not None:
            return self.version == other.version
        return self.checksum == other.checksum


class Span(NamedTuple):
    """A range of the keys below a prefix: after one key, up to and including another; `None` means no bound."""

    after: str | None = None
    up_to: str | None = None


EVERYTHING = Span()


class PutReceipt(NamedTuple):
    """What one `put` really sent, computed from the very buffers that were sent.

    The provider may show any one of `checksums` for exactly these bytes.
    """

    size_bytes: int
    sha256: str
    checksums: frozenset[str] = frozenset()
    sent_whole: bool = True
    """Whether this `put` sent every byte: false if it reuses parts stored by an earlier try."""
    left_unfinished: bool = False
    """Whether an unfinished upload may be left besides the object."""


class ContentDigest(NamedTuple):
    """SHA-256 (lower-case hex) of the object under `key`, and how it was determined."""

    key: str
    sha256: str
    evidence: Evidence


class JobState(NamedTuple):
    """What the database knows of a job's runs, on one host or of all hosts together."""

    last_started_at: datetime | None = None
    last_good_at: datetime | None = None
    """When the last successful run began."""

    tries: int = 0
    """How many runs have begun since then, not counting successful or interrupted ones."""

    fencing_token: int = 0
    """How often the job was claimed: while the token is the same, nobody has claimed it since."""

    was_cut_off: bool = False
    """Whether the last run has no recorded end: it is still running, or was killed."""

    last_outcome: str | None = None
    last_error: str | None = None
    held_by: str | None = None
    """The host that claimed it last."""
