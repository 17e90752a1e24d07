"""How executions are taken up: claimed in small batches, several at once, within the limits of the run.

This module brings everything that stores, removes and cleans up, with its threads. A run imports it only when there is
work: most of cron's runs find none, and should cost no more than their database queries.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain, islice, takewhile

from config.models import Claim, Execution
from config.process.last_line import is_watched, shown_on_terminal
from config.settings import Settings
from config.text.amounts import UNLIMITED
from jobs.migration.attempts import Attempts
from jobs.migration.crew import Crew
from jobs.migration.directories import DirectoryJudge, KnownConflicts
from jobs.migration.leftovers import remove_leftovers
from jobs.migration.messages import Messages
from jobs.migration.places import Neighbours
from jobs.migration.queue.limits import RunLimits, size_on_disk
from jobs.migration.queue.progress import Progress
from jobs.migration.queue.task_pool import TaskPool
from jobs.migration.queue.under_way import UploadsUnderWay
from jobs.migration.removal.local_copies import LocalCopies
from jobs.provider_set import ProviderSet
from jobs.report import DUE_COUNTED_TO, TickReport
from jobs.signals import Interruption
from providers.memory_budget import split_memory_budget
from sql.database import Database, DatabaseBusy
from sql.migration.attempts import Leftover
from storage.helpers import Helpers
from storage.traffic.pace import Traffic
from storage.traffic.transfers import TransferPool

CLAIMED_AT_A_TIME = 8
PROCESSES_UNASKED = 4
"""The default number of processes, on a host with this many processors."""

EXECUTIONS_FOR_SEVERAL_PROCESSES = 32
"""With fewer executions, the other processes would end before they have begun."""

SECONDS_TO_ABANDON_AFTER_SIGNAL = 1.5
SECONDS_TO_END_AFTER_SIGNAL = 1.5
POLL_SECONDS = 0.5


class Migration:
    """One run's executions under way. The caller's policy decides what happens to each of them.

    `provider_ids` are their destinations, in order of preference; `retention_hours` is the age that they must still
    have when they are taken up. `local_copies` removes what was migrated; `under_way` records where files are being
    sent. Used from one thread, except `new_attempts` and `put_to_the_end`.
    """

    def __init__(
        self,
        settings: Settings,
        provider_ids: Sequence[int],
        retention_hours: float,
        database: Database,
        judge: DirectoryJudge,
        providers: ProviderSet,
        conflicts: KnownConflicts,
        interruption: Interruption,
        report: TickReport,
    ) -> None:
        traffic = Traffic(settings.bandwidth, interruption.migrations)
        self._pool = TransferPool(settings.transfers, traffic)
        self._limits = RunLimits(
            settings.max_duration_seconds, settings.max_bytes, traffic, run_for_seconds=report.elapsed_seconds
        )
        self._bandwidth_is_limited = settings.bandwidth != UNLIMITED
        self._processes = min(settings.processes or min(PROCESSES_UNASKED, _processors()), settings.transfers)
        self._helpers = Helpers(1 if self._bandwidth_is_limited else self._processes, settings.transfers, traffic)
        self._provider_ids = provider_ids
        self._retention_hours = retention_hours
        self._database = database
        self._judge = judge
        self._providers = providers
        self._interruption = interruption
        self._report = report
        self._messages = Messages(report)
        self.local_copies = LocalCopies(database, judge, conflicts, report, interruption, self._helpers)
        self.under_way = UploadsUnderWay()
        self._neighbours = Neighbours()
        self._queue_positions: dict[int, int] = {}
        """By execution: assigned here, in order, because the threads would race."""
        self._for_the_end: deque[Claim] = deque()
        self._taken_up_alone: set[int] = set()

    @cached_property
    def _task_pool(self) -> TaskPool:
        """A pool of the best size for the provider that most of them will go to."""
        usable = self._providers.in_order(self._provider_ids)
        return TaskPool(next((provider.executions_at_once for provider in usable), 1), self._interruption)

    def run(
        self,
        pages: Iterable[list[Execution]],
        migrate: Callable[[Claim], None],
        count_due: Callable[[], int],
        unfinished: Sequence[Execution] = (),
    ) -> None:
        """Call `migrate` with the claim to every available execution, until a limit of the run is reached.

        Meanwhile the local copies of `unfinished` ones are removed, so that a stuck one delays no other. `count_due`
        returns how many are still to begin, up to `DUE_COUNTED_TO`. Raises what `migrate` raises.
        """
        try:
            with self._limits.enforced(self._interruption.migrations), self._showing_progress(count_due):
                self._share_out(pages, migrate, unfinished)
        finally:
            self._report.limit_reached = self._limits.reached
        if self._limits.reached and not self._interruption.is_set():
            self._messages.limit_reached(count_due())

    def _share_out(
        self, pages: Iterable[list[Execution]], migrate: Callable[[Claim], None], unfinished: Sequence[Execution]
    ) -> None:
        """Use several processes if there is enough to do; they are forked before any other thread starts."""
        remaining = iter(pages)
        first = next(remaining, [])
        everything = chain((first,), remaining)
        if not first:
            with self._finishing_removals(unfinished):
                return
        processes = self._processes_for(first)
        if processes == 1:
            with self._finishing_removals(unfinished):
                self._take_up(everything, migrate)
            return
        self._providers.leave_paused_alone(self._provider_ids)
        self._providers.import_kind_of(self._provider_ids[0])
        crew = Crew(self._report, self._pool.traffic, self._interruption)
        with self._database.idle():
            members = crew.start(processes, lambda batches: self._take_up_share(batches, migrate, processes))
        with self._finishing_removals(unfinished):
            if members:
                crew.run(everything)
            else:
                self._take_up(everything, migrate)

    @contextlib.contextmanager
    def _finishing_removals(self, unfinished: Sequence[Execution]) -> Iterator[None]:
        """Remove local copies in a thread within the block, and wait for it at the end. Raises its errors."""
        if not unfinished:
            yield
            return
        errors: list[BaseException] = []

        def finish() -> None:
            try:
                self.local_copies.finish_removals(unfinished, self._providers, self._limits.has_time)
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=finish, name="removals", daemon=True)
        thread.start()
        try:
            yield
        finally:
            while thread.is_alive() and not self._interruption.is_set():
                thread.join(POLL_SECONDS)
            thread.join(SECONDS_TO_END_AFTER_SIGNAL)
        if errors:
            raise errors[0]

    def _processes_for(self, first_page: Sequence[Execution]) -> int:
        """How many processes are worthwhile. With limits on all transfers together, the answer is one."""
        limited = self._limits.any or self._bandwidth_is_limited
        if limited or len(first_page) < EXECUTIONS_FOR_SEVERAL_PROCESSES or self._providers.any_is_in_use:
            return 1
        return self._processes

    def _take_up_share(
        self, batches: Iterator[list[Execution]], migrate: Callable[[Claim], None], processes: int
    ) -> None:
        """Do the share of one of several processes."""
        self._database.continue_in_forked_process()
        self._pool = TransferPool(self._pool.size // processes, self._pool.traffic)
        self._helpers.employ_none()
        split_memory_budget(processes)
        self._take_up(batches, migrate)
        self._providers.settle()
        self._providers.close()
        self._database.close()

    def _showing_progress(self, count_due: Callable[[], int]) -> contextlib.AbstractContextManager[object]:
        if not is_watched():
            return contextlib.nullcontext()
        due = count_due()
        progress = Progress(self._report, self._pool.traffic, due if due < DUE_COUNTED_TO else None)
        return shown_on_terminal(progress.text)

    def _take_up(self, pages: Iterable[list[Execution]], migrate: Callable[[Claim], None]) -> None:
        try:
            for executions in pages:
                self._take_up_page(executions, migrate)
                if self._limits.reached:
                    break
            self._take_up_alone(migrate)
        finally:
            self._task_pool.drain()
            if self._interruption.is_set():
                self.under_way.abandon_all(SECONDS_TO_ABANDON_AFTER_SIGNAL)

    def _take_up_page(self, executions: list[Execution], migrate: Callable[[Claim], None]) -> None:
        remaining = takewhile(self._may_begin, executions)
        while batch := list(islice(remaining, 1 if self._limits.any else CLAIMED_AT_A_TIME)):
            if self._interruption.is_set():
                return
            claims = self._claim(batch)
            for claim in claims:
                self._submit(migrate, claim)
            for execution in set(batch) - {claim.execution for claim in claims}:
                self._limits.end(execution)  # somebody else was quicker

    def _submit(self, migrate: Callable[[Claim], None], claim: Claim) -> None:
        def migrate_within_limits(claim: Claim) -> None:
            try:
                migrate(claim)
            finally:
                del self._queue_positions[claim.execution.id]
                self._limits.end(claim.execution)

        self._queue_positions[claim.execution.id] = self._pool.traffic.new_queue_position()
        self._task_pool.submit(migrate_within_limits, claim)

    def put_to_the_end(self, claim: Claim) -> bool:
        """Whether an execution is taken up again once no other one of this process is under way.

        True the first time: resources that others held may be free then. Until then the claim stays.
        """
        if claim.execution.id in self._taken_up_alone:
            return False
        self._taken_up_alone.add(claim.execution.id)
        self._for_the_end.append(claim)
        return True

    def _take_up_alone(self, migrate: Callable[[Claim], None]) -> None:
        self._task_pool.drain()
        while self._for_the_end and not self._interruption.is_set():
            claim = self._for_the_end.popleft()
            if not self._may_begin(claim.execution):
                return
            self._submit(migrate, claim)
            self._task_pool.drain()

    def _may_begin(self, execution: Execution) -> bool:
        """Whether the limits of the run leave time and room for another execution."""
        if not self._limits.any:
            return True
        self._task_pool.wait_for_room()
        size_bytes = size_on_disk(self._judge, execution) if self._limits.counts_bytes else 0
        if not self._limits.has_room(size_bytes):
            self._task_pool.drain()  # some of it may have sent less than it holds
        return self._limits.has_time() and self._limits.begin(execution, size_bytes)

    def _claim(self, executions: list[Execution]) -> list[Claim]:
        """Take up what is available: a row that somebody has locked must not block the others."""
        try:
            return self._database.claim(executions, self._retention_hours)
        except DatabaseBusy as error:
            if len(executions) > 1:
                return [claim for execution in executions for claim in self._claim([execution])]
            self._messages.migration_failed(executions[0], error)
            return []

    def new_attempts(self, execution: Execution, *, delete_local_copy: bool) -> Attempts:
        """The means to store one execution that is under way, behind those that came before it."""
        return Attempts(
            self._database,
            self._providers,
            self._pool,
            self._interruption.migrations,
            delete_local_copy,
            self._neighbours,
            self._queue_positions[execution.id],
            self._helpers,
        )

    def remove_leftovers(self, leftovers: Iterable[Leftover]) -> None:
        """Remove what failed attempts left, as long as the run has time; see `jobs.migration.leftovers`."""
        stop = self._interruption.migrations
        with self._limits.enforced(stop):
            in_time = takewhile(lambda _leftover: self._limits.has_time(), leftovers)
            remove_leftovers(self._database, in_time, self._providers, self._judge, self._report, stop)
        self._report.limit_reached = self._limits.reached

    def close(self) -> None:
        """End the threads."""
        if "_task_pool" in self.__dict__:
            self._task_pool.close()
        self._pool.close()
        self._helpers.close()


def _processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
