"""/auth/token: who logs in, and what they are granted."""

import base64
import socket
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db import OperationalError
from django.test import Client
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from containers.models import TokenKey
from containers.names import RepositoryName
from containers.tokens import views
from containers.tokens.grants import MAX_SCOPES
from containers.tokens.stored_keys import token_keys
from containers.tokens.tokens import CallerKind, Claims, read_token
from containers.visibility import set_public
from packages_site.request_limits import MAX_HEADER_BYTES
from workspaces.access import SYSTEM, Role, Scope
from workspaces.actions.access_tokens import create_access_token
from workspaces.actions.members import add_member
from workspaces.models import AccessToken, Membership, User, Workspace
from workspaces.secret_key import encrypt

pytestmark = pytest.mark.django_db

EVERYTHING = "repository:acme/api:pull,push,delete"
Granted = dict[str, set[str]]


def basic(username: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def get(*scopes: str, login: str = "", **query: Any) -> Any:
    headers = {"Authorization": login} if login else {}
    query = {"service": "taglock", "scope": list(scopes), **query}
    return Client().get("/auth/token", query, headers=headers)


def post(*scopes: str, **form: Any) -> Any:
    form = {"service": "taglock", "scope": " ".join(scopes), **form}
    return Client().post("/auth/token", form)


def read(response: Any) -> Claims:
    assert response.status_code == 200, response.content
    return read_token(response.json()["token"], token_keys())


def granted(response: Any) -> Granted:
    return {each.name: set(each.actions) for each in read(response).access}


def error_of(response: Any) -> tuple[int, str]:
    return response.status_code, response.json()["errors"][0]["code"]


@pytest.fixture
def bobs_login(bob: User) -> str:
    return basic("bob", "demo")


def make_token(workspace: Workspace, *scopes: Scope, name: str = "ci", **options: Any) -> str:
    return create_access_token(workspace, name, list(scopes), actor=SYSTEM, **options)


# The answer.


def test_the_answer_has_what_clients_read(bobs_login: str) -> None:
    before = int(time.time())
    response = get(EVERYTHING, login=bobs_login)
    answer = response.json()
    assert answer["token"] == answer["access_token"]
    assert answer["expires_in"] >= 60
    issued_at = parse_datetime(answer["issued_at"])
    assert issued_at is not None
    assert before <= issued_at.timestamp() <= time.time()
    assert response["Cache-Control"] == "no-store"
    assert response["Content-Type"] == "application/json"


def test_the_token_names_who_logged_in(bob: User, bobs_login: str) -> None:
    caller = read(get(login=bobs_login)).caller
    assert (caller.kind, caller.id, caller.name) == (CallerKind.PERSON, bob.pk, "bob")


def test_containerd_logs_in_by_a_form(bob: User) -> None:
    response = post(
        EVERYTHING,
        "repository:acme/web:pull",
        grant_type="password",
        username="bob",
        password="demo",
        client_id="containerd-client",
    )
    assert granted(response) == {"acme/api": {"pull", "push", "delete"}, "acme/web": {"pull"}}
    assert read(response).caller.name == "bob"


def test_docker_login_asks_for_nothing(bobs_login: str) -> None:
    response = get(login=bobs_login, account="bob", client_id="docker", offline_token="true")
    assert granted(response) == {}
    assert "refresh_token" not in response.json()


# Roles and scopes.


@pytest.mark.parametrize(
    ("role", "actions"),
    [
        (Role.ADMIN, {"pull", "push", "delete"}),
        (Role.MEMBER, {"pull", "push", "delete"}),
        (Role.AUDITOR, {"pull"}),
    ],
)
def test_a_role_decides_what_is_granted(
    acme: Workspace, bob: User, bobs_login: str, role: Role, actions: set[str]
) -> None:
    Membership.objects.filter(user=bob).update(role=role)
    assert granted(get(EVERYTHING, login=bobs_login)) == {"acme/api": actions}


@pytest.mark.parametrize(
    ("scope", "actions"),
    [
        (Scope.PULL, {"pull"}),
        (Scope.PUSH, {"pull", "push", "delete"}),
        (Scope.REGISTRY, set()),
        (Scope.AUDIT, set()),
        (Scope.ADMIN, {"pull", "delete"}),
    ],
)
def test_a_scope_decides_what_is_granted(acme: Workspace, scope: Scope, actions: set[str]) -> None:
    secret = make_token(acme, scope)
    expected = {"acme/api": actions} if actions else {}
    assert granted(get(EVERYTHING, login=basic("acme+ci", secret))) == expected


def test_no_more_is_granted_than_was_asked_for(bobs_login: str) -> None:
    response = get("repository:acme/api:pull", "repository:acme/web:push", login=bobs_login)
    assert granted(response) == {"acme/api": {"pull"}, "acme/web": {"push"}}


def test_what_may_not_be_done_is_left_out_without_an_error(
    bobs_login: str, globex: Workspace
) -> None:
    response = get(
        "repository:acme/api:pull",
        "repository:globex/api:pull,push",
        "repository:nobody/api:pull",
        "registry:catalog:*",
        "repository:ACME/api:pull",
        login=bobs_login,
    )
    assert granted(response) == {"acme/api": {"pull"}}


def test_somebody_in_two_workspaces_has_their_role_in_each(
    bob: User, bobs_login: str, globex: Workspace
) -> None:
    add_member(globex, bob, Role.AUDITOR, actor=SYSTEM)
    response = get(EVERYTHING, "repository:globex/api:pull,push", login=bobs_login)
    assert granted(response) == {"acme/api": {"pull", "push", "delete"}, "globex/api": {"pull"}}


def test_an_access_token_is_for_its_workspace_alone(acme: Workspace, globex: Workspace) -> None:
    secret = make_token(acme, Scope.PUSH)
    response = get(EVERYTHING, "repository:globex/api:pull", login=basic("acme+ci", secret))
    assert set(granted(response)) == {"acme/api"}


def test_a_name_of_case_and_spaces_is_a_name(acme: Workspace) -> None:
    secret = make_token(acme, Scope.PULL, name="Demo Registry é+1")
    response = get(EVERYTHING, login=basic("acme+demo registry É+1", secret))
    assert granted(response) == {"acme/api": {"pull"}}


# Public repositories.


def test_nobody_in_particular_pulls_what_is_public_alone(acme: Workspace, bob: User) -> None:
    set_public(acme, RepositoryName("acme/open"), is_public=True, actor=SYSTEM)
    response = get("repository:acme/open:pull,push,delete", EVERYTHING)
    assert granted(response) == {"acme/open": {"pull"}}
    assert read(response).caller.kind is CallerKind.ANYBODY


def test_strangers_pull_what_is_public(acme: Workspace, mallory: User) -> None:
    set_public(acme, RepositoryName("acme/open"), is_public=True, actor=SYSTEM)
    login = basic("mallory", "demo")
    assert granted(get("repository:acme/open:pull,push", login=login)) == {"acme/open": {"pull"}}


def test_a_repository_that_was_closed_again_is_closed(acme: Workspace) -> None:
    for is_public in (True, False):
        set_public(acme, RepositoryName("acme/open"), is_public=is_public, actor=SYSTEM)
    assert granted(get("repository:acme/open:pull")) == {}


# Who does not get in.


@pytest.mark.parametrize(
    ("username", "password"),
    [
        ("bob", "wrong"),
        ("bob", ""),
        ("", "demo"),
        ("", ""),
        ("Bob", "demo"),
        ("nobody", "demo"),
        ("bo\x00b", "demo"),
        ("bob", "de\x00mo"),
        ("bob" * 1_000, "demo"),
        ("bob", "demo" * 1_000),
        ("bob" * 10_000, "demo" * 10_000),
        ("bob", "demo" * 300_000),
        ("acme+ci", "demo"),
        ("acme+", "demo"),
        ("+", ""),
        ("+ci", ""),
    ],
)
def test_wrong_credentials_are_refused_in_words(bob: User, username: str, password: str) -> None:
    for response in (
        get(EVERYTHING, login=basic(username, password)),
        post(EVERYTHING, grant_type="password", username=username, password=password),
    ):
        if len(username + password) > MAX_HEADER_BYTES:
            assert error_of(response) in ((431, "SIZE_INVALID"), (413, "SIZE_INVALID"))
            continue
        assert error_of(response) == (401, "UNAUTHORIZED")
        assert response["WWW-Authenticate"].startswith("Basic ")


@pytest.mark.parametrize(
    "header",
    ["Basic", "Basic ", "Basic !!!", "Basic /w==", "Basic Ym9i", "Bearer x", "x", "Basic \xff"],
)
def test_a_header_that_cannot_be_read_is_no_anonymous_request(acme: Workspace, header: str) -> None:
    set_public(acme, RepositoryName("acme/open"), is_public=True, actor=SYSTEM)
    assert error_of(get("repository:acme/open:pull", login=header)) == (401, "UNAUTHORIZED")


def test_a_person_who_is_not_active_does_not_get_in(bob: User, bobs_login: str) -> None:
    User.objects.filter(id=bob.id).update(is_active=False)
    assert error_of(get(EVERYTHING, login=bobs_login)) == (401, "UNAUTHORIZED")


@pytest.mark.parametrize(
    "changed",
    [
        {"revoked_at": timezone.now()},
        {"expires_at": timezone.now() - timedelta(seconds=5)},
    ],
)
def test_an_access_token_that_is_over_does_not_get_in(
    acme: Workspace, changed: dict[str, Any]
) -> None:
    secret = make_token(acme, Scope.PUSH)
    AccessToken.objects.update(**changed)
    assert error_of(get(EVERYTHING, login=basic("acme+ci", secret))) == (401, "UNAUTHORIZED")


@pytest.mark.parametrize("username", ["globex+ci", "acme+other", "acme+c", "acme+ci+", "+ci"])
def test_an_access_token_gets_in_by_its_own_name_alone(
    acme: Workspace, globex: Workspace, username: str
) -> None:
    secret = make_token(acme, Scope.PUSH)
    assert error_of(get(EVERYTHING, login=basic(username, secret))) == (401, "UNAUTHORIZED")


def test_an_access_token_is_no_persons_password(acme: Workspace, bob: User) -> None:
    secret = make_token(acme, Scope.PUSH)
    refused = get(EVERYTHING, login=basic("bob", secret))
    assert error_of(refused) == (401, "UNAUTHORIZED")
    assert "<workspace>+<name>" in refused.json()["errors"][0]["message"]


def test_a_registrys_token_for_every_workspace_logs_in_nowhere(acme: Workspace) -> None:
    secret = create_access_token(None, "ci", [Scope.REGISTRY], actor=SYSTEM)
    for name in ("acme+ci", "+ci"):
        assert error_of(get(EVERYTHING, login=basic(name, secret))) == (401, "UNAUTHORIZED")


# Requests that are none.


def test_another_service_is_not_spoken_for(bobs_login: str) -> None:
    assert error_of(get(login=bobs_login, service="other")) == (400, "UNSUPPORTED")


def test_the_service_may_be_left_out(bobs_login: str) -> None:
    response = Client().get("/auth/token", headers={"Authorization": bobs_login})
    assert granted(response) == {}


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"grant_type": "refresh_token", "refresh_token": "x"},
        {"grant_type": "password", "username": "bob"},
        {"grant_type": "password", "password": "demo"},
    ],
)
def test_other_forms_are_refused_so_that_clients_try_the_other_way(
    bob: User, form: dict[str, str]
) -> None:
    assert error_of(post(EVERYTHING, **form)) == (400, "UNSUPPORTED")


