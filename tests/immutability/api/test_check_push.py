"""check-push over HTTP: what is read, who may ask, and what is answered."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.db.models import F
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from containers.models import Tag as TagRecord
from immutability.models import Claim, LockedTag, Rule, TagException
from immutability.policy.messages import format_time
from immutability.policy.protection import Policy, PolicyRule, Protection
from immutability.push import check as check_module
from tests.conftest import AA, BB, CACHES, LATEST, SEMVER
from tests.immutability.api.conftest import Ask
from tests.problems import nothing_written, read_problem
from workspaces.access import Scope
from workspaces.log.models import LockEvent
from workspaces.models import AccessToken, User, Workspace

Protect = Callable[..., Policy]

SIGNATURE_TAG = "sha256-" + "a" * 64


@pytest.fixture(autouse=True)
def _some_tags_are_protected(acme: Workspace, protect: Protect) -> None:
    protect(acme, Protection.SOME, SEMVER)


def post(client: APIClient, **fields: Any) -> Any:
    asked = {"repository": "acme/api", "digest": AA, **fields}
    return client.post("/api/v1/check-push", asked, format="json")


def test_the_first_push_locks_a_covered_tag_at_once(check_push: Ask) -> None:
    tag = {"tag": "v1.2.0", "rule": "Release versions", "exception": None, "locked_digest": AA}
    assert check_push("v1.2.0", actor="dana") == {
        "allowed": True,
        "outcome": "locked_now",
        "tags": [{**tag, "outcome": "locked_now"}],
        "claim": None,
        "error": None,
    }
    row = LockedTag.objects.get()
    assert (row.repository, row.tag, row.digest, row.state) == ("acme/api", "v1.2.0", AA, "locked")
    assert (row.pushed_by, row.pushed_by_kind) == ("dana", "registry")
    again = check_push("v1.2.0", actor="dana")
    assert (again["allowed"], again["tags"]) == (True, [{**tag, "outcome": "unchanged"}])


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
                "exception": None,
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
    # The first of an hour is an event; the same answer is given again.
    assert check_push("v1.2.0", BB, actor="erin") == answer
    assert LockEvent.objects.filter(kind="push.refused").count() == 1


def test_the_link_in_a_refusal_opens_its_event_and_its_page(
    check_push: Ask,
    api_as: Callable[..., APIClient],
    acme: Workspace,
    sign_in: Callable[[User], Client],
    bob: User,
) -> None:
    check_push("v1.2.0")
    message = check_push("v1.2.0", BB)["error"]["body"]["errors"][0]["message"]
    link = message.rsplit(" ", 1)[1]
    ref = link.rsplit("/", 1)[1]
    event = api_as(acme, Scope.AUDIT).get(f"/api/v1/workspaces/acme/lock-log/{ref}").json()
    assert (event["kind"], event["url"]) == ("push.refused", link)
    page = sign_in(bob).get(urlsplit(link).path)
    assert (page.status_code, "v1.2.0" in page.content.decode()) == (200, True)


def test_a_tag_that_no_rule_matches_stays_mutable(check_push: Ask) -> None:
    for digest in (AA, BB):
        assert check_push("feature-x", digest) == {
            "allowed": True,
            "outcome": "unprotected",
            "tags": [
                {
                    "tag": "feature-x",
                    "outcome": "unprotected",
                    "rule": None,
                    "exception": None,
                    "locked_digest": None,
                }
            ],
            "claim": None,
            "error": None,
        }
    assert not LockedTag.objects.exists()


@pytest.mark.parametrize(
    ("tag", "digest", "outcome", "is_allowed"),
    [
        ("v1.3.0", None, "free", True),
        ("v1.2.0", None, "locked", False),
        ("v1.2.0", BB, "locked", False),
        ("v1.2.0", AA, "unchanged", True),
        ("feature-x", None, "unprotected", True),
    ],
)
def test_a_dry_run_says_what_would_happen_and_writes_nothing(
    check_push: Ask, *, tag: str, digest: str | None, outcome: str, is_allowed: bool
) -> None:
    check_push("v1.2.0")
    with nothing_written():
        answer = check_push(tag, digest, dry_run=True, two_phase=True, actor="dana")
    assert (answer["outcome"], answer["allowed"]) == (outcome, is_allowed)
    assert (answer["claim"], answer["error"] is None) == (None, is_allowed)


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
    detail = error["body"]["errors"][0]["detail"]
    assert (detail["event"], detail["pushed_digest"]) == (None, None)


def test_without_an_actor_the_token_is_the_one_who_pushed(check_push: Ask) -> None:
    check_push("v1.2.0")
    row = LockedTag.objects.get()
    assert (row.pushed_by, row.pushed_by_kind) == ("token registry", "token")


def test_several_tags_are_answered_one_by_one_and_allowed_together(registry: APIClient) -> None:
    tags = ["v1.2.1", "feature-x", "v1.2.0", "v1.2.0"]
    answer = post(registry, tags=tags).json()
    assert (answer["allowed"], answer["outcome"]) == (True, "locked_now")
    assert [(each["tag"], each["outcome"]) for each in answer["tags"]] == [
        ("feature-x", "unprotected"),
        ("v1.2.0", "locked_now"),
        ("v1.2.1", "locked_now"),
    ]
    answer = post(registry, tags=["v1.2.0", "v1.3.0"], digest=BB).json()
    assert (answer["allowed"], answer["outcome"]) == (False, "locked")
    assert [(each["tag"], each["outcome"]) for each in answer["tags"]] == [
        ("v1.2.0", "locked"),
        ("v1.3.0", "free"),
    ]


def test_a_hundred_tags_are_the_most(registry: APIClient) -> None:
    hundred = [f"v1.0.{number}" for number in range(100)]
    assert post(registry, tags=hundred).json()["allowed"] is True
    with nothing_written():
        response = post(registry, tags=[*hundred, "v2.0.0"])
    assert read_problem(response, 400, "invalid")["errors"][0]["pointer"] == "#/tags"


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({}, "#/tag"),
        ({"tag": "v1", "tags": ["v1"]}, "#/tag"),
        ({"tags": []}, "#/tags"),
        ({"tags": ["v1", "v2"], "current_digest": AA}, "#/current_digest"),
        ({"tag": "v1", "digest": None}, "#/digest"),
        ({"tag": "v1", "idempotency_key": "7"}, "#/idempotency_key"),
        ({"tag": "v1", "two_phase": True, "idempotency_key": ""}, "#/idempotency_key"),
        ({"tag": "v1", "two_phase": True, "idempotency_key": "a\nb"}, "#/idempotency_key"),
        ({"tag": "v1", "two_phase": True, "idempotency_key": "k" * 129}, "#/idempotency_key"),
        (
            {"tag": "v1", "two_phase": True, "dry_run": True, "idempotency_key": "7"},
            "#/idempotency_key",
        ),
        *(({"tag": "v1", name: True}, f"#/{name}") for name in ("dryrun", "dry-run", "twophase")),
    ],
)
def test_questions_that_do_not_add_up_are_refused(
    registry: APIClient, fields: dict[str, Any], pointer: str
) -> None:
    with nothing_written():
        response = post(registry, **fields)
    assert read_problem(response, 400)["errors"][0]["pointer"] == pointer


def test_only_a_dry_run_can_do_without_a_digest(registry: APIClient) -> None:
    asked = {"repository": "acme/api", "tag": "v1.2.0"}
    with nothing_written():
        response = registry.post("/api/v1/check-push", asked, format="json")
    assert read_problem(response, 400)["errors"][0]["pointer"] == "#/digest"


def test_a_two_phase_check_claims_the_tag_and_others_are_told_to_try_again(check_push: Ask) -> None:
    answer = check_push("v1.2.0", two_phase=True)
    assert (answer["allowed"], answer["outcome"], answer["error"]) == (True, "claimed", None)
    claim = Claim.objects.get()
    assert answer["claim"] == {
        "id": str(claim.id),
        "expires_at": claim.expires_at.isoformat().replace("+00:00", "Z"),
    }
    for fields in ({"digest": BB}, {"two_phase": True}):
        answer = check_push("v1.2.0", **fields)
        assert (answer["allowed"], answer["outcome"]) == (False, "claim_pending")
        assert answer["error"]["status"] == 503
        assert answer["error"]["headers"] == {"Retry-After": "10"}
        error = answer["error"]["body"]["errors"][0]
        assert (error["code"], error["detail"]["reason"]) == ("UNAVAILABLE", "CLAIM_PENDING")
        assert "Try again in 10 seconds" in error["message"]


def test_an_idempotency_key_is_its_callers_own(
    registry: APIClient, acme: Workspace, api_as: Callable[..., APIClient]
) -> None:
    fields = {"tag": "v1.2.0", "two_phase": True, "idempotency_key": "build 7", "actor": "dana"}
    first = post(registry, **fields).json()
    assert post(registry, **fields).json() == first
    assert post(registry, **{**fields, "actor": "erin"}).json() == first
    other = api_as(acme, Scope.REGISTRY, Scope.PULL)
    assert post(other, **fields).json()["outcome"] == "claim_pending"
    with nothing_written():
        response = post(registry, **{**fields, "tag": "v1.2.1"})
    assert "another push" in read_problem(response, 409, "idempotency_key_used")["detail"]


def test_without_a_claim_there_is_nothing_to_confirm(check_push: Ask) -> None:
    answer = check_push("feature-x", two_phase=True)
    assert (answer["outcome"], answer["claim"]) == ("unprotected", None)


# What the registry has.


def test_current_digest_is_adopted(check_push: Ask) -> None:
    answer = check_push("v1.2.0", BB, current_digest=AA, actor="dana")
    assert (answer["outcome"], answer["tags"][0]["locked_digest"]) == ("locked", AA)
    message = answer["error"]["body"]["errors"][0]["message"]
    since = format_time(LockedTag.objects.get().locked_at)
    assert f'locked to sha256:aaaaaaaaaaaa… since {since} by rule "Release versions".' in message
    assert check_push("v1.2.0", current_digest=AA)["outcome"] == "unchanged"
    assert LockEvent.objects.filter(kind="tag.adopted", digest=AA).count() == 1


def test_a_current_digest_that_may_be_older_than_the_tag_decides_nothing(
    registry: APIClient, check_push: Ask, acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.NONE)
    check_push("v1.2.0", AA)
    protect(acme, Protection.SOME, SEMVER)
    assert check_push("v1.2.0", BB, current_digest=None)["outcome"] == "claim_pending"
    TagRecord.objects.update(stray_until=F("stray_until") - timedelta(minutes=17))
    response = post(registry, tag="v1.2.0", digest=BB, current_digest=None)
    assert "current_digest may be out of date" in read_problem(response, 503, "undecided")["detail"]
    assert response.headers["Retry-After"] == "60"
    TagRecord.objects.update(changed_at=F("changed_at") - timedelta(minutes=1))
    assert check_push("v1.2.0", BB, current_digest=None)["outcome"] == "locked_now"


# Switches, and changes of the setting.


def test_with_all_tags_protected_signature_tags_stay_mutable(
    check_push: Ask, acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.ALL)
    assert check_push("latest")["outcome"] == "locked_now"
    for suffix in ("", ".sig", ".att", ".sbom"):
        assert check_push(SIGNATURE_TAG + suffix, AA)["outcome"] == "unprotected"
        assert check_push(SIGNATURE_TAG + suffix, BB)["outcome"] == "unprotected"
    protect(acme, Protection.ALL, protect_signature_tags=True)
    answer = check_push("sha256-" + "b" * 64)
    assert (answer["outcome"], answer["tags"][0]["rule"]) == ("locked_now", None)


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


def test_a_rule_that_cannot_be_evaluated_refuses_the_push(registry: APIClient) -> None:
    Rule.objects.update(pattern="(")
    with nothing_written():
        for is_dry in (True, False):
            response = post(registry, tag="x", dry_run=is_dry)
            read_problem(response, 503, "undecided")
            assert int(response.headers["Retry-After"]) > 0


@pytest.mark.parametrize("tag", ["latest", "v1"])
def test_an_exception_that_cannot_be_evaluated_refuses_the_push(
    registry: APIClient, acme: Workspace, protect: Protect, tag: str
) -> None:
    protect(acme, Protection.ALL, exceptions=(LATEST, CACHES))
    TagException.objects.filter(name=CACHES.name).update(pattern="(")
    with nothing_written():
        for is_dry in (True, False):
            response = post(registry, tag=tag, dry_run=is_dry)
            read_problem(response, 503, "undecided")
            assert int(response.headers["Retry-After"]) > 0


@pytest.mark.parametrize("is_dry", [True, False])
def test_a_tag_that_an_exception_matches_stays_mutable_and_the_exception_is_named(
    check_push: Ask, acme: Workspace, protect: Protect, *, is_dry: bool
) -> None:
    protect(acme, Protection.ALL, exceptions=(CACHES, LATEST))
    for digest in (AA, BB):
        answer = check_push("latest", digest, dry_run=is_dry)
        assert (answer["allowed"], answer["outcome"]) == (True, "unprotected")
        assert answer["tags"] == [
            {
                "tag": "latest",
                "outcome": "unprotected",
                "rule": None,
                "exception": "Moving latest",
                "locked_digest": None,
            }
        ]


def test_a_tag_beside_it_that_no_exception_matches_is_locked(
    check_push: Ask, acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.ALL, exceptions=(LATEST,))
    answer = check_push("v1")
    assert (answer["outcome"], answer["tags"][0]["exception"]) == ("locked_now", None)


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
    of_globex = api_as(globex, Scope.REGISTRY)
    for client, repository in ((registry, "acme/web"), (of_globex, "globex/api")):
        answer = post(client, repository=repository, tag="v1.2.0", digest=BB).json()
        assert answer["outcome"] == "locked_now"


def test_a_registry_cannot_ask_about_another_workspace(
    registry: APIClient, globex: Workspace
) -> None:
    with nothing_written():
        response = post(registry, repository="globex/api", tag="v1.2.0")
    read_problem(response, 404, "NAME_UNKNOWN")


def test_a_token_that_may_only_ask_is_told_about_dry_run(
    acme: Workspace, api_as: Callable[..., APIClient]
) -> None:
    client = api_as(acme, Scope.PUSH)
    with nothing_written():
        response = post(client, tag="v1.2.0")
    assert "dry_run" in read_problem(response, 403, "forbidden")["detail"]
    assert post(client, tag="v1.2.0", dry_run=True).json()["outcome"] == "free"


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


@pytest.mark.parametrize("moment", ["read_plan", "hold_plan"])
def test_a_token_that_is_revoked_meanwhile_locks_nothing(
    registry: APIClient, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """A look at the registry may take half a minute."""
    go_on = getattr(check_module, moment)

    def revoke_first(*arguments: Any, **options: Any) -> Any:
        AccessToken.objects.update(revoked_at=timezone.now())
        return go_on(*arguments, **options)

    monkeypatch.setattr(check_module, moment, revoke_first)
    read_problem(post(registry, tag="v1.2.0"), 403)
    assert not LockedTag.objects.exists()
    assert not LockEvent.objects.filter(kind="tag.locked").exists()
