"""What the API's schema says beyond its views: groups, a real example and the errors of each call.

Examples are in `api_examples.json`, by operation: the request and what is answered. A test sends
each of them to the API. Errors are named here, by their codes.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer, OpenApiJsonRenderer2
from drf_spectacular.views import SpectacularJSONAPIView

from workspaces.problem_details import STATUS_TITLES

Operation = dict[str, Any]

PROBLEM_TYPE = "application/problem+json"
EXAMPLES: dict[str, dict[str, Any]] = json.loads(
    Path(__file__).with_name("api_examples.json").read_text()
)

# The part of the path behind the workspace, or the first one, and what calls below it are about.
_GROUPS = {
    "check-push": "Checks",
    "check-delete": "Checks",
    "registry-events": "Registry events",
    "claims": "Checks",
    "container-settings": "Container settings",
    "repositories": "Repositories and tags",
    "locked-tags": "Locked tags",
    "lock-log": "Lock log",
    "access-tokens": "Access tokens",
}


# What names in a path stand for.
_PATH_NAMES = {
    "slug": "The workspace's slug.",
    "claim_id": "The `id` of the claim that check-push returned.",
    "lock_id": "The `id` of the locked tag.",
    "ref": "The `ref` of the event.",
    "token_id": "The `id` of the access token.",
    "repository": 'The full name, like "acme/api".',
}


@dataclass(frozen=True)
class Problem:
    """An error: its status, when it is answered, and an example of its detail."""

    status: int
    when: str
    detail: str


PROBLEMS = {
    "invalid": Problem(
        400,
        "A field or a parameter is missing, unknown or not acceptable; `errors` says which.",
        "Unknown field. Allowed fields: repository, tag.",
    ),
    "parse_error": Problem(
        400, "The body is not JSON.", "The body is not valid JSON: Expecting value: line 1 column 1"
    ),
    "NAME_INVALID": Problem(
        400,
        "A repository or a tag cannot have this name.",
        '"acme/API" is not a repository name: use lower-case letters and digits, separated by '
        "dots, underscores, hyphens and slashes.",
    ),
    "DIGEST_INVALID": Problem(
        400,
        "A digest cannot be read.",
        '"sha256:12" is not a sha256 digest: 64 lower-case hexadecimal digits are needed after the '
        "colon, not these 2 characters.",
    ),
    "matches_no_tag": Problem(
        400,
        "A rule's pattern can match no tag.",
        "This pattern matches no tag, so it protects nothing: a tag has no spaces.",
    ),
    "not_authenticated": Problem(
        401,
        "No access token was sent, and no one is signed in.",
        "Authentication credentials were not provided.",
    ),
    "authentication_failed": Problem(
        401,
        "The access token is not valid, or has expired.",
        "This access token has expired. Ask an admin for a new one.",
    ),
    "forbidden": Problem(
        403,
        "The caller may not do this. An access token may lack the scope, or be limited to other "
        "repositories.",
        "Only admins of the workspace can change its settings.",
    ),
    "permission_denied": Problem(
        403,
        "A call with a session has no CSRF token.",
        "CSRF Failed: CSRF token missing.",
    ),
    "NAME_UNKNOWN": Problem(
        404,
        "There is no such workspace, or the caller is not in it.",
        'There is no workspace "globex" that you have access to.',
    ),
    "not_found": Problem(
        404, "What the path names does not exist.", "This workspace has no such locked tag."
    ),
    "idempotency_key_used": Problem(
        409,
        "The key was used for another push, or its claim has ended.",
        "This idempotency_key was used for another push. Use a new one.",
    ),
    "claim_ended": Problem(
        409, "The claim ended in another way.", "This claim has already ended: it was abandoned."
    ),
    "locks_would_suspend": Problem(
        409,
        "Saving would suspend locks, and `suspend_locks` is not true.",
        'Saving would suspend 290 locks: their tags could be overwritten. Send "suspend_locks": '
        "true if that is what you want.",
    ),
    "wrong_state": Problem(
        409,
        "The lock's state does not allow this change.",
        "This lock is now reserved; nothing was changed.",
    ),
    "settings_changed": Problem(
        412,
        "Someone else saved the settings since you read them.",
        "Someone else has saved these settings: they are now at version 5. Read them again, then "
        "send your change.",
    ),
    "too_large": Problem(
        413, "The body is larger than 64 KiB.", "The body is larger than 65536 bytes."
    ),
    "unsupported_media_type": Problem(
        415,
        "The body is not sent as `application/json`.",
        'Unsupported media type "text/plain" in request.',
    ),
    "if_match_required": Problem(
        428,
        "`If-Match` is missing.",
        "Send the ETag of the settings that you have read as If-Match, so that you don't "
        "overwrite someone else's change.",
    ),
    "too_many_calls": Problem(
        429,
        "Too many calls; `Retry-After` says when to call again.",
        "Too many calls. Try again in 12 seconds.",
    ),
    "undecided": Problem(
        503,
        "The database, the registry or a rule could not be used, so nothing was decided. Try "
        "again after `Retry-After`.",
        "The database cannot be used now, so nothing was decided. Try again.",
    ),
    "cannot_sign": Problem(
        503,
        "The lock log's key cannot be read. Tell an operator.",
        "The lock log's key cannot be read, so nothing can be signed. Tell an operator.",
    ),
    "nothing_sealed": Problem(
        503, "No event is sealed yet.", "No event is sealed yet. Try again in a moment."
    ),
    "too_many_exports": Problem(
        503,
        "Another export is running.",
        "An export of this log is already running. Try again when it has finished.",
    ),
}

_OF_EVERY_CALL = ("invalid", "not_authenticated", "authentication_failed", "forbidden", "undecided")
_OF_A_BODY = ("parse_error", "too_large", "unsupported_media_type")
# Beyond what follows from path, method and body.
_OF_ONE_CALL = {
    "check_push": ("NAME_INVALID", "DIGEST_INVALID", "idempotency_key_used"),
    "check_delete": ("NAME_INVALID", "DIGEST_INVALID"),
    "confirm_claim": ("claim_ended",),
    "abandon_claim": ("claim_ended",),
    "save_container_settings": (
        "matches_no_tag",
        "locks_would_suspend",
        "settings_changed",
        "if_match_required",
    ),
    "preview_container_settings": ("matches_no_tag",),
    "list_locked_tags": ("NAME_INVALID",),
    "delete_locked_tag": ("wrong_state",),
    "release_locked_tag": ("wrong_state",),
    "list_repositories": ("NAME_INVALID",),
    "export_events": ("cannot_sign", "nothing_sealed", "too_many_exports"),
    "get_checkpoint": ("cannot_sign", "nothing_sealed"),
}


@cache
def read_schema() -> dict[str, Any]:
    """Return the API's schema, with all of this. It is the same for every caller.

    It takes seconds to make, so it is made once in a process. Nothing may change it.
    """
    schema: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    return schema


@cache
def _write_schema() -> bytes:
    text: bytes = OpenApiJsonRenderer().render(read_schema())
    return text


class _KeptSchemaGenerator(SchemaGenerator):
    def get_schema(self, *_: object, **__: object) -> dict[str, Any]:
        return read_schema()


class _KeptRenderer(OpenApiJsonRenderer):
    """Gives out the schema that this process has written once; errors as they come."""

    def render(self, data: object, *args: Any, **options: Any) -> bytes:
        if data is read_schema():
            return _write_schema()
        text: bytes = super().render(data, *args, **options)
        return text


class _KeptPlainRenderer(_KeptRenderer):
    media_type = OpenApiJsonRenderer2.media_type


class SchemaView(SpectacularJSONAPIView):
    """The API's schema as JSON, made and written once in a process."""

    generator_class = _KeptSchemaGenerator
    renderer_classes = [_KeptRenderer, _KeptPlainRenderer]


