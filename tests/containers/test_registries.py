"""Several registries on one site: which one is whose, and how one is added, changed and removed."""

import socket
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.management import CommandError, call_command
from django.db import transaction

from containers.connection import check_connection, connect, find_authorization, find_registries
from containers.models import Push, Repository
from containers.names import RepositoryName
from containers.prefixes import create_workspace
from containers.registries import (
    connect_row,
    find_connection,
    find_connection_at,
    find_connection_with,
    stored_registries,
)
from containers.registry.exchange import NoLoginError, RegistryUnavailableError
from containers.registry_changes import add_registry, choose_registry, remove_registry
from containers.registry_seen import look_at_registries
from containers.sql import insert_repository
from immutability.actions.move_workspace import move_workspace
from immutability.models import Job
from tests.at_once import at_once
from tests.conftest import AA, ROOT
from tests.containers.registry.servers import Server
from workspaces.access import SYSTEM, Actor, ActorKind
from workspaces.actions.archive import archive_workspace
from workspaces.actions.registry_accounts import link_registry_account
from workspaces.log.models import LockEvent
from workspaces.models import Registry, User, Workspace

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("changing_registries")]

SAM = Actor("sam", ActorKind.PERSON)
HARBOR = "https://harbor.internal/path"


def make(name: str = "harbor", **changes: Any) -> Registry:
    how: dict[str, Any] = {
        "url": HARBOR,
        "host": f"{name}.example.org",
        "accounts": "tokens",
        "username": "",
        "actor": SYSTEM,
    }
    return add_registry(name, **how | changes)


@pytest.fixture
def harbor() -> Registry:
    return make()


@pytest.fixture
def sam() -> User:
    """A site administrator."""
    return User.objects.create_user("sam", is_superuser=True)


# Which one it is.


def test_a_host_name_leads_to_a_registry_and_any_other_to_the_first(
    harbor: Registry, settings: Any
) -> None:
    settings.REGISTRY_URL = "http://first.internal"
    for host in ("harbor.example.org", "harbor.example.org:8443", "Harbor.Example.org."):
        assert find_connection_at(host).id == harbor.pk
    for host in ("", "tags.example.org", "x.harbor.example.org", "[::1]:80"):
        first = find_connection_at(host)
        assert (first.id, first.url, first.service) == (None, "http://first.internal", "taglock")


def test_a_workspace_is_at_one_registry(
    harbor: Registry, acme: Workspace, globex: Workspace, django_assert_num_queries: Any
) -> None:
    move_workspace(globex, harbor, actor=SYSTEM)
    theirs, ours = find_connection(globex), find_connection(acme)
    assert (theirs.url, ours.url) == (HARBOR, "")
    assert theirs.has(globex)
    assert not theirs.has(acme)
    assert not ours.has(globex)
    assert connect(ours) is None
    # A push does not wait for a statement.
    with django_assert_num_queries(0):
        assert connect(find_connection(globex)) is connect(theirs)
    assert [registry_id for registry_id, _ in find_registries()] in (
        [None, harbor.pk],
        [harbor.pk, None],
    )


def test_a_registry_that_another_process_has_added_is_found_at_once(acme: Workspace) -> None:
    assert list(stored_registries().look()) == []
    Workspace.objects.update(
        registry=Registry.objects.create(
            name="zot", url=HARBOR, host="zot.example.org", accounts="tokens", service="taglock-z"
        )
    )
    acme.refresh_from_db()
    assert find_connection(acme).name == "zot"


def test_each_registry_has_a_service_of_its_own_which_no_later_one_gets(harbor: Registry) -> None:
    former = harbor.service
    assert find_connection_with(former) == connect_row(harbor)
    remove_registry(harbor, actor=SYSTEM)
    assert find_connection_with(former) is None
    assert former.startswith("taglock-harbor-")
    assert make().service != former


# Workspaces.


