"""The platform with its daemon, as one run needs it: a database and directories of its own, and executions in them."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg2

from benchmarks.arena.trees import copy_into
from demo.servers.postgres import EmbeddedPostgres
from tests.stories.installation import Installation

EXECUTIONS_PREFIX = "ejecuciones"


@contextmanager
def installation(directory: Path, postgres: EmbeddedPostgres) -> Iterator[Installation]:
    """The platform and the daemon with a database of their own, which is dropped in the end: what nobody vacuums any
    more disturbs nobody.
    """
    name = f"bench_{secrets.token_hex(4)}"
    sage = Installation(directory, postgres.new_database(name))
    try:
        sage.install()
        yield sage
    finally:
        sage.close()
        _drop(postgres, name)


def _drop(postgres: EmbeddedPostgres, name: str) -> None:
    with closing(psycopg2.connect(postgres.database_url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def add_executions(sage: Installation, original: Path) -> None:
    """Give the platform a copy of the files: each directory in `original` is an execution."""
    copy_into(original, sage.executions)
    for directory in sorted(sage.executions.iterdir()):
        sage.add_execution(directory.name, directory)
