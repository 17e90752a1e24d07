"""Translates English messages of the command-line library and the operating system for operators."""

from __future__ import annotations

import errno
import os
import re

SPANISH = (
    (r"^Usage:", "Uso:"),
    (r"^Options:", "Opciones:"),
    (r"^Commands:", "Órdenes:"),
    (r"\[OPTIONS\]", "[OPCIONES]"),
    (r"\[?COMMAND\]? \[ARGS\]\.\.\.", "[ORDEN [ARGUMENTOS]...]"),
    (r"Show this message and exit\.", "Muestra esta ayuda y termina."),
    (r"Show the version and exit\.", "Muestra la versión y termina."),
    (r"^No such option:? (.+?)\.?(?= Did you mean | \(|$)", r"No existe la opción \1."),
    (r"^No such command (.+?)\.(?= Did you mean | \(|$)", r"No existe la orden \1."),
    (r"Did you mean one of: (.*)\?", r"¿Quería decir una de estas: \1?"),
    (r"Did you mean (.*)\?", r"¿Quería decir \1?"),
    (r"\(Possible options: (.*)\)", r"(opciones parecidas: \1)"),
    (r"^Missing argument (.+)\.", r"Falta el argumento \1."),
    (r"^Missing option (.+?)\.", r"Falta la opción \1."),
    (r"Choose from:", "Elija entre:"),
    (r"'(.*)' is not one of (.+)\.", r"'\1' no es ninguna de estas: \2."),
    (r"\[required\]", "[obligatoria]"),
    (r"^Option (.+) requires an argument\.", r"La opción \1 necesita un valor."),
    (r"^Option (.+) does not take a value\.", r"La opción \1 no lleva valor."),
    (r"Got unexpected extra arguments? \((.*)\)", r"Sobran argumentos: \1"),
    (r"'(.*)' is not a valid (?:integer|float)\.", r"'\1' no es un número."),
    (r"(\S+) is not in the range (\S+)\.$", r"\1 no está entre los valores que se admiten: \2."),
    (r"(?:File|Path) '(.*)' is a directory\.", r"'\1' es un directorio, y ha de ser un fichero."),
    (r"Directory '(.*)' is a file\.", r"'\1' es un fichero, y ha de ser un directorio."),
    (r"(?:File|Directory|Path) '(.*)' does not exist\.", r"'\1' no existe."),
    (r"(?:File|Directory|Path) '(.*)' is not (?:readable|writable)\.", r"'\1' no se puede leer o escribir."),
    (r"Invalid value for (.+?): ", r"Valor no válido para \1: "),
)


def in_spanish(text: str) -> str:
    """`text` with every known sentence of the library translated."""
    for english, spanish in SPANISH:
        text = re.sub(english, spanish, text, flags=re.MULTILINE)
    return text


REASONS = {
    errno.EPERM: "operación no permitida",
    errno.ENOENT: "no existe",
    errno.EINTR: "llamada interrumpida",
    errno.EIO: "error de entrada y salida del dispositivo",
    errno.ENXIO: "no existe el dispositivo",
    errno.EBADF: "descriptor de fichero incorrecto",
    errno.EAGAIN: "recurso no disponible por ahora",
    errno.ENOMEM: "no hay memoria suficiente",
    errno.EACCES: "permiso denegado",
    errno.EBUSY: "el dispositivo o recurso está ocupado",
    errno.EEXIST: "ya existe",
    errno.EXDEV: "está en otro sistema de ficheros",
    errno.ENODEV: "no existe el dispositivo",
    errno.ENOTDIR: "no es un directorio",
    errno.EISDIR: "es un directorio",
    errno.EINVAL: "argumento no válido",
    errno.ENFILE: "demasiados ficheros abiertos en el sistema",
    errno.EMFILE: "demasiados ficheros abiertos",
    errno.ETXTBSY: "el programa está en uso",
    errno.EFBIG: "el fichero es demasiado grande",
    errno.ENOSPC: "no queda espacio en el dispositivo",
    errno.ESPIPE: "no se puede cambiar de posición",
    errno.EROFS: "sistema de ficheros de solo lectura",
    errno.EMLINK: "demasiados enlaces",
    errno.EPIPE: "nadie lee lo que se escribe",
    errno.ENAMETOOLONG: "el nombre es demasiado largo",
    errno.ENOLCK: "no hay bloqueos disponibles",
    errno.ENOSYS: "el sistema no tiene esa función",
    errno.ENOTEMPTY: "el directorio no está vacío",
    errno.ELOOP: "demasiados enlaces simbólicos, o un enlace donde no debe haberlo",
    errno.EOVERFLOW: "el valor es demasiado grande",
    errno.EILSEQ: "el nombre no vale en ese sistema de ficheros",
    errno.EOPNOTSUPP: "operación no admitida",
    errno.EADDRINUSE: "la dirección ya está en uso",
    errno.EADDRNOTAVAIL: "la dirección no está disponible",
    errno.ENETDOWN: "la red no funciona",
    errno.ENETUNREACH: "no se llega a esa red",
    errno.ECONNABORTED: "conexión abandonada",
    errno.ECONNRESET: "la otra parte cortó la conexión",
    errno.ETIMEDOUT: "se acabó el tiempo de espera",
    errno.ECONNREFUSED: "conexión rechazada",
    errno.EHOSTDOWN: "la máquina no responde",
    errno.EHOSTUNREACH: "no se llega a esa máquina",
    errno.ESTALE: "el fichero del servidor ya no es el mismo",
    errno.EREMOTEIO: "error de entrada y salida del servidor",
    errno.EDQUOT: "cuota de disco agotada",
    errno.EKEYREVOKED: "la clave fue revocada",
    -2: "no se conoce esa máquina: ningún servidor de nombres da su dirección",
    -3: "el servidor de nombres no responde por ahora",
    -4: "el servidor de nombres no puede responder",
    -5: "ese nombre no tiene ninguna dirección",
}
"""By errno; the negative ones are those of `getaddrinfo` (netdb.h)."""


def reason_of(error: OSError) -> str:
    """Why a system call failed, in Spanish; a message that is not the system's stays as it is."""
    code = error.errno or 0
    if code > 0 and error.strerror and error.strerror != os.strerror(code):
        return error.strerror
    return REASONS.get(code) or error.strerror or type(error).__name__


def output_failure(error: OSError) -> str:
    """Why the standard output did not take a line, in Spanish."""
    return f"no se puede escribir en la salida estándar: {reason_of(error)}"
