"""The world of one history: the platform's rows and directories, hosts, stores, and what was promised to whom.

`World.begin` makes it again, `play` takes one step, `require_nothing_lost` says whether the last copy of anything is
gone. What the platform itself destroys or gives up (it writes an execution's directory again) is no loss of the daemon.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import psycopg2
import pytest

import files.walk
import providers
import sql.tables.schema
import storage.lease
from config.process.person import Person
from config.settings import Settings, load_settings
from janitor_daemon import JanitorDaemon
from jobs.locks import LockHeld
from jobs.rehome.settings import RehomeSettings
from jobs.tick import Request, RunOptions
from sql.database import Database
from storage.keys import MANIFEST_SUFFIX, Place, place_from_uri
from storage.manifest import read_manifest
from tests.databases.platform_database import Platform
from tests.model import stores
from tests.model.runs import Cut, Killed, Run, Runs, watch
from tests.model.stores import MemoryStore

SHARED, ONLY_ON_A, STAGING = "shared", "only-on-a", "staging"
SLOTS = (f"{SHARED}/e0", f"{SHARED}/e1", f"{ONLY_ON_A}/e2", f"{STAGING}/e0", f"{STAGING}/e1", f"{STAGING}/e2")
"""Where executions lie. The first two are seen by both hosts of production, the third by one, the others by staging."""

PRODUCTION_SLOTS = 3
UUIDS = ("u0", "u1", "u2", "U0")
PREFIXES = ("", "p", "ejecuciones/u0")
"""The last one lies in the place that the first execution has without a prefix."""

LEASE_OVER_SECONDS = 1200
"""Longer than a lease lasts."""

PAUSE_SECONDS = 2
"""How long the shortest stop takes: longer than an answer about a lease counts."""

OPERATOR = Person("operator", "janitor-daemon hold")

REMOVING = ("rename", "unlink", "rmdir")

FOUND_DAMAGED = (
    "INSERT INTO janitor_audits (execution_id, provider_id, uri, audited_at, state, evidence) "
    "SELECT execution_id, provider_id, uri, now(), 'damaged', 'read-back' "
    "FROM janitor_migrations WHERE execution_id = %s "
    "ON CONFLICT (execution_id) DO UPDATE SET provider_id = excluded.provider_id, uri = excluded.uri, "
    "audited_at = excluded.audited_at, state = excluded.state"
)

Content = Mapping[str, bytes]


class Loss(AssertionError):
    """The last copy of something is gone, or a row says what is not so."""


@dataclass(frozen=True)
class Commit:
    """A row that came to say that its execution lies in a store."""

    row: int
    slot: int
    uuid: str
    store: MemoryStore
    place: Place
    provider_id: int

    @property
    def place_of_bytes(self) -> tuple[str, Place]:
        """Where it lies, whatever its provider is called."""
        return self.store.name, self.place

    def content(self) -> Content | None:
        """The bytes of what is there as its manifest says; `None` for no complete copy of this execution."""
        manifest = self.store.get(self.place.manifest_key)
        if manifest is None:
            return None
        uuid, sha256_by_path = _uuid_and_files(manifest.content)
        if uuid != self.uuid:
            return None
        found: dict[str, bytes] = {}
        for path, sha256 in sha256_by_path.items():
            held = self.store.get(self.place.key_of(path))
            if held is None or _sha256(held.content) != sha256:
                return None
            found[path] = held.content
        return found


@functools.lru_cache
def _uuid_and_files(manifest: bytes) -> tuple[str, Mapping[str, str]]:
    """Whose manifest it is, and the hashes of the files that it names. The same one is read after every step."""
    files = {entry.path: entry.sha256 for entry in read_manifest(manifest) if entry.sha256 is not None}
    return json.loads(manifest)["execution"], files


@functools.lru_cache
def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Held(NamedTuple):
    """What an operator who holds an execution counts on."""

    slot: int
    """The directory, all of which stays, if `has_local_copy`."""
    has_local_copy: bool
    commit: Commit | None
    """The copy to which its row points, and continues to point."""


class Backup(NamedTuple):
    """What production's database held once, and what was known of it then."""

    dump: Dump
    rows: Sequence[int]
    migrated: Mapping[int, Commit]
    buckets: Mapping[int, str]


