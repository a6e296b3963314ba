"""Every list, text and body has a limit, which is checked before anything is done with it.

The tables say how long a value may be; each test sends one that long, and one that is one longer.
Nothing here goes by time: what is over a limit is not compiled, and costs no query.
"""

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from containers.tokens.clients import MAX_BASIC_LENGTH
from containers.tokens.grants import MAX_SCOPES
from immutability.api.checks import MAX_TAGS_PER_CHECK
from immutability.policy import patterns
from packages_site.request_limits import MAX_ADDRESS_BYTES, MAX_HEADER_BYTES
from tests.bad_input.requests import (
    IN_ACME,
    JSON,
    REQUESTS,
    V1,
    Path,
    lock_address,
    read_errors,
    send,
    spoil,
)
from tests.conftest import AA
from tests.page import read_errors as read_page_errors
from tests.page import read_page
from tests.problems import nothing_written, read_problem
from workspaces.access import SYSTEM, Origin, Role, Scope
from workspaces.access_tokens import find_access_token
from workspaces.actions.access_tokens import MAX_SECRET_LENGTH, create_access_token
from workspaces.actions.invitations import invite
from workspaces.models import MAX_USERNAME_LENGTH, User, Workspace
from workspaces.problems import (
    MAX_DATE_TIME_LENGTH,
    MAX_ERRORS,
    MAX_JSON_DEPTH,
    MAX_JSON_DIGITS,
    MAX_JSON_KEYS,
)
from workspaces.queries import MAX_PARAMETER_LENGTH
from workspaces.sign_in import MAX_PASSWORD_LENGTH, verify_password

MAX_BODY = settings.DATA_UPLOAD_MAX_MEMORY_SIZE

Make = Callable[[int], Any]


def text(length: int) -> str:
    return "a" * length


def repository(length: int) -> str:
    return "acme/".ljust(length, "a")


def digest(length: int) -> str:
    return "x:".ljust(length, "a")


def tags(count: int) -> list[str]:
    return [f"v{number}" for number in range(count)]


# Request, place in its body, limit, and what has that length.
BODIES: list[tuple[str, Path, int, Make]] = [
    ("check-push", ("repository",), 255, repository),
    ("check-push", ("tag",), 128, text),
    ("check-push", ("tags",), MAX_TAGS_PER_CHECK, tags),
    ("check-push", ("tags", 0), 128, text),
    ("check-push", ("digest",), 256, digest),
    ("check-push", ("current_digest",), 256, digest),
    ("check-push", ("actor",), 255, text),
    ("check-delete", ("repository",), 255, repository),
    ("check-delete", ("tag",), 128, text),
    ("check-delete", ("digest",), 256, digest),
    ("check-delete", ("actor",), 255, text),
    ("delete", ("reason",), 500, text),
    ("release", ("reason",), 500, text),
    ("access token", ("name",), 100, text),
    ("access token", ("scopes",), len(Scope), lambda count: ["pull"] * count),
]


def fill(request_name: str, path: Path, value: Any) -> dict[str, Any]:
    """Return a good body with `value` in one place, and nothing that goes ill with it."""
    good = dict(REQUESTS[request_name][2])
    if path[0] == "tags":
        good.pop("tag")
        path, value = (("tags",), [value]) if len(path) > 1 else (path, value)
    if (request_name, path) == ("check-delete", ("digest",)):
        good.pop("tag")
    filled: dict[str, Any] = spoil(good, path, value)
    return filled


@pytest.mark.parametrize(("request_name", "path", "limit", "make"), BODIES)
def test_a_body_has_a_limit_for_every_text_and_list(
    caller: Client, request_name: str, path: Path, limit: int, make: Make
) -> None:
    with nothing_written():
        body = json.dumps(fill(request_name, path, make(limit + 1)))
        problem = read_errors(send(caller, request_name, body), path)
    assert len(problem["errors"]) == 1
    response = send(caller, request_name, json.dumps(fill(request_name, path, make(limit))))
    errors = response.json().get("errors", []) if response.status_code == 400 else []
    assert [each for each in errors if "/".join(map(str, path)) in each["pointer"]] == []


