"""The one line that a refused person reads, word for word."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from containers.names import Digest
from immutability.policy.messages import (
    LockFacts,
    describe_refused_delete,
    describe_refused_push,
    format_time,
    oci_error,
)
from immutability.policy.protection import Coverage, Outcome, PolicyRule, Why
from immutability.policy.waiting import (
    describe_delete_in_flight,
    describe_open_delete,
    describe_push_in_flight,
    describe_stray,
)
from immutability.refuse import relay_refused_push

LOCKED_DIGEST = Digest("sha256:" + "ab12cd34ef56" + "0" * 52)
PUSHED = Digest("sha256:" + "99ee" * 16)
LINK = "https://tags.example.org/acme/lock-log/7F3K2QX9M4TB"

FACTS = LockFacts(
    workspace="acme",
    repository="acme/api",
    tag="v1.2.0",
    digest=LOCKED_DIGEST,
    locked_at=datetime(2026, 3, 12, 14, 2, 59, tzinfo=UTC),
    coverage=Coverage(Why.RULE, PolicyRule("Release versions", r"^v\d")),
    pushed_by="dana",
)
DELETED = replace(FACTS, deleted_by="alice", deleted_at=datetime(2026, 4, 1, 9, 30, tzinfo=UTC))


def test_a_refused_push() -> None:
    assert describe_refused_push(Outcome.LOCKED, FACTS, PUSHED, LINK) == (
        'tag "v1.2.0" of acme/api cannot be overwritten because the tag is immutable: it is locked '
        'to sha256:ab12cd34ef56… since 2026-03-12 14:02 UTC by rule "Release versions" (pushed by '
        "dana). Your push was sha256:99ee99ee99ee…. Push a new tag, or ask an admin of acme. "
        f"{LINK}"
    )


def test_a_refused_push_where_all_tags_are_protected() -> None:
    facts = replace(FACTS, coverage=Coverage(Why.ALL_TAGS))
    assert describe_refused_push(Outcome.LOCKED, facts, PUSHED, LINK) == (
        'tag "v1.2.0" of acme/api cannot be overwritten because the tag is immutable: it is locked '
        "to sha256:ab12cd34ef56… since 2026-03-12 14:02 UTC because all tags are protected (pushed "
        "by dana). Your push was sha256:99ee99ee99ee…. Push a new tag, or ask an admin of acme. "
        f"{LINK}"
    )


def test_a_refused_push_of_a_tag_that_was_adopted() -> None:
    facts = replace(FACTS, pushed_by="", locked_at=None)
    assert describe_refused_push(Outcome.LOCKED, facts, PUSHED, LINK) == (
        'tag "v1.2.0" of acme/api cannot be overwritten because the tag is immutable: it is locked '
        'to sha256:ab12cd34ef56… by rule "Release versions". Your push was sha256:99ee99ee99ee…. '
        f"Push a new tag, or ask an admin of acme. {LINK}"
    )


def test_a_refused_identical_push() -> None:
    assert describe_refused_push(Outcome.LOCKED, FACTS, LOCKED_DIGEST, LINK) == (
        'tag "v1.2.0" of acme/api cannot be overwritten because the tag is immutable: it is locked '
        'to sha256:ab12cd34ef56… since 2026-03-12 14:02 UTC by rule "Release versions" (pushed by '
        "dana). Your push was the same image, and this workspace refuses identical pushes. Push a "
        f"new tag, or ask an admin of acme. {LINK}"
    )


def test_an_answer_to_somebody_who_has_no_image_yet() -> None:
    assert describe_refused_push(Outcome.LOCKED, FACTS, None) == (
        'tag "v1.2.0" of acme/api cannot be overwritten because the tag is immutable: it is locked '
        'to sha256:ab12cd34ef56… since 2026-03-12 14:02 UTC by rule "Release versions" (pushed by '
        "dana). Push a new tag, or ask an admin of acme."
    )


def test_what_covers_the_tag_is_left_out_where_it_is_not_told() -> None:
    line = describe_refused_push(Outcome.LOCKED, replace(FACTS, coverage=None), PUSHED)
    assert "since 2026-03-12 14:02 UTC (pushed by dana). Your push" in line


def test_a_reserved_name_says_who_deleted_it_and_what_to_do() -> None:
    assert describe_refused_push(Outcome.RESERVED, DELETED, PUSHED, LINK) == (
        'tag "v1.2.0" of acme/api was deleted by an admin (alice) on 2026-04-01 09:30 UTC, and its '
        "name is reserved for the image that it had, sha256:ab12cd34ef56…. Your push was "
        "sha256:99ee99ee99ee…. Push that image, push a new tag, or ask an admin of acme to free "
        f"the name under Locked tags. {LINK}"
    )


def test_a_reserved_name_to_somebody_who_has_no_image_yet() -> None:
    assert describe_refused_push(Outcome.RESERVED, DELETED, None) == (
        'tag "v1.2.0" of acme/api was deleted by an admin (alice) on 2026-04-01 09:30 UTC, and its '
        "name is reserved for the image that it had, sha256:ab12cd34ef56…. Push that image, push a "
        "new tag, or ask an admin of acme to free the name under Locked tags."
    )


def test_a_reserved_name_of_which_nobody_knows_who_deleted_it() -> None:
    assert describe_refused_push(Outcome.RESERVED, FACTS, PUSHED).startswith(
        'tag "v1.2.0" of acme/api was deleted by an admin, and its name is reserved for the image '
        "that it had, sha256:ab12cd34ef56…. "
    )


def test_a_refused_delete() -> None:
    assert describe_refused_delete(FACTS, LINK) == (
        'tag "v1.2.0" of acme/api cannot be deleted because the tag is immutable: it is locked to '
        'sha256:ab12cd34ef56… since 2026-03-12 14:02 UTC by rule "Release versions" (pushed by '
        f"dana). Only admins of acme can delete it. {LINK}"
    )
    assert describe_refused_delete(FACTS).endswith("Only admins of acme can delete it.")


NOW = datetime(2026, 3, 12, 14, 2, 59, tzinfo=UTC)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            describe_push_in_flight("acme/api", "v1.2.0", LOCKED_DIGEST.short),
            'tag "v1.2.0" of acme/api is being pushed right now, as sha256:ab12cd34ef56…. '
            "Try again in 10 seconds.",
        ),
        (
            describe_delete_in_flight("acme/api", "v1.2.0"),
            'tag "v1.2.0" of acme/api is being deleted right now. Try again in 10 seconds.',
        ),
        (
            describe_stray("acme/api", "v1.2.0", NOW + timedelta(minutes=7), NOW),
            'an earlier write of tag "v1.2.0" of acme/api got no answer from the registry and may '
            "still land. Try again in 7 minutes, at 14:09:59 UTC.",
        ),
        (
            describe_open_delete("acme/api", NOW + timedelta(seconds=61), NOW),
            "a manifest of acme/api that this needs is being deleted, or may still be. Try again "
            "in 2 minutes, at 14:04:00 UTC.",
        ),
        (
            describe_open_delete("acme/api", None, NOW),
            "a manifest of acme/api that this needs is being deleted, or may still be. Try again "
            "in 10 seconds.",
        ),
    ],
)
def test_what_has_to_wait_is_told_what_for_and_how_long(line: str, expected: str) -> None:
    assert line == expected


@pytest.mark.parametrize("pushed", [PUSHED, LOCKED_DIGEST, None])
def test_the_words_that_tools_match_are_in_every_refusal_of_a_locked_tag(
    pushed: Digest | None,
) -> None:
    line = describe_refused_push(Outcome.LOCKED, FACTS, pushed, LINK)
    assert "cannot be overwritten because the tag is immutable" in line


# What tools take for "is there already": a pipeline would end well, without an image.
TAKEN_FOR_THERE = ("immutable", "overwrit", "already", "exist")


@pytest.mark.parametrize("pushed", [PUSHED, LOCKED_DIGEST, None])
@pytest.mark.parametrize("facts", [DELETED, FACTS])
def test_no_refusal_of_a_reserved_name_says_that_it_is_there(
    pushed: Digest | None, facts: LockFacts
) -> None:
    refusal = relay_refused_push(Outcome.RESERVED, facts, pushed, "7F3K2QX9M4TB")
    body = json.dumps(refusal.body).lower()
    assert [word for word in TAKEN_FOR_THERE if word in body] == []
    assert refusal.status == 403
    assert refusal.body["errors"][0]["detail"]["reason"] == "TAG_RESERVED"


@pytest.mark.parametrize("outcome", [Outcome.LOCKED, Outcome.RESERVED])
def test_a_refusal_is_one_line_that_ends_with_the_link(outcome: Outcome) -> None:
    line = describe_refused_push(outcome, DELETED, PUSHED, LINK)
    assert line.isprintable()
    assert line.endswith(f" {LINK}")
    assert "  " not in line


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 3, 12, 14, 2, 59, tzinfo=UTC), "2026-03-12 14:02 UTC"),
        (
            datetime(2026, 3, 13, 0, 2, tzinfo=timezone(timedelta(hours=10))),
            "2026-03-12 14:02 UTC",
        ),
    ],
)
def test_times_are_in_utc_to_the_minute(moment: datetime, text: str) -> None:
    assert format_time(moment) == text


def test_the_body_is_that_of_an_oci_error() -> None:
    assert oci_error("DENIED", "no", {"reason": "TAG_IMMUTABLE"}) == {
        "errors": [{"code": "DENIED", "message": "no", "detail": {"reason": "TAG_IMMUTABLE"}}]
    }
