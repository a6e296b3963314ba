"""An event's own page, where the link in a refusal leads."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.db import transaction
from django.test import Client

from containers.names import parse_tag
from immutability.actions import save_settings
from immutability.actions.save_settings import save_container_settings
from immutability.answers import Refusal
from immutability.policy.drafts import Draft
from immutability.policy.protection import Policy, PolicyRule, Protection
from immutability.push.gate import push_manifest
from immutability.reconcile.counts import run_counts
from tests.conftest import AA, CACHES, LATEST, SEMVER, make_member
from tests.immutability.core import Core
from tests.immutability.making import make_lock
from tests.immutability.registry_double import RegistryDouble, digest_of, image
from tests.page import Browser, Page
from workspaces.access import SYSTEM, Actor, ActorKind, Origin, Role, Scope
from workspaces.actions.access_tokens import create_access_token
from workspaces.actions.members import add_member
from workspaces.log.append import Event, append_events
from workspaces.log.kinds import TAG_EVENT_KINDS, EventKind
from workspaces.log.models import EventRepeat, EventSeal, LockEvent
from workspaces.log.seal import seal_events
from workspaces.log.sentences.tell import tell
from workspaces.models import User, Workspace
from workspaces.pages import lock_log

LOG = "/acme/lock-log/"
ONE, TWO = image("one"), image("two")
DANA = Actor("dana", ActorKind.REGISTRY, Origin("192.0.2.7", "docker/28.0 <b>"))


def record(event: Event, actor: Actor = DANA) -> LockEvent:
    """Append an event."""
    with transaction.atomic():
        return append_events([event], actor=actor)[0]


def open_latest(browser: Browser, kind: EventKind) -> Page:
    """Open the page of the latest event of a kind."""
    event = LockEvent.objects.filter(workspace="acme", kind=kind).latest("id")
    return browser.open(f"{LOG}{event.ref}")


def changes_of(page: Page) -> dict[str, list[str]]:
    """Return what a settings event changed: before and after, by name."""
    return {name: values for name, *values in page.rows}


def rules_of(page: Page) -> list[str]:
    """Return what became of each rule, a line each."""
    return [line.text for line in page.main.find(class_="pattern-changes").find_all("li")]


@pytest.fixture
def protected(acme: Workspace, protect: Callable[..., Policy]) -> Workspace:
    """A workspace that protects release versions."""
    protect(acme, Protection.SOME, SEMVER)
    return acme


@pytest.fixture
def core(protected: Workspace, protect: Callable[..., Policy]) -> Core:
    """The same, before an empty registry."""
    return Core(protected, RegistryDouble(), protect)


@pytest.mark.parametrize("kind", EventKind)
def test_each_kind_has_a_page(acme: Workspace, admin: Browser, kind: EventKind) -> None:
    event = record(Event(kind, "acme", "acme/api", "v1", digest=AA, details={"count": 3}))
    page = admin.open(f"{LOG}{event.ref}")
    assert page.heading == str(tell(event))
    assert page.facts["Event"] == kind.label
    assert page.title.startswith(f"{kind.label} {event.ref}")
    assert page.facts["Reference"] == event.ref
    assert page.facts["Count"] == "3"
    assert page.find(class_="crumbs").find("a")["href"] == LOG


def test_an_event_is_shown_whole(acme: Workspace, member: Browser) -> None:
    event = record(
        Event(
            EventKind.LOCK_RELEASED,
            "acme",
            "acme/api",
            "v1.0.0",
            digest=AA,
            rule_name=SEMVER.name,
            rule_pattern=SEMVER.pattern,
            settings_version=4,
            reason="A fixed rebuild",
        )
    )
    event.refresh_from_db()
    page = member.open(f"{LOG}{event.ref}")
    assert page.heading == (
        "dana via the registry released acme/api:v1.0.0, its next push can bring another image"
    )
    assert page.facts == {
        "Reference": event.ref,
        "Time": f"{event.at:%Y-%m-%d %H:%M} UTC",
        "Event": "Lock released",
        "Tag": "acme/api:v1.0.0",
        "Digest": AA,
        "Actor": "dana via the registry",
        "Rule": f"{SEMVER.name} {SEMVER.pattern}",
        "Settings version": "4",
        "Reason": "A fixed rebuild",
        "Sealed": "not yet",
    }


def test_a_reference_may_be_typed_in_small_letters(acme: Workspace, member: Browser) -> None:
    event = record(Event(EventKind.TAG_LOCKED, "acme", "acme/api", "v1"))
    assert member.open(f"{LOG}{event.ref.lower()}").facts["Reference"] == event.ref


def test_a_tag_event_leads_to_everything_that_happened_to_the_tag(
    core: Core, member: Browser
) -> None:
    core.push("v1.0.0", "v1.0.1", image=ONE)
    core.push("v1.0.0", image=TWO)
    open_latest(member, EventKind.PUSH_REFUSED)
    page = member.follow("Everything that happened to this tag")
    said = [each.text for each in page.main.find_all(class_="story-said")]
    assert said == [
        "dana’s push of acme/api:v1.0.0 was refused",
        "dana pushed and locked acme/api:v1.0.0",
    ]


# Refusals.


def refuse(core: Core) -> str:
    """Push another image under a locked tag; return the address that the refusal names."""
    core.push("v1.0.0", image=ONE)
    registry: Any = core.registry
    push = core.make_push("v1.0.0", image=TWO)
    refusal = push_manifest(push, registry, core.slots, actor=DANA)
    assert isinstance(refusal, Refusal)
    link: str = refusal.body["errors"][0]["message"].split()[-1]
    assert link.startswith(f"{settings.PUBLIC_URL}/acme/lock-log/")
    return link.removeprefix(settings.PUBLIC_URL)


def test_the_link_in_a_refusal_opens_its_event_for_a_member(core: Core, member: Browser) -> None:
    page = member.open(refuse(core))
    assert page.heading == "dana via the registry’s push of acme/api:v1.0.0 was refused"
    assert "The tag still points to the image that it was locked to." in page.main.text
    assert page.facts["Locked to"].startswith(digest_of(ONE))
    assert page.facts["Pushed"].startswith(digest_of(TWO))
    assert page.facts["Rule"] == f"{SEMVER.name} {SEMVER.pattern}"


def test_a_refusal_says_what_to_do_next(core: Core, member: Browser) -> None:
    page = member.open(refuse(core))
    steps = page.main.find(class_="steps").find_all("li", class_=False)
    assert page.main.find_all("h2")[0].text == "What to do"
    host = urlsplit(settings.PUBLIC_URL).netloc
    assert page.main.find("pre").text == (
        f"docker tag {host}/acme/api:v1.0.0 {host}/acme/api:v1.0.1 "
        f"docker push {host}/acme/api:v1.0.1"
    )
    assert "Or ask an admin to release v1.0.0" in steps[1].text
    assert page.path in steps[1].find(class_="page-link").text


def test_a_refusal_names_the_admins_to_ask(
    core: Core, alice: User, olga: User, member: Browser
) -> None:
    make_member(core.workspace, "erik", Role.ADMIN)
    gone = make_member(core.workspace, "gone", Role.ADMIN)
    User.objects.filter(id=gone.id).update(is_active=False)
    page = member.open(refuse(core))
    names = page.main.find(aria_label="Admins of Acme").find_all("li")
    assert [name.text for name in names] == ["alice", "erik"]


def test_so_many_admins_are_named_and_no_more(
    core: Core, member: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_log, "MAX_ADMINS_NAMED", 2)
    for name in ("a", "b", "c"):
        make_member(core.workspace, name, Role.ADMIN)
    page = member.open(refuse(core))
    names = page.main.find(aria_label="Admins of Acme").find_all("li")
    assert [name.text for name in names] == ["a", "b", "and more"]


def test_an_admin_is_led_to_the_lock(core: Core, admin: Browser) -> None:
    page = admin.open(refuse(core))
    page = admin.open(page.main.find_with_text("a", "find it in Locked tags")["href"])
    assert page.heading == "Locked tags"


@pytest.mark.parametrize(
    ("tag", "following"),
    [
        ("v1.2.0", "v1.2.1"),
        ("v1.2.9", "v1.2.10"),
        ("1.2.0-alpine", "1.2.1-alpine"),
        ("release-007", "release-008"),
        ("prod", "prod-2"),
        ("20260501123456", "20260501123456-2"),
        ("x" * 128, "x" * 126 + "-2"),
        ("9" * 7, "1" + "0" * 7),
    ],
)
def test_the_next_tag_is_suggested(tag: str, following: str) -> None:
    assert lock_log.suggest_tag(tag) == following
    assert parse_tag(following)


def test_the_link_leads_who_is_not_signed_in_over_sign_in_to_the_event(
    core: Core, bob: User
) -> None:
    browser = Browser(Client())
    browser.open(refuse(core))
    page = browser.press("Sign in", username="bob", password="demo")
    assert page.facts["Event"] == "Push refused"


def test_a_refused_identical_push_is_not_called_another_image(core: Core, member: Browser) -> None:
    core.protect(Protection.ALL, refuse_identical_pushes=True)
    core.push("v1", image=ONE)
    core.push("v1", image=ONE)
    page = open_latest(member, EventKind.PUSH_REFUSED)
    assert page.facts["Digest"] == digest_of(ONE)
    assert "Pushed" not in page.facts
    assert "It was the same image again" in page.main.text
    assert "another image" not in page.main.text


def test_a_push_refused_for_a_reserved_name_is_not_said_to_meet_a_tag(
    core: Core, member: Browser
) -> None:
    core.push("v1.0.0", image=ONE)
    core.delete("v1.0.0", is_admin=True)
    core.push("v1.0.0", image=TWO)
    page = open_latest(member, EventKind.PUSH_REFUSED)
    assert page.facts["Reason"] == "the name is reserved"
    assert "The tag still points to the image" not in page.main.text


def test_a_refused_delete_says_that_the_tag_is_still_there(core: Core, member: Browser) -> None:
    core.push("v1.0.0", image=ONE)
    core.delete("v1.0.0")
    page = open_latest(member, EventKind.DELETE_REFUSED)
    assert "The tag is still there." in page.main.text
    assert "Ask an admin to delete v1.0.0" in page.main.text
    assert page.facts["Reason"] == "only admins may delete a locked tag"


def test_an_identical_push_says_that_nothing_changed(core: Core, member: Browser) -> None:
    core.push("v1.0.0", image=ONE)
    core.push("v1.0.0", image=ONE)
    page = open_latest(member, EventKind.PUSH_IDENTICAL)
    assert "nothing changed, so the push was accepted" in page.main.text
    assert "What to do" not in page.main.text


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, None), (1, "1 more time within the hour"), (3, "3 more times within the hour")],
)
def test_repeats_are_counted(core: Core, member: Browser, count: int, said: str | None) -> None:
    refuse(core)
    # Not by pushing again: at the turn of the hour that is another event.
    EventRepeat.objects.update(count=count)
    assert open_latest(member, EventKind.PUSH_REFUSED).facts.get("Repeated") == said


# Settings and people.


def test_a_settings_event_shows_before_and_after(acme: Workspace, admin: Browser) -> None:
    rules = (SEMVER, PolicyRule("<script>", "a.b"))
    for version, draft in enumerate(
        (Draft(Protection.ALL), Draft(Protection.SOME, rules, refuse_identical_pushes=True))
    ):
        save_container_settings(
            acme, draft, expected_version=version, may_suspend_locks=False, actor=SYSTEM
        )
    page = open_latest(admin, EventKind.SETTINGS_CHANGED)
    changes = changes_of(page)
    assert changes["Protection"] == ["All tags are protected", "Some tags are protected"]
    assert "Rules" not in changes
    assert rules_of(page) == [
        f"+ Added: {SEMVER.name} {SEMVER.pattern}",
        "+ Added: <script> a.b",
    ]
    assert changes["Refuse identical pushes"] == ["no", "yes"]
    assert "Protect signature tags" not in changes
    assert page.facts["Settings version"] == "2"
    assert page.main.find_all("script") == []


def test_a_settings_event_counts_the_locks_that_it_moved(
    protected: Workspace, admin: Browser, protect: Callable[..., Policy]
) -> None:
    make_lock(protected, "v1.0.0")
    make_lock(protected, "v1.0.1")
    protect(protected, Protection.NONE, SEMVER)
    facts = open_latest(admin, EventKind.SETTINGS_CHANGED).facts
    assert (facts["Locks suspended"], facts["Locks resumed"]) == ("2", "0")
    protect(protected, Protection.ALL, SEMVER)
    facts = open_latest(admin, EventKind.SETTINGS_CHANGED).facts
    assert (facts["Locks suspended"], facts["Locks resumed"]) == ("0", "2")


def test_a_save_whose_locks_are_counted_later_leads_to_their_number_and_back(
    protected: Workspace,
    admin: Browser,
    protect: Callable[..., Policy],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(save_settings, "MAX_COUNTED_AT_ONCE", 1)
    make_lock(protected, "v1.0.0")
    make_lock(protected, "v1.0.1")
    protect(protected, Protection.NONE, SEMVER)
    page = open_latest(admin, EventKind.SETTINGS_CHANGED)
    assert page.facts["Locks suspended and resumed"] == "being counted in the background"
    assert "Locks suspended" not in page.facts
    run_counts()
    page = open_latest(admin, EventKind.SETTINGS_CHANGED)
    assert (page.facts["Locks suspended"], page.facts["Locks resumed"]) == ("2", "0")
    ref = page.facts["Reference"]
    page = admin.follow(page.facts["Counted"].split()[-1])
    assert page.heading == "The change to version 2 suspended 2 locks and brought back 0"
    assert (page.facts["About event"], page.facts["Locks suspended"]) == (ref, "2")
    assert admin.follow(ref).facts["Event"] == "Settings changed"


def test_rules_that_were_removed_are_shown_as_they_were(
    protected: Workspace, admin: Browser, protect: Callable[..., Policy]
) -> None:
    protect(protected, Protection.NONE)
    page = open_latest(admin, EventKind.SETTINGS_CHANGED)
    assert rules_of(page) == [f"− Removed: {SEMVER.name} {SEMVER.pattern}"]


def test_a_sealed_event_shows_its_place_in_the_chain(acme: Workspace, admin: Browser) -> None:
    event = record(Event(EventKind.TAG_LOCKED, "acme", "acme/api", "v1", digest=AA))
    seal_events()
    seal = EventSeal.objects.get(event_id=event.id)
    page = admin.open(f"{LOG}{event.ref}")
    assert page.facts["Sealed"] == f"event {seal.sequence} of the log {seal.hash}"


def test_rules_that_were_changed_or_renamed_say_what_they_were(
    protected: Workspace, admin: Browser, protect: Callable[..., Policy]
) -> None:
    protect(protected, Protection.SOME, PolicyRule(SEMVER.name, "^v1$"))
    page = open_latest(admin, EventKind.SETTINGS_CHANGED)
    assert rules_of(page) == [f"Changed: {SEMVER.name} from {SEMVER.pattern} to ^v1$"]
    protect(protected, Protection.SOME, PolicyRule("Ones", "^v1$"))
    page = open_latest(admin, EventKind.SETTINGS_CHANGED)
    assert rules_of(page) == [f"Renamed: Ones ^v1$, before: {SEMVER.name}"]


def test_exceptions_that_were_changed_are_shown_beside_rules(
    protected: Workspace, admin: Browser, protect: Callable[..., Policy]
) -> None:
    protect(protected, Protection.ALL, exceptions=(LATEST,))
    protect(protected, Protection.ALL, SEMVER, exceptions=(CACHES,))
    page = open_latest(admin, EventKind.SETTINGS_CHANGED)
    changes = page.main.find(class_="pattern-changes")
    assert [heading.text for heading in changes.find_all("h3")] == ["Rules", "Exceptions"]
    lists = [[line.text for line in each.find_all("li")] for each in changes.find_all("ul")]
    assert lists == [
        [f"+ Added: {SEMVER.name} {SEMVER.pattern}"],
        ["+ Added: Build caches ^buildcache", "− Removed: Moving latest ^latest$"],
    ]
    assert "Exceptions" not in changes_of(page)


def test_a_new_member_is_shown_with_their_role(acme: Workspace, bob: User, admin: Browser) -> None:
    event = LockEvent.objects.get(kind="member.added", details__member="bob")
    facts = admin.open(f"{LOG}{event.ref}").facts
    assert (facts["Member"], facts["Before"], facts["After"]) == ("bob", "none", "member")


def test_a_changed_member_is_shown_with_both_roles(
    acme: Workspace, bob: User, admin: Browser
) -> None:
    add_member(acme, bob, Role.AUDITOR, actor=SYSTEM)
    facts = open_latest(admin, EventKind.MEMBER_CHANGED).facts
    assert (facts["Member"], facts["Before"], facts["After"]) == ("bob", "member", "auditor")


def test_a_new_token_is_shown_with_its_scopes_and_never_its_secret(
    acme: Workspace, admin: Browser
) -> None:
    secret = create_access_token(acme, "ci", [Scope.PUSH, Scope.AUDIT], actor=SYSTEM)
    page = open_latest(admin, EventKind.TOKEN_CREATED)
    assert (page.facts["Token"], page.facts["Scopes"]) == ("ci", "push, audit")
    assert secret not in page.raw_text


# Who reads what.


@pytest.mark.parametrize("role", ["admin", "auditor"])
def test_admins_and_auditors_read_where_it_came_from(
    request: pytest.FixtureRequest, acme: Workspace, role: str
) -> None:
    browser: Browser = request.getfixturevalue(role)
    event = record(Event(EventKind.TAG_LOCKED, "acme", "acme/api", "v1"))
    assert browser.open(f"{LOG}{event.ref}").facts["From"] == "192.0.2.7 docker/28.0 <b>"


def test_members_do_not_read_where_it_came_from(acme: Workspace, member: Browser) -> None:
    event = record(Event(EventKind.TAG_LOCKED, "acme", "acme/api", "v1"))
    page = member.open(f"{LOG}{event.ref}")
    assert "From" not in page.facts
    assert "192.0.2.7" not in page.main.text
    assert "docker/28.0" not in page.main.text


def test_an_event_whose_origin_was_erased_is_still_shown(acme: Workspace, admin: Browser) -> None:
    event = record(Event(EventKind.TAG_LOCKED, "acme", "acme/api", "v1"))
    event.origin.delete()
    assert "From" not in admin.open(f"{LOG}{event.ref}").facts


@pytest.mark.parametrize("kind", [kind for kind in EventKind if kind not in TAG_EVENT_KINDS])
def test_a_member_is_told_that_other_events_are_not_theirs(
    acme: Workspace, member: Browser, kind: EventKind
) -> None:
    event = record(Event(kind, "acme", details={"secret": "thing"}))
    page = member.open(f"{LOG}{event.ref}", 403)
    assert page.heading == "Not allowed"
    assert "Events of settings and people are for admins and auditors." in page.main.text
    assert "thing" not in page.main.text


def test_an_event_of_another_workspace_is_not_there(
    acme: Workspace, globex: Workspace, admin: Browser
) -> None:
    event = record(Event(EventKind.TAG_LOCKED, "globex", "globex/api", "v1"))
    admin.open(f"{LOG}{event.ref}", 404)
    admin.open(f"/globex/lock-log/{event.ref}", 404)


def test_hostile_text_is_shown_as_text(acme: Workspace, admin: Browser) -> None:
    hostile = "</dd><script>alert(1)</script>&amp;"
    details: dict[str, Any] = {"<i>name": hostile, "list": [hostile], "after": {hostile: hostile}}
    event = record(
        Event(
            EventKind.LOCK_RELEASED,
            "acme",
            "acme/api",
            "v1",
            reason=hostile,
            rule_name=hostile,
            rule_pattern=hostile,
            details={**details, "before": {hostile: ""}},
        )
    )
    page = admin.open(f"{LOG}{event.ref}")
    assert page.facts["Reason"] == page.facts["List"] == page.facts["<i>name"] == hostile
    assert page.facts["Rule"] == f"{hostile} {hostile}"
    assert page.rows[0][0].casefold() == hostile.casefold()
    assert page.main.find_all("script") == []


@pytest.mark.parametrize(
    "details", [None, {}, {"before": 1, "after": {}}, {"after": {"rules": [[]]}, "before": {}}]
)
def test_odd_details_break_nothing(
    acme: Workspace, admin: Browser, details: dict[str, Any] | None
) -> None:
    event = record(Event(EventKind.SETTINGS_CHANGED, "acme", details=details))
    assert admin.open(f"{LOG}{event.ref}").facts["Event"] == "Settings changed"


@pytest.mark.parametrize("repeats", [0, 3])
def test_how_many_queries_an_event_takes(
    acme: Workspace,
    member: Browser,
    django_assert_num_queries: Callable[..., Any],
    repeats: int,
) -> None:
    event = record(Event(EventKind.TAG_LOCKED, "acme", "acme/api", "v1", digest=AA))
    hour = event.at.replace(minute=0, second=0, microsecond=0)
    for number in range(repeats):
        EventRepeat.objects.create(
            workspace="acme", fingerprint=f"{number}", hour=hour, event=event, count=2
        )
    seal_events()
    with django_assert_num_queries(5):
        member.open(f"{LOG}{event.ref}")
