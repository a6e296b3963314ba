"""Change tags as an admin: one without a lock, and many, each with a result of its own."""

from collections.abc import Callable

import pytest

from containers.models import Tag as TagRecord
from containers.names import InvalidReferenceError, RepositoryName, TagName
from immutability.actions import tags
from immutability.actions.delete_tag import NameAfter, delete_unlocked_tag
from immutability.actions.release import release_locked_tag
from immutability.actions.tags import (
    MAX_TAGS_AT_ONCE,
    ChosenTag,
    TagAction,
    TagResult,
    TagsChange,
    change_tags,
    find_actions,
    parse_chosen,
    to_chosen,
)
from immutability.models import LockedTag
from immutability.policy.protection import LockState, Policy, PolicyRule, Protection
from immutability.reading import read_policy
from immutability.repository_tags import find_tag
from tests.conftest import AA, BB
from tests.immutability.core import ALICE, Core
from tests.immutability.making import (
    make_lock,
    put_in_flight,
    set_record,
    tag_event_kinds,
    tag_events,
)
from tests.immutability.registry_double import NO_ANSWER, RegistryDouble, answer, image
from tests.problems import nothing_written
from workspaces.models import Membership, User, Workspace

VERSIONS = PolicyRule("Versions", "^v")
API = RepositoryName("acme/api")
ONE, TWO = image("one"), image("two")


def choose(workspace: Workspace, name: str, repository: RepositoryName = API) -> ChosenTag:
    """Return a tag as an admin sees it now."""
    tag = find_tag(workspace, repository, TagName(name), read_policy(workspace))
    assert tag is not None
    return to_chosen(tag)


@pytest.fixture
def change(acme: Workspace, alice: User) -> Callable[..., list[TagResult]]:
    """Return a function that changes tags as Alice."""

    def change(
        action: TagAction,
        chosen: list[ChosenTag],
        registry: RegistryDouble | None = None,
        name_after: NameAfter = NameAfter.RESERVE,
    ) -> list[TagResult]:
        order = TagsChange(acme, action, "because", ALICE, name_after)
        return change_tags(order, chosen, registry)  # type: ignore[arg-type]

    return change


Change = Callable[..., list[TagResult]]


def tell(results: list[TagResult]) -> dict[str, str]:
    """Return what became of each tag."""
    return {each.chosen.tag.name: each.message for each in results}


# A tag without a lock.


@pytest.fixture
def mutable(core: Core) -> Core:
    """The registry has v1, which a rule covers and the log knows, and latest, which none does."""
    core.protect(Protection.SOME, VERSIONS)
    core.push("latest", image=ONE)
    return core


@pytest.mark.parametrize("deletes_tags", [True, False])
def test_a_mutable_tag_is_deleted(mutable: Core, change: Change, *, deletes_tags: bool) -> None:
    mutable.registry.deletes_tags = deletes_tags
    before = len(tag_events(mutable.workspace))
    chosen = choose(mutable.workspace, "latest")
    assert chosen.status == "mutable"
    [result] = change(TagAction.DELETE, [chosen], mutable.registry)
    assert (result.is_done, result.message) == (True, "is deleted.")
    assert "latest" not in mutable.registry.tags
    assert TagRecord.objects.get(name="latest").digest == ""
    assert len(tag_events(mutable.workspace)) == before


@pytest.mark.parametrize("deletes_tags", [True, False])
def test_a_covered_tag_is_deleted_as_a_locked_one(
    mutable: Core, change: Change, *, deletes_tags: bool
) -> None:
    mutable.registry.deletes_tags = deletes_tags
    mutable.protect(Protection.ALL)
    chosen = choose(mutable.workspace, "latest")
    assert chosen.status == "covered"
    [result] = change(TagAction.DELETE, [chosen], mutable.registry)
    assert (result.is_done, result.message) == (
        True,
        "is deleted. Its name is reserved for the same image.",
    )
    assert LockedTag.objects.get().state == "reserved"
    assert tag_events(mutable.workspace)[-1].reason == "because"


def test_a_tag_that_shares_its_image_is_left_where_the_registry_deletes_no_tags(
    mutable: Core, change: Change
) -> None:
    mutable.registry.deletes_tags = False
    mutable.push("stable", image=ONE)
    [result] = change(TagAction.DELETE, [choose(mutable.workspace, "latest")], mutable.registry)
    assert not result.is_done
    assert '"stable" would go with its image. Push another image under this' in result.message
    assert set(mutable.registry.tags) == {"latest", "stable"}


