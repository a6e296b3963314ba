from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.test import Client
from rest_framework.test import APIClient

from immutability.models import LockedTag, Rule
from immutability.protection import Policy, PolicyRule, Protection
from immutability.refusals import format_time
from tests.conftest import AA, BB, CC, SEMVER
from tests.immutability.api.conftest import Ask
from tests.problems import nothing_written, read_problem
from workspaces.access import Scope
from workspaces.log.models import LockEvent
from workspaces.models import User, Workspace

Protect = Callable[..., Policy]

SIGNATURE_TAG = "sha256-" + "a" * 64


@pytest.fixture(autouse=True)
def _some_tags_are_protected(acme: Workspace, protect: Protect) -> None:
    protect(acme, Protection.SOME, SEMVER)


def test_the_first_push_locks_a_covered_tag_at_once(check_push: Ask) -> None:
    assert check_push("v1.2.0", actor="dana") == {
        "allowed": True,
        "outcome": "locked_now",
        "tags": [
            {
                "tag": "v1.2.0",
                "outcome": "locked_now",
                "rule": "Release versions",
                "locked_digest": AA,
            }
        ],
        "claim": None,
        "error": None,
    }
    row = LockedTag.objects.get()
    assert (row.repository, row.tag, row.digest, row.state) == ("acme/api", "v1.2.0", AA, "locked")
    assert (row.pushed_by, row.pushed_by_kind) == ("dana", "registry")
    assert (row.rule_name, row.rule_pattern) == (SEMVER.name, SEMVER.pattern)


def test_the_same_image_again_is_unchanged(check_push: Ask) -> None:
    check_push("v1.2.0", actor="dana")
    assert check_push("v1.2.0", actor="dana") == {
        "allowed": True,
        "outcome": "unchanged",
        "tags": [
            {
                "tag": "v1.2.0",
                "outcome": "unchanged",
                "rule": "Release versions",
                "locked_digest": AA,
            }
        ],
        "claim": None,
        "error": None,
    }
    assert LockEvent.objects.filter(kind="push.identical").count() == 1


def test_another_image_is_refused_with_an_error_to_relay(check_push: Ask) -> None:
    check_push("v1.2.0", actor="dana")
    answer = check_push("v1.2.0", BB, actor="erin")

    row = LockedTag.objects.get()
    event = LockEvent.objects.get(kind="push.refused")
    url = f"{settings.PUBLIC_URL}/acme/lock-log/{event.ref}"
    assert answer == {
        "allowed": False,
        "outcome": "locked",
        "tags": [
            {
                "tag": "v1.2.0",
                "outcome": "locked",
                "rule": "Release versions",
                "locked_digest": AA,
            }
        ],
        "claim": None,
        "error": {
            "status": 403,
            "body": {
                "errors": [
                    {
                        "code": "DENIED",
                        "message": (
                            'tag "v1.2.0" of acme/api cannot be overwritten because the tag is '
                            "immutable: it is locked to sha256:aaaaaaaaaaaa… since "
                            f'{format_time(row.locked_at)} by rule "Release versions" (pushed by '
                            "dana via the registry). Your push was sha256:bbbbbbbbbbbb…. "
                            "Push a new tag, or ask an "
                            f"admin of acme. {url}"
                        ),
                        "detail": {
                            "reason": "TAG_IMMUTABLE",
                            "state": "locked",
                            "repository": "acme/api",
                            "tag": "v1.2.0",
                            "locked_digest": AA,
                            "locked_at": row.locked_at.isoformat(),
                            "rule": "Release versions",
                            "pushed_by": "dana via the registry",
                            "event": event.ref,
                            "url": url,
                            "pushed_digest": BB,
                        },
                    }
                ]
            },
        },
    }
    assert (event.actor, event.digest, event.other_digest) == ("erin", AA, BB)
    assert LockedTag.objects.get().digest == AA


def test_the_link_in_a_refusal_opens_its_event(
    check_push: Ask, api_as: Callable[..., APIClient], acme: Workspace
) -> None:
    check_push("v1.2.0")
    message = check_push("v1.2.0", BB)["error"]["body"]["errors"][0]["message"]
    link = message.rsplit(" ", 1)[1]
    ref = link.rsplit("/", 1)[1]
    event = api_as(acme, Scope.AUDIT).get(f"/api/v1/workspaces/acme/lock-log/{ref}").json()
    assert event["kind"] == "push.refused"
    assert event["url"] == link


