"""The page "Prefixes", for site administrators."""

from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.core.management import CommandError, call_command

from containers.models import RepositoryPrefix
from containers.prefixes import add_prefix
from immutability.actions.map_repositories import map_repositories, unmap_repositories
from immutability.models import Job
from tests.page import Browser, read_errors
from tests.problems import nothing_written
from workspaces.access import SYSTEM, Actor, ActorKind
from workspaces.log.models import LockEvent
from workspaces.models import User, Workspace

pytestmark = pytest.mark.django_db

PAGE = "/admin/prefixes/"


@pytest.fixture
def sam(db: None) -> User:
    """A site administrator, in no workspace."""
    user = User.objects.create_user("sam", password="demo")
    call_command("add_site_admin", "sam")
    user.refresh_from_db()
    return user


@pytest.fixture
def browser(sam: User, sign_in: Any) -> Browser:
    return Browser(sign_in(sam))


def test_a_prefix_is_added_and_removed(acme: Workspace, browser: Browser, settings: Any) -> None:
    settings.REGISTRY_URL = "http://registry.internal:5000"
    page = browser.open(PAGE)
    assert "No prefixes yet" in page.main.text
    assert "All others belong to none" in page.main.text
    page = browser.press("Add", name_prefix="team/sub", workspace="acme")
    assert "Repositories under team/sub belong to acme." in page.main.text
    assert "team/sub" in page.find("table").text
    # What the registry has there already is read.
    assert Job.objects.get().workspace == acme
    page = browser.follow("Remove team/sub")
    assert page.heading == "Remove this prefix?"
    page = browser.press("Remove")
    assert "acme gets no new repositories under team/sub." in page.main.text
    assert not RepositoryPrefix.objects.exists()
    events = LockEvent.objects.filter(workspace="acme", kind__startswith="prefix.")
    assert {(each.actor, each.actor_kind) for each in events} == {("sam", "person")}


@pytest.mark.parametrize(
    ("prefix", "workspace", "field", "why"),
    [
        ("", "acme", "name_prefix", "Enter what the names begin with."),
        ("Team", "acme", "name_prefix", "not a repository name"),
        ("acme/x", "acme", "name_prefix", "belongs to acme already"),
        ("team", "nothing", "workspace", "There is no workspace"),
        ("x" * 256, "acme", "name_prefix", "at most 255"),
        ("team\0", "acme", "name_prefix", "Null characters"),
    ],
)
def test_what_is_wrong_is_said_beside_the_field(
    acme: Workspace, browser: Browser, prefix: str, workspace: str, field: str, why: str
) -> None:
    browser.open(PAGE)
    with nothing_written():
        page = browser.press("Add", 422, name_prefix=prefix, workspace=workspace)
    errors = read_errors(page)
    assert list(errors) == [f"id_{field}"]
    assert why in errors[f"id_{field}"]


def test_the_page_says_what_happens_to_all_others(
    acme: Workspace, browser: Browser, settings: Any
) -> None:
    settings.REGISTRY_WORKSPACE = "acme"
    assert "All others belong to Acme." in browser.open(PAGE).main.text
    settings.REGISTRY_WORKSPACE = "later"
    assert "there is no such workspace" in browser.open(PAGE).main.text


def test_the_pages_are_found_by_those_who_may_open_them(
    alice: User, browser: Browser, sign_in: Any
) -> None:
    assert browser.open("/").find_all("a", href="/admin/registry/")
    assert not Browser(sign_in(alice)).open("/acme/").find_all("a", href="/admin/registry/")


def test_who_is_no_site_administrator_any_more_changes_nothing(acme: Workspace, sam: User) -> None:
    actor = Actor("sam", ActorKind.PERSON)
    assert map_repositories(acme, "team", actor=actor)
    call_command("add_site_admin", "sam", "--remove")
    for stale in (actor, Actor("sam", ActorKind.TOKEN), Actor("alice", ActorKind.PERSON)):
        with nothing_written(), pytest.raises(PermissionDenied):
            map_repositories(acme, "lib", actor=stale)
        with nothing_written(), pytest.raises(PermissionDenied):
            unmap_repositories("team", actor=stale)


@pytest.mark.parametrize(
    "act",
    [
        lambda acme, actor: map_repositories(acme, "lib", actor=actor),
        lambda acme, actor: unmap_repositories("team", actor=actor),
    ],
)
def test_who_is_put_out_while_they_wait_changes_nothing(
    acme: Workspace, sam: User, monkeypatch: pytest.MonkeyPatch, act: Any
) -> None:
    map_repositories(acme, "team", actor=SYSTEM)
    actor = Actor("sam", ActorKind.PERSON)

    def wait() -> None:
        User.objects.filter(pk=sam.pk).update(is_active=False)

    monkeypatch.setattr("immutability.actions.map_repositories.keep_repositories", wait)
    with pytest.raises(PermissionDenied):
        act(acme, actor)


def test_someone_who_is_switched_off_is_no_site_administrator(acme: Workspace, sam: User) -> None:
    User.objects.filter(id=sam.id).update(is_active=False)
    with pytest.raises(PermissionDenied):
        map_repositories(acme, "team", actor=Actor("sam", ActorKind.PERSON))


def test_a_prefix_that_is_gone_is_not_found(acme: Workspace, browser: Browser) -> None:
    add_prefix(acme, "team", actor=SYSTEM)
    row = RepositoryPrefix.objects.get()
    row.delete()
    browser.open(f"{PAGE}{row.id or 1}/remove/", 404)


def test_only_someone_who_has_an_account_is_made_a_site_administrator(db: None) -> None:
    with pytest.raises(CommandError, match='no user "zoe"'):
        call_command("add_site_admin", "zoe")