def test_a_tag_that_was_pushed_meanwhile_is_not_deleted(mutable: Core, change: Change) -> None:
    chosen = choose(mutable.workspace, "latest")
    mutable.push("latest", image=TWO)
    [result] = change(TagAction.DELETE, [chosen], mutable.registry)
    assert (result.is_done, result.message) == (
        False,
        "Acme/api:latest has changed in the meantime; nothing was changed.",
    )
    assert "latest" in mutable.registry.tags


def test_a_tag_that_became_protected_is_not_deleted(mutable: Core, change: Change) -> None:
    chosen = choose(mutable.workspace, "latest")
    mutable.protect(Protection.ALL)
    [result] = change(TagAction.DELETE, [chosen], mutable.registry)
    assert (result.is_done, result.message) == (False, "It is now covered; nothing was changed.")


def test_settings_saved_between_look_and_hold_are_heard(
    mutable: Core, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = choose(mutable.workspace, "latest")

    def be_late(*args: object, **options: object) -> object:
        mutable.protect(Protection.ALL)
        return delete_unlocked_tag(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("immutability.actions.tags.delete_unlocked_tag", be_late)
    [result] = change(TagAction.DELETE, [chosen], mutable.registry)
    assert (result.is_done, result.message) == (
        False,
        "Acme/api:latest is protected now; nothing was changed.",
    )
    assert "latest" in mutable.registry.tags


def test_without_a_registry_there_is_nothing_to_delete(mutable: Core, change: Change) -> None:
    chosen = choose(mutable.workspace, "latest")
    with nothing_written():
        [result] = change(TagAction.DELETE, [chosen])
    assert (result.is_done, result.message) == (
        False,
        "It cannot be deleted; nothing was changed.",
    )


def test_what_the_registry_refuses_is_told(mutable: Core, change: Change) -> None:
    mutable.registry.script("DELETE", answer(403, "DENIED"))
    [result] = change(TagAction.DELETE, [choose(mutable.workspace, "latest")], mutable.registry)
    assert not result.is_done
    assert "latest was not deleted" in result.message


# Many tags.


@pytest.fixture
def protected(acme: Workspace, protect: Callable[..., Policy]) -> Workspace:
    protect(acme, Protection.SOME, VERSIONS)
    return acme


def test_each_tag_has_its_own_result(protected: Workspace, change: Change) -> None:
    for name, state in (("v1", "locked"), ("v2", "released"), ("v3", "locked")):
        make_lock(protected, name, state)
    chosen = [choose(protected, name) for name in ("v1", "v2", "v3")]
    results = change(TagAction.RELEASE, chosen)
    assert [each.is_done for each in results] == [True, False, True]
    assert tell(results) == {
        "v1": "is released: its next push can bring any image, and locks it again.",
        "v2": "Only a locked tag can be released; nothing was changed.",
        "v3": "is released: its next push can bring any image, and locks it again.",
    }
    assert tag_event_kinds(protected) == ["lock.released"] * 2
    assert {each.reason for each in tag_events(protected)} == {"because"}


def test_names_are_reserved_or_free_as_chosen_and_free_where_nothing_can_reserve_them(
    protected: Workspace, change: Change
) -> None:
    make_lock(protected, "v1")
    make_lock(protected, "latest")
    chosen = [choose(protected, "v1"), choose(protected, "latest")]
    assert [each.status for each in chosen] == ["locked", "suspended"]
    results = change(TagAction.DELETE, chosen)
    assert tell(results) == {
        "v1": "is deleted. Its name is reserved for the same image.",
        "latest": "is deleted, and its name is free.",
    }
    [result] = change(TagAction.FREE, [choose(protected, "v1")])
    assert (result.is_done, result.message) == (
        True,
        "is free: the next push can bring any image.",
    )
    assert not LockedTag.objects.exists()


def test_one_without_an_answer_does_not_keep_the_others(core: Core, change: Change) -> None:
    core.protect(Protection.SOME, VERSIONS)
    for number, one in enumerate((ONE, TWO, image("three")), start=1):
        core.push(f"v{number}", image=one)
    core.registry.script("DELETE v2", NO_ANSWER)
    chosen = [choose(core.workspace, f"v{number}") for number in (1, 2, 3)]
    results = change(TagAction.DELETE, chosen, core.registry)
    assert [each.is_done for each in results] == [True, False, True]
    assert results[1].message.startswith("Not done yet. ")
    states = {row.tag: row.state for row in LockedTag.objects.all()}
    assert states == {"v1": "reserved", "v2": "deleting", "v3": "reserved"}


@pytest.mark.parametrize("what", ["state", "digest", "gone", "settings"])
def test_a_tag_that_is_not_what_was_chosen_is_left(
    protected: Workspace, protect: Callable[..., Policy], change: Change, what: str
) -> None:
    row = make_lock(protected, "v1")
    chosen = choose(protected, "v1")
    if what == "state":
        LockedTag.objects.update(state="released")
    elif what == "digest":
        LockedTag.objects.update(digest=BB)
    elif what == "gone":
        set_record(row, digest="")
        row.delete()
    else:
        protect(protected, Protection.NONE)
    with nothing_written():
        [result] = change(TagAction.RELEASE, [chosen])
    assert not result.is_done
    assert result.message.endswith("nothing was changed.")


def test_a_tag_of_another_workspace_is_none(
    protected: Workspace, globex: Workspace, protect: Callable[..., Policy], change: Change
) -> None:
    protect(globex, Protection.ALL)
    make_lock(globex, "v1")
    chosen = choose(globex, "v1", RepositoryName("globex/api"))
    with nothing_written():
        [result] = change(TagAction.RELEASE, [chosen])
    assert (result.is_done, result.message) == (
        False,
        "This tag no longer exists; nothing was changed.",
    )


def test_who_loses_the_role_meanwhile_changes_nothing_more(
    protected: Workspace, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_lock(protected, "v1")
    make_lock(protected, "v2")
    chosen = [choose(protected, "v1"), choose(protected, "v2")]

    def demote_afterwards(*args: object) -> object:
        left = release_locked_tag(*args)  # type: ignore[arg-type]
        Membership.objects.update(role="member")
        return left

    monkeypatch.setattr("immutability.actions.tags.release_locked_tag", demote_afterwards)
    results = change(TagAction.RELEASE, chosen)
    assert [each.is_done for each in results] == [True, False]
    assert "admin" in results[1].message
    assert LockedTag.objects.get(tag="v2").state == "locked"


def test_after_so_long_no_further_tag_is_begun(
    protected: Workspace, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("v1", "v2"):
        make_lock(protected, name)
    chosen = [choose(protected, "v1"), choose(protected, "v2")]
    monkeypatch.setattr(tags, "MAX_SECONDS_AT_ONCE", 0)
    results = change(TagAction.RELEASE, chosen)
    assert [each.is_done for each in results] == [True, False]
    assert results[1].message == "Not tried: the tags before it took too long. Try again."


def test_more_than_may_be_chosen_is_no_order(protected: Workspace, change: Change) -> None:
    make_lock(protected, "v1")
    with nothing_written(), pytest.raises(ValueError, match="at most 50 tags"):
        change(TagAction.RELEASE, [choose(protected, "v1")] * (MAX_TAGS_AT_ONCE + 1))


# What is allowed, and how a form names a tag.


@pytest.mark.parametrize(
    ("state", "allowed"),
    [
        (LockState.LOCKED, ["release", "delete"]),
        (LockState.RELEASED, ["delete"]),
        (LockState.RESERVED, ["free"]),
        (LockState.CLAIMED, []),
        (LockState.DELETING, []),
    ],
)
def test_each_state_allows_what_it_does(
    protected: Workspace, state: LockState, allowed: list[str]
) -> None:
    make_lock(protected, "v1", state)
    tag = find_tag(protected, API, TagName("v1"), read_policy(protected))
    assert tag is not None
    assert find_actions(tag, has_registry=False) == allowed


def test_the_claim_of_a_check_can_be_dropped(protected: Workspace) -> None:
    put_in_flight(make_lock(protected, "v1", "claimed"), write_is_external=True)
    tag = find_tag(protected, API, TagName("v1"), read_policy(protected))
    assert tag is not None
    assert find_actions(tag, has_registry=False) == ["drop"]


def test_a_chosen_tag_comes_back_from_a_form(protected: Workspace) -> None:
    make_lock(protected, "v1")
    chosen = choose(protected, "v1")
    assert chosen.key == f"acme/api:v1 locked {AA}"
    assert parse_chosen(chosen.key) == chosen


@pytest.mark.parametrize(
    "key",
    ["", "acme/api:v1", "acme/api:v1 locked", "acme/api:v1 open " + AA, "v1 locked " + AA,
     "acme/api:v1 locked sha256:x", "acme/api:-v1 locked " + AA, "acme/api:v1  " + AA],
)  # fmt: skip
def test_what_no_form_sends_is_refused(key: str) -> None:
    with pytest.raises(InvalidReferenceError):
        parse_chosen(key)
