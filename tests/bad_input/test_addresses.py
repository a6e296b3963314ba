"""Paths, queries and headers take what anyone types."""

import json
from collections.abc import Callable

import pytest
from django.test import Client

from tests.bad_input.requests import IN_ACME, JSON, LIST_FILTERS, REQUESTS, V1
from tests.problems import Complaints, nothing_written, read_problem
from workspaces.models import User, Workspace

pytestmark = pytest.mark.slow

BAD_SEGMENTS = ["%00", "a%00b", "%FF%FE", "%ED%A0%80", "%0A", "%F0%9F%90%B3", "%2e%2e", "a" * 5000]
PLACES = [
    "/workspaces/?/container-settings",
    "/workspaces/?/locked-tags",
    "/workspaces/?/lock-log",
    "/workspaces/?/access-tokens",
    "/workspaces/acme/access-tokens/?",
    "/workspaces/?/repositories",
    "/workspaces/acme/repositories/?",
    "/workspaces/acme/repositories/acme/?",
    "/workspaces/acme/locked-tags/?",
    "/workspaces/acme/locked-tags/?/release",
    "/workspaces/acme/lock-log/?",
    "/workspaces/acme/container-settings/?",
    "/claims/?/confirm",
    "/?",
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("who", ["token", "session"])
def test_a_path_with_anything_in_it_is_not_found(
    caller: Client, alice: User, sign_in: Callable[[User], Client], place: str, who: str
) -> None:
    client = caller if who == "token" else sign_in(alice)
    client.raise_request_exception = False
    complaints = Complaints()
    with nothing_written():
        for segment in BAD_SEGMENTS:
            with complaints.about(segment):
                read_problem(client.get(V1 + place.replace("?", segment)), 404)
    assert not complaints


@pytest.mark.parametrize(
    "number", ["0", "9" * 19, "9223372036854775808", "9" * 400, "9" * 5000, "-1", "+1", "1.5", "٣"]
)
def test_a_number_in_a_path_that_no_lock_can_have_is_not_found(caller: Client, number: str) -> None:
    with nothing_written():
        read_problem(caller.get(f"{IN_ACME}/locked-tags/{number}"), 404, "not_found")


BAD_VALUES = [
    "%00", "a%00b", "%FF%FE", "%ED%A0%80", "%0A", "%1B", "%E2%80%AE", "9" * 19,
    "9223372036854775808", "9" * 400, "9" * 5000, "-" + "9" * 30, "1e5", "٣", "0001-01-01",
    "9999-12-31", "10000-01-01", "0000-00-00", "x" * 5000, "[]", "{}", "%", "&&=", "'; --", "\\",
]  # fmt: skip


@pytest.mark.parametrize(("address", "name"), LIST_FILTERS)
def test_a_filter_with_anything_in_it_is_used_or_refused(
    caller: Client, address: str, name: str
) -> None:
    complaints = Complaints()
    with nothing_written():
        for value in BAD_VALUES:
            with complaints.about(value):
                response = caller.get(f"{IN_ACME}/{address}?{name}={value}")
                if response.status_code != 200:
                    problem = read_problem(response, 400)
                    assert problem["code"] in ("invalid", "NAME_INVALID")
    assert not complaints


@pytest.mark.parametrize(
    "address", ["locked-tags", "lock-log", "container-settings", "repositories"]
)
def test_a_query_with_anything_in_it_is_used_or_refused(caller: Client, address: str) -> None:
    complaints = Complaints()
    queries = ["%00=%00", "%FF=%FF", "=", "&&&", "a" * 5000, "&".join(["q=1"] * 300), "\u2028=1"]
    with nothing_written():
        for query in queries:
            with complaints.about(query):
                response = caller.get(f"{IN_ACME}/{address}?{query}")
                if response.status_code != 200:
                    read_problem(response, 400)
    assert not complaints


# A header is bytes, which WSGI hands over as Latin-1.
BAD_HEADERS = ["\xff\xfe", "a\0b", "é", "\xe2\x80\xa8", "x" * 5000, "=;,\"'\\", " ", "\x1b[31m"]

HEADERS = [
    "User-Agent", "Accept", "Accept-Language", "If-None-Match", "Cookie", "X-Forwarded-For",
    "X-Forwarded-Proto", "Referer", "X-CSRFToken", "HX-Current-URL",
]  # fmt: skip


@pytest.mark.parametrize("header", HEADERS)
def test_a_header_with_anything_in_it_harms_nobody(caller: Client, header: str) -> None:
    complaints = Complaints()
    body = json.dumps(REQUESTS["check-push"][2])
    for value in BAD_HEADERS:
        with complaints.about(repr(value)):
            response = caller.post(
                f"{V1}/check-push", body, content_type=JSON, headers={header: value}
            )
            assert response.status_code == 200
    assert not complaints


@pytest.mark.parametrize("cookie", ["taglock_session", "taglock_csrf"])
def test_a_cookie_with_anything_in_it_signs_nobody_in(acme: Workspace, cookie: str) -> None:
    complaints = Complaints()
    for value in [*BAD_HEADERS, '"\\000aaaaaaaa"', '"\\377aaaaaaaa"', "a" * 40]:
        client = Client(raise_request_exception=False)
        with complaints.about(repr(value)):
            header = {"Cookie": f"{cookie}={value}"}
            read_problem(client.get(f"{IN_ACME}/container-settings", headers=header), 401)
    assert not complaints


def test_a_host_with_anything_in_it_is_refused(caller: Client) -> None:
    complaints = Complaints()
    for value in BAD_HEADERS:
        with complaints.about(repr(value)):
            response = caller.get(f"{IN_ACME}/container-settings", headers={"Host": value})
            read_problem(response, 400, "bad_request")
    assert not complaints
