"""Where log records go: the console and a rotated file, as text or JSON, or another process."""

from __future__ import annotations

import fcntl
import logging
import logging.handlers
import os
import pickle
import sys
import textwrap
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from config.logs import LOGGER_NAME, logger, one_line, printable, printable_json, redactor
from config.process.directories import make_directory
from config.process.write_advice import advice_to_write
from config.text.wording import reason_of

LOG_FILE_NAME = "janitor_daemon.log"
FOR_OWNER_AND_GROUP = 0o750
TEXT_FORMAT = "%(asctime)s - %(name)s - %(levelname)s - %(message)s"
ROTATE_AT_BYTES = 10 * 1024 * 1024
ROTATED_FILES_KEPT = 10

_ExceptionInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class _TextFormatter(logging.Formatter):
    def __init__(self, *, tracebacks: bool) -> None:
        super().__init__(TEXT_FORMAT)
        self._tracebacks = tracebacks

    def format(self, record: logging.LogRecord) -> str:
        if not self._tracebacks:
            record = logging.makeLogRecord({**record.__dict__, "exc_info": None, "exc_text": None})
        elif record.exc_text and not record.exc_info:  # logged by another process
            record = logging.makeLogRecord({**record.__dict__, "exc_text": _indented(record.exc_text)})
        return printable(redactor.redact(super().format(record)))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name that logging gives it
        return super().formatMessage(record).replace("\n", "\\n")  # a library's message may quote foreign text

    def formatException(self, ei: _ExceptionInfo) -> str:  # noqa: N802 - the name that logging gives it
        return _indented(redactor.redact(super().formatException(ei)))


def _indented(traceback: str) -> str:
    """Indent every line, so that none passes for a record."""
    return textwrap.indent(traceback, "  ")


class _JsonFormatter(logging.Formatter):
    def __init__(self, *, tracebacks: bool) -> None:
        super().__init__()
        self._tracebacks = tracebacks

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "event": getattr(record, "event", "log"),
            "logger": record.name,
            "message": redactor.redact(record.getMessage()),
            **{name: redactor.redact_all(value) for name, value in getattr(record, "fields", {}).items()},
        }
        if record.exc_info and self._tracebacks:
            line["traceback"] = redactor.redact(self.formatException(record.exc_info))
        elif record.exc_text and self._tracebacks:
            line["traceback"] = redactor.redact(record.exc_text)
        return printable_json(line)


