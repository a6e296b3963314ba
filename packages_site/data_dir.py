"""The keys and the database that Taglock makes: `migrate` and `make run` do, and nothing else.

So a command with other settings than the site's doesn't create a second installation.
"""

import shlex
from contextlib import closing
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connection

from packages_site.database import read_sqlite_uri
from packages_site.key_files import read_or_make_secret_key
from workspaces.secret_key import describe_other_secret_key

_FINGERPRINT = "SELECT fingerprint FROM workspaces_keyfingerprint WHERE setting = 'SECRET_KEY'"


def make_missing_files() -> None:
    """Make the keys that are missing and need no database, and the file of an SQLite database.

    Raises OSError or BadSettingError if something cannot be written.
    """
    settings.DATA_DIR.mkdir(parents=True, exist_ok=True)
    if not has_secret_key():
        settings.SECRET_KEY = read_or_make_secret_key(settings.DATA_DIR)
    path = find_sqlite_file()
    if path is not None and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)


def find_sqlite_file() -> Path | None:
    """Return the file of the database; None if it is not a file."""
    name = str(connection.settings_dict["NAME"])
    path = read_sqlite_uri(name)
    return Path(path) if connection.vendor == "sqlite" and path != name else None


def describe_missing_secret_key() -> str:
    """Return what to do if there is no secret key; nothing if there is one."""
    if has_secret_key():
        return ""
    return (
        f"there is no secret key in {settings.DATA_DIR}. Set SECRET_KEY, or DATA_DIR, as the site "
        f"has it; or make a new key: {make_command_line('migrate')}"
    )


def require_secret_key() -> None:
    """End the process, with one line, if there is no secret key, or another than on other nodes.

    Where the database cannot be asked, `/readyz` tells later.
    """
    problem = describe_missing_secret_key() or describe_other_secret_key(read_fingerprint())
    if problem:
        raise SystemExit(f"taglock: {problem}")


def read_fingerprint() -> str | None:
    """Return the fingerprint of every node's SECRET_KEY; None where the database has none."""
    row = ask_apart(_FINGERPRINT)
    return str(row[0]) if row else None


def ask_apart(statement: str) -> Any:
    """Return the row that a statement gives; None for none, and where it cannot be asked.

    By a connection of its own: processes that are forked later must not share one, and the pool
    would try for seconds.
    """
    driver = connection.Database  # type: ignore[attr-defined]
    try:
        with closing(driver.connect(**connection.get_connection_params())) as session:
            return session.execute(statement).fetchone()
    except driver.Error:
        return None


def has_secret_key() -> bool:
    try:
        return bool(settings.SECRET_KEY)
    except ImproperlyConfigured:  # Django's, for an empty one.
        return False


def make_command_line(command: str) -> str:
    """Return how to run a command of manage.py on this data folder, from Taglock's own folder.

    An installed Taglock knows its data folder from its file of settings.
    """
    if settings.IS_INSTALLED:
        return f"taglock {command}"
    is_default = settings.DATA_DIR == settings.BASE_DIR / "var"
    prefix = "" if is_default else f"DATA_DIR={shlex.quote(str(settings.DATA_DIR))} "
    return f"{prefix}.venv/bin/python manage.py {command}"
