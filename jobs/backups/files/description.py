"""The description: a small file beside a full backup, with everything that a later differential must match."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from jobs.backups.errors import FullBackupNeeded
from jobs.backups.templates import literal, render

FORMAT = 1
CHANGES_BETWEEN_EQUAL_DUMPS = (b"\\restrict ", b"\\unrestrict ", b"-- Dumped ", b"-- Started on", b"-- Completed on")


ID = re.compile(r"\d{8}_\d{6}_[0-9a-f]{16}")
ENCODING = re.compile("[A-Z0-9_]+")
OID = re.compile("[0-9]{1,10}")
SETTINGS = frozenset({"bytea_output", "lc_monetary"})
"""The settings that a description may name."""

LOCALE_PROVIDERS = frozenset("cib")

HOW_VALUES_WERE_WRITTEN = {"bytea_output": "hex"}
"""The value for backups whose descriptions do not say it."""


@dataclass(frozen=True, slots=True)
class Locale:
    """How a database orders text and tells letters: `provider` is c, i or b, as in `pg_database`."""

    provider: str
    collate: str
    ctype: str
    name: str | None = None
    rules: str | None = None

    def __post_init__(self) -> None:
        """Raise `ValueError` for what is no locale."""
        if self.provider not in LOCALE_PROVIDERS:
            raise ValueError(self.provider)
        _require_text(self.collate, self.ctype, self.name or "", self.rules or "")


@dataclass(frozen=True, slots=True)
class Description:
    """A full backup: `data_start` and `data_end` are where the gzip member with the rows begins and ends."""

    format: int
    id: str
    file: str
    size_bytes: int
    sha256: str
    md5: str
    data_start: int
    data_end: int
    data_bytes: int
    fingerprint: str
    database: str
    database_oid: int
    encoding: str
    server_major: int
    dump_major: int
    tables: int
    rows: int
    large_objects: Mapping[str, str]
    """A hash for each oid."""
    roles: Sequence[str]
    """All roles of the server: a scratch server needs those that own something or have rights."""
    settings: Mapping[str, str] = field(default_factory=HOW_VALUES_WERE_WRITTEN.copy)
    """Settings on which the text of values depends; `lc_monetary` only if there are columns of type money."""
    locale: Locale | None = None
    """`None` in older descriptions."""
    filenodes: Mapping[str, int] = field(default_factory=dict)
    """The filenode of each table, by its oid. If it has another one now, it was rewritten, and rows may have moved."""
    tablespaces: Sequence[str] = field(default_factory=list)
    """Those that the database names: a scratch server needs them, too."""

    def __post_init__(self) -> None:
        """Raise `ValueError` for values that no description has: some of them become parts of statements."""
        _require_types(self)
        is_named = ID.fullmatch(self.id) and ENCODING.fullmatch(self.encoding)
        if not is_named or not 0 <= self.data_start <= self.data_end <= self.size_bytes:
            raise ValueError(self.file)
        if not set(self.settings) <= SETTINGS or not all(map(OID.fullmatch, self.large_objects)):
            raise ValueError(self.file)
        for name, digest in self.large_objects.items():
            _require_text(name, digest)
        _require_text(*self.settings.values())
        for name in (*self.roles, *self.tablespaces):
            _require_text(name, may_be_of_another_encoding=True)

    def to_bytes(self) -> bytes:
        """As the file holds it."""
        return json.dumps(asdict(self), indent=1, sort_keys=True).encode() + b"\n"


def read_description(path: Path) -> Description:
    """What a file says. Raises `FullBackupNeeded` when it is missing or no such file."""
    try:
        found = json.loads(path.read_bytes())
        known = {name: found[name] for name in (part.name for part in fields(Description)) if name in found}
        locale = known.pop("locale", None)
        description = Description(**known, locale=locale and Locale(**locale))
    except OSError as error:
        raise FullBackupNeeded(f"no se puede leer {path.name}, la descripción del completo") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FullBackupNeeded(f"{path.name}, la descripción del completo, está dañado") from error
    if description.format != FORMAT:
        raise FullBackupNeeded(f"{path.name} es de otra versión del programa")
    return description


def _require_types(description: Description) -> None:
    """Raise `ValueError` unless each field is of its type."""
    kinds: dict[str, type] = {"int": int, "str": str, "Mapping[str, str]": dict, "Sequence[str]": list}
    for part in fields(description):
        value = getattr(description, part.name)
        kind = kinds.get(str(part.type))
        if (kind is not None and type(value) is not kind) or (kind is int and value < 0):
            raise ValueError(part.name)


def _require_text(*values: Any, may_be_of_another_encoding: bool = False) -> None:
    """Raise `ValueError` for what cannot be a literal in a statement."""
    for value in values:
        if not isinstance(value, str) or "\0" in value:
            raise ValueError(repr(value))
        value.encode("utf-8", "surrogateescape" if may_be_of_another_encoding else "strict")


def settings_as_statements(settings: Mapping[str, str]) -> bytes:
    """Statements that make a session read values as they were written."""
    return b"".join(
        render("setting", name=name, value=literal(value.encode())) for name, value in sorted(settings.items())
    )


def fingerprint(pre_data: bytes, post_data: bytes) -> str:
    """A hash of what describes the tables, the same for equal ones."""
    found = hashlib.sha256()
    for section in (pre_data, post_data):
        for line in section.split(b"\n"):
            if not line.startswith(CHANGES_BETWEEN_EQUAL_DUMPS):
                found.update(line + b"\n")
    return found.hexdigest()
