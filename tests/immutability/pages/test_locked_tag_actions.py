"""What an admin does to a lock: delete and reserve or free, drop a claim, release."""

from collections.abc import Callable

import pytest

from immutability.actions.manage import NameAfter, delete_locked_tag, release_locked_tag
from immutability.models import Attempt, LockedTag
from immutability.protection import Policy, Protection
from tests.conftest import AA, BB, SEMVER
from tests.immutability.actions.asking import (
    claim,
    delete,
    lock_of,
    push,
    standing_lock,
    tag_event_kinds,
    tag_events,
)
from tests.page import Browser, Page, parse, read_errors
from tests.problems import nothing_written
from workspaces.access import Actor, ActorKind
from workspaces.models import Workspace

CAROL = Actor("carol", ActorKind.PERSON)
LIST = "/acme/locked-tags/"
GONE = "Somebody else has ended this lock in the meantime."


@pytest.fixture(autouse=True)
def _protected(acme: Workspace, protect: Callable[..., Policy]) -> None:
    protect(acme, Protection.SOME, SEMVER)


def lock(workspace: Workspace, state: str = "locked") -> LockedTag:
    """Return a lock of v1.0.0 in this state."""
    if state == "claimed":
        claim(workspace, "v1.0.0")
    else:
        push(workspace, "v1.0.0")
    if state == "reserved":
        delete(workspace, "v1.0.0", is_admin=True)
    elif state == "released":
        row = standing_lock(workspace, "v1.0.0")
        release_locked_tag(workspace, row.id, "to test", actor=CAROL)
    elif state == "deleting":
        LockedTag.objects.update(state="deleting")
    return standing_lock(workspace, "v1.0.0")


def open_delete(browser: Browser, row: LockedTag, status: int = 200) -> Page:
    return browser.open(f"{LIST}{row.id}/delete/", status)


def open_release(browser: Browser, row: LockedTag, status: int = 200) -> Page:
    return browser.open(f"{LIST}{row.id}/release/", status)


def last_event(workspace: Workspace) -> tuple[str, str, str]:
    """Return kind, actor and reason of the latest event of a tag."""
    event = tag_events(workspace)[-1]
    return event.kind, event.actor, event.reason


# Delete a locked tag.


def test_the_list_leads_to_the_question(acme: Workspace, admin: Browser) -> None:
    lock(acme)
    admin.open(LIST)
    page = admin.follow("Delete acme/api:v1.0.0")
    assert page.heading == "Delete this locked tag?"
    assert page.title.startswith("Delete the locked tag")
    assert page.facts["Tag"] == "acme/api:v1.0.0"
    assert page.facts["State"] == "Locked"
    assert page.facts["Digest"] == AA
    assert "by rule Release versions" in page.facts["Locked"]
    assert "It does not delete the tag in the registry itself" in page.main.text


def test_what_becomes_of_the_name_is_a_choice_with_reserve_first(
    acme: Workspace, admin: Browser
) -> None:
    page = open_delete(admin, lock(acme))
    fieldset = page.main.find("fieldset")
    assert fieldset.find("legend").text == "What becomes of the name?"
    radios = fieldset.find_all("input", type="radio", name="name_after")
    assert [radio["value"] for radio in radios] == ["reserve", "free"]
    assert [fieldset.find("label", for_=radio["id"]).text for radio in radios] == [
        "Keep it reserved: only the same image may come back",
        "Free it: the next push may bring any image",
    ]
    assert page.read_form(page.form_of(radios[0]))["name_after"] == ["reserve"]


def test_looking_at_the_question_changes_nothing(acme: Workspace, admin: Browser) -> None:
    row = lock(acme)
    with nothing_written():
        open_delete(admin, row)
        open_release(admin, row)


