"""The key that signs checkpoints, and the former ones, which what they signed needs forever."""

import hashlib
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings
from django.db import transaction

from workspaces.log.files import replace_file, write_once
from workspaces.log.notes import (
    BadKeyError,
    SigningKey,
    VerifierKey,
    make_signing_key,
    parse_signing_key,
    parse_verifier_key,
)
from workspaces.secret_key import name_node
from workspaces.shared_keys import (
    LOG_KEY_FILE,
    Fingerprints,
    read_fingerprints,
    record_fingerprint,
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
            f"there is no lock log key, {path}, on node {name_node()}: copy it from the node where "
            "manage.py migrate has made it"
        ) from error
    except (OSError, ValueError) as error:
        raise KeyFileError(f"{path} cannot be used as the lock log's key: {error}") from error


def require_signing_key() -> SigningKey:
    """Return the key of LOG_KEY_FILE, to sign with: the one that every node has.

    Raises KeyFileError, and database errors.
    """
    key = read_signing_key()
    if problem := describe_other_log_key(read_fingerprints()):
        raise KeyFileError(problem)
    return key


def describe_other_log_key(recorded: Fingerprints) -> str:
    """Return one line where this node has another key than was recorded; else nothing.

    A node without the key signs nothing, and is like the others. Raises KeyFileError.
    """
    if not Path(settings.LOG_KEY_FILE).exists():
        return ""
    if recorded.get(LOG_KEY_FILE) == fingerprint_log_key(read_signing_key()):
        return ""
    return (
        f"node {name_node()} has another lock log key than the other nodes, and signs nothing: "
        f"copy theirs to {settings.LOG_KEY_FILE}, or make this one theirs by manage.py "
        "rotate_log_key --accept"
    )


def fingerprint_log_key(key: SigningKey) -> str:
    """Return what tells a key from others: a hash of its public half."""
    return hashlib.sha256(str(key.verifier).encode()).hexdigest()


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
    key = require_signing_key()
    new = make_signing_key(key.name)
    former = [*map(str, _read_former_keys()), str(key.verifier)]
    with transaction.atomic():
        record_fingerprint(LOG_KEY_FILE, fingerprint_log_key(new))
        try:
            # In this order: a key that is both former and in use does no harm.
            replace_file(_former_path(), "".join(f"{each}\n" for each in former), mode=0o644)
            replace_file(path, f"{new.to_text()}\n")
        except OSError as error:
            raise KeyFileError(f"the lock log's key cannot be replaced: {error}") from error
    return new


def accept_key() -> SigningKey:
    """Let this node's key, made if it is missing, be the one that every node signs with.

    For a key that was lost, or a rotation that was cut off. Raises KeyFileError.
    """
    path = Path(settings.LOG_KEY_FILE)
    try:
        write_once(path, f"{make_signing_key(urlsplit(settings.PUBLIC_URL).netloc).to_text()}\n")
    except OSError as error:
        raise KeyFileError(f"the lock log's key cannot be made: {error}") from error
    key = read_signing_key()
    record_fingerprint(LOG_KEY_FILE, fingerprint_log_key(key))
    return key


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
