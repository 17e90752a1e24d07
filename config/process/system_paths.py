"""Names the system's own directories, by path alone."""

from __future__ import annotations

SYSTEM_TREES = (
    *("/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/run", "/sbin", "/sys", "/usr"),
    *("/var/cache", "/var/lib/dpkg", "/var/log"),
)
SYSTEM_DIRECTORIES = frozenset(
    ("/", "/home", "/media", "/mnt", "/opt", "/root", "/srv", "/tmp", "/var", "/var/lib", "/var/tmp")  # noqa: S108
)
"""Without roots nothing is deleted, but a row's directory would still be uploaded: never one of the system's own."""


def is_of_system(path: str) -> bool:
    """Whether an absolute path without doubled slashes is one of the system's own directories."""
    return path in SYSTEM_DIRECTORIES or any(f"{path}/".startswith(f"{tree}/") for tree in SYSTEM_TREES)
