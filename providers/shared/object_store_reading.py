"""Downloads through obstore that resume after a cut, from stores that support range requests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import obstore

from config.logs import one_line
from providers.errors import ConditionFailed, IntegrityError, ProviderUnavailable
from providers.shared.answers import paced_chunks
from providers.shared.object_store_errors import translated_errors
from providers.shared.object_store_get import ObjectStoreGet

if TYPE_CHECKING:
    from obstore import GetOptions, ObjectMeta
    from obstore.store import ObjectStore


class ResumableObjectStoreGet(ObjectStoreGet):
    """As `ObjectStoreGet`; an object may come by several requests."""

    def of_object(self, name: str) -> ObjectReading:
        """One object, which is read from any position. No I/O."""
        return ObjectReading(self._store, name)


class ObjectReading:
    """An object that is read from any position, by requests that all find the same one. For one thread."""

    def __init__(self, store: ObjectStore, name: str) -> None:
        self._store = store
        self._name = name
        self._first_answer: ObjectMeta | None = None

    def from_position(self, position: int) -> Iterator[bytes]:
        """As `ObjectStoreGet.open`, from a position on. Raises `IntegrityError` for another object than before."""
        first = self._first_answer
        if first is not None and position >= first["size"]:
            return
        try:
            with translated_errors():
                answer = obstore.get(self._store, self._name, options=_only_the_same(first, position))
                self._first_answer = first or answer.meta
                # Whatever has arrived, as a larger piece may take for ever to fill.
                yield from paced_chunks(iter(answer.stream(min_chunk_size=1)))
        except ConditionFailed:
            raise IntegrityError(f"el objeto cambió mientras se leía: {one_line(self._name)}") from None
        except TimeoutError:
            raise ProviderUnavailable("fallo de red: los datos llegan demasiado despacio") from None


def _only_the_same(first: ObjectMeta | None, position: int) -> GetOptions | None:
    """What asks for the rest of the object that was found first. Raises `IntegrityError` where it cannot be told."""
    if not position:
        return None
    if first is None:
        return {"range": {"offset": position}}
    if not first["e_tag"]:
        raise IntegrityError("el servidor no dice qué objeto es, y la lectura se cortó")
    return {"range": {"offset": position}, "if_match": first["e_tag"]}
