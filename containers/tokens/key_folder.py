"""The folder of keys that this installation signs with."""

from functools import lru_cache
from pathlib import Path

from django.conf import settings

from containers.tokens.keys import KeyFolder


def token_keys() -> KeyFolder:
    """Return the keys in the folder TOKEN_KEYS_DIR."""
    return _folder(settings.TOKEN_KEYS_DIR)


@lru_cache(maxsize=4)
def _folder(path: Path) -> KeyFolder:
    """One object a folder, so that what it has read is kept."""
    return KeyFolder(path)