def test_a_date_has_a_limit_before_it_is_parsed(
    caller: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[str] = []
    monkeypatch.setattr("rest_framework.fields.parse_datetime", parsed.append)
    for length in (MAX_DATE_TIME_LENGTH + 1, 50_000):
        body = json.dumps(fill("access token", ("expires_at",), "2999-12-31".ljust(length)))
        read_errors(send(caller, "access token", body), ("expires_at",))
    assert parsed == []


@pytest.mark.parametrize("request_name", REQUESTS)
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b" " * (MAX_BODY + 1), 413),
        (b"[" * (MAX_JSON_DEPTH + 1) + b"]" * (MAX_JSON_DEPTH + 1), 400),
        (json.dumps(dict.fromkeys(map(str, range(MAX_JSON_KEYS + 1)))).encode(), 400),
        (b'{"a": ' + b"9" * (MAX_JSON_DIGITS + 1) + b"}", 400),
        (b'{"a": ' + b"9" * 5000 + b"}", 400),
    ],
    ids=["size", "depth", "keys", "digits", "more digits than Python reads"],
)
def test_json_has_limits_before_any_field_is_looked_at(
    caller: Client, request_name: str, body: bytes, status: int
) -> None:
    with nothing_written():
        response = send(caller, request_name, body)
    read_problem(response, status, "too_large" if status == 413 else "parse_error")


@pytest.mark.parametrize(
    "body",
    [
        b" " * MAX_BODY,
        b"[" * MAX_JSON_DEPTH + b"]" * MAX_JSON_DEPTH,
        json.dumps(dict.fromkeys(map(str, range(MAX_JSON_KEYS)))).encode(),
        b'{"a": ' + b"9" * MAX_JSON_DIGITS + b"}",
    ],
    ids=["size", "depth", "keys", "digits"],
)
def test_json_at_the_limits_is_read(caller: Client, body: bytes) -> None:
    problem = read_problem(send(caller, "check-push", body), 400)
    assert problem["code"] == "invalid" or "valid JSON" in problem["detail"]


def test_the_largest_good_body_of_each_request_fits() -> None:
    name, pattern, tag = "🐳" * 64, "🐳" * 100, "🐳" * 128
    seven = [{"name": name, "pattern": pattern}] * 7
    for body in (
        {"protection": "some", "rules": seven, "exceptions": seven, "tags": [tag] * 20},
        {"repository": "a" * 255, "tags": ["v" * 128] * 100, "digest": "a" * 256, "actor": name},
    ):
        assert len(json.dumps(body)) < MAX_BODY


@pytest.mark.parametrize(
    "body",
    [
        {"repository": "acme/api", "digest": AA, "tags": ["-"] * MAX_TAGS_PER_CHECK},
        {"repository": "acme/api", "digest": AA, "tags": ["-"] * 10_000},
        dict.fromkeys(map(str, range(MAX_JSON_KEYS))),
    ],
    ids=["a hundred bad tags", "ten thousand bad tags", "a hundred unknown fields"],
)
def test_an_answer_names_a_few_errors_however_many_there_are(
    caller: Client, body: dict[str, Any]
) -> None:
    response = send(caller, "check-push", json.dumps(body))
    assert len(read_problem(response, 400)["errors"]) <= MAX_ERRORS
    assert len(response.content) < 8_000


def test_a_list_that_is_too_long_is_one_error(caller: Client) -> None:
    body = json.dumps({"repository": "acme/api", "digest": AA, "tags": ["-"] * 10_000})
    problem = read_problem(send(caller, "check-push", body), 400)
    assert problem["errors"] == [
        {
            "detail": "There are 10000 items; at most 100 are allowed.",
            "pointer": "#/tags",
            "code": "invalid",
        }
    ]


@pytest.mark.parametrize(
    ("request_name", "path"),
    [("access token", ("scopes", 0)), ("delete", ("name",)), ("check-push", ("tag",))],
)
def test_what_was_sent_is_not_sent_back_whole(
    caller: Client, request_name: str, path: Path
) -> None:
    for value in (text(50_000), [[[["deep"]]]]):
        response = send(caller, request_name, json.dumps(fill(request_name, path, value)))
        read_problem(response, 400)
        assert len(response.content) < 2_000


# Queries.

# Address, parameter, limit, and what has that length.
QUERIES: list[tuple[str, str, int, Make]] = [
    ("locked-tags", "repository", 255, repository),
    ("locked-tags", "tag", 128, text),
    ("locked-tags", "limit", 200, int),
    ("repositories", "q", 255, text),
    ("repositories", "after", 255, repository),
    ("repositories", "limit", 200, int),
    ("access-tokens", "limit", 200, int),
    ("lock-log", "repository", 255, repository),
    ("lock-log", "tag", 128, text),
    ("lock-log", "actor", 255, text),
    ("lock-log", "rule", 64, text),
    ("lock-log", "digest", 256, digest),
    ("lock-log", "limit", 200, int),
    ("lock-log", "ref", 12, text),
    ("lock-log", "before", 12, text),
    ("lock-log", "after", 12, text),
    ("lock-log/export", "tag", 128, text),
]


