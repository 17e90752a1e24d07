"""Tells a directory whose disk is not mounted from one in which nothing was ever stored.

A mount point is a directory, too. Without its disk it takes copies, onto the disk below, where the next mount hides
them; and everything that is on the disk seems to be lost. What tells the two apart is what the database knows: if it
records copies there and none of the newest is, that disk is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from config.text.plurals import counted
from providers.base import Provider, RecordedCopy
from providers.errors import NotMounted, ObjectNotFound, ProviderError, is_refusal
from providers.retries import Result, with_retries

TRUSTED_NAME = ".janitor-destino"
"""A file of this name in the directory says that it is the right one, even if recorded copies are missing."""

NEWEST_LOOKED_FOR = 5
COUNTED_TO = 1000

OF_EMPTY_DISKS = frozenset(
    ("lost+found", ".snapshot", ".snapshots", ".zfs", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information")
)
"""What file systems and their servers put into a directory by themselves."""


def require_mounted(provider: Provider) -> str | None:
    """Raises `NotMounted` if copies are recorded in a provider's directory and none of the newest is there. Return the
    key of the manifest of one that is, if any is recorded.

    Costs one question to the database and, as a rule, one look at one object. Raises `ProviderError` if the provider
    does not answer, and errors of the database.
    """
    if not provider.may_be_unmounted or provider.recorded is None:
        return None
    newest = provider.recorded(NEWEST_LOOKED_FOR)
    seen = next((copy for copy in newest if _has(provider, copy)), None)
    if seen is not None or not newest:
        return seen.manifest_key if seen else None
    names = _retried(provider, provider.top_names)
    if TRUSTED_NAME in names:
        return None
    count = len(provider.recorded(COUNTED_TO))
    what = counted(count, "copia", "copias") if count < COUNTED_TO else f"más de {COUNTED_TO - 1} copias"
    verb = "consta" if count == 1 else "constan"
    found = "su directorio está vacío" if is_empty(names) else "en su directorio no está ninguna de las últimas"
    raise NotMounted(
        f"{found}, aunque {verb} {what} en él: ¿está montado? Monte su disco; si es otro, nuevo, deje en él un fichero "
        f"{TRUSTED_NAME}"
    )


def is_there(provider: Provider, manifest_key: str) -> bool:
    """Whether a copy still has its manifest. Raises `ProviderError`."""
    try:
        _retried(provider, partial(provider.stat, manifest_key))
    except ObjectNotFound:
        return False
    return True


def is_empty(names: Sequence[str]) -> bool:
    """Whether the names in a directory are only those that an empty disk has."""
    return OF_EMPTY_DISKS.issuperset(names)


def shares_disk(one: str, other: str) -> bool:
    """Whether two directories of this host are on one file system; `False` where that cannot be seen."""
    try:
        return Path(one).stat().st_dev == Path(other).stat().st_dev
    except OSError:
        return False


def shows_nothing(provider: Provider) -> bool:
    """Whether a provider's directory may be there without its disk, and is empty. Raises `ProviderError`."""
    return provider.may_be_unmounted and is_empty(_retried(provider, provider.top_names))


def _has(provider: Provider, copy: RecordedCopy) -> bool:
    """Whether anything of a copy is there, also if it cannot be looked at."""
    try:
        _retried(provider, partial(provider.stat, copy.manifest_key))
    except ObjectNotFound:
        return _retried(provider, lambda: next(iter(provider.list(copy.files_prefix)), None)) is not None
    except ProviderError as error:
        if not is_refusal(error):
            raise
    return True


def _retried(provider: Provider, step: Callable[[], Result]) -> Result:
    return with_retries(step, provider.progress.interruption, provider.progress)
