"""A signal is a request to stop, with the exit code that it stands for; work that does not end is ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from jobs.signals import LONGEST_SECONDS_TO_END, Interrupted, stopping_on_signal
from tests.repository import REPOSITORY

PATIENCE_SECONDS = 15.0

WORK_THAT_DOES_NOT_END = """
import os, signal, sys, threading, time
from jobs import signals

signals.LONGEST_SECONDS_TO_END = float(sys.argv[2])
with signals.stopping_on_signal(threading.Event()):
    for number in sys.argv[3:]:
        os.kill(os.getpid(), int(number))
        time.sleep(0.1)
    time.sleep(float(sys.argv[1]))
"""


WORK_IN_A_LIBRARY = """
import ctypes, os, signal, threading
from jobs import signals

signals.LONGEST_SECONDS_TO_END = 0.2
library, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
with signals.stopping_on_signal(threading.Event()):
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
    library.pthread_mutex_lock(mutex)
    library.pthread_mutex_lock(mutex)
"""


WORK_THAT_IS_LEFT_OTHERWISE = """
import os, signal, threading
from jobs import signals

signals.LONGEST_SECONDS_TO_END = 0.1
with signals.stopping_on_signal(threading.Event(), left="mire allí"):
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait()
"""


def exit_code_of_hanging_work(seconds_to_end: float, *signals: signal.Signals) -> int:
    """How a process ends that continues working for longer than anybody waits."""
    arguments = [str(2 * PATIENCE_SECONDS), str(seconds_to_end), *(str(int(number)) for number in signals)]
    command = [sys.executable, "-c", WORK_THAT_DOES_NOT_END, *arguments]
    return subprocess.run(
        command, check=False, cwd=REPOSITORY, timeout=PATIENCE_SECONDS, capture_output=True
    ).returncode


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_asks_to_stop_and_ends_with_its_exit_code(number: signal.Signals, exit_code: int) -> None:
    interruption = threading.Event()
    handler = signal.getsignal(number)

    def work() -> None:
        with stopping_on_signal(interruption):
            os.kill(os.getpid(), number)
            assert interruption.wait(PATIENCE_SECONDS)

    with pytest.raises(Interrupted) as caught:
        work()
    assert caught.value.exit_code == exit_code
    assert signal.getsignal(number) is handler


def test_how_work_is_left_is_said_also_when_it_does_not_end() -> None:
    command = [sys.executable, "-c", WORK_THAT_IS_LEFT_OTHERWISE]
    run = subprocess.run(command, check=False, cwd=REPOSITORY, timeout=PATIENCE_SECONDS, capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (143, "Interrumpido por SIGTERM: mire allí\n")


def test_work_that_does_not_end_is_ended() -> None:
    assert LONGEST_SECONDS_TO_END < 5  # as is promised to operators, and to those who shut a host down
    assert exit_code_of_hanging_work(0.2, signal.SIGTERM) == 143


def test_work_that_waits_in_a_library_is_ended() -> None:
    """Python calls no handler meanwhile. Where else it was looked for: a first run of `init-db`, `restore` and the
    demonstration wait within the same function.
    """
    command = [sys.executable, "-c", WORK_IN_A_LIBRARY]
    ended = subprocess.run(command, check=False, cwd=REPOSITORY, timeout=PATIENCE_SECONDS, capture_output=True)
    assert ended.returncode == 143, ended.stderr


def test_a_second_signal_ends_the_process_at_once() -> None:
    assert exit_code_of_hanging_work(2 * PATIENCE_SECONDS, signal.SIGTERM, signal.SIGINT) == 130
