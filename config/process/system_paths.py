"""Names the directories that are the system's own, by their paths alone."""

from __future__ import annotations

SYSTEM_TREES = (
    *("/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/run", "/sbin", "/sys", "/usr"),
    *("/var/cache", "/var/lib/dpkg", "/var/log"),
)
SYSTEM_DIRECTORIES = frozenset(
    ("/", "/home", "/media", "/mnt", "/opt", "/root", "/srv", "/tmp", "/var", "/var/lib", "/var/tmp")  # noqa: S108
)
"""Without roots nothing is deleted, but what a row names would still be uploaded: never the system's own files."""


def is_of_system(path: str) -> bool:
    """Whether a directory, by its absolute path without doubled slashes, is one of the system's own."""
    return path in SYSTEM_DIRECTORIES or any(f"{path}/".startswith(f"{tree}/") for tree in SYSTEM_TREES)
