"""The key that signs checkpoints, and the former ones, which what they signed needs forever."""

from pathlib import Path

from django.conf import settings

from workspaces.log.files import replace_file
from workspaces.log.notes import (
    BadKeyError,
    SigningKey,
    VerifierKey,
    make_signing_key,
    parse_signing_key,
    parse_verifier_key,
)


class KeyFileError(Exception):
    """The key of the lock log cannot be read or written. One line says which file, and why."""


def read_signing_key() -> SigningKey:
    """Return the key of LOG_KEY_FILE. Raises KeyFileError."""
    path = Path(settings.LOG_KEY_FILE)
    try:
        return parse_signing_key(path.read_text(encoding="utf-8").strip())
    except FileNotFoundError as error:
        raise KeyFileError(
            f"there is no lock log key, {path}: manage.py migrate makes it. Other machines "
            "need a copy of it"
        ) from error
    except (OSError, ValueError) as error:
        raise KeyFileError(f"{path} cannot be used as the lock log's key: {error}") from error


def verifier_key() -> str:
    """Return the public half of the key in use, as one line of text. Raises KeyFileError."""
    return str(read_signing_key().verifier)


def read_known_keys() -> list[VerifierKey]:
    """Return the verifier keys that this installation signs and has signed with, newest first.

    Raises KeyFileError.
    """
    return [read_signing_key().verifier, *reversed(_read_former_keys())]


def rotate_key() -> SigningKey:
    """Sign with a new key from now on; keep the verifier key of the one before. Returns the new.

    Raises KeyFileError, and keeps the key that is there then.
    """
    path = Path(settings.LOG_KEY_FILE)
    key = read_signing_key()
    new = make_signing_key(key.name)
    former = [*map(str, _read_former_keys()), str(key.verifier)]
    try:
        # In this order: a key that is both former and in use does no harm.
        replace_file(_former_path(), "".join(f"{each}\n" for each in former), mode=0o644)
        replace_file(path, f"{new.to_text()}\n")
    except OSError as error:
        raise KeyFileError(f"the lock log's key cannot be replaced: {error}") from error
    return new


def _former_path() -> Path:
    path = Path(settings.LOG_KEY_FILE)
    return path.with_name(f"{path.name}.former")


def _read_former_keys() -> list[VerifierKey]:
    path = _former_path()
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return [parse_verifier_key(line) for line in lines if line.strip()]
    except FileNotFoundError:
        return []
    except (OSError, BadKeyError, UnicodeDecodeError) as error:
        raise KeyFileError(f"{path} is not a list of verifier keys: {error}") from error
