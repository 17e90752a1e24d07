"""Ownership of places in the cloud: each belongs to one execution of one installation, or is not touched.

The database knows what this program has sent, and where. No attempt begins at a place that is, contains or is in a
place where another execution has something. The upload inspects the place itself for what the database does not know:
see `storage.upload`.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterator
from datetime import datetime
from functools import partial

from config.errors import MigrationError, UnsafeSource
from config.logs import emit, one_line
from config.models import Attempt, Claim, CommittedCopy, Entry, EntryKind
from files.descriptors import closing_descriptor, open_file_beneath
from files.tree import Tree
from jobs.migration.directories import OpenDirectory
from jobs.migration.removal.entries import SET_ASIDE
from jobs.provider_set import ProviderSet
from providers.base import Provider
from providers.errors import ObjectNotFound, ProviderError, UnsafeDestination, is_refusal
from providers.retries import with_retries
from providers.sources import BytesSource
from sql.database import Database
from sql.migration.attempts import Overlap
from storage.deletions import require_open
from storage.keys import INCOMPLETE_MARK, MANIFEST_SUFFIX, Place, place_from_uri
from storage.lease import ClaimLost
from storage.manifest import FORMAT, FoundManifest, find_manifest
from storage.optional_steps import discard_unfinished
from storage.uploading.remnants import SourceShrank

PROBE_NAME = ".janitor-probe"
PROBE_CONTENT = b"janitor-daemon"

BYTES_THAT_TELL_A_MANIFEST = 4096
LONGEST_MARK_BYTES = 64 * 1024


def open_attempt(
    database: Database,
    providers: ProviderSet,
    claim: Claim,
    provider: Provider,
    place: Place,
    tree: Tree,
    stop: threading.Event,
) -> Attempt:
    """Record that bytes will be sent to a place that belongs to nobody else.

    Raises `ClaimLost`, and `UnsafeDestination` for a place that is another execution's, contains one or is in one, or
    where late requests may still arrive: unanswered deletions, or bytes of files that have changed since.
    """
    ask = partial(
        database.open_attempt, claim, provider.id, place.key_prefix, provider.store, fingerprint=tree.fingerprint()
    )
    elsewhere: list[int] = []
    harmless = False
    late_bytes_until: datetime | None = None
    while True:
        answer = ask(elsewhere, late_bytes_are_harmless=harmless)
        if answer is None:
            raise ClaimLost("otro proceso de janitor se hizo cargo, o la fila cambió o ya está migrada")
        if isinstance(answer, Attempt):
            return answer._replace(late_bytes_until=late_bytes_until)
        require_open(place, answer.closed_until)
        if not harmless and answer.late_bytes_until is not None:
            late_bytes_until = answer.late_bytes_until
            harmless = with_retries(partial(provider.creates_safely, place.probe_prefix), stop, provider.progress)
            require_open(place, None if harmless else late_bytes_until)
        for overlap in answer.overlaps:
            _require_elsewhere(overlap, providers, provider, place, stop)
            elsewhere.append(overlap.attempt_id)


def _require_elsewhere(
    overlap: Overlap, providers: ProviderSet, provider: Provider, place: Place, stop: threading.Event
) -> None:
    """Raises `UnsafeDestination` unless the other execution's objects are in another store or under another name."""
    if _is_another_name(overlap, provider, place, stop) or _is_another_store(overlap, providers, provider, place, stop):
        return
    raise UnsafeDestination(
        f"{place.key_prefix} es, contiene o está dentro del lugar {overlap.key_prefix} de la ejecución con id "
        f"{overlap.execution_id}; revise los uuid de ambas filas y prefijo_ruta_nube"
    )


def _is_another_name(overlap: Overlap, provider: Provider, place: Place, stop: threading.Event) -> bool:
    """Whether the two only look alike to a store that folds names, while this one does not fold them."""
    if paths_overlap(overlap.key_prefix, place.key_prefix) or overlap.store != provider.store:
        return False
    return not with_retries(partial(provider.folds_names, place.probe_prefix), stop, provider.progress)


def paths_overlap(one: str, other: str) -> bool:
    """Whether two places are one, or one is in the other."""
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")


def _is_another_store(
    overlap: Overlap, providers: ProviderSet, provider: Provider, place: Place, stop: threading.Event
) -> bool:
    """Whether a probe shows that the other place is in another store: one store can have many addresses.

    If its provider is unavailable or leads elsewhere by now, that cannot be shown, and they count as one.
    """
    if not overlap.store or overlap.store == provider.store or overlap.provider_id == provider.id:
        return False
    other = providers.get(overlap.provider_id)
    if other is None or other.store != overlap.store:
        return False
    probe = f".janitor-probe-{overlap.attempt_id}"
    return not is_same_store(provider, place.key_prefix + probe, other, place.key_prefix + probe, stop)


