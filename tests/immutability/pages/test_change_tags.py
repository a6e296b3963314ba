"""Change tags from a list: one without a lock, and a selection with one reason."""

from collections.abc import Callable
from typing import Any

import pytest

from containers.models import Repository
from containers.models import Tag as TagRecord
from immutability.actions.tags import MAX_TAGS_AT_ONCE
from immutability.errors import TryAgainError
from immutability.models import LockedTag
from immutability.policy.protection import Policy, Protection
from tests.conftest import AA, BB, SEMVER
from tests.immutability.making import make_lock, tag_event_kinds, tag_events
from tests.immutability.registry_double import RegistryDouble, image
from tests.page import Browser, Page, read_errors
from tests.problems import nothing_written
from workspaces.models import Workspace

LIST = "/acme/repositories/acme/api/?sort=name"
CHANGE = "/acme/locked-tags/change/"
REASON = "A wrong base image"


@pytest.fixture(autouse=True)
def _protected(acme: Workspace, protect: Callable[..., Policy]) -> None:
    protect(acme, Protection.SOME, SEMVER)


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> RegistryDouble:
    """A registry that pages and actions find."""
    double = RegistryDouble()
    for module in ("change_tags", "lock_questions", "tag_rows", "tag", "repository"):
        monkeypatch.setattr(f"immutability.pages.{module}.find_registry", lambda _: double)
    return double


def show(workspace: Workspace, double: RegistryDouble, name: str) -> TagRecord:
    """Let the registry have a tag that nothing has locked."""
    Repository.objects.get_or_create(workspace=workspace, name="acme/api")
    return TagRecord.objects.create(
        workspace=workspace,
        repository="acme/api",
        name=name,
        digest=double.store(image(name), name),
    )


def key(name: str, status: str = "locked", digest: str = AA) -> str:
    return f"acme/api:{name} {status} {digest}"


def choose(browser: Browser, action: str, *keys: str, status: int = 200) -> Page:
    """Choose tags on the list, and press the button of an action."""
    browser.open(LIST)
    return browser.press(action, status, tag=list(keys))


def items(page: Page, heading: str) -> list[str]:
    """Return the items of the list with this label, or below this heading."""
    for each in page.main.find_all("ul"):
        if each.get("aria-label") == heading:
            return [item.text for item in each.find_all("li")]
    return []


# A selection.


def test_locks_are_released_with_one_reason(acme: Workspace, admin: Browser) -> None:
    for name in ("v1.0.0", "v1.0.1", "v1.0.2"):
        make_lock(acme, name)
    page = choose(admin, "Release locks…", key("v1.0.0"), key("v1.0.1"))
    assert page.heading == "Release 2 locks?"
    assert items(page, "Tags to release") == ["acme/api:v1.0.0 Locked", "acme/api:v1.0.1 Locked"]
    page = admin.press("Release 2 locks", reason=REASON)
    assert page.heading == "2 tags were released"
    assert "acme/api:v1.0.0 is released: its next push" in page.main.text
    assert {row.tag: row.state for row in LockedTag.objects.all()} == {
        "v1.0.0": "released",
        "v1.0.1": "released",
        "v1.0.2": "locked",
    }
    assert {event.reason for event in tag_events(acme)} == {REASON}
    assert admin.follow("Back to the list").path == LIST


def test_the_question_comes_before_anything_is_done(acme: Workspace, admin: Browser) -> None:
    make_lock(acme, "v1.0.0")
    admin.open(LIST)
    with nothing_written():
        admin.press("Delete tags…", tag=key("v1.0.0"))


def test_a_reason_is_required(acme: Workspace, admin: Browser) -> None:
    make_lock(acme, "v1.0.0")
    choose(admin, "Release locks…", key("v1.0.0"))
    with nothing_written():
        page = admin.press("Release 1 lock", 422, reason=" ")
    assert list(read_errors(page)) == ["id_reason"]
    page = admin.press("Release 1 lock", reason=REASON)
    assert page.heading == "1 tag was released"


