"""The checkpoint of a chain as it is now, to be taken away."""

from workspaces.log.checkpoints import is_current, latest_checkpoint, make_checkpoint
from workspaces.log.keys import read_signing_key
from workspaces.log.models import Checkpoint
from workspaces.log.seal import seal_for

# What was just recorded is sealed first; a larger backlog is the worker's.
_SEAL_SECONDS = 2.0


class NothingSealedError(Exception):
    """There is no seal to make a checkpoint of. The message says what to do."""

    def __init__(self) -> None:
        super().__init__("No event is sealed yet. Try again in a moment.")


def current_checkpoint(slug: str) -> Checkpoint:
    """Seal what is not sealed yet, and return the checkpoint of the chain as it is then.

    That is the latest one, unless the chain has moved since, or the key has changed.
    Raises KeyFileError, and NothingSealedError.
    """
    seal_for(_SEAL_SECONDS)
    latest = latest_checkpoint(slug)
    if latest is not None and is_current(latest, read_signing_key().verifier):
        return latest
    checkpoint = make_checkpoint(slug)
    if checkpoint is None:
        raise NothingSealedError
    return checkpoint
