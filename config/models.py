"""The plain frozen data that flows between the rooms.

Paths and object keys are `str` as `os.fsdecode` makes them: bytes that are no UTF-8 travel as lone surrogates
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
    """One row of `cloud_providers`, its two JSON columns parsed. The credentials never show in a repr."""

    id: int
    name: str
    kind: str
    credentials: Mapping[str, object] | str | None = field(repr=False)
    options: Mapping[str, object]
    active: bool


@dataclass(frozen=True, slots=True)
class MigrationPolicy:
    """What `ejecuciones_config` asks for. The defaults are those of an installation without a row."""

    primary_provider_id: int | None = None
    alternate_provider_ids: tuple[int, ...] = ()
    retention_hours: float = 0.0
    key_prefix: str = ""
    migrate_automatically: bool = True
    delete_after_migration: bool = False

    @property
    def provider_ids(self) -> tuple[int, ...]:
        """Providers in order of preference, the primary first, none twice."""
        if self.primary_provider_id is None:
            return ()
        return tuple(dict.fromkeys((self.primary_provider_id, *self.alternate_provider_ids)))


@dataclass(frozen=True, slots=True)
class Execution:
    """One row of `ejecuciones_yaml` that is due for migration."""

    id: int
    uuid: str
    directory: str | None


@dataclass(frozen=True, slots=True)
class CommittedCopy:
    """What was recorded when an execution was last committed, whatever its row says now."""

    uri: str
    provider_id: int
    file_count: int
    size_bytes: int
    manifest_sha256: str
    set_aside_inode: str | None = None
    """That of the directory whose removal was begun last, if any was."""


LEASE_SECONDS = 900
LATE_SECONDS = 3600
"""How long a request can be on its way at most when whoever sent it is gone: what S3 and Azure refuse is signed fifteen
minutes ago, and a connection over which nothing passes is given up in less than an hour.
"""


@dataclass(frozen=True, slots=True)
class Claim:
    """This run's right to work on one execution, until another run takes it over and raises the token.

    `last_copy` is that of an execution that was migrated before and is to be migrated again.
    """

    execution: Execution
    fencing_token: int
    last_copy: CommittedCopy | None = None


class EntryKind(enum.StrEnum):
    """What a manifest can hold. Anything else (sockets, FIFOs, devices) makes an execution unfit to migrate."""

    FILE = "file"
    DIRECTORY = "directory"
    LINK = "link"


class FileIdentity(NamedTuple):
    """Tells one state of one inode from any other: rewriting a file changes at least its ctime."""

    device: int
    inode: int
    size_bytes: int
    mtime_ns: int
    ctime_ns: int


class Entry(NamedTuple):
    """One file, directory or symbolic link of an execution, its path relative to the execution's directory.

    `sha256` (lower-case hex) is known for a file once its bytes have been read. `identity` is what this host saw,
    and is `None` in a manifest that came from elsewhere. Both are tuples, as one is made for each file more than once.
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


@dataclass(frozen=True, slots=True)
class Attempt:
    """One recorded try to store an execution at one place. Earlier ones that did not come to look at it, and so sent
    nothing, do not count.
    """

    id: int
    provider_id: int
    key_prefix: str
    earlier_attempts_here: int
    foreign_objects_here: bool
    committed_here: bool = False
    """Whether a row pointed at this place once, as the copy of this execution."""
    committed_manifest_sha256: str | None = None
    """That of the manifest of the last copy that was committed for this execution, wherever."""
    late_bytes_until: datetime | None = None
    """Until when bytes of an earlier attempt may arrive, of files that have changed since, which are kept off by
    discarding its unfinished uploads.
    """


@dataclass(frozen=True, slots=True)
class ProvenCopy:
    """What is written down when an execution has been migrated."""

    uri: str
    provider_id: int
    key_prefix: str
    file_count: int
    size_bytes: int
    evidence: Evidence
    manifest_sha256: str


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What a provider says, when asked anew, that it holds under a key.

    `checksum` is in the provider's own notation (`etag:...`, `md5:...`, `crc32c:...`), `None` where it has none.
    `version` tells this state of the object from any other, in the provider's own notation, so that a request can name
    it as its condition. `stat` gives it where the provider knows one, `list` need not.
    """

    key: str
    size_bytes: int
    checksum: str | None = None
    version: str | None = None

    def is_same_as(self, other: StoredObject) -> bool:
        """Whether nothing shows that these are two objects, or two states of one: the version decides where both have
        one, otherwise size and checksum.
        """
        if self.key != other.key or self.size_bytes != other.size_bytes:
            return False
        if self.version is not None and other.version is not None:
            return self.version == other.version
        return self.checksum == other.checksum


@dataclass(frozen=True, slots=True)
class Span:
    """Some of the keys below a prefix: those after one and up to another, which is one of them; `None`: no bound."""

    after: str | None = None
    up_to: str | None = None


EVERYTHING = Span()


@dataclass(frozen=True, slots=True)
class PutReceipt:
    """What was really sent by one `put`, computed from the same buffers that were sent.

    `checksums` are the notations, any one of which the provider may show for exactly these bytes.
    """

    size_bytes: int
    sha256: str
    checksums: frozenset[str] = frozenset()
    sent_whole: bool = True
    """Whether all of it was: not if parts that an earlier try had stored belong to it."""
    left_unfinished: bool = False
    """Whether something may be there beside it that was begun and is not known to be gone."""


@dataclass(frozen=True, slots=True)
class ContentDigest:
    """SHA-256 (lower-case hex) of what is stored under `key`, and how it was learnt."""

    key: str
    sha256: str
    evidence: Evidence


class JobState(NamedTuple):
    """What the database knows of a job's runs, on one host or of all hosts together."""

    last_started_at: datetime | None = None
    last_good_at: datetime | None = None
    """When the last run that was good began."""

    tries: int = 0
    """How many runs began since then, without one that was good or was merely interrupted."""

    fencing_token: int = 0
    """How often the job was taken up: equal tokens, nobody has taken it up meanwhile."""

    was_cut_off: bool = False
    """Whether the last run has no end: it goes on, or was killed."""

    last_outcome: str | None = None
    last_error: str | None = None
    held_by: str | None = None
    """The host that took it up last."""