def is_same_store(one: Provider, put_key: str, other: Provider, seen_key: str, stop: threading.Event) -> bool:
    """Whether an object put through one provider appears through another.

    The keys must depend only on the attempt, so that repeating this removes a probe that a crash left, finished or not.
    """
    discard_unfinished(one, put_key, stop)
    with_retries(lambda: one.put(put_key, BytesSource(PROBE_CONTENT)), stop, one.progress)
    try:
        return holds(other, seen_key, stop)
    finally:
        _remove_probe(one, put_key, stop)


def _remove_probe(provider: Provider, key: str, stop: threading.Event) -> None:
    """Remove the probe, as far as the provider allows it: its answer is known by then."""
    try:
        with_retries(partial(provider.delete, key), stop, provider.progress)
    except ProviderError as error:
        if not is_refusal(error):
            raise


def holds(provider: Provider, key: str, stop: threading.Event) -> bool:
    """Whether there is an object under a key."""
    try:
        with_retries(partial(provider.stat, key), stop, provider.progress)
    except ObjectNotFound:
        return False
    return True


class Neighbours:
    """Finds out whether a provider keeps its copies where this host keeps its executions. Safe to use from several
    threads.

    No path or address shows that: a directory may be mounted twice, an SFTP server may be this very host. So a probe is
    put at the new copy's place, and the execution and the directories above it are searched for it, once for each
    directory that holds executions. A probe that a crash left is removed with the attempt's other leftovers.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[tuple[int, str, str], str | None] = {}

    def require_elsewhere(
        self, provider: Provider, place: Place, directory: OpenDirectory, stop: threading.Event
    ) -> None:
        """Raises `UnsafeDestination` where the copy would be written into the execution itself, or around it.

        Call it once the place has been inspected and its contents are known.
        """
        if provider.kind == "local":
            base = provider.store.removeprefix("local:")
            overlaps = bool(base) and _is_in_or_around(f"{base}/{place.key_prefix}", directory.path)
        elif provider.kind == "sftp":
            copies = self._directory_of_copies(provider, place, directory.path, stop)
            overlaps = copies is not None and paths_overlap(f"{copies}/{place.name}", directory.path)
        else:
            return
        if overlaps:
            raise UnsafeDestination(
                f"guarda sus copias donde este equipo tiene las ejecuciones: la copia caería en {directory.path}, o a "
                "su alrededor; cambie la ruta del proveedor o prefijo_ruta_nube"
            )

    def _directory_of_copies(
        self, provider: Provider, place: Place, directory: str, stop: threading.Event
    ) -> str | None:
        """The directory of this host, an execution or above it, that holds all copies. Its neighbours share it."""
        with self._lock:
            known = (provider.id, place.parent, directory.rpartition("/")[0])
            if known not in self._found:
                self._found[known] = _found_by_probe(provider, place, directory, stop)
            return self._found[known]


def _found_by_probe(provider: Provider, place: Place, directory: str, stop: threading.Event) -> str | None:
    key = place.key_of(PROBE_NAME)
    with_retries(lambda: provider.put(key, BytesSource(PROBE_CONTENT)), stop, provider.progress)
    try:
        seen_as = f"{place.name}/{PROBE_NAME}"
        return next((above for above in _with_those_above(directory) if os.path.lexists(f"{above}/{seen_as}")), None)
    finally:
        _remove_probe(provider, key, stop)
        discard_unfinished(provider, key, stop)


def _is_in_or_around(copy: str, execution: str) -> bool:
    """Whether the two directories are one, or one is in the other. The first need not exist yet."""
    return any(_same_directory(copy, above) for above in _with_those_above(execution)) or any(
        _same_directory(above, execution) for above in _with_those_above(copy)
    )


def _same_directory(one: str, other: str) -> bool:
    try:
        return os.path.samestat(os.lstat(one), os.lstat(other))
    except OSError:
        return False


def _with_those_above(directory: str) -> Iterator[str]:
    while directory not in ("", "/"):
        yield directory
        directory = directory.rpartition("/")[0]


def require_no_copies(tree: Tree, directory: OpenDirectory) -> None:
    """Raises `UnsafeSource` for a directory that holds copies of executions, each next to its manifest, such as the
    directory of an earlier prefix: migrating and removing it would remove them.
    """
    if not tree.may_mention(MANIFEST_SUFFIX):
        return
    for entry in tree.files:
        copy = entry.path.removesuffix(MANIFEST_SUFFIX)
        position = tree.find(copy) if copy != entry.path else None
        if position is None or tree.entry(position).kind is not EntryKind.DIRECTORY:
            continue
        if _begins_as_a_manifest(directory, entry):
            raise UnsafeSource(f"contiene una copia hecha por este programa, con su manifiesto al lado: {copy}")


def _begins_as_a_manifest(directory: OpenDirectory, entry: Entry) -> bool:
    try:
        with closing_descriptor(open_file_beneath(directory.descriptor, entry.path.split("/"))) as descriptor:
            return FORMAT.encode() in os.read(descriptor, BYTES_THAT_TELL_A_MANIFEST)
    except OSError:
        return True  # nobody can know


def require_not_half_restored(tree: Tree, directory: OpenDirectory) -> None:
    """Raises `UnsafeSource` for a directory that a restore has not finished filling. It has less than the copy: stored
    in its place, it would replace what is good there.
    """
    if not tree.may_mention(INCOMPLETE_MARK):
        return
    for entry in tree.files:
        if entry.path.startswith(INCOMPLETE_MARK) and "/" not in entry.path and _is_mark(directory, entry):
            raise UnsafeSource(
                f"contiene una restauración a medias: repita restore hasta que acabe, o retire {one_line(entry.path)} "
                "si el directorio está entero"
            )


def _is_mark(directory: OpenDirectory, entry: Entry) -> bool:
    """Whether a file of that name is a mark: an execution may have a file of its own with any name. A restore killed at
    its very beginning leaves an empty one.
    """
    try:
        with closing_descriptor(open_file_beneath(directory.descriptor, [entry.path])) as descriptor:
            content = os.read(descriptor, LONGEST_MARK_BYTES)
    except OSError:
        return True  # nobody can know
    try:
        return not content or {"place", "manifest_sha256"} <= set(json.loads(content))
    except (ValueError, TypeError, RecursionError):
        return False


def require_no_remnant(
    providers: ProviderSet, claim: Claim, directory: OpenDirectory, tree: Tree, stop: threading.Event
) -> None:
    """Raises `SourceShrank` if an already migrated execution has lost files since, and its copy still exists.

    So a partly removed directory, even with new files, never replaces the whole copy, nor does the file that the
    removal had just set aside. Files of other sizes show that an execution ran again. If less than half of its files or
    bytes is left, it is refused all the same; if it has less at all, that is reported.
    """
    last = claim.last_copy
    if last is None:
        return
    set_aside = tree.may_mention(SET_ASIDE)
    was_begun = str(os.fstat(directory.descriptor).st_ino) == last.set_aside_inode
    has_less = tree.file_count < last.file_count or tree.size_bytes < last.size_bytes
    if not (set_aside or was_begun or has_less):
        return
    found = _last_manifest(providers, last, stop)
    if found is None:
        return  # the copy or its manifest was removed by somebody who does not want it any more
    if set_aside or (was_begun and _lacks_files_of(tree, found)) or (has_less and _is_remnant(tree, found, last)):
        raise SourceShrank(_what_is_left(tree, last))
    if has_less:
        _report_smaller_than_before(claim, tree, last)


def _is_remnant(tree: Tree, found: FoundManifest, last: CommittedCopy) -> bool:
    less_than_half = tree.file_count * 2 < last.file_count or tree.size_bytes * 2 < last.size_bytes
    return less_than_half or found.tree is None or _is_part_of(tree, found.tree)


def _lacks_files_of(tree: Tree, found: FoundManifest) -> bool:
    if found.tree is None:
        return True
    return any(tree.find(entry.path) is None for entry in found.tree.files)


def _what_is_left(tree: Tree, last: CommittedCopy) -> str:
    return (
        f"tiene {tree.file_count} ficheros y {tree.size_bytes} bytes, y su copia anterior en {last.uri}, "
        f"{last.file_count} y {last.size_bytes}: parece lo que dejó un borrado. Para recuperar la copia, ponga en su "
        "fila migrado_a_nube = true y use restore; si el directorio está como debe, retire de allí "
        f"{place_from_uri(last.uri).manifest_key}"
    )


def _report_smaller_than_before(claim: Claim, tree: Tree, last: CommittedCopy) -> None:
    uuid = one_line(claim.execution.uuid)
    emit(
        logging.WARNING,
        "smaller_than_before",
        f"La ejecución {uuid} tiene menos que su copia anterior ({tree.file_count} ficheros y {tree.size_bytes} bytes "
        f"en lugar de {last.file_count} y {last.size_bytes}): se migra otra vez, pues sus ficheros son otros",
        execution=uuid,
    )


def _last_manifest(providers: ProviderSet, last: CommittedCopy, stop: threading.Event) -> FoundManifest | None:
    provider = providers.get(last.provider_id)
    if provider is None:
        raise SourceShrank(
            f"tiene menos ficheros que su copia anterior en {last.uri}, y su proveedor no se puede usar para compararla"
        )
    try:
        return find_manifest(provider, place_from_uri(last.uri), stop)
    except MigrationError as error:
        raise SourceShrank(
            f"tiene menos ficheros que su copia anterior en {last.uri}, que no se puede leer para compararla: {error}"
        ) from error


def _is_part_of(tree: Tree, whole: Tree) -> bool:
    """Whether every file of a tree is in another one, as far as path and size show."""
    position = -1
    for entry in tree.files:
        found = whole.find(entry.path, position + 1)
        if found is None:
            return False
        position = found
        other = whole.entry(found)
        if (other.kind, other.size_bytes) != (entry.kind, entry.size_bytes):
            return False
    return True
