"""The workspaces, people and tags that the pages of `states.py` show: little, much, and nothing."""

from datetime import datetime, timedelta
from hashlib import sha256
from urllib.parse import urlsplit

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from containers.models import Manifest, Repository, RepositoryPrefix
from containers.models import Tag as TagRecord
from containers.names import MAX_REPOSITORY_LENGTH, MAX_TAG_LENGTH, Digest, RepositoryName, TagName
from containers.prefixes import add_prefix, create_workspace
from containers.registry.checkup import Finding, Outcome
from containers.registry_changes import add_registry, keep_findings
from immutability.actions.save_settings import save_container_settings
from immutability.models import Drift, Job, LockedTag
from immutability.policy.drafts import Draft
from immutability.policy.patterns import MAX_PATTERN_LENGTH
from immutability.policy.protection import (
    MAX_RULE_NAME_LENGTH,
    MAX_RULES_PER_WORKSPACE,
    LockState,
    PolicyException,
    PolicyRule,
    Protection,
)
from immutability.push.check import PushCheck, check_push
from immutability.push.plan import PushQuestion
from immutability.reading import read_policy
from tests.conftest import AA, BB, CC, SEMVER, make_member, protect_workspace
from tests.immutability.making import land, make_drift, make_lock, put_in_flight
from workspaces.access import SYSTEM, Actor, ActorKind, Role, Scope
from workspaces.actions.access_tokens import create_access_token
from workspaces.actions.archive import archive_workspace
from workspaces.actions.invitations import invite
from workspaces.actions.members import add_member
from workspaces.actions.passwords import make_password_link
from workspaces.actions.people import deactivate_person
from workspaces.log.append import Event, append_events
from workspaces.log.kinds import EventKind
from workspaces.log.models import LockEvent
from workspaces.log.seal import seal_events
from workspaces.mail import make_password_link_address
from workspaces.models import (
    MAX_INVITEE_LENGTH,
    MAX_NAME_LENGTH,
    MAX_USERNAME_LENGTH,
    AccessToken,
    GroupRole,
    Identity,
    Membership,
    Registry,
    User,
    Workspace,
)
from workspaces.single_sign_on.groups import save_group_role
from workspaces.single_sign_on.models import MAX_GROUP_LENGTH

LOCKS_OF_CROWD = 300
MEMBERS_OF_CROWD = 20
TOKENS_OF_CROWD = 12
REPOSITORIES_OF_CROWD = 20

_ALICE = Actor("alice", ActorKind.PERSON)
_DANA = Actor("dana", ActorKind.PERSON)
_RULES = (
    SEMVER,
    PolicyRule("Release candidates", r"^v\d+\.\d+\.\d+-rc\.\d+$"),
    PolicyRule("Production", "^prod-"),
)
_SEVEN_RULES = (
    *_RULES,
    PolicyRule("Calendar releases", r"^20\d\d\.\d\d"),
    PolicyRule("Staging", "^staging-"),
    PolicyRule("Hotfixes", "^hotfix-"),
    PolicyRule("Nightly builds", r"^nightly-\d{8}$"),
)
_ORCHARD = {
    "orchard/api": (
        *(f"v1.{number}.0" for number in range(14)),
        *(f"v2.0.0-rc.{number}" for number in range(1, 4)),
        *(f"nightly-202611{day}" for day in range(20, 29)),
        "prod-eu",
        "prod-us",
        "hotfix-login",
        "main",
        "latest",
    ),
    "orchard/web": ("2026.09", "2026.10", "2026.11", "staging-1", "main", "buildcache"),
    "orchard/worker": ("v1.0.0", "v1.1.0", "v1.2.0", "v1.3.0", "main"),
}


