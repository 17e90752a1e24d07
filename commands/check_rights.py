"""Tries, one by one, the rights that a run needs at a provider, and reports the effect of each missing one."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from config.errors import MigrationError
from config.logs import one_line
from jobs.findings import Finding, advised, bad, good
from providers.base import Provider
from providers.errors import (
    AccessDenied,
    ConnectionDenied,
    DestinationMissing,
    IntegrityError,
    InvalidProviderSettings,
    NotMounted,
    ProviderError,
    ProviderUnavailable,
    StorageFull,
    is_refusal,
)
from providers.probes import check_key_of, new_check_key
from providers.shared.answers import CLOCK_IS_OFF
from providers.sources import BytesSource

ADVICE: tuple[tuple[type[MigrationError], str], ...] = (
    (InvalidProviderSettings, "corrija ese campo en cloud_providers"),
    (ConnectionDenied, ""),  # its message says what to do, and no right is missing
    (AccessDenied, "revise las credenciales y sus permisos de lectura, escritura, listado y borrado"),
    (NotMounted, ""),  # as above
    (DestinationMissing, "créelo o corrija la configuración: el programa no lo crea"),
    (ProviderUnavailable, "compruebe dirección, red y cortafuegos"),
    (StorageFull, "libere espacio o amplíe la cuota"),
)

STOPS_ALL = (ConnectionDenied, InvalidProviderSettings, DestinationMissing, ProviderUnavailable, StorageFull)
"""After one of these errors nothing else need be tried."""

UNSAFE_REPLACEMENT = (
    "no comprueba condiciones al escribir: una petición de un programa interrumpido que llegase tarde podría sustituir "
    "un manifiesto más nuevo; actualice el servidor o elija otro (en SFTP: con posix-rename@openssh.com)"
)

CONTENT = b"janitor-daemon"

OF_S3 = {
    "escribir": "s3:PutObject",
    "leer": "s3:GetObject",
    "listar": "s3:ListBucket",
    "borrar": "s3:DeleteObject",
}


ADVICE_FOR_DIRECTORIES = "revise el dueño y los permisos del directorio configuracion.ruta"


def with_advice(error: MigrationError, kind: str = "") -> str:
    """An error with advice; a directory is read and written without credentials."""
    if CLOCK_IS_OFF in str(error):  # says what to do, and the credentials may be good
        return one_line(error)
    advice = next((text for error_class, text in ADVICE if isinstance(error, error_class)), "")
    if kind == "local" and isinstance(error, AccessDenied):
        advice = ADVICE_FOR_DIRECTORIES
    return one_line(f"{error}; {advice}" if advice else str(error))


def check_rights(provider: Provider, prefix: str, only_check_of: str | None = None) -> Iterator[Finding]:
    """Try each right with a spare object, which is removed at the end, whatever happens meanwhile.

    `only_check_of` names a host on which no other check is under way. The object then has always the same name there,
    so that this check also removes what a killed one has left.
    """
    subject = f"proveedor {provider.name} ({provider.kind})"
    spare_key = new_check_key(prefix)
    trial = _Trial(provider, spare_key if only_check_of is None else check_key_of(only_check_of, prefix), spare_key)
    trial.run()
    if not trial.wanting and trial.stopped_by is None:
        with contextlib.suppress(MigrationError):  # the trial has shown that it is allowed
            provider.discard_unfinished(trial.key)
    if trial.stopped_by is not None or (len(trial.wanting) > 1 and not trial.granted):
        yield bad(subject, with_advice(trial.stopped_by or trial.wanting[0].error, provider.kind))
        if trial.is_left_behind:
            yield bad(subject, trial.told_left_behind)
        return
    for wanting in trial.wanting:
        yield bad(subject, wanting.told(provider.kind))
    if trial.is_left_behind:
        yield bad(subject, trial.told_left_behind)
        return
    if not trial.wanting:
        yield good(subject, "escribe, lee, lista y borra")
        yield from _check_conditions(provider, prefix, subject)


def _check_conditions(provider: Provider, prefix: str, subject: str) -> Iterator[Finding]:
    """Whether the server supports conditions: tested only where the test objects can be removed."""
    try:
        replaces_safely = provider.replaces_safely(prefix)
    except MigrationError as error:
        yield bad(
            subject, f"no se puede saber si comprueba condiciones al escribir: {with_advice(error, provider.kind)}"
        )
        return
    if not replaces_safely:
        yield advised(subject, UNSAFE_REPLACEMENT)


@dataclass(frozen=True, slots=True)
class _Wanting:
    """A right that the provider does not give."""

    name: str
    consequence: str
    error: MigrationError

    def told(self, kind: str) -> str:
        """The text for operators."""
        permission = OF_S3.get(self.name, "") if kind in ("s3", "minio") else ""
        name = f"{self.name} ({permission})" if permission else self.name
        return one_line(f"no puede {name}: {self.error}; sin eso {self.consequence}")


@dataclass(slots=True)
class _Trial:
    """The rights of one provider, tried with one object."""

    provider: Provider
    key: str
    spare_key: str
    """Used where a killed check has left an object that the provider protects."""
    granted: list[str] = field(default_factory=list)
    wanting: list[_Wanting] = field(default_factory=list)
    stopped_by: MigrationError | None = None
    """An error that makes the remaining tests pointless."""
    is_left_behind: bool = False

    def run(self) -> None:
        """Try all of them and remove the object."""
        is_stored = True  # unless the server says otherwise: an answer may be lost
        try:
            is_stored = self._try("escribir", "no se puede migrar nada a este proveedor", self._write)
            if is_stored:
                self._try("leer", "no se puede probar ni restaurar ninguna copia: no se migra nada", self._read)
            self._try("listar", "no se sabe qué hay ya en cada lugar: no se migra nada", self._list)
            if is_stored:
                self._try("comprobar lo guardado", "no se puede probar ninguna copia: no se migra nada", self._digest)
                for right in self.provider.further_rights(self.key):
                    self._try(right.name, right.consequence, right.use)
        finally:
            self._remove(is_stored=is_stored)

    def _try(self, name: str, consequence: str, use: Callable[[], object]) -> bool:
        if self.stopped_by is not None:
            return False
        try:
            use()
        except STOPS_ALL as error:
            self.stopped_by = error
        except MigrationError as error:
            self.wanting.append(_Wanting(name, consequence, error))
        else:
            self.granted.append(name)
            return True
        return False

    def _remove(self, *, is_stored: bool) -> None:
        try:
            self.provider.delete(self.key)
        except MigrationError as error:
            if is_stored:
                self.is_left_behind = True
                self.wanting.append(_Wanting("borrar", "lo que deja un intento fallido se queda allí", error))

    @property
    def told_left_behind(self) -> str:
        """The text for operators."""
        return f"queda el objeto de prueba {one_line(self.key)}: bórrelo a mano"

    def _write(self) -> None:
        try:
            self.provider.put(self.key, BytesSource(CONTENT))
        except ProviderError as error:
            if isinstance(error, STOPS_ALL) or not is_refusal(error) or self.key == self.spare_key:
                raise
            self.provider.put(self.spare_key, BytesSource(CONTENT))
            self.key = self.spare_key

    def _read(self) -> None:
        if b"".join(self.provider.open(self.key)) != CONTENT:
            raise IntegrityError("el objeto de prueba se leyó distinto de como se escribió")

    def _list(self) -> None:
        found = any(stored.key == self.key for stored in self.provider.list(self.key))
        if not found and "escribir" in self.granted:
            raise IntegrityError("el objeto de prueba no aparece al listar")

    def _digest(self) -> None:
        (digest,) = self.provider.digests([self.key])
        if digest.sha256 != hashlib.sha256(CONTENT).hexdigest():
            raise IntegrityError("la suma del objeto de prueba no es la de lo que se escribió")
