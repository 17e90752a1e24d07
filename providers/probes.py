"""Properties of a destination that only a probe object can show, each probed once."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from config.models import StoredObject
from providers.base import BytesSource, IntegrityError, ObjectNotFound, Provider, ProviderError

Answer = TypeVar("Answer")

PROBE_CONTENT = b"janitor-daemon"

CONDITIONS_NAME = ".janitor-check-conditions"
"""Always the same, so that the next probe removes what a killed run has left."""

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
"""How often another host's probe of the same name may come in between."""


class Remembered(Generic[Answer]):
    """An answer that the first call finds, in any thread; errors are not remembered."""

    def __init__(self, find: Callable[[str], Answer]) -> None:
        """`find` receives the prefix below which it may store probe objects."""
        self._find = find
        self._turn = threading.Lock()
        self._answers: list[Answer] = []

    def get(self, prefix: str) -> Answer:
        """The answer. Raises what `find` raises."""
        with self._turn:
            if not self._answers:
                self._answers.append(self._find(prefix))
            return self._answers[0]


def new_check_key(prefix: str) -> str:
    """A unique key for one `check` below a prefix, which may be empty."""
    return probe_key(prefix, f".janitor-check-{os.urandom(8).hex()}")


def probe_key(prefix: str, name: str) -> str:
    """The key of a probe object below a prefix, which may be empty."""
    return f"{prefix}/{name}" if prefix else name


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
        provider.delete(key)
    raise IntegrityError("el objeto de prueba desaparece una y otra vez")


def require_in_use(provider: Provider, prefix: str) -> bool:
    """Write, read and list a small object below a prefix, and return whether it could be removed.

    Also removes objects that killed runs left of this, as far as the provider allows. Raises `ProviderError` for the
    first failure, except a failure to remove the object.
    """
    names = probe_key(prefix, IN_USE_NAME)
    earlier = _left(provider, prefix)
    key = f"{names}{os.urandom(8).hex()}"
    provider.put(key, BytesSource(PROBE_CONTENT))
    try:
        if b"".join(provider.open(key)) != PROBE_CONTENT:
            raise IntegrityError("el objeto de prueba se leyó distinto de como se escribió")
    finally:
        removed = _is_removed(provider, key)
    return removed and all(_is_removed(provider, stored.key) for stored in earlier)


def remove_left_probes(provider: Provider, prefix: str) -> None:
    """Remove objects that `require_in_use` could not remove or killed runs left, as far as the provider allows.

    Raises `ProviderError` if they cannot be listed.
    """
    for stored in _left(provider, prefix):
        _is_removed(provider, stored.key)


def _left(provider: Provider, prefix: str) -> list[StoredObject]:
    return list(itertools.islice(provider.list(probe_key(prefix, IN_USE_NAME)), REMOVED_AT_A_TIME))


def _is_removed(provider: Provider, key: str) -> bool:
    try:
        provider.delete(key)
    except ProviderError:
        return False
    return True


def _is_there(provider: Provider, key: str) -> bool:
    try:
        provider.stat(key)
    except ObjectNotFound:
        return False
    return True
