"""Personal access tokens: what people log in to the registry with, instead of a password."""

import secrets
from datetime import timedelta

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from workspaces.access import Actor
from workspaces.actions.access_tokens import TOKEN_PREFIX, hash_token
from workspaces.actions.members import lock_active_person
from workspaces.actions.passwords import record_of_person
from workspaces.log.kinds import EventKind
from workspaces.models import PersonalToken, User

# No password is taken for one: what a person types begins with nothing like this.
PERSONAL_PREFIX = f"{TOKEN_PREFIX}personal_"
MAX_PERSONAL_TOKENS = 20
MAX_PERSONAL_DAYS = 366


@transaction.atomic
def create_personal_token(user: User, name: str, days: int, *, actor: Actor) -> str:
    """Create a token and return its secret, which is shown only once and not stored.

    It is valid for 1 to MAX_PERSONAL_DAYS days. Raises ValidationError with the field `name`, and
    PermissionDenied if the person is deactivated.
    """
    if not 1 <= days <= MAX_PERSONAL_DAYS:
        raise ValueError(f"a personal access token is valid for 1 to {MAX_PERSONAL_DAYS} days")
    lock_active_person(user)
    PersonalToken.objects.filter(user=user, expires_at__lte=Now()).delete()
    if PersonalToken.objects.filter(user=user).count() >= MAX_PERSONAL_TOKENS:
        raise ValidationError(
            {"name": f"You have {MAX_PERSONAL_TOKENS} tokens, the maximum. Revoke one first."}
        )
    secret = PERSONAL_PREFIX + secrets.token_urlsafe(32)
    token = PersonalToken(user=user, name=name, token_hash=hash_token(secret))
    token.clean_fields(exclude=["created_at", "expires_at"])
    token.expires_at = Now() + timedelta(days=days)
    try:
        with transaction.atomic():
            token.save()
    except IntegrityError as error:
        raise ValidationError({"name": "You have a token of this name already."}) from error
    record_of_person(user, EventKind.PERSONAL_TOKEN_CREATED, actor=actor, token=name)
    return secret


@transaction.atomic
def revoke_personal_token(user: User, token_id: int, *, actor: Actor) -> str:
    """Delete a token of the person, and return its name. Raises PersonalToken.DoesNotExist."""
    token = PersonalToken.objects.select_for_update().get(user=user, id=token_id)
    token.delete()
    record_of_person(user, EventKind.PERSONAL_TOKEN_REVOKED, actor=actor, token=token.name)
    return token.name
