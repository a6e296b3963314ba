"""The pages "Workspaces" and "People" of site administrators."""

from typing import Any

import pytest

from tests.page import Browser, read_errors
from workspaces.access import Actor, ActorKind, Scope
from workspaces.actions.access_tokens import create_access_token
from workspaces.log.models import LockEvent
from workspaces.models import AccessToken, Membership, Registry, User, Workspace

pytestmark = pytest.mark.django_db

WORKSPACES, PEOPLE = "/admin/workspaces/", "/admin/people/"
REASON = {"reason": "Because"}


@pytest.fixture
def browser(db: None, sign_in: Any) -> Browser:
    """Sam, a site administrator in no workspace."""
    return Browser(sign_in(User.objects.create_user("sam", is_superuser=True)))


def test_a_workspace_is_created_with_its_first_admin(bob: User, browser: Browser) -> None:
    browser.open(WORKSPACES)
    page = browser.press("Create", slug="fresh", name="New things", username="bob")
    assert "fresh is created." in page.main.text
    assert "New things" in page.find("table").text
    assert Membership.objects.get(workspace__slug="fresh").role == "admin"
    kinds = LockEvent.objects.filter(workspace="fresh", actor="sam").order_by("id")
    assert list(kinds.values_list("kind", flat=True)) == [
        *("workspace.created", "workspace.handed_over", "member.added")
    ]


def test_where_there_are_several_registries_a_workspace_is_created_at_one(
    bob: User, browser: Browser
) -> None:
    row = Registry.objects.create(
        name="harbor", url="http://127.0.0.1:1", host="b.example.org", accounts="tokens"
    )
    browser.open(WORKSPACES)
    page = browser.press("Create", slug="fresh", name="A", username="bob", registry=str(row.pk))
    assert Workspace.objects.get(slug="fresh").registry == row
    assert [cells[4] for cells in page.rows] == ["–", "harbor"]


@pytest.mark.parametrize(
    ("typed", "field"),
    [
        ({"slug": "acme", "name": "A", "username": "bob"}, "slug"),
        ({"slug": "fresh", "name": "A", "username": "no\x00body"}, "username"),
        ({"slug": "fresh", "name": "A", "username": "gone"}, "username"),
    ],
)
def test_what_cannot_be_created_is_said(
    bob: User, browser: Browser, typed: dict[str, str], field: str
) -> None:
    User.objects.create_user("gone", is_active=False)
    browser.open(WORKSPACES)
    page = browser.press("Create", 422, **typed)
    assert list(read_errors(page)) == [f"id_{field}"]
    assert not Workspace.objects.filter(slug="fresh").exists()


def test_a_workspace_is_archived_unarchived_and_handed_over(
    acme: Workspace, bob: User, browser: Browser
) -> None:
    page = browser.open(f"{WORKSPACES}?q=ACM")
    # Bob is no admin.
    assert "None" in page.find("table").text
    browser.follow("Archive acme")
    page = browser.press("Archive", **REASON)
    assert "acme is archived" in page.main.text
    assert "Archived" in page.find("table").text
    browser.follow("Unarchive acme")
    assert "acme can be changed again." in browser.press("Unarchive", **REASON).main.text
    browser.follow("Hand over acme")
    page = browser.press("Hand over", username="bob", **REASON)
    assert "bob is admin of acme." in page.main.text
    events = LockEvent.objects.filter(actor="sam", reason="Because").order_by("id")
    assert list(events.values_list("kind", flat=True)) == [
        *("workspace.archived", "workspace.unarchived", "workspace.handed_over")
    ]


def test_a_person_is_deactivated_and_reactivated(
    acme: Workspace, alice: User, bob: User, browser: Browser
) -> None:
    create_access_token(acme, "ci", [Scope.PULL], actor=Actor("alice", ActorKind.PERSON))
    page = browser.open(PEOPLE)
    assert "Deactivate sam" not in page.main.text
    page = browser.follow("Deactivate alice")
    assert "acme+ci" in page.main.text
    page = browser.press("Deactivate", 422, **REASON)
    assert "alice is the last admin of acme" in page.main.text
    assert User.objects.get(pk=alice.pk).is_active
    page = browser.press("Deactivate", even_last_admin="on", **REASON)
    assert "Access tokens that were revoked: 1. Without an admin now: acme." in page.main.text
    assert AccessToken.objects.get().revoked_at is not None
    assert "Deactivated" in page.find("table").text
    browser.follow("Reactivate alice")
    page = browser.press("Reactivate", **REASON)
    assert "alice can sign in again with a new password." in page.main.text


def test_lists_go_on_and_say_what_they_cannot_read(
    acme: Workspace, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("containers.pages.workspaces.WORKSPACES_PER_PAGE", 1)
    monkeypatch.setattr("workspaces.pages.site_people.PEOPLE_PER_PAGE", 1)
    Workspace.objects.create(slug="beta", name="Beta")
    User.objects.create_user("zoe")
    browser.open(WORKSPACES)
    assert "beta" in browser.follow("More workspaces").find("table").text
    browser.open(PEOPLE)
    assert "zoe" in browser.follow("More people").find("table").text
    for page in (WORKSPACES, PEOPLE):
        assert "Unknown parameter" in browser.open(f"{page}?sort=name").main.text
