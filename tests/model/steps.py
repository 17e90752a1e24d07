"""The steps that a history is made of. Each does nothing where it has nothing to act on."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import ClassVar

from commands.audit.auditing import Scope, prepared_audit
from commands.audit.fixing import fix
from config.exit_codes import EXIT_DONE
from config.settings import Settings
from sql.database import Database
from storage.keys import place_of
from tests.model.runs import Cut
from tests.model.world import LEASE_OVER_SECONDS, OPERATOR, PREFIXES, PRODUCTION_SLOTS, UUIDS, World


class Step(ABC):
    """Something that happens."""

    is_edit: ClassVar[bool] = False
    """Whether the platform changes its mind about something, after which something may be left to a person."""

    @abstractmethod
    def play(self, world: World) -> None:
        """Let it happen."""


@dataclass(frozen=True)
class Execute(Step):
    """The platform completes an execution: its directory is written, again if it was there, and it gets a row."""

    slot: int
    tag: str = "A"
    names: tuple[str, ...] = ("a", "b")

    def play(self, world: World) -> None:
        slot = self.slot % PRODUCTION_SLOTS
        world.write(slot, self.tag, self.names)
        if not world.production.platform.sql(
            "SELECT id FROM ejecuciones_yaml WHERE ruta_directorio = %s", str(world.path_of(slot))
        ):
            _add_row(world, slot, slot)


@dataclass(frozen=True)
class SwapBytes(Step):
    """A file gets other bytes of the same size and the same short checksum."""

    slot: int
    in_place: bool = False

    def play(self, world: World) -> None:
        world.swap_bytes(self.slot % PRODUCTION_SLOTS, in_place=self.in_place)


@dataclass(frozen=True)
class Tick(Step):
    """A run of the daemon on a host, which may be cut off."""

    host: str
    cut: Cut | None = None

    def play(self, world: World) -> None:
        if self.host != "S" or world.is_cloned:
            world.tick(self.host, self.cut)


@dataclass(frozen=True)
class Rehome(Step):
    """A run on a host that brings copies to the first provider, and may be cut off."""

    host: str
    cut: Cut | None = None

    def play(self, world: World) -> None:
        world.tick(self.host, self.cut, "rehome")


@dataclass(frozen=True)
class Audit(Step):
    """An operator on a host has everything compared and mended, which may be cut off."""

    host: str
    cut: Cut | None = None
    every_byte: bool = False

    def play(self, world: World) -> None:
        settings = world.settings_of(self.host)
        world.run(self.host, lambda: _audit_and_fix(settings, every_byte=self.every_byte), self.cut)


@dataclass(frozen=True)
class Resume(Step):
    """A run that stands still continues."""

    number: int = 0

    def play(self, world: World) -> None:
        if world.runs.parked:
            world.resume(world.runs.parked[self.number % len(world.runs.parked)])


@dataclass(frozen=True)
class Deliver(Step):
    """A request on its way arrives."""

    number: int = 0

    def play(self, world: World) -> None:
        if world.runs.late:
            world.runs.deliver(world.runs.late[self.number % len(world.runs.late)])


@dataclass(frozen=True)
class TimePasses(Step):
    """Longer than a lease lasts, or for `hours`."""

    hours: int = 0

    def play(self, world: World) -> None:
        world.let_time_pass(self.hours * 3600 or LEASE_OVER_SECONDS)


@dataclass(frozen=True)
class SetBack(Step):
    """The platform says that an execution is not migrated after all; an operator may give its directory its name back,
    with what is left in it.
    """

    is_edit = True
    row: int
    take_back: bool = False

    def play(self, world: World) -> None:
        row = _row(world, self.row)
        if row is None:
            return
        world.production.platform.sql("UPDATE ejecuciones_yaml SET migrado_a_nube = false WHERE id = %s", row)
        world.let_go(row)
        commit = world.production.migrated.pop(row, None)
        if self.take_back and commit is not None:
            world.take_back(commit.slot)


@dataclass(frozen=True)
class Hold(Step):
    """An operator holds an execution."""

    row: int

    def play(self, world: World) -> None:
        row = _row(world, self.row)
        if row is not None:
            uuid = _uuid(world, row)
            world.operators.orders.hold(uuid, "held", OPERATOR)
            for named in world.rows_of(uuid):
                world.note_held(named)


@dataclass(frozen=True)
class Release(Step):
    """The operator releases it."""

    row: int

    def play(self, world: World) -> None:
        row = _row(world, self.row)
        if row is not None:
            uuid = _uuid(world, row)
            for order in world.operators.orders.release(uuid, OPERATOR):
                if order.execution_id is not None:
                    world.let_go(order.execution_id)


@dataclass(frozen=True)
class Retry(Step):
    """An operator has an execution taken up again that waits after failures, or is in quarantine."""

    row: int

    def play(self, world: World) -> None:
        row = _row(world, self.row)
        if row is not None:
            world.operators.orders.retry(_uuid(world, row), OPERATOR)


@dataclass(frozen=True)
class KeepCopies(Step):
    """The policy says that local copies stay, or go."""

    keeps: bool

    def play(self, world: World) -> None:
        world.production.platform.sql("UPDATE ejecuciones_config SET eliminar_despues_de_migrar = %s", not self.keeps)


@dataclass(frozen=True)
class TakeObjectAway(Step):
    """Somebody removes an object of a copy whose directory is still there."""

    row: int

    def play(self, world: World) -> None:
        row = _row(world, self.row)
        if row is not None:
            world.take_object_away(row)


@dataclass(frozen=True)
class RotObject(Step):
    """An object of a copy gets other bytes of the same size, and the audit finds that. Others hold the right ones."""

    row: int

    def play(self, world: World) -> None:
        row = _row(world, self.row)
        if row is not None:
            world.rot_object(row)


@dataclass(frozen=True)
class LoseDirectory(Step):
    """A directory is lost of which a whole copy is stored."""

    is_edit = True
    slot: int

    def play(self, world: World) -> None:
        world.lose_directory(self.slot % PRODUCTION_SLOTS)


@dataclass(frozen=True)
class LeaveObject(Step):
    """Somebody else stores an object where an execution may come to be, and nothing has been stored yet."""

    is_edit = True
    uuid: int
    bucket: str

    def play(self, world: World) -> None:
        world.leave_object(place_of("", UUIDS[self.uuid % len(UUIDS)]).key_prefix, self.bucket)


@dataclass(frozen=True)
class ChangeUuid(Step):
    """A row gets another uuid."""

    is_edit = True
    row: int
    uuid: int

    def play(self, world: World) -> None:
        row = _row(world, self.row)
        if row is not None:
            _set(world, row, "uuid", UUIDS[self.uuid % len(UUIDS)])


@dataclass(frozen=True)
class SwapUuids(Step):
    """Two rows get each other's uuid."""

    is_edit = True
    row: int
    other: int

    def play(self, world: World) -> None:
        row, other = _row(world, self.row), _row(world, self.other)
        if row is None or other is None:
            return
        world.production.platform.sql(
            "UPDATE ejecuciones_yaml AS one SET uuid = two.uuid FROM ejecuciones_yaml AS two "
            "WHERE one.id IN (%s, %s) AND two.id IN (%s, %s) AND one.id <> two.id",
            row, other, row, other,
        )  # fmt: skip