def make_world() -> dict[str, object]:
    """Make it, and return what the addresses of `states.py` name in braces.

    Acme has something of everything, Crowd as much as fits, and Fresh nothing. Orchard is in daily
    use, with seven rules. No setting covers the locks of Paused, and Vault has exceptions.
    Alice is admin of all, and Nina is in none. Sam is a site administrator.
    """
    acme = create_workspace("acme", "Acme", actor=SYSTEM)
    alice = make_member(acme, "alice", Role.ADMIN)
    bob = make_member(acme, "bob", Role.MEMBER)
    make_member(acme, "olga", Role.AUDITOR)
    User.objects.create_user("nina", "nina@example.org")
    User.objects.create_user("sam", is_superuser=True)
    carol = User.objects.create_user("carol")
    zoe = User.objects.create_user("zoe", is_active=False)
    Identity.objects.create(
        user=zoe, issuer="https://login.example.org", subject="1", is_paused=True
    )
    _fill_acme(acme)
    crowd = create_workspace("crowd", _stretch("Crowd", MAX_NAME_LENGTH), actor=SYSTEM)
    add_member(crowd, alice, Role.ADMIN, actor=SYSTEM)
    _fill_crowd(crowd)
    for prefix in ("library", "team/sub", "x" * MAX_REPOSITORY_LENGTH):
        add_prefix(crowd, prefix, actor=SYSTEM)
    save_group_role("/platform", None, None, actor=SYSTEM)
    save_group_role("g" * MAX_GROUP_LENGTH, crowd, Role.MEMBER, actor=SYSTEM)
    for slug, name in (
        ("fresh", "Fresh"),
        ("orchard", "Orchard"),
        ("paused", "Paused"),
        ("vault", "Vault"),
    ):
        add_member(create_workspace(slug, name, actor=SYSTEM), alice, Role.ADMIN, actor=SYSTEM)
    _fill_orchard(Workspace.objects.get(slug="orchard"))
    _fill_paused(Workspace.objects.get(slug="paused"))
    protect_workspace(
        Workspace.objects.get(slug="vault"), Protection.ALL, exceptions=_make_exceptions()
    )
    attic = create_workspace("attic", "Attic", actor=SYSTEM)
    add_member(attic, alice, Role.ADMIN, actor=SYSTEM)
    archive_workspace(attic, actor=SYSTEM, reason="The product is sold")
    deactivate_person(User.objects.create_user("gone"), actor=SYSTEM)
    _connect_another_registry()
    # In a second workspace, so that no admin of one alone may make a password link.
    add_member(crowd, bob, Role.MEMBER, actor=SYSTEM)
    add_member(acme, carol, Role.MEMBER, actor=SYSTEM)
    while seal_events():
        pass
    return _name_what_there_is(acme, alice)


def _connect_another_registry() -> None:
    """Connect a registry with a long address, which was found away, with a workspace at it."""
    url = f"http://127.0.0.1:1/{'path/' * 40}".rstrip("/")
    row = add_registry("harbor", url, "images.example.org", "tokens", "", actor=SYSTEM)
    found = Finding(Outcome.FAILED, "No connection: refused.", "Start the registry.", "Reach")
    keep_findings(row, [found])
    create_workspace("elsewhere", "Elsewhere", row, actor=SYSTEM)


def _name_what_there_is(acme: Workspace, alice: User) -> dict[str, object]:
    """Return the numbers and secrets that addresses have in them."""
    locks = {row.state: row.id for row in LockedTag.objects.filter(workspace=acme).order_by("-id")}
    members = dict(Membership.objects.filter(workspace=acme).values_list("user__username", "id"))
    events = {
        row.kind: row.ref for row in LockEvent.objects.filter(workspace="acme").order_by("id")
    }
    for_dana = invite(acme, "dana@example.org", Role.AUDITOR, inviter=alice, actor=_ALICE)
    path_of_link = urlsplit(
        make_password_link_address(*make_password_link(acme, members["carol"], actor=_ALICE))
    ).path
    return {
        **locks,
        "suspended": LockedTag.objects.get(workspace=acme, tag="latest").id,
        **members,
        "refused": events[EventKind.PUSH_REFUSED],
        "changed": events[EventKind.SETTINGS_CHANGED],
        "invitation": for_dana,
        "password_link": path_of_link,
        "token": AccessToken.objects.filter(workspace=acme).latest("id").id,
        "acme": acme.id,
        "alice": alice.id,
        "gone": User.objects.get(username="gone").id,
        "registry": Registry.objects.get().id,
        "group_role": GroupRole.objects.get(group="/platform").id,
        "prefix": RepositoryPrefix.objects.get(prefix="library").id,
        "long_repository": _long_repository(0),
        "long_tag": _long_tag(0),
        "today": f"{timezone.now():%Y-%m-%d}",
    }


