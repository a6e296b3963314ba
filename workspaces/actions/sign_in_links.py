"""Links by which an operator lets a site administrator in, when nothing else does."""

from django.contrib.auth.tokens import PasswordResetTokenGenerator
from django.db import transaction
from django.utils.http import base36_to_int

from workspaces.access import SYSTEM
from workspaces.actions.members import lock_person
from workspaces.actions.passwords import InvalidLinkError, record_of_person
from workspaces.log.kinds import EventKind
from workspaces.models import User

SIGN_IN_LINK_MINUTES = 10


class SignInLinkTokens(PasswordResetTokenGenerator):
    """Makes and checks the tokens in these links. Signing in uses one up."""

    key_salt = "workspaces.actions.sign_in_links.SignInLinkTokens"

    def check_token(self, user: User | None, token: str | None) -> bool:
        """Whether `token` may sign `user` in now."""
        if user is None or not (user.is_active and user.is_superuser and token):
            return False
        if not super().check_token(user, token):
            return False
        age = self._num_seconds(self._now()) - base36_to_int(token.split("-")[0])
        return bool(age <= SIGN_IN_LINK_MINUTES * 60)


SIGN_IN_TOKENS = SignInLinkTokens()


@transaction.atomic
def make_sign_in_token(user: User) -> str:
    """Return the token of a new link for an active site administrator, and record it."""
    record_of_person(
        user, EventKind.PASSWORD_LINK_MADE, actor=SYSTEM, how="to sign in, by make_sign_in_link"
    )
    return SIGN_IN_TOKENS.make_token(user)


def use_sign_in_token(user: User, token: str) -> User:
    """Return the person as they are now, if `token` may sign them in. Raises InvalidLinkError.

    In the transaction in which they are signed in: of two at once, one comes second.
    """
    locked = lock_person(user)
    if not SIGN_IN_TOKENS.check_token(locked, token):
        raise InvalidLinkError
    return locked
