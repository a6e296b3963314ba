"""Requests that are good, and what the tests do to spoil them."""

import json
from collections.abc import Callable
from typing import Any

from django.test import Client

from immutability.models import LockedTag
from tests.conftest import BB
from tests.problems import read_problem

Path = tuple[str | int, ...]

JSON = "application/json"
V1 = "/api/v1"
IN_ACME = f"{V1}/workspaces/acme"
REASON = {"reason": "Because"}


def client_of(secret: str) -> Client:
    headers = {"Authorization": f"Bearer {secret}", "If-Match": "*"}
    return Client(raise_request_exception=False, headers=headers)


def lock_address() -> str:
    return f"{IN_ACME}/locked-tags/{LockedTag.objects.get().id}"


# Method, address and a body that is accepted: what each test then spoils.
REQUESTS: dict[str, tuple[str, Callable[[], str], dict[str, Any]]] = {
    "check-push": (
        "POST",
        lambda: f"{V1}/check-push",
        {"repository": "acme/api", "tag": "v2", "digest": BB, "actor": "dana"},
    ),
    "check-delete": (
        "POST",
        lambda: f"{V1}/check-delete",
        {"repository": "acme/api", "tag": "v1", "actor": "dana"},
    ),
    "container-settings": (
        "PUT",
        lambda: f"{IN_ACME}/container-settings",
        {
            "protection": "all",
            "rules": [{"name": "Versions", "pattern": "^v"}],
            "exceptions": [{"name": "Moving latest", "pattern": "^latest$"}],
        },
    ),
    "test": (
        "POST",
        lambda: f"{IN_ACME}/container-settings/test",
        {
            "tags": ["v1"],
            "rules": [{"name": "Versions", "pattern": "^v"}],
            "exceptions": [{"name": "Moving latest", "pattern": "^latest$"}],
        },
    ),
    "preview": (
        "POST",
        lambda: f"{IN_ACME}/container-settings/preview",
        {"protection": "all", "rules": [{"name": "Versions", "pattern": "^v"}]},
    ),
    "delete": ("DELETE", lock_address, {"name": "free", **REASON}),
    "release": ("POST", lambda: f"{lock_address()}/release", {**REASON}),
    "access token": (
        "POST",
        lambda: f"{IN_ACME}/access-tokens",
        {"name": "ci", "scopes": ["pull"], "expires_at": "2999-12-31T00:00:00Z"},
    ),
    "repository": ("PUT", lambda: f"{IN_ACME}/repositories/acme/api", {"is_public": True}),
}


def send(caller: Client, request: str, body: bytes | str, content_type: str = JSON) -> Any:
    method, address, _ = REQUESTS[request]
    data = body.encode() if isinstance(body, str) else body
    return getattr(caller, method.lower())(address(), data=data, content_type=content_type)


def spoil(body: Any, path: Path, value: Any) -> Any:
    """Return `body` with `value` in the place of what stands at `path`."""
    if not path:
        return value
    first, *rest = path
    if isinstance(first, int):
        return [
            spoil(each, tuple(rest), value) if number == first else each
            for number, each in enumerate(body)
        ]
    return {**body, first: spoil(body.get(first, {}), tuple(rest), value)}


RULE_NAME = ("rules", 0, "name")
RULE_PATTERN = ("rules", 0, "pattern")
EXCEPTION_NAME = ("exceptions", 0, "name")
EXCEPTION_PATTERN = ("exceptions", 0, "pattern")


def spoilt(request_name: str, path: Path, value: str) -> str:
    """Return the request's body with this JSON in one place."""
    marker = "@@the spoilt place@@"
    body = spoil(REQUESTS[request_name][2], path, marker)
    if path == ("tags",) and request_name == "check-push":
        body.pop("tag")
    return json.dumps(body).replace(f'"{marker}"', value)


def read_errors(response: Any, path: Path) -> dict[str, Any]:
    """Assert that the problem points to `path`, or into it; return the body."""
    problem = read_problem(response, 400)
    pointer = "#" + "".join(f"/{step}" for step in path)
    assert any(
        error["pointer"] == pointer or error["pointer"].startswith(pointer + "/")
        for error in problem["errors"]
    ), problem
    assert all(error["detail"] and error["code"] for error in problem["errors"])
    return problem


LIST_FILTERS = [
    *(("locked-tags", name) for name in ("q", "repository", "state", "before", "limit")),
    *(("repositories", name) for name in ("q", "is_public", "after", "limit")),
    *(
        ("lock-log", name)
        for name in (
            "q", "group", "repository", "tag", "kind", "actor", "rule", "digest", "since", "until",
            "before", "limit",
        )
    ),
]  # fmt: skip
