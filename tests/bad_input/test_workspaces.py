"""Workspaces and addresses that are not there, and those of others."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import Client

from containers.prefixes import create_workspace
from tests.bad_input.requests import JSON, REASON, V1
from tests.conftest import AA
from tests.problems import nothing_written, read_problem
from workspaces.access import SYSTEM
from workspaces.models import User

pytestmark = pytest.mark.slow


def ask_about(client: Client, slug: str) -> Iterator[Any]:
    """Yield what everything that can name a workspace answers."""
    push = {"repository": f"{slug}/api", "tag": "v1", "digest": AA}
    delete = {"name": "free", **REASON}
    for body in (push, {**push, "dry_run": True}, {**push, "two_phase": True}):
        yield client.post(f"{V1}/check-push", json.dumps(body), content_type=JSON)
    for body in ({"tag": "v1"}, {"digest": AA}, {"tag": "v1", "actor": "mallory"}):
        asked = json.dumps({"repository": f"{slug}/api", **body})
        yield client.post(f"{V1}/check-delete", asked, content_type=JSON)
    place = f"{V1}/workspaces/{slug}"
    yield client.get(f"{place}/container-settings")
    yield client.put(f"{place}/container-settings", '{"protection": "none"}', content_type=JSON)
    yield client.put(f"{place}/container-settings", "{", content_type=JSON)
    yield client.post(f"{place}/container-settings/test", '{"tags": ["v"]}', content_type=JSON)
    preview = f"{place}/container-settings/preview"
    yield client.post(preview, '{"protection": "all"}', content_type=JSON)
    yield client.get(f"{place}/locked-tags?state=nonsense")
    yield client.get(f"{place}/locked-tags/1")
    yield client.delete(f"{place}/locked-tags/1", json.dumps(delete), content_type=JSON)
    yield client.post(f"{place}/locked-tags/1/release", json.dumps(REASON), content_type=JSON)
    yield client.get(f"{place}/repositories?limit=0")
    yield client.get(f"{place}/repositories/{slug}/api")
    yield client.put(f"{place}/repositories/acme/api", '{"is_public": 1}', content_type=JSON)
    yield client.get(f"{place}/lock-log?limit=0")
    yield client.get(f"{place}/lock-log/{12 * '0'}")


def answer_of(response: Any) -> tuple[int, dict[str, str], bytes]:
    # Each request has an id of its own.
    headers = {name: value for name, value in response.headers.items() if name != "X-Request-Id"}
    return response.status_code, headers, response.content


@pytest.mark.parametrize("who", ["token", "session"])
def test_a_workspace_of_others_answers_byte_for_byte_like_one_that_is_not_there(
    caller: Client, alice: User, sign_in: Callable[[User], Client], who: str
) -> None:
    client = caller if who == "token" else sign_in(alice)
    missing = [answer_of(response) for response in ask_about(client, "initech")]
    create_workspace("initech", "Initech", actor=SYSTEM)
    with nothing_written():
        foreign = [answer_of(response) for response in ask_about(client, "initech")]
    assert foreign == missing
    assert {status for status, _, _ in foreign} == {404}


def test_every_answer_about_an_unknown_workspace_says_name_unknown(caller: Client) -> None:
    with nothing_written():
        for response in ask_about(caller, "initech"):
            assert "initech" in read_problem(response, 404, "NAME_UNKNOWN")["detail"]


@pytest.mark.parametrize("address", ["", "nothing", "workspaces", "workspaces/acme", "check-push/"])
def test_an_address_of_the_api_that_is_not_there_is_a_problem_too(
    caller: Client, address: str
) -> None:
    read_problem(caller.get(f"{V1}/{address}"), 404, "not_found")


@pytest.mark.parametrize("address", ["check-push", "workspaces/acme/container-settings"])
def test_a_method_that_is_not_there_is_a_problem_too(caller: Client, address: str) -> None:
    response = caller.patch(f"{V1}/{address}", "{}", content_type=JSON)
    read_problem(response, 405, "method_not_allowed")
    assert response.headers["Allow"]