@pytest.mark.both_databases
def test_a_workspace_moves_only_while_nothing_of_it_is_known(
    harbor: Registry, acme: Workspace
) -> None:
    before = Workspace.objects.get(pk=acme.pk)
    assert move_workspace(acme, harbor, actor=SYSTEM) is True
    assert move_workspace(acme, harbor, actor=SYSTEM) is False
    assert Job.objects.get().done_at is None
    event = LockEvent.objects.get(kind="registry.chosen")
    assert (event.workspace, event.details) == ("acme", {"registry": "harbor"})
    # What has read the workspace before it moved makes nothing known of it.
    assert insert_repository(before, RepositoryName("acme/api")) is False
    assert insert_repository(acme, RepositoryName("acme/api")) is True
    with pytest.raises(ValidationError, match="only while it is empty"):
        move_workspace(acme, None, actor=SYSTEM)
    assert Workspace.objects.get(pk=acme.pk).registry == harbor


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
def test_a_workspace_moves_or_gets_its_first_repository_and_never_both(
    harbor: Registry, acme: Workspace
) -> None:
    def push(number: int) -> str:
        workspace = Workspace.objects.get(pk=acme.pk)
        with transaction.atomic():
            # As a push does, which then holds the workspace's row, and waits for the move.
            Push.objects.create(workspace=workspace, repository="acme/api", tag="v1", digest=AA)
            is_known = insert_repository(workspace, RepositoryName(f"acme/api{number}"))
        return "known" if is_known and workspace.registry_id is None else ""

    def move() -> str:
        try:
            return "moved" if choose_registry(acme, harbor, actor=SYSTEM) else ""
        except ValidationError:
            return ""

    calls: list[Callable[[], str]] = [move, *(partial(push, number) for number in range(8))]
    done = at_once(calls)
    assert {*done} - {""} in ({"known"}, {"moved"})


def test_an_archived_workspace_stays_where_it_is(harbor: Registry, acme: Workspace) -> None:
    archive_workspace(acme, actor=SYSTEM, reason="sold")
    with pytest.raises(ValidationError, match="acme is archived"):
        move_workspace(acme, harbor, actor=SYSTEM)


def test_a_registry_stays_while_a_workspace_is_at_it(harbor: Registry) -> None:
    workspace = create_workspace("initech", "Initech", harbor, actor=SYSTEM)
    with pytest.raises(ValidationError, match="Workspaces are at this registry"):
        remove_registry(harbor, actor=SYSTEM)
    choose_registry(workspace, None, actor=SYSTEM)
    remove_registry(harbor, actor=SYSTEM)
    assert not Registry.objects.exists()


def test_only_site_administrators_add_move_and_remove(harbor: Registry, acme: Workspace) -> None:
    alice = Actor("alice", ActorKind.PERSON)
    for change in (
        lambda: make("zot", actor=alice),
        lambda: remove_registry(harbor, actor=alice),
        lambda: choose_registry(acme, harbor, actor=alice),
    ):
        with pytest.raises(PermissionDenied):
            change()
    assert Registry.objects.get() == harbor
    assert Repository.objects.count() == 0