@dataclass(frozen=True)
class AddRow(Step):
    """A new row, whose uuid and directory may be those of others."""

    is_edit = True
    slot: int
    uuid: int

    def play(self, world: World) -> None:
        slot = self.slot % PRODUCTION_SLOTS
        if world.path_of(slot).exists():
            _add_row(world, slot, self.uuid)


@dataclass(frozen=True)
class DeleteRow(Step):
    """A row is gone."""

    is_edit = True
    row: int

    def play(self, world: World) -> None:
        row = _row(world, self.row)
        if row is not None:
            world.production.platform.sql("DELETE FROM ejecuciones_yaml WHERE id = %s", row)
            world.production.rows.remove(row)
            world.let_go(row)
            world.production.migrated.pop(row, None)


@dataclass(frozen=True)
class ChangeDate(Step):
    """An execution took place just now, or long ago."""

    is_edit = True
    row: int
    is_due: bool

    def play(self, world: World) -> None:
        row = _row(world, self.row)
        if row is not None:
            _set(world, row, "fecha_ejecucion", "2020-01-01" if self.is_due else "2999-01-01")


@dataclass(frozen=True)
class ChangeDirectory(Step):
    """A row names another execution's directory."""

    is_edit = True
    row: int
    slot: int

    def play(self, world: World) -> None:
        row = _row(world, self.row)
        if row is not None:
            _set(world, row, "ruta_directorio", str(world.path_of(self.slot % PRODUCTION_SLOTS)))


