"""check-delete over HTTP: what is read, who may ask, and what is answered."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.conf import settings
from django.db import transaction
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from containers.models import Tag as TagRecord
from immutability.actions.delete_tag import NameAfter, delete_locked_tag
from immutability.actions.hold import LockChange
from immutability.delete.plan import DeletePlan, hold_delete
from immutability.models import LockedTag, Rule
from immutability.policy.messages import format_time
from immutability.policy.protection import Policy, PolicyRule, Protection
from tests.conftest import AA, BB, CC, SEMVER, make_member, protect_workspace
from tests.immutability.api.conftest import Ask
from tests.immutability.making import make_lock
from tests.problems import Complaints, nothing_written, read_problem
from workspaces.access import SYSTEM, Role, Scope
from workspaces.actions.members import add_member
from workspaces.log.models import LockEvent
from workspaces.models import AccessToken, Membership, User, Workspace

Protect = Callable[..., Policy]
Lock = Callable[..., LockedTag]


@pytest.fixture(scope="module", autouse=True)
def kept_settings(kept_acme: Workspace) -> None:
    """Some tags of acme are protected, whose admin is Alice, and Bob a member."""
    make_member(kept_acme, "alice", Role.ADMIN)
    make_member(kept_acme, "bob", Role.MEMBER)
    protect_workspace(kept_acme, Protection.SOME, SEMVER)


def post(client: APIClient, **fields: Any) -> Any:
    asked = {"repository": "acme/api", **fields}
    return client.post("/api/v1/check-delete", asked, format="json")


@pytest.mark.parametrize(
    ("who", "name"),
    [
        ({"actor": "bob"}, "bob"),
        ({"actor": "olga"}, "olga"),
        ({"actor": "nobody"}, "nobody"),
        ({"actor": "Alice"}, "Alice"),
        ({"actor": "alice "}, "alice "),
        ({"actor": "mallory"}, "mallory"),
        ({}, "token registry"),
    ],
)
def test_only_an_admin_of_the_workspace_deletes_a_locked_tag(
    check_delete: Ask, lock: Lock, olga: User, mallory: User, who: dict[str, str], name: str
) -> None:
    row = lock("v1.2.0")
    answer = check_delete(tag="v1.2.0", **who)

    event = LockEvent.objects.get(kind="delete.refused")
    url = f"{settings.PUBLIC_URL}/acme/lock-log/{event.ref}"
    assert answer == {
        "allowed": False,
        "tags": [{"tag": "v1.2.0", "outcome": "locked", "locked_digest": AA}],
        "error": {
            "status": 403,
            "body": {
                "errors": [
                    {
                        "code": "DENIED",
                        "message": (
                            'tag "v1.2.0" of acme/api cannot be deleted because the tag is '
                            "immutable: it is locked to sha256:aaaaaaaaaaaa… since "
                            f'{format_time(row.locked_at)} by rule "Release versions" (pushed by '
                            f"dana via the registry). Only admins of acme can delete it. {url}"
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
                        },
                    }
                ]
            },
        },
    }
    assert event.actor == name


def _revoke() -> None:
    AccessToken.objects.update(revoked_at=timezone.now())


def _demote() -> None:
    Membership.objects.filter(user__username="alice").update(role=Role.MEMBER)


@pytest.mark.parametrize("take_away", [_revoke, _demote])
@pytest.mark.parametrize("target", [{"tag": "v1.2.0"}, {"digest": AA}])
def test_rights_that_are_taken_away_meanwhile_delete_nothing(
    registry: APIClient,
    lock: Lock,
    monkeypatch: pytest.MonkeyPatch,
    take_away: Callable[[], None],
    target: dict[str, str],
) -> None:
    """A look at the registry may take half a minute."""
    lock("v1.2.0")

    @contextmanager
    def take_away_first(*arguments: Any) -> Iterator[DeletePlan]:
        take_away()
        with hold_delete(*arguments) as plan:
            yield plan

    monkeypatch.setattr("immutability.delete.check.hold_delete", take_away_first)
    read_problem(post(registry, actor="alice", **target), 403)
    assert LockedTag.objects.get().state == "locked"
    assert not LockEvent.objects.filter(kind="tag.deleted").exists()


def test_an_admins_delete_leaves_the_name_reserved(check_delete: Ask, lock: Lock) -> None:
    row = lock("v1.2.0")
    with nothing_written():
        foreseen = check_delete(tag="v1.2.0", actor="alice", dry_run=True)
    answer = check_delete(tag="v1.2.0", actor="alice")
    assert answer == foreseen
    assert answer == {
        "allowed": True,
        "tags": [{"tag": "v1.2.0", "outcome": "deleted", "locked_digest": AA}],
        "error": None,
    }
    row.refresh_from_db()
    assert (row.state, row.digest, row.deleted_by) == ("reserved", AA, "alice")
    event = LockEvent.objects.get(kind="tag.deleted")
    assert (event.actor, event.actor_kind, event.digest) == ("alice", "registry", AA)
    again = check_delete(tag="v1.2.0", actor="alice")
    assert again["tags"] == [{"tag": "v1.2.0", "outcome": "not_locked", "locked_digest": None}]


def test_somebody_who_is_no_admin_any_more_deletes_nothing(
    check_delete: Ask, lock: Lock, alice: User, acme: Workspace
) -> None:
    lock("v1.2.0")
    add_member(acme, User.objects.create_user("zoe"), Role.ADMIN, actor=SYSTEM)
    add_member(acme, alice, Role.MEMBER, actor=SYSTEM)
    assert check_delete(tag="v1.2.0", actor="alice")["allowed"] is False
    zoe = User.objects.get(username="zoe")
    zoe.is_active = False
    zoe.save()
    assert check_delete(tag="v1.2.0", actor="zoe")["allowed"] is False


def test_a_delete_by_digest_names_every_tag_that_it_takes(check_delete: Ask, lock: Lock) -> None:
    for tag, digest in (("v1.2.1", AA), ("v1.2.0", AA), ("v2.0.0", BB)):
        lock(tag, digest)
    answer = check_delete(digest=AA, actor="bob")
    assert answer["allowed"] is False
    assert answer["tags"] == [
        {"tag": "v1.2.0", "outcome": "locked", "locked_digest": AA},
        {"tag": "v1.2.1", "outcome": "locked", "locked_digest": AA},
    ]
    assert answer["error"]["body"]["errors"][0]["detail"]["tag"] == "v1.2.0"
    answer = check_delete(digest=AA, actor="alice")
    assert [(each["tag"], each["outcome"]) for each in answer["tags"]] == [
        ("v1.2.0", "deleted"),
        ("v1.2.1", "deleted"),
    ]
    states = dict(LockedTag.objects.values_list("tag", "state"))
    assert states == {"v1.2.0": "reserved", "v1.2.1": "reserved", "v2.0.0": "locked"}


def test_a_digest_that_nothing_points_at_may_go(check_delete: Ask) -> None:
    assert check_delete(digest=BB) == {"allowed": True, "tags": [], "error": None}


def test_a_suspended_lock_ends_with_its_tag(
    check_delete: Ask, lock: Lock, acme: Workspace, protect: Protect
) -> None:
    lock("v1.2.0")
    protect(acme, Protection.NONE)
    answer = check_delete(tag="v1.2.0", actor="bob")
    assert answer["tags"] == [{"tag": "v1.2.0", "outcome": "suspended", "locked_digest": AA}]
    assert not LockedTag.objects.exists()
    assert LockEvent.objects.filter(kind="lock.ended", digest=AA).count() == 1


@pytest.mark.parametrize("who", ["alice", "bob"])
def test_a_tag_that_is_being_pushed_is_deleted_by_no_one(
    check_delete: Ask, check_push: Ask, who: str
) -> None:
    check_push("v1.2.0", two_phase=True)
    with nothing_written():
        answer = check_delete(tag="v1.2.0", actor=who)
    assert (answer["allowed"], answer["tags"][0]["outcome"]) == (False, "claim_pending")
    assert answer["error"]["status"] == 503
    assert answer["error"]["headers"] == {"Retry-After": "10"}
    assert answer["error"]["body"]["errors"][0]["code"] == "UNAVAILABLE"


def test_a_rule_that_cannot_be_evaluated_refuses_the_delete(
    registry: APIClient, lock: Lock
) -> None:
    lock("v1.2.0")
    Rule.objects.update(pattern="(")
    with nothing_written():
        for who in ("alice", "bob"):
            read_problem(post(registry, tag="v1.2.0", actor=who), 503, "undecided")


def test_a_token_that_may_only_ask_is_told_about_dry_run(
    acme: Workspace, api_as: Callable[..., APIClient]
) -> None:
    client = api_as(acme, Scope.PUSH)
    with nothing_written():
        response = post(client, tag="v1.2.0")
        assert "dry_run" in read_problem(response, 403, "forbidden")["detail"]
        assert post(client, tag="v1.2.0", dry_run=True).json()["allowed"] is True


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({}, "#/tag"),
        ({"tag": "v1", "digest": AA}, "#/tag"),
        ({"tag": "v1", "dryrun": True}, "#/dryrun"),
        ({"tags": ["v1"]}, "#/tags"),
    ],
)
def test_questions_that_do_not_add_up_are_refused(
    registry: APIClient, fields: dict[str, object], pointer: str
) -> None:
    with nothing_written():
        response = post(registry, **fields)
    assert read_problem(response, 400, "invalid")["errors"][0]["pointer"] == pointer


# Dry runs.


def without_event(answer: dict[str, Any]) -> dict[str, Any]:
    """Return an answer without the event, which a dry run does not record."""
    if answer["error"]:
        error = answer["error"]["body"]["errors"][0]
        url = error["detail"].pop("url", None)
        error["detail"].pop("event", None)
        error["message"] = error["message"].removesuffix(f" {url}")
    return answer


@pytest.fixture
def every_kind(check_push: Ask, lock: Lock, acme: Workspace, protect: Protect) -> None:
    """A tag in each state, one that is known and not locked yet, and a digest with some of them."""
    protect(acme, Protection.NONE)
    check_push("v9.0.0", AA)
    # Its caller has written it long ago.
    TagRecord.objects.filter(name="v9.0.0").update(stray_until=None, stray_digest="")
    protect(acme, Protection.SOME, SEMVER, PolicyRule("Betas", "^beta$"))
    for tag in ("v1.0.0", "v1.0.1", "beta"):
        lock(tag)
    lock("v2.0.0", BB)
    check_push("feature-x", CC)
    check_push("v3.0.0", CC, two_phase=True)
    protect(acme, Protection.SOME, SEMVER)
    change = LockChange(acme, lock("v4.0.0", CC).id, "why", SYSTEM)
    delete_locked_tag(change, NameAfter.RESERVE, None)
    make_lock(acme, "v5.0.0", "released", digest=BB)


TARGETS = [
    *({"tag": f"v{number}.0.0"} for number in (1, 2, 3, 4, 5, 8, 9)),
    {"tag": "beta"},
    {"tag": "feature-x"},
    *({"digest": digest} for digest in (AA, BB, CC)),
]


@pytest.mark.parametrize("who", ["alice", "bob", "nobody"])
def test_a_dry_run_says_what_the_check_will_say_and_changes_nothing(
    check_delete: Ask, every_kind: None, who: str
) -> None:
    complaints = Complaints()
    for target in TARGETS:
        with complaints.about(target), transaction.atomic():
            compare_dry_run(check_delete, target, who)
            transaction.set_rollback(True)
    assert not complaints


def compare_dry_run(check_delete: Ask, target: dict[str, str], who: str) -> None:
    with nothing_written():
        told = check_delete(**target, actor=who, dry_run=True)
    if told["error"] and told["error"]["status"] == 403:
        detail = told["error"]["body"]["errors"][0]["detail"]
        assert (detail["event"], detail["url"]) == (None, None)
    done = without_event(check_delete(**target, actor=who))
    if done["error"] and target in ({"tag": "v9.0.0"}, {"digest": AA}):
        # The check has locked it since, and says when.
        since = done["error"]["body"]["errors"][0]["detail"]
        assert (told["allowed"], told["tags"]) == (done["allowed"], done["tags"])
        assert since["reason"] == "TAG_IMMUTABLE"
    else:
        assert without_event(told) == done


@pytest.mark.parametrize("who", ["alice", "bob", "olga"])
def test_anybody_in_the_workspace_may_ask_in_a_dry_run(
    lock: Lock, sign_in: Callable[[User], Client], olga: User, who: str
) -> None:
    lock("v1.2.0")
    client = sign_in(User.objects.get(username=who))
    asked = {"repository": "acme/api", "tag": "v1.2.0"}
    with nothing_written():
        for dry_run, status in ((True, 200), (False, 403)):
            body = {**asked, "dry_run": dry_run}
            response = client.post("/api/v1/check-delete", body, content_type="application/json")
            assert response.status_code == status