def test_the_link_in_a_refusal_opens_its_page_for_a_member(
    check_push: Ask, sign_in: Callable[[User], Client], bob: User
) -> None:
    check_push("v1.2.0")
    message = check_push("v1.2.0", BB)["error"]["body"]["errors"][0]["message"]
    page = sign_in(bob).get(urlsplit(message.rsplit(" ", 1)[1]).path)
    assert page.status_code == 200
    assert "v1.2.0" in page.content.decode()


def test_a_repeated_refusal_gives_the_same_answer(check_push: Ask) -> None:
    check_push("v1.2.0")
    assert check_push("v1.2.0", BB) == check_push("v1.2.0", BB)
    assert LockEvent.objects.filter(kind="push.refused").count() == 1


def test_a_tag_that_no_rule_matches_stays_mutable(check_push: Ask) -> None:
    answers = [check_push("feature-x", AA), check_push("feature-x", BB)]
    for answer in answers:
        assert answer == {
            "allowed": True,
            "outcome": "unprotected",
            "tags": [
                {"tag": "feature-x", "outcome": "unprotected", "rule": None, "locked_digest": None}
            ],
            "claim": None,
            "error": None,
        }
    assert not LockedTag.objects.exists()


@pytest.mark.parametrize(
    ("tag", "digest", "outcome", "is_allowed"),
    [
        ("v1.3.0", None, "free", True),
        ("v1.3.0", BB, "free", True),
        ("v1.2.0", None, "locked", False),
        ("v1.2.0", BB, "locked", False),
        ("v1.2.0", AA, "unchanged", True),
        ("feature-x", None, "unprotected", True),
        ("feature-x", BB, "unprotected", True),
    ],
)
def test_a_dry_run_says_what_would_happen_and_writes_nothing(
    check_push: Ask, *, tag: str, digest: str | None, outcome: str, is_allowed: bool
) -> None:
    check_push("v1.2.0")
    with nothing_written():
        answers = [check_push(tag, digest, dry_run=True, actor="dana") for _ in range(2)]
    assert answers[0] == answers[1]
    assert answers[0]["outcome"] == outcome
    assert answers[0]["allowed"] is is_allowed
    assert answers[0]["claim"] is None
    assert (answers[0]["error"] is None) is is_allowed


def test_a_refused_dry_run_relays_the_line_without_a_link(check_push: Ask) -> None:
    check_push("v1.2.0", actor="dana")
    since = format_time(LockedTag.objects.get().locked_at)
    error = check_push("v1.2.0", None, dry_run=True)["error"]
    assert error["status"] == 403
    assert error["body"]["errors"][0]["message"] == (
        'tag "v1.2.0" of acme/api cannot be overwritten because the tag is immutable: it is locked '
        f'to sha256:aaaaaaaaaaaa… since {since} by rule "Release versions" (pushed by dana via '
        "the registry). Push a new tag, or ask an admin of acme."
    )
    assert error["body"]["errors"][0]["detail"]["event"] is None
    assert error["body"]["errors"][0]["detail"]["pushed_digest"] is None


def test_a_dry_run_of_two_phases_claims_nothing(check_push: Ask) -> None:
    with nothing_written():
        answer = check_push("v1.2.0", dry_run=True, two_phase=True)
    assert (answer["outcome"], answer["claim"]) == ("free", None)


def test_without_an_actor_the_token_is_the_one_who_pushed(check_push: Ask) -> None:
    check_push("v1.2.0")
    row = LockedTag.objects.get()
    assert (row.pushed_by, row.pushed_by_kind) == ("token registry", "token")


# Several tags.


def ask_tags(registry: APIClient, tags: list[str], digest: str = AA, **fields: Any) -> Any:
    asked = {"repository": "acme/api", "tags": tags, "digest": digest, **fields}
    return registry.post("/api/v1/check-push", asked, format="json").json()


def test_several_tags_are_locked_together(registry: APIClient) -> None:
    answer = ask_tags(registry, ["v1.2.1", "feature-x", "v1.2.0"])
    assert answer["allowed"] is True
    assert answer["outcome"] == "locked_now"
    assert [(each["tag"], each["outcome"]) for each in answer["tags"]] == [
        ("feature-x", "unprotected"),
        ("v1.2.0", "locked_now"),
        ("v1.2.1", "locked_now"),
    ]
    assert set(LockedTag.objects.values_list("tag", flat=True)) == {"v1.2.0", "v1.2.1"}


