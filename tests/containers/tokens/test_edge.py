"""Before a registry that does not know Taglock's accounts: what the edge is told of requests."""

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.http import HttpResponse
from django.test import Client
from django.urls import clear_url_caches

from containers.connection import _account, _client
from containers.names import InvalidReferenceError, RepositoryName
from containers.registry.account import RegistryLogin
from containers.registry.client import RegistryUnavailableError
from containers.tokens import edge
from containers.tokens.edge import EdgeRequest, parse_edge_request
from containers.tokens.grants import repository_access
from containers.tokens.stored_keys import token_keys
from containers.tokens.tokens import ANYBODY, Caller, CallerKind, sign_token
from containers.visibility import set_public
from packages_site import gate_settings
from workspaces.access import SYSTEM, Actor, ActorKind, Scope
from workspaces.actions.access_tokens import create_access_token
from workspaces.models import AccessToken, Membership, User, Workspace

API, GLOBEX = RepositoryName("acme/api"), RepositoryName("globex/secret")
UPLOADS = "/v2/acme/api/blobs/uploads/"


# ---- which repository a request is about ---------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "target", "name", "action"),
    [
        ("GET", "/v2/acme/api/manifests/v1", "acme/api", "pull"),
        ("HEAD", "/v2/acme/api/manifests/sha256:aa?x=y", "acme/api", "pull"),
        ("GET", "/v2/acme/api/blobs/sha256:aa", "acme/api", "pull"),
        ("GET", "/v2/acme/api/tags/list?n=1", "acme/api", "pull"),
        ("GET", "/v2/acme/api/referrers/sha256:aa", "acme/api", "pull"),
        ("POST", UPLOADS, "acme/api", "push"),
        ("GET", f"{UPLOADS}an-upload", "acme/api", "push"),
        ("PATCH", f"{UPLOADS}an-upload?_state=a/b", "acme/api", "push"),
        ("DELETE", f"{UPLOADS}an-upload", "acme/api", "push"),
        # Repositories that are named like something else.
        ("GET", "/v2/acme/manifests/blobs/sha256:aa", "acme/manifests", "pull"),
        ("GET", "/v2/acme/blobs/uploads/manifests/v1", "acme/blobs/uploads", "pull"),
        ("GET", "/v2/globex/manifests/v1/tags/list", "globex/manifests/v1", "pull"),
        ("POST", "/v2/acme/tags/list/blobs/uploads/", "acme/tags/list", "push"),
        ("GET", "/v2/acme/x/blobs/uploads/manifests/uploads", "acme/x/blobs/uploads", "pull"),
    ],
)
def test_the_repository_stands_before_how_the_path_ends(
    method: str, target: str, name: str, action: str
) -> None:
    asked = parse_edge_request(method, target)
    assert asked is not None
    assert (asked.repository, asked.action) == (RepositoryName(name), action)


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/v2"),
        ("GET", "/v3/"),
        ("POST", "/v2/"),
        ("PUT", "/v2/acme/api/manifests/v1"),
        ("DELETE", "/v2/acme/api/blobs/sha256:aa"),
        # A registry would mount a blob here, and no one has looked at where from.
        ("POST", f"{UPLOADS}an-upload?_state=a&mount=sha256:aa&from=globex/secret"),
        ("GET", "/v2/acme/api/blobs/uploads"),
        ("GET", "/v2/acme/api/blobs"),
        ("GET", "/v2/_catalog"),
        ("GET", "/v2/token"),
        ("GET", "/v2/acme/api/tags"),
        ("", ""),
    ],
)
def test_nothing_else_goes_to_the_registry(method: str, target: str) -> None:
    assert parse_edge_request(method, target) is None


@pytest.mark.parametrize(
    "target",
    ["/v2/manifests/v1", "/v2/a..b/manifests/v1", "/v2/Acme/api/tags/list", "/v2//blobs/uploads/"],
)
def test_a_bad_name_is_of_no_repository(target: str) -> None:
    with pytest.raises(InvalidReferenceError):
        parse_edge_request("GET", target)


def test_the_base_is_of_no_repository() -> None:
    assert parse_edge_request("GET", "/v2/") == EdgeRequest()


# ---- what is decided -----------------------------------------------------------------------------


@pytest.fixture
def gate(settings: Any) -> Iterator[Client]:
    """A gate before an open registry that does not know Taglock's accounts."""
    settings.MIDDLEWARE = gate_settings.MIDDLEWARE
    settings.ROOT_URLCONF = gate_settings.ROOT_URLCONF
    settings.REGISTRY_ACCOUNTS = "taglock"
    settings.REGISTRY_URL = "http://registry.internal:5000"
    clear_url_caches()
    yield Client()
    clear_url_caches()


