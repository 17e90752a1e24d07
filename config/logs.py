"""Logging for operators: console and a rotated file, text or JSON, with every known secret redacted."""

from __future__ import annotations

import base64
import errno
import fcntl
import json
import logging
import logging.handlers
import os
import pickle
import pwd
import re
import sys
import textwrap
import threading
import urllib.parse
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from config.process.directories import make_directory
from config.process.system_paths import is_of_system
from config.text.wording import reason_of

UNSAFE_IN_JSON = "[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
"""A pattern, compiled once it is used. It finds characters that `json.dumps` does not escape, but that break lines,
terminals or UTF-8 encoders."""

SIGNATURE_IN_URL = r"\bsig=([^&;]+)"
"""The secret part of an Azure SAS: an SDK that adds its own parameters reorders the other parts."""

TOKEN_IN_REQUEST = re.compile(
    r"(x-amz-security-token\W{1,12}?(?:b\W{1,3})?|\bbearer\s+|\bassertion=|\bcredential=)[\w.~+/=%-]{16,}",
    re.IGNORECASE,
)
"""Tokens that an SDK fetches and renews itself, so the redactor cannot learn them in advance: the key and session of an
IAM role, Google's access token and the assertion exchanged for it. Libraries log them at DEBUG, and a server may repeat
them in its errors."""

LOGGER_NAME = "janitor_daemon"
LOG_FILE_NAME = "janitor_daemon.log"
FOR_OWNER_AND_GROUP = 0o750
TEXT_FORMAT = "%(asctime)s - %(name)s - %(levelname)s - %(message)s"
ROTATE_AT_BYTES = 10 * 1024 * 1024
ROTATED_FILES_KEPT = 10
SHORTEST_SECRET = 4
SHORTEST_ACCESS_KEY = 16
REDACTED = "***"

PLAIN_FIELDS = frozenset({"host", "port", "username", "region", "account_name", "host_key", "known_hosts", "secreto"})
"""Fields of `credenciales` that are not secret and that operators want to read in messages."""

PLAIN_SERVICE_ACCOUNT_FIELDS = frozenset(
    {
        "type", "project_id", "client_email", "client_id", "auth_uri", "token_uri", "auth_provider_x509_cert_url",
        "client_x509_cert_url", "universe_domain",
    }
)  # fmt: skip

logger = logging.getLogger(LOGGER_NAME)


class Redactor:
    """Knows the secrets of this process and removes them from any text, in every encoding that an SDK may use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._needles: tuple[str, ...] = ()

    def add(self, secret: str) -> None:
        """Remember a secret. One shorter than four characters is ignored: it would hide half of every line."""
        parts = (secret, secret.strip(), *(line.strip() for line in secret.splitlines()))
        needles = {form for part in parts for form in _written_forms(part)}
        usable = {needle for needle in needles if len(needle.strip()) >= SHORTEST_SECRET}
        with self._lock:
            self._needles = tuple(sorted({*self._needles, *usable}, key=len, reverse=True))

    def redact(self, text: str) -> str:
        """`text` with every known secret replaced, and everything that can only be a token."""
        for needle in self._needles:
            if needle in text:
                text = text.replace(needle, REDACTED)
        return TOKEN_IN_REQUEST.sub(rf"\g<1>{REDACTED}", text)

    def redact_all(self, value: object) -> object:
        """A value for JSON with the secrets in its texts replaced. Replacing them in the encoded JSON would also
        change numbers and punctuation that look like a secret.
        """
        if isinstance(value, Mapping):
            return {str(key): self.redact_all(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.redact_all(item) for item in value]
        return value if value is None or isinstance(value, (bool, int, float)) else self.redact(str(value))


def _written_forms(secret: str) -> Iterable[str]:
    yield secret
    yield urllib.parse.quote(secret, safe="", errors="surrogatepass")
    yield urllib.parse.quote(secret, errors="surrogatepass")
    yield urllib.parse.quote_plus(secret, errors="surrogatepass")
    yield urllib.parse.unquote(secret)
    yield base64.b64encode(secret.encode("utf-8", "surrogatepass")).decode()
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield repr(secret)[1:-1]


redactor = Redactor()
"""The only redactor of the process: logs, database columns and messages all pass through it."""


def learn_secrets(credentials: object) -> None:
    """Teach the redactor every value of a provider's `credenciales` that could be a secret, at any depth."""
    if isinstance(credentials, str):
        for secret in (credentials, *_parts_that_are_secrets(credentials)):
            redactor.add(secret)
    elif isinstance(credentials, Mapping):
        plain = PLAIN_FIELDS | (PLAIN_SERVICE_ACCOUNT_FIELDS if "private_key_id" in credentials else frozenset())
        for name, value in credentials.items():
            if name not in plain and not _is_mere_name(name, value):
                learn_secrets(value)
    elif isinstance(credentials, (list, tuple)):
        for value in credentials:
            learn_secrets(value)


