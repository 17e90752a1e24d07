"""Properties of a destination that only a probe object can show, each probed once."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from config.models import StoredObject
from providers.base import Provider
from providers.errors import IntegrityError, ObjectNotFound, ProviderError, ProviderUnavailable
from providers.sources import BytesSource

Answer = TypeVar("Answer")

PROBE_CONTENT = b"janitor-daemon"

CHECK_NAME = ".janitor-check-"
"""The beginning of the names of all of them."""

CONDITIONS_NAME = ".janitor-check-conditions"
"""Always the same below one prefix, so that the next probe removes what a killed run has left.

Each process has a prefix of its own: see `Place.probe_prefix`.
"""

FOLDING_NAME = ".janitor-check-names-A\u00e9"
FOLDED_NAMES = (".janitor-check-names-a\u00e9", ".janitor-check-names-Ae\u0301")
"""The same name for a store that ignores case, or how Unicode composes a character."""

IN_USE_NAME = ".janitor-check-use-"
"""The name prefix of objects that show whether a provider still works.

Each has a unique name, because a store that protects its objects does not allow replacing one.
"""

REMOVED_AT_A_TIME = 8
"""How many such objects of killed runs one probe removes."""

UNDISTURBED_TRIES = 5
"""How often another host may remove a probe object, taking it for a killed run's."""

QUICK_FAILURE_SECONDS = 5.0
"""A removal that failed sooner than this did not fail because the provider is mute, and is tried once more."""


class Remembered(Generic[Answer]):
    """An answer that the first call finds, in any thread; errors are not remembered."""

    def __init__(self, find: Callable[[str], Answer]) -> None:
        """`find` receives the prefix below which it may store probe objects."""
        self._find = find
        self._lock = threading.Lock()
        self._answers: list[Answer] = []

    def get(self, prefix: str) -> Answer:
        """The answer. Raises what `find` raises."""
        with self._lock:
            if not self._answers:
                self._answers.append(self._find(prefix))
            return self._answers[0]


def new_check_key(prefix: str) -> str:
    """A unique key for one `check` below a prefix, which may be empty."""
    return probe_key(prefix, f".janitor-check-{os.urandom(8).hex()}")


def check_key_of(host: str, prefix: str) -> str:
    """The key that each `check` of a host uses below a prefix, one at a time."""
    name = hashlib.sha256(f"check\0{host}".encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return probe_key(prefix, f"{CHECK_NAME}{name}")


def probe_key(prefix: str, name: str) -> str:
    """The key of a probe object below a prefix, which may be empty."""
    return f"{prefix}/{name}" if prefix else name


def remove_probe(remove: Callable[[], None]) -> None:
    """Remove a probe object by `remove`, at once again if the connection broke: a run that is being stopped repeats
    nothing, and would leave the object. Raises `ProviderError`.
    """
    began_at = time.monotonic()
    try:
        remove()
    except ProviderUnavailable:
        if time.monotonic() - began_at > QUICK_FAILURE_SECONDS:
            raise
        remove()


def prefix_of(key: str) -> str:
    """The directory of a key, without a final slash."""
    return key.rpartition("/")[0]


def folds_names(provider: Provider, prefix: str) -> bool:
    """Whether an object is also found under a name that differs only in case or in composed characters.

    Stores a probe object and removes it. Raises `ProviderError`.
    """
    key = probe_key(prefix, FOLDING_NAME)
    others = [probe_key(prefix, name) for name in FOLDED_NAMES]
    try:
        for _ in range(UNDISTURBED_TRIES):
            provider.put(key, BytesSource(PROBE_CONTENT))
            if any(_is_there(provider, other) for other in others):
                return True
            if _is_there(provider, key):  # it was also there while the others were looked up
                return False
    finally:
        remove_probe(lambda: provider.delete(key))
    raise IntegrityError("el objeto de prueba desaparece una y otra vez")


def require_in_use(provider: Provider, prefix: str) -> bool:
    """Write, read and list a small object below a prefix, and return whether it could be removed.

    Also removes objects that killed runs left of this, as far as the provider allows. Another host that does so at the
    same time may remove this one: then another is tried. Raises `ProviderError` for the first failure, except a failure
    to remove the object.
    """
    earlier = _left(provider, prefix)
    for _ in range(UNDISTURBED_TRIES - 1):
        with contextlib.suppress(ObjectNotFound):
            removed = _works_once(provider, prefix)
            break
    else:
        removed = _works_once(provider, prefix)
    return removed and all(_is_removed(provider, stored.key) for stored in earlier)


def _works_once(provider: Provider, prefix: str) -> bool:
    """Write and read one object; whether it could be removed. Raises `ObjectNotFound` if it vanishes meanwhile."""
    key = f"{probe_key(prefix, IN_USE_NAME)}{os.urandom(8).hex()}"
    removed = False
    try:
        provider.put(key, BytesSource(PROBE_CONTENT))
        if b"".join(provider.open(key)) != PROBE_CONTENT:
            raise IntegrityError("el objeto de prueba se leyó distinto de como se escribió")
    finally:
        removed = _is_removed(provider, key)
    return removed


def remove_left_probes(provider: Provider, prefix: str) -> None:
    """Remove objects that `require_in_use` could not remove or killed runs left, as far as the provider allows.

    Raises `ProviderError` if they cannot be listed.
    """
    for stored in _left(provider, prefix):
        _is_removed(provider, stored.key)


def remove_probes_below(provider: Provider, prefix: str) -> None:
    """Remove all probe objects below a prefix that only the caller uses for them, as far as the provider allows.

    Raises `ProviderError` if they cannot be listed.
    """
    directory = f"{prefix}/"
    left = [stored for stored in provider.list(directory) if _is_probe(stored.key)]
    for stored in left:
        _is_removed(provider, stored.key)
    if left:  # the probe of an upload in parts leaves an object, too
        with contextlib.suppress(ProviderError):
            provider.discard_unfinished(directory)


def _is_probe(key: str) -> bool:
    return key.rpartition("/")[2].startswith(CHECK_NAME)


def _left(provider: Provider, prefix: str) -> list[StoredObject]:
    return list(itertools.islice(provider.list(probe_key(prefix, IN_USE_NAME)), REMOVED_AT_A_TIME))


def _is_removed(provider: Provider, key: str) -> bool:
    try:
        remove_probe(lambda: provider.delete(key))
    except ProviderError:
        return False
    return True


def _is_there(provider: Provider, key: str) -> bool:
    try:
        provider.stat(key)
    except ObjectNotFound:
        return False
    return True
