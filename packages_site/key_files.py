"""The keys that a node keeps in files: its SECRET_KEY, where none is set, and the lock log's."""

import secrets
from pathlib import Path
from urllib.parse import urlsplit

from packages_site.addresses import BadSettingError
from workspaces.log.files import write_once
from workspaces.log.notes import BadKeyError, SigningKey, make_signing_key, parse_signing_key

MIN_SECRET_KEY_LENGTH = 50


def read_secret_key(data_dir: Path) -> str:
    """Return the key kept in the data folder; nothing if there is none.

    Raises BadSettingError if it cannot be read, or is too short.
    """
    path = data_dir / "secret-key"
    try:
        if not path.exists():
            return ""
        key = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadSettingError(f"SECRET_KEY is not set, and {path} cannot be used: {error}") from (
            error
        )
    if len(key) < MIN_SECRET_KEY_LENGTH:
        raise BadSettingError(
            f"SECRET_KEY is not set, and {path} has fewer than {MIN_SECRET_KEY_LENGTH} characters: "
            "remove it, and a new one is made"
        )
    return key


def read_or_make_secret_key(data_dir: Path) -> str:
    """Return the key kept in the data folder, made on first use and readable by its owner alone.

    Raises BadSettingError if it cannot be read or made.
    """
    path = data_dir / "secret-key"
    try:
        if not path.exists():
            write_once(path, secrets.token_urlsafe(50))
    except OSError as error:
        raise BadSettingError(f"SECRET_KEY is not set, and {path} cannot be used: {error}") from (
            error
        )
    return read_secret_key(data_dir)


def make_log_key_file(path: Path, public_url: str) -> None:
    """Make the key that signs checkpoints of the lock log, named after the site, if there is none.

    Raises BadSettingError if it cannot be made, or if the file is not such a key.
    """
    try:
        if not path.exists():
            write_once(path, f"{make_log_key(public_url).to_text()}\n")
        parse_signing_key(path.read_text(encoding="utf-8").strip())
    except OSError as error:
        raise BadSettingError(f"LOG_KEY_FILE cannot be read or made: {error}") from error
    except ValueError as error:
        # Not what is wrong with it: it is a secret.
        raise BadSettingError(
            f"LOG_KEY_FILE: {path} is not a key of the lock log: put the right file back, or name "
            "another"
        ) from error


def make_log_key(public_url: str) -> SigningKey:
    """Return a new key, named after the site. Raises BadSettingError."""
    try:
        return make_signing_key(urlsplit(public_url).netloc)
    except BadKeyError as error:
        raise BadSettingError(f"PUBLIC_URL cannot name the lock log's key: {error}") from error
