"""A directory on an SSH server: objects are files below it, under their literal names."""

from __future__ import annotations

import contextlib
import functools
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from config.fields import FieldError, Fields
from config.logs import one_line
from config.models import ContentDigest, Evidence, ProviderRow, PutReceipt, StoredObject
from providers.base import (
    SLOWEST_HASHING_BYTES_PER_SECOND,
    TRANSFER_TIMEOUT_SECONDS,
    Provider,
    is_directory_of_keys,
    require_expected,
)
from providers.errors import AccessDenied, IntegrityError, InvalidProviderSettings, ProviderError, ProviderUnavailable
from providers.file_trees import (
    MeteredSource,
    is_temporary_name,
    names_to_discard,
    parts_of_key,
    parts_of_prefix,
    temporary_name,
)
from providers.probes import Remembered, folds_names
from providers.sftp.base_directory import NO_ATTRIBUTES, BaseDirectory, is_directory, is_file, post_open, size_of_file
from providers.sftp.continuation import (
    COPY_DATA,
    KeptFiles,
)
from providers.sftp.listing import Entry, Listing
from providers.sftp.packets import POSIX_RENAME, READ_FLAGS, Answer, Attributes, PacketType, StatusError, string
from providers.sftp.protocol import IN_FLIGHT_BYTES
from providers.sftp.server_hashing import HASH_COMMANDS, ServerHashing
from providers.sftp.sessions import SessionPool
from providers.sftp.ssh import CommandFailed, CommandUnanswered, read_settings
from providers.sftp.storing import GiveNames, Storing, discarded_on_error, post_content, require_stored
from providers.shared.resumed_reads import resumed
from providers.sources import BytesSource, Source

VERIFICATIONS = ("auto", "comando", "lectura")

KEYS_PER_COMMAND = 2000
"""Starting a command starts a login shell, often slower than hashing a thousand small files."""

NAME_BYTES_PER_COMMAND = 256 * 1024


