"""Why executions fail, in the words of operators: the codes of errors are for programs."""

from __future__ import annotations

CAUSES = {
    "unavailable": "el proveedor no respondía",
    "access_denied": "acceso denegado",
    "destination_missing": "no existe el destino",
    "not_mounted": "el destino no está montado",
    "invalid_settings": "configuración incorrecta",
    "storage_full": "sin espacio",
    "provider_error": "el proveedor rechaza lo que se le pide",
    "integrity": "lo guardado no es igual a lo enviado",
    "unsafe_destination": "el lugar tiene objetos de otros",
    "unsafe_source": "el directorio no se puede tocar",
    "source_changed": "los ficheros cambiaban mientras se copiaban",
    "source_unreadable": "ficheros que no se pueden leer",
    "directory_missing": "no está el directorio",
    "source_error": "los ficheros no se pueden copiar",
    "source_shrank": "queda menos en el directorio que en la copia",
    "interrupted": "interrumpida",
    "object_not_found": "el proveedor ya no tiene lo que se le envió",
    "condition_failed": "otro programa cambió lo mismo en el proveedor",
    "invalid_key": "el proveedor no admite algún nombre de fichero",
    "object_too_large": "un fichero es demasiado grande para el proveedor",
    "object_protected": "el proveedor protege lo que hay en ese lugar",
    "object_archived": "lo guardado está en el archivo del proveedor",
    "cannot_sign": "el proveedor no firma direcciones",
    "cannot_unarchive": "el proveedor no saca nada de un archivo",
    "cannot_discard": "el proveedor no deja descartar subidas a medias",
    "helper_lost": "se cortó un proceso auxiliar",
    "claim_lost": "otro ciclo tomó la ejecución, o cambió su fila",
    "upload_lost": "el proveedor perdió una subida a medias",
    "clock_is_off": "el reloj del servidor va mal",
    "copy_not_whole": "la copia guardada no está entera",
    "copy_not_seen": "no se pudo ver la copia guardada",
    "local_copy_differs": "el directorio tiene algo que la copia no tiene",
    "local_copy_in_use": "un programa tiene abiertos ficheros del directorio",
    "writers_unknown": "no se sabe si un programa escribe en el directorio",
    "local_copy_absent": "el directorio ya no está, y este programa no lo borró",
    "removal_switched_off": "ya no se pide borrar copias locales",
    "removal_held": "una persona retiene la ejecución",
    "directory_in_conflict": "otra fila pendiente tiene ese directorio",
    "old_copy_unavailable": "la copia que había que llevar no se puede leer",
    "old_copy_damaged": "la copia que había que llevar está dañada",
    "migration_error": "no se pudo migrar",
    "database_error": "la base de datos no hizo la operación",
}
"""In words, by the code of the error."""

BAD_COPIES = "audit:copies"
"""The cause of notices for copies that an audit found lost or damaged."""

NOT_WHOLE = ("copia no está entera", "copias no están enteras")
"""How a run ends that found them: one, and several."""

COPIES_OF_BACKUPS = "backup:copies:"
"""Begins the cause of notices for a provider that lacks copies of backups; its id follows."""

SAID_OF_COPIES = "Copias de seguridad en proveedores: "
"""Begins what is said of such a provider, before how the run ends."""


def with_cause(code: str | None, error: str) -> str:
    """An error after its cause in words, unless it begins with them; the cause alone where there is no error."""
    cause = CAUSES.get(code or "", "")
    if not error:
        return cause or "?"
    return f"{cause}: {error}" if cause and not error.casefold().startswith(cause.casefold()) else error