def test_no_end_of_scopes_is_refused(bobs_login: str) -> None:
    scopes = [f"repository:acme/r{number}:pull" for number in range(MAX_SCOPES + 1)]
    assert error_of(get(*scopes, login=bobs_login)) == (400, "UNSUPPORTED")
    assert error_of(get(" ".join(scopes), login=bobs_login)) == (400, "UNSUPPORTED")


def test_no_end_of_fields_is_refused(bob: User) -> None:
    form = {f"f{number}": "x" for number in range(300)}
    assert error_of(post(**form)) == (400, "UNSUPPORTED")


@pytest.mark.parametrize("method", ["put", "patch", "delete", "options"])
def test_other_methods_are_not_allowed(db: None, method: str) -> None:
    response = getattr(Client(), method)("/auth/token")
    assert error_of(response) == (405, "UNSUPPORTED")
    assert response["Allow"] == "GET, HEAD, POST"
    assert response["Cache-Control"] == "no-store"


FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"--x\r\nbroken", "multipart/form-data; boundary="),
        (b"--x\r\nbroken", "multipart/form-data"),
        (b"--x\r\nbroken", "multipart/form-data; boundary=\xc3\xa9"),
        (b"username=bob", f"{FORM}; charset=utf-16"),
        (b"&".join(b"a=%d" % number for number in range(1000)), FORM),
    ],
    ids=["no boundary", "no boundary at all", "odd boundary", "charset", "fields"],
)
def test_a_form_that_cannot_be_read_is_answered_as_clients_read_it(
    bob: User, body: bytes, content_type: str
) -> None:
    client = Client(raise_request_exception=False)
    response = client.post("/auth/token", body, content_type=content_type)
    assert error_of(response) == (400, "UNSUPPORTED")
    assert response["Cache-Control"] == "no-store"