def test_what_cannot_be_changed_is_named_before(acme: Workspace, admin: Browser) -> None:
    make_lock(acme, "v1.0.0")
    make_lock(acme, "v1.0.1", "reserved")
    page = choose(admin, "Release locks…", key("v1.0.0"), key("v1.0.1", "reserved"))
    assert page.heading == "Release 1 lock?"
    assert items(page, "Tags that are left as they are") == ["acme/api:v1.0.1 Reserved"]
    page = admin.press("Release 1 lock", reason=REASON)
    assert page.heading == "1 of 2 tags were released"
    assert "Only a locked tag can be released; nothing was changed." in page.main.text


def test_where_nothing_can_be_changed_there_is_no_button(acme: Workspace, admin: Browser) -> None:
    make_lock(acme, "v1.0.0")
    page = choose(admin, "Free names…", key("v1.0.0"))
    assert page.heading == "Nothing to free"
    assert "Only reserved names can be freed." in page.main.text
    assert page.main.find_all("button") == []
    assert admin.follow("Back").path == LIST


def test_tags_of_every_kind_are_deleted(
    acme: Workspace, admin: Browser, double: RegistryDouble
) -> None:
    mutable = show(acme, double, "latest")
    locked = make_lock(acme, "v1.0.0", digest=double.store(image("a"), "v1.0.0"))
    suspended = make_lock(acme, "old", digest=double.store(image("b"), "old"))
    page = choose(
        admin,
        "Delete tags…",
        key("latest", "mutable", mutable.digest),
        key("v1.0.0", "locked", locked.digest),
        key("old", "suspended", suspended.digest),
    )
    assert page.heading == "Delete 3 tags?"
    assert "Nothing protects the mutable ones" in page.main.text
    assert "their names cannot be reserved" in page.main.text
    page = admin.press("Delete 3 tags", reason=REASON, name_after="reserve")
    assert page.heading == "3 tags were deleted"
    assert double.tags == {}
    assert [row.state for row in LockedTag.objects.all()] == ["reserved"]
    assert tag_event_kinds(acme) == ["tag.deleted", "lock.ended"]


