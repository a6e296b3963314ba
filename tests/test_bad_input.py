"""Bad input gets a clear error and changes nothing, wherever it comes in."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from containers.prefixes import create_workspace
from immutability.models import LockedTag
from immutability.policy.protection import PolicyRule, Protection
from tests.conftest import AA, BB, protect_workspace
from tests.problems import Complaints, nothing_written, read_problem
from tests.workspaces.log.tampering import write_at
from workspaces.access import SYSTEM, Scope
from workspaces.actions.access_tokens import create_access_token
from workspaces.models import User, Workspace

pytestmark = pytest.mark.slow

Path = tuple[str | int, ...]

JSON = "application/json"
V1 = "/api/v1"
IN_ACME = f"{V1}/workspaces/acme"
REASON = {"reason": "Because"}


@pytest.fixture(scope="module")
def kept_secret(kept_rows: None) -> str:
    """An access token for everything in acme, where tag v1 is locked."""
    acme = create_workspace("acme", "Acme", actor=SYSTEM)
    protect_workspace(acme, Protection.SOME, PolicyRule("Versions", "^v"))
    secret = create_access_token(acme, "everything", list(Scope), actor=SYSTEM)
    push = {"repository": "acme/api", "tag": "v1", "digest": AA}
    answer = client_of(secret).post(f"{V1}/check-push", json.dumps(push), content_type=JSON)
    assert answer.status_code == 200
    return secret


@pytest.fixture
def acme(db: None, kept_secret: str) -> Workspace:
    return Workspace.objects.get(slug="acme")


@pytest.fixture
def caller(acme: Workspace, kept_secret: str) -> Client:
    """A program that has that token."""
    return client_of(kept_secret)


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


# Bodies.


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


# Fields.

RULE_NAME = ("rules", 0, "name")
RULE_PATTERN = ("rules", 0, "pattern")
EXCEPTION_NAME = ("exceptions", 0, "name")
EXCEPTION_PATTERN = ("exceptions", 0, "pattern")
TEXT_FIELDS: list[tuple[str, Path]] = [
    ("check-push", ("repository",)),
    ("check-push", ("tag",)),
    ("check-push", ("digest",)),
    ("check-push", ("current_digest",)),
    ("check-push", ("actor",)),
    ("check-delete", ("repository",)),
    ("check-delete", ("tag",)),
    ("check-delete", ("actor",)),
    ("container-settings", ("protection",)),
    ("container-settings", RULE_NAME),
    ("container-settings", RULE_PATTERN),
    ("container-settings", EXCEPTION_NAME),
    ("container-settings", EXCEPTION_PATTERN),
    ("test", ("protection",)),
    ("test", RULE_NAME),
    ("test", RULE_PATTERN),
    ("test", EXCEPTION_NAME),
    ("test", EXCEPTION_PATTERN),
    ("delete", ("name",)),
    ("delete", ("reason",)),
    ("release", ("reason",)),
    ("access token", ("name",)),
    ("access token", ("scopes", 0)),
]
SWITCHES = [
    ("check-push", ("dry_run",)),
    ("check-push", ("two_phase",)),
    ("container-settings", ("refuse_identical_pushes",)),
    ("container-settings", ("protect_signature_tags",)),
    ("container-settings", ("suspend_locks",)),
    ("test", ("protect_signature_tags",)),
    ("repository", ("is_public",)),
]
LISTS = [
    ("check-push", ("tags",)),
    ("container-settings", ("rules",)),
    ("container-settings", ("exceptions",)),
    ("test", ("rules",)),
    ("test", ("exceptions",)),
    ("test", ("tags",)),
    ("access token", ("scopes",)),
]
NO_TEXT = ["0", "5", "-1.5", "1e400", "true", "[]", '["v1"]', "{}", '{"a": {"b": [1]}}', "null"]
NO_SWITCH = ["2", "-1", "1e400", '"perhaps"', '""', "[]", "[true]", "{}", "null"]
NO_LIST = ["5", "true", '"v1"', "{}", '{"0": "v1"}', "null", "[[]]", "[null]", "[5]", "[{}]"]


def name_of(value: object) -> str:
    return "values" if isinstance(value, list) else json.dumps(value)


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


@pytest.mark.parametrize(
    ("request_name", "path", "values"),
    [
        *((*field, NO_TEXT) for field in TEXT_FIELDS if field[1] != ("current_digest",)),
        ("check-push", ("current_digest",), NO_TEXT[:-1]),
        *((*field, NO_SWITCH) for field in SWITCHES),
        *((*field, NO_LIST) for field in LISTS),
    ],
    ids=name_of,
)
def test_a_value_of_another_type_is_refused(
    caller: Client, request_name: str, path: Path, values: list[str]
) -> None:
    complaints = Complaints()
    with nothing_written():
        for value in values:
            with complaints.about(value):
                read_errors(send(caller, request_name, spoilt(request_name, path, value)), path)
    assert not complaints


def test_what_is_no_text_is_refused_as_a_sample_tag(caller: Client) -> None:
    complaints = Complaints()
    for value in NO_TEXT:
        with complaints.about(value):
            read_errors(send(caller, "test", f'{{"tags": ["v1", {value}]}}'), ("tags", 1))
    assert not complaints


BAD_CHARACTERS = {
    "NUL": r"\u0000",
    "line feed": r"\n",
    "escape": r"\u001b",
    "delete": r"\u007f",
    "next line": r"\u0085",
    "high surrogate": r"\ud800",
    "low surrogate": r"\udfff",
    "surrogates the wrong way round": r"\udc00\ud800",
    "line separator": r"\u2028",
    "right-to-left override": r"\u202e",
    "isolate": r"\u2066",
}


@pytest.mark.parametrize(
    ("request_name", "path"), [*TEXT_FIELDS, ("check-push", ("tags", 0))], ids=name_of
)
def test_control_characters_and_lone_surrogates_are_refused_in_every_text(
    caller: Client, request_name: str, path: Path
) -> None:
    complaints = Complaints()
    with nothing_written():
        for name, character in BAD_CHARACTERS.items():
            value = f'"v1{character}x"'
            place, value = (("tags",), f"[{value}]") if path == ("tags", 0) else (path, value)
            with complaints.about(name):
                read_errors(send(caller, request_name, spoilt(request_name, place, value)), path)
    assert not complaints


def test_a_sample_with_a_bad_character_is_no_tag(caller: Client) -> None:
    complaints = Complaints()
    for name, character in BAD_CHARACTERS.items():
        body = f'{{"tags": ["v1{character}x"], "protection": "all"}}'
        with complaints.about(name):
            response = send(caller, "test", body)
            if response.status_code == 200:
                result = response.json()["results"][0]
                assert (result["would_be_locked"], bool(result["problem"])) == (False, True)
            else:
                read_errors(response, ("tags", 0))
    assert not complaints


@pytest.mark.parametrize("request_name", REQUESTS)
def test_an_unknown_field_with_a_bad_name_is_refused(caller: Client, request_name: str) -> None:
    complaints = Complaints()
    good = json.dumps(REQUESTS[request_name][2])
    with nothing_written():
        for name, character in BAD_CHARACTERS.items():
            body = f'{good[:-1]}, "a{character}b": 1}}'
            with complaints.about(name):
                read_problem(send(caller, request_name, body), 400, "invalid")
    assert not complaints


TOO_LONG = [
    ("check-push", "repository", "acme/" + "a" * 251, "NAME_INVALID"),
    ("check-push", "tag", "v" * 129, "NAME_INVALID"),
    ("check-push", "digest", "sha256:" + "a" * 65, "DIGEST_INVALID"),
    ("check-push", "digest", "x:" + "a" * 255, "DIGEST_INVALID"),
    ("check-push", "current_digest", "sha256:" + "a" * 63, "DIGEST_INVALID"),
    ("check-push", "actor", "a" * 256, "invalid"),
    ("check-delete", "repository", "acme/" + "a" * 251, "NAME_INVALID"),
    ("check-delete", "tag", "v" * 129, "NAME_INVALID"),
    ("check-delete", "actor", "a" * 256, "invalid"),
    ("release", "reason", "a" * 501, "invalid"),
    ("delete", "reason", "a" * 501, "invalid"),
    ("access token", "name", "a" * 101, "invalid"),
]
BAD_NAMES = [
    ("check-push", "repository", "acme/", "NAME_INVALID"),
    ("check-push", "repository", "Acme/api", "NAME_INVALID"),
    ("check-push", "repository", "/acme/api", "NAME_INVALID"),
    ("check-push", "repository", "acme//api", "NAME_INVALID"),
    ("check-push", "repository", "acme/api/", "NAME_INVALID"),
    ("check-push", "repository", "acme/../globex", "NAME_INVALID"),
    ("check-push", "repository", " acme/api", "NAME_INVALID"),
    ("check-push", "repository", "acme/api:v1", "NAME_INVALID"),
    ("check-push", "repository", "acme/é", "NAME_INVALID"),
    ("check-push", "repository", "acme/a\u0660", "NAME_INVALID"),
    ("check-push", "repository", "", "NAME_INVALID"),
    ("check-push", "tag", "", "NAME_INVALID"),
    ("check-push", "tag", " v1", "NAME_INVALID"),
    ("check-push", "tag", "v1 ", "NAME_INVALID"),
    ("check-push", "tag", "-v1", "NAME_INVALID"),
    ("check-push", "tag", ".v1", "NAME_INVALID"),
    ("check-push", "tag", "v1/2", "NAME_INVALID"),
    ("check-push", "tag", AA, "NAME_INVALID"),
    ("check-push", "tag", "v\u0661", "NAME_INVALID"),
    ("check-push", "digest", "", "DIGEST_INVALID"),
    ("check-push", "digest", "v1", "DIGEST_INVALID"),
    ("check-push", "digest", "sha256:" + "A" * 64, "DIGEST_INVALID"),
    ("check-push", "digest", " " + AA, "DIGEST_INVALID"),
    ("check-push", "current_digest", "", "DIGEST_INVALID"),
    ("check-push", "actor", "", "invalid"),
    ("check-delete", "tag", AA, "NAME_INVALID"),
]


@pytest.mark.parametrize(("request_name", "field", "value", "code"), TOO_LONG + BAD_NAMES)
def test_names_outside_of_the_grammar_or_its_limits_are_refused_with_the_oci_code(
    caller: Client, request_name: str, field: str, value: str, code: str
) -> None:
    with nothing_written():
        response = send(caller, request_name, spoilt(request_name, (field,), json.dumps(value)))
    problem = read_errors(response, (field,))
    assert problem["code"] == code
    assert len(problem["detail"]) < 500


def test_a_digest_to_delete_is_checked_too(caller: Client) -> None:
    with nothing_written():
        response = send(caller, "check-delete", '{"repository": "acme/api", "digest": "sha256:0"}')
    assert read_errors(response, ("digest",))["code"] == "DIGEST_INVALID"


# Paths, queries and headers.

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


# Workspaces that are not there, and those of others.


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


# Pages take what anyone types.

PAGE_FILTERS = {
    "": ["x"],
    "settings/packages/containers/": ["x"],
    "locked-tags/": ["q", "state", "before", "x"],
    "repositories/": ["q", "visibility", "after", "x"],
    "lock-log/": [name for address, name in LIST_FILTERS if address == "lock-log"],
}


# One of each kind: pages read their queries as the API does, which has met all of them.
BAD_VALUES_OF_PAGES = [
    "a%00b", "%FF%FE", "%E2%80%AE", "9223372036854775808", "9" * 5000, "٣", "10000-01-01",
    "x" * 5000, "%", "'; --",
]  # fmt: skip
# What one filter is tried with by itself.
BAD_VALUES_ALONE = [each for each in BAD_VALUES_OF_PAGES if each == "a%00b" or len(each) > 100]


@pytest.mark.parametrize("name", ["push", "event", "x"])
def test_the_page_of_what_moved_shows_itself_whatever_its_query_says(
    acme: Workspace, alice: User, sign_in: Callable[[User], Client], name: str
) -> None:
    saved = write_at(
        timezone.now(),
        kind="settings.changed",
        details={"before": {"protection": "all"}, "after": {"protection": "none"}},
    )
    client = sign_in(alice)
    client.raise_request_exception = False
    complaints = Complaints()
    with nothing_written():
        for value in BAD_VALUES_OF_PAGES:
            with complaints.about(value):
                path = f"/acme/lock-log/{saved.ref}/moved/?{name}={value}"
                assert client.get(path).status_code == 200
    assert not complaints


@pytest.mark.parametrize("page", PAGE_FILTERS)
def test_a_page_shows_itself_whatever_its_query_says(
    acme: Workspace, alice: User, sign_in: Callable[[User], Client], page: str
) -> None:
    client = sign_in(alice)
    client.raise_request_exception = False
    names = PAGE_FILTERS[page]
    alone = [f"{name}={value}" for name in names for value in BAD_VALUES_ALONE]
    # An address has a limit of its own.
    short = [value for value in BAD_VALUES_OF_PAGES if len(value) < 100]
    together = ["&".join(f"{name}={value}" for name in names) for value in short]
    complaints = Complaints()
    with nothing_written():
        for query in [*alone, *together]:
            with complaints.about(query):
                assert client.get(f"/acme/{page}?{query}").status_code == 200
    assert not complaints


@pytest.mark.parametrize(
    "fields",
    [
        {"version": "9" * 5000},
        {"version": "٣"},
        {"version": "-1"},
        {"action": "remove_rule:" + "9" * 5000},
        {"action": "insert_rule_example:" + "9" * 30},
        {"action": "\0"},
        {"protection": "\0"},
        {"rule_name": "\0", "rule_pattern": "\0"},
        {"rule_name": "a", "rule_pattern": "("},
        {"exception_name": "\0", "exception_pattern": "\0", "protection": "all"},
        {"exception_name": "a", "exception_pattern": "(", "protection": "all"},
        {"action": "remove_exception:" + "9" * 5000},
        {"sample_tags": "\0\n" * 5000},
        {},
    ],
    ids=lambda fields: json.dumps(fields)[:40],
)
@pytest.mark.parametrize("page", ["", "test/"])
def test_the_settings_page_takes_whatever_is_posted(
    acme: Workspace,
    alice: User,
    sign_in: Callable[[User], Client],
    fields: dict[str, str],
    page: str,
) -> None:
    client = sign_in(alice)
    client.raise_request_exception = False
    with nothing_written():
        response = client.post(
            f"/acme/settings/packages/containers/{page}", {"protection": "some", **fields}
        )
    assert response.status_code in (200, 400, 409, 422)


# Anything at all.

any_text = st.text(st.characters(exclude_categories=()), max_size=20)
keys = any_text | st.sampled_from(["name", "pattern", "tag", "dryrun"])
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | any_text
    | st.sampled_from(["acme/api", "v1", "v2", "latest", AA, BB, "all", "none", "some", "free"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=8,
)
FIELDS = {
    "check-push": ["repository", "tag", "tags", "digest", "current_digest", "actor", "dry_run"],
    "check-delete": ["repository", "tag", "digest", "actor"],
    "container-settings": [
        *("protection", "rules", "exceptions", "refuse_identical_pushes", "suspend_locks")
    ],
    "test": ["tags", "rules", "exceptions", "protection", "protect_signature_tags"],
}


def like(request_name: str) -> st.SearchStrategy[Any]:
    """Bodies that are nearly good: some fields left out, some spoilt, some added."""
    good = REQUESTS[request_name][2]
    spoilt = st.dictionaries(st.sampled_from(FIELDS[request_name]), anything, max_size=3)
    kept = st.sets(st.sampled_from(sorted(good)))
    return st.builds(lambda kept, spoilt: {key: good[key] for key in kept} | spoilt, kept, spoilt)


@pytest.mark.parametrize("request_name", FIELDS)
@hypothesis_settings(
    max_examples=40,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_whatever_is_sent_is_answered_and_writes_only_where_the_answer_is_200(
    caller: Client, request_name: str, data: st.DataObject
) -> None:
    body = data.draw(anything | like(request_name))
    before = list(LockedTag.objects.order_by("id").values())
    response = send(caller, request_name, json.dumps(body))
    if response.status_code == 200:
        return
    assert 400 <= response.status_code < 500, response.content
    read_problem(response, response.status_code)
    assert list(LockedTag.objects.order_by("id").values()) == before


@pytest.mark.parametrize("request_name", FIELDS)
@hypothesis_settings(
    max_examples=40,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(body=st.binary(max_size=60))
def test_whatever_bytes_are_sent_are_answered(
    caller: Client, request_name: str, body: bytes
) -> None:
    with nothing_written():
        response = send(caller, request_name, body)
    read_problem(response, 400)


@hypothesis_settings(
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    pattern=st.text(st.characters(), min_size=1, max_size=100),
    place=st.sampled_from([RULE_PATTERN, EXCEPTION_PATTERN]),
)
def test_a_pattern_that_can_be_saved_is_saved_as_it_is_and_can_be_evaluated(
    caller: Client, pattern: str, place: Path
) -> None:
    key = place[0]
    body = {
        "protection": "some" if key == "rules" else "all",
        key: [{"name": "Any", "pattern": pattern}],
        "suspend_locks": True,
    }
    response = send(caller, "container-settings", json.dumps(body))
    if response.status_code != 200:
        read_errors(response, place)
        return
    assert response.json()[key][0]["pattern"] == pattern
    ask = {"repository": "acme/api", "tag": "v1", "dry_run": True}
    assert send(caller, "check-push", json.dumps(ask)).status_code == 200