def test_a_session_counts_for_nothing(bob: User, sign_in: Callable[[User], Client]) -> None:
    response = sign_in(bob).get("/auth/token", {"scope": EVERYTHING})
    assert granted(response) == {}


# What fails.


def test_a_database_that_is_away_is_a_try_again(
    bobs_login: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any) -> Any:
        raise OperationalError("away")

    monkeypatch.setattr(views, "log_in", fail)
    response = get(EVERYTHING, login=bobs_login)
    assert error_of(response) == (503, "UNAVAILABLE")
    assert response["Retry-After"].isdigit()


def test_a_key_that_cannot_be_used_is_a_try_again(bobs_login: str, changing_keys: None) -> None:
    TokenKey.objects.update(private_key=encrypt(b"nonsense", settings.SECRET_KEY))
    assert error_of(get(EVERYTHING, login=bobs_login)) == (503, "UNAVAILABLE")


def test_a_node_with_another_secret_key_signs_nothing_and_says_so_in_its_log(
    bobs_login: str, changing_keys: None, caplog: pytest.LogCaptureFixture
) -> None:
    TokenKey.objects.update(private_key=encrypt(b"the key", 50 * "o"))
    response = get(EVERYTHING, login=bobs_login)
    assert error_of(response) == (503, "UNAVAILABLE")
    assert "SECRET_KEY" not in response.content.decode()
    (line,) = [each for each in caplog.records if hasattr(each, "fields")]
    assert f"node {socket.gethostname()} has another SECRET_KEY" in line.fields["detail"]