def test_what_fails_is_named_and_can_be_tried_again(
    acme: Workspace, admin: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_lock(acme, "v1.0.0")
    make_lock(acme, "v1.0.1")

    def fail(*_: object) -> None:
        raise TryAgainError("the tag is busy")

    choose(admin, "Release locks…", key("v1.0.0"), key("v1.0.1"))
    with monkeypatch.context() as patched:
        patched.setattr("immutability.actions.tags.release_locked_tag", fail)
        page = admin.press("Release 2 locks", reason=REASON)
    assert page.heading == "No tag was released"
    assert page.banners == ["2 tags were not changed."]
    assert "acme/api:v1.0.0 Not done yet. The tag is busy." in page.main.text
    page = admin.press("Try those again")
    assert page.heading == "Release 2 locks?"
    assert admin.press("Release 2 locks", reason=REASON).heading == "2 tags were released"


def test_a_tag_that_changed_since_it_was_listed_is_left(
    acme: Workspace, admin: Browser, protect: Callable[..., Policy]
) -> None:
    make_lock(acme, "v1.0.0")
    make_lock(acme, "v1.0.1")
    choose(admin, "Release locks…", key("v1.0.0"), key("v1.0.1"))
    LockedTag.objects.filter(tag="v1.0.1").update(state="released")
    page = admin.press("Release 2 locks", reason=REASON)
    assert page.heading == "1 of 2 tags were released"
    assert "acme/api:v1.0.1 It is now released; nothing was changed." in page.main.text


def test_nothing_chosen_is_said_on_the_list(acme: Workspace, admin: Browser) -> None:
    make_lock(acme, "v1.0.0")
    admin.open(LIST)
    with nothing_written():
        page = admin.press("Delete tags…")
    assert (page.path, page.banners) == (LIST, ["Choose at least one tag."])


def test_too_many_are_refused_before_any_is_read(acme: Workspace, admin: Browser) -> None:
    make_lock(acme, "v1.0.0")
    admin.open(LIST)
    keys = [key(f"v1.0.{number}") for number in range(MAX_TAGS_AT_ONCE + 1)]
    with nothing_written():
        page = admin.press("Release locks…", tag=keys)
    assert page.banners == ["Choose at most 50 tags at once."]


@pytest.mark.parametrize(
    "sent",
    [
        {"action": "explode", "tag": key("v1.0.0")},
        {"action": "drop", "tag": key("v1.0.0")},
        {"tag": key("v1.0.0")},
        {"action": "release", "tag": "nonsense"},
        {"action": "release", "tag": "acme/api:v1.0.0 locked\0 x"},
    ],
)
def test_what_no_page_sends_is_refused(
    acme: Workspace, admin: Browser, sent: dict[str, str]
) -> None:
    make_lock(acme, "v1.0.0")
    with nothing_written():
        response = admin.client.post(CHANGE, {**sent, "confirmed": "yes", "reason": REASON})
    assert response.status_code == 400


def test_a_tag_of_another_workspace_is_gone(
    acme: Workspace, globex: Workspace, admin: Browser, protect: Callable[..., Policy]
) -> None:
    protect(globex, Protection.ALL)
    make_lock(globex, "v1")
    foreign = f"globex/api:v1 locked {AA}"
    sent: dict[str, Any] = {"action": "release", "tag": foreign, "confirmed": "yes"}
    with nothing_written():
        response = admin.client.post(CHANGE, {**sent, "reason": REASON})
    assert "is gone" in response.content.decode()


@pytest.mark.parametrize("wanted", ["https://evil.example/", "//evil.example/", "javascript:x"])
def test_one_comes_back_to_this_site_alone(acme: Workspace, admin: Browser, wanted: str) -> None:
    response = admin.client.post(CHANGE, {"action": "release", "next": wanted})
    assert response.headers["Location"] == "/acme/locked-tags/"


def test_an_address_without_a_selection_leads_to_the_list(admin: Browser) -> None:
    assert admin.open(CHANGE).path == "/acme/locked-tags/"


def test_a_selection_of_locked_tags_comes_back_with_its_filter(
    acme: Workspace, admin: Browser
) -> None:
    make_lock(acme, "v1.0.0")
    admin.open("/acme/locked-tags/?q=v1&state=locked")
    admin.press("Release locks…", tag=key("v1.0.0"))
    admin.press("Release 1 lock", reason=REASON)
    assert admin.follow("Back to the list").path == "/acme/locked-tags/?q=v1&state=locked"


# A tag without a lock.


def test_a_mutable_tag_is_deleted_and_one_comes_back(
    acme: Workspace, admin: Browser, double: RegistryDouble
) -> None:
    show(acme, double, "latest")
    admin.open(LIST)
    page = admin.follow("Delete tag… acme/api:latest")
    assert page.heading == "Delete this tag?"
    assert "Nothing protects it, so the lock log does not record this." in page.main.text
    assert page.main.find_all(name="reason") == []
    page = admin.press("Delete")
    assert (page.path, page.banners) == (LIST, ["acme/api:latest is deleted."])
    assert double.tags == {}
    assert tag_events(acme) == []


def test_a_covered_tag_is_deleted_with_a_reason_and_its_name_reserved(
    acme: Workspace, admin: Browser, double: RegistryDouble
) -> None:
    show(acme, double, "v1.0.0")
    admin.open("/acme/repositories/acme/api:v1.0.0/delete/")
    with nothing_written():
        assert list(read_errors(admin.press("Delete", 422, reason=""))) == ["id_reason"]
    page = admin.press("Delete", reason=REASON)
    assert page.banners == ["acme/api:v1.0.0 is deleted. Its name is reserved for the same image."]
    assert LockedTag.objects.get().state == "reserved"
    assert tag_events(acme)[-1].reason == REASON


def test_tags_of_the_same_image_are_named_with_what_helps(
    acme: Workspace, admin: Browser, double: RegistryDouble
) -> None:
    double.deletes_tags = False
    record = show(acme, double, "latest")
    other = show(acme, double, "stable")
    TagRecord.objects.filter(id=other.id).update(digest=record.digest)
    double.tags["stable"] = record.digest
    page = admin.open("/acme/repositories/acme/api:latest/")
    assert "It shares its image with stable." in page.main.text
    page = admin.follow("Delete tag… acme/api:latest")
    assert "Push another image under this tag before you delete it" in page.main.text
    page = admin.press("Delete")
    assert '"stable" would go with its image.' in page.banners[0]
    assert set(double.tags) == {"latest", "stable"}


@pytest.mark.parametrize("what", ["pushed", "protected"])
def test_a_tag_that_changed_since_it_was_shown_is_not_deleted(
    acme: Workspace,
    admin: Browser,
    double: RegistryDouble,
    protect: Callable[..., Policy],
    what: str,
) -> None:
    record = show(acme, double, "latest")
    admin.open("/acme/repositories/acme/api:latest/delete/")
    if what == "pushed":
        TagRecord.objects.filter(id=record.id).update(digest=BB)
    else:
        protect(acme, Protection.ALL)
    with nothing_written():
        page = admin.press("Delete")
    assert page.banners[0].endswith("nothing was changed.")
    assert "latest" in double.tags


def test_a_tag_that_is_gone_by_then_is_said_to_be(
    acme: Workspace, admin: Browser, double: RegistryDouble
) -> None:
    record = show(acme, double, "latest")
    admin.open("/acme/repositories/acme/api:latest/delete/")
    TagRecord.objects.filter(id=record.id).update(digest="")
    page = admin.press("Delete", 404)
    assert page.heading == "Nothing was changed"


def test_a_locked_tag_has_a_question_of_its_own(acme: Workspace, admin: Browser) -> None:
    row = make_lock(acme, "v1.0.0")
    page = admin.open(f"/acme/repositories/acme/api:v1.0.0/delete/?next={LIST}")
    assert page.path.startswith(f"/acme/locked-tags/{row.id}/delete/")
    assert page.main.find(name="next")["value"] == LIST


@pytest.mark.parametrize("chosen", ["", key("v1.0.0"), key("v1.0.1", "mutable"), "x"])
def test_a_locked_tag_is_not_deleted_as_one_without_a_lock(
    acme: Workspace, admin: Browser, chosen: str
) -> None:
    make_lock(acme, "v1.0.0")
    address = "/acme/repositories/acme/api:v1.0.0/delete/"
    with nothing_written():
        assert admin.client.post(address, {"chosen": chosen}).status_code == 400


@pytest.mark.parametrize("role", ["member", "auditor"])
def test_others_change_nothing(
    request: pytest.FixtureRequest, acme: Workspace, double: RegistryDouble, role: str
) -> None:
    record = show(acme, double, "latest")
    make_lock(acme, "v1.0.0")
    browser: Browser = request.getfixturevalue(role)
    page = browser.open("/acme/repositories/acme/api:latest/")
    assert [link for link in page.main.find_all("a") if "/delete/" in link["href"]] == []
    address = "/acme/repositories/acme/api:latest/delete/"
    sent = {"chosen": key("latest", "mutable", record.digest)}
    with nothing_written():
        browser.open(address, status=403)
        assert browser.client.post(address, sent).status_code == 403
        sent = {"action": "release", "tag": key("v1.0.0"), "confirmed": "yes", "reason": REASON}
        assert browser.client.post(CHANGE, sent).status_code == 403


# A tag's page.


def test_a_tags_page_has_its_actions_and_how_to_pull(
    acme: Workspace, admin: Browser, double: RegistryDouble
) -> None:
    digest = double.store(image("a"), "v1.0.0")
    make_lock(acme, "v1.0.0", digest=digest)
    page = admin.open("/acme/repositories/acme/api:v1.0.0/")
    commands = [each.text for each in page.main.find_all("pre")]
    assert commands == [
        "docker pull testserver/acme/api:v1.0.0",
        f"docker pull testserver/acme/api@{digest}",
    ]
    admin.follow("Release lock… acme/api:v1.0.0")
    page = admin.press("Release", reason=REASON)
    assert page.path == "/acme/repositories/acme/api:v1.0.0/"
    assert page.banners[0].startswith("acme/api:v1.0.0 is released")
