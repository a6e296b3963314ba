"""What each kind of event says happened: a table that has every kind."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.conftest import AA, BB
from workspaces.log.kinds import EventKind
from workspaces.log.sentences.pieces import Style
from workspaces.log.sentences.settings import find_turn
from workspaces.log.sentences.tags import tell_locked_together
from workspaces.log.sentences.tell import tell

RULES = [{"name": "Releases", "pattern": "^v"}]
EXCEPTIONS = [
    {"name": "Latest", "pattern": "^latest$"},
    {"name": "Caches", "pattern": "^buildcache"},
]


@dataclass(frozen=True)
class Happening:
    """An event of acme/api:v1.2.0, by bob."""

    kind: str
    repository: str = "acme/api"
    tag: str = "v1.2.0"
    digest: str = AA
    other_digest: str = ""
    actor: str = "bob"
    actor_kind: str = "person"
    rule_name: str = ""
    settings_version: int | None = None
    reason: str = ""
    details: dict[str, Any] | None = field(default=None)


def saved(before: Any, after: Any, *rules: Any, **details: Any) -> dict[str, Any]:
    """Return the details of a save."""
    return {
        "before": {"protection": before, "rules": RULES},
        "after": {"protection": after, "rules": list(rules) or RULES},
        **details,
    }


def repeated(kind: str, count: int = 3) -> dict[str, Any]:
    return {"count": count, "kind": kind, "event": "0" * 12, "actor": "bob"}


REGISTRY = {"actor": "dana", "actor_kind": "registry"}
SYSTEM = {"actor": "taglock", "actor_kind": "system"}
CI = {"actor": "ci", "actor_kind": "token"}
MEMBER = {"member": "dana"}
OWN = {"member": "bob"}

# Kind, fields, the sentence, the note below it, and the reason in a person's words.
TABLE: list[tuple[EventKind, dict[str, Any], str, str, str]] = [
    (EventKind.TAG_LOCKED, {}, "bob pushed and locked acme/api:v1.2.0", "", ""),
    (
        EventKind.TAG_LOCKED,
        {**CI, "rule_name": "Releases"},
        'token "ci" pushed and locked acme/api:v1.2.0',
        "By rule Releases",
        "",
    ),
    (
        EventKind.TAG_LOCKED,
        {"reason": "the image of the reserved name came back"},
        "acme/api:v1.2.0 is locked again: the image of the reserved name came back",
        "",
        "",
    ),
    (
        EventKind.TAG_ADOPTED,
        SYSTEM,
        "Taglock locked acme/api:v1.2.0, which the registry already had",
        "",
        "",
    ),
    (
        EventKind.TAG_DELETED,
        {"reason": "Wrong branch"},
        "bob deleted acme/api:v1.2.0, the name stays reserved",
        "",
        "Wrong branch",
    ),
    (
        EventKind.TAG_DELETED,
        {**REGISTRY, "reason": "deleted through the registry"},
        "dana via the registry deleted acme/api:v1.2.0, the name stays reserved",
        "Deleted through the registry",
        "",
    ),
    (
        EventKind.TAG_DELETED,
        {"reason": "deleted through the registry"},
        "bob deleted acme/api:v1.2.0, the name stays reserved",
        "Deleted through the registry",
        "",
    ),
    (
        EventKind.PUSH_REFUSED,
        {"other_digest": BB, "reason": "the tag is locked", "rule_name": "Releases"},
        "bob’s push of acme/api:v1.2.0 was refused",
        "Locked by Releases",
        "",
    ),
    (
        EventKind.PUSH_REFUSED,
        {"other_digest": BB, "reason": "the tag is locked"},
        "bob’s push of acme/api:v1.2.0 was refused",
        "The tag is locked",
        "",
    ),
    (
        EventKind.PUSH_REFUSED,
        {"other_digest": AA, "reason": "the tag is locked", "rule_name": "Releases"},
        "bob’s push of acme/api:v1.2.0 was refused",
        "The same image again: this workspace refuses identical pushes",
        "",
    ),
    (
        EventKind.PUSH_REFUSED,
        {**CI, "other_digest": BB, "reason": "the name is reserved"},
        'token "ci"’s push of acme/api:v1.2.0 was refused',
        "The tag was deleted and its name is reserved",
        "",
    ),
    (
        EventKind.PUSH_IDENTICAL,
        {},
        "bob pushed acme/api:v1.2.0 again",
        "The same image: nothing changed",
        "",
    ),
    (
        EventKind.DELETE_REFUSED,
        {"reason": "only admins may delete a locked tag"},
        "bob’s delete of acme/api:v1.2.0 was refused",
        "Only admins may delete a locked tag",
        "",
    ),
    (
        EventKind.DELETE_REFUSED,
        {"other_digest": BB, "reason": "the index of a locked tag lists it"},
        "bob’s delete of an image that acme/api:v1.2.0 lists was refused",
        "",
        "",
    ),
    (
        EventKind.LOCK_ENDED,
        {"reason": "another image was pushed while the tag was not protected"},
        "The lock of acme/api:v1.2.0 ended: another image was pushed while the tag was not "
        "protected",
        "By bob",
        "",
    ),
    (EventKind.LOCK_ENDED, SYSTEM, "The lock of acme/api:v1.2.0 ended", "", ""),
    (
        EventKind.LOCK_RELEASED,
        {"reason": "A rebuild"},
        "bob released acme/api:v1.2.0, its next push can bring another image",
        "",
        "A rebuild",
    ),
    (
        EventKind.LOCK_FREED,
        {"reason": "A rebuild"},
        "bob freed the name acme/api:v1.2.0, any image can be pushed",
        "",
        "A rebuild",
    ),
    (
        EventKind.CLAIM_DROPPED,
        {"reason": "Stuck"},
        "bob dropped the claim of acme/api:v1.2.0",
        "",
        "Stuck",
    ),
    (
        EventKind.DRIFT_FOUND,
        {**SYSTEM, "reason": "locked to aa, and the registry has bb"},
        "acme/api:v1.2.0 differs from the registry",
        "Locked to aa, and the registry has bb",
        "",
    ),
    (
        EventKind.DRIFT_REPAIRED,
        SYSTEM,
        "Taglock put acme/api:v1.2.0 back to its locked image",
        "",
        "",
    ),
    (
        EventKind.DRIFT_REPAIRED,
        {**SYSTEM, "reason": "the registry shows the locked image"},
        "acme/api:v1.2.0 is as it was locked again",
        "The registry shows the locked image",
        "",
    ),
    (
        EventKind.REPEATS_COUNTED,
        {"details": repeated("push.refused")},
        "The push of acme/api:v1.2.0 was refused 3 more times within the hour",
        "",
        "",
    ),
    (
        EventKind.REPEATS_COUNTED,
        {"details": repeated("push.identical", 1)},
        "The same image of acme/api:v1.2.0 was pushed 1 more time within the hour",
        "",
        "",
    ),
    (
        EventKind.REPEATS_COUNTED,
        {"details": repeated("delete.refused")},
        "The delete of acme/api:v1.2.0 was refused 3 more times within the hour",
        "",
        "",
    ),
    (
        EventKind.REPEATS_COUNTED,
        {"details": repeated("drift.found")},
        "acme/api:v1.2.0 was found to differ from the registry 3 more times within the hour",
        "",
        "",
    ),
    (
        EventKind.REPEATS_COUNTED,
        {},
        "acme/api:v1.2.0 happened again 0 more times within the hour",
        "",
        "",
    ),
    (
        EventKind.SETTINGS_CHANGED,
        {"details": saved("some", "none", locks_suspended=290, locks_resumed=0)},
        "bob turned protection off: Some tags → No tags, 290 locks suspended",
        "",
        "",
    ),
    (
        EventKind.SETTINGS_CHANGED,
        {"details": saved("none", "all", locks_suspended=0, locks_resumed=1)},
        "bob turned protection on: No tags → All tags, 1 lock holds again",
        "",
        "",
    ),
    (
        EventKind.SETTINGS_CHANGED,
        {"details": saved("all", "some", {"name": "Prod", "pattern": "prod"}, locks_suspended=1)},
        "bob changed what is protected: All tags → Some tags, 1 lock suspended",
        "Also changed the rules (1 added, 1 removed)",
        "",
    ),
    (
        EventKind.SETTINGS_CHANGED,
        {"details": saved("some", "some", *RULES, {"name": "Prod", "pattern": "prod"})},
        "bob added the rule Prod",
        "",
        "",
    ),
    (
        EventKind.SETTINGS_CHANGED,
        {"details": saved("some", "some", {"name": "Releases", "pattern": "^v1"})},
        "bob changed the rule Releases",
        "",
        "",
    ),
    (
        EventKind.SETTINGS_CHANGED,
        {"details": saved("some", "some", locks_suspended=2, locks_resumed=3)},
        "bob changed the container settings, 2 locks suspended, 3 locks hold again",
        "",
        "",
    ),
    (EventKind.SETTINGS_CHANGED, {}, "bob changed the container settings", "", ""),
    (
        EventKind.SETTINGS_CHANGED,
        {
            "details": {
                "before": {"protection": "all", "rules": [], "exceptions": []},
                "after": {"protection": "all", "rules": RULES, "exceptions": EXCEPTIONS},
            }
        },
        "bob added the rule Releases and changed the exceptions (2 added)",
        "",
        "",
    ),
    (
        EventKind.SETTINGS_CHANGED,
        {
            "details": {
                "before": {"protection": "some", "rules": RULES, "exceptions": EXCEPTIONS},
                "after": {"protection": "all", "rules": RULES, "exceptions": EXCEPTIONS[:1]},
            }
        },
        "bob changed what is protected: Some tags → All tags",
        "Also removed the exception Caches",
        "",
    ),
    (
        EventKind.SETTINGS_CHANGED,
        {
            "details": {
                "before": {"protection": "all", "exceptions": EXCEPTIONS},
                "after": {"protection": "all", "exceptions": EXCEPTIONS[::-1]},
            }
        },
        "bob reordered the exceptions",
        "",
        "",
    ),
    (
        EventKind.SETTINGS_COUNTED,
        {
            **SYSTEM,
            "settings_version": 4,
            "details": {"locks_suspended": 1200, "locks_resumed": 0},
        },
        "The change to version 4 suspended 1,200 locks and brought back 0",
        "",
        "",
    ),
    (
        EventKind.WORKSPACE_CREATED,
        {"details": {"name": "Acme"}},
        "bob created the workspace Acme",
        "",
        "",
    ),
    (
        EventKind.GROUP_ROLE_SET,
        {"details": {"group": "/eng", "role": "member"}},
        "The group /eng at the identity provider gives the role member",
        "By bob",
        "",
    ),
    (
        EventKind.GROUP_ROLE_REMOVED,
        {"details": {"group": "/ops", "role": ""}},
        "The group /ops at the identity provider no longer gives the administration of the site",
        "By bob",
        "",
    ),
    (
        EventKind.MEMBER_ADDED,
        {"details": {**MEMBER, "after": "auditor"}},
        "bob added dana as auditor",
        "",
        "",
    ),
    (
        EventKind.MEMBER_ADDED,
        {"details": {**OWN, "after": "member", "invited_by": "alice"}},
        "bob joined as member",
        "Invited by alice",
        "",
    ),
    (
        EventKind.MEMBER_CHANGED,
        {"details": {**MEMBER, "before": "member", "after": "admin"}},
        "bob changed the role of dana from member to admin",
        "",
        "",
    ),
    (
        EventKind.MEMBER_REMOVED,
        {"details": {**MEMBER, "before": "admin"}},
        "bob removed dana, who was an admin",
        "",
        "",
    ),
    (EventKind.MEMBER_REMOVED, {"details": OWN}, "bob left the workspace", "", ""),
    (
        EventKind.INVITATION_MADE,
        {"details": {"invitee": "dana", "role": "member"}},
        "bob invited dana as member",
        "",
        "",
    ),
    (
        EventKind.INVITATION_WITHDRAWN,
        {"details": {"invitee": "dana"}},
        "bob withdrew the invitation of dana",
        "",
        "",
    ),
    (EventKind.PASSWORD_CHANGED, {"details": MEMBER}, "bob set the password of dana", "", ""),
    (EventKind.PASSWORD_CHANGED, {"details": OWN}, "bob changed their password", "", ""),
    (
        EventKind.PASSWORD_LINK_MADE,
        {"details": MEMBER},
        "bob made a password link for dana",
        "",
        "",
    ),
    (
        EventKind.EMAIL_CHANGED,
        {"details": MEMBER},
        "bob changed the e-mail address of dana",
        "",
        "",
    ),
    (EventKind.EMAIL_CHANGED, {"details": OWN}, "bob changed their e-mail address", "", ""),
    (
        EventKind.ACCOUNT_LINKED,
        {"details": {**MEMBER, "account": "ada"}},
        "bob linked the registry account ada to dana",
        "",
        "",
    ),
    (
        EventKind.ACCOUNT_UNLINKED,
        {"details": {**MEMBER, "account": "ada"}},
        "bob unlinked the registry account ada from dana",
        "",
        "",
    ),
    (
        EventKind.ACCOUNT_PAUSED,
        {**SYSTEM, "details": MEMBER},
        "Taglock paused the account of dana",
        "The identity provider no longer vouches for them",
        "",
    ),
    (
        EventKind.ACCOUNT_RESUMED,
        {**SYSTEM, "details": MEMBER},
        "Taglock resumed the account of dana",
        "They signed in at the identity provider again",
        "",
    ),
    (
        EventKind.SIGN_ON_LINKED,
        {"details": MEMBER},
        "bob linked the account of dana to single sign-on",
        "",
        "",
    ),
    (
        EventKind.SIGN_ON_LINKED,
        {"details": OWN},
        "bob linked their account to single sign-on",
        "",
        "",
    ),
    (
        EventKind.SIGN_ON_UNLINKED,
        {"details": MEMBER},
        "bob unlinked the account of dana from single sign-on",
        "",
        "",
    ),
    (
        EventKind.PERSONAL_TOKEN_CREATED,
        {"details": {**OWN, "token": "laptop"}},
        "bob created the personal access token laptop",
        "",
        "",
    ),
    (
        EventKind.PERSONAL_TOKEN_REVOKED,
        {"details": {**OWN, "token": "laptop"}},
        "bob revoked the personal access token laptop",
        "",
        "",
    ),
    (
        EventKind.PERSON_DEACTIVATED,
        {"details": MEMBER, "reason": "She left"},
        "bob deactivated dana, who can’t use Taglock any more",
        "",
        "She left",
    ),
    (EventKind.PERSON_REACTIVATED, {"details": MEMBER}, "bob reactivated dana", "", ""),
    (
        EventKind.SITE_ADMIN_ADDED,
        {"details": MEMBER},
        "bob made dana a site administrator",
        "",
        "",
    ),
    (
        EventKind.SITE_ADMIN_REMOVED,
        {"details": MEMBER},
        "dana is no longer a site administrator",
        "By bob",
        "",
    ),
    (
        EventKind.WORKSPACE_ARCHIVED,
        {"reason": "The product is sold"},
        "bob archived the workspace: it can be read, and nothing in it changes",
        "",
        "The product is sold",
    ),
    (EventKind.WORKSPACE_UNARCHIVED, {}, "bob unarchived the workspace", "", ""),
    (
        EventKind.WORKSPACE_HANDED_OVER,
        {"details": MEMBER},
        "bob handed the workspace over to dana, as admin",
        "",
        "",
    ),
    (
        EventKind.TOKEN_CREATED,
        {"details": {"token": "ci", "scopes": ["push", "audit"]}},
        "bob created the access token ci",
        "Scopes: push, audit",
        "",
    ),
    (
        EventKind.TOKEN_REVOKED,
        {"details": {"token": "ci"}},
        "bob revoked the access token ci",
        "",
        "",
    ),
    (
        EventKind.REPOSITORY_PUBLISHED,
        {"tag": ""},
        "bob made acme/api public: anyone can pull from it",
        "",
        "",
    ),
    (EventKind.REPOSITORY_CLOSED, {"tag": ""}, "bob made acme/api private", "", ""),
    (
        EventKind.PREFIX_ADDED,
        {"details": {"prefix": "team"}},
        "bob gave this workspace the repositories under team",
        "",
        "",
    ),
    (
        EventKind.PREFIX_REMOVED,
        {"details": {"prefix": "team"}},
        "bob took from this workspace the prefix team",
        "Repositories that are known stay",
        "",
    ),
    (
        EventKind.REGISTRY_CHOSEN,
        {"details": {"registry": "harbor"}},
        "bob chose for this workspace the registry harbor",
        "",
        "",
    ),
    (
        EventKind.REGISTRY_CHOSEN,
        {"details": {"registry": ""}},
        "bob chose for this workspace the registry of REGISTRY_URL",
        "",
        "",
    ),
]


@pytest.mark.parametrize(("kind", "fields", "said", "note", "quoted"), TABLE)
def test_each_kind_says_what_happened(
    kind: EventKind, fields: dict[str, Any], said: str, note: str, quoted: str
) -> None:
    sentence = tell(Happening(kind, **fields))
    assert (str(sentence), sentence.note, sentence.quote) == (said, note, quoted)


def test_the_table_has_every_kind() -> None:
    assert {row[0] for row in TABLE} == set(EventKind)


@pytest.mark.parametrize(
    "details", [None, {}, {"before": 1, "after": [2], "count": "3", "member": 4, "scopes": "x"}]
)
def test_an_event_that_lacks_what_is_told_is_told_without_it(
    details: dict[str, Any] | None,
) -> None:
    for kind in EventKind:
        event = Happening(kind, "", "", "", actor="", actor_kind="system", details=details)
        assert str(tell(event)), kind


def test_a_tag_and_who_did_it_are_parts_of_their_own() -> None:
    sentence = tell(Happening(EventKind.PUSH_REFUSED))
    assert [(part.text, part.style) for part in sentence.parts] == [
        ("bob’s", Style.STRONG),
        (" push of ", Style.PLAIN),
        ("acme/api:v1.2.0", Style.TAG),
        (" was refused", Style.PLAIN),
    ]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (EventKind.TAG_LOCKED, "bob pushed and locked 6 tags of acme/api"),
        (EventKind.TAG_ADOPTED, "Taglock locked 6 tags that acme/api already had"),
    ],
)
def test_tags_that_were_locked_together_are_one_sentence(kind: EventKind, said: str) -> None:
    sentence = tell_locked_together(Happening(kind, rule_name="Releases"), 6)
    assert (str(sentence), sentence.note) == (said, "By rule Releases")


@pytest.mark.parametrize(
    ("before", "after", "turn"),
    [
        ("none", "some", True),
        ("none", "all", True),
        ("all", "none", False),
        ("some", "all", None),
        ("none", "none", None),
        ("none", 1, None),
    ],
)
def test_a_change_may_turn_protection_on_or_off(before: Any, after: Any, turn: Any) -> None:
    assert find_turn(Happening(EventKind.SETTINGS_CHANGED, details=saved(before, after))) is turn
    assert find_turn(Happening(EventKind.SETTINGS_COUNTED, details=saved(before, after))) is None
