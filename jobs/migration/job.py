"""What the frame knows of the migration. Its story is `JanitorDaemon._migrate_old_executions`."""

from __future__ import annotations

from jobs.job import Job

JOB = Job(
    name="migration",
    title="migración",
    counts={
        "migrated": ("ejecución migrada", "ejecuciones migradas"),
        "migrated_files": ("fichero migrado", "ficheros migrados"),
        "migrated_bytes": "enviados",
        "failed": ("con error", "con error"),
        "unsafe_destinations": ("lugar ocupado por objetos de otros", "lugares ocupados por objetos de otros"),
        "missing_directories": ("directorio que no está", "directorios que no están"),
        "put_off": ("a medias", "a medias"),
        "left_due": ("que queda por empezar", "que quedan por empezar"),
        "local_copies_deleted": ("copia local borrada", "copias locales borradas"),
        "deletions_failed": ("copia local que no se pudo borrar", "copias locales que no se pudieron borrar"),
        "deletions_waiting": ("copia local que espera a otro intento", "copias locales que esperan a otro intento"),
        "leftovers_removed": ("resto borrado", "restos borrados"),
    },
)
