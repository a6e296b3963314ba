"""The code that runs beside this one during an upgrade, taken from Git."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MIGRATIONS = "*/migrations/*.py"
# The first version that goes on beside a newer one has this file.
FIRST = "tests/services/previous.py"


def find_previous() -> str | None:
    """Return the commit of the previous version: what may run when this one's `migrate` has run.

    It is the newest release. Before there is one, it is the commit before the newest migration.
    None where Git doesn't have it, such as in a shallow clone.
    """
    try:
        if _git("status", "--porcelain", "--", MIGRATIONS):
            return _git("rev-parse", "HEAD")
        release = _try_git("describe", "--tags", "--abbrev=0", "--match", "v*")
        migrated = _git("rev-list", "--max-count=1", "HEAD", "--", MIGRATIONS)
        # Fails where the history is cut off before it.
        commit = _git("rev-parse", "--verify", f"{release or f'{migrated}^'}^{{commit}}")
        first = _git("log", "--diff-filter=A", "--format=%H", "--", FIRST).splitlines()
        if not first:
            return _git("rev-parse", "HEAD")
        is_later = _try_git("merge-base", "--is-ancestor", first[-1], commit) is not None
        return commit if is_later else first[-1]
    except (OSError, subprocess.CalledProcessError):
        return None


def unpack(commit: str, folder: Path) -> Path:
    """Write the files of a commit into a new folder, and return it."""
    folder.mkdir()
    archive = folder.with_suffix(".tar")
    _git("archive", "--format=tar", f"--output={archive}", commit)
    subprocess.run(["tar", "--extract", f"--file={archive}", f"--directory={folder}"], check=True)
    archive.unlink()
    return folder


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _try_git(*arguments: str) -> str | None:
    """Return what Git says; None where it says no."""
    try:
        return _git(*arguments)
    except subprocess.CalledProcessError:
        return None
