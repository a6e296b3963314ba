"""What an admin does to a lock: delete and reserve or free, drop a claim, release."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from containers.names import RepositoryName, TagName
from immutability.errors import PermissionRevokedError
from immutability.models import LockedTag
from immutability.policy.protection import Policy, Protection
from immutability.refuse import relay_shared_tag
from tests.conftest import AA, SEMVER
from tests.immutability.making import (
    make_lock,
    put_in_flight,
    put_stray,
    set_record,
    tag_event_kinds,
    tag_events,
)
from tests.page import Browser, Page, read_errors
from tests.problems import nothing_written
from workspaces.models import Workspace

REASON = "Reason (recorded in the lock log)"
LIST = "/acme/locked-tags/"
GONE = "This lock has ended in the meantime."


@pytest.fixture(autouse=True)
def _protected(acme: Workspace, protect: Callable[..., Policy]) -> None:
    protect(acme, Protection.SOME, SEMVER)


def lock(workspace: Workspace, state: str = "locked") -> LockedTag:
    """Return a lock of v1.0.0 in this state; a claim is that of a two-phase check."""
    row = make_lock(workspace, "v1.0.0", state, rule_name=SEMVER.name, rule_pattern=SEMVER.pattern)
    if state == "claimed":
        put_in_flight(row, write_is_external=True)
    return row


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
    page = admin.follow("Delete tag… acme/api:v1.0.0")
    assert page.heading == "Delete this locked tag?"
    assert page.title.startswith("Delete the locked tag")
    assert page.facts["Tag"] == "acme/api:v1.0.0"
    assert page.facts["Lock status"] == "Locked"
    assert page.facts["Digest"] == AA
    assert "by rule Release versions" in page.facts["Locked"]
    assert "Taglock does not delete the tag in the registry: do that there." in page.main.text


def test_what_becomes_of_the_name_is_a_choice_with_reserve_first(
    acme: Workspace, admin: Browser
) -> None:
    page = open_delete(admin, lock(acme))
    fieldset = page.main.find("fieldset")
    assert fieldset.find("legend").text == "What happens to the name?"
    radios = fieldset.find_all("input", type="radio", name="name_after")
    assert [radio["value"] for radio in radios] == ["reserve", "free"]
    assert [fieldset.find("label", for_=radio["id"]).text for radio in radios] == [
        "Reserve it: only the same image can come back",
        "Free it: the next push can bring any image",
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
    row = LockedTag.objects.get()
    assert (row.state, row.deleted_by) == ("reserved", "alice")
    assert last_event(acme) == ("tag.deleted", "alice", "Wrong base image")
    assert page.rows[0][2] == "Reserved"


def test_delete_and_free(acme: Workspace, admin: Browser) -> None:
    open_delete(admin, lock(acme))
    page = admin.press("Delete", name_after="free", reason="Never used")
    assert page.banners == ["acme/api:v1.0.0 is deleted, and its name is free."]
    assert not LockedTag.objects.exists()
    assert tag_event_kinds(acme)[-2:] == ["tag.deleted", "lock.freed"]
    assert last_event(acme) == ("lock.freed", "alice", "Never used")


def test_a_released_tag_can_be_deleted(acme: Workspace, admin: Browser) -> None:
    page = open_delete(admin, lock(acme, "released"))
    assert page.heading == "Delete this locked tag?"
    admin.press("Delete", reason="Not needed")
    assert LockedTag.objects.get().state == "reserved"


def test_a_suspended_lock_can_be_deleted(
    acme: Workspace, admin: Browser, protect: Callable[..., Policy]
) -> None:
    row = lock(acme)
    protect(acme, Protection.NONE)
    page = open_delete(admin, row)
    assert page.facts["Lock status"] == "Suspended"
    assert "its name cannot be reserved" in page.main.text
    assert page.find_all(name="name_after") == []
    admin.press("Delete", reason="Not needed")
    assert not LockedTag.objects.exists()


# Free a name, drop a claim.


def test_a_reserved_name_can_be_freed(acme: Workspace, admin: Browser) -> None:
    page = open_delete(admin, lock(acme, "reserved"))
    assert page.heading == "Free this name?"
    assert page.title.startswith("Free the name")
    assert page.find_all(name="name_after") == []
    page = admin.press("Free the name", reason="It may come back new")
    assert page.banners == ["acme/api:v1.0.0 is free: the next push can bring any image."]
    assert not LockedTag.objects.exists()
    assert last_event(acme) == ("lock.freed", "alice", "It may come back new")


def test_a_claim_can_be_dropped(
    acme: Workspace, admin: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    dropped: list[str] = []
    monkeypatch.setattr(
        "immutability.actions.delete_tag.drop_claim",
        lambda workspace, lock_id, reason, *, actor: dropped.append(f"{actor.name}: {reason}"),
    )
    page = open_delete(admin, lock(acme, "claimed"))
    assert page.heading == "Drop this claim?"
    assert page.title.startswith("Drop the claim")
    assert "Drop the claim only if you know" in page.main.text
    assert page.find_all(name="name_after") == []
    page = admin.press("Drop the claim", reason="The runner died")
    assert page.banners == [
        "acme/api:v1.0.0 stays claimed until the dropped push can no longer land."
    ]
    assert dropped == ["alice: The runner died"]


# The reason.


@pytest.mark.parametrize("state", ["locked", "released", "reserved", "claimed"])
@pytest.mark.parametrize("reason", ["", "   "])
def test_a_delete_needs_a_reason(acme: Workspace, admin: Browser, state: str, reason: str) -> None:
    page = open_delete(admin, lock(acme, state))
    button = page.main.find("button").text
    with nothing_written():
        page = admin.press(button, 422, reason=reason)
    assert read_errors(page) == {"id_reason": f"{REASON}: Enter a reason."}
    assert page.heading.endswith("?")


def test_a_release_needs_a_reason(acme: Workspace, admin: Browser) -> None:
    open_release(admin, lock(acme))
    with nothing_written():
        page = admin.press("Release", 422)
    assert read_errors(page) == {"id_reason": f"{REASON}: Enter a reason."}


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
    page = admin.follow("Release lock… acme/api:v1.0.0")
    assert page.heading == "Release this locked tag?"
    page = admin.press("Release", reason="A fixed rebuild")
    assert page.redirects == [(LIST, 302)]
    assert page.banners == [
        "acme/api:v1.0.0 is released: its next push can bring any image, and locks it again."
    ]
    assert LockedTag.objects.get().state == "released"
    assert last_event(acme) == ("lock.released", "alice", "A fixed rebuild")


def test_a_release_of_what_the_registry_never_had_frees_the_name(
    acme: Workspace, admin: Browser, settings: Any
) -> None:
    settings.REGISTRY_URL = "http://registry.internal:5000"
    row = lock(acme)
    set_record(row, digest="")
    open_release(admin, row)
    page = admin.press("Release", reason="A typo")
    assert page.banners == [
        "acme/api:v1.0.0 is free: the registry does not have the tag, so there was no image to "
        "release it from."
    ]


def test_each_question_can_be_left(acme: Workspace, admin: Browser) -> None:
    row = lock(acme)
    with nothing_written():
        open_delete(admin, row)
        assert admin.follow("Cancel").path == LIST
        open_release(admin, row)
        assert admin.follow("Cancel").path == LIST


# Wrong state, or gone in the meantime.


@pytest.mark.parametrize("state", ["reserved", "released"])
def test_only_a_locked_tag_can_be_released(acme: Workspace, admin: Browser, state: str) -> None:
    open_release(admin, lock(acme, state))
    with nothing_written():
        page = admin.press("Release", reason="x")
    assert page.redirects == [(LIST, 302)]
    assert page.banners == [
        f"Only a locked tag can be released. This lock is now {state}; nothing was changed."
    ]


@pytest.mark.parametrize(
    ("state", "stray", "said"),
    [
        ("deleting", None, "is being deleted right now. Try again in 10 seconds."),
        ("locked", timedelta(minutes=12), "may still land. Try again in 12 minutes, at "),
    ],
)
@pytest.mark.parametrize("button", ["Delete", "Release"])
def test_what_has_to_end_first_is_said_with_how_long_it_takes(
    acme: Workspace, admin: Browser, state: str, stray: timedelta | None, said: str, button: str
) -> None:
    row = lock(acme, state)
    if stray:
        put_stray(row, timezone.now() + stray)
    admin.open(f"{LIST}{row.id}/{button.lower()}/")
    with nothing_written():
        page = admin.press(button, reason="x")
    assert page.find_all(class_="banner-error")
    assert page.banners[0].startswith("Not done yet. ")
    assert said in page.banners[0]


def test_a_tag_that_cannot_be_deleted_alone_says_what_helps(
    acme: Workspace, admin: Browser, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.REGISTRY_URL = "http://registry.internal:5000"
    shared = (RepositoryName("acme/api"), TagName("v1.0.0"), [TagName("latest")])
    refusal = relay_shared_tag(*shared, None, is_locked=True)
    monkeypatch.setattr("immutability.actions.delete_tag.delete_manifest", lambda *_, **__: refusal)
    open_delete(admin, lock(acme))
    page = admin.press("Delete", reason="x")
    assert '"latest" would go with its image. Release it and push' in page.banners[0]
    assert page.banners[0].startswith("Tag ")


@pytest.mark.parametrize("button", ["Delete", "Release"])
def test_a_lock_that_ended_in_the_meantime_is_said_to_be_gone(
    acme: Workspace, admin: Browser, button: str
) -> None:
    row = lock(acme)
    admin.open(f"{LIST}{row.id}/{button.lower()}/")
    row.delete()
    with nothing_written():
        response = admin.send(button, reason="second")
    assert GONE in response.content.decode()


@pytest.mark.parametrize(
    ("button", "error", "status", "said"),
    [
        ("Delete", LockedTag.DoesNotExist(), 200, GONE),
        ("Release", LockedTag.DoesNotExist(), 200, GONE),
        ("Delete", PermissionRevokedError("You are no admin."), 403, "You are no admin."),
        ("Release", PermissionRevokedError("You are no admin."), 403, "You are no admin."),
    ],
)
def test_what_happens_while_the_lock_is_not_held_yet_is_said(
    acme: Workspace,
    admin: Browser,
    monkeypatch: pytest.MonkeyPatch,
    button: str,
    error: Exception,
    status: int,
    said: str,
) -> None:
    row = lock(acme)
    admin.open(f"{LIST}{row.id}/{button.lower()}/")

    def be_late(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(f"immutability.pages.lock_questions.{button.lower()}_locked_tag", be_late)
    with nothing_written():
        page = admin.press(button, status, reason="second")
    assert said in "".join([*page.banners, page.main.text])


@pytest.mark.parametrize(
    ("shown", "state"),
    [
        ("locked", "reserved"),
        ("released", "claimed"),
        ("claimed", "locked"),
        ("reserved", "locked"),
    ],
)
def test_a_lock_in_another_state_than_was_shown_is_asked_about_again(
    acme: Workspace, admin: Browser, shown: str, state: str
) -> None:
    row = lock(acme, shown)
    page = open_delete(admin, row)
    button = page.main.find("button").text
    LockedTag.objects.update(state=state)
    with nothing_written():
        page = admin.press(button, reason="x")
    assert page.banners == [f"This lock is now {state}; nothing was changed."]
    assert page.path.partition("?")[0] == f"{LIST}{row.id}/delete/"


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
    admin: Browser, globex: Workspace, action: str
) -> None:
    row = make_lock(globex, "v1")
    with nothing_written():
        admin.open(f"{LIST}{row.id}/{action}/", 404)
        response = admin.client.post(f"{LIST}{row.id}/{action}/", {"reason": "x"})
    assert response.status_code == 404
