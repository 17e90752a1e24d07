"""What a run did to the logs, in numbers."""

from __future__ import annotations

from dataclasses import astuple, dataclass


@dataclass(frozen=True, slots=True)
class LogsReport:
    """The counts of one run. A dry run estimates them, but not the compressed sizes, which it cannot know.

    `duplicate_files` are logs deleted because an equal compressed copy existed, for example from a killed run.
    """

    compressed_files: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    duplicate_files: int = 0
    duplicate_bytes: int = 0
    deleted_files: int = 0
    deleted_bytes: int = 0
    differing_copies: int = 0
    """The compressed logs that got another name, because a file with other bytes had theirs."""

    in_use: int = 0
    changed: int = 0
    failures: int = 0
    missing_directories: int = 0

    @property
    def freed_bytes(self) -> int:
        """How many bytes the logs shrank."""
        return self.bytes_before - self.bytes_after + self.duplicate_bytes + self.deleted_bytes

    def __add__(self, other: LogsReport) -> LogsReport:
        return LogsReport(*(mine + others for mine, others in zip(astuple(self), astuple(other), strict=True)))