def ask(gate: Client, token: str, target: str, method: str = "GET") -> HttpResponse:
    headers = {"X-Taglock-Method": method, "X-Taglock-Target": target}
    headers |= {"Authorization": token} if token else {}
    answer: Any = gate.get("/edge-access", headers=headers)
    return answer  # type: ignore[no-any-return]


def sign(caller: Caller, *actions: str, others: tuple[RepositoryName, ...] = ()) -> str:
    access = [repository_access(API.name, *(actions or ("pull", "push")))]
    access += [repository_access(each.name, "pull") for each in others]
    return f"Bearer {sign_token(token_keys().find_signing_key(), caller, access, int(time.time()))}"


def person(user: User) -> Caller:
    return Caller(CallerKind.PERSON, user.pk, user.username)


READ = "/v2/acme/api/manifests/v1"
pytestmark = pytest.mark.django_db


def test_a_member_reads_and_uploads(gate: Client, acme: Workspace, bob: User) -> None:
    token = sign(person(bob))
    for method, target in (("GET", READ), ("POST", UPLOADS), ("PATCH", f"{UPLOADS}u?_state=1")):
        answer = ask(gate, token, target, method)
        assert answer.status_code == 200
        assert answer["X-Taglock-Target"] == target
        assert answer["X-Taglock-Authorization"] == ""
        assert answer["X-Accel-Expires"] == "20"


@pytest.mark.parametrize("target", ["/v2/", READ])
@pytest.mark.parametrize("token", ["", "Basic Ym9iOmRlbW8=", "Bearer nonsense"])
def test_without_a_token_there_is_a_challenge_and_nothing_to_send(
    gate: Client, acme: Workspace, token: str, target: str
) -> None:
    answer = ask(gate, token, target)
    assert answer.status_code == 401
    assert answer["WWW-Authenticate"].startswith('Bearer realm="')
    assert ("scope=" in answer["WWW-Authenticate"]) == (target == READ)
    assert "X-Taglock-Authorization" not in answer
    assert "X-Accel-Expires" not in answer


def test_any_token_of_ours_may_ask_who_is_there(
    gate: Client, acme: Workspace, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge, "find_authorization", lambda *_: "Basic own")
    answer = ask(gate, sign(person(bob)), "/v2/")
    assert (answer.status_code, answer["X-Taglock-Authorization"]) == (200, "Basic own")


def test_a_token_for_pulls_uploads_nothing(gate: Client, acme: Workspace, bob: User) -> None:
    token = sign(person(bob), "pull")
    assert ask(gate, token, READ).status_code == 200
    answer = ask(gate, token, UPLOADS, "POST")
    assert answer.status_code == 401
    assert (
        'scope="repository:acme/api:pull,push",error="insufficient_scope"'
        in (answer["WWW-Authenticate"])
    )


def test_a_token_of_another_repository_opens_nothing(
    gate: Client, acme: Workspace, bob: User
) -> None:
    assert ask(gate, sign(person(bob)), "/v2/acme/web/manifests/v1").status_code == 401


def test_who_lost_their_access_is_out_although_their_token_is_good(
    gate: Client, acme: Workspace, bob: User, olga: User
) -> None:
    token = sign(person(bob))
    Membership.objects.filter(user=bob).delete()
    assert ask(gate, token, READ).status_code == 403
    # Olga is an auditor: she may have been a member when she got hers.
    assert ask(gate, sign(person(olga)), UPLOADS, "POST").status_code == 403
    assert ask(gate, sign(person(olga)), READ).status_code == 200


def test_a_revoked_access_token_is_out(gate: Client, acme: Workspace) -> None:
    create_access_token(acme, "ci", [Scope.PUSH], actor=SYSTEM)
    row = AccessToken.objects.get(workspace=acme, name="ci")
    token = sign(Caller(CallerKind.ACCESS_TOKEN, row.pk, "acme+ci"))
    assert ask(gate, token, UPLOADS, "POST").status_code == 200
    AccessToken.objects.filter(pk=row.pk).update(revoked_at="2026-01-01T00:00:00Z")
    assert ask(gate, token, UPLOADS, "POST").status_code == 403


def test_anyone_reads_what_is_public_while_it_is(
    gate: Client, acme: Workspace, alice: User
) -> None:
    token = sign(ANYBODY, "pull")
    assert ask(gate, token, READ).status_code == 403
    admin = Actor("alice", ActorKind.PERSON)
    set_public(acme, API, is_public=True, actor=admin)
    assert ask(gate, token, READ).status_code == 200
    assert ask(gate, sign(ANYBODY), UPLOADS, "POST").status_code == 403
    set_public(acme, API, is_public=False, actor=admin)
    assert ask(gate, token, READ).status_code == 403