def describe_operations(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Add group, example and errors to every operation (a drf-spectacular hook)."""
    for path, methods in result["paths"].items():
        for method, operation in methods.items():
            operation["tags"] = [_find_group(path)]
            for parameter in operation.get("parameters", []):
                if parameter["in"] == "path":
                    parameter.setdefault("description", _PATH_NAMES.get(parameter["name"], ""))
            _add_example(operation, EXAMPLES.get(operation["operationId"], {}))
            for code in _list_codes(path, method, operation):
                _add_problem(operation["responses"], code)
    return result


def _find_group(path: str) -> str:
    part = path.removeprefix("/api/v1/").removeprefix("workspaces/{slug}/").partition("/")[0]
    return _GROUPS.get(part, part.replace("-", " ").capitalize())


def _add_example(operation: Operation, example: dict[str, Any]) -> None:
    places = (
        (operation.get("requestBody", {}), "request"),
        (operation["responses"].get(str(example.get("status")), {}), "response"),
    )
    for place, name in places:
        if name in example:
            content = place.get("content", {}).get("application/json", {})
            content["examples"] = {"example": {"value": example[name]}}


def _list_codes(path: str, method: str, operation: Operation) -> Iterator[str]:
    """Yield the codes of an operation's errors, by status."""
    codes = {*_OF_EVERY_CALL, *_OF_ONE_CALL.get(operation["operationId"], ())}
    parameters = path.count("{")
    if "{slug}" in path or not parameters:
        codes.add("NAME_UNKNOWN")
    if parameters > path.count("{slug}"):
        codes.add("not_found")
    if method != "get":
        codes.add("permission_denied")
    if "requestBody" in operation:
        codes |= {*_OF_A_BODY}
    if "429" in operation["responses"]:
        codes.add("too_many_calls")
    return (code for code in PROBLEMS if code in codes)


def _add_problem(responses: dict[str, Any], code: str) -> None:
    """Add an error to those of an operation. Several share a status."""
    problem = PROBLEMS[code]
    response = responses.setdefault(str(problem.status), {"description": ""})
    known = response.get("content", {}).get(PROBLEM_TYPE, {}).get("examples", {})
    value = {
        "title": STATUS_TITLES[problem.status],
        "status": problem.status,
        "code": code,
        "detail": problem.detail,
    }
    examples = {**known, code: {"summary": problem.when, "value": value}}
    reference = {"$ref": "#/components/schemas/Problem"}
    response["content"] = {PROBLEM_TYPE: {"schema": reference, "examples": examples}}
    response["description"] = ", ".join(f"`{each}`" for each in examples)