def _fill_acme(acme: Workspace) -> None:
    protect_workspace(acme, Protection.SOME, *_RULES)
    for name in ("acme/api", "acme/web", "acme/tools/build"):
        Repository.objects.create(workspace=acme, name=name, is_public=name == "acme/web")
    for number in range(4):
        _push(acme, "acme/api", f"v1.{number}.0", AA)
    for tag in ("v1.2.0", "v1.2.0", "v1.3.0"):
        _push(acme, "acme/api", tag, BB)
    for number, state in enumerate(LockState):
        make_lock(acme, f"v2.0.{number}", state, BB, rule_name=SEMVER.name)
    put_in_flight(LockedTag.objects.get(workspace=acme, state="claimed"), write_is_external=True)
    make_lock(acme, "latest", digest=CC, repository="acme/web", rule_name="An earlier rule")
    land(acme, BB, "latest", timezone.now() - timedelta(days=3))
    for number, kind in enumerate(Drift.Kind):
        held = "reserved" if kind == Drift.Kind.RESERVED else "locked"
        lock = make_lock(acme, f"v3.{number}.0", held, repository="acme/tools/build")
        make_drift(lock, kind, is_gone=kind == Drift.Kind.MISSING, missing=CC, missing_count=3)
    counts = {"looked_at_count": 12, "left_out_count": 2, "left_out_repository": "acme/web"}
    now = timezone.now()
    Job.objects.create(workspace=acme, kind="drift", done_at=now, compared_at=now, **counts)
    create_access_token(acme, "ci", [Scope.PULL, Scope.PUSH], actor=_ALICE)
    create_access_token(acme, "registry", [Scope.REGISTRY], actor=_ALICE)
    create_access_token(acme, "auditors", [Scope.AUDIT], actor=_ALICE)
    limits = ["api-*", "team/**"]
    create_access_token(acme, "deploys", [Scope.PUSH_ONLY], actor=_ALICE, repositories=limits)


def _push(
    workspace: Workspace, repository: str, tag: str, digest: str, actor: Actor = _DANA
) -> None:
    """Let a registry ask about a push."""
    place = (workspace, RepositoryName(repository), (TagName(tag),), Digest(digest))
    check = PushCheck(PushQuestion(*place, is_check=True))
    check_push(check, actor=actor, registry=None)


def _fill_orchard(orchard: Workspace) -> None:
    _save(orchard, Protection.SOME, *_SEVEN_RULES[:3])
    _save(orchard, Protection.SOME, *_SEVEN_RULES)
    actors = (_DANA, Actor("ci", ActorKind.TOKEN), _ALICE)
    now = timezone.now()
    for repository, tags in _ORCHARD.items():
        for number, tag in enumerate(tags):
            actor = actors[number % len(actors)]
            _push(orchard, repository, tag, _digest(repository, tag), actor)
            _record(orchard, repository, tag, now - timedelta(hours=7 * (len(tags) - number)))
    _save(orchard, Protection.NONE, *_SEVEN_RULES)
    _save(orchard, Protection.SOME, *_SEVEN_RULES)
    # All of it was answered.
    TagRecord.objects.filter(workspace=orchard).update(stray_until=None, stray_digest="")
    Manifest.objects.filter(workspace=orchard).update(image_size=30_000_000 + F("id") * 412_000)
    for tag in ("v1.12.0", "v1.13.0", "v1.13.0", "prod-eu"):
        _push(orchard, "orchard/api", tag, _digest("another", tag))
    for hours in (50, 26, 2):
        at = now - timedelta(hours=hours)
        land(orchard, _digest("main", str(hours)), "main", at, repository="orchard/api")


def _save(workspace: Workspace, protection: Protection, *rules: PolicyRule) -> None:
    """Save settings, as alice."""
    save_container_settings(
        workspace,
        Draft(protection, rules),
        expected_version=read_policy(workspace).version,
        may_suspend_locks=True,
        actor=_ALICE,
    )


def _digest(*names: str) -> str:
    return f"sha256:{sha256(repr(names).encode()).hexdigest()}"


def _record(workspace: Workspace, repository: str, tag: str, at: datetime) -> None:
    """Let the inventory have a tag, pushed at a time."""
    digest = _digest(repository, tag)
    TagRecord.objects.update_or_create(
        workspace=workspace,
        repository=repository,
        name=tag,
        defaults={"digest": digest, "pushed_at": at, "shown_at": at},
    )
    land(workspace, digest, tag, at, repository=repository)