@pytest.mark.parametrize(("address", "name", "limit", "make"), QUERIES)
def test_a_parameter_has_a_limit(
    caller: Client, address: str, name: str, limit: int, make: Make
) -> None:
    path = f"{IN_ACME}/{address}"
    needed = {"format": "csv"} if address.endswith("export") else {}
    problem = read_problem(caller.get(path, {name: make(limit + 1), **needed}), 400)
    assert [each["pointer"] for each in problem["errors"]] == [f"#/{name}"]
    assert caller.head(path, {name: make(limit), **needed}).status_code == 200


# What takes parameters of a fixed form alone is bounded all the same.
@pytest.mark.parametrize(
    ("address", "name"),
    [
        *((address, name) for address, name, _, _ in QUERIES),
        ("locked-tags", "q"),
        ("locked-tags", "state"),
        ("locked-tags", "before"),
        ("repositories", "is_public"),
        ("access-tokens", "revoked"),
        ("access-tokens", "before"),
        ("lock-log", "q"),
        ("lock-log", "kind"),
        ("lock-log", "group"),
        ("lock-log", "since"),
        ("lock-log", "until"),
        ("lock-log/export", "format"),
        ("lock-log/export", "export"),
    ],
)
def test_no_parameter_is_longer_than_any_that_means_something(
    caller: Client, address: str, name: str
) -> None:
    response = caller.get(f"{IN_ACME}/{address}", {name: text(MAX_PARAMETER_LENGTH + 1)})
    problem = read_problem(response, 400)
    error = {
        "detail": f"Must have at most {MAX_PARAMETER_LENGTH} characters.",
        "pointer": f"#/{name}",
        "code": "invalid",
    }
    assert error in problem["errors"]


# Addresses, headers and cookies.


@pytest.mark.parametrize("path", ["/api/v1/workspaces/acme/locked-tags", "/acme/", "/auth/token"])
@pytest.mark.parametrize(
    ("query", "headers", "status"),
    [
        (text(MAX_ADDRESS_BYTES), {}, 414),
        ("", {"Authorization": f"Bearer {text(MAX_HEADER_BYTES)}"}, 431),
        ("", {"Cookie": f"taglock_session={text(MAX_HEADER_BYTES)}"}, 431),
        ("", {"X-Anything": text(MAX_HEADER_BYTES + 1)}, 431),
    ],
    ids=["address", "authorization", "cookie", "another"],
)
def test_an_address_and_a_header_have_limits(
    acme: Workspace, path: str, query: str, headers: dict[str, str], status: int
) -> None:
    with CaptureQueriesContext(connection) as captured:
        response = Client().get(f"{path}?{query}", headers=headers)
    assert response.status_code == status
    assert len(captured) == 0
    if path.startswith("/api/"):
        read_problem(response, status, "too_large")
    elif path.startswith("/auth/"):
        assert response.json()["errors"][0]["code"] == "SIZE_INVALID"


@pytest.mark.parametrize("path", ["/api/v1/check-push", "/accounts/login/", "/auth/token"])
def test_a_body_has_a_limit_before_anybody_is_looked_up(alice: User, path: str) -> None:
    client = Client()
    client.force_login(alice)
    with CaptureQueriesContext(connection) as captured:
        response = client.post(path, b"x" * (MAX_BODY + 1), content_type=JSON)
    assert response.status_code == 413
    assert len(captured) == 0


def test_a_body_that_says_it_is_endless_is_refused_and_not_waited_for(db: None) -> None:
    response = Client().post(
        "/api/v1/check-push", b"{}", content_type=JSON, CONTENT_LENGTH="9" * 5000
    )
    read_problem(response, 413, "too_large")


def test_the_gate_has_a_limit_of_its_own(db: None, settings: Any) -> None:
    settings.REGISTRY_URL = "http://registry.internal:5000"
    response = Client().put("/v2/acme/api/manifests/v1", b"x" * (MAX_BODY + 1))
    assert response.status_code == 401


def test_no_secret_is_looked_for_that_is_longer_than_any(db: None) -> None:
    with CaptureQueriesContext(connection) as captured:
        assert find_access_token(text(MAX_SECRET_LENGTH + 1)) is None
    assert len(captured) == 0
    assert Client().get(f"/invitations/{text(MAX_SECRET_LENGTH + 1)}/").status_code == 404


