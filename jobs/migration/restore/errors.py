"""Why an execution is not restored, or not whole."""

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
    """There is nothing to restore, or it cannot be told from where. The message is in Spanish."""


class RestoreIncomplete(Exception):
    """Everything is restored but what the message names, in Spanish. The destination keeps its mark."""


class NotOfTheRestore(Exception):
    """What lies under a name is not proven to be what a restore of this copy has put there."""


NO_ROOM = frozenset((errno.ENOSPC, errno.EDQUOT))

NAME_REFUSED = frozenset((errno.EINVAL, errno.EILSEQ, errno.ENAMETOOLONG, errno.EFBIG))
"""How file systems refuse a name that they cannot hold, or a file that is too large for them."""

NOT_TAKEN = frozenset((errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL))
"""How file systems refuse to keep modes or times, or symbolic links altogether."""
