"""PgBouncer in transaction mode with one connection to the server: nothing of a session outlives a statement."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psycopg2
import psycopg2.extras

from demo.servers.postgres import unprivileged_account
from demo.servers.process import ServerProcess, free_port
from tests.servers.base import Server, ServerUnavailable

SETTINGS = """
[databases]
* = host={host} port={server_port}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {directory}/users
admin_users = {user}
pool_mode = transaction
default_pool_size = 1
server_reset_query = DISCARD ALL
# also after each transaction, so that whatever a client leaves in a session is missed by its next statement
server_reset_query_always = 1
# nothing that a client asks for at its beginning is ignored, as it is by default
ignore_startup_parameters =
"""


class PgBouncer(Server):
    """A pooler before a PostgreSQL server. It refuses to run as root, and then runs as PostgreSQL's account."""

    name = "PgBouncer"

    def __init__(self, database_url: str) -> None:
        super().__init__()
        self._server = urlsplit(database_url)
        self.port = free_port()
        self._process: ServerProcess | None = None

    def start(self) -> None:
        program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
        if program is None:
            raise ServerUnavailable("there is no pgbouncer (Debian: apt-get install pgbouncer)")
        account = unprivileged_account()
        settings = self._write_settings()
        if account is not None:
            for path in (self.directory, *self.directory.iterdir()):
                os.chown(path, account.user_id, account.group_id)
        self._process = ServerProcess(
            self.name,
            [program, str(settings)],
            self.directory / "server.log",
            account=account,
            stop_signal=signal.SIGTERM,
        )
        self._process.wait_until(self._answers)

    def _write_settings(self) -> Path:
        user, password = self._server.username, unquote(self._server.password or "")
        (self.directory / "users").write_text(f'"{user}" "{password}"\n')
        settings = self.directory / "pgbouncer.ini"
        settings.write_text(
            SETTINGS.format(
                host=self._server.hostname,
                server_port=self._server.port,
                port=self.port,
                directory=self.directory,
                user=user,
            )
        )
        return settings

    def url_of(self, database_url: str) -> str:
        """The URL of a database of that server, by way of this pooler."""
        parts = urlsplit(database_url)
        login = parts.netloc.rpartition("@")[0]
        return parts._replace(netloc=f"{login}@127.0.0.1:{self.port}").geturl()

    def show(self, what: str) -> list[Mapping[str, object]]:
        """What the pooler's own console tells."""
        url = urlsplit(self.url_of(self._server.geturl()))._replace(path="/pgbouncer").geturl()
        with contextlib.closing(psycopg2.connect(url)) as connection:
            connection.autocommit = True
            with connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
                cursor.execute(f"SHOW {what}")
                return list(cursor.fetchall())

    def _answers(self) -> bool:
        try:
            return bool(self.show("VERSION"))
        except psycopg2.OperationalError:
            return False

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()
        super().stop()
