"""The page of the API: every call, with its fields, an example and its errors."""

import gzip
import json
import re
from typing import Any

import pytest
from django.test import Client

from packages_site.api_examples import EXAMPLES, read_schema
from packages_site.api_reference import list_groups
from tests.page import Browser, Page, parse

CALLS = {call.id: call for group in list_groups() for call in group.calls}
MAX_BYTES = 150_000


@pytest.fixture
def page(db: None, client: Client) -> Page:
    return Browser(client).open("/api/v1/docs")


def test_every_operation_is_there_with_its_address(page: Page) -> None:
    expected = {
        operation["operationId"].replace("_", "-"): f"{method.upper()} {path}"
        for path, methods in read_schema()["paths"].items()
        for method, operation in methods.items()
    }
    sections = {
        section.find("h3")["id"]: section.find(class_="call-address").text
        for section in page.main.find_all("section", class_="call")
    }
    assert sections == expected


def test_every_operation_can_be_reached_from_the_contents(page: Page) -> None:
    contents = page.find("nav", aria_label="On this page")
    targets = [link["href"].removeprefix("#") for link in contents.find_all("a")]
    ids = {each["id"] for each in page.main.find_all(id=True)}
    assert set(targets) <= ids
    assert {*CALLS} <= {*targets}


def test_the_groups_are_subjects(page: Page) -> None:
    assert {group.title for group in list_groups()} >= {
        "Checks",
        "Container settings",
        "Locked tags",
        "Lock log",
        "Access tokens",
    }


def test_fields_say_type_limits_and_what_they_are_in() -> None:
    request = {row.name: row for row in CALLS["check-push"].request}
    assert request["repository"].is_required
    assert "255 characters" in request["repository"].notes
    assert not request["tag"].is_required
    assert request["tags"].type == "list of strings"
    assert "At most 100 items." in request["tags"].notes
    assert request["current_digest"].type == "string or null"
    assert request["dry_run"].notes == "Change nothing, log nothing. Default: false."
    answer = {row.name: row for row in CALLS["check-push"].response}
    assert "locked_now" in answer["tags[].outcome"].notes
    assert answer["claim"].type == "object or null"
    assert answer["claim.id"].type == "UUID"


def test_parameters_say_where_they_go() -> None:
    places = {row.name: row.place for row in CALLS["save-container-settings"].parameters}
    assert places == {"slug": "path", "If-Match": "header"}
    limit = next(row for row in CALLS["list-events"].parameters if row.name == "limit")
    assert limit.notes == "1–200."


def test_errors_are_named_with_their_status_and_when() -> None:
    errors = {row.code: row for row in CALLS["save-container-settings"].errors}
    assert errors["settings_changed"].status == 412
    assert "since you read them" in errors["settings_changed"].when
    assert [row.status for row in CALLS["check-push"].errors] == sorted(
        row.status for row in CALLS["check-push"].errors
    )


def test_an_example_is_a_command_with_this_sites_address(client: Client, settings: Any) -> None:
    settings.PUBLIC_URL = "https://tags.example"
    text = parse(client.get("/api/v1/docs").content.decode()).raw_text
    assert "curl https://tags.example/api/v1/check-push" in text
    assert "curl 'https://tags.example/api/v1/workspaces/acme/lock-log?repository=" in text
    assert "--request DELETE https://tags.example/api/v1/workspaces/acme/locked-tags/17" in text
    body = json.dumps(EXAMPLES["check_push"]["request"], indent=2)
    assert f"--json '{body}'" in text


def test_the_page_has_no_script_and_is_small(client: Client) -> None:
    response = client.get("/api/v1/docs")
    inline = re.sub(r"<script[^>]* src=[^>]*></script>", "", response.content.decode())
    assert "<script" not in inline
    assert len(gzip.compress(response.content)) < MAX_BYTES / 3
    assert "'unsafe-inline'" not in response.headers["Content-Security-Policy"]


def test_the_page_needs_no_database(client: Client) -> None:
    """Without the fixture `db`, a query fails the test."""
    assert client.get("/api/v1/docs").status_code == 200
