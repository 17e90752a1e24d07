"""The counts of jobs in words, as `history` tells them: those that are 0 are left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from config.logs import one_line
from config.text.plurals import counted
from config.text.times import size

WORDS: Mapping[str, tuple[str, str]] = {
    "audit": ("anotación de auditoría borrada", "anotaciones de auditoría borradas"),
    "attempts": ("intento borrado del historial", "intentos borrados del historial"),
    "audited": ("copia leída", "copias leídas"),
    "bad": ("copia que no está entera", "copias que no están enteras"),
    "changed": ("registro que cambiaba", "registros que cambiaban"),
    "compressed_files": ("registro comprimido", "registros comprimidos"),
    "copies": ("copia guardada en proveedores", "copias guardadas en proveedores"),
    "deleted": ("copia antigua borrada", "copias antiguas borradas"),
    "deleted_files": ("registro borrado", "registros borrados"),
    "deletions_failed": ("copia local que no se pudo borrar", "copias locales que no se pudieron borrar"),
    "deletions_waiting": ("copia local que espera a otro intento", "copias locales que esperan a otro intento"),
    "delivered": ("aviso entregado", "avisos entregados"),
    "differential": ("copia DIFERENCIAL hecha", "copias DIFERENCIALES hechas"),
    "differing_copies": ("registro con otra copia distinta", "registros con otra copia distinta"),
    "duplicate_files": ("registro repetido borrado", "registros repetidos borrados"),
    "failed": ("con error", "con error"),
    "failures": ("fallo", "fallos"),
    "found_equal": ("que ya estaba", "que ya estaban"),
    "full": ("copia COMPLETA hecha", "copias COMPLETAS hechas"),
    "in_use": ("registro en uso", "registros en uso"),
    "job_runs": ("trabajo borrado del historial", "trabajos borrados del historial"),
    "jobs": ("trabajo de otra máquina borrado", "trabajos de otras máquinas borrados"),
    "left_due": ("que queda por empezar", "que quedan por empezar"),
    "leftovers_removed": ("resto borrado", "restos borrados"),
    "local_copies_deleted": ("copia local borrada", "copias locales borradas"),
    "migrated": ("ejecución migrada", "ejecuciones migradas"),
    "migrated_files": ("fichero migrado", "ficheros migrados"),
    "missing": ("copia que falta", "copias que faltan"),
    "missing_directories": ("directorio que no está", "directorios que no están"),
    "put_off": ("a medias", "a medias"),
    "recovered": ("copia cortada y resuelta", "copias cortadas y resueltas"),
    "rehomed": ("ejecución llevada al proveedor principal", "ejecuciones llevadas al proveedor principal"),
    "restored": ("restauración probada", "restauraciones probadas"),
    "rows": ("fila", "filas"),
    "runs": ("ciclo borrado del historial", "ciclos borrados del historial"),
    "sent": ("aviso enviado", "avisos enviados"),
    "tables": ("tabla", "tablas"),
    "temp_failures": ("archivo temporal sin borrar", "archivos temporales sin borrar"),
    "temp_files_deleted": ("archivo temporal borrado", "archivos temporales borrados"),
    "unread": ("copia que no se pudo leer", "copias que no se pudieron leer"),
    "unsafe_destinations": ("lugar ocupado por objetos de otros", "lugares ocupados por objetos de otros"),
    "verified": ("copia probada", "copias probadas"),
    "without_server": ("prueba sin servidor donde hacerla", "pruebas sin servidor donde hacerlas"),
}
"""By the name of a count, in singular and plural."""

SIZES: Mapping[str, str] = {
    "audited_bytes": "leídos",
    "bytes_after": "comprimidos",
    "bytes_before": "sin comprimir",
    "deleted_bytes": "borrados",
    "duplicate_bytes": "repetidos",
    "freed_bytes": "liberados",
    "migrated_bytes": "enviados",
    "rehomed_bytes": "llevados",
    "size_bytes": "en su fichero",
    "temp_bytes_deleted": "de temporales borrados",
}
"""By the name of a count of bytes, what they are."""


def in_words(counts: Mapping[str, int]) -> Iterator[str]:
    """The counts that are not 0. One that another version recorded, and no table here knows, keeps its name."""
    for name, count in counts.items():
        if not count:
            continue
        if name in WORDS:
            yield counted(count, *WORDS[name])
        elif name in SIZES:
            yield f"{size(count)} {SIZES[name]}"
        elif name.startswith("/"):  # the job metrics notes what is free at each root
            yield f"{size(count)} libres en {one_line(name)}"
        else:
            yield f"{one_line(name)} {one_line(count)}"
