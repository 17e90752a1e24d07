"""Tells a directory that only its owner may enter, as this program makes its own."""

from __future__ import annotations

import os
import stat

OTHERS = stat.S_IRWXG | stat.S_IRWXO


def is_closed_to_others(status: os.stat_result) -> bool:
    """Whether something is a directory into which nobody but its owner, and root, can look.

    One that is made with mode 0700 where new files get the directory's group has mode 2700: that bit gives no right.
    """
    return stat.S_ISDIR(status.st_mode) and not status.st_mode & OTHERS
