"""Files that appear whole or not at all, and are never overwritten. No Django."""

import os
import secrets
from pathlib import Path


def write_once(path: Path, text: str, mode: int = 0o600) -> bool:
    """Write a new file, its folder too; return False, and change nothing, where one is there.

    Of processes that write it at once, one does. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = _draft(path, text, mode)
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    return True


def replace_file(path: Path, text: str, mode: int = 0o600) -> None:
    """Put `text` into the place of a file, or make it. Raises OSError."""
    draft = _draft(path, text, mode)
    draft.replace(path)


def _draft(path: Path, text: str, mode: int) -> Path:
    draft = path.parent / f".{path.name}-{secrets.token_hex(8)}"
    draft.touch(mode=mode)
    with draft.open("w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return draft
