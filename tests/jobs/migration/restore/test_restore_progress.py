"""What is said of a restore while it is at work, and what counts as having come."""

from __future__ import annotations

import logging
import threading

import pytest

from config.logs import logger
from jobs.migration.restore import progress as progress_module
from jobs.migration.restore.progress import RestoreProgress, showing

MEBIBYTE = 1024 * 1024


class Clock:
    """A clock that a test sets."""

    seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def test_the_line_says_files_bytes_share_and_rate() -> None:
    clock = Clock()
    progress = RestoreProgress("uno", 1200, 500 * MEBIBYTE, clock)
    assert progress.text() == "Restaurando: 0 de 1200 ficheros, 0 B de 500 MB (0 %), 0 B/s"
    clock.seconds += 5
    progress.note_bytes(125 * MEBIBYTE)
    progress.note_file()
    told = "Restaurando: 1 de 1200 ficheros, 125 MB de 500 MB (25 %), 25.0 MB/s, faltan unos 15 s"
    assert progress.text() == told


def test_an_execution_without_bytes_has_come_whole() -> None:
    assert "(100 %)" in RestoreProgress("uno", 1, 0, Clock()).text()


def test_what_has_to_come_again_does_not_count_twice() -> None:
    progress = RestoreProgress("uno", 1, 100, Clock())

    def come_and_break() -> None:
        with progress.counted() as note_bytes:
            note_bytes(60)
            assert "(60 %)" in progress.text()
            raise OSError("cut")

    with pytest.raises(OSError, match="cut"):
        come_and_break()
    assert "(0 %)" in progress.text()
    with progress.counted() as note_bytes:
        note_bytes(100)
    assert "(100 %)" in progress.text()


def test_where_nobody_looks_the_log_says_it_now_and_then(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logger, "propagate", True)
    monkeypatch.setattr(progress_module, "TOLD_EVERY_SECONDS", 0.01)
    caplog.set_level(logging.INFO, logger.name)
    told = threading.Event()
    progress = RestoreProgress("uno", 1, 100, Clock())
    tell = progress.tell

    def tell_and_say_so() -> None:
        tell()
        told.set()

    monkeypatch.setattr(progress, "tell", tell_and_say_so)
    with showing(progress):
        assert told.wait(20)
    (message, *_) = {record.getMessage() for record in caplog.records}
    assert message == "Restaurando: 0 de 1 fichero, 0 B de 100 B (0 %), 0 B/s: ejecución uno"


def test_a_restore_of_less_than_a_minute_says_nothing(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logger, "propagate", True)
    caplog.set_level(logging.INFO, logger.name)
    with showing(RestoreProgress("uno", 1, 100, Clock())):
        pass
    assert not caplog.records