@pytest.mark.parametrize(
    ("query", "sent"),
    [
        ("mount=sha256:aa&from=acme/web", "mount=sha256:aa&from=acme/web"),
        ("digest=sha256:aa", "digest=sha256:aa"),
        ("digest-algorithm=sha512&x=y", "digest-algorithm=sha512"),
        # Of others, of nobody, of wherever it is, and in spellings that only a registry reads.
        ("mount=sha256:aa&from=globex/secret", ""),
        ("mount=sha256:aa&from=Nonsense", ""),
        ("mount=sha256:aa", ""),
        ("m%6funt=sha256:aa&fro%6d=globex/secret", ""),
        ("mount=sha256:aa&from=globex/secret&from=acme/web", ""),
        ("&".join(f"x{number}=" for number in range(30)) + "&mount=a&from=globex/secret", ""),
    ],
)
def test_a_blob_is_mounted_only_from_where_the_caller_may_pull(
    gate: Client, acme: Workspace, globex: Workspace, bob: User, query: str, sent: str
) -> None:
    token = sign(person(bob), others=(RepositoryName("acme/web"), GLOBEX))
    answer = ask(gate, token, f"{UPLOADS}?{query}", "POST")
    assert answer.status_code == 200
    path, _, told = answer["X-Taglock-Target"].partition("?")
    assert (path, parse_qs(told)) == (UPLOADS, parse_qs(sent))


def test_for_a_mount_the_token_must_be_for_both_repositories(
    gate: Client, acme: Workspace, bob: User
) -> None:
    query = "mount=sha256:aa&from=acme/web"
    answer = ask(gate, sign(person(bob)), f"{UPLOADS}?{query}", "POST")
    assert answer.status_code == 401
    told = answer["WWW-Authenticate"]
    assert 'scope="repository:acme/api:pull,push repository:acme/web:pull"' in told
    assert 'error="insufficient_scope"' in told


def test_of_several_values_the_first_counts_as_for_a_registry(
    gate: Client, acme: Workspace, globex: Workspace, bob: User
) -> None:
    token = sign(person(bob), others=(RepositoryName("acme/web"),))
    query = "mount=sha256:aa&from=acme/web&from=globex/secret"
    answer = ask(gate, token, f"{UPLOADS}?{query}", "POST")
    assert parse_qs(urlsplit(answer["X-Taglock-Target"]).query)["from"] == ["acme/web"]


def test_taglocks_own_account_is_sent_to_the_registry(
    gate: Client, acme: Workspace, bob: User, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def authorize(registry: object, *access: object) -> str:
        asked.extend(access)
        return "Basic own"

    monkeypatch.setattr(edge, "find_authorization", authorize)
    token = sign(person(bob), others=(RepositoryName("acme/web"),))
    answer = ask(gate, token, f"{UPLOADS}?mount=sha256:aa&from=acme/web", "POST")
    assert answer["X-Taglock-Authorization"] == "Basic own"
    assert asked == [
        repository_access("acme/api", "pull", "push"),
        repository_access("acme/web", "pull"),
    ]


def test_the_database_is_released_before_a_token_service_is_waited_for(
    gate: Client, acme: Workspace, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    monkeypatch.setattr(edge, "release_database", lambda: done.append("released"))
    monkeypatch.setattr(edge, "find_authorization", lambda *_: f"after {done}")
    answer = ask(gate, sign(person(bob)), READ)
    assert answer["X-Taglock-Authorization"] == "after ['released']"


def test_without_the_registrys_token_the_edge_is_told_to_fail(
    gate: Client, acme: Workspace, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> str:
        raise RegistryUnavailableError("no token")

    monkeypatch.setattr(edge, "find_authorization", fail)
    assert ask(gate, sign(person(bob)), READ).status_code == 503


@pytest.mark.parametrize("target", ["", "/v2/Acme/api/manifests/v1", "/v2/token", "/v2/\x00"])
def test_what_nothing_needs_is_not_allowed(
    gate: Client, acme: Workspace, bob: User, target: str
) -> None:
    assert ask(gate, sign(person(bob)), target).status_code == 403


@pytest.mark.parametrize("accounts", ["tokens", "registry"])
def test_with_other_accounts_there_is_nothing_to_ask(
    gate: Client, acme: Workspace, bob: User, settings: Any, accounts: str
) -> None:
    settings.REGISTRY_ACCOUNTS = accounts
    assert ask(gate, sign(person(bob)), READ).status_code == 404


def test_the_site_does_not_have_the_address(acme: Workspace, bob: User, settings: Any) -> None:
    settings.REGISTRY_ACCOUNTS = "taglock"
    answer = ask(Client(), sign(person(bob)), READ)
    assert answer.status_code != 200
    assert "X-Taglock-Authorization" not in answer


def test_an_open_registry_is_sent_no_token_of_taglocks(gate: Client) -> None:
    none = RegistryLogin("")
    for service in ("taglock", ""):
        client = _client(
            "http://registry.internal", none, None, service=service, problem="", is_typed=False
        )
        assert (client._authorize is not None) == bool(service)
    assert _account("http://a", none, None) is _account("http://a", none, None)
