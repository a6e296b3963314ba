"""Sessions that began at the identity provider, and that end when it says so."""

import hashlib
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.contrib import auth
from django.contrib.auth import SESSION_KEY, login
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.contrib.sessions.backends.base import SessionBase
from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from workspaces.models import User
from workspaces.single_sign_on.models import SignOn, UsedLogoutToken
from workspaces.single_sign_on.tokens import LEEWAY_SECONDS, MAX_LOGOUT_AGE_SECONDS, Claims

BACKEND = "django.contrib.auth.backends.ModelBackend"
# In the session: which sign-on it is, or that an operator let someone in without one.
_SIGN_ON = "sign_on"
_BY_OPERATOR = "by_operator"
# A browser forgets its session after as long.
MAX_SIGN_ON_DAYS = 14


class PeopleMiddleware(AuthenticationMiddleware):
    """Finds who is signed in, once a view asks. A session that is over is no one's."""

    def process_request(self, request: HttpRequest) -> None:
        """Set `request.user`."""
        super().process_request(request)
        request.user = SimpleLazyObject(lambda: _find_person(request))  # type: ignore[assignment]


def open_session(request: HttpRequest, user: User, sign_on: SignOn) -> None:
    """Sign someone in whom the provider vouches for."""
    login(request, user, backend=BACKEND)
    request.session[_SIGN_ON] = str(sign_on.pk)


def open_operators_session(request: HttpRequest, user: User) -> None:
    """Sign someone in by an operator's link: the session needs neither password nor provider."""
    login(request, user, backend=BACKEND)
    request.session[_BY_OPERATOR] = True


def close_sign_on(session: SessionBase) -> None:
    """Forget the sign-on of a session that someone ends here."""
    if key := _read_key(session):
        SignOn.objects.filter(pk=key).delete()


@transaction.atomic
def end_sessions(issuer: str, claims: Claims) -> bool:
    """End the sessions that a verified logout token names; return False where it was used before.

    That are those of the provider's session `sid`, or else all of the person `sub`. Where both are
    named, also those of the person of which the provider did not say which session it was.
    """
    expires_at = datetime.now(UTC) + timedelta(seconds=MAX_LOGOUT_AGE_SECONDS + 2 * LEEWAY_SECONDS)
    jti_hash = hashlib.sha256(str(claims["jti"]).encode("utf-8", "surrogatepass")).hexdigest()
    try:
        with transaction.atomic():
            UsedLogoutToken.objects.create(jti_hash=jti_hash, expires_at=expires_at)
    except IntegrityError:
        return False
    ended = SignOn.objects.filter(identity__issuer=issuer)
    if "sub" in claims:
        ended = ended.filter(identity__subject=claims["sub"])
    if "sid" in claims:
        ended = ended.filter(sid__in=[claims["sid"], *([""] if "sub" in claims else [])])
    ended.delete()
    return True


def clear_sign_ons() -> None:
    """Delete what is of no more use: old sign-ons, and logout tokens that have expired."""
    SignOn.objects.filter(created_at__lt=Now() - timedelta(days=MAX_SIGN_ON_DAYS)).delete()
    UsedLogoutToken.objects.filter(expires_at__lt=Now()).delete()


def _find_person(request: HttpRequest) -> AbstractBaseUser | AnonymousUser:
    user = auth.get_user(request)
    if user.is_authenticated and not _is_valid(request.session):
        request.session.flush()
        return AnonymousUser()
    return user


def _is_valid(session: SessionBase) -> bool:
    """Whether a session that someone signed in with still counts."""
    if _SIGN_ON not in session:
        return settings.LOCAL_PASSWORDS or _BY_OPERATOR in session
    key = _read_key(session)
    return (
        key is not None
        and SignOn.objects.filter(
            pk=key,
            identity__user_id=session[SESSION_KEY],
            identity__vouched_until__gt=Now(),
            created_at__gt=Now() - timedelta(days=MAX_SIGN_ON_DAYS),
        ).exists()
    )


def _read_key(session: SessionBase) -> UUID | None:
    try:
        return UUID(session[_SIGN_ON])
    except (KeyError, ValueError, TypeError, AttributeError):
        return None
