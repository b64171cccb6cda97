"""Where and as whom Postgres runs when `up` runs as root: Postgres itself refuses root.

Called by `postgres_server`. It becomes ``nobody``, so its programs and its cluster must lie where
``nobody`` can go. Where the clone or the data folder does not (under a home of mode 700, say),
they get a place under ``/var/lib/timer-service``. No folder of others ever changes its mode.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import secrets
import shutil
import stat
from pathlib import Path

from timer_service.child_process import Account
from timer_service.embedded.server import EmbeddedServerError

SHELTER = Path("/var/lib/timer-service")


def postgres_account() -> Account | None:
    """Return who Postgres must run as: ``nobody`` for root, else None, which is oneself.

    Raises:
        EmbeddedServerError: the machine has no such user.
    """
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        raise EmbeddedServerError(
            "Postgres refuses to run as root and this machine has no user nobody: run as another "
            "user, or set TIMER_DATABASE_URL"
        ) from None
    return Account(entry.pw_uid, entry.pw_gid)


def can_enter(account: Account | None, path: Path) -> bool:
    """Tell whether the account can get to a path through every folder above it, and into it.

    None, oneself, always can: where that is wrong, the system says so. Only mode bits count; an
    access list that grants more is not seen, which errs on the safe side.
    """
    path = path.resolve()
    return account is None or all(
        _may_execute(account, place.stat()) for place in (path, *path.parents)
    )


def _may_execute(account: Account, status: os.stat_result) -> bool:
    if status.st_uid == account.uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == account.gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def make_home(account: Account | None, inside: Path, shelter: Path) -> Path:
    """Make the folder a new cluster lives in: in the data folder if possible, else sheltered.

    A sheltered place is never used twice, so a data folder removed and made again does not meet
    the database of the one before.

    Raises:
        EmbeddedServerError: the shelter cannot be made.
    """
    home = inside / "postgres"
    if not can_enter(account, inside):
        name = hashlib.sha256(os.fsencode(inside)).hexdigest()[:12]
        home = _make_shelter(shelter) / f"{name}-{secrets.token_hex(4)}"
    home.mkdir(mode=0o700, exist_ok=True)
    if account is not None:
        os.chown(home, account.uid, account.gid)
    return home


def copy_programs(install: Path, libraries: Path, version: str, shelter: Path) -> Path:
    """Copy a wheel's Postgres to where ``nobody`` can run it, once; returns the copy.

    Its programs find their libraries by relative path, so both folders keep their places.

    Raises:
        EmbeddedServerError: the shelter cannot be made.
    """
    home = _make_shelter(shelter) / f"postgres-{version}"
    copy = home / install.parent.name / install.name
    if home.exists():  # the rename below makes it whole or not at all
        return copy
    draft = home.with_name(f"{home.name}.{secrets.token_hex(4)}")
    shutil.copytree(
        install,
        draft / install.parent.name / install.name,
        ignore=shutil.ignore_patterns("include"),
    )
    shutil.copytree(libraries, draft / libraries.name)
    for path in (draft, *draft.rglob("*")):  # the wheel may have been unpacked under umask 077
        path.chmod(path.stat().st_mode | stat.S_IRGRP | stat.S_IROTH)
        if path.is_dir() or path.stat().st_mode & stat.S_IXUSR:
            path.chmod(path.stat().st_mode | stat.S_IXGRP | stat.S_IXOTH)
    try:
        draft.rename(home)
    except OSError:  # another start was first
        shutil.rmtree(draft)
    return copy


def _make_shelter(shelter: Path) -> Path:
    try:
        shelter.mkdir(parents=True, exist_ok=True)
        shelter.chmod(0o711)  # ours alone, whatever the umask
    except OSError as error:
        raise EmbeddedServerError(
            f"Postgres runs as nobody, who cannot enter the clone or the data folder, and "
            f"{shelter} cannot be made: {error.strerror}. Put both where everybody may enter, run "
            "as another user, or set TIMER_DATABASE_URL"
        ) from error
    return shelter
