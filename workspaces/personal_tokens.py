"""Find the person who presents a personal access token."""

from django.db.models import Q
from django.db.models.functions import Now

from workspaces.access_tokens import USE_NOTED_EVERY
from workspaces.actions.access_tokens import MAX_SECRET_LENGTH, hash_token
from workspaces.models import PersonalToken, User

_IS_VOUCHED_FOR = Q(user__identity=None) | Q(user__identity__vouched_until__gt=Now())


def find_token_owner(username: str, secret: str) -> User | None:
    """Return the active person of this name whose token this is, and note its use, or None.

    None also where it has expired, or where the identity provider does not vouch for the person at
    the moment.
    """
    if len(secret) > MAX_SECRET_LENGTH:
        return None
    token = (
        PersonalToken.objects.select_related("user")
        .filter(
            _IS_VOUCHED_FOR,
            token_hash=hash_token(secret),
            user__username=username,
            user__is_active=True,
            expires_at__gt=Now(),
        )
        .first()
    )
    if token is None:
        return None
    due = Q(last_used_at=None) | Q(last_used_at__lt=Now() - USE_NOTED_EVERY)
    PersonalToken.objects.filter(due, id=token.id).update(last_used_at=Now())
    return token.user
