"""Sends the pings of a run through a small process, and waits for it at the end only, for a bounded time."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit

from config.exit_codes import EXIT_LOCKED
from config.logs import emit, redactor
from config.text.secrecy import SHORTEST_SECRET, may_be_a_secret
from config.text.wording import reason_of
from jobs.context import Context, EndOfRun, ObservedRun
from jobs.findings import Finding, advised, good
from jobs.job import Outcome
from jobs.ping.summary import summary_of

PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from config.process.early_signals import leave_signals_to_others
leave_signals_to_others()
from jobs.ping.sending import serve
serve()
import os
os._exit(0)
"""
PROJECT = Path(__file__).parents[2]

LONGEST_WAIT_SECONDS = 25.0
"""For a start that is under way, three tries of the end with their pauses, and the process itself."""

NOT_FOR_IT = ("DATABASE_URL", "BACKUP_DATABASE_URL", "TELEGRAM_TOKEN")
PREFIXES_NOT_FOR_IT = ("PG", "JANITOR_")
"""Variables that the process does not need."""


class PingObserver:
    """Tells the service of one run. One that is asked for by others alone is none of its business."""

    def __init__(self, run: ObservedRun) -> None:
        self._run = run
        self._url: str = run.own_settings.url
        self._process: subprocess.Popen[str] | None = None
        for part in _secret_parts(self._url):
            redactor.add(part)

    def started(self) -> None:
        """Have `/start` sent by the process. If none can be started, the end of the run tries again, and reports."""
        if self._run.is_asked_for:
            with contextlib.suppress(OSError):
                self._tell("/start")

    def ended(self, end: EndOfRun) -> Outcome | None:
        """Send the exit code, and wait until that has been done or given up."""
        if not self._run.is_asked_for:
            return None
        if end.exit_code == EXIT_LOCKED:  # the run that does the work reports
            self._leave()
            return None
        body = summary_of(end, self._run.settings.host, self._run.mode)
        try:
            self._tell(f"/{end.exit_code}", body, is_last=True)
            problem = self._answer()
        except OSError as error:
            problem = f"no hay proceso que lo haga: {reason_of(error)}"
        if problem is None:
            emit(logging.DEBUG, "ping_sent", "Ping enviado", job=self._run.job.name)
            return Outcome({"sent": 1})
        return Outcome(failures=(f"no se pudo avisar a JANITOR_PING_URL: {redactor.redact(problem)}",))

    def _tell(self, suffix: str, body: str = "", *, is_last: bool = False) -> None:
        if self._process is None:
            self._process = _new_process()
            self._write(self._url)
        self._write((suffix, redactor.redact(body), is_last))

    def _write(self, message: object) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(f"{json.dumps(message)}\n")
            self._process.stdin.flush()

    def _leave(self) -> None:
        if self._process is not None:
            self._write(("", "", True))

    def _answer(self) -> str | None:
        """Why the last ping was not sent. The process is ended if it takes too long."""
        if self._process is None or self._process.stdout is None:
            return "el proceso que avisa no está"
        answers: queue.SimpleQueue[list[str]] = queue.SimpleQueue()
        output = self._process.stdout
        reader = threading.Thread(target=lambda: answers.put(_lines_of(output)), daemon=True)
        with self._process:
            reader.start()
            try:
                lines = answers.get(timeout=LONGEST_WAIT_SECONDS)
            except queue.Empty:
                self._process.kill()
                return "el proceso que avisa no terminó a tiempo"
            finally:
                reader.join(1)
        if not lines:
            return "el proceso que avisa terminó antes de tiempo"
        answer = json.loads(lines[-1])
        return None if answer is None else str(answer)


def _new_process() -> subprocess.Popen[str]:
    """Start the sender in a session of its own, so that a signal that ends the run does not stop it as well."""
    return subprocess.Popen(  # noqa: S603 this program
        [sys.executable, "-P", "-X", "utf8", "-c", PROGRAM, str(PROJECT)],
        env=_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
        start_new_session=True,
    )


def _environment() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if name not in NOT_FOR_IT and not name.startswith(PREFIXES_NOT_FOR_IT)
    }


def _lines_of(output: IO[str]) -> list[str]:
    return output.read().splitlines()


def _secret_parts(url: str) -> Iterator[str]:
    """The parts that may appear alone in an error of a library, and suffice to send such pings. A plain word is none:
    what hides it would hide it in every path and name, too.
    """
    parts = urlsplit(url)
    yield url
    whole = f"{parts.path}?{parts.query}" if parts.query else parts.path
    if len(whole) >= SHORTEST_SECRET:
        yield whole
    yield from filter(may_be_a_secret, parts.path.split("/"))
    if parts.password:
        yield from (parts.password, unquote(parts.password))


def preview(context: Context) -> None:
    """Say that a run would send pings; none is sent."""
    context.say("ping_previewed", "[simulación] Ping: se avisaría del principio y del final del ciclo")


def check(context: Context) -> Iterator[Finding]:
    """Whether pings travel encrypted. None is sent, as it would count as a run."""
    if context.own_settings.url.startswith("http://"):
        yield advised("ping", "JANITOR_PING_URL no usa https: quien vea el tráfico puede enviar esos avisos")
    else:
        yield good("ping", "se avisará de cada ciclo; para probarlo ahora: run ping")