@dataclass
class Installation:
    """One database with its hosts. `migrated` are the rows that say so, as they were last seen."""

    platform: Platform
    hosts: Mapping[str, Path]
    root: str
    rows: list[int] = field(default_factory=list)
    migrated: dict[int, Commit] = field(default_factory=dict)
    buckets: dict[int, str] = field(default_factory=dict)
    inherited: frozenset[int] = frozenset()
    """Rows that were copied from another database, whose executions stay in that one's hands, or from a backup."""
    damaged: set[Commit] = field(default_factory=set)
    """Copies of which somebody has taken an object away, and whose directories were still there."""


class World:
    """Everything that a history acts on. Used for many histories, one after the other."""

    def __init__(self, production: Platform, staging: Platform, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._root = root
        self._own = {"A": root / "host-a", "B": root / "host-b", "S": root / "host-s"}
        for directory in self._own.values():
            directory.mkdir()
        self._data = root / "data"
        self._platforms = production, staging
        self._settings: dict[str, Settings] = {}
        self._late_seconds = 0.0
        self.histories = 0
        """How many were played in it."""
        self.said: list[str] = []
        self.runs = Runs()
        self._patch(monkeypatch)

    def _patch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put the model in the place of providers and clocks, and its boundaries before all that changes something."""
        real_now = storage.lease.now
        monkeypatch.setattr(storage.lease, "now", lambda: real_now() + self._late_seconds)
        monkeypatch.setattr(files.walk, "time", _ClockAhead())
        monkeypatch.setattr(sql.tables.schema, "known_upgrades", functools.cache(sql.tables.schema.known_upgrades))
        for kind, provider_class in stores.KINDS.items():
            monkeypatch.setitem(providers.KINDS, kind, (stores.__name__, provider_class.__name__))
        watch(monkeypatch, self._reach)
        self._listener = _Listener(self.said)
        monkeypatch.setattr(logging.getLogger("janitor_daemon"), "handlers", [])
        monkeypatch.setattr(logging.getLogger("janitor_daemon"), "propagate", False)
        monkeypatch.setattr(logging.getLogger("janitor_daemon"), "level", logging.INFO)

    def _reach(self, step: str, detail: str) -> None:
        self.runs.reach_own_step(step, detail)  # those of the present history

    def begin(self, kinds: Sequence[str], buckets: Sequence[str], *, folds_case: bool = False) -> None:
        """Make everything again: one provider for each of `kinds`, each with the bucket of `buckets` at its place."""
        logging.getLogger("janitor_daemon").handlers[:] = [self._listener]  # and nobody else's, as each costs time
        self.histories += 1
        self.said.clear()
        self._late_seconds = 0.0
        shutil.rmtree(self._data, ignore_errors=True)
        for part in (SHARED, ONLY_ON_A, STAGING):
            (self._data / part).mkdir(parents=True)
        self.runs = Runs()
        stores.network.wire = self.runs
        stores.network.stores = {name: MemoryStore(name, folds_case=folds_case) for name in ("one", "two")}
        self.promised: dict[int, Content] = {}
        self.written: dict[int, list[Content]] = {slot: [] for slot in range(len(SLOTS))}
        self._inodes: dict[int, set[int]] = {slot: set() for slot in range(len(SLOTS))}
        self.commits: list[Commit] = []
        self._written_files = 0
        self._lost_directories: set[int] = set()
        self.is_cloned = False
        self._backup: Backup | None = None
        self._forgotten_places: set[str] = set()
        self.held: dict[int, Held] = {}
        self.of_others: dict[tuple[str, str], bytes] = {}
        clear(self._platforms[0])
        self._kinds = kinds
        self.production = Installation(self._platforms[0], {name: self._own[name] for name in "AB"}, SHARED)
        self.staging = Installation(self._platforms[1], {"S": self._own["S"]}, STAGING)
        for number, (kind, bucket) in enumerate(zip(kinds, buckets, strict=True), 1):
            self.production.platform.sql(
                "INSERT INTO cloud_providers (id, nombre, tipo, credenciales, configuracion) "
                "VALUES (%s, %s, %s, %s, %s)",
                number, f"provider-{number}", kind, "{}", json.dumps(options_of(kind, bucket)),
            )  # fmt: skip
            self.production.buckets[number] = bucket
        self.production.platform.sql(
            "INSERT INTO ejecuciones_config (nube_primaria_id, nubes_alternativas, tiempo_retencion_local, "
            "prefijo_ruta_nube, eliminar_despues_de_migrar) VALUES (1, %s, 0, '', true)",
            list(range(2, len(kinds) + 1)),
        )

    def end(self) -> None:
        """Let no run live on."""
        while self.runs.parked:
            self.runs.kill(self.runs.parked[0])

    # The platform's directories

    def path_of(self, slot: int) -> Path:
        """Where an execution lies."""
        return self._data / SLOTS[slot]

    def write(self, slot: int, tag: str, names: Sequence[str]) -> None:
        """Write an execution's directory, from now on with these files: what was there before is given up."""
        directory = self.path_of(slot)
        shutil.rmtree(directory, ignore_errors=True)
        content = {name: self._new_bytes(tag) for name in names}
        for name, data in content.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        directory.mkdir(parents=True, exist_ok=True)
        self._inodes[slot].add(directory.stat().st_ino)
        self._promise(slot, content)

    def _new_bytes(self, tag: str) -> bytes:
        """Bytes that nothing else has, of one size, whose short checksum is that of all with this tag."""
        self._written_files += 1
        return f"{tag}{self._written_files:04d}".encode()

    def _promise(self, slot: int, content: Content) -> None:
        self.promised[slot] = content
        self.written[slot].append(content)

    def swap_bytes(self, slot: int, *, in_place: bool) -> bool:
        """Give the first file of a directory other bytes of the same size and the same short checksum."""
        content = dict(self.promised.get(slot, {}))
        if not content or not self._is_at(self.path_of(slot), content):
            return False
        name = min(content)
        content[name] = self._new_bytes(content[name][:1].decode())
        path = self.path_of(slot) / name
        if in_place:
            _write_in_place(path, content[name])
        else:
            new = path.with_name("new")
            new.write_bytes(content[name])
            new.replace(path)
        self._promise(slot, content)
        return True

    def take_back(self, slot: int) -> bool:
        """Give a directory that is called otherwise by now its name back: what is left in it is what it holds now, and
        may be migrated, but what it held before is still to be kept.
        """
        path = self.path_of(slot)
        if path.exists() or not self.written[slot]:
            return False
        for other in path.parent.iterdir():
            if other.stat().st_ino in self._inodes[slot]:
                other.rename(path)
                self.written[slot].append(_content_of(path))
                return True
        return False

    # What operators and others do

    @functools.cached_property
    def operators(self) -> Database:
        """Production's database, as operators see it on a host."""
        return self._platforms[0].database("A")

    def rows_of(self, uuid: str) -> list[int]:
        """Production's rows with a uuid."""
        found = self.production.platform.sql("SELECT id FROM ejecuciones_yaml WHERE uuid::text = %s", uuid)
        return [row["id"] for row in found]

    def note_held(self, row: int) -> None:
        """From now on an execution is held, if it is: see what it has. A removal that stands still before its next step
        has asked before, and takes that one.
        """
        if not self.production.platform.value("SELECT EXISTS (SELECT FROM janitor_holds WHERE execution_id = %s)", row):
            return
        directory = self.production.platform.value("SELECT ruta_directorio FROM ejecuciones_yaml WHERE id = %s", row)
        slot = self.slot_of(directory)
        is_removing = any(run.steps and run.steps[-1].startswith(REMOVING) for run in self.runs.parked)
        has_local_copy = not is_removing and self.has_local_copy(slot)
        self.held[row] = Held(slot, has_local_copy, self.production.migrated.get(row))

    def release_all(self) -> None:
        """Operators release what is held, and have taken up again what is in quarantine."""
        waiting = self.production.platform.sql(
            "SELECT uuid FROM janitor_holds "
            "UNION SELECT uuid FROM janitor_migrations WHERE quarantined_at IS NOT NULL ORDER BY uuid"
        )
        for row in waiting:
            self.operators.orders.release(row["uuid"], OPERATOR)
            self.operators.orders.retry(row["uuid"], OPERATOR)
        self.held.clear()

    def let_go(self, row: int) -> None:
        """Nobody counts on it any more: it was released, or the platform changed its row."""
        self.held.pop(row, None)

    def take_object_away(self, row: int) -> None:
        """Somebody removes the first object of a copy whose directory is still there."""
        commit = self.production.migrated.get(row)
        content = None if commit is None else commit.content()
        if commit is None or not content or not self._is_at(self.path_of(commit.slot), content) or self.runs.parked:
            return
        commit.store.delete(commit.place.key_of(min(content)))
        self.production.damaged.add(commit)

    def rot_object(self, row: int) -> None:
        """The first object of a copy gets other bytes, where something else holds the right ones, and an audit has
        found that.
        """
        commit = self.production.migrated.get(row)
        content = None if commit is None else commit.content()
        if commit is None or not content or self.runs.parked:
            return
        others = [other.content() for other in self.commits if other.place_of_bytes != commit.place_of_bytes]
        if not self._is_at(self.path_of(commit.slot), content) and content not in others:
            return
        commit.store.put(commit.place.key_of(min(content)), content[min(content)][::-1])
        self.production.damaged.add(commit)
        self.production.platform.sql(FOUND_DAMAGED, row)

    def lose_directory(self, slot: int) -> None:
        """A directory of which a whole copy is stored vanishes, whether or not a row knows of that copy."""
        content = self.promised.get(slot)
        if content and self._is_stored(content) and not self.runs.parked:
            shutil.rmtree(self.path_of(slot), ignore_errors=True)
            self._lost_directories.add(slot)

    def _is_stored(self, content: Content) -> bool:
        """Whether a whole copy with a manifest is in any store."""
        return any(
            Commit(0, 0, json.loads(held.content)["execution"], store, Place(place), 0).content() == content
            for store in stores.network.stores.values()
            for held in store.below("")
            if (place := held.key.removesuffix(MANIFEST_SUFFIX)) != held.key and held.content
        )

    def leave_object(self, key_prefix: str, bucket: str) -> None:
        """Somebody else stores an object at a place where this program has never stored anything."""
        asked = "SELECT EXISTS (SELECT FROM janitor_attempts WHERE key_prefix = %s)"
        if key_prefix in self._forgotten_places or any(
            installation.platform.value(asked, key_prefix) for installation in self.installations()
        ):
            return
        key = f"{key_prefix}/a"
        self.of_others[bucket, key] = b"others"
        stores.network.stores[bucket].put(key, b"others")

    # The platform's rows

    def point_provider(self, number: int, bucket: str) -> None:
        """Let the row of a provider lead to another bucket."""
        self.production.platform.sql(
            "UPDATE cloud_providers SET configuracion = %s WHERE id = %s",
            json.dumps(options_of(self._kinds[number - 1], bucket)), number,
        )  # fmt: skip
        self.production.buckets[number] = bucket

    def clone(self, changed_slot: int | None) -> None:
        """Give staging a copy of production's database, and of its directories, one of which may be written again."""
        copy_tables(self.production.platform, self.staging.platform)
        self.staging.platform.sql(
            "UPDATE ejecuciones_yaml SET ruta_directorio = %s || '/e' || right(ruta_directorio, 1)",
            str(self._data / STAGING),
        )
        self.staging.buckets = dict(self.production.buckets)
        self.staging.migrated = {
            row: replace(commit, slot=commit.slot + PRODUCTION_SLOTS)
            for row, commit in self.production.migrated.items()
        }
        self.staging.inherited = frozenset(self.staging.migrated)
        for slot in range(PRODUCTION_SLOTS):
            self.written[slot + PRODUCTION_SLOTS] = list(self.written[slot])
            if self.path_of(slot).exists():
                copy = shutil.copytree(self.path_of(slot), self.path_of(slot + PRODUCTION_SLOTS))
                self._inodes[slot + PRODUCTION_SLOTS].add(copy.stat().st_ino)
                if self._is_at(self.path_of(slot), self.promised.get(slot, {})):
                    self.promised[slot + PRODUCTION_SLOTS] = self.promised[slot]
                if slot == changed_slot:
                    self.swap_bytes(slot + PRODUCTION_SLOTS, in_place=False)
        self.is_cloned = True

    def back_up(self) -> None:
        """Keep what production's database holds now."""
        rows, migrated = list(self.production.rows), dict(self.production.migrated)
        self._backup = Backup(dump_tables(self.production.platform), rows, migrated, dict(self.production.buckets))

    def restore_database(self) -> None:
        """Give production's database what it held at the backup, as people do who have ended all runs before. What it
        says of copies may have come to be wrong since; that nothing is lost must hold all the same.
        """
        if self._backup is None:
            return
        self.end()
        known = self.production.platform.sql("SELECT DISTINCT key_prefix FROM janitor_attempts")
        self._forgotten_places.update(row["key_prefix"] for row in known)
        load_tables(self.production.platform, self._backup.dump)
        self.production.rows = list(self._backup.rows)
        self.production.migrated = dict(self._backup.migrated)
        self.production.buckets = dict(self._backup.buckets)
        self.production.inherited = frozenset(self.production.migrated)
        self.held.clear()

    # Time, hosts, runs

    def let_time_pass(self, seconds: float) -> None:
        """For all hosts and databases."""
        self._late_seconds += seconds
        self.runs.clock_seconds = self._late_seconds
        for installation in self.installations():
            installation.platform.sql(
                "UPDATE janitor_migrations SET lease_expires_at = lease_expires_at - make_interval(secs => %s) "
                "WHERE lease_expires_at IS NOT NULL; "
                "UPDATE janitor_migrations SET next_try_at = next_try_at - make_interval(secs => %s) "
                "WHERE next_try_at IS NOT NULL; "
                "UPDATE janitor_provider_health SET until = until - make_interval(secs => %s); "
                "UPDATE janitor_rehomes SET next_at = next_at - make_interval(secs => %s) WHERE next_at IS NOT NULL; "
                "UPDATE janitor_jobs SET lease_expires_at = lease_expires_at - make_interval(secs => %s) "
                "WHERE lease_expires_at IS NOT NULL; "
                "UPDATE janitor_attempts SET closed_until = closed_until - make_interval(secs => %s) "
                "WHERE closed_until IS NOT NULL",
                *[seconds] * 6,
            )  # fmt: skip

    def installations(self) -> list[Installation]:
        """Production, and staging once there is any."""
        return [self.production, self.staging] if self.is_cloned else [self.production]

    def hosts(self) -> list[str]:
        """Those of every installation."""
        return [host for installation in self.installations() for host in installation.hosts]

    def installation_of(self, host: str) -> Installation:
        """The one that a host belongs to."""
        return self.staging if host == "S" else self.production

    def tick(self, host: str, cut: Cut | None = None, job: str = "migration") -> Run:
        """One run of one of the daemon's jobs, until its end or until it stands still."""
        settings = self.settings_of(host)
        request = Request(only=frozenset({job}), due_or_not=job != "migration")
        return self.run(host, lambda: JanitorDaemon(settings, RunOptions(request)).run(), cut)

    def settings_of(self, host: str) -> Settings:
        """The settings of a host."""
        if host not in self._settings:
            self._settings[host] = self._load_settings(host, self.installation_of(host))
        return self._settings[host]

    def _load_settings(self, host: str, installation: Installation) -> Settings:
        return load_settings(
            {
                "DATABASE_URL": installation.platform.database_url,
                "JANITOR_ROOTS": f"{self._data}",
                "JANITOR_LOCK_DIR": str(self._own[host]),
                "JANITOR_HOST": host,
                "JANITOR_TRANSFERS": "1",
                "JANITOR_PROCESSES": "1",
                "JANITOR_MAX_ATTEMPTS": "2",
                "JANITOR_REHOME": "on",
            },
            lambda: (RehomeSettings,),
        )

    def run(self, host: str, body: Callable[[], int], cut: Cut | None) -> Run:
        """Something that a host does, until its end or until it stands still."""
        installation = self.installation_of(host)
        run = Run(host, body, cut)
        run.buckets = dict(installation.buckets)
        with self._seen_by(host):
            self.runs.start(run)
        self._note_commits(run)
        return run

    def resume(self, run: Run) -> None:
        """Let a run that stands still go on to its end; some time has passed meanwhile."""
        self.let_time_pass(PAUSE_SECONDS)
        with self._seen_by(run.host):
            self.runs.resume(run)
        self._note_commits(run)

    @contextlib.contextmanager
    def _seen_by(self, host: str) -> Iterator[None]:
        """Within, the disk looks as it does on a host."""
        if host != "B":
            yield
            return
        hidden = self._root / "hidden"
        (self._data / ONLY_ON_A).rename(hidden)
        try:
            yield
        finally:
            hidden.rename(self._data / ONLY_ON_A)

    def _note_commits(self, run: Run) -> None:
        """What rows say since a run moved on, and whether it ended as a run may."""
        if run.is_over and not isinstance(run.error, (Killed, LockHeld, type(None))):
            raise Loss(f"the run on {run.host} broke down: {run.error!r}") from run.error
        installation = self.installation_of(run.host)
        found = installation.platform.sql(
            "SELECT id, uuid::text AS uuid, ruta_directorio, ruta_nube, nube_provider_id FROM ejecuciones_yaml "
            "WHERE migrado_a_nube ORDER BY id"
        )
        for row in found:
            place = place_from_uri(row["ruta_nube"])
            last = installation.migrated.get(row["id"])
            if last is None or (last.provider_id, last.place) != (row["nube_provider_id"], place):
                store = stores.network.stores[run.buckets[row["nube_provider_id"]]]
                slot = last.slot if last else self.slot_of(row["ruta_directorio"])
                commit = Commit(row["id"], slot, row["uuid"], store, place, row["nube_provider_id"])
                installation.migrated[row["id"]] = commit
                installation.damaged.discard(commit)
                self.commits.append(commit)
        for taken_back in installation.migrated.keys() - {row["id"] for row in found}:
            del installation.migrated[taken_back]

    def slot_of(self, directory: str) -> int:
        """Whose directory it is."""
        return SLOTS.index(os.path.relpath(directory, self._data))

    # What must hold

    def require_nothing_lost(self) -> None:
        """Raises `Loss`."""
        copies = [content for commit in self.commits if (content := commit.content()) is not None]
        for slot, content in self.promised.items():
            is_kept = self._is_at(self.path_of(slot), content) or content in copies or self._is_anywhere(content)
            if not is_kept and not (slot in self._lost_directories and self._is_stored(content)):
                raise Loss(f"nothing holds any more what was written to {SLOTS[slot]}: {content}")
        for installation in self.installations():
            for row, commit in installation.migrated.items():
                if row not in installation.inherited and commit not in installation.damaged:
                    self._require_copy(commit)
        self.require_held()
        for (name, key), left in self.of_others.items():
            there = stores.network.stores[name].get(key)
            if there is None or there.content != left:
                raise Loss(f"{key} at {name} is of somebody else, and is gone or was replaced")

    def require_held(self) -> None:
        """Raises `Loss` where something of what is held was moved or removed."""
        for row, held in self.held.items():
            if held.has_local_copy and not self._is_anywhere(self.promised[held.slot]):
                raise Loss(f"the row {row} is held, and {SLOTS[held.slot]} is not whole any more")
            if held.commit is not None and self.production.migrated.get(row) != held.commit:
                raise Loss(f"the row {row} is held, and does not point to {held.commit.place.key_prefix} any more")

    def _require_copy(self, commit: Commit) -> None:
        content = commit.content()
        where = f"the row {commit.row} points to {commit.place.key_prefix} at {commit.store.name}, where"
        if content is None:
            raise Loss(f"{where} no complete copy of {commit.uuid} is")
        if content not in self.written[commit.slot]:
            raise Loss(f"{where} {content} lies, which {SLOTS[commit.slot]} never held")

    def has_local_copy(self, slot: int) -> bool:
        """Whether a directory has, under its own name, what was written to it last."""
        return self._is_at(self.path_of(slot), self.promised.get(slot, {}))

    def _is_at(self, directory: Path, content: Content) -> bool:
        return all(_bytes_at(directory / name) == data for name, data in content.items()) and directory.is_dir()

    def _is_anywhere(self, content: Content) -> bool:
        return any(self._is_at(Path(path), content) for path, _, _ in os.walk(self._root))

    def is_at_rest(self, installation: Installation) -> bool:
        """Whether a run would find nothing to do."""
        return not installation.platform.value(UNREST)

    def require_nothing_left_over(self) -> None:
        """Raises `Loss` for what two ordinary ticks should have cleared away."""
        for installation in self.installations():
            open_attempts = installation.platform.sql("SELECT * FROM janitor_attempts WHERE state = 'open'")
            leases = installation.platform.sql("SELECT * FROM janitor_migrations WHERE lease_expires_at IS NOT NULL")
            if open_attempts or leases:
                raise Loss(f"left over: {open_attempts} {leases}")
        known = {Path(slot).name for slot in SLOTS}
        strange = [path.name for part in self._data.iterdir() for path in part.iterdir() if path.name not in known]
        if strange:
            raise Loss(f"left over: {strange}")


UNREST = """
SELECT EXISTS (SELECT FROM ejecuciones_yaml WHERE migrado_a_nube IS NOT TRUE)
    OR EXISTS (SELECT FROM janitor_attempts WHERE state NOT IN ('committed', 'settled'))
    OR EXISTS (SELECT FROM janitor_migrations WHERE lease_expires_at IS NOT NULL OR local_copy = 'deleting')
"""

TABLES = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
SEQUENCES = "SELECT relname FROM pg_class WHERE relkind = 'S' AND relnamespace = 'public'::regnamespace"
COLUMNS = """
SELECT attname FROM pg_attribute
WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
"""
"""Of one table, those that are written and not computed."""

KEPT_TABLES = frozenset(("janitor_upgrades", "janitor_job_upgrades"))


def options_of(kind: str, bucket: str) -> dict[str, str]:
    """What a row of a kind needs to lead to a store in memory: a field of others costs a warning each time."""
    return {stores.KINDS[kind].location_field: bucket}


def clear(platform: Platform) -> None:
    """Empty every table: for a few rows quicker than TRUNCATE, which makes new files."""
    statements = [f"DELETE FROM {table}" for table in tables_of(platform)]  # noqa: S608
    statements += [f"SELECT setval('{sequence}', 1, false)" for sequence in sequences_of(platform)]
    platform.sql("; ".join(statements))


@functools.cache
def tables_of(platform: Platform) -> list[str]:
    """Those with rows of executions, runs and the like."""
    return [row["relname"] for row in platform.sql(TABLES) if row["relname"] not in KEPT_TABLES]


@functools.cache
def sequences_of(platform: Platform) -> list[str]:
    """What numbers the rows of those tables."""
    return [row["relname"] for row in platform.sql(SEQUENCES)]


class Dump(NamedTuple):
    """What a database holds: the rows of each table as JSON, and where each sequence stands."""

    tables: Mapping[str, str]
    sequences: Mapping[str, tuple[int, bool]]


def dump_tables(source: Platform) -> Dump:
    """A backup of a database."""
    rows = "SELECT coalesce(json_agg(one), '[]')::text FROM {} AS one"
    tables = {table: source.value(rows.format(table)) for table in tables_of(source)}
    states = {name: source.sql(f"SELECT last_value, is_called FROM {name}")[0] for name in sequences_of(source)}  # noqa: S608
    return Dump(tables, {name: (state["last_value"], state["is_called"]) for name, state in states.items()})


def load_tables(target: Platform, dump: Dump) -> None:
    """Give a database of the same tables what a backup holds, and nothing else."""
    clear(target)
    for table, rows in dump.tables.items():
        columns = ", ".join(row["attname"] for row in target.sql(COLUMNS, table))
        target.sql(
            f"INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE "  # noqa: S608
            f"SELECT {columns} FROM json_populate_recordset(NULL::{table}, %s)",
            rows,
        )
    for sequence, state in dump.sequences.items():
        target.sql("SELECT setval(%s, %s, %s)", sequence, *state)


def copy_tables(source: Platform, target: Platform) -> None:
    """Make a database an exact copy of another one of the same tables."""
    load_tables(target, dump_tables(source))


class _ClockAhead:
    """`time` for a walk that need not wait until a change is old: the model's changes make new inodes, or wait."""

    @staticmethod
    def time_ns() -> int:
        return time.time_ns() + 10**12


class _Listener(logging.Handler):
    def __init__(self, said: list[str]) -> None:
        super().__init__(logging.INFO)
        self._said = said

    def emit(self, record: logging.LogRecord) -> None:
        self._said.append(f"{record.levelname} {record.getMessage()}")


def _content_of(directory: Path) -> Content:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def _bytes_at(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _write_in_place(path: Path, content: bytes) -> None:
    """Until the kernel's clock shows that something changed."""
    before = path.stat().st_ctime_ns
    while path.stat().st_ctime_ns == before:
        time.sleep(0.001)
        with path.open("r+b") as file:
            file.write(content)


class _Connections:
    """What runs give back, by the address of its database."""

    def __init__(self) -> None:
        self.connect = psycopg2.connect
        self.free: dict[str, list[psycopg2.extensions.connection]] = {}

    def take(self, database_url: str, **options: Any) -> psycopg2.extensions.connection:
        """As `psycopg2.connect`."""
        free = self.free.setdefault(database_url, [])
        while free:
            connection = free.pop()
            if not connection.closed:
                return connection

        class Pooled(psycopg2.extensions.connection):
            def close(self) -> None:
                if not self.closed:
                    free.append(self)

        made: psycopg2.extensions.connection = self.connect(database_url, connection_factory=Pooled, **options)
        return made


def pooled_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let connections that a run gives back serve the next one: to begin one costs as much as a tick's statements."""
    monkeypatch.setattr("sql.connection.psycopg2.connect", _Connections().take)
