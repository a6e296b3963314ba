"""Ask for a token, in the words of the registry (RFC 6750, section 3)."""

from django.conf import settings
from django.http import HttpResponse

from containers.tokens.grants import ResourceAccess
from containers.tokens.tokens import SERVICE
from workspaces.json_response import UTF8JsonResponse


def challenge(*wanted: ResourceAccess, service: str = SERVICE, error: str = "") -> HttpResponse:
    """Answer 401: say where to get a token, and with `error` what is wrong with the one sent."""
    parts = [f'Bearer realm="{settings.PUBLIC_URL}/auth/token"', f'service="{service}"']
    detail: list[dict[str, str]] | None = None
    if wanted:
        scopes = [f"{each.type}:{each.name}:{','.join(each.actions)}" for each in wanted]
        parts.append(f'scope="{" ".join(scopes)}"')
        detail = [
            {"Type": each.type, "Class": "", "Name": each.name, "Action": action}
            for each in wanted
            for action in each.actions
        ]
    if error:
        parts.append(f'error="{error}"')
    body = {
        "errors": [{"code": "UNAUTHORIZED", "message": "authentication required", "detail": detail}]
    }
    return UTF8JsonResponse(body, status=401, headers={"WWW-Authenticate": ",".join(parts)})
