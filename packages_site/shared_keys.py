"""Whether this node has the keys that the other nodes have."""

from typing import NamedTuple

from django.conf import settings
from django.core.checks import CheckMessage, Error, Info
from django.db import Error as AnyDatabaseError

from packages_site.key_files import make_log_key_file
from workspaces.log.keys import (
    KeyFileError,
    describe_other_log_key,
    fingerprint_log_key,
    read_signing_key,
)
from workspaces.secret_key import describe_other_secret_key, fingerprint_secret_key
from workspaces.shared_keys import (
    LOG_KEY_FILE,
    SECRET_KEY,
    read_fingerprints,
    record_first_fingerprint,
)


class OtherKeys(NamedTuple):
    """A line for each key that is another one than the other nodes'; empty for the same."""

    secret_key: str
    log_key: str


def describe_other_keys() -> OtherKeys:
    """Compare this node's keys with the fingerprints in the database. Raises database errors."""
    recorded = read_fingerprints()
    try:
        log_key = describe_other_log_key(recorded)
    except KeyFileError as error:
        log_key = str(error)
    return OtherKeys(describe_other_secret_key(recorded.get(SECRET_KEY)), log_key)


def settle_shared_keys() -> OtherKeys:
    """Record this node's keys as every node's, where none are; return which are other ones.

    Makes the lock log's key, unless another node has it. Raises BadSettingError, KeyFileError and
    database errors.
    """
    record_first_fingerprint(SECRET_KEY, fingerprint_secret_key())
    if LOG_KEY_FILE not in read_fingerprints():
        make_log_key_file(settings.LOG_KEY_FILE, settings.PUBLIC_URL)
        record_first_fingerprint(LOG_KEY_FILE, fingerprint_log_key(read_signing_key()))
    return describe_other_keys()


def check_shared_keys(app_configs: object, **options: object) -> list[CheckMessage]:
    """Say which keys are others than those of the other nodes, for `manage.py check --deploy`."""
    try:
        other = describe_other_keys()
    except AnyDatabaseError:
        return [Info("The keys are not compared: the database cannot be used.", id="taglock.I001")]
    found = zip(other, ("taglock.E001", "taglock.E002"), strict=True)
    return [Error(line, id=name) for line, name in found if line]
