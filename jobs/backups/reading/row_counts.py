"""Counts the rows of each table in the snapshot: a `pg_dump` that leaves some out may still end with 0.

The session that holds the locks counts. Another one could wait for ever behind a session that waits for our locks.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from config.logs import one_line
from config.text.plurals import counted
from jobs.backups.errors import DumpFailed, require_no_interruption
from jobs.backups.reading.dump import SILENCE_SECONDS
from jobs.backups.reading.source import Snapshot
from jobs.backups.result import Remark
from jobs.backups.templates import QUERIES, filled
from sql.errors import DatabaseError, DatabaseUnavailable
from sql.snapshots import SnapshotSession, statement_of

LOOK_SECONDS = 0.5
WITHOUT_INDEXES = "count_rows_without_indexes"
BY_COPY = "count_rows_by_copy"
TO_NOWHERE = b"'/dev/null'"


@dataclass(frozen=True, slots=True)
class _RowsOfTable:
    """What a statement names to get the rows of a table that are dumped.

    `is_copied`: COPY must read them. `is_thrown_away`: the server may throw away what it copies.
    """

    named: bytes
    is_copied: bool = False
    is_thrown_away: bool = False


@dataclass(frozen=True, slots=True)
class _Difference:
    """Tables of which `pg_dump` wrote another number of rows than was counted; the name is of the first of them."""

    tables: tuple[bytes, ...]
    name: bytes
    dumped: int
    counted: int


class RowCounts:
    """Counts beside `pg_dump`, in a thread. Nothing else may use the session of the snapshot in this context."""

    def __init__(self, snapshot: Snapshot, interruption: threading.Event) -> None:
        self._snapshot = snapshot
        self._interruption = interruption
        self._sources = _sources(snapshot)
        self._first = _Count(snapshot.session, self._sources, ["count_rows", WITHOUT_INDEXES])

    def require(self, dumped: Mapping[bytes, int]) -> tuple[Remark, ...]:
        """Raise `DumpFailed` unless `pg_dump` wrote as many rows of each table as the snapshot has.

        Return which tables could not be counted, or not by their indexes. Raises `BackupInterrupted` and
        `DatabaseUnavailable`, too.
        """
        self._first.wait(self._interruption)
        remarks = [_not_counted(self._first.failed, self._first.reason)] if self._first.failed else []
        suspects = self._differences(dumped, self._first.rows)
        if suspects:
            rows = {**self._first.rows, **self._counted_without_indexes(suspects)}
            if differences := self._differences(dumped, rows):
                raise DumpFailed(_incomplete(differences, self._snapshot.shared.programs.pg_dump))
            remarks += _damaged_indexes(suspects)
        return tuple(remarks)

    def _differences(self, dumped: Mapping[bytes, int], rows: Mapping[bytes, int]) -> list[_Difference]:
        """Where the numbers differ, as far as all of it was counted.

        `pg_dump` writes some partitions as rows of their root: those are compared in one sum.
        """
        tables = self._snapshot.tables
        different = [
            _Difference((table,), table, dumped[table], rows[table])
            for table in rows
            if table in dumped and dumped[table] != rows[table]
        ]
        in_roots = tuple(table for table, facts in tables.items() if not facts.is_partitioned and table not in dumped)
        if all(table in rows for table in in_roots):
            roots = [table for table in dumped if tables[table].is_partitioned]
            total, total_in_roots = sum(dumped[table] for table in roots), sum(rows[table] for table in in_roots)
            if total != total_in_roots:
                different.append(_Difference(in_roots, (*roots, *in_roots)[0], total, total_in_roots))
        return different

    def _counted_without_indexes(self, suspects: Sequence[_Difference]) -> Mapping[bytes, int]:
        sources = {table: self._sources[table] for suspect in suspects for table in suspect.tables}
        with _Count(self._snapshot.session, sources, [WITHOUT_INDEXES]) as again:
            again.wait(self._interruption)
        return again.rows

    def __enter__(self) -> Self:
        self._first.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._first.__exit__(kind, error, traceback)


def _sources(snapshot: Snapshot) -> dict[bytes, _RowsOfTable]:
    """Each table whose rows are dumped. Of those with a condition `pg_dump` itself plans a query."""
    conditions, copied = snapshot.extension_conditions(), snapshot.copied_columns()

    def source(table: bytes, oid: int) -> _RowsOfTable:
        if conditions.get(oid):
            return _RowsOfTable(table + b" " + conditions[oid])
        if oid in copied:
            column, is_thrown_away = copied[oid]
            return _RowsOfTable(table + b" " + column, is_copied=True, is_thrown_away=is_thrown_away)
        return _RowsOfTable(b"ONLY " + table)

    return {table: source(table, facts.oid) for table, facts in snapshot.tables.items() if not facts.is_partitioned}


class _Count:
    """Counts what each source gives, one after the other, in a thread. Leave the context to end it.

    `statements` names the one to count by, and those for the tables of which the ones before failed.
    """

    def __init__(
        self, session: SnapshotSession, sources: Mapping[bytes, _RowsOfTable], statements: Sequence[str]
    ) -> None:
        self._session = session
        self._sources = sources
        self._statements = statements
        self._error: BaseException | None = None
        self._is_unwanted = False
        self._thread = threading.Thread(target=self._run, name="row counts", daemon=True)
        self.rows: dict[bytes, int] = {}
        self.failed: Sequence[bytes] = list(sources)
        """The tables that are not counted yet; at the end, those that cannot be."""
        self.reason = ""
        """Why the last of them cannot be, in Spanish."""

    def wait(self, interruption: threading.Event) -> None:
        """Until everything is counted. Raises `BackupInterrupted`, `DumpFailed` and what the session raised."""
        counted_before, since = len(self.rows), time.monotonic()
        while self._thread.is_alive():
            self._thread.join(LOOK_SECONDS)
            require_no_interruption(interruption)
            if len(self.rows) > counted_before:
                counted_before, since = len(self.rows), time.monotonic()
            if time.monotonic() - since > SILENCE_SECONDS:
                raise DumpFailed(
                    f"el servidor no termina de contar los registros de una tabla desde hace {SILENCE_SECONDS} s; mire "
                    "si responde"
                )
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            for name in self._statements:
                self.failed = [table for table in self.failed if not self._is_counted(table, name)]
        except BaseException as error:
            self._error = error

    def _is_counted(self, table: bytes, name: str) -> bool:
        """Count, unless the server refuses it: another session may hold the lock of an index, or an index is damaged.

        `pg_dump` looks at no index, so the backup must not fail for that.
        """
        if self._is_unwanted:
            return False
        try:
            self.rows[table] = self._counted(self._sources[table], name)
        except DatabaseUnavailable:
            raise
        except DatabaseError as error:
            self.reason = str(error)
        self._session.query("end_count")
        return table in self.rows

    def _counted(self, source: _RowsOfTable, name: str) -> int:
        if source.is_copied:
            is_thrown_away = source.is_thrown_away and name != WITHOUT_INDEXES  # what failed once is done by ourselves
            target = TO_NOWHERE if is_thrown_away else b"STDOUT"
            statement = filled(statement_of(QUERIES, BY_COPY), source=source.named, target=target)
            count_copied = self._session.count_affected if is_thrown_away else self._session.count_copied
            return count_copied(statement)
        ((count,),) = self._session.run_long(filled(statement_of(QUERIES, name), source=source.named))
        return int(count)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_unwanted = True
        if self._thread.is_alive():
            self._session.cut()
        self._thread.join()


def _incomplete(differences: Sequence[_Difference], pg_dump: str) -> str:
    first = differences[0]
    what = f"de {_shown(first.name)} volcó {counted(first.dumped, 'registro', 'registros')} y no los {first.counted}"
    others = f" (y de otras {len(differences) - 1} tampoco los suyos)" if len(differences) > 1 else ""
    program = f"mire qué programa es {one_line(pg_dump)} (BACKUP_PG_BIN)"
    return f"pg_dump terminó con 0, pero {what} que hay{others}: {program}"


def _not_counted(tables: Sequence[bytes], reason: str) -> Remark:
    return Remark(
        f"no se pudieron contar aparte los registros de {_named(tables)}, y solo consta lo que dice pg_dump: {reason}"
    )


def _damaged_indexes(suspects: Sequence[_Difference]) -> Iterator[Remark]:
    """An index with more entries may be all that is left of rows: of a page that was overwritten with zeros, say."""
    if fewer := [suspect.name for suspect in suspects if suspect.counted < suspect.dumped]:
        yield Remark(
            f"la copia está completa, pero un índice de {_named(fewer)} no tiene tantas entradas como registros la "
            "tabla, y las consultas pueden dar resultados falsos: ejecute REINDEX TABLE",
            needs_person=True,
        )
    for suspect in suspects:
        if suspect.counted > suspect.dumped:
            yield Remark(
                f"la copia tiene los {suspect.dumped} registros que el servidor lee de {_shown(suspect.name)}, pero un "
                f"índice suyo tiene {suspect.counted} entradas: o está dañado, o la tabla perdió registros; antes de "
                "REINDEX TABLE guarde una copia anterior (backup download) y compare la tabla con la de ella",
                needs_person=True,
            )


def _named(tables: Sequence[bytes]) -> str:
    others = f" y otras {len(tables) - 1}" if len(tables) > 1 else ""
    return f"{_shown(tables[0])}{others}"


def _shown(table: bytes) -> str:
    return one_line(table.decode("utf-8", "replace"))