def test_delete_and_reserve(acme: Workspace, admin: Browser) -> None:
    open_delete(admin, lock(acme))
    page = admin.press("Delete", name_after="reserve", reason="Wrong base image")
    assert page.redirects == [(LIST, 302)]
    assert page.banners == ["acme/api:v1.0.0 is deleted. Its name is reserved for the same image."]
    row = standing_lock(acme, "v1.0.0")
    assert (row.state, row.deleted_by) == ("reserved", "alice")
    assert last_event(acme) == ("tag.deleted", "alice", "Wrong base image")
    assert page.rows[0][1].startswith("Reserved deleted by alice")


def test_delete_and_free(acme: Workspace, admin: Browser) -> None:
    open_delete(admin, lock(acme))
    page = admin.press("Delete", name_after="free", reason="Never used")
    assert page.banners == ["acme/api:v1.0.0 is deleted, and its name is free."]
    assert lock_of(acme, "v1.0.0") is None
    assert tag_event_kinds(acme)[-2:] == ["tag.deleted", "lock.freed"]
    assert last_event(acme) == ("lock.freed", "alice", "Never used")


def test_after_free_another_image_may_come(acme: Workspace, admin: Browser) -> None:
    open_delete(admin, lock(acme))
    admin.press("Delete", name_after="free", reason="Never used")
    assert push(acme, "v1.0.0", digest=BB).refusal is None


def test_after_reserve_another_image_may_not_come(acme: Workspace, admin: Browser) -> None:
    open_delete(admin, lock(acme))
    admin.press("Delete", name_after="reserve", reason="Wrong base image")
    assert push(acme, "v1.0.0", digest=BB).refusal is not None


def test_a_released_tag_can_be_deleted(acme: Workspace, admin: Browser) -> None:
    page = open_delete(admin, lock(acme, "released"))
    assert page.heading == "Delete this locked tag?"
    admin.press("Delete", reason="Not needed")
    assert standing_lock(acme, "v1.0.0").state == "reserved"


def test_a_suspended_lock_can_be_deleted(
    acme: Workspace, admin: Browser, protect: Callable[..., Policy]
) -> None:
    row = lock(acme)
    protect(acme, Protection.NONE)
    page = open_delete(admin, row)
    assert page.facts["State"] == "Suspended"
    admin.press("Delete", name_after="free", reason="Not needed")
    assert lock_of(acme, "v1.0.0") is None


# Free a name, drop a claim.


def test_a_reserved_name_can_be_freed(acme: Workspace, admin: Browser) -> None:
    page = open_delete(admin, lock(acme, "reserved"))
    assert page.heading == "Free this name?"
    assert page.title.startswith("Free the name")
    assert page.find_all(name="name_after") == []
    page = admin.press("Free the name", reason="It may come back new")
    assert page.banners == ["acme/api:v1.0.0 is free: the next push may bring any image."]
    assert lock_of(acme, "v1.0.0") is None
    assert last_event(acme) == ("lock.freed", "alice", "It may come back new")


def test_a_claim_can_be_dropped(acme: Workspace, admin: Browser) -> None:
    page = open_delete(admin, lock(acme, "claimed"))
    assert page.heading == "Drop this claim?"
    assert page.title.startswith("Drop the claim")
    assert "Drop the claim only if you know" in page.main.text
    assert page.find_all(name="name_after") == []
    page = admin.press("Drop the claim", reason="The runner died")
    assert page.banners == ["acme/api:v1.0.0 is no longer claimed."]
    assert lock_of(acme, "v1.0.0") is None
    assert Attempt.objects.get().outcome == Attempt.Outcome.DROPPED
    assert last_event(acme) == ("claim.dropped", "alice", "The runner died")


# The reason.


@pytest.mark.parametrize("state", ["locked", "released", "reserved", "claimed"])
@pytest.mark.parametrize("reason", ["", "   "])
def test_a_delete_needs_a_reason(acme: Workspace, admin: Browser, state: str, reason: str) -> None:
    page = open_delete(admin, lock(acme, state))
    button = page.main.find("button").text
    with nothing_written():
        page = admin.press(button, 422, reason=reason)
    assert read_errors(page) == {"id_reason": "Reason: Say why: auditors will ask."}
    assert page.heading.endswith("?")


