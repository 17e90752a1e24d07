"""Why a local copy stays."""

from __future__ import annotations

from config.errors import SourceError


class LocalCopyDiffers(SourceError):
    """The local directory has something that the proven copy does not: it stays, and a person has to look."""

    code = "local_copy_differs"


class LocalCopyInUse(SourceError):
    """A program has a file open for writing: no copy has what it may still write, so the local one stays."""

    code = "local_copy_in_use"


class WritersUnknown(SourceError):
    """Nobody can tell whether a program has a file open for writing, so the local copy stays."""

    code = "writers_unknown"


class LocalCopyAbsent(SourceError):
    """There is nothing to remove, and nothing shows that this program has removed it."""

    code = "local_copy_absent"
