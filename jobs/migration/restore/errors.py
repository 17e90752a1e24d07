"""Why an execution is not restored, or not completely."""

from __future__ import annotations

import errno

from config.errors import ConfigurationError


class DestinationUnusable(ConfigurationError):
    """The restore's destination is neither an empty directory nor one that a restore of the same copy left unfinished,
    and cannot become one. The message is in Spanish.
    """


class DestinationFull(Exception):
    """The destination has no room, or no quota, for the rest. The message is in Spanish."""


class RestoreImpossible(Exception):
    """There is nothing to restore, or its source is unknown. The message is in Spanish."""


class NothingIncluded(RestoreImpossible):
    """No entry of the execution matches the patterns to which its restore is limited."""


class RestoreIncomplete(Exception):
    """Everything is restored except what the message names, in Spanish. The destination keeps its mark."""


class NotOfTheRestore(Exception):
    """Nothing proves that a restore of this copy made the object under a name."""


NO_ROOM = frozenset((errno.ENOSPC, errno.EDQUOT))

NAME_REFUSED = frozenset((errno.EINVAL, errno.EILSEQ, errno.ENAMETOOLONG, errno.EFBIG))
"""The errors of file systems that cannot hold a name, or a file of this size."""

NOT_TAKEN = frozenset((errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL))
"""The errors of file systems that do not keep modes or times, or have no symbolic links."""