@pytest.mark.parametrize(
    "path", [f"{IN_ACME}/lock-log/{text(13)}", f"/api/v1/workspaces/{text(64)}/locked-tags"]
)
def test_nothing_is_looked_for_under_a_name_that_is_longer_than_any(
    caller: Client, path: str
) -> None:
    with CaptureQueriesContext(connection) as captured:
        assert caller.get(path).status_code == 404
    assert not any(text(13) in query["sql"] for query in captured)


@pytest.mark.parametrize("path", [f"/acme/lock-log/{text(13)}", f"/{text(64)}/"])
def test_nothing_is_looked_for_by_a_page_either(
    alice: User, sign_in: Callable[[User], Client], path: str
) -> None:
    client = sign_in(alice)
    with CaptureQueriesContext(connection) as captured:
        assert client.get(path).status_code == 404
    assert not any(text(13) in query["sql"] for query in captured)


def test_a_session_cookie_that_is_longer_than_any_key_is_not_looked_for(db: None) -> None:
    client = Client(headers={"Cookie": f"taglock_session={text(41)}"})
    with CaptureQueriesContext(connection) as captured:
        assert client.get("/acme/").status_code == 302
    assert len(captured) == 0


# The token service.


@pytest.mark.parametrize("method", ["get", "post"])
def test_scopes_have_a_limit(db: None, method: str) -> None:
    asked = {
        "service": "taglock",
        "scope": " ".join(["repository:acme/api:pull"] * (MAX_SCOPES + 1)),
        "grant_type": "password",
        "username": "bob",
        "password": "demo",
    }
    with CaptureQueriesContext(connection) as captured:
        response = getattr(Client(), method)("/auth/token", asked)
    assert response.status_code == 400
    assert response.json()["errors"][0]["code"] == "UNSUPPORTED"
    assert len(captured) == 0


