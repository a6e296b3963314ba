import re
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema
from rest_framework.test import APIClient

from packages_site.urls import api_urlpatterns
from tests.access.matrix import list_addresses
from workspaces.access import Scope
from workspaces.models import Workspace

NOT_DESCRIBED = {"/api/v1/schema", "/api/v1/docs"}


@pytest.fixture
def schema(client: Client) -> dict[str, Any]:
    response = client.get("/api/v1/schema")
    assert response.status_code == 200
    parsed: dict[str, Any] = response.json()
    return parsed


def test_the_schema_is_made_once_in_a_process(
    schema: dict[str, Any], client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SchemaGenerator, "get_schema", None)
    assert client.get("/api/v1/schema?version=9").json() == schema


def test_the_schema_is_valid_openapi(schema: dict[str, Any]) -> None:
    validate_schema(schema)  # type: ignore[no-untyped-call]
    assert schema["openapi"].startswith("3.")
    assert schema["info"]["title"] == "Taglock API"


def test_the_schema_is_made_without_a_warning() -> None:
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", "/dev/null")


def test_every_address_of_the_api_is_in_the_schema(schema: dict[str, Any]) -> None:
    addresses = {
        "/" + re.sub(r"<\w+:(\w+)>", r"{\1}", address)
        for address in list_addresses()
        if address.startswith("api/v1/")
    }
    assert len(addresses) > len(api_urlpatterns)
    assert set(schema["paths"]) == addresses - NOT_DESCRIBED


# What is no JSON document, but a file to keep.
FILES = {"application/x-ndjson", "text/csv"}


def test_every_operation_has_a_name_and_says_what_it_answers(schema: dict[str, Any]) -> None:
    operations = [each for path in schema["paths"].values() for each in path.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names)
    for operation in operations:
        assert operation["description"]
        (good,) = operation["responses"].keys() & {"200", "201"}
        answers = operation["responses"][good]["content"]
        is_file = operation["operationId"] == "export_events"
        assert set(answers) == (FILES if is_file else {"application/json"})
        assert all(answer["schema"] for answer in answers.values())


def test_operations_that_count_their_calls_say_so(schema: dict[str, Any]) -> None:
    limited = {
        operation["operationId"]: operation["responses"]["429"]
        for path in schema["paths"].values()
        for operation in path.values()
        if "429" in operation["responses"]
    }
    assert set(limited) >= {
        "check_push",
        "check_delete",
        "confirm_claim",
        "abandon_claim",
        "test_patterns",
        "preview_container_settings",
    }
    for response in limited.values():
        assert set(response["content"]) == {"application/problem+json"}
        assert response["headers"]["Retry-After"]["schema"]["type"] == "integer"


def test_both_ways_of_signing_in_are_in_the_schema(schema: dict[str, Any]) -> None:
    schemes = schema["components"]["securitySchemes"].values()
    assert {"http": "bearer"} in [{each["type"]: each.get("scheme")} for each in schemes]
    assert any(each["type"] == "apiKey" and each["in"] == "cookie" for each in schemes)


# Their texts and lists have limits that are checked with their form.
OF_THE_SETTINGS = {
    "ExceptionRequest",
    "RuleRequest",
    "SaveSettingsRequest",
    "TestRequest",
    "WarningRequest",
}


def is_bounded(schema: dict[str, Any]) -> bool:
    """Whether a text or a list says how long it may be; other values are bounded by their type."""
    if schema.get("type") == "string":
        return bool(schema.keys() & {"maxLength", "enum", "format"})
    if schema.get("type") == "array":
        return "maxItems" in schema and is_bounded(schema["items"])
    return True


def test_every_text_and_list_of_a_body_has_its_limit_in_the_schema(schema: dict[str, Any]) -> None:
    bodies = {
        name: body
        for name, body in schema["components"]["schemas"].items()
        if name.endswith("Request") and name not in OF_THE_SETTINGS
    }
    assert len(bodies) >= 5
    unbounded = [
        f"{name}.{field}"
        for name, body in bodies.items()
        for field, value in body["properties"].items()
        if not is_bounded(value)
    ]
    assert unbounded == []
    assert bodies["CheckPushRequest"]["properties"]["tags"]["maxItems"] == 100
    assert "dry_run" in bodies["CheckDeleteRequest"]["properties"]


def test_every_parameter_of_a_query_has_its_limit_in_the_schema(schema: dict[str, Any]) -> None:
    parameters = {
        f"{operation['operationId']} {each['name']}": each["schema"]
        for path in schema["paths"].values()
        for operation in path.values()
        for each in operation.get("parameters", [])
        if each["in"] == "query"
    }
    assert {"list_locked_tags tag", "list_locked_tags repository", "list_events limit"} <= {
        *parameters
    }
    assert [name for name, value in parameters.items() if not is_bounded(value)] == []
    assert [name for name, value in parameters.items() if name.endswith(" limit")] == [
        name for name, value in parameters.items() if value.get("maximum") == 200
    ]


def test_the_schema_has_the_parameters_that_the_api_takes(
    schema: dict[str, Any], acme: Workspace, api_as: Callable[..., APIClient]
) -> None:
    client = api_as(acme, *Scope)
    for path in ("locked-tags", "lock-log", "repositories", "access-tokens", "lock-log/checkpoint"):
        address = f"/api/v1/workspaces/acme/{path}"
        detail = client.get(f"{address}?tga=v1").json()["detail"]
        taken = detail.rpartition("Allowed parameters: ")[2].removesuffix(".").split(", ")
        operation = schema["paths"][address.replace("acme", "{slug}")]["get"]
        described = [each["name"] for each in operation["parameters"] if each["in"] == "query"]
        assert sorted(described) == sorted(taken if "Allowed" in detail else [])
