"""What a data folder remembers: its secrets, and where and by what its servers' data was made.

Called by `data_directory` alone. Both files are small JSON, written whole and put in place by a
rename, so a crash leaves the old or the new one.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TypeVar

from cryptography.fernet import Fernet
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from timer_service.errors import ConfigurationError

SECRETS_FILE = "secrets.json"
NOTES_FILE = "servers.json"


def _password() -> str:
    return secrets.token_urlsafe(32)


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


StoredT = TypeVar("StoredT", bound=_Stored)


class Secrets(_Stored):
    """Made once per data folder and kept in ``secrets.json``, readable by its owner only."""

    postgres_password: str = Field(default_factory=_password, repr=False)
    redis_password: str = Field(default_factory=_password, repr=False)
    admin_key: str = Field(default_factory=lambda: f"tsa_{_password()}", repr=False)
    encryption_key: str = Field(default_factory=lambda: Fernet.generate_key().decode(), repr=False)


class PostgresNote(_Stored):
    """Where the cluster lies (relative where that is in the data folder) and its last port."""

    cluster: str
    port: int


class RedisNote(_Stored):
    """What wrote the append-only file last, and its port."""

    family: str
    version: tuple[int, ...]
    port: int


class ServerNotes(_Stored):
    """Kept in ``servers.json``."""

    postgres: PostgresNote | None = None
    redis: RedisNote | None = None


def load_or_make_secrets(data_dir: Path) -> Secrets:
    """Read the folder's secrets, or make them in a folder that has no servers yet.

    Raises:
        ConfigurationError: the file is not what was written, or is gone while the data is there.
    """
    path = data_dir / SECRETS_FILE
    if path.exists():
        return _load(Secrets, path)
    if (data_dir / NOTES_FILE).exists() or (data_dir / "postgres" / "cluster").exists():
        raise ConfigurationError(
            f"{path} is gone, and the data beside it cannot be read without it: put it back, or "
            "start with an empty --data folder"
        )
    made = Secrets()
    write_private(path, made.model_dump_json(indent=2))
    return made


def load_notes(data_dir: Path) -> ServerNotes:
    """Read what is known of the folder's servers; nothing in a new one.

    Raises:
        ConfigurationError: the file is not what was written.
    """
    path = data_dir / NOTES_FILE
    return _load(ServerNotes, path) if path.exists() else ServerNotes()


def save_notes(data_dir: Path, notes: ServerNotes) -> None:
    """Keep what is known of the folder's servers."""
    write_private(data_dir / NOTES_FILE, notes.model_dump_json(indent=2))


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all, surviving a power cut."""
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _load(kind: type[StoredT], path: Path) -> StoredT:
    try:
        return kind.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        what = error.strerror if isinstance(error, OSError) else "it is not what was written"
        raise ConfigurationError(f"{path} cannot be read: {what}") from None
