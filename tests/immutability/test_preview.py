"""What saving would do, as the rows of the moment say; and what saving then does."""

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from containers.models import Tag as TagRecord
from containers.names import RepositoryName, TagName
from immutability import preview as module
from immutability.actions import save_settings
from immutability.locked_tags import SUSPENDED, get_lock_status
from immutability.models import LockedTag
from immutability.policy.drafts import Draft
from immutability.policy.patterns import PatternError
from immutability.policy.preview import Effect
from immutability.policy.protection import PolicyException, PolicyRule, Protection
from immutability.preview import SettingsPreview, find_newest_tags, preview_settings
from immutability.reading import read_policy
from immutability.reconcile.counts import run_counts
from immutability.reconcile.inventory import read_tags
from tests.conftest import AA, BB, CC, protect_workspace
from tests.immutability.making import land, make_lock, set_record
from tests.immutability.registry_double import RegistryDouble, image
from tests.problems import nothing_written
from workspaces.log.models import LockEvent
from workspaces.models import Workspace

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

VERSIONS, PROD = PolicyRule("Versions", "^v"), PolicyRule("Production", "^prod")
NOTHING, EVERYTHING = Draft(Protection.NONE), Draft(Protection.ALL)
SOME = Draft(Protection.SOME, (VERSIONS, PROD))
SIGNATURE = "sha256-" + "0" * 64 + ".sig"


def make_tag(workspace: Workspace, name: str, repository: str = "acme/api", **fields: Any) -> None:
    """Let the registry have a tag that has no lock."""
    TagRecord.objects.create(
        workspace=workspace, repository=repository, name=name, **{"digest": AA, **fields}
    )


def preview(workspace: Workspace, draft: Draft, **options: Any) -> SettingsPreview:
    with nothing_written():
        return preview_settings(workspace, draft, **options)


def told(found: SettingsPreview) -> list[tuple[str, str, int, list[str]]]:
    """Return effect, rule, count and examples of each group."""
    return sorted(
        (
            group.effect.value,
            group.reason.name if group.reason else "",
            group.count,
            [str(place) for place in found.examples[group]],
        )
        for group in found.change.groups
    )


def test_tags_with_an_image_and_no_lock_become_locked(acme: Workspace) -> None:
    for repository in ("acme/web", "acme/api"):
        make_tag(acme, "v1", repository)
    make_tag(acme, "prod")
    make_tag(acme, "main")
    make_tag(acme, "v2", digest="")
    found = preview(acme, SOME)
    assert told(found) == [
        ("locked", "Production", 1, ["acme/api:prod"]),
        ("locked", "Versions", 2, ["acme/api:v1", "acme/web:v1"]),
    ]
    assert (found.change.tags, found.change.is_exact) == (4, True)
    assert [each.tags for each in found.change.rules] == [2, 1]


@pytest.mark.parametrize("state", ["locked", "released", "reserved", "deleting"])
def test_locks_that_are_covered_no_more_are_suspended(acme: Workspace, state: str) -> None:
    protect_workspace(acme, Protection.ALL)
    make_lock(acme, "v1", state)
    make_lock(acme, "main", state)
    assert told(preview(acme, SOME)) == [("suspended", "", 1, ["acme/api:main"])]


def test_locks_that_are_covered_again_hold_again(acme: Workspace) -> None:
    make_lock(acme, "v1")
    assert told(preview(acme, SOME)) == [("resumed", "Versions", 1, ["acme/api:v1"])]


def test_a_claim_is_no_lock_yet(acme: Workspace) -> None:
    protect_workspace(acme, Protection.ALL)
    make_lock(acme, "v1", "claimed")
    found = preview(acme, NOTHING)
    assert (told(found), found.change.tags) == ([], 0)


def test_what_is_saved_already_moves_nothing(acme: Workspace) -> None:
    protect_workspace(acme, Protection.SOME, VERSIONS, PROD)
    make_lock(acme, "v1")
    make_tag(acme, "v2")
    make_tag(acme, "main")
    assert told(preview(acme, SOME)) == []


def test_other_workspaces_have_tags_of_their_own(acme: Workspace, globex: Workspace) -> None:
    make_lock(globex, "v1")
    make_tag(globex, "v2", "globex/api")
    found = preview(acme, EVERYTHING)
    assert (told(found), found.change.tags) == ([], 0)


def test_examples_are_bounded_for_each_name_and_each_group(acme: Workspace) -> None:
    for number in range(5):
        make_tag(acme, "latest", f"acme/r{number}")
        make_tag(acme, "v1", f"acme/r{number}")
    [(_, _, count, examples)] = told(preview(acme, EVERYTHING, max_examples=3))
    assert (count, len(examples)) == (10, 3)


def test_a_name_that_has_both_is_an_example_of_each_by_its_own_repositories(
    acme: Workspace,
) -> None:
    make_tag(acme, "v1", "acme/a")
    make_lock(acme, "v1", repository="acme/b")
    assert told(preview(acme, SOME)) == [
        ("locked", "Versions", 1, ["acme/a:v1"]),
        ("resumed", "Versions", 1, ["acme/b:v1"]),
    ]


