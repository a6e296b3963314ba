"""Two registries behind one gate: nobody gets from one into the other."""

import base64
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import clear_url_caches

from containers.names import RepositoryName
from containers.prefixes import add_prefix
from containers.registries import connect_row, stored_registries
from containers.registry.client import RegistryUnavailableError
from containers.registry_changes import add_registry, choose_registry
from containers.tokens import edge
from containers.tokens.grants import repository_access
from containers.tokens.stored_keys import token_keys
from containers.tokens.tokens import Caller, CallerKind, read_token, sign_token
from containers.visibility import set_public
from immutability import tasks
from immutability.gate import registry_accounts, views
from immutability.gate.turns import MAX_AT_ONE_REGISTRY, find_slots
from packages_site import gate_settings
from tests.immutability.core import Core
from tests.immutability.gate.client import error_of, is_undecided
from tests.immutability.registry_double import IMAGE_TYPE, RegistryDouble, digest_of, image
from workspaces.access import SYSTEM, Role, Scope
from workspaces.actions.access_tokens import create_access_token
from workspaces.actions.members import add_member
from workspaces.actions.registry_accounts import (
    is_admins_account,
    link_registry_account,
    unlink_registry_account,
)
from workspaces.log.models import LockEvent
from workspaces.models import Registry, User, Workspace

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("changing_registries", "core")]

FIRST, THERE = "tags.example.org", "harbor.example.org"
ONE, TWO = image("one"), image("two")


@pytest.fixture
def harbor(globex: Workspace, settings: Any) -> Registry:
    """A second registry, which globex is at."""
    settings.ALLOWED_HOSTS = ["*"]
    row = add_registry("harbor", "http://harbor.internal", THERE, "tokens", "", actor=SYSTEM)
    choose_registry(globex, row, actor=SYSTEM)
    return row


@pytest.fixture
def second(core: Core, harbor: Registry, monkeypatch: pytest.MonkeyPatch) -> RegistryDouble:
    """What is behind it."""
    double = RegistryDouble()
    of = {None: core.registry, harbor.pk: double}
    for module in (views, registry_accounts):
        monkeypatch.setattr(module, "connect", lambda to: of[to.id] if to.url else None)
    return double


@pytest.fixture
def bob(acme: Workspace, globex: Workspace) -> User:
    """A member of both workspaces."""
    user = User.objects.create_user("bob", password="demo")
    for workspace in (acme, globex):
        add_member(workspace, user, Role.MEMBER, actor=SYSTEM)
    return user


@pytest.fixture
def edge_gate(settings: Any, harbor: Registry) -> Iterator[Client]:
    """A gate before two open registries that do not know Taglock's accounts."""
    settings.MIDDLEWARE = gate_settings.MIDDLEWARE
    settings.ROOT_URLCONF = gate_settings.ROOT_URLCONF
    settings.REGISTRY_ACCOUNTS = "taglock"
    Registry.objects.update(accounts="taglock")
    clear_url_caches()
    yield Client()
    clear_url_caches()


def token_of(user: User, repository: str, service: str) -> str:
    caller = Caller(CallerKind.PERSON, user.pk, user.username)
    access = [repository_access(repository, "pull", "push")]
    key = token_keys().find_signing_key()
    return f"Bearer {sign_token(key, caller, access, int(time.time()), service=service)}"


def push(repository: str, authorization: str, *, host: str, body: bytes = ONE) -> Any:
    return Client(headers={"host": host}).put(
        f"/v2/{repository}/manifests/v1",
        body,
        IMAGE_TYPE,
        headers={"Authorization": authorization},
    )


def granted(service: str, *repositories: str, login: str = "bob:demo") -> set[str]:
    """Return the repositories that a token for this service is for."""
    scopes = [f"repository:{name}:pull,push" for name in repositories]
    basic = f"Basic {base64.b64encode(login.encode()).decode()}"
    answer = Client().get(
        "/auth/token", {"service": service, "scope": scopes}, headers={"Authorization": basic}
    )
    assert answer.status_code == 200, answer.content
    claims = read_token(answer.json()["token"], token_keys(), service)
    return {each.name for each in claims.access if "pull" in each.actions}


