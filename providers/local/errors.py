"""What errors of a file system mean for an object."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

from config.logs import one_line
from config.text.wording import reason_of
from providers.errors import (
    AccessDenied,
    InvalidKey,
    ObjectNotFound,
    ObjectTooLarge,
    ProviderError,
    ProviderUnavailable,
    StorageFull,
)

NOT_AN_OBJECT = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.EINVAL, errno.ENXIO))
"""Errors of opening anything but a regular file: nothing, a link, a directory, a FIFO, a socket."""

NOT_ANSWERING = (
    errno.EIO, errno.EINTR, errno.ESTALE, errno.EREMOTEIO, errno.ENODEV, errno.ENXIO, errno.ETIMEDOUT, errno.ENOTCONN,
    errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED, errno.ESHUTDOWN, errno.EHOSTDOWN, errno.EHOSTUNREACH,
    errno.ENETDOWN, errno.ENETUNREACH,
)  # fmt: skip
"""Errors of a mounted file system whose server or disk does not answer."""

ERRORS: dict[int, tuple[type[ProviderError], str]] = {
    errno.ENOSPC: (StorageFull, "no queda espacio"),
    errno.EDQUOT: (StorageFull, "la cuota está agotada"),
    errno.EFBIG: (ObjectTooLarge, "el sistema de ficheros no admite ficheros tan grandes"),
    errno.EACCES: (AccessDenied, "permiso denegado"),
    errno.EPERM: (AccessDenied, "operación no permitida"),
    errno.EROFS: (AccessDenied, "el sistema de ficheros es de solo lectura"),
    errno.ENAMETOOLONG: (InvalidKey, "el nombre es demasiado largo"),
    errno.EILSEQ: (InvalidKey, "el sistema de ficheros no admite el nombre"),
    errno.EINVAL: (InvalidKey, "el sistema de ficheros no admite el nombre"),
    errno.EISDIR: (InvalidKey, "ya hay un directorio con ese nombre"),
    errno.ENOTDIR: (InvalidKey, "lo que debería ser un directorio es un fichero o un enlace"),
    errno.ELOOP: (InvalidKey, "lo que debería ser un directorio es un enlace"),
    **dict.fromkeys(NOT_ANSWERING, (ProviderUnavailable, "el sistema de ficheros no responde")),
}


@contextlib.contextmanager
def object_expected(key: str) -> Iterator[None]:
    """Turn the errors of looking for a file into `ProviderError`s."""
    with translated(key):
        try:
            yield
        except OSError as error:
            if error.errno not in NOT_AN_OBJECT:
                raise
            raise ObjectNotFound(f"no hay ningún objeto {one_line(key)}") from error


@contextlib.contextmanager
def translated(key: str) -> Iterator[None]:
    """Turn an `OSError` into the matching `ProviderError`."""
    try:
        yield
    except OSError as error:
        raise error_of(error, key) from error


def error_of(error: OSError, what: str) -> ProviderError:
    """The error for operators; `what` says in Spanish, or by its key, what it concerns."""
    unknown = (ProviderError, reason_of(error) if error.errno else "error de entrada y salida")
    error_class, explanation = ERRORS.get(error.errno or 0, unknown)
    return error_class(f"{explanation}: {one_line(what)}")