@dataclass(frozen=True)
class ChangePrefix(Step):
    """The policy says another prefix."""

    is_edit = True
    prefix: int

    def play(self, world: World) -> None:
        world.production.platform.sql(
            "UPDATE ejecuciones_config SET prefijo_ruta_nube = %s", PREFIXES[self.prefix % len(PREFIXES)]
        )


@dataclass(frozen=True)
class PointProvider(Step):
    """A provider's row leads to a bucket, the same as before or another one."""

    is_edit = True
    provider: int
    bucket: str

    def play(self, world: World) -> None:
        number = self.provider % len(world.production.buckets) + 1
        world.point_provider(number, self.bucket)


@dataclass(frozen=True)
class Switch(Step):
    """The first provider is switched on or off."""

    is_on: bool

    def play(self, world: World) -> None:
        world.production.platform.sql("UPDATE cloud_providers SET activo = %s WHERE id = 1", self.is_on)


@dataclass(frozen=True)
class Clone(Step):
    """A copy of the database is used for staging, with copies of the directories, one of which may go on otherwise."""

    is_edit = True
    changed_slot: int | None = None

    def play(self, world: World) -> None:
        if not world.is_cloned:
            world.clone(self.changed_slot)


@dataclass(frozen=True)
class BackUp(Step):
    """Production's database is backed up."""

    def play(self, world: World) -> None:
        world.back_up()


@dataclass(frozen=True)
class RestoreDatabase(Step):
    """Production's database is set back to its backup; directories and copies are as they are. An operator may give a
    directory whose removal was cut off its name back, with what is left in it.
    """

    is_edit = True
    slot: int | None = None

    def play(self, world: World) -> None:
        world.restore_database()
        if self.slot is not None:
            world.take_back(self.slot)


History = Sequence[Step]


def _audit_and_fix(settings: Settings, *, every_byte: bool) -> int:
    stop = threading.Event()
    with (
        closing(Database(settings.database_url, settings.host)) as database,
        prepared_audit(database, settings, stop) as audit,
    ):
        report = audit.run(Scope(None, None, every_byte=every_byte))
        fix(audit.records, report.fixable(), settings, OPERATOR)
    return EXIT_DONE


def _uuid(world: World, row: int) -> str:
    uuid: str = world.production.platform.value("SELECT uuid::text FROM ejecuciones_yaml WHERE id = %s", row)
    return uuid


def _row(world: World, number: int) -> int | None:
    rows = world.production.rows
    return rows[number % len(rows)] if rows else None


def _set(world: World, row: int, column: str, value: object) -> None:
    world.let_go(row)
    world.production.platform.sql(f"UPDATE ejecuciones_yaml SET {column} = %s WHERE id = %s", value, row)  # noqa: S608


def _add_row(world: World, slot: int, uuid: int) -> None:
    execution = world.production.platform.add_execution(world.path_of(slot), UUIDS[uuid % len(UUIDS)])
    world.production.rows.append(execution.id)
