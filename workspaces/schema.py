"""What the API's schema says beyond its views: how programs sign in, and what errors look like."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiResponse


class AccessTokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """`Authorization: Bearer <access token>`."""

    target_class = "workspaces.authentication.AccessTokenAuthentication"
    name = "accessToken"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, str]:
        """Return the OpenAPI security scheme."""
        return {"type": "http", "scheme": "bearer"}


# What an operation that counts its calls may answer; `add_problems` says what that looks like.
TOO_MANY_CALLS = OpenApiResponse(description="Too many calls: code `too_many_calls`.")

_RETRY_AFTER = {
    "Retry-After": {
        "description": "When to call again, in seconds.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    }
}
_PROBLEM = {
    "type": "object",
    "description": "What went wrong (RFC 9457). `code` is stable; further members depend on it.",
    "required": ["title", "status", "code", "detail"],
    "properties": {
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "detail": {"type": "string"},
                    "pointer": {"type": "string"},
                    "code": {"type": "string"},
                },
            },
        },
    },
}


def add_problems(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Say of every operation that its errors are problem details (a drf-spectacular hook)."""
    result.setdefault("components", {}).setdefault("schemas", {})["Problem"] = _PROBLEM
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for path in result["paths"].values():
        for operation in path.values():
            operation["responses"]["default"] = {"description": "An error.", "content": content}
            if limited := operation["responses"].get("429"):
                limited |= {"content": content, "headers": _RETRY_AFTER}
    return result
