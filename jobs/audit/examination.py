"""Looks at one copy by new requests: its manifest, its files by name and size and, if wanted, every byte."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from config.errors import MigrationError, RunInterrupted
from config.logs import one_line
from config.models import Evidence
from config.text.plurals import counted, files
from files.tree import Tree
from jobs.audit.records import Copy
from providers.base import Provider
from providers.errors import IntegrityError, ObjectNotFound
from sql.texts import Told
from storage.inspection import compare_digests, look
from storage.keys import Place
from storage.manifest import fetch_manifest
from storage.traffic.transfers import TransferPool

NAMED_AT_MOST = 3


class State(StrEnum):
    """What was found of a copy."""

    WHOLE = "whole"
    LOST = "lost"
    DAMAGED = "damaged"
    UNREADABLE = "unreadable"
    """Nothing is known of it: its provider does not answer, or refuses."""


class Checked(StrEnum):
    """How the bytes of a copy were compared."""

    CHECKSUM = "checksum"
    READ_BACK = "read-back"
    NOT_CHECKED = "not checked"


HOW = {Evidence.CHECKSUM: Checked.CHECKSUM, Evidence.READ_BACK: Checked.READ_BACK}


class Examined(NamedTuple):
    """The result for one copy; `detail` says in Spanish what is wrong."""

    state: State
    checked: Checked
    detail: str = ""

    @property
    def is_telling(self) -> bool:
        """Whether it says anything of the copy's bytes: what is whole by its names and sizes alone may be damaged."""
        return self.state in (State.LOST, State.DAMAGED) or (
            self.state is State.WHOLE and self.checked is not Checked.NOT_CHECKED
        )

    def as_recorded(self) -> Mapping[str, object]:
        """As `janitor_audits` holds it."""
        detail = Told(self.detail) if self.detail else None
        return {"state": self.state.value, "evidence": self.checked.value, "detail": detail}


def examine(provider: Provider, copy: Copy, pool: TransferPool, stop: threading.Event, *, every_byte: bool) -> Examined:
    """Compare a copy with its manifest, and that with the hash in the database. Raises `RunInterrupted` only."""
    place = copy.place
    if place is None:
        return Examined(State.LOST, Checked.NOT_CHECKED, f"ruta_nube no nombra ningún sitio: {one_line(copy.uri)}")
    try:
        return _examine(provider, place, copy.manifest_sha256, pool, stop, every_byte=every_byte)
    except RunInterrupted:
        raise
    except MigrationError as error:
        return Examined(State.UNREADABLE, Checked.NOT_CHECKED, one_line(error))


def _examine(
    provider: Provider,
    place: Place,
    manifest_sha256: str | None,
    pool: TransferPool,
    stop: threading.Event,
    *,
    every_byte: bool,
) -> Examined:
    try:
        tree = fetch_manifest(provider, place, manifest_sha256, stop)
    except ObjectNotFound:
        return Examined(State.LOST, Checked.NOT_CHECKED, "no está su manifiesto, sin el que la copia no está entera")
    except IntegrityError as error:
        return Examined(State.DAMAGED, Checked.NOT_CHECKED, one_line(error))
    listed = look(provider, place, tree, stop)
    if listed.missing or listed.of_wrong_size:
        state = State.LOST if len(listed.missing) == tree.file_count > 0 else State.DAMAGED
        return Examined(state, Checked.NOT_CHECKED, _told(tree, listed.missing, listed.of_wrong_size))
    if not every_byte:
        return Examined(State.WHOLE, Checked.NOT_CHECKED)
    digested = compare_digests(provider, place, tree, tree.file_positions(), pool, stop)
    how = HOW[digested.evidence]
    if digested.damaged:
        what = counted(len(digested.damaged), "fichero tiene", "ficheros tienen")
        return Examined(State.DAMAGED, how, f"{what} otros bytes: {_names(tree, digested.damaged)}")
    return Examined(State.WHOLE, how)


def _told(tree: Tree, missing: Sequence[int], of_wrong_size: Sequence[int]) -> str:
    parts = []
    if missing:
        verb = "falta" if len(missing) == 1 else "faltan"
        parts.append(f"{verb} {len(missing)} de sus {files(tree.file_count)}: {_names(tree, missing)}")
    if of_wrong_size:
        what = counted(len(of_wrong_size), "fichero tiene", "ficheros tienen")
        parts.append(f"{what} otro tamaño: {_names(tree, of_wrong_size)}")
    return "; ".join(parts)


def _names(tree: Tree, positions: Sequence[int]) -> str:
    names = ", ".join(one_line(tree.path(position)) for position in positions[:NAMED_AT_MOST])
    return f"{names}…" if len(positions) > NAMED_AT_MOST else names
