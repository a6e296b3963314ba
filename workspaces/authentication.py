"""Authentication of programs: `Authorization: Bearer <access token>` (RFC 6750)."""

from datetime import timedelta

from django.utils import timezone
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from workspaces.actions.access_tokens import hash_token
from workspaces.models import AccessToken

_USE_NOTED_EVERY = timedelta(hours=1)


class TokenCaller:
    """Stands where a user would: a program with an access token."""

    is_authenticated = True
    is_active = True


class AccessTokenAuthentication(BaseAuthentication):
    """Finds the access token of a request by the hash of its secret."""

    def authenticate(self, request: Request) -> tuple[TokenCaller, AccessToken] | None:
        """Return the caller and token; None where the request carries no bearer token."""
        scheme, _, secret = get_authorization_header(request).partition(b" ")
        if scheme.lower() != b"bearer":
            return None
        token = (
            AccessToken.objects.select_related("workspace")
            .filter(token_hash=hash_token(secret.strip().decode("latin-1")))
            .first()
        )
        now = timezone.now()
        if token is None or token.revoked_at is not None:
            raise AuthenticationFailed(
                "This access token is not valid. Ask an admin for a new one."
            )
        if token.expires_at is not None and token.expires_at <= now:
            raise AuthenticationFailed("This access token has expired. Ask an admin for a new one.")
        if token.last_used_at is None or now - token.last_used_at > _USE_NOTED_EVERY:
            AccessToken.objects.filter(id=token.id).update(last_used_at=now)
        return TokenCaller(), token

    def authenticate_header(self, request: Request) -> str:
        """Return the challenge of a 401."""
        return 'Bearer realm="taglock"'
