"""Why a question could not be answered. A refusal is a value, never one of these."""

from workspaces.caller_access import describe_archived
from workspaces.models import Workspace


class TryAgainError(Exception):
    """Nothing can be decided now, so nothing is allowed. The message says what has to happen first.

    `seconds` is when to ask again.
    """

    def __init__(self, message: str, seconds: int = 10) -> None:
        super().__init__(message)
        self.seconds = seconds


class UnreadableTagError(TryAgainError):
    """The registry cannot read a tag, and not for long enough yet."""


def explain(error: Exception) -> str:
    """Return what operators are told of an error: what it comes from says more than it does."""
    return str(error.__cause__ or error)


class PermissionRevokedError(Exception):
    """The caller lost the permission while the request was running."""


class ArchivedError(PermissionRevokedError):
    """The workspace is archived: nothing is pushed to it, or deleted from it."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(describe_archived(workspace))
        self.workspace = workspace


class ConflictError(Exception):
    """The state does not allow this, or has changed since it was shown. The message says so."""
