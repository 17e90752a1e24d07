"""Who runs this command, for the audit trail."""

from __future__ import annotations

import os
import pwd
import sys
from typing import NamedTuple

LONGEST_COMMAND = 1000


class Person(NamedTuple):
    """The account that gives an order, and the command line that it used."""

    os_user: str
    command: str


def this_person() -> Person:
    """The account that runs this command, also behind `sudo`, and its command line; the log removes known secrets."""
    return Person(_account(), " ".join(("janitor-daemon", *sys.argv[1:]))[:LONGEST_COMMAND])


def _account() -> str:
    try:
        name = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container may run as a user that it does not know
        name = str(os.geteuid())
    behind = os.environ.get("SUDO_USER", "")
    return f"{name} (sudo: {behind})" if behind else name