def test_of_several_tags_all_are_locked_or_none(registry: APIClient, check_push: Ask) -> None:
    check_push("v1.2.0")
    answer = ask_tags(registry, ["v1.2.0", "v1.2.1", "feature-x"], BB)
    assert answer["allowed"] is False
    assert answer["outcome"] == "locked"
    outcomes = {each["tag"]: each["outcome"] for each in answer["tags"]}
    assert outcomes["v1.2.0"] == "locked"
    assert answer["error"]["status"] == 403
    assert list(LockedTag.objects.values_list("tag", "digest")) == [("v1.2.0", AA)]


def test_a_tag_named_twice_is_one_tag(registry: APIClient) -> None:
    answer = ask_tags(registry, ["v1.2.0", "v1.2.0"])
    assert [each["tag"] for each in answer["tags"]] == ["v1.2.0"]


def test_a_hundred_tags_are_the_most(registry: APIClient) -> None:
    assert ask_tags(registry, [f"v1.0.{number}" for number in range(100)])["allowed"] is True
    with nothing_written():
        asked = {"repository": "acme/api", "digest": AA, "tags": [f"x{n}" for n in range(101)]}
        response = registry.post("/api/v1/check-push", asked, format="json")
    problem = read_problem(response, 400, "invalid")
    assert problem["errors"][0]["pointer"] == "#/tags"


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({}, "#/tag"),
        ({"tag": "v1", "tags": ["v1"]}, "#/tag"),
        ({"tags": []}, "#/tags"),
        ({"tags": ["v1", "v2"], "current_digest": AA}, "#/current_digest"),
    ],
)
def test_questions_that_do_not_add_up_are_refused(
    registry: APIClient, fields: dict[str, Any], pointer: str
) -> None:
    with nothing_written():
        asked = {"repository": "acme/api", "digest": AA, **fields}
        response = registry.post("/api/v1/check-push", asked, format="json")
    assert read_problem(response, 400, "invalid")["errors"][0]["pointer"] == pointer


def test_only_a_dry_run_can_do_without_a_digest(registry: APIClient) -> None:
    with nothing_written():
        asked = {"repository": "acme/api", "tag": "v1.2.0"}
        response = registry.post("/api/v1/check-push", asked, format="json")
    assert read_problem(response, 400)["errors"][0]["pointer"] == "#/digest"


@pytest.mark.parametrize("name", ["dryrun", "dry-run", "Dry_run", "twophase", "extra"])
def test_an_unknown_field_is_refused_so_that_a_misspelling_locks_nothing(
    registry: APIClient, name: str
) -> None:
    with nothing_written():
        asked = {"repository": "acme/api", "tag": "v1.2.0", "digest": AA, name: True}
        response = registry.post("/api/v1/check-push", asked, format="json")
    problem = read_problem(response, 400, "invalid")
    assert problem["errors"][0]["pointer"] == f"#/{name}"
    assert "dry_run" in problem["detail"]


# Two phases.


def test_a_two_phase_check_claims_the_tag(check_push: Ask) -> None:
    answer = check_push("v1.2.0", two_phase=True)
    assert (answer["allowed"], answer["outcome"], answer["error"]) == (True, "claimed", None)
    assert set(answer["claim"]) == {"id", "expires_at"}
    row = LockedTag.objects.get()
    assert (row.state, row.digest) == ("claimed", AA)
    assert not LockEvent.objects.filter(kind="tag.locked").exists()


def test_another_image_meets_a_claim_and_is_told_to_try_again(check_push: Ask) -> None:
    check_push("v1.2.0", two_phase=True)
    with nothing_written():
        answer = check_push("v1.2.0", BB)
    assert (answer["allowed"], answer["outcome"]) == (False, "claim_pending")
    assert answer["error"]["status"] == 503
    assert answer["error"]["headers"] == {"Retry-After": "10"}
    error = answer["error"]["body"]["errors"][0]
    assert error["code"] == "UNAVAILABLE"
    assert error["detail"]["reason"] == "CLAIM_PENDING"
    assert "Try again in 10 seconds" in error["message"]


def test_the_same_image_joins_a_claim(check_push: Ask) -> None:
    first = check_push("v1.2.0", two_phase=True)
    second = check_push("v1.2.0", two_phase=True)
    assert second["outcome"] == "claimed"
    assert first["claim"]["id"] != second["claim"]["id"]


def test_a_two_phase_check_of_an_unprotected_tag_needs_no_claim(check_push: Ask) -> None:
    answer = check_push("feature-x", two_phase=True)
    assert (answer["outcome"], answer["claim"]) == ("unprotected", None)