@pytest.mark.parametrize("limit", ["MAX_NAMES", "MAX_TAGS"])
def test_of_too_many_tags_some_are_counted_and_it_says_so(
    acme: Workspace, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    for number in range(5):
        make_tag(acme, f"v{number}")
    assert preview(acme, EVERYTHING).change.is_exact
    monkeypatch.setattr(module, limit, 5)
    assert preview(acme, EVERYTHING).change.is_exact
    monkeypatch.setattr(module, limit, 4)
    found = preview(acme, EVERYTHING)
    assert not found.change.is_exact
    assert not found.are_pushes_exact
    assert found.change.count(Effect.LOCKED) in (4, 5)


def test_slow_patterns_end_when_their_time_is_over(
    acme: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_SECONDS", 0.0)
    make_tag(acme, "v1")
    found = preview(acme, EVERYTHING)
    assert not found.change.is_exact
    assert found.change.count(Effect.LOCKED) == 0


def test_a_rule_that_does_not_compile_is_an_error(acme: Workspace) -> None:
    with pytest.raises(PatternError):
        preview_settings(acme, Draft(Protection.SOME, (PolicyRule("Broken", "("),)))


# Pushes.


def push(workspace: Workspace, tag: str, *digests: str, days_ago: float = 1, **more: Any) -> None:
    """Let these images have been pushed under a tag, one after the other."""
    for digest in digests:
        at = timezone.now() - timedelta(days=days_ago)
        land(workspace, digest, tag, at, **more)
        place = {"repository": more.get("repository", "acme/api"), "name": tag}
        TagRecord.objects.update_or_create(
            workspace=workspace, **place, defaults={"digest": digest, "pushed_at": at}
        )


def refused(found: SettingsPreview) -> list[tuple[str, str, int]]:
    return [(str(each.place), each.shown_actor, each.count) for each in found.refused]


def test_a_push_of_another_image_would_have_been_refused(acme: Workspace) -> None:
    push(acme, "v1", AA, BB, CC)
    push(acme, "v2", AA)
    push(acme, "main", AA, BB)
    push(acme, "prod", AA, BB, repository="acme/web")
    found = preview(acme, SOME)
    assert refused(found) == [("acme/api:v1", "dana", 2), ("acme/web:prod", "dana", 1)]
    assert (found.refused_count, found.are_pushes_exact) == (3, True)


def test_an_identical_push_only_where_those_are_refused(acme: Workspace) -> None:
    push(acme, "v1", AA, AA, BB)
    assert preview(acme, SOME).refused_count == 1
    strict = Draft(Protection.ALL, refuse_identical_pushes=True)
    assert preview(acme, strict).refused_count == 2


def test_pushes_are_told_by_who_pushed_and_when_last(acme: Workspace) -> None:
    push(acme, "v1", AA)
    for digest, actor, kind in ((BB, "ci", "token"), (CC, "dana", "person"), (AA, "ci", "token")):
        row = land(acme, digest, "v1")
        type(row).objects.filter(id=row.id).update(actor=actor, actor_kind=kind)
    found = preview(acme, SOME)
    assert refused(found) == [("acme/api:v1", 'token "ci"', 2), ("acme/api:v1", "dana", 1)]
    assert found.refused[0].at > timezone.now() - timedelta(minutes=1)


def test_pushes_of_more_than_thirty_days_ago_are_only_compared_with(acme: Workspace) -> None:
    push(acme, "v1", AA, BB, days_ago=31)
    push(acme, "v2", AA, days_ago=40)
    push(acme, "v2", BB, days_ago=29)
    push(acme, "v3", AA, days_ago=28)
    assert refused(preview(acme, SOME)) == [("acme/api:v2", "dana", 1)]


def test_pushes_of_tags_that_are_covered_already_are_none_of_this(acme: Workspace) -> None:
    push(acme, "v1", AA, BB)
    protect_workspace(acme, Protection.SOME, VERSIONS)
    assert preview(acme, SOME).refused_count == 0


def test_of_too_many_pushes_some_are_counted(
    acme: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(acme, "v1", AA, BB, CC, AA, BB)
    monkeypatch.setattr(module, "MAX_PUSHES", 3)
    found = preview(acme, SOME)
    assert (found.change.is_exact, found.are_pushes_exact) == (True, False)
    assert 2 <= found.refused_count <= 3


@pytest.mark.parametrize("count", [0, 1, 2, 7, 8])
def test_the_first_push_since_a_moment_is_found_by_id(acme: Workspace, count: int) -> None:
    now = timezone.now()
    rows = [land(acme, at=now - timedelta(days=each)) for each in range(count, 0, -1)]
    for days in range(count + 1):
        since = now - timedelta(days=days, hours=1)
        recent = [row.id for row in rows if row.at >= since]
        older = [row.id for row in rows if row.at < since]
        first = module._find_first_push(since)
        assert all(first <= identifier for identifier in recent)
        assert all(identifier <= first for identifier in older)


# The newest tags.


def test_the_newest_tags_are_those_that_were_pushed_last(
    acme: Workspace, globex: Workspace
) -> None:
    push(acme, "old", AA, days_ago=5)
    push(acme, "new", AA, days_ago=1)
    push(acme, "middle", AA, days_ago=3)
    push(acme, "old", AA, days_ago=2, repository="acme/web")
    push(globex, "theirs", AA, repository="globex/api")
    make_tag(acme, "unseen", digest="")
    assert find_newest_tags(acme, 20) == ["new", "old", "middle"]
    assert find_newest_tags(acme, 2) == ["new", "old"]


def test_tags_that_were_only_locked_or_found_are_there_too(acme: Workspace) -> None:
    ago = timezone.now() - timedelta(days=1)
    make_tag(acme, "found", shown_at=ago)
    make_tag(acme, "never")
    row = make_lock(acme, "checked", locked_at=timezone.now())
    set_record(row, digest="", shown_at=None)
    for state in ("reserved", "claimed"):
        make_lock(acme, state, state)
    assert find_newest_tags(acme, 20) == ["checked", "found", "never"]


# What saving then does.

PATTERNS = st.sampled_from(["^v", "^prod$", r"\d", "latest", ".", "^sha256", "o"])
DRAFTS = st.builds(
    Draft,
    protection=st.sampled_from(Protection),
    rules=st.lists(PATTERNS, min_size=1, max_size=3, unique=True).map(
        lambda patterns: tuple(PolicyRule(f"Rule {pattern}", pattern) for pattern in patterns)
    ),
    protect_signature_tags=st.booleans(),
    exceptions=st.lists(PATTERNS, max_size=2, unique=True).map(
        lambda patterns: tuple(PolicyException(f"Not {each}", each) for each in patterns)
    ),
)
TAGS = ["v1", "v2", "prod", "nonprod", "latest", SIGNATURE]


def save(workspace: Workspace, draft: Draft) -> None:
    protect_workspace(
        workspace,
        draft.protection,
        *draft.rules,
        exceptions=draft.exceptions,
        protect_signature_tags=draft.protect_signature_tags,
    )


def adopt(workspace: Workspace, tags: list[str]) -> int:
    """Do what the inventory does; return how many tags were locked."""
    registry = RegistryDouble()
    registry.store(image("one"), *tags)
    names = [TagName(tag) for tag in tags]
    repository = RepositoryName("acme/api")
    return read_tags(workspace, repository, names, registry).adopted_count  # type: ignore[arg-type]


def read_statuses(workspace: Workspace) -> dict[str, bool]:
    """Return of each lock whether it is suspended."""
    policy = read_policy(workspace)
    rows = LockedTag.objects.filter(workspace=workspace).exclude(state="claimed")
    return {row.tag: get_lock_status(row, policy) == SUSPENDED for row in rows}


@pytest.mark.slow
@given(
    earlier=DRAFTS,
    before=DRAFTS,
    after=DRAFTS,
    known=st.lists(st.sampled_from(TAGS), min_size=1, unique=True),
    seen_first=st.integers(0, 6),
    counted_at_once=st.sampled_from([0, 1000]),
)
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_saving_does_what_the_preview_has_said(
    acme: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    earlier: Draft,
    before: Draft,
    after: Draft,
    known: list[str],
    seen_first: int,
    counted_at_once: int,
) -> None:
    monkeypatch.setattr(save_settings, "MAX_COUNTED_AT_ONCE", counted_at_once)
    with transaction.atomic():
        # Locks of an earlier policy may be suspended, and some tags are found later.
        save(acme, earlier)
        adopt(acme, known[:seen_first])
        save(acme, before)
        adopt(acme, known)
        run_counts()
        was_suspended = read_statuses(acme)
        found = preview_settings(acme, after).change

        version = read_policy(acme).version
        save(acme, after)
        run_counts()
        is_suspended = read_statuses(acme)
        moved = Counter(
            (was_suspended[tag], now) for tag, now in is_suspended.items() if tag in was_suspended
        )
        assert found.is_exact
        assert found.count(Effect.SUSPENDED) == moved[False, True]
        assert found.count(Effect.RESUMED) == moved[True, False]
        if read_policy(acme).version > version:
            assert read_counts(acme) == (
                found.count(Effect.SUSPENDED),
                found.count(Effect.RESUMED),
            )
        assert adopt(acme, known) == found.count(Effect.LOCKED)
        transaction.set_rollback(True)


def read_counts(workspace: Workspace) -> tuple[int, int]:
    """Return what the log says of the latest save: locks suspended, and locks resumed."""
    events = LockEvent.objects.filter(workspace=workspace.slug).order_by("-id")
    for event in events:
        details = event.details or {}
        if "locks_suspended" in details:
            return details["locks_suspended"], details["locks_resumed"]
    raise AssertionError("nothing was counted")