class SftpProvider(Provider):
    """Keeps executions below `base_path`, which must exist.

    When `put` returns, the file is on the server's disk if the server has `fsync@openssh.com`; SFTP has no way to sync
    its directory entry.
    """

    only_conditions_stop_late_puts = False

    may_be_unmounted = True

    offload_threshold_bytes = 256 * 1024 * 1024
    """One process carries some 100 MB/s, however many files at once: the SSH protocol's packets are paramiko's work."""

    def __init__(self, row: ProviderRow) -> None:
        super().__init__(row.id, row.name, row.kind)
        try:
            if not isinstance(row.credentials, Mapping):
                raise FieldError("credenciales: debe ser un objeto JSON")
            options = Fields("configuracion", row.options)
            base_path = os.fsencode(options.required_text("base_path"))
            self._verification = options.text("verificacion", "auto")
            if self._verification not in VERIFICATIONS:
                raise FieldError(f"configuracion.verificacion: debe ser una de {', '.join(VERIFICATIONS)}")
            self._pool = SessionPool(read_settings(Fields("credenciales", row.credentials)))
        except FieldError as error:
            raise InvalidProviderSettings(str(error)) from error
        self._folds_names = Remembered(functools.partial(folds_names, self))
        self._kept = KeptFiles()
        self._base = BaseDirectory(base_path, self._pool)
        self._listing = Listing(self._base, self.progress)
        self._storing = Storing(self._base, self._kept, self.progress)
        self._hashing = ServerHashing(self._pool.run, self._probe_beside)

    @property
    def objects_at_once(self) -> int:
        return 16

    def put(self, key: str, source: Source) -> PutReceipt:
        [(_, receipt)] = self.put_many({key: source})
        return receipt

    def put_many(self, sources: Mapping[str, Source]) -> Iterator[tuple[str, PutReceipt]]:
        """See `Provider`. Requests each step for all files before it waits for an answer: three round trips in total.

        A file too large to lose as a whole with a session is stored over several sessions, if needed.
        """
        return self._store(sources, self._storing.rename)

    def put_new_many(self, sources: Mapping[str, Source]) -> Iterator[tuple[str, PutReceipt]]:
        """As `put_many`, by requests that replace nothing."""
        return self._store(sources, self._storing.rename_to_nothing)

    def _store(self, sources: Mapping[str, Source], give_names: GiveNames) -> Iterator[tuple[str, PutReceipt]]:
        if len(sources) == 1:
            [(key, source)] = sources.items()
            if source.size_bytes > IN_FLIGHT_BYTES:
                yield key, self._storing.put_large(key, source, lambda session, file: give_names(session, [file]))
                return
        with self._base.session(next(iter(sources), "")) as session:
            files = [
                self._storing.unfinished_file(session, key, MeteredSource(source)) for key, source in sources.items()
            ]
            with self._storing.unnamed(session, files):
                give_names(session, files)
        yield from ((file.key, file.source.receipt()) for file in files)

    def replace(self, key: str, source: Source, expected: StoredObject | None) -> PutReceipt:
        """See `Provider`. Checks again just before the rename; if nothing is expected, uses a request that replaces
        nothing.
        """
        give_name = functools.partial(self._storing.rename_over, expected)
        if source.size_bytes > IN_FLIGHT_BYTES:
            return self._storing.put_large(key, source, give_name)
        with self._base.session(key) as session:
            require_expected(key, self._base.find(session, key), expected)
            file = self._storing.unfinished_file(session, key, MeteredSource(source))
            with self._storing.unnamed(session, [file]):
                give_name(session, file)
        return file.source.receipt()

    def replaces_safely(self, prefix: str = "") -> bool:
        """If a rename is one atomic request: it fails once the unfinished file has been discarded."""
        with self._base.session(prefix) as session:
            return POSIX_RENAME in session.extensions

    def creates_safely(self, prefix: str = "") -> bool:
        """As `replaces_safely`."""
        return self.replaces_safely(prefix)

    def folds_names(self, prefix: str = "") -> bool:
        return self._folds_names.get(prefix)

    def open(self, key: str) -> Iterator[bytes]:
        return self.open_from(key, 0, 0)

    def open_from(self, key: str, size_bytes: int, start_bytes: int) -> Iterator[bytes]:
        reading = _Reading(key)
        return resumed(lambda position: self._read_from(reading, start_bytes + position), self.progress)

    def _read_from(self, reading: _Reading, position: int) -> Iterator[bytes]:
        """The bytes of one object from a position on, by one session."""
        parts = parts_of_key(reading.key)
        with self._base.reading_session(reading.key) as session:
            path = self._base.path(session, parts)
            looked = session.post(PacketType.LSTAT, string(path))
            opened = session.post(PacketType.OPEN, string(path) + struct.pack(">I", READ_FLAGS) + NO_ATTRIBUTES)
            size_bytes = reading.require_same(session.answer(looked))
            handle = session.answer(opened).handle()
            for chunk in session.read_file(handle, size_bytes, position):
                position += len(chunk)
                if position > size_bytes:
                    raise IntegrityError(
                        f"el servidor da más de los {size_bytes} bytes que dice tener: {one_line(reading.key)}"
                    )
                yield chunk
            session.post(PacketType.CLOSE, string(handle))
            session.settle()

    def stat(self, key: str) -> StoredObject:
        with self._base.session(key) as session:
            return self._base.look_at(session, key)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        for directory, name, attributes in self._listing.entries(prefix):
            if is_file(attributes) and not is_temporary_name(name):
                yield StoredObject("/".join((*directory, name)), attributes.size_bytes or 0)

    def top_names(self) -> Sequence[str]:
        return [name for page in self._listing.pages("", [()]) for _, name, _ in page]

    def delete(self, key: str) -> None:
        *directories, name = parts_of_key(key)
        with self._base.session(key) as session:
            path = self._base.path(session, directories, name)
            removed = session.post(PacketType.REMOVE, string(path))
            looked = session.post(PacketType.LSTAT, string(path))
            self._base.post_removals(session, [directories])
            _require_gone(session.answer(removed), session.answer(looked))
            session.settle()

    def discard_unfinished(self, prefix: str) -> None:
        if is_directory_of_keys(prefix):
            self._discard_below(prefix, self._kept.forget_below)
        else:
            self._discard_one(prefix)

    def discard_unfinished_but_for(self, prefix: str, is_wanted: Callable[[str], bool]) -> bool:
        """See `Provider`. Keeps large files whose bytes the server can copy, also of other keys: a file's name does not
        say which.
        """
        with self._base.session(prefix) as session:
            can_copy = COPY_DATA in session.extensions
        if not can_copy or not is_directory_of_keys(prefix):
            return super().discard_unfinished_but_for(prefix, is_wanted)
        return self._discard_below(prefix, self._kept.keep_below)

    def hand_over_unfinished(self, keys: Iterable[str]) -> Sequence[object]:
        return self._kept.hand_over(keys)

    def continue_with(self, kept: Sequence[object]) -> None:
        self._kept.add(kept)

    def _discard_below(self, prefix: str, to_discard: Callable[[str, Sequence[Entry]], Sequence[Entry]]) -> bool:
        """Discard the unfinished files below the prefix that `to_discard` selects; whether others stay.

        All of them belong to keys below the prefix.
        """
        start = parts_of_prefix(prefix)
        if start is None:
            return False
        visited = {tuple(start[0])}
        unfinished: list[Entry] = []
        for directory, name, attributes in self._listing.entries(prefix):
            if is_directory(attributes):
                visited.add((*directory, name))
            elif is_temporary_name(name):
                unfinished.append((directory, name, attributes))
        discarded = to_discard(prefix, unfinished)
        with self._base.session(prefix) as session:
            for directory, name, _ in discarded:
                session.post(PacketType.REMOVE, string(self._base.path(session, directory, name)))
            self._base.post_removals(session, sorted(visited, key=len, reverse=True))
            session.settle()
        return len(discarded) < len(unfinished)

    def _discard_one(self, key: str) -> None:
        *directories, target = parts_of_key(key)
        names = names_to_discard(target, self._unfinished_in(key, directories), lambda: self._server_time(key))
        with self._base.session(key) as session:
            for name in names:
                session.post(PacketType.REMOVE, string(self._base.path(session, directories, name)))
            self._base.post_removals(session, [directories])
            session.settle()

    def _unfinished_in(self, key: str, directories: Sequence[str]) -> Mapping[str, int | None]:
        """The last modification time of each unfinished file."""
        pages = self._listing.pages(key, [tuple(directories)])
        named = ((name, attributes) for page in pages for _, name, attributes in page)
        return {name: attributes.mtime for name, attributes in named if is_temporary_name(name)}

    def _server_time(self, key: str) -> int | None:
        """The server's clock, taken from a new file; `None` if none can be stored, as on a full disk."""
        try:
            with self._probe_beside(key, b"") as path, self._base.session(key) as session:
                return session.ask(PacketType.LSTAT, string(path)).attributes().mtime
        except CommandUnanswered:
            return None

    def digests(self, keys: Iterable[str]) -> Iterator[ContentDigest]:
        """See `Provider`. The server computes them if the account may run commands; otherwise objects are read back."""
        for batch in _batches(keys):
            computed = self._computed_digests(batch)
            yield from super().digests(batch) if computed is None else computed

    def free_bytes(self) -> int | None:
        """See `Provider`."""
        return self._base.free_bytes()

    def close(self) -> None:
        self._pool.close()

    def _computed_digests(self, keys: Sequence[str]) -> Sequence[ContentDigest] | None:
        """The hashes computed by the server; `None` if it cannot. Raises `ObjectNotFound`."""
        if self._verification == "lectura":
            return None
        try:
            self._hashing.require_hope()
            paths, size_bytes = self._look_for_all(keys)
            deadline_seconds = TRANSFER_TIMEOUT_SECONDS + size_bytes / SLOWEST_HASHING_BYTES_PER_SECOND
            hashes = self._hashing.hash_files(keys[0], paths, deadline_seconds)
        except CommandFailed as error:
            if self._verification == "comando":
                programs = " ni ".join(command.program for command in HASH_COMMANDS)
                raise AccessDenied(
                    f"configuracion.verificacion es 'comando' y en el servidor no se puede usar ni {programs}: {error}"
                ) from error
            return None
        return [ContentDigest(key, sha256, Evidence.CHECKSUM) for key, sha256 in zip(keys, hashes, strict=True)]

    def _look_for_all(self, keys: Sequence[str]) -> tuple[Sequence[bytes], int]:
        """The paths of existing files, and their total size. Raises `ObjectNotFound`."""
        with self._base.session(keys[0]) as session:
            paths = [self._base.path(session, parts_of_key(key)) for key in keys]
            numbers = [session.post(PacketType.LSTAT, string(path)) for path in paths]
            answers = [session.answer(number) for number in numbers]
            return paths, sum(size_of_file(answer, key) for answer, key in zip(answers, keys, strict=True))

    @contextlib.contextmanager
    def _probe_beside(self, key: str, content: bytes) -> Iterator[bytes]:
        """The path of a small temporary file in a key's directory.

        Raises `ProviderUnavailable`, and `CommandUnanswered` if nothing can be stored.
        """
        try:
            path = self._store_probe(key, content)
        except ProviderUnavailable:
            raise
        except ProviderError as error:  # a full disk, say, must not prevent proving what it holds
            raise CommandUnanswered("no se pudo guardar un fichero de prueba") from error
        try:
            yield path
        finally:
            with self._base.session(key) as session:
                session.post(PacketType.REMOVE, string(path))
                session.settle()

    def _store_probe(self, key: str, content: bytes) -> bytes:
        """Store an unfinished file in a key's directory, and return its path."""
        *directories, name = parts_of_key(key)
        with self._base.session(key) as session:
            path = self._base.path(session, directories, temporary_name(name))
            handle = self._base.create(session, directories, path, post_open(session, path))
            with discarded_on_error(session, [handle], [path]):
                source = MeteredSource(BytesSource(content))
                require_stored(session, post_content(session, handle, path, source), source)
        return path


