"""Find access tokens: the one that a program presents, noting its use, and those of a workspace."""

import logging
from dataclasses import dataclass
from datetime import timedelta

from django.db import Error as AnyDatabaseError
from django.db import transaction
from django.db.models import BooleanField, ExpressionWrapper, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from workspaces import sql
from workspaces.actions.access_tokens import MAX_SECRET_LENGTH, hash_token
from workspaces.database import Condition
from workspaces.models import AccessToken, Workspace

USE_NOTED_EVERY = timedelta(hours=1)
TOKENS_PER_PAGE = 50
MAX_TOKENS_PER_PAGE = 200

_HAS_EXPIRED = Q(expires_at__lte=Now())
_USE_IS_DUE = Q(last_used_at=None) | Q(last_used_at__lt=Now() - USE_NOTED_EVERY)

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AccessTokenPage:
    """Some access tokens, newest first; `next_before` is an id, 0 at the end."""

    tokens: list[AccessToken]
    next_before: int


def find_access_token(secret: str) -> AccessToken | None:
    """Return the access token of this secret, with its workspace, and note its use.

    Returns None if there is none, or where it is revoked or has expired, by the database's
    clock. `secret` can be any text. Raises no error if only the note fails.
    """
    if len(secret) > MAX_SECRET_LENGTH:
        return None
    token = sql.find_token_by_hash(hash_token(secret))
    if token is not None and _is_use_due(token):
        _note_use(token)
    return token


def find_valid_token(token_id: int, which: Condition | None = None) -> AccessToken | None:
    """Return the access token of this id, with its workspace, or None if it is not valid now.

    With `which`, only if its workspace is the one that this says.
    """
    return sql.find_token_by_id(token_id, which)


def has_expired(secret: str) -> bool:
    """Whether this is the secret of a token that was not revoked and is past its time."""
    if len(secret) > MAX_SECRET_LENGTH:
        return False
    expired = AccessToken.objects.filter(_HAS_EXPIRED, revoked_at=None)
    return expired.filter(token_hash=hash_token(secret)).exists()


def find_access_tokens(
    workspace: Workspace,
    *,
    with_revoked: bool = False,
    before: int = 0,
    limit: int = TOKENS_PER_PAGE,
) -> AccessTokenPage:
    """Return one page of the tokens that work in `workspace`, from the newest below id `before`.

    Those for every workspace are among them.
    """
    found = tokens_in(workspace)
    if not with_revoked:
        found = found.filter(revoked_at=None)
    if before:
        found = found.filter(id__lt=before)
    tokens = list(found.order_by("-id")[: limit + 1])
    has_more = len(tokens) > limit
    tokens = tokens[:limit]
    return AccessTokenPage(tokens, tokens[-1].id if has_more else 0)


def tokens_in(workspace: Workspace) -> QuerySet[AccessToken]:
    """Return the access tokens that work, or worked, in `workspace`, those for all of them too.

    Each says whether it `is_expired`.
    """
    return (
        AccessToken.objects.select_related("workspace")
        .filter(Q(workspace=workspace) | Q(workspace=None))
        .annotate(is_expired=ExpressionWrapper(_HAS_EXPIRED, BooleanField()))
    )


def _is_use_due(token: AccessToken) -> bool:
    """Whether the note is old, by this machine's clock: the database decides when it is written."""
    return token.last_used_at is None or token.last_used_at < timezone.now() - USE_NOTED_EVERY


def _note_use(token: AccessToken) -> None:
    """Write down that the token is in use, unless someone does at this moment.

    Never worth a failed request, and a row that someone else holds is not waited for.
    """
    try:
        with transaction.atomic():
            due = AccessToken.objects.filter(_USE_IS_DUE, id=token.id, revoked_at=None)
            free = due.select_for_update(skip_locked=True).values("id")
            AccessToken.objects.filter(id__in=free).update(last_used_at=Now())
    except AnyDatabaseError as error:
        _logger.warning("The use of access token %d was not noted: %s", token.id, error)
