"""Whenever a host dies while it tells, each notice still arrives, and none more than twice under one number."""

from __future__ import annotations

import itertools
import os
import random
import re
import signal
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jobs.notify import run as notify_run
from jobs.notify import sending
from jobs.notify.sending import Result
from sql.database import Database
from tests.databases.platform_database import Platform
from tests.jobs.notify.conftest import Teller
from tests.jobs.notify.services import numbers_in

ABANDONED = 160
"""Deliveries that simply end at a step: nothing runs any more that could tidy up. Processes cost more."""

KILLED = 40
"""Deliveries whose process gets SIGKILL."""

SEED = 15
STATEMENTS = 12
STEPS = STATEMENTS + 2
"""Of one delivery: before and after each statement, and around the sending itself."""

TICKS_UNTIL_QUIET = 5


class Inbox:
    """What arrived: one line for each message, written before the sender hears of it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._path.touch()

    def take(self, text: str) -> None:
        """Keep a message, whatever becomes of its sender."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(text.replace("\n", " | ") + "\n")

    def messages(self) -> list[str]:
        """All that arrived."""
        return self._path.read_text(encoding="utf-8").splitlines()


@pytest.fixture
def inbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Inbox:
    """Takes what the only channel is given."""
    made = Inbox(tmp_path / "inbox")

    def send(_channel: object, _title: str, body: str) -> Result:
        made.take(body)
        return Result(is_delivered=True)

    @contextmanager
    def watching() -> Iterator[None]:
        yield

    monkeypatch.setattr(sending, "send", send)
    monkeypatch.setattr(sending, "watching_requests", watching)
    return made


class Abandoned(BaseException):
    """Stands for the end of the process: nothing catches it."""


def is_killed_at(step: int, teller: Teller) -> bool:
    """Run one tick in another process that dies at a step; whether it came so far."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks with threads
        process_id = os.fork()
    if process_id == 0:
        try:
            teller.continue_in_forked_process()
            with dying_at(step, lambda: os.kill(os.getpid(), signal.SIGKILL), (sending, "send"), STATEMENT):
                teller.tick()
        except BaseException:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(process_id, 0)
    assert os.waitstatus_to_exitcode(status) in (0, -signal.SIGKILL)
    return os.WIFSIGNALED(status)


def is_abandoned_at(step: int, teller: Teller) -> bool:
    """Run one tick that goes no further than to a step; whether it came so far."""

    def abandon() -> None:
        raise Abandoned

    try:
        with dying_at(step, abandon, STATEMENT):
            teller.tick()
    except Abandoned:
        return True
    return False


STATEMENT = (Database, "job_query")


@contextmanager
def dying_at(step: int, die: Callable[[], None], *places: tuple[object, str]) -> Iterator[None]:
    """Within, `die` before or after a call of one of these functions, by the number of such a step."""
    steps = itertools.count(1)

    def pass_step() -> None:
        if next(steps) == step:
            die()

    def around(function: Callable[..., object]) -> Callable[..., object]:
        def called(*arguments: object, **options: object) -> object:
            pass_step()
            answer = function(*arguments, **options)
            pass_step()
            return answer

        return called

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in places:
            patch.setattr(owner, name, around(getattr(owner, name)))
        yield


def test_200_kills_lose_no_notice_and_send_none_more_than_twice(
    platform: Platform, tmp_path: Path, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify_run, "find_causes", lambda _context: [])  # those are noted by the test
    teller = Teller(platform, tmp_path, {"JANITOR_NOTIFY_URLS": "json://127.0.0.1:9"})
    random_numbers = random.Random(SEED)  # noqa: S311 a test's own
    ways = [(is_abandoned_at, STATEMENTS)] * ABANDONED + [(is_killed_at, STEPS)] * KILLED
    random_numbers.shuffle(ways)
    while ways:
        if random_numbers.random() < 0.7:
            teller.note("failed", f"watch:{len(ways)}", f"causa-{len(ways)}.")
        is_dead_at, steps = ways[-1]
        if is_dead_at(random_numbers.randint(1, steps), teller):
            ways.pop()
    for _ in range(TICKS_UNTIL_QUIET):
        teller.tick()
    told = Counter(numbers_in(inbox.messages()))
    noted = {row["text"] for row in platform.sql("SELECT text FROM janitor_causes")}
    arrived = set(re.findall(r"causa-\d+\.", " ".join(inbox.messages())))
    assert len(noted) > (ABANDONED + KILLED) / 4
    assert arrived == noted
    assert max(told.values()) == 2, told.most_common(3)
    assert teller.tick().counts == {}


def test_a_kill_between_state_and_notice_leaves_both_or_neither(platform: Platform) -> None:
    """They are one statement: what the database refuses of the one is not kept of the other."""
    platform.sql("ALTER TABLE janitor_notices ADD CONSTRAINT nothing_more CHECK (false) NOT VALID")
    try:
        with pytest.raises(Exception, match="nothing_more"):
            Teller(platform, Path(), {}).note("failed")
    finally:
        platform.sql("ALTER TABLE janitor_notices DROP CONSTRAINT nothing_more")
    assert platform.value("SELECT count(*) FROM janitor_causes") == 0