def _is_mere_name(field: str, value: object) -> bool:
    """An access key is half a secret, but one like `minio` is part of every URI: redacting it spoils the log."""
    return field == "access_key" and isinstance(value, str) and len(value) < SHORTEST_ACCESS_KEY


def _parts_that_are_secrets(credential: str) -> Iterable[str]:
    """The parts of a connection string or a SAS that appear alone in messages."""
    yield from re.findall(SIGNATURE_IN_URL, credential)
    for part in credential.split(";"):
        name, _, value = part.partition("=")
        if name.strip().lower() in ("accountkey", "sharedaccesssignature"):
            yield value


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


def printable(text: str) -> str:
    """`text` on one terminal-safe line per line: undecodable bytes and control characters escaped."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or character == "\n" else _escaped(character) for character in text
    )


def _escaped(character: str) -> str:
    """A byte that is not UTF-8 is shown as that byte."""
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape", "surrogatepass").decode()


def printable_json(value: object, indent: int | None = None) -> str:
    """A value as JSON that is safe on a terminal and still parses to the same value."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return re.sub(UNSAFE_IN_JSON, lambda match: f"\\u{ord(match[0]):04x}", text)


def one_line(text: object) -> str:
    """Foreign text (a name, a row's value, an SDK's message) fit for one log line, without secrets."""
    return printable(redactor.redact(str(text)).replace("\n", "\\n"))


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


def advice_to_write(path: Path, error: OSError, variable: str) -> str:
    """How to let this process write to `path`, an existing directory or a file, after `error` prevented it; or which
    variable can name another directory.

    Never advises changing the owner of a system directory or a home, nor of a directory's contents.
    """
    elsewhere = f"indique otro directorio en {variable}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "libere espacio en ese disco"
    existing = next(candidate for candidate in (path, *path.parents) if os.path.lexists(candidate))
    if existing != path and not os.path.isdir(existing):  # noqa: PTH112 the other one raises where it may not look
        return f"{one_line(existing)} no es un directorio: quítelo, o {elsewhere}"
    if error.errno not in (errno.EACCES, errno.EPERM) or _is_writable_directory(existing):
        return elsewhere
    return f"{_advice_of_rights(path, existing)}{elsewhere}"


def _advice_of_rights(path: Path, existing: Path) -> str:
    """How this user gets the right to write to `path`, whose part `existing` exists; the caller adds an alternative."""
    where, owner, user = one_line(existing), user_name(existing.stat().st_uid), user_name(os.geteuid())
    if owner == user:
        return f"{where} es de {owner}, sin permiso de escritura: ejecute chmod u+rwX {where}, o "
    if existing not in (path, path.parent) and os.access(existing, os.X_OK):
        return f"cree el directorio {one_line(path.parent)} para el usuario {user}, o "
    whose = f"{where} es de {owner} y el programa corre como {user}"
    if _is_to_be_left_alone(existing):
        return f"{whose}: "
    return f"{whose}: ejecute chown {user} {where}, o "


def _is_writable_directory(path: Path) -> bool:
    return path.is_dir() and os.access(path, os.W_OK | os.X_OK)


def _is_to_be_left_alone(path: Path) -> bool:
    """Whether it is a system directory or a user's home."""
    real_path = os.path.realpath(path)
    try:
        home = pwd.getpwuid(path.stat().st_uid).pw_dir
    except KeyError:
        home = None
    return is_of_system(real_path) or os.path.dirname(real_path) == "/home" or real_path == home  # noqa: PTH120


def user_name(user_id: int) -> str:
    """The name of a user, or the number if the user has no name."""
    try:
        return pwd.getpwuid(user_id).pw_name
    except KeyError:
        return str(user_id)


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


def emit(level: int, event: str, message: str, *, cause: BaseException | None = None, **fields: object) -> None:
    """Log one line for operators. `event` is the stable English name that JSON lines carry along with the fields.

    The traceback of `cause` is kept for the debug log.
    """
    logger.log(level, "%s", message.replace("\n", "\\n"), extra={"event": event, "fields": fields}, exc_info=cause)