# What is refused.


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("name", {"name": "Harbor"}),
        ("name", {"name": "a--b"}),
        ("url", {"url": "ftp://harbor.internal"}),
        ("url", {"url": "https://harbor.internal/v2"}),
        ("url", {"url": "https://robot:secret@harbor.internal"}),
        ("url", {"url": "http://169.254.169.254/latest"}),
        ("url", {"url": "http://0.0.0.0:5000"}),
        ("url", {"url": "http://[::ffff:169.254.169.254]"}),
        ("url", {"url": "http://2852039166"}),
        ("url", {"url": "http://0xa9.254.43518."}),
        ("host", {"host": ""}),
        ("host", {"host": "harbor.example.org:8443"}),
        ("host", {"host": "127.0.0.1"}),
        ("accounts", {"accounts": "none"}),
        ("username", {"username": "robot"}),
        ("username", {"accounts": "registry"}),
        ("username", {"accounts": "taglock", "username": "a:b"}),
    ],
)
def test_what_cannot_be_a_registry_is_refused_by_field(field: str, changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        make(changes.pop("name", "harbor"), **changes)
    assert list(refused.value.message_dict) == [field]


@pytest.mark.parametrize("address", ["169.254.169.254", "::ffff:169.254.169.254", "fe80::1%1"])
def test_no_name_leads_to_a_link_local_address(
    harbor: Registry, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("it connects"))
    client = connect(connect_row(harbor))
    assert client is not None
    with pytest.raises(RegistryUnavailableError, match="link-local"):
        client.acting_for("").ask_version()


def test_a_registry_takes_the_links_of_its_accounts_along(
    harbor: Registry, acme: Workspace, alice: User
) -> None:
    link_registry_account("ada", alice, harbor, actor=SYSTEM)
    remove_registry(harbor, actor=SYSTEM)
    events = LockEvent.objects.filter(workspace="acme", kind__startswith="account.")
    assert list(events.order_by("id").values_list("kind", flat=True)) == [
        "account.linked",
        "account.unlinked",
    ]


def test_name_and_host_are_of_one_registry(harbor: Registry) -> None:
    for field, changes in (("name", {"host": "b.example.org"}), ("host", {"name": "zot"})):
        with pytest.raises(ValidationError) as refused:
            make(**{"host": harbor.host, **changes})
        assert list(refused.value.message_dict) == [field]


@pytest.mark.usefixtures("sam")
def test_a_site_administrator_cannot_take_a_name_that_clients_use(settings: Any) -> None:
    for names in (["registry.example.org"], ["*", ".example.org"]):
        settings.ALLOWED_HOSTS = names
        with pytest.raises(ValidationError, match="already leads"):
            make(host="registry.example.org", actor=SAM)
    settings.ALLOWED_HOSTS = ["*"]
    assert make("zot", actor=SAM).pk
    assert make(host="registry.example.org").pk


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
def test_of_two_who_take_a_name_at_once_the_second_is_told() -> None:
    def add(call: Callable[[], object]) -> str:
        try:
            return "added" if call() else ""
        except ValidationError as error:
            return ", ".join(error.message_dict)

    # Of the lists of more than one field, only one is the other's.
    registries = [partial(add, partial(make, host="harbor.example.org")) for _ in range(4)]
    workspaces = [
        partial(add, partial(create_workspace, "initech", "Initech", actor=SYSTEM))
        for _ in range(4)
    ]
    assert sorted(at_once(registries + workspaces)) == sorted(
        ["added", "added", *["name, host"] * 3, *["slug"] * 3]
    )


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
def test_no_workspace_gets_to_a_registry_while_it_is_removed(acme: Workspace) -> None:
    harbor = make()

    def carry_out(call: Callable[[], object]) -> bool:
        try:
            call()
        except ValidationError:
            return False
        return True

    calls: list[Callable[[], object]] = [
        partial(remove_registry, Registry.objects.get(pk=harbor.pk), actor=SYSTEM),
        partial(create_workspace, "initech", "Initech", harbor, actor=SYSTEM),
        partial(choose_registry, acme, harbor, actor=SYSTEM),
    ]
    is_removed, *are_there = at_once([partial(carry_out, call) for call in calls])
    assert is_removed is not any(are_there)
    assert Registry.objects.exists() is any(are_there)


# Secrets.


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({}, "Set REGISTRY_HARBOR_PASSWORD, or REGISTRY_HARBOR_PASSWORD_FILE or "),
        ({"PASSWORD": "x", "PASSWORD_FILE": "/y"}, "Set only one of REGISTRY_HARBOR_PASSWORD"),
        ({"PASSWORD": "x"}, f"Set REGISTRY_HARBOR_URL={HARBOR} too"),
        ({"PASSWORD": "x", "URL": "https://other.internal"}, f"Set REGISTRY_HARBOR_URL={HARBOR}"),
        ({"PASSWORD": "x", "URL": "nonsense"}, f"Set REGISTRY_HARBOR_URL={HARBOR}"),
        ({"PASSWORD_COMMAND": "a '", "URL": HARBOR}, "has a quotation that does not end"),
        ({"CA_FILE": str(ROOT / "manage.py")}, "REGISTRY_HARBOR_CA_FILE names a file"),
        ({"PASSWORD": "x", "URL": f"{HARBOR}/"}, ""),
        ({"PASSWORD_FILE": "/y", "URL": HARBOR}, ""),
        ({"PASSWORD_COMMAND": "echo 'a b'", "URL": HARBOR}, ""),
    ],
)
def test_a_password_is_the_operators_and_goes_to_one_address(
    settings: Any, variables: dict[str, str], problem: str
) -> None:
    settings.REGISTRY_VARIABLES_SECRET = {
        f"REGISTRY_HARBOR_{name}": value for name, value in variables.items()
    }
    connection = connect_row(make(accounts="registry", username="robot"))
    assert connection.problem.startswith(problem) or problem in connection.problem
    assert bool(connection.problem) == bool(problem)
    if problem:
        # Nothing is sent without it, or with a half of it.
        assert connection.login.username == ""
        with pytest.raises(NoLoginError):
            find_authorization(connection)
        client = connect(connection)
        assert client is not None
        with pytest.raises(NoLoginError):
            client.ask_version()
    else:
        assert connection.login.username == "robot"
        assert asdict(connection.login)["password_command"] == (
            ("echo", "a b") if "PASSWORD_COMMAND" in variables else ()
        )


