"""What a restore could not bring back as the manifest has it, collected while the rest is brought back."""

from __future__ import annotations

import threading
import unicodedata
from collections.abc import Iterable, Sequence

from config.errors import MigrationError
from config.logs import one_line
from config.models import EntryKind
from config.text.plurals import counted
from files.tree import Tree
from jobs.migration.restore.destination import Listing

NAMED_AT_MOST = 5
"""How many names a message shows."""

MOST_FAILED_OBJECTS = 100
"""After this many failed objects the copy as a whole is unusable, and the restore stops."""


class Losses:
    """Noted from several threads; reported at the end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._in_the_way: list[str] = []
        self._refused: list[str] = []
        self._links: list[str] = []
        self._closed: set[str] = set()
        self._failures: list[MigrationError] = []
        self._modes: list[str] = []
        self._times: list[str] = []

    def note_in_the_way(self, path: str) -> None:
        """Something not proven to be the restore's own has an entry's name, or an equivalent one."""
        with self._lock:
            self._in_the_way.append(path)

    def note_refused(self, path: str) -> None:
        """The file system cannot hold the name, or the file."""
        with self._lock:
            self._refused.append(path)

    def note_link(self, path: str) -> None:
        """The file system has no symbolic links."""
        with self._lock:
            self._links.append(path)

    def close(self, path: str) -> None:
        """Nothing is restored below a directory that is not the restore's own."""
        with self._lock:
            self._closed.add(path)

    def note_failure(self, error: MigrationError) -> None:
        """One object could not be fetched. Raises the error once there are very many."""
        with self._lock:
            self._failures.append(error)
        if len(self._failures) >= MOST_FAILED_OBJECTS:
            raise error

    def note_unkept(self, path: str, *, mode: bool, time: bool) -> None:
        """The file system has not kept the mode or the time of an entry."""
        with self._lock:
            if mode:
                self._modes.append(path)
            if time:
                self._times.append(path)

    @property
    def any_missing(self) -> bool:
        """Whether any entry is known to be missing."""
        return bool(self._in_the_way or self._refused or self._links or self._closed)

    def is_closed(self, path: str) -> bool:
        """Whether an entry is, or is in, a directory that is not the restore's own."""
        if not self._closed:
            return False
        parts = path.split("/")
        return any("/".join(parts[:count]) in self._closed for count in range(1, len(parts) + 1))

    def failure(self) -> MigrationError | None:
        """The first object that could not be fetched, with the number of others."""
        if not self._failures:
            return None
        first = self._failures[0]
        more = len(self._failures) - 1
        return type(first)(f"{first} (y {more} ficheros más)") if more else first

    def missing(self, listing: Listing, tree: Tree) -> list[str]:
        """What differs from the manifest, in Spanish, one text for each kind."""
        with self._lock:
            known = {*self._in_the_way, *self._refused, *self._links}
        renamed = [
            path
            for position in range(len(tree))
            if not listing.present[position] and (path := tree.path(position)) not in known and not self.is_closed(path)
        ]
        return [
            *_told_names(self._in_the_way, renamed, listing, tree),
            *(f"«{one_line(path)}» no cabe en ese sistema de ficheros (nombre o tamaño)" for path in self._refused),
            *_counted(
                "enlaces simbólicos, que ese sistema de ficheros no admite",
                self._links,
                one="enlace simbólico, que ese sistema de ficheros no admite",
            ),
            *_counted("dentro de directorios que no se pudieron crear", self._below_closed(tree)),
        ]

    def _below_closed(self, tree: Tree) -> list[str]:
        if not self._closed:
            return []
        return [entry.path for entry in tree if entry.kind is not EntryKind.DIRECTORY and self.is_closed(entry.path)]

    def unkept(self) -> list[str]:
        """Which attributes the destination has not kept, in Spanish, one text for each kind."""
        return [*_counted("permisos", self._modes, one="permiso"), *_counted("fechas", self._times, one="fecha")]


def _counted(what: str, paths: Sequence[str], one: str | None = None) -> list[str]:
    return [f"{counted(len(paths), one or what, what)} ({_first(paths)})"] if paths else []


def _first(paths: Sequence[str]) -> str:
    named = ", ".join(one_line(path or ".") for path in sorted(paths)[:NAMED_AT_MOST])
    return f"{named}, …" if len(paths) > NAMED_AT_MOST else named


def _told_names(in_the_way: Sequence[str], renamed: Sequence[str], listing: Listing, tree: Tree) -> Iterable[str]:
    """For each name that is missing, or that something else has, the name that exists in its place."""
    foreign = set(listing.foreign)
    others = _other_names([*in_the_way, *renamed], foreign, tree)
    told: dict[frozenset[str], str] = {}
    for path in sorted(in_the_way):
        other = _alias_of(path, others, listing, tree)
        text = (
            f"«{one_line(path)}» y «{one_line(other)}» son el mismo nombre ahí"
            if other
            else f"«{one_line(path)}»: ya hay ahí algo con ese nombre que no es de esta restauración, o que el disco "
            "no guardó como se escribió"
        )
        told.setdefault(frozenset((path, other or path)), text)
        foreign.discard(other or "")
    for path in sorted(renamed):
        other = next((name for name in others.get(loose(path), ()) if name != path), None)
        text = f"«{one_line(path)}» quedó con otro nombre" + (f", «{one_line(other)}»" if other else "")
        told.setdefault(frozenset((path, other or path)), text)
        foreign.discard(other or "")
    return [
        *told.values(),
        *_counted("cosas que no son de la ejecución", sorted(foreign), one="cosa que no es de la ejecución"),
    ]


def _other_names(paths: Iterable[str], foreign: Iterable[str], tree: Tree) -> dict[str, list[str]]:
    """For each path, all names here and in the manifest that a careless file system could take for it."""
    others: dict[str, list[str]] = {loose(path): [] for path in paths}
    if others:
        for path in (*foreign, *(tree.path(position) for position in range(len(tree)))):
            if (same := others.get(loose(path))) is not None:
                same.append(path)
    return others


def _alias_of(path: str, others: dict[str, list[str]], listing: Listing, tree: Tree) -> str | None:
    """The entry that shares one name with `path` in the destination: both are in the manifest, one is listed."""

    def is_listed(name: str) -> bool:
        position = tree.find(name)
        return position is None or bool(listing.present[position])

    return next((name for name in others[loose(path)] if name != path and is_listed(name) != is_listed(path)), None)


def loose(path: str) -> str:
    """Equal for names that some file system considers the same: in case, composition, or final dots and spaces."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", path).casefold())
    return "/".join(part.rstrip(" .") for part in folded.split("/"))
