"""Backups at providers: sent, proven, encrypted, fetched, thrown away, and noticed when they are gone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from demo.servers.postgres import EmbeddedPostgres
from providers import build_provider
from tests.destinations import Destination
from tests.stories.installation import Installation, Run

PREFIX = "sage/principal"
KINDS = ("local",)


@pytest.fixture
def sage(installation: Installation, postgres: EmbeddedPostgres) -> Installation:
    """An installation whose database is backed up."""
    installation.environment.update(
        BACKUP_ENABLED="true",
        BACKUP_PATH=str(installation.directory / "copias"),
        BACKUP_PG_BIN=str(postgres.binaries),
    )
    installation.environment.pop("JANITOR_ROOTS")
    installation.configure(None, prefijo_ruta_nube=PREFIX)
    return installation


def done(run: Run) -> Run:
    """A run that ended well."""
    assert run.exit_code == 0, str(run)
    return run


def local(sage: Installation) -> dict[str, bytes]:
    """What is in the directory of the backups."""
    return {path.name: path.read_bytes() for path in Path(sage.environment["BACKUP_PATH"]).iterdir()}


def remote(destination: Destination) -> dict[str, bytes]:
    """What is at a provider, by key."""
    provider = build_provider(destination.provider_row())
    try:
        return {stored.key: b"".join(provider.open(stored.key)) for stored in provider.list("")}
    finally:
        provider.close()


def copies(sage: Installation) -> list[dict[str, Any]]:
    """The rows of the copies that this program has not deleted."""
    return sage.rows("SELECT * FROM janitor_backup_copies WHERE deleted_at IS NULL ORDER BY id_backup, provider_id")


def first_line_of_hash(content: bytes) -> bytes:
    """What `sha256sum` reads of a hash file."""
    return content.splitlines()[0]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_provider_gets_a_proven_copy_that_comes_back(
    sage: Installation, new_destination: Callable[[str], Destination], kind: str
) -> None:
    destination = new_destination(kind)
    provider_id = sage.add_provider(destination, "lejos")
    sage.environment["BACKUP_PROVIDERS"] = "lejos"
    done(sage.run("backup", "run"))
    here, there = local(sage), remote(destination)
    assert {key.removeprefix(f"{PREFIX}/backups/") for key in there} == set(here)
    for name, content in here.items():
        stored = there[f"{PREFIX}/backups/{name}"]
        if name.endswith(".sha256"):
            assert first_line_of_hash(stored) == first_line_of_hash(content)
        else:
            assert stored == content
    (copy,) = copies(sage)
    assert (copy["provider_id"], copy["evidence"] in ("checksum", "read-back")) == (provider_id, True)
    assert copy["sha256"] == hashlib.sha256(there[copy["key"]]).hexdigest()
    for path in Path(sage.environment["BACKUP_PATH"]).iterdir():
        path.unlink()
    fetched = sage.directory / "traida"
    done(sage.run("backup", "download", "1", str(fetched)))
    assert {path.name: path.read_bytes() for path in fetched.iterdir()} == here