def test_a_claim_that_is_confirmed_is_locked_and_one_that_is_abandoned_is_free(
    registry: APIClient, check_push: Ask
) -> None:
    kept = check_push("v1.0.0", two_phase=True)["claim"]["id"]
    gone = check_push("v2.0.0", two_phase=True)["claim"]["id"]
    assert registry.post(f"/api/v1/claims/{kept}/confirm").status_code == 200
    assert registry.post(f"/api/v1/claims/{gone}/abandon").status_code == 200
    assert check_push("v1.0.0", BB, dry_run=True)["outcome"] == "locked"
    assert check_push("v2.0.0", BB, dry_run=True)["outcome"] == "free"


# What the registry has.


def test_a_tag_that_the_registry_has_with_the_same_image_is_adopted(check_push: Ask) -> None:
    answer = check_push("v1.2.0", current_digest=AA)
    assert (answer["allowed"], answer["outcome"]) == (True, "unchanged")
    row = LockedTag.objects.get()
    assert (row.digest, row.state, row.pushed_by) == (AA, "locked", "")
    assert LockEvent.objects.filter(kind="tag.adopted", digest=AA).count() == 1


def test_a_tag_that_the_registry_has_with_another_image_is_adopted_and_the_push_refused(
    check_push: Ask,
) -> None:
    answer = check_push("v1.2.0", BB, current_digest=AA, actor="dana")
    assert (answer["allowed"], answer["outcome"]) == (False, "locked")
    assert answer["tags"][0]["locked_digest"] == AA
    message = answer["error"]["body"]["errors"][0]["message"]
    since = format_time(LockedTag.objects.get().locked_at)
    assert f'locked to sha256:aaaaaaaaaaaa… since {since} by rule "Release versions".' in message
    assert LockedTag.objects.get().digest == AA


def test_a_tag_that_the_registry_does_not_have_is_new_whatever_was_known(
    check_push: Ask, acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.NONE)
    check_push("v1.2.0", AA)
    protect(acme, Protection.SOME, SEMVER)
    assert check_push("v1.2.0", BB, current_digest=None)["outcome"] == "locked_now"


def test_left_out_it_is_what_the_last_allowed_check_put_there(
    check_push: Ask, acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.NONE)
    check_push("v1.2.0", CC)
    check_push("v1.2.0", AA)
    protect(acme, Protection.SOME, SEMVER)
    assert check_push("v1.2.0", BB, dry_run=True)["outcome"] == "locked"
    assert check_push("v1.2.0", BB)["outcome"] == "locked"
    assert check_push("v1.2.0", AA)["outcome"] == "unchanged"
    assert LockedTag.objects.get().digest == AA


# Switches, and changes of the setting.


def test_with_all_tags_protected_signature_tags_stay_mutable(
    check_push: Ask, acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.ALL)
    assert check_push("latest")["outcome"] == "locked_now"
    for suffix in ("", ".sig", ".att", ".sbom"):
        assert check_push(SIGNATURE_TAG + suffix, AA)["outcome"] == "unprotected"
        assert check_push(SIGNATURE_TAG + suffix, BB)["outcome"] == "unprotected"


def test_signature_tags_can_be_protected_too(
    check_push: Ask, acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.ALL, protect_signature_tags=True)
    answer = check_push(SIGNATURE_TAG)
    assert answer["outcome"] == "locked_now"
    assert answer["tags"][0]["rule"] is None


def test_identical_pushes_can_be_refused(
    check_push: Ask, acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.SOME, SEMVER, refuse_identical_pushes=True)
    check_push("v1.2.0")
    answer = check_push("v1.2.0")
    assert (answer["allowed"], answer["outcome"]) == (False, "locked")
    message = answer["error"]["body"]["errors"][0]["message"]
    assert "Your push was the same image, and this workspace refuses identical pushes." in message


def test_a_saved_setting_is_in_force_for_the_very_next_push(
    check_push: Ask, acme: Workspace, protect: Protect
) -> None:
    assert check_push("v1.2.0", AA)["outcome"] == "locked_now"
    protect(acme, Protection.NONE)
    assert check_push("v1.2.0", AA)["outcome"] == "unprotected"
    protect(acme, Protection.SOME, SEMVER)
    assert check_push("v1.2.0", BB)["outcome"] == "locked"


def test_another_image_ends_a_suspended_lock(
    check_push: Ask, acme: Workspace, protect: Protect
) -> None:
    check_push("v1.2.0", AA)
    protect(acme, Protection.NONE)
    assert check_push("v1.2.0", BB)["outcome"] == "unprotected"
    assert not LockedTag.objects.exists()
    assert LockEvent.objects.filter(kind="lock.ended", digest=AA, other_digest=BB).count() == 1