class _RotatingFile(logging.handlers.RotatingFileHandler):
    """A file that several installations may share: one process rotates it at a time, and never twice. Processes that
    had it open continue in the new file.

    Reports once on the console that the file cannot be written (a full disk, say), and the work continues.
    """

    def shouldRollover(self, record: logging.LogRecord) -> bool:  # noqa: N802 - the name that logging gives it
        if not self._is_in_place():
            self._reopen()
        return bool(super().shouldRollover(record))

    def doRollover(self) -> None:  # noqa: N802 - the name that logging gives it
        with Path(self.baseFilename).open("ab") as locked:
            try:
                fcntl.flock(locked, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return  # somebody else is rotating, maybe stopped: do not wait, write the line to the file as it is
            except OSError:
                super().doRollover()  # a file system without locks: rotate as if alone
                return
            try:
                if self._is_in_place():
                    super().doRollover()
                else:
                    self._reopen()
            finally:
                fcntl.flock(locked, fcntl.LOCK_UN)  # a process forked meanwhile would keep it locked

    def _is_in_place(self) -> bool:
        """Whether the open file still has its name: another process may have rotated or moved it."""
        if self.stream is None:
            return False
        try:
            return os.path.samestat(os.fstat(self.stream.fileno()), Path(self.baseFilename).stat())
        except FileNotFoundError:
            return False

    def _reopen(self) -> None:
        if self.stream is not None:
            self.stream.close()
            self.stream = None  # so that a failure to open it now is retried later
        self.stream = self._open()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name that logging gives it
        error = sys.exc_info()[1]
        if _log_file.failure is None:
            _log_file.failure = self.baseFilename
            reason = error if isinstance(error, OSError) else OSError(0, str(error))
            _report_unwritable(Path(self.baseFilename), reason)


def configure_logging(log_directory: Path | None, log_format: str, *, debug: bool) -> None:
    """Send the log to the console (stderr), and to a rotated file unless `log_directory` is `None`.

    An unusable log directory is reported on the console and does not stop the run. Tracebacks are
    written at DEBUG level only.
    """
    formatter_class = _JsonFormatter if log_format == "json" else _TextFormatter
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    _log_file.failure, problem = None, None
    if log_directory is not None:
        try:
            handlers.append(_open_log_file(log_directory))
        except OSError as error:
            problem = error
    for handler in handlers:
        handler.setFormatter(formatter_class(tracebacks=debug))
    # Our own errors report what libraries log of failures, in one line of Spanish; except for a bad line in .env.
    logging.basicConfig(handlers=handlers, force=True)
    log_debug(debug)
    if problem is not None and log_directory is not None:
        path = log_directory.absolute() / LOG_FILE_NAME
        _log_file.failure = str(path)
        _report_unwritable(path, problem)


class _LogFile:
    """The state of this process's log file."""

    failure: str | None = None


_log_file = _LogFile()


def log_file_failure() -> str | None:
    """The path of the log file if a write to it failed; `None` if all succeeded, or if there is no file."""
    return _log_file.failure


def _report_unwritable(path: Path, error: OSError) -> None:
    """On the console alone, as the file is what fails."""
    message = (
        f"No se puede escribir el registro en {one_line(path)}: {reason_of(error)}; "
        f"{advice_to_write(path, error, 'JANITOR_LOG_DIR')}; "
        "mientras tanto todo va solo a la consola"
    )
    record = logger.makeRecord(
        LOGGER_NAME, logging.WARNING, __file__, 0, "%s", (message,), None, extra={"event": "log_file_unusable"}
    )
    for handler in logging.getLogger().handlers:
        if not isinstance(handler, _RotatingFile):
            handler.handle(record)


def log_debug(debug: bool) -> None:
    """Log everything, or only what operators read."""
    logging.getLogger().setLevel(logging.DEBUG if debug else logging.CRITICAL)
    # Azure's SDK logs response headers, in which a server may repeat the request in any letter case.
    logging.getLogger("azure.core.pipeline.policies.http_logging_policy").setLevel(logging.WARNING)
    logging.getLogger("dotenv").setLevel(logging.DEBUG if debug else logging.WARNING)
    logger.setLevel(logging.DEBUG if debug else logging.INFO)


def logs_debug() -> bool:
    """Whether everything is logged."""
    return logger.isEnabledFor(logging.DEBUG)


def _open_log_file(log_directory: Path) -> logging.Handler:
    make_directory(log_directory, FOR_OWNER_AND_GROUP)
    return _RotatingFile(
        log_directory / LOG_FILE_NAME,
        maxBytes=ROTATE_AT_BYTES,
        backupCount=ROTATED_FILES_KEPT,
        encoding="utf-8",
        errors="backslashreplace",
    )


class _Forwarding(logging.Handler):
    """Passes records on in a form that can be sent to another process."""

    def __init__(self, send: Callable[[logging.LogRecord], None]) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        fields = redactor.redact_all(getattr(record, "fields", {}))
        traceback = logging.Formatter().formatException(record.exc_info) if record.exc_info else None
        told = {"msg": record.getMessage(), "args": None, "exc_info": None, "exc_text": traceback, "fields": fields}
        try:
            self._send(logging.makeLogRecord({**record.__dict__, **told}))
        except (TypeError, AttributeError, pickle.PicklingError):  # a library added attributes that cannot be sent
            self.handleError(record)


def forward_logs(send: Callable[[logging.LogRecord], None]) -> None:
    """Stop writing in this process: every record goes to `send`, and another process writes it."""
    logging.getLogger().handlers[:] = [_Forwarding(send)]


def write_forwarded(record: logging.LogRecord) -> None:
    """Write a record that another process logged."""
    logging.getLogger(record.name).handle(record)
