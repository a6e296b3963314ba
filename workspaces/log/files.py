"""Files that appear whole or not at all, and are never overwritten. No Django."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_once(path: Path, text: str, mode: int = 0o600) -> bool:
    """Write a new file, its folder too; return False, and change nothing, where one is there.

    Of processes that write it at once, one does. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _draft(path, text, mode) as draft:
        try:
            os.link(draft, path)
        except FileExistsError:
            return False
    return True


def replace_file(path: Path, text: str, mode: int = 0o600) -> None:
    """Replace a file with `text`, or create it. Raises OSError."""
    with _draft(path, text, mode) as draft:
        draft.replace(path)


@contextmanager
def _draft(path: Path, text: str, mode: int) -> Iterator[Path]:
    """Write a file beside `path`, whole and on the disk, which is gone at the end of the block."""
    draft = path.parent / f".{path.name}-{secrets.token_hex(8)}"
    try:
        draft.touch(mode=mode)
        with draft.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        yield draft
    finally:
        draft.unlink(missing_ok=True)