# The gate.


def test_each_registry_gets_what_is_pushed_to_its_workspaces(
    core: Core, second: RegistryDouble, harbor: Registry, bob: User
) -> None:
    ours, theirs = token_of(bob, "acme/api", "taglock"), token_of(bob, "globex/api", harbor.service)
    assert push("acme/api", ours, host=FIRST).status_code == 201
    assert push("globex/api", theirs, host=f"{THERE}:8443", body=TWO).status_code == 201
    assert (core.registry.tags, second.tags) == ({"v1": digest_of(ONE)}, {"v1": digest_of(TWO)})
    # What is locked is so at its own registry.
    assert push("acme/api", ours, host=FIRST, body=TWO).status_code == 403


def test_a_repository_at_another_registry_is_as_unknown_as_one_of_nobody(
    core: Core, second: RegistryDouble, harbor: Registry, bob: User
) -> None:
    for host, service, name in (
        (FIRST, "taglock", "globex/api"),
        (THERE, harbor.service, "acme/api"),
    ):
        foreign = push(name, token_of(bob, name, service), host=host)
        nobodys = push("nobody/api", token_of(bob, "nobody/api", service), host=host)
        assert error_of(foreign) == (403, "DENIED")
        assert foreign.content == nobodys.content
    assert core.registry.calls == second.calls == []
    assert not LockEvent.objects.filter(kind__startswith="push.").exists()


@pytest.mark.usefixtures("second")
def test_a_token_for_one_registry_is_none_at_another(harbor: Registry, bob: User) -> None:
    for host, service, own in (
        (THERE, "taglock", harbor.service),
        (FIRST, harbor.service, "taglock"),
    ):
        for name in ("acme/api", "globex/api"):
            refused = push(name, token_of(bob, name, service), host=host)
            assert refused.status_code == 401
            assert f'service="{own}"' in refused["WWW-Authenticate"]
            assert 'error="invalid_token"' in refused["WWW-Authenticate"]


def test_only_the_first_registry_takes_what_belongs_to_nobody(
    second: RegistryDouble, core: Core, settings: Any
) -> None:
    settings.UNASSIGNED_REPOSITORIES = "allow"
    settings.REGISTRY_ACCOUNTS = "registry"
    Registry.objects.update(accounts="registry", username="robot")
    stored_registries().forget()
    pat = "Basic cGF0OmRlbW8="
    core.registry.rights = second.rights = {pat: {"pull", "push"}}
    assert push("nginx", pat, host=THERE).status_code == 403
    assert second.tags == {}
    assert push("nginx", pat, host=FIRST).status_code == 201
    # It is globex's, which is at the other one.
    assert push("globex/api", pat, host=FIRST).status_code == 403
    assert list(core.registry.tags) == ["v1"]


def test_a_registry_that_hangs_leaves_threads_to_the_others(
    second: RegistryDouble, harbor: Registry, bob: User
) -> None:
    slots = find_slots(connect_row(harbor))
    assert slots is not None
    for _ in range(MAX_AT_ONE_REGISTRY):
        assert slots.try_take()
    theirs = token_of(bob, "globex/api", harbor.service)
    assert is_undecided(push("globex/api", theirs, host=THERE))
    ours = token_of(bob, "acme/api", "taglock")
    assert push("acme/api", ours, host=FIRST).status_code == 201
    for _ in range(MAX_AT_ONE_REGISTRY):
        slots.give_back()
    # A request gives its own back, whatever comes of it.
    for _ in range(MAX_AT_ONE_REGISTRY + 1):
        second.script("PUT v1", RegistryUnavailableError("gone"))
        assert is_undecided(push("globex/api", theirs, host=THERE))
    assert slots.try_take()
    slots.give_back()


# Tokens.