def test_a_check_says_which_variable_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = connect_row(make(accounts="registry", username="robot", url="http://127.0.0.1:1"))
    [found] = check_connection(connection) or []
    assert (found.step, found.outcome) == ("Reach", "failed")
    assert "correct host and port of the address" in found.advice


def test_when_a_registry_last_answered_is_noted_once_a_minute() -> None:
    gone = make(url="http://127.0.0.1:1")
    look_at_registries()
    gone.refresh_from_db()
    assert gone.seen_at is None
    gone.delete()
    refusal = b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n"
    server = Server(lambda connection: connection.sendall(refusal))
    with closing(server):
        row = make(url=server.url)
        for _ in range(2):
            look_at_registries()
    row.refresh_from_db()
    assert row.seen_at is not None
    assert len(server.requests) == 1


# The commands.


def run(*arguments: str) -> tuple[str, str]:
    out, err = StringIO(), StringIO()
    call_command(*arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def test_the_commands_add_change_list_use_and_remove(acme: Workspace, tmp_path: Path) -> None:
    out, err = run("add_registry", "harbor", HARBOR, "--host", "harbor.example.org")
    row = Registry.objects.get()
    assert f"service: {row.service}" in out
    assert "check_registry harbor" in err
    out, err = run(
        *("add_registry", "harbor", "https://b.internal", "--host", "b.example.org"),
        *("--accounts", "registry", "--username", "robot"),
    )
    assert out == ""
    assert "is changed" in err
    assert "REGISTRY_HARBOR_PASSWORD" in err
    assert run("add_registry")[0] == "harbor\thttps://b.internal\tb.example.org\tregistry\n"
    assert find_connection_at("b.example.org").service == row.service
    assert "is at the registry" in run("move_workspace", "acme", "harbor")[1]
    with pytest.raises(CommandError, match="Workspaces are at this registry"):
        run("add_registry", "--remove", "harbor")
    assert "is at the registry" in run("move_workspace", "acme")[1]
    run("create_workspace", "initech", "--name", "Initech", "--registry", "harbor")
    assert Workspace.objects.get(slug="initech").registry == row
    with pytest.raises(CommandError, match="no registry"):
        run("move_workspace", "acme", "nonsense")
    with pytest.raises(CommandError, match="Enter a host name"):
        run("add_registry", "zot", HARBOR)
