"""Ask for a token, in the words of the registry (RFC 6750, section 3)."""

from django.conf import settings
from django.http import HttpResponse

from containers.tokens.grants import ResourceAccess
from containers.tokens.tokens import SERVICE
from workspaces.json_response import UTF8JsonResponse


def challenge(wanted: ResourceAccess | None, error: str = "") -> HttpResponse:
    """Answer 401: say where to get a token, and with `error` what is wrong with the one sent."""
    parts = [f'Bearer realm="{settings.PUBLIC_URL}/auth/token"', f'service="{SERVICE}"']
    detail: list[dict[str, str]] | None = None
    if wanted is not None:
        parts.append(f'scope="{wanted.type}:{wanted.name}:{",".join(wanted.actions)}"')
        detail = [
            {"Type": wanted.type, "Class": "", "Name": wanted.name, "Action": action}
            for action in wanted.actions
        ]
    if error:
        parts.append(f'error="{error}"')
    body = {
        "errors": [{"code": "UNAUTHORIZED", "message": "authentication required", "detail": detail}]
    }
    return UTF8JsonResponse(body, status=401, headers={"WWW-Authenticate": ",".join(parts)})