def test_a_reserved_name_takes_back_only_the_image_that_was_deleted(
    check_push: Ask, check_delete: Ask, alice: User
) -> None:
    check_push("v1.2.0", AA)
    assert check_delete(tag="v1.2.0", actor="alice")["allowed"] is True
    refused = check_push("v1.2.0", BB)
    assert (refused["allowed"], refused["outcome"]) == (False, "reserved")
    message = refused["error"]["body"]["errors"][0]["message"]
    when = format_time(LockedTag.objects.get().deleted_at)  # type: ignore[arg-type]
    assert f"was deleted by an admin (alice via the registry) on {when}, and its name is" in message
    assert "reserved for the image that it had, sha256:aaaa" in message
    assert "ask an admin of acme to free the name under Locked tags." in message
    assert refused["error"]["body"]["errors"][0]["detail"]["state"] == "reserved"
    assert check_push("v1.2.0", AA)["outcome"] == "locked_now"


def test_a_rule_that_cannot_be_evaluated_refuses_the_push(
    registry: APIClient, acme: Workspace
) -> None:
    Rule.objects.update(pattern="(")
    with nothing_written():
        for is_dry in (True, False):
            asked = {"repository": "acme/api", "tag": "x", "digest": AA, "dry_run": is_dry}
            response = registry.post("/api/v1/check-push", asked, format="json")
            read_problem(response, 503, "undecided")
            assert int(response.headers["Retry-After"]) > 0


def test_the_first_rule_that_matches_is_named(
    check_push: Ask, acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.SOME, PolicyRule("Anything with v", "v"), SEMVER)
    assert check_push("v1.2.0")["tags"][0]["rule"] == "Anything with v"


def test_repositories_and_workspaces_do_not_share_tags(
    registry: APIClient,
    check_push: Ask,
    globex: Workspace,
    protect: Protect,
    api_as: Callable[..., APIClient],
) -> None:
    protect(globex, Protection.ALL)
    check_push("v1.2.0", AA)
    for client, repository in (
        (registry, "acme/web"),
        (api_as(globex, Scope.REGISTRY), "globex/api"),
    ):
        asked = {"repository": repository, "tag": "v1.2.0", "digest": BB}
        answer = client.post("/api/v1/check-push", asked, format="json").json()
        assert answer["outcome"] == "locked_now"


def test_a_registry_cannot_ask_about_another_workspace(
    registry: APIClient, globex: Workspace
) -> None:
    with nothing_written():
        asked = {"repository": "globex/api", "tag": "v1.2.0", "digest": AA}
        response = registry.post("/api/v1/check-push", asked, format="json")
    read_problem(response, 404, "NAME_UNKNOWN")


def test_whoever_may_only_ask_is_told_about_dry_run(
    acme: Workspace, api_as: Callable[..., APIClient]
) -> None:
    asked = {"repository": "acme/api", "tag": "v1.2.0", "digest": AA}
    client = api_as(acme, Scope.PUSH)
    with nothing_written():
        response = client.post("/api/v1/check-push", asked, format="json")
    assert "dry_run" in read_problem(response, 403, "forbidden")["detail"]
    answer = client.post("/api/v1/check-push", {**asked, "dry_run": True}, format="json")
    assert answer.json()["outcome"] == "free"


# What a refusal names.


@pytest.mark.parametrize(
    ("protection", "rules", "words", "named"),
    [
        (
            Protection.SOME,
            [PolicyRule("Versions, renamed", SEMVER.pattern)],
            'by rule "Versions, renamed" (',
            "Versions, renamed",
        ),
        (
            Protection.SOME,
            [PolicyRule("Another", "^v1"), SEMVER],
            'by rule "Another" (',
            "Another",
        ),
        (Protection.ALL, [SEMVER], "because all tags are protected (", None),
    ],
)
def test_a_refusal_names_what_covers_the_tag_now(
    check_push: Ask,
    check_delete: Ask,
    acme: Workspace,
    protect: Protect,
    protection: Protection,
    rules: list[PolicyRule],
    words: str,
    named: str | None,
) -> None:
    check_push("v1.2.0")
    since = format_time(LockedTag.objects.get().locked_at)
    protect(acme, protection, *rules)
    for answer in (
        check_push("v1.2.0", BB),
        check_push("v1.2.0", BB, dry_run=True),
        check_delete(tag="v1.2.0"),
        check_delete(tag="v1.2.0", dry_run=True),
    ):
        error = answer["error"]["body"]["errors"][0]
        assert f"since {since} {words}" in error["message"]
        assert SEMVER.name not in error["message"]
        assert error["detail"]["rule"] == named
