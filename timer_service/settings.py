"""The only reader of the environment: every setting, validated once at start.

A wrong value stops the process with a message that names the key, what was expected and what to
do; an unknown ``TIMER_`` name is refused with the nearest known one.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet
from pydantic import (
    AliasChoices,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from timer_service.errors import ConfigurationError
from timer_service.messages import SummarizerChoice
from timer_service.redis_urls import Topology, parse_redis_url

IDLE_GAP_MIN_S = 1
IDLE_GAP_MAX_S = 2_592_000


class Settings(BaseSettings):
    """Everything configurable. Names in the environment are upper case with ``TIMER_`` before."""

    model_config = SettingsConfigDict(env_prefix="TIMER_", extra="ignore", frozen=True)

    database_url: SecretStr | None = None
    """``postgresql://user:password@host:port/name``; the truth."""
    database_replica_url: SecretStr | None = None
    """A streaming replica of it, for the console's lists."""
    redis_url: SecretStr | None = None
    """The clock: one server with a database of our own, Sentinels or a Cluster (`redis_urls`)."""
    queue_redis_url: SecretStr | None = Field(default=None, validate_default=True)
    """Where RQ lives, no Cluster; by default the next database of the same Redis."""
    shards: int = Field(default=1, ge=1, le=16384)
    """Fixed at install: how many hash tags the live keys are spread over."""
    idle_gap_s: int = Field(default=900, ge=IDLE_GAP_MIN_S, le=IDLE_GAP_MAX_S)
    """Silence that ends a session, for businesses that do not set their own."""
    public_url: str = "http://127.0.0.1:8080"
    """What providers call; webhook addresses are built from it."""
    trusted_proxies: int = Field(default=0, ge=0, le=10)
    """How many reverse proxies of our own stand before web; their word on who calls is believed."""
    admin_key: SecretStr | None = None
    """The key above all businesses; made at the first start where it is not set."""
    encryption_keys: SecretStr | None = None
    """Fernet keys for secrets at rest, newest first, separated by commas."""
    retention_days: int | None = Field(default=None, ge=1, le=36_500)
    """How long closed sessions and their messages are kept; for ever where it is not set."""
    sweep_period_s: float = Field(default=5.0, ge=0.2, le=300)
    """How often the safety net looks for what events missed."""
    spool_dir: Path | None = None
    """Where accepted webhooks wait while Postgres is away; without it they are answered 503."""
    media_dir: Path | None = None
    """Where files from gateways are cached and uploads wait; web and workers share it. Without it
    there are neither."""
    media_quota_mb: int = Field(default=1024, ge=1, le=10_000_000)
    """What that folder may hold altogether."""
    media_file_mb: int = Field(default=100, ge=1, le=2000)
    """The largest file that is fetched or taken."""
    summarizer: SummarizerChoice = SummarizerChoice.AUTO
    summary_model: str = "gpt-5-mini"
    """The model asked for summaries."""

    openai_api_key: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("openai_api_key", "OPENAI_API_KEY")
    )
    openai_base_url: str | None = Field(
        default=None, validation_alias=AliasChoices("openai_base_url", "OPENAI_BASE_URL")
    )

    @field_validator("redis_url")
    @classmethod
    def _is_redis_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            parse_redis_url(value.get_secret_value())
        return value

    @field_validator("queue_redis_url")
    @classmethod
    def _is_no_cluster(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is not None:
            if _is_cluster(value):
                raise ValueError(
                    "RQ does not run on a Redis Cluster (its scripts touch keys of several slots): "
                    "expected the URL of one server or of Sentinels"
                )
        elif (timers := info.data.get("redis_url")) is not None and _is_cluster(timers):
            raise ValueError(
                "it must be set where TIMER_REDIS_URL names a Redis Cluster: RQ does not run on "
                "one. Expected the URL of one server or of Sentinels, such as redis://host:6379/0"
            )
        return value

    @field_validator("encryption_keys")
    @classmethod
    def _are_fernet_keys(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            for key in split_keys(value):
                Fernet(key)
        return value

    @property
    def kept_for(self) -> timedelta | None:
        """How long closed sessions and their messages are kept; None: for ever."""
        return None if self.retention_days is None else timedelta(days=self.retention_days)

    def encryption_key_list(self) -> list[str]:
        """Return the Fernet keys, newest first.

        Raises:
            ConfigurationError: none is set.
        """
        if self.encryption_keys is None or not split_keys(self.encryption_keys):
            raise ConfigurationError(
                "TIMER_ENCRYPTION_KEYS is not set: expected one or more Fernet keys separated by "
                "commas. Make one with: python -c 'from cryptography.fernet import Fernet; "
                "print(Fernet.generate_key().decode())'"
            )
        return split_keys(self.encryption_keys)

    def require_database_url(self) -> str:
        """Return the Postgres URL.

        Raises:
            ConfigurationError: it is not set.
        """
        if self.database_url is None:
            raise ConfigurationError(
                "TIMER_DATABASE_URL is not set: expected postgresql://user:password@host/name. "
                "`./run up` starts a Postgres of its own where it is not set."
            )
        return self.database_url.get_secret_value()

    def require_redis_url(self) -> str:
        """Return the URL of the Redis that keeps the live keys.

        Raises:
            ConfigurationError: it is not set.
        """
        if self.redis_url is None:
            raise ConfigurationError(
                "TIMER_REDIS_URL is not set: expected redis://host:port/0, or Sentinels' or a "
                "Cluster's. "
                "`./run up` starts a Redis of its own where it is not set."
            )
        return self.redis_url.get_secret_value()


def _is_cluster(url: SecretStr) -> bool:
    return parse_redis_url(url.get_secret_value()).topology is Topology.CLUSTER


def split_keys(value: SecretStr) -> list[str]:
    """Split comma-separated keys, dropping blanks."""
    return [key.strip() for key in value.get_secret_value().split(",") if key.strip()]


def load_settings(**given: Any) -> Settings:
    """Read and check the settings; ``given`` values win over the environment.

    Raises:
        ConfigurationError: a value is wrong, or there is no setting of that name.
    """
    refuse_unknown_names(os.environ)
    for name in given:
        if name not in Settings.model_fields:
            raise ConfigurationError(
                f"{name} is not a setting.{_hint(name, Settings.model_fields)}"
            )
    try:
        return Settings(**given)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = "TIMER_" + "_".join(str(part) for part in first["loc"]).upper()
        raise ConfigurationError(f"{name} is wrong: {first['msg']}") from None


def refuse_unknown_names(environ: Mapping[str, str]) -> None:
    """Refuse a ``TIMER_`` name that no setting has, with the nearest one that exists.

    Raises:
        ConfigurationError: there is such a name.
    """
    known = {f"TIMER_{name.upper()}" for name in Settings.model_fields if "openai" not in name}
    for name in environ:
        if name.startswith("TIMER_") and name not in known:
            raise ConfigurationError(f"{name} is not a setting.{_hint(name, known)}")


def _hint(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean {near[0]}?" if near else ""
