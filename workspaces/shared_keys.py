"""Keys outside of the database, of which every node needs the same: their fingerprints are in it.

A node with another key says so, and does nothing that the others would not understand.
"""

from collections.abc import Mapping

from workspaces.models import KeyFingerprint

SECRET_KEY = KeyFingerprint.Setting.SECRET_KEY
LOG_KEY_FILE = KeyFingerprint.Setting.LOG_KEY_FILE

Fingerprints = Mapping[str, str]


def read_fingerprints() -> Fingerprints:
    """Return the fingerprints that were recorded, by setting. One query. Raises database errors."""
    return dict(KeyFingerprint.objects.values_list("setting", "fingerprint"))


def record_fingerprint(setting: str, fingerprint: str) -> None:
    """Let this be the key of every node from now on."""
    KeyFingerprint.objects.update_or_create(setting=setting, defaults={"fingerprint": fingerprint})


def record_first_fingerprint(setting: str, fingerprint: str) -> None:
    """Let this be the key of every node, unless there is one already."""
    KeyFingerprint.objects.get_or_create(setting=setting, defaults={"fingerprint": fingerprint})
