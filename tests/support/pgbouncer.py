"""A real PgBouncer in transaction mode before a test's Postgres, everything else as it ships."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg

from tests.support.servers import PostgresServer, _Server
from timer_service.child_process import ChildSpec
from timer_service.embedded.server import HOST, choose_port
from timer_service.embedded.unprivileged import postgres_account

POOL_SIZE = 2


def find_pgbouncer() -> str | None:
    """Return the path of PgBouncer; Debian keeps it where not everybody's PATH leads."""
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")


class PgBouncer(_Server):
    """Lends ``POOL_SIZE`` connections of each database to any number of clients."""

    def __init__(self, postgres: PostgresServer, **settings: str) -> None:
        binary = find_pgbouncer()
        assert binary is not None, "no PgBouncer on this machine: install the package pgbouncer"
        server = urlsplit(postgres._url)
        assert server.username is not None
        self._port = choose_port(None)
        folder = Path(tempfile.mkdtemp(prefix="timer-pgbouncer-"))
        folder.chmod(0o755)  # for root: it refuses root, as Postgres does
        users = folder / "users"
        users.write_text(f'"{server.username}" "{server.password}"\n')
        chosen = {
            "listen_addr": HOST,
            "listen_port": self._port,
            "unix_socket_dir": "",
            "auth_file": users,
            "stats_users": server.username,
            "pool_mode": "transaction",
            "default_pool_size": POOL_SIZE,
            **settings,
        }
        told = "".join(f"{name} = {value}\n" for name, value in chosen.items())
        config = folder / "pgbouncer.ini"
        config.write_text(f"[databases]\n* = host={HOST} port={server.port}\n\n[pgbouncer]\n{told}")
        self._url = urlunsplit(
            server._replace(netloc=f"{server.username}:{server.password}@{HOST}:{self._port}")
        )
        spec = ChildSpec(
            "pgbouncer",
            (binary, str(config)),
            ready=self._answers,
            account=postgres_account(),
            cwd=Path("/"),
        )
        super().__init__(spec, folder)
        self.start()

    def url_of(self, database_url: str) -> str:
        """Return how one of Postgres's databases is reached by way of the pool."""
        return f"{self._url.rpartition('/')[0]}/{database_url.rpartition('/')[2]}"

    def server_connections(self, database_url: str) -> int:
        """Return how many connections to a database are open at Postgres."""
        name = database_url.rpartition("/")[2]
        with self._console() as console:
            return sum(row[2] == name for row in console.execute("SHOW SERVERS"))

    def _console(self) -> psycopg.Connection:
        # Its own console speaks the simple protocol only.
        return psycopg.connect(
            f"{self._url.rpartition('/')[0]}/pgbouncer",
            autocommit=True,
            prepare_threshold=None,
            cursor_factory=psycopg.ClientCursor,
        )

    def _answers(self) -> bool:
        try:
            with self._console() as console:
                return bool(console.execute("SHOW VERSION"))
        except psycopg.OperationalError:
            return False