@pytest.mark.both_databases
@pytest.mark.parametrize(
    ("scope", "actions"),
    [
        (Scope.PULL, {"pull"}),
        (Scope.PUSH, {"pull", "push", "delete"}),
        (Scope.PUSH_ONLY, {"pull", "push"}),
        (Scope.REGISTRY, set()),
    ],
)
def test_a_limited_token_is_granted_its_repositories_alone(
    acme: Workspace, scope: Scope, actions: set[str]
) -> None:
    secret = make_token(acme, scope, repositories=["api", "team/*"])
    names = ("acme/api", "acme/team/db", "acme/web", "acme/api-web", "acme/acme/api", "globex/api")
    answer = get(*(f"repository:{name}:*" for name in names), login=basic("acme+ci", secret))
    expected = {"acme/api": actions, "acme/team/db": actions} if actions else {}
    assert granted(answer) == expected


def test_a_limited_token_pulls_what_anybody_may(acme: Workspace) -> None:
    set_public(acme, RepositoryName("acme/web"), is_public=True, actor=SYSTEM)
    secret = make_token(acme, Scope.PUSH, repositories=["api"])
    answer = get("repository:acme/web:pull,push", login=basic("acme+ci", secret))
    assert granted(answer) == {"acme/web": {"pull"}}


def test_a_token_for_a_password_again_costs_a_few_statements(
    bobs_login: str, django_assert_num_queries: Any
) -> None:
    get(login=bobs_login)
    # Failures by name and address, whether they were in from here, the person, and whose the
    # repositories are, with their role and what is public.
    with django_assert_num_queries(4):
        response = get(EVERYTHING, "repository:globex/x:pull", login=bobs_login)
    assert set(granted(response)) == {"acme/api"}


@pytest.mark.both_databases
@pytest.mark.parametrize("globs", [[], ["web", "a*"]])
def test_a_token_for_an_access_token_costs_one_statement(
    acme: Workspace, django_assert_num_queries: Any, globs: list[str]
) -> None:
    login = basic("acme+ci", make_token(acme, Scope.PUSH, repositories=globs))
    get(login=login)
    with django_assert_num_queries(1):
        assert granted(get(EVERYTHING, login=login)) == {"acme/api": {"pull", "push", "delete"}}


def test_a_role_that_was_taken_away_counts_though_the_password_is_remembered(
    bob: User, bobs_login: str
) -> None:
    assert granted(get(EVERYTHING, login=bobs_login))
    Membership.objects.filter(user=bob).delete()
    assert granted(get(EVERYTHING, login=bobs_login)) == {}


def test_somebody_who_is_deactivated_is_out_at_once(bob: User, bobs_login: str) -> None:
    assert granted(get(EVERYTHING, login=bobs_login))
    User.objects.filter(id=bob.id).update(is_active=False)
    assert error_of(get(EVERYTHING, login=bobs_login)) == (401, "UNAUTHORIZED")
