"""Brings a database to the newest schema. Called by `timer-service migrate`, `up` and the tests."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory


def migrations_directory() -> Path:
    """Where the Alembic scripts are: beside the package in a wheel, at the root in a clone."""
    package = Path(__file__).resolve().parent
    inside = package / "migrations"
    return inside if inside.is_dir() else package.parent / "migrations"


def alembic_config(database_url: str) -> Config:
    """Return Alembic's configuration for a database."""
    config = Config()
    config.set_main_option("script_location", str(migrations_directory()))
    config.attributes["database_url"] = database_url
    return config


def migrate(database_url: str, revision: str = "head") -> None:
    """Upgrade to ``revision``. Several processes may do so at once: one works, the others wait."""
    command.upgrade(alembic_config(database_url), revision)


def known_revisions() -> list[str]:
    """Return the revisions this version of the program knows, the newest first."""
    config = Config()
    config.set_main_option("script_location", str(migrations_directory()))
    return [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