def _fill_paused(paused: Workspace) -> None:
    protect_workspace(paused, Protection.ALL)
    for number in range(12):
        _push(paused, "paused/api", f"v1.{number}.0", AA)
    protect_workspace(paused, Protection.NONE)


def _fill_crowd(crowd: Workspace) -> None:
    rules = [
        PolicyRule(
            _stretch(f"Rule {number}", MAX_RULE_NAME_LENGTH),
            f"^v{number}" + "[a-z.-]*" * ((MAX_PATTERN_LENGTH - 3) // 8),
        )
        for number in range(MAX_RULES_PER_WORKSPACE)
    ]
    protect_workspace(crowd, Protection.SOME, *rules)
    Repository.objects.bulk_create(
        Repository(workspace=crowd, name=_long_repository(number), is_public=number % 9 == 0)
        for number in range(REPOSITORIES_OF_CROWD)
    )
    for number in range(MEMBERS_OF_CROWD):
        name = _stretch(f"person-{number}", MAX_USERNAME_LENGTH, "-")
        add_member(crowd, User.objects.create_user(name), Role.MEMBER, actor=SYSTEM)
    for number in range(TOKENS_OF_CROWD):
        name = _stretch(f"pipeline {number}", MAX_NAME_LENGTH)
        create_access_token(crowd, name, list(Scope), actor=SYSTEM)
    AccessToken.objects.filter(workspace=crowd, name__contains="1").update(
        expires_at=timezone.now() - timedelta(days=1)
    )
    invitee = "x" * (MAX_INVITEE_LENGTH - len("@example.org")) + "@example.org"
    alice = User.objects.get(username="alice")
    invite(crowd, invitee, Role.AUDITOR, inviter=alice, actor=_ALICE)
    _lock_many(crowd, rules)


def _make_exceptions() -> tuple[PolicyException, ...]:
    return (
        *(PolicyException(f"Exception {number}", f"^{number}$") for number in range(5)),
        PolicyException("x" * MAX_RULE_NAME_LENGTH, f"({'a' * (MAX_PATTERN_LENGTH - 2)})"),
        PolicyException("Any", "v*"),
    )


def _lock_many(crowd: Workspace, rules: list[PolicyRule]) -> None:
    """Lock tags with the longest names that there can be, and let pushes of them be refused."""
    now = timezone.now()
    records = TagRecord.objects.bulk_create(
        TagRecord(
            workspace=crowd,
            repository=_long_repository(number % REPOSITORIES_OF_CROWD),
            name=_long_tag(number),
            digest=AA,
            shown_at=now,
        )
        for number in range(LOCKS_OF_CROWD)
    )
    pushed_by = _stretch("someone", MAX_USERNAME_LENGTH, "-")
    LockedTag.objects.bulk_create(
        LockedTag(
            workspace=crowd,
            record=record,
            repository=record.repository,
            tag=record.name,
            state=LockState.LOCKED,
            digest=AA,
            rule_name=rules[number % len(rules)].name,
            settings_version=1,
            pushed_by=pushed_by,
            pushed_by_kind=ActorKind.PERSON,
        )
        for number, record in enumerate(records)
    )
    events = [
        Event(
            EventKind.PUSH_REFUSED,
            crowd.slug,
            record.repository,
            record.name,
            digest=BB,
            other_digest=AA,
            rule_name=rules[0].name,
            rule_pattern=rules[0].pattern,
            settings_version=1,
        )
        for record in records
    ]
    with transaction.atomic():
        append_events(events, actor=Actor(pushed_by, ActorKind.PERSON))


def _stretch(text: str, length: int, between: str = " ") -> str:
    """Return a text of this length that begins with `text`, of words that can be broken."""
    return f"{text}{between}{f'rather{between}long{between}' * length}"[:length].rstrip()


def _long_repository(number: int) -> str:
    return _stretch(f"crowd/services-{number}", MAX_REPOSITORY_LENGTH, "-").rstrip("-")


def _long_tag(number: int) -> str:
    return f"v{number % MAX_RULES_PER_WORKSPACE}.{number}-".ljust(MAX_TAG_LENGTH, "n")