def test_a_release_needs_a_reason(acme: Workspace, admin: Browser) -> None:
    open_release(admin, lock(acme))
    with nothing_written():
        page = admin.press("Release", 422)
    assert read_errors(page) == {"id_reason": "Reason: Say why: auditors will ask."}


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("x" * 501, "at most 500 characters"),
        ("line\nbreak", "Remove the character U+000A"),
        ("turned \u202e round", "Remove the character U+202E"),
        ("nul \x00", "ull characters are not allowed"),
    ],
)
def test_a_reason_that_will_not_do_is_kept_and_explained(
    acme: Workspace, admin: Browser, reason: str, said: str
) -> None:
    open_delete(admin, lock(acme))
    with nothing_written():
        page = admin.press("Delete", 422, name_after="free", reason=reason)
    assert said in read_errors(page)["id_reason"]
    form = page.read_form(page.form_of(page.by_id("id_reason")))
    assert form["reason"] == [reason]
    assert form["name_after"] == ["free"]


def test_a_hostile_reason_is_shown_as_text(acme: Workspace, admin: Browser) -> None:
    hostile = '"><script>alert(1)</script>'
    open_delete(admin, lock(acme))
    page = admin.press("Delete", 422, name_after="", reason=hostile)
    assert page.by_id("id_reason")["value"] == hostile
    assert page.main.find_all("script") == []


@pytest.mark.parametrize("choice", [None, "", "keep", "\x00"])
def test_the_name_needs_a_choice(acme: Workspace, admin: Browser, choice: str | None) -> None:
    open_delete(admin, lock(acme))
    with nothing_written():
        page = admin.press("Delete", 422, name_after=choice, reason="Because")
    errors = read_errors(page)
    assert list(errors) == [page.find_all(name="name_after")[0]["id"]]
    assert page.by_id("id_reason")["value"] == "Because"


# Release.


def test_release(acme: Workspace, admin: Browser) -> None:
    lock(acme)
    admin.open(LIST)
    page = admin.follow("Release acme/api:v1.0.0")
    assert page.heading == "Release this locked tag?"
    page = admin.press("Release", reason="A fixed rebuild")
    assert page.redirects == [(LIST, 302)]
    assert page.banners == ["acme/api:v1.0.0 is released: its next push locks it anew."]
    assert standing_lock(acme, "v1.0.0").state == "released"
    assert last_event(acme) == ("lock.released", "alice", "A fixed rebuild")
    assert push(acme, "v1.0.0", digest=BB).refusal is None
    assert push(acme, "v1.0.0", digest=AA).refusal is not None


def test_each_question_can_be_left(acme: Workspace, admin: Browser) -> None:
    row = lock(acme)
    with nothing_written():
        open_delete(admin, row)
        assert admin.follow("Cancel").path == LIST
        open_release(admin, row)
        assert admin.follow("Cancel").path == LIST


# Wrong state, or gone in the meantime.


@pytest.mark.parametrize("state", ["reserved", "released", "claimed", "deleting"])
def test_only_a_locked_tag_can_be_released(acme: Workspace, admin: Browser, state: str) -> None:
    row = lock(acme, state)
    with nothing_written():
        response = admin.client.post(f"{LIST}{row.id}/release/", {"reason": "x"}, follow=True)
    assert response.redirect_chain == [(LIST, 302)]
    assert f"Only a locked tag can be released; this one is {state}." in response.content.decode()


def test_a_tag_that_is_being_deleted_is_left_alone(acme: Workspace, admin: Browser) -> None:
    open_delete(admin, lock(acme, "deleting"))
    with nothing_written():
        page = admin.press("Delete", reason="x")
    assert page.banners == ["The tag is being deleted at this moment. Look again in a minute."]
    assert page.find_all(class_="banner-error")


