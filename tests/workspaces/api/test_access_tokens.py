"""Access tokens over the API: list, create, revoke, and no way to more than one has."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from tests.problems import nothing_written, read_problem
from workspaces.access import SYSTEM, Scope
from workspaces.access_tokens import find_access_token
from workspaces.actions.access_tokens import create_access_token, revoke_access_token
from workspaces.log.models import LockEvent
from workspaces.models import AccessToken, User, Workspace

URL = "/api/v1/workspaces/acme/access-tokens"
GOOD = {"name": "ci", "scopes": ["push"], "expires_at": None}
FIELDS = {
    "id",
    "name",
    "scopes",
    "repositories",
    "user_name",
    "every_workspace",
    "created_by",
    "created_at",
    "expires_at",
    "last_used_at",
    "revoked_at",
}


@pytest.fixture
def admin(alice: User, sign_in: Callable[[User], Client]) -> Client:
    return sign_in(alice)


def make(workspace: Workspace | None, name: str, *scopes: Scope, **options: Any) -> int:
    """Make an access token and return its id."""
    create_access_token(workspace, name, scopes or [Scope.PULL], actor=SYSTEM, **options)
    return AccessToken.objects.get(workspace=workspace, name=name, revoked_at=None).id


def client_with(secret: str) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    return client


def post(client: Client, body: Any) -> Any:
    return client.post(URL, json.dumps(body), content_type="application/json")


def list_names(client: Client, query: str = "") -> list[str]:
    response = client.get(f"{URL}{query}")
    assert response.status_code == 200, response.content
    return [each["name"] for each in response.json()["results"]]


# Create.


def test_the_secret_is_in_the_answer_to_the_creation_and_nowhere_else(
    acme: Workspace, admin: Client
) -> None:
    response = post(admin, {**GOOD, "scopes": ["push", "audit"]})
    assert response.status_code == 201
    assert response.headers["Cache-Control"] == "no-store"
    created = response.json()
    secret = created.pop("secret")
    token = find_access_token(secret)
    assert token is not None
    assert set(created) == FIELDS
    assert created["id"] == token.id
    assert (created["name"], created["scopes"]) == ("ci", ["push", "audit"])
    assert (created["user_name"], created["created_by"]) == ("acme+ci", "alice")
    assert datetime.fromisoformat(created["created_at"]) == token.created_at
    assert (created["expires_at"], created["last_used_at"], created["revoked_at"]) == (None,) * 3
    assert created["every_workspace"] is False
    for answer in (admin.get(URL), admin.get(f"{URL}/{token.id}"), post(admin, GOOD)):
        assert b"secret" not in answer.content
        assert secret.encode() not in answer.content
        assert token.token_hash.encode() not in answer.content
    assert secret not in str(list(LockEvent.objects.values()))


@pytest.mark.parametrize("sent", ["2999-12-31T12:00:00Z", "2999-12-31T14:00:00+02:00"])
def test_an_expiry_is_a_moment_in_any_zone(acme: Workspace, admin: Client, sent: str) -> None:
    response = post(admin, {**GOOD, "expires_at": sent})
    assert response.json()["expires_at"] == "2999-12-31T12:00:00Z"
    assert AccessToken.objects.get().expires_at == datetime(2999, 12, 31, 12, tzinfo=UTC)


def test_a_token_can_be_limited_to_repositories(acme: Workspace, admin: Client) -> None:
    created = post(admin, {**GOOD, "repositories": ["api-*", "team/**"]}).json()
    assert created["repositories"] == ["api-*", "team/**"]
    assert admin.get(URL).json()["results"][0]["repositories"] == ["api-*", "team/**"]
    assert post(admin, {**GOOD, "name": "all"}).json()["repositories"] == []


def test_left_out_a_token_never_expires(acme: Workspace, admin: Client) -> None:
    assert post(admin, {"name": "ci", "scopes": ["push"]}).json()["expires_at"] is None


def test_the_creation_is_recorded_with_who_asked(acme: Workspace, admin: Client) -> None:
    post(admin, GOOD)
    event = LockEvent.objects.get(kind="token.created")
    assert (event.workspace, event.actor, event.actor_kind) == ("acme", "alice", "person")


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"name": ""}, "#/name"),
        ({"name": " ci"}, "#/name"),
        ({"name": "a:b"}, "#/name"),
        ({"name": "x" * 101}, "#/name"),
        ({"name": "a\0b"}, "#/name"),
        ({"name": "a\ud800b"}, "#/name"),
        ({"name": 5}, "#/name"),
        ({"name": None}, "#/name"),
        ({"scopes": []}, "#/scopes"),
        ({"scopes": "push"}, "#/scopes"),
        ({"scopes": None}, "#/scopes"),
        ({"scopes": {"push": True}}, "#/scopes"),
        ({"scopes": ["push"] * 7}, "#/scopes"),
        ({"repositories": "api"}, "#/repositories"),
        ({"repositories": None}, "#/repositories"),
        ({"repositories": ["API"]}, "#/repositories"),
        ({"repositories": ["api"] * 21}, "#/repositories"),
        ({"repositories": [5]}, "#/repositories/0"),
        ({"repositories": ["x" * 256]}, "#/repositories/0"),
        ({"repositories": ["api"], "scopes": ["audit"]}, "#/repositories"),
        ({"scopes": ["root"]}, "#/scopes/0"),
        ({"scopes": ["push", "Admin"]}, "#/scopes/1"),
        ({"scopes": [["push"]]}, "#/scopes/0"),
        ({"scopes": [None]}, "#/scopes/0"),
        ({"scopes": [True]}, "#/scopes/0"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "#/expires_at"),
        ({"expires_at": "soon"}, "#/expires_at"),
        ({"expires_at": ""}, "#/expires_at"),
        ({"expires_at": 4102444800}, "#/expires_at"),
        ({"expires_at": True}, "#/expires_at"),
        ({"expires_at": []}, "#/expires_at"),
        ({"expires_at": "9999-12-31T23:59:59-14:00"}, "#/expires_at"),
        ({"expires_at": "0001-01-01T00:00:00+14:00"}, "#/expires_at"),
        ({"expires": None}, "#/expires"),
        ({"secret": "mine"}, "#/secret"),
        ({"workspace": None}, "#/workspace"),
        ({"created_by": "bob"}, "#/created_by"),
    ],
    ids=ascii,
)
def test_what_is_not_acceptable_is_refused_where_it_stands(
    acme: Workspace, admin: Client, change: dict[str, Any], pointer: str
) -> None:
    with nothing_written():
        response = post(admin, {**GOOD, **change})
    problem = read_problem(response, 400, "invalid")
    assert pointer in [error["pointer"] for error in problem["errors"]]


@pytest.mark.parametrize("missing", ["name", "scopes"])
def test_name_and_scopes_have_to_be_sent(acme: Workspace, admin: Client, missing: str) -> None:
    body = {name: value for name, value in GOOD.items() if name != missing}
    with nothing_written():
        problem = read_problem(post(admin, body), 400, "invalid")
    assert [error["pointer"] for error in problem["errors"]] == [f"#/{missing}"]


@pytest.mark.parametrize("body", [[], [GOOD], "ci", 5, None])
def test_a_body_that_is_no_object_is_refused(acme: Workspace, admin: Client, body: Any) -> None:
    with nothing_written():
        read_problem(post(admin, body), 400, "invalid")


def test_a_name_that_is_taken_is_refused(acme: Workspace, admin: Client) -> None:
    make(acme, "CI")
    with nothing_written():
        problem = read_problem(post(admin, GOOD), 400, "invalid")
    assert problem["errors"][0]["pointer"] == "#/name"
    assert problem["detail"] == "There is an access token of this name already."


# An access token gives no more than it has.


def assert_refused(client: APIClient, said: str, **change: Any) -> None:
    with nothing_written():
        problem = read_problem(post(client, {**GOOD, **change}), 403, "forbidden")
    assert said in problem["detail"]


@pytest.mark.parametrize("scope", [scope for scope in Scope if scope is not Scope.ADMIN])
def test_an_admin_token_gives_itself_no_other_scope(
    acme: Workspace, api_as: Callable[..., APIClient], scope: Scope
) -> None:
    client = api_as(acme, Scope.ADMIN)
    for scopes in ([scope.value], ["admin", scope.value]):
        assert_refused(client, f"Missing: {scope.value}", scopes=scopes)


def test_an_admin_token_gives_what_it_has(
    acme: Workspace, api_as: Callable[..., APIClient]
) -> None:
    client = api_as(acme, Scope.ADMIN, Scope.REGISTRY)
    response = post(client, {**GOOD, "scopes": ["registry"]})
    assert response.status_code == 201
    assert response.json()["created_by"] == "acme+token admin+registry"
    assert post(client, {**GOOD, "name": "heir", "scopes": ["admin"]}).status_code == 201


def test_an_admin_token_gives_nothing_for_longer_than_it_is_valid(acme: Workspace) -> None:
    end = datetime(2999, 1, 1, tzinfo=UTC)
    secret = create_access_token(acme, "root", [Scope.ADMIN], actor=SYSTEM, expires_at=end)
    client, heir = client_with(secret), {"scopes": ["admin"]}
    said = "choose an expiry no later than 2999-01-01T00:00:00Z"
    assert_refused(client, said, **heir, expires_at="2999-01-01T00:00:01Z")
    assert_refused(client, said, **heir, expires_at=None)
    assert_refused(client, said, **heir, expires_at="2999-01-01T00:00:00-00:01")
    assert post(client, {**GOOD, **heir, "expires_at": "2999-01-01T00:00:00Z"}).status_code == 201


def test_the_heir_of_a_token_can_give_no_more_either(acme: Workspace) -> None:
    secret = create_access_token(acme, "root", [Scope.ADMIN, Scope.PULL], actor=SYSTEM)
    created = post(client_with(secret), {**GOOD, "name": "heir", "scopes": ["admin"]}).json()
    assert_refused(client_with(created["secret"]), "Missing: pull", scopes=["pull"])


@pytest.mark.parametrize("scope", [scope for scope in Scope if scope is not Scope.ADMIN])
def test_tokens_without_the_scope_admin_create_nothing(
    acme: Workspace, api_as: Callable[..., APIClient], scope: Scope
) -> None:
    assert_refused(api_as(acme, scope), "Only admins", scopes=[scope.value])


def test_an_admin_gives_every_scope(acme: Workspace, admin: Client) -> None:
    assert post(admin, {**GOOD, "scopes": list(Scope)}).status_code == 201


# Revoke.


def test_a_revoked_token_is_refused_at_once(acme: Workspace, admin: Client) -> None:
    created = post(admin, {**GOOD, "scopes": ["audit"]}).json()
    program = client_with(created["secret"])
    assert program.get("/api/v1/workspaces/acme/lock-log").status_code == 200
    response = admin.delete(f"{URL}/{created['id']}")
    assert response.status_code == 200
    assert response.json()["revoked_at"] is not None
    read_problem(program.get("/api/v1/workspaces/acme/lock-log"), 401, "authentication_failed")
    event = LockEvent.objects.get(kind="token.revoked")
    details = {"token": "ci", "token_id": created["id"], "scopes": ["audit"], "expires_at": None}
    assert (event.workspace, event.actor, event.details) == ("acme", "alice", details)


def test_revoking_again_changes_nothing(acme: Workspace, admin: Client) -> None:
    address = f"{URL}/{make(acme, 'ci')}"
    first = admin.delete(address)
    with nothing_written():
        second = admin.delete(address)
    assert (second.status_code, second.json()) == (200, first.json())


def test_a_token_can_revoke_itself(acme: Workspace) -> None:
    secret = create_access_token(acme, "root", [Scope.ADMIN], actor=SYSTEM)
    program, token = client_with(secret), AccessToken.objects.get()
    assert program.delete(f"{URL}/{token.id}").status_code == 200
    read_problem(program.get(URL), 401)


def test_ids_of_another_workspace_are_unknown(
    acme: Workspace, globex: Workspace, admin: Client
) -> None:
    foreign = make(globex, "ci")
    for token_id in (foreign, 999_999, 10**30):
        with nothing_written():
            answers = [admin.get(f"{URL}/{token_id}"), admin.delete(f"{URL}/{token_id}")]
        details = [read_problem(answer, 404, "not_found")["detail"] for answer in answers]
        assert details == [f"There is no access token {token_id} of this workspace."] * 2
    assert "ci" not in list_names(admin, "?revoked=true")


# Read.


def test_what_is_listed_says_everything_but_the_secret(acme: Workspace, admin: Client) -> None:
    expires_at = timezone.now() + timedelta(days=1)
    token_id = make(acme, "my ci", Scope.PULL, Scope.PUSH, expires_at=expires_at)
    (listed,) = admin.get(URL).json()["results"]
    assert set(listed) == FIELDS
    assert listed["user_name"] == "acme+my ci"
    assert listed["created_by"] == "taglock"
    assert datetime.fromisoformat(listed["expires_at"]) == expires_at
    assert admin.get(f"{URL}/{token_id}").json() == listed


def test_the_last_use_is_shown(acme: Workspace) -> None:
    secret = create_access_token(acme, "root", [Scope.ADMIN], actor=SYSTEM)
    (listed,) = client_with(secret).get(URL).json()["results"]
    assert listed["last_used_at"] is not None


def test_revoked_tokens_are_listed_where_they_are_asked_for(acme: Workspace, admin: Client) -> None:
    gone = make(acme, "gone")
    revoke_access_token(acme, gone, actor=SYSTEM)
    make(acme, "here")
    assert list_names(admin) == ["here"]
    assert list_names(admin, "?revoked=false") == ["here"]
    assert list_names(admin, "?revoked=true") == ["here", "gone"]
    assert admin.get(f"{URL}/{gone}").json()["revoked_at"] is not None


def test_nobody_is_told_when_others_use_a_token_of_every_workspace(
    acme: Workspace, admin: Client
) -> None:
    create_access_token(None, "main", [Scope.REGISTRY], actor=SYSTEM)
    AccessToken.objects.update(last_used_at=timezone.now())
    [listed] = admin.get(URL).json()["results"]
    one = admin.get(f"{URL}/{listed['id']}").json()
    assert (listed["last_used_at"], one["last_used_at"]) == (None, None)


def test_tokens_for_every_workspace_are_listed_and_not_to_be_revoked(
    acme: Workspace, admin: Client
) -> None:
    token_id = make(None, "main", Scope.REGISTRY)
    (listed,) = admin.get(URL).json()["results"]
    assert (listed["every_workspace"], listed["user_name"]) == (True, None)
    assert admin.get(f"{URL}/{token_id}").json() == listed
    with nothing_written():
        read_problem(admin.delete(f"{URL}/{token_id}"), 404, "not_found")


def test_the_list_is_read_page_by_page(acme: Workspace, admin: Client) -> None:
    for number in range(5):
        make(acme, f"token {number}")
    names, address = [], f"{URL}?limit=2&revoked=true"
    for _ in range(3):
        answer = admin.get(address).json()
        names.append([each["name"] for each in answer["results"]])
        address = answer["next"]
    assert names == [["token 4", "token 3"], ["token 2", "token 1"], ["token 0"]]
    assert address is None


@pytest.mark.parametrize(
    "query",
    ["?revoked=perhaps", "?before=-1", "?before=x", "?limit=0", "?limit=201", "?page=2", "?q=a"],
)
def test_a_query_that_means_nothing_is_refused(acme: Workspace, admin: Client, query: str) -> None:
    read_problem(admin.get(f"{URL}{query}"), 400, "invalid")


@pytest.mark.parametrize("before", ["0", "1", "9" * 30])
def test_a_place_in_the_list_may_be_any_number(acme: Workspace, admin: Client, before: str) -> None:
    assert admin.get(f"{URL}?before={before}").status_code == 200