@pytest.mark.usefixtures("bob")
def test_a_token_is_given_for_what_is_at_its_registry(
    harbor: Registry, acme: Workspace, globex: Workspace
) -> None:
    names = ("acme/api", "globex/api", "team/app", "nobody/api")
    add_prefix(globex, "team", actor=SYSTEM)
    assert granted("taglock", *names) == {"acme/api"}
    assert granted(harbor.service, *names) == {"globex/api", "team/app"}
    for workspace, own, others in ((acme, "taglock", harbor.service), (globex, harbor.service, "")):
        secret = create_access_token(workspace, "ci", [Scope.PUSH], actor=SYSTEM)
        login = f"{workspace}+ci:{secret}"
        assert granted(own, *names, login=login)
        assert granted(others or "taglock", *names, login=login) == set()
    # Not even what is public.
    set_public(globex, RepositoryName("globex/api"), is_public=True, actor=SYSTEM)
    assert granted("taglock", "globex/api", login=login) == set()


def test_there_is_no_token_for_another_service(harbor: Registry) -> None:
    assert Client().get("/auth/token", {"service": "other"}).status_code == 400
    Registry.objects.update(accounts="registry", username="robot")
    stored_registries().forget()
    assert Client().get("/auth/token", {"service": harbor.service}).status_code == 404
    assert Client().get("/auth/token", {"service": "taglock"}).status_code == 200


# The edge.


def test_the_edge_is_told_by_the_server_that_asks_and_not_by_a_clients_host(
    edge_gate: Client, harbor: Registry, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge, "find_authorization", lambda to, *_: f"own of {to.name}")

    def ask(repository: str, service: str, server: str) -> str:
        answer = edge_gate.get(
            "/edge-access",
            headers={
                "Authorization": token_of(bob, repository, service),
                "Host": THERE,
                "X-Taglock-Server": server,
                "X-Taglock-Method": "GET",
                "X-Taglock-Target": f"/v2/{repository}/manifests/v1",
            },
        )
        return answer.headers.get("X-Taglock-Authorization", str(answer.status_code))

    assert ask("acme/api", "taglock", "") == ask("acme/api", "taglock", FIRST) == "own of "
    assert ask("globex/api", harbor.service, THERE) == "own of harbor"
    assert ask("globex/api", harbor.service, "") == "401"
    assert ask("acme/api", "taglock", THERE) == "401"
    assert ask("globex/api", "taglock", "") == "403"
    assert ask("acme/api", harbor.service, THERE) == "403"


# Accounts, and the background.


def test_an_account_is_linked_at_one_registry(
    harbor: Registry, acme: Workspace, globex: Workspace, alice: User
) -> None:
    add_member(globex, alice, Role.ADMIN, actor=SYSTEM)
    link_registry_account("ada", alice, actor=SYSTEM)
    assert is_admins_account("ada", acme)
    globex.refresh_from_db()
    assert not is_admins_account("ada", globex)
    link_registry_account("ada", alice, harbor, actor=SYSTEM)
    assert is_admins_account("ada", globex)
    assert is_admins_account("ada", acme)
    unlink_registry_account("ada", actor=SYSTEM)
    assert not is_admins_account("ada", acme)
    assert is_admins_account("ada", globex)


def test_what_was_left_behind_is_finished_at_the_registry_that_has_it(
    core: Core, second: RegistryDouble, harbor: Registry, globex: Workspace, monkeypatch: Any
) -> None:
    globex.refresh_from_db()
    there = Core(globex, second, core.save, RepositoryName("globex/api"))
    for each in (core, there):
        each.protect()
        each.registry.script("PUT v1", RegistryUnavailableError("gone"))
        assert each.push("v1", image=ONE) == "503"
    core.let_pass(minutes=16)
    of: list[Any] = [(None, None), (harbor.pk, second)]
    monkeypatch.setattr(tasks, "find_registries", lambda: of)
    for _ in range(2):
        tasks.reconcile()
    assert there.lock() == f"locked {there.name_of(digest_of(ONE))}"
    # The first one was away.
    assert core.registry.tags == {}
    assert not core.lock().startswith("locked")
