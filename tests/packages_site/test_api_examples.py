"""The examples of the schema are real: each is sent to the API, and answered as the schema says."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from jsonschema import Draft4Validator

from containers.models import Repository
from immutability.models import LockedTag
from immutability.policy.protection import Policy, Protection
from packages_site.api_examples import EXAMPLES, PROBLEMS, read_schema
from tests.conftest import AA, SEMVER
from workspaces.access import SYSTEM, Scope
from workspaces.actions.access_tokens import create_access_token
from workspaces.log.models import LockEvent
from workspaces.log.seal import seal_events
from workspaces.models import AccessToken, User, Workspace

ROOT = Path(__file__).parent.parent.parent
SCHEMA = read_schema()
OPERATIONS = {
    operation["operationId"]: (method, path, operation)
    for path, methods in SCHEMA["paths"].items()
    for method, operation in methods.items()
}


def test_every_operation_has_an_example_and_nothing_else_has() -> None:
    assert sorted(EXAMPLES) == sorted(OPERATIONS)


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_names_what_can_go_wrong(name: str) -> None:
    _, _, operation = OPERATIONS[name]
    codes = {
        code: int(status)
        for status, response in operation["responses"].items()
        if status != "default"
        for code in response.get("content", {})
        .get("application/problem+json", {})
        .get("examples", {})
    }
    assert codes == {code: PROBLEMS[code].status for code in codes}
    assert {"invalid", "not_authenticated", "authentication_failed", "forbidden"} <= {*codes}
    assert codes.keys() & {"NAME_UNKNOWN", "not_found"}
    assert ("too_many_calls" in codes) is ("429" in operation["responses"])
    assert "error" not in codes, "it is said once, for all of them"


def test_every_code_in_the_source_is_described() -> None:
    source = "\n".join(
        file.read_text()
        for app in ("workspaces", "containers", "immutability")
        for file in (ROOT / app).rglob("*.py")
    )
    codes = set(re.findall(r'(?<!\w)Problem\(\s*\w+,\s*"(\w+)"', source))
    assert len(codes) >= 9
    assert codes <= set(PROBLEMS)


class Scene:
    """A workspace with what each operation can be about, and someone who may do everything."""

    def __init__(self, client: Any, workspace: Workspace) -> None:
        self.client = client
        self.workspace = workspace
        self.check("v1.2.0")
        self.check("v1.1.0")
        claim = self.check("v1.3.0", two_phase=True)["claim"]
        Repository.objects.get_or_create(workspace=workspace, name="acme/api")
        create_access_token(
            workspace, "ci", [Scope.PUSH], actor=SYSTEM, repositories=["api-*", "team/**"]
        )
        seal_events()
        event = LockEvent.objects.get(workspace="acme", tag="v1.2.0", kind="tag.locked")
        self.names = {
            "slug": "acme",
            "claim_id": claim["id"],
            "lock_id": LockedTag.objects.get(tag="v1.2.0").id,
            "ref": event.ref,
            "token_id": AccessToken.objects.get(name="ci").id,
            "repository": "acme/api",
        }

    def check(self, tag: str, **more: Any) -> Any:
        body = {"repository": "acme/api", "tag": tag, "digest": AA, "actor": "dana", **more}
        return self.client.post("/api/v1/check-push", body, format="json").json()

    def send(self, name: str) -> Any:
        """Send an operation's example; what is in its path is taken from here."""
        method, path, _ = OPERATIONS[name]
        example = EXAMPLES[name]
        path = re.sub(r"{(\w+)}", lambda found: str(self.names[found[1]]), path)
        if query := example.get("query"):
            path = f"{path}?{query}"
        options: dict[str, Any] = {"headers": example.get("headers", {})}
        if "request" in example:
            options |= {"data": example["request"], "format": "json"}
        return getattr(self.client, method)(path, **options)


@pytest.fixture
def scene(
    acme: Workspace,
    alice: User,
    protect: Callable[..., Policy],
    api_as: Callable[..., Any],
) -> Scene:
    protect(acme, Protection.SOME, SEMVER)
    return Scene(api_as(acme, *Scope), acme)


def shape_of(value: Any) -> Any:
    """Return what is alike in two answers: names and types. Null may stand for anything."""
    if isinstance(value, dict):
        return {name: shape_of(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [shape_of(value[0])] if value else []
    return type(value).__name__


def differ(left: Any, right: Any) -> bool:
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() != right.keys() or any(differ(left[name], right[name]) for name in left)
    if isinstance(left, list) and isinstance(right, list):
        return any(differ(one, two) for one, two in zip(left, right, strict=False))
    return left != right and "NoneType" not in (left, right)


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_example_is_answered_as_it_says(scene: Scene, name: str) -> None:
    example = EXAMPLES[name]
    response = scene.send(name)
    assert response.status_code == example["status"], response.content
    if "text" in example:
        assert b"".join(response.streaming_content).startswith(b'{"')
        return
    answer = response.json()
    assert not differ(shape_of(answer), shape_of(example["response"])), json.dumps(answer)


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_example_is_valid_by_the_schema(name: str) -> None:
    _, _, operation = OPERATIONS[name]
    example = EXAMPLES[name]
    for part, value in (
        (operation.get("requestBody", {}), example.get("request")),
        (operation["responses"][str(example["status"])], example.get("response")),
    ):
        for content in part.get("content", {}).values():
            if value is not None:
                schema = {**to_json_schema(content["schema"]), "components": SCHEMA_PARTS}
                Draft4Validator(schema).validate(value)


def to_json_schema(schema: Any) -> Any:
    """Return a schema of OpenAPI 3.0 with `nullable` as JSON Schema says it."""
    if isinstance(schema, list):
        return [to_json_schema(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {name: to_json_schema(value) for name, value in schema.items() if name != "nullable"}
    return {"anyOf": [plain, {"type": "null"}]} if schema.get("nullable") is True else plain


SCHEMA_PARTS = to_json_schema(SCHEMA["components"])


def test_the_schema_itself_has_the_examples(client: Client) -> None:
    schema = json.loads(client.get("/api/v1/schema?format=json").content)
    post = schema["paths"]["/api/v1/check-push"]["post"]
    body = post["requestBody"]["content"]["application/json"]["examples"]
    assert body["example"]["value"] == EXAMPLES["check_push"]["request"]
    answer = post["responses"]["200"]["content"]["application/json"]["examples"]
    assert answer["example"]["value"] == EXAMPLES["check_push"]["response"]
