"""What `check` reports about log directories."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from config.errors import ConfigurationError
from config.logs import one_line
from files.descriptors import closing_descriptor, open_directory_path
from jobs.findings import Finding, bad, good
from jobs.logs.guard import KeptApart, require_directories_of_logs, why_not_opened
from jobs.logs.settings import LogsSettings
from jobs.logs.writable import why_not_writable


def check_directories(settings: LogsSettings, kept_apart: Iterable[KeptApart]) -> Iterator[Finding]:
    """Whether a run could work in each directory."""
    apart = tuple(kept_apart)
    for path in settings.paths:
        yield _check_directory(path, apart)


def _check_directory(path: str, kept_apart: Iterable[KeptApart]) -> Finding:
    subject = f"registros {one_line(path)}"
    try:
        require_directories_of_logs([path], kept_apart)
        with closing_descriptor(open_directory_path(path)) as directory:
            reason = why_not_writable(directory)
            return bad(subject, reason) if reason else good(subject, "existe y se puede escribir en él")
    except ConfigurationError as error:
        return bad(subject, str(error))
    except FileNotFoundError:
        return bad(subject, "no existe: créelo o corrija LOGS_PATH")
    except OSError as error:
        return bad(subject, why_not_opened(error))