class _Reading:
    """An object read over several sessions if needed, all of which must see the same object."""

    def __init__(self, key: str) -> None:
        self.key = key
        self._first_seen: Attributes | None = None

    def require_same(self, answer: Answer) -> int:
        """The size in an answer to LSTAT. Raises `ObjectNotFound`, `IntegrityError` for another object than before."""
        size_bytes = size_of_file(answer, self.key)
        attributes = answer.attributes()
        if self._first_seen is None:
            self._first_seen = attributes
        elif attributes != self._first_seen:
            raise IntegrityError(f"el objeto cambió mientras se leía: {one_line(self.key)}")
        return size_bytes


def _require_gone(removed: Answer, looked: Answer) -> None:
    """Raises `StatusError` if a file could not be removed and still exists."""
    try:
        removed.require_ok()
    except StatusError:
        if looked.packet_type == PacketType.ATTRIBUTES and is_file(looked.attributes()):
            raise


def _batches(keys: Iterable[str]) -> Iterator[Sequence[str]]:
    """Keys in groups of the size of one command."""
    batch: list[str] = []
    name_bytes = 0
    for key in keys:
        batch.append(key)
        name_bytes += len(os.fsencode(key))
        if len(batch) == KEYS_PER_COMMAND or name_bytes >= NAME_BYTES_PER_COMMAND:
            yield batch
            batch, name_bytes = [], 0
    if batch:
        yield batch
