"""Bodies that are no JSON, too large, or something else."""

import json

import pytest
from django.conf import settings
from django.test import Client

from tests.bad_input.requests import IN_ACME, JSON, REQUESTS, send
from tests.problems import Complaints, nothing_written, read_problem

pytestmark = pytest.mark.slow


def test_the_requests_that_are_spoilt_here_are_good_otherwise(caller: Client) -> None:
    for request in (
        "test",
        "preview",
        "check-delete",
        "container-settings",
        "release",
        "delete",
        "repository",
    ):
        body = REQUESTS[request][2]
        assert send(caller, request, json.dumps(body)).status_code == 200
    assert send(caller, "check-push", json.dumps(REQUESTS["check-push"][2])).status_code == 200
    assert send(caller, "access token", json.dumps(REQUESTS["access token"][2])).status_code == 201


NO_JSON = [
    b"{",
    b"{]",
    b"nope",
    b"{'protection': 'all'}",
    b'{"a": 1,}',
    b'{"a": 1} {"a": 2}',
    b"NaN",
    b"[Infinity]",
    b'{"protection": NaN}',
    b'{"dry_run": -Infinity}',
    b"\xff\xfe{\x00}\x00\xff",
    b'{"reason": "\xe9"}',
    b'{"reason": "a\nb"}',
    b"\x00",
    b"[" * 20_000,
    b'{"a":' * 10_000,
    b"[" * 20_000 + b"]" * 20_000,
    b"1" * 10_000,
    b'{"limit": ' + b"9" * 10_000 + b"}",
    b" ",
]


@pytest.mark.parametrize("request_name", REQUESTS)
def test_what_is_no_json_is_refused(caller: Client, request_name: str) -> None:
    complaints = Complaints()
    with nothing_written():
        for body in NO_JSON:
            with complaints.about(body):
                read_problem(send(caller, request_name, body), 400, "parse_error")
    assert not complaints


@pytest.mark.parametrize("request_name", REQUESTS)
def test_a_body_that_is_no_complete_object_is_refused(caller: Client, request_name: str) -> None:
    complaints = Complaints()
    with nothing_written():
        for body in ("[]", "[{}]", "5", "1e400", '"text"', "true", "null", "{}"):
            with complaints.about(body):
                problem = read_problem(send(caller, request_name, body), 400)
                assert problem["code"] in ("invalid", "parse_error")
    assert not complaints


@pytest.mark.parametrize("request_name", REQUESTS)
@pytest.mark.parametrize("name", ["reason", "actor", "\ud800"], ids=ascii)
def test_a_surrogate_that_was_written_as_utf_8_is_refused(
    caller: Client, request_name: str, name: str
) -> None:
    body = f'{{"{name}": "\ud800"}}'.encode("utf-8", "surrogatepass")
    with nothing_written():
        response = send(caller, request_name, body)
    read_problem(response, 400)


@pytest.mark.parametrize("request_name", REQUESTS)
def test_no_body_at_all_is_refused(caller: Client, request_name: str) -> None:
    with nothing_written():
        response = send(caller, request_name, b"")
    read_problem(response, 400)


@pytest.mark.parametrize("request_name", REQUESTS)
def test_a_body_over_the_limit_is_too_large(caller: Client, request_name: str) -> None:
    body = json.dumps({"padding": "x" * settings.DATA_UPLOAD_MAX_MEMORY_SIZE})
    with nothing_written():
        response = send(caller, request_name, body)
    problem = read_problem(response, 413, "too_large")
    assert str(settings.DATA_UPLOAD_MAX_MEMORY_SIZE) in problem["detail"]


CONTENT_TYPES = [
    "text/plain",
    "application/xml",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "application/octet-stream",
    "nonsense",
    "application/json5",
    "é",
]


@pytest.mark.parametrize("request_name", REQUESTS)
def test_another_content_type_is_refused(caller: Client, request_name: str) -> None:
    complaints = Complaints()
    body = json.dumps(REQUESTS[request_name][2])
    with nothing_written():
        for content_type in CONTENT_TYPES:
            with complaints.about(content_type):
                response = send(caller, request_name, body, content_type)
                read_problem(response, 415, "unsupported_media_type")
    assert not complaints


@pytest.mark.parametrize("accept", ["text/html", "application/xml", "*/*;q=0", "nonsense", "é"])
def test_whatever_is_asked_for_the_answer_is_json(caller: Client, accept: str) -> None:
    good = caller.get(f"{IN_ACME}/container-settings", headers={"Accept": accept})
    assert (good.status_code, good.headers["Content-Type"]) == (200, JSON)
    bad = caller.get(f"{IN_ACME}/locked-tags/0", headers={"Accept": accept})
    read_problem(bad, 404, "not_found")