def test_a_login_has_a_limit(db: None) -> None:
    login = "Basic " + "YWFh" * (MAX_BASIC_LENGTH // 4)
    with CaptureQueriesContext(connection) as captured:
        response = Client().get("/auth/token", headers={"Authorization": login})
    assert response.status_code == 401
    assert len(captured) == 0


# Forms.

FORM_PASSWORD = {"password": "correct horse battery", "repeated": "correct horse battery"}


def invitation_address() -> str:
    workspace, alice = Workspace.objects.get(slug="acme"), User.objects.get(username="alice")
    secret = invite(workspace, "somebody", Role.MEMBER, inviter=alice, actor=SYSTEM)
    return f"/invitations/{secret}/"


def email(length: int) -> str:
    return "@example.org".rjust(length, "a")


def page_of_lock(what: str) -> Callable[[], str]:
    return lambda: f"/acme/locked-tags/{lock_address().rpartition('/')[2]}/{what}/"


# Who sends it, the page, the rest of the form, the field, its limit, and what has that length.
FORMS: list[tuple[str, Callable[[], str], dict[str, str], str, int, Make]] = [
    ("", lambda: "/accounts/forgot/", {}, "email", 254, email),
    ("", invitation_address, FORM_PASSWORD, "username", 64, text),
    ("", invitation_address, FORM_PASSWORD, "email", 254, email),
    ("", invitation_address, {}, "password", MAX_PASSWORD_LENGTH, text),
    ("", invitation_address, {}, "repeated", MAX_PASSWORD_LENGTH, text),
    ("alice", lambda: "/accounts/", {}, "password", MAX_PASSWORD_LENGTH, text),
    ("alice", lambda: "/accounts/", FORM_PASSWORD, "current_password", MAX_PASSWORD_LENGTH, text),
    ("alice", lambda: "/acme/settings/members/", {}, "invitee", 254, text),
    ("alice", lambda: "/acme/settings/access-tokens/", {}, "name", 100, text),
    ("alice", page_of_lock("release"), {}, "reason", 500, text),
    ("alice", page_of_lock("delete"), {}, "reason", 500, text),
]


@pytest.mark.parametrize(("who", "page", "rest", "field", "limit", "make"), FORMS)
def test_a_form_has_a_limit_for_every_text(
    caller: Client,
    alice: User,
    settings: Any,
    who: str,
    page: Callable[[], str],
    rest: dict[str, str],
    field: str,
    limit: int,
    make: Make,
) -> None:
    settings.HAS_MAIL = True
    client = Client()
    if who:
        client.force_login(alice)
    address = page()
    with nothing_written():
        response = client.post(address, {**rest, field: make(limit + 1)})
    answered = read_page(response, 422)
    errors = read_page_errors(answered)
    said = {answered.by_id(identifier)["name"]: text for identifier, text in errors.items()}
    assert f"at most {limit} characters" in said[field]


@pytest.mark.parametrize("password", ["demo", text(MAX_PASSWORD_LENGTH)])
def test_no_name_is_looked_for_that_is_longer_than_any(alice: User, password: str) -> None:
    with CaptureQueriesContext(connection) as captured:
        assert verify_password(text(MAX_USERNAME_LENGTH + 1), password, Origin()) is None
    assert len(captured) == 0


def test_a_password_that_is_too_long_is_not_hashed(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []
    monkeypatch.setattr(
        "django.contrib.auth.hashers.MD5PasswordHasher.encode",
        lambda hasher, password, salt: hashed.append(password),
    )
    sent = {"username": "alice", "password": text(MAX_PASSWORD_LENGTH + 1)}
    assert Client().post("/accounts/login/", sent).status_code == 200
    assert hashed == []


# Counting, in place of measuring.


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What was compiled, or matched with a pattern."""
    noted: list[str] = []

    class NotingPattern(patterns.Pattern):
        def __init__(self, pattern: str) -> None:
            noted.append(pattern)
            super().__init__(pattern)

        def find(self, tag: str) -> patterns.Match | None:
            noted.append(tag)
            return super().find(tag)

    monkeypatch.setattr(patterns, "Pattern", NotingPattern)
    patterns._compile.cache_clear()
    yield noted
    patterns._compile.cache_clear()


def count_queries(ask: Callable[[], Any]) -> int:
    """Count them without the counter of calls, which asks again when a minute begins."""
    with CaptureQueriesContext(connection) as captured:
        ask()
    return sum("workspaces_callcount" not in query["sql"] for query in captured)


@pytest.mark.parametrize(("request_name", "path", "limit", "make"), BODIES)
def test_what_is_over_a_limit_is_neither_compiled_nor_looked_up(
    caller: Client,
    compiled: list[str],
    request_name: str,
    path: Path,
    limit: int,
    make: Make,
) -> None:
    over = json.dumps(fill(request_name, path, make(limit + 1)))
    far_over = json.dumps(fill(request_name, path, make(limit * 20)))
    # The first call takes slots for the next ones.
    send(caller, request_name, "{}")
    empty = count_queries(lambda: send(caller, request_name, "{}"))
    for body in (over, far_over):
        assert count_queries(partial(send, caller, request_name, body)) == empty
    assert compiled == []


def test_a_good_check_does_compile(caller: Client, compiled: list[str]) -> None:
    body = json.dumps(REQUESTS["check-push"][2])
    assert send(caller, "check-push", body).status_code == 200
    assert compiled


def test_many_bad_tags_are_as_many_queries_as_one(caller: Client, compiled: list[str]) -> None:
    def count(number: int) -> int:
        body = {"repository": "acme/api", "digest": AA, "tags": ["-"] * number}
        return count_queries(lambda: send(caller, "check-push", json.dumps(body)))

    count(1)
    assert count(1) == count(MAX_TAGS_PER_CHECK) == count(10_000)
    assert compiled == []


def test_many_tags_of_a_dry_run_are_as_many_queries_as_one(caller: Client) -> None:
    def count(number: int) -> int:
        body = {"repository": "acme/api", "tags": tags(number), "dry_run": True}
        return count_queries(lambda: send(caller, "check-push", json.dumps(body)))

    count(1)
    assert count(1) == count(MAX_TAGS_PER_CHECK)


def test_many_scopes_are_as_many_queries_as_one(bob: User) -> None:
    def count(number: int) -> int:
        scopes = [f"repository:acme/a{each}:pull,push" for each in range(number)]
        asked = {"scope": scopes, "grant_type": "password", "username": "bob", "password": "demo"}
        return count_queries(lambda: Client().post("/auth/token", asked))

    count(1)
    assert count(1) == count(MAX_SCOPES)


def test_a_page_of_a_list_is_as_many_queries_however_long_it_is(
    acme: Workspace, caller: Client
) -> None:
    def count(limit: int) -> int:
        paths = ("locked-tags", "repositories", "access-tokens", "lock-log")
        return count_queries(
            lambda: [caller.get(f"{IN_ACME}/{path}?limit={limit}") for path in paths]
        )

    for number in range(5):
        create_access_token(acme, f"token {number}", [Scope.PULL], actor=SYSTEM)
        push = {"repository": f"acme/a{number}", "tag": "v1", "digest": AA}
        caller.post(f"{V1}/check-push", json.dumps(push), content_type=JSON)
    assert count(1) == count(200)
