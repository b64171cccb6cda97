"""The servers `timer-service up` brings along: a real Postgres and a real Redis-compatible one.

    with DataDirectory(path, tell=say) as data:
        postgres, redis = prepare_postgres(data), prepare_redis(data)
        Supervisor([postgres.spec, redis.spec, ...], log_dir=data.logs, run_dir=data.run).run()

Each ``prepare_*`` leaves a server ready to be started and answers what to run and its URL; from
then on it is a child like any other. Nothing here runs where the settings name a server.
"""

from timer_service.embedded.data_directory import DataDirectory
from timer_service.embedded.postgres_server import prepare_postgres
from timer_service.embedded.redis_server import prepare_redis
from timer_service.embedded.server import EmbeddedServer, EmbeddedServerError
from timer_service.embedded.state import Secrets

__all__ = [
    "DataDirectory",
    "EmbeddedServer",
    "EmbeddedServerError",
    "Secrets",
    "prepare_postgres",
    "prepare_redis",
]
