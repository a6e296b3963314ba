"""Authentication of programs: `Authorization: Bearer <access token>` (RFC 6750)."""

from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from workspaces.access_tokens import find_access_token, has_expired
from workspaces.metrics import LOGIN_FAILURES
from workspaces.models import AccessToken


class TokenCaller:
    """Stands where a user would: a program with an access token."""

    is_authenticated = True
    is_active = True


class AccessTokenAuthentication(BaseAuthentication):
    """Finds the access token of a request by the hash of its secret."""

    def authenticate(self, request: Request) -> tuple[TokenCaller, AccessToken] | None:
        """Return the caller and token; None if the request carries no bearer token."""
        scheme, _, rest = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        secret = rest.strip(" \t")
        token = find_access_token(secret)
        if token is None:
            LOGIN_FAILURES.labels("api").inc()
            raise AuthenticationFailed(
                "This access token has expired. Ask an admin for a new one."
                if has_expired(secret)
                else "This access token is not valid. Ask an admin for a new one."
            )
        return TokenCaller(), token

    def authenticate_header(self, request: Request) -> str:
        """Return the challenge of a 401."""
        return 'Bearer realm="taglock"'
