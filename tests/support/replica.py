"""A real streaming replica of a test's Postgres, which can be held back."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg

from tests.support.servers import PostgresServer, _Server
from timer_service.embedded.server import ENVIRONMENT, HOST, choose_port


class ReplicaServer(_Server):
    """Follows a primary by its log; ``delay`` makes it apply what it gets that much later."""

    def __init__(self, primary: PostgresServer) -> None:
        account = primary._spec.account
        folder = Path(tempfile.mkdtemp(prefix="timer-replica-"))
        if account is not None:
            os.chown(folder, account.uid, account.gid)
        self._cluster = folder / "cluster"
        self._port = choose_port(None)
        self._primary = urlsplit(primary._url)
        binary = Path(primary._spec.argv[0])
        subprocess.run(
            [binary.with_name("pg_basebackup"), "-D", self._cluster, "-R", "-X", "stream",
             "--checkpoint=fast", "-d", primary._url],
            check=True, cwd="/", env=ENVIRONMENT,
            user=None if account is None else account.uid,
            group=None if account is None else account.gid,
            extra_groups=None if account is None else [],
        )  # fmt: skip
        argv = list(primary._spec.argv)
        argv[argv.index("-D") + 1] = str(self._cluster)
        argv[argv.index("-p") + 1] = str(self._port)
        spec = replace(primary._spec, name="replica", argv=tuple(argv), ready=self._answers)
        super().__init__(spec, folder)
        self.start()

    def url_of(self, database_url: str) -> str:
        """Return how the copy of one of the primary's databases is reached."""
        parts = self._primary
        netloc = f"{parts.username}:{parts.password}@{HOST}:{self._port}"
        return urlunsplit(parts._replace(netloc=netloc, path=urlsplit(database_url).path))

    def has(self, database_url: str) -> bool:
        """Tell whether one of the primary's databases has come here."""
        try:
            psycopg.connect(self.url_of(database_url)).close()
        except psycopg.OperationalError:
            return False
        return True

    def delay(self, by: str) -> None:
        """Have it apply each commit so long after it was made, such as ``10s``."""
        with (self._cluster / "postgresql.auto.conf").open("a") as settings:
            settings.write(f"recovery_min_apply_delay = '{by}'\n")
        os.kill(self.pid, signal.SIGHUP)

    def destroy(self) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _answers(self) -> bool:
        try:
            with psycopg.connect(self.url_of(self._primary.geturl())) as db:
                return db.execute("SELECT pg_is_in_recovery()").fetchone() == (True,)
        except psycopg.OperationalError:
            return False