@pytest.mark.parametrize("button", ["Delete", "Release"])
def test_a_lock_that_somebody_ended_in_the_meantime_is_said_to_be_gone(
    acme: Workspace, admin: Browser, button: str
) -> None:
    row = lock(acme)
    admin.open(f"{LIST}{row.id}/{button.lower()}/")
    delete_locked_tag(acme, row.id, NameAfter.FREE, "first", actor=CAROL)
    with nothing_written():
        response = admin.send(button, reason="second")
    assert GONE in response.content.decode()


@pytest.mark.parametrize("button", ["Delete", "Release"])
def test_a_lock_that_ends_while_its_form_is_read_is_said_to_be_gone(
    acme: Workspace, admin: Browser, monkeypatch: pytest.MonkeyPatch, button: str
) -> None:
    row = lock(acme)
    admin.open(f"{LIST}{row.id}/{button.lower()}/")

    def be_late(*_: object, **__: object) -> None:
        raise LockedTag.DoesNotExist

    monkeypatch.setattr(f"immutability.pages.locked_tags.{button.lower()}_locked_tag", be_late)
    page = admin.press(button, reason="second")
    assert page.banners == [GONE]


def test_reserve_never_frees_a_name_that_somebody_reserved_in_the_meantime(
    acme: Workspace, admin: Browser
) -> None:
    row = lock(acme)
    open_delete(admin, row)
    delete_locked_tag(acme, row.id, NameAfter.RESERVE, "first", actor=CAROL)
    with nothing_written():
        admin.send("Delete", name_after="reserve", reason="second")
    assert standing_lock(acme, "v1.0.0").state == "reserved"


def test_a_delete_never_drops_a_claim_that_was_made_in_the_meantime(
    acme: Workspace, admin: Browser
) -> None:
    row = lock(acme, "released")
    open_delete(admin, row)
    claim(acme, "v1.0.0", digest=BB)
    with nothing_written():
        admin.send("Delete", name_after="reserve", reason="not needed")
    assert standing_lock(acme, "v1.0.0").state == "claimed"


@pytest.mark.parametrize("state", ["claimed", "reserved"])
def test_a_lock_that_came_about_in_the_meantime_is_asked_about_anew(
    acme: Workspace, admin: Browser, state: str
) -> None:
    page = open_delete(admin, lock(acme, state))
    button = page.main.find("button").text
    push(acme, "v1.0.0")
    with nothing_written():
        page = parse(admin.send(button, reason="x").content.decode())
    assert page.heading == "Delete this locked tag?"


# Others.


@pytest.mark.parametrize("role", ["member", "auditor"])
@pytest.mark.parametrize("action", ["delete", "release"])
def test_others_can_neither_look_nor_do(
    request: pytest.FixtureRequest, acme: Workspace, role: str, action: str
) -> None:
    row = lock(acme)
    browser: Browser = request.getfixturevalue(role)
    address = f"{LIST}{row.id}/{action}/"
    with nothing_written():
        page = browser.open(address, 403)
        response = browser.client.post(address, {"reason": "x", "name_after": "free"})
    assert response.status_code == 403
    assert "Only admins of the workspace can change or delete locked tags." in page.main.text


@pytest.mark.parametrize("number", ["0", "999999", "9" * 30, "9" * 5000, "-1", "x"])
@pytest.mark.parametrize("action", ["delete", "release"])
def test_a_lock_that_never_was_has_no_page(admin: Browser, number: str, action: str) -> None:
    admin.client.raise_request_exception = False
    admin.open(f"{LIST}{number}/{action}/", 404)


@pytest.mark.parametrize("action", ["delete", "release"])
def test_the_locks_of_another_workspace_have_no_page(
    admin: Browser, globex: Workspace, protect: Callable[..., Policy], action: str
) -> None:
    protect(globex, Protection.ALL)
    push(globex, "v1")
    row = standing_lock(globex, "v1")
    with nothing_written():
        admin.open(f"{LIST}{row.id}/{action}/", 404)
        response = admin.client.post(f"{LIST}{row.id}/{action}/", {"reason": "x"})
    assert response.status_code == 404
