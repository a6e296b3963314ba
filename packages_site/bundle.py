"""What a backup is: a folder with the database, the log's keys and checkpoints, and a manifest.

It has no SECRET_KEY: that decrypts what the database keeps encrypted, so it belongs elsewhere. The
manifest has its fingerprint. A folder that is not whole ends with `.partial`, and has no manifest.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from workspaces.log.files import write_once

PARTIAL = ".partial"
MANIFEST = "manifest.json"
POSTGRESQL_DUMP, SQLITE_COPY = "database.dump", "database.sqlite3"
LOG_KEY, FORMER_LOG_KEYS = "lock-log-key", "lock-log-key.former"
CHECKPOINTS = "checkpoints"
_FORMAT = 1


class BadBundleError(Exception):
    """A folder is no whole backup. One line says which, and why."""


@dataclass(frozen=True)
class Head:
    """The last sealed event of a workspace's log when the backup began: nothing is before it."""

    sequence: int
    hash: str


@dataclass(frozen=True)
class Manifest:
    """What a backup says of itself: `files` has the SHA-256 of each, by its path in the folder."""

    made_at: str
    taglock: str
    secret_key_fingerprint: str
    heads: Mapping[str, Head]
    files: Mapping[str, str]

    @property
    def is_postgresql(self) -> bool:
        return POSTGRESQL_DUMP in self.files


@contextmanager
def new_bundle(folder: Path) -> Iterator[Path]:
    """Make the folder of a backup, for its owner alone; it has its name once the block ends well.

    Raises OSError, FileExistsError where the name is taken.
    """
    if folder.exists():
        raise FileExistsError(f"{folder} is there already")
    partial = folder.with_name(folder.name + PARTIAL)
    partial.mkdir(mode=0o700, parents=True)
    yield partial
    partial.rename(folder)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest, as the last file of a backup."""
    text = json.dumps({"format": _FORMAT, **asdict(manifest)}, indent=2, sort_keys=True)
    write_once(folder / MANIFEST, f"{text}\n")


def hash_files(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file in the folder but the manifest."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [str(path.relative_to(folder)) for path in files]
    return {name: _hash(path) for name, path in zip(names, files, strict=True) if name != MANIFEST}


def read_bundle(folder: Path) -> Manifest:
    """Return the manifest of a whole backup, every file of which is as it was written.

    Raises BadBundleError.
    """
    if folder.name.endswith(PARTIAL):
        raise BadBundleError(f"{folder} is a backup that was cut off: take another one")
    try:
        read = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if read.pop("format") != _FORMAT:
            raise BadBundleError(f"{folder} is of another version of Taglock's backups")
        heads = {slug: Head(**head) for slug, head in read.pop("heads").items()}
        manifest = Manifest(heads=heads, **read)
        found = hash_files(folder)
    except FileNotFoundError as error:
        raise BadBundleError(f"{folder} is no backup: it has no {MANIFEST}") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadBundleError(f"{folder} cannot be read as a backup: {error}") from error
    changed = [name for name, digest in manifest.files.items() if found.get(name) != digest]
    if changed:
        raise BadBundleError(f"{folder} is damaged: {', '.join(changed)} is missing or changed")
    return manifest


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Let what the folder has survive a loss of power."""
    for path in [*folder.rglob("*"), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
