"""Roles of the database that have the rights which documents and jobs name, and no others."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import urlsplit

from tests.stories.installation import Installation

OF_EVERY_RUN = (
    "GRANT SELECT ON cloud_providers, ejecuciones_config, ejecuciones_yaml, secretos_nube TO {role}",
    "GRANT SELECT ON janitor_upgrades, janitor_job_upgrades TO {role}",
    "GRANT SELECT, INSERT, UPDATE ON janitor_jobs, janitor_job_runs TO {role}",
    "GRANT UPDATE (migrado_a_nube, ruta_nube, nube_provider_id) ON ejecuciones_yaml TO {role}",
    "GRANT SELECT, INSERT, UPDATE ON janitor_runs, janitor_migrations, janitor_attempts, janitor_looks TO {role}",
    "GRANT SELECT, INSERT, UPDATE ON janitor_installation TO {role}",
    "GRANT SELECT, INSERT ON janitor_audit TO {role}",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON janitor_holds, janitor_provider_health TO {role}",
)
"""What the README says that a run needs, but for what single jobs need besides."""


def granted(rights: Mapping[str, str]) -> Iterator[str]:
    """The statements that grant what a job names as its rights."""
    for name, of_it in rights.items():
        yield f"GRANT {of_it} ON {'FUNCTION ' if name.endswith(')') else ''}{name} TO {{role}}"


@contextlib.contextmanager
def role_with(installation: Installation, grants: Iterable[str]) -> Iterator[str]:
    """The database's URL for a new role with these rights: statements with `{role}` in place of its name."""
    role = role_of(installation)
    installation.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'sage'")
    try:
        for statement in grants:
            installation.execute(statement.format(role=role))
        parts = urlsplit(installation.database_url)
        address = parts.netloc.rpartition("@")[2]
        yield parts._replace(netloc=f"{role}:sage@{address}").geturl()
    finally:
        installation.execute(f"DROP OWNED BY {role}")
        installation.execute(f"DROP ROLE {role}")


def role_of(installation: Installation) -> str:
    """The name of the role that `role_with` makes."""
    return f"{installation.rows('SELECT current_database() AS name')[0]['name']}_sage"
