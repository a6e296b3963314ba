"""A workspace's start page."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client
from django.utils import timezone

from immutability import figures
from immutability.locked_tags import LockCount
from immutability.models import Drift, Job, LockedTag
from immutability.policy.protection import Policy, PolicyRule, Protection
from tests.conftest import AA, CACHES, LATEST, SEMVER
from tests.immutability.making import land, make_drift, make_lock, set_record
from tests.page import Browser, Page
from tests.workspaces.log.tampering import write_at
from workspaces.access import SYSTEM, Scope
from workspaces.actions.access_tokens import create_access_token
from workspaces.log.seal import seal_events
from workspaces.models import AccessToken, User, Workspace


def rows_of(page: Page) -> list[str]:
    """Return what the latest rows say."""
    return [said.text for said in page.main.find_all(class_="story-said")]


def attention_of(page: Page) -> list[str]:
    """Return what needs attention, line by line."""
    return [item.text for item in page.main.find(class_="attention").find_all("li")]


def steps_of(page: Page) -> dict[str, bool]:
    """Return the first steps, and whether each is done."""
    steps = page.main.find(class_="steps").find_all("li")
    return {
        step.find("h3").text.removeprefix("Done: "): step.get("class") == "done" for step in steps
    }


# What is protected.


@pytest.mark.parametrize(
    ("protection", "rules", "said"),
    [
        (Protection.NONE, [], "No tags are protected Anyone who can push can point a tag at"),
        (Protection.ALL, [SEMVER], "All tags are protected The first push of a tag locks it"),
        (Protection.SOME, [SEMVER], "Some tags are protected 1 rule: Release versions"),
        (
            Protection.SOME,
            [SEMVER, PolicyRule("Production", "^prod$")],
            "Some tags are protected 2 rules: Release versions, Production",
        ),
    ],
)
def test_it_says_what_is_protected(
    acme: Workspace,
    member: Browser,
    protect: Callable[..., Policy],
    protection: Protection,
    rules: list[PolicyRule],
    said: str,
) -> None:
    protect(acme, protection, *rules)
    page = member.open("/acme/")
    assert page.main.find(class_="protection-head").text.startswith(said)
    assert page.heading == "Acme"
    assert member.follow("Container settings").heading


def test_it_names_the_exceptions_under_all(
    acme: Workspace, member: Browser, protect: Callable[..., Policy]
) -> None:
    protect(acme, Protection.ALL, exceptions=(LATEST, CACHES))
    said = f"2 exceptions: {LATEST.name}, {CACHES.name}"
    assert said in member.open("/acme/").main.find(class_="protection-head").text
    protect(acme, Protection.NONE, exceptions=(LATEST, CACHES))
    assert "exception" not in member.open("/acme/").main.find(class_="protection-head").text


def test_it_counts_the_locked_tags_the_suspended_locks_and_the_repositories(
    acme: Workspace, member: Browser, protect: Callable[..., Policy]
) -> None:
    protect(acme, Protection.SOME, SEMVER)
    for tag, state in (
        ("v1.0.0", "locked"),
        ("v1.0.1", "locked"),
        ("v1.0.2", "reserved"),
        ("v1.0.3", "claimed"),
        ("main", "locked"),
        ("edge", "released"),
    ):
        make_lock(acme, tag, state)
    make_lock(acme, "v1.0.0", repository="acme/web")
    facts = member.open("/acme/").facts
    assert facts["Locked tags"] == "4"
    assert facts["Suspended locks"] == "2"
    assert facts["Repositories"] == "2"


def test_without_protection_every_lock_is_suspended(
    acme: Workspace, member: Browser, protect: Callable[..., Policy]
) -> None:
    for tag, state in (("v1", "locked"), ("v2", "reserved"), ("v3", "claimed")):
        make_lock(acme, tag, state)
    assert member.open("/acme/").facts["Suspended locks"] == "2"


def test_of_very_many_locks_the_newest_are_matched(
    acme: Workspace,
    member: Browser,
    protect: Callable[..., Policy],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(figures, "MAX_MATCHED", 2)
    protect(acme, Protection.SOME, SEMVER)
    for tag in ("main", "edge", "v1.0.0"):
        make_lock(acme, tag)
    assert member.open("/acme/").facts["Suspended locks"] == "1 or more"


def test_counting_stops_where_the_rules_take_too_long(
    acme: Workspace,
    member: Browser,
    protect: Callable[..., Policy],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(figures, "MAX_MATCH_SECONDS", -1.0)
    protect(acme, Protection.SOME, SEMVER)
    make_lock(acme, "main")
    assert member.open("/acme/").facts["Suspended locks"] == "0 or more"


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (LockCount(10_000), "10,000"),
        (LockCount(10_000, is_exact=False), "10,000 or more"),
        (LockCount(1_200_000, is_exact=False, is_estimate=True), "1,200,000 estimated"),
    ],
    ids=str,
)
def test_a_number_that_is_not_exact_is_said_to_be(
    acme: Workspace, member: Browser, monkeypatch: pytest.MonkeyPatch, count: LockCount, said: str
) -> None:
    monkeypatch.setattr("immutability.pages.overview.count_locked", lambda _: count)
    assert member.open("/acme/").facts["Locked tags"] == said


# The last days.


def test_the_last_seven_days_are_counted_day_by_day(acme: Workspace, auditor: Browser) -> None:
    today = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    for days, kind in (
        (0, "push.refused"),
        (0, "delete.refused"),
        (2, "push.refused"),
        (2, "lock.released"),
        (2, "settings.changed"),
        (6, "tag.deleted"),
        (7, "push.refused"),
        (13, "push.refused"),
        (14, "push.refused"),
        # Neither of both.
        (1, "tag.locked"),
    ):
        write_at(today - timedelta(days=days), kind=kind)
    write_at(today, kind="push.refused", workspace="globex")
    page = auditor.open("/acme/")
    assert page.facts["Refused, 7 days"] == "3 2 the week before"
    chart = page.main.find("figure")
    assert chart.find("figcaption").text == "Refused, 3 Changes to locks and settings, 3"
    labels = [each.text for each in chart.find_all(class_="chart-label")]
    day = today - timedelta(days=2)
    assert labels[4] == f"{day:%a} {day.day}"
    shown = [each.text for each in chart.find_all(class_="chart-counts")]
    assert [re.findall(r"\d+", each) for each in shown] == [
        ["0", "1"],
        ["0", "0"],
        ["0", "0"],
        ["0", "0"],
        ["1", "2"],
        ["0", "0"],
        ["2", "0"],
    ]
    query = parse_qs(urlsplit(page.main.find_with_text("a", "3")["href"]).query)
    assert query == {"group": ["refused"]}


def test_members_see_no_count_of_changes_that_they_may_not_read(
    acme: Workspace, member: Browser
) -> None:
    write_at(timezone.now(), kind="settings.changed", tag="", repository="")
    write_at(timezone.now(), kind="lock.released")
    caption = member.open("/acme/").main.find("figcaption").text
    assert caption.endswith("Changes to locks and settings, 1")


# The latest events.


def test_the_latest_events_are_told_newest_first(
    acme: Workspace, member: Browser, protect: Callable[..., Policy]
) -> None:
    protect(acme, Protection.ALL)
    for number in range(8):
        write_at(timezone.now(), kind="push.identical", tag=f"v{number}")
    page = member.open("/acme/")
    assert rows_of(page) == [
        f"dana via the registry pushed acme/api:v{number} again" for number in (7, 6, 5, 4, 3, 2)
    ]
    assert member.follow("Open the lock log").heading == "Lock log"


def test_what_did_not_happen_today_bears_its_day(acme: Workspace, member: Browser) -> None:
    write_at(datetime(2026, 3, 1, 12, tzinfo=UTC), kind="push.refused")
    assert member.open("/acme/").main.find(class_="story-time").text == "1 Mar"
    write_at(datetime(2020, 3, 1, 12, tzinfo=UTC), kind="push.refused", tag="v2")
    times = member.open("/acme/").main.find_all(class_="story-time")
    assert times[-1].text == "1 Mar 2020"


def test_members_see_the_events_of_tags_alone(acme: Workspace, member: Browser) -> None:
    page = member.open("/acme/")
    assert rows_of(page) == []
    assert "Nothing has happened yet." in page.main.text


@pytest.mark.parametrize("role", ["admin", "auditor"])
def test_admins_and_auditors_see_every_event(
    request: pytest.FixtureRequest, acme: Workspace, role: str
) -> None:
    browser: Browser = request.getfixturevalue(role)
    added = {"admin": [], "auditor": ["Taglock added olga as auditor"]}[role]
    assert rows_of(browser.open("/acme/")) == [
        *added,
        "Taglock added alice as admin",
        "Taglock created the workspace Acme",
    ]


# What needs attention.


def test_where_nothing_needs_attention_it_says_so(acme: Workspace, member: Browser) -> None:
    seal_events()
    page = member.open("/acme/")
    assert attention_of(page) == []
    assert "Needs attention Nothing" in page.main.text


def test_a_lock_that_differs_needs_attention(
    acme: Workspace, globex: Workspace, protect: Callable[..., Policy], member: Browser
) -> None:
    protect(acme, Protection.ALL)
    now = timezone.now()
    for workspace, tag, age in ((acme, "v1", 50), (acme, "v2", 40), (globex, "theirs", 1)):
        found = make_drift(make_lock(workspace, tag))
        Drift.objects.filter(id=found.id).update(found_at=now - timedelta(minutes=age))
    # One that is as it was locked again.
    set_record(make_drift(make_lock(acme, "v3")).record.lock, digest=AA)
    seal_events()
    [line] = attention_of(member.open("/acme/"))
    assert line.startswith("2 locked tags differ from the registry Last found 40 min ago: ")
    assert "acme/api:v2" in line
    assert "Drift" in member.follow("Review").main.text


def test_a_write_without_an_answer_needs_attention(
    acme: Workspace, globex: Workspace, member: Browser
) -> None:
    for workspace, tag in ((acme, "v1"), (globex, "v2")):
        set_record(make_lock(workspace, tag), stray_until=timezone.now() + timedelta(minutes=5))
    [line] = attention_of(member.open("/acme/"))
    assert line.startswith("1 write without an answer acme/api:v1 may still change until ")
    assert member.follow("Open").heading == "acme/api:v1"


def test_a_claim_that_never_ended_needs_attention(acme: Workspace, member: Browser) -> None:
    old, new = timezone.now() - timedelta(hours=2), timezone.now()
    for tag, state, at in (("v1", "claimed", old), ("v2", "claimed", new), ("v3", "locked", old)):
        row = make_lock(acme, tag, state)
        LockedTag.objects.filter(id=row.id).update(locked_at=at)
    [line] = attention_of(member.open("/acme/"))
    assert line.startswith("1 push or delete that never finished acme/api:v1, since ")
    assert member.follow("Open").heading == "acme/api:v1"


@pytest.mark.parametrize(
    ("kind", "said"),
    [("inventory", "Reading the registry is late"), ("count", "Counting locks is late")],
)
def test_a_job_that_no_worker_goes_on_with_needs_attention(
    acme: Workspace, member: Browser, kind: str, said: str
) -> None:
    late = timezone.now() - timedelta(hours=3)
    job = Job.objects.create(workspace=acme, kind=kind, expires_at=late)
    [line] = attention_of(member.open("/acme/"))
    assert line.startswith(f"{said} No worker has picked it up for 3 h")
    Job.objects.filter(id=job.id).update(expires_at=timezone.now())
    assert attention_of(member.open("/acme/")) == []
    Job.objects.filter(id=job.id).update(expires_at=late, done_at=timezone.now())
    assert attention_of(member.open("/acme/")) == []


def test_events_that_no_one_seals_need_attention(acme: Workspace, member: Browser) -> None:
    write_at(timezone.now() - timedelta(minutes=2))
    [line] = attention_of(member.open("/acme/"))
    assert line.startswith("Events are not being sealed 4 events are not sealed yet, the oldest")
    seal_events()
    assert attention_of(member.open("/acme/")) == []


def test_it_says_when_the_registry_was_read(acme: Workspace, member: Browser) -> None:
    job = Job.objects.create(
        workspace=acme, kind="inventory", looked_at_count=1482, adopted_count=290
    )
    said = "The registry is being read: 1,482 tags so far."
    assert said in member.open("/acme/").main.text
    Job.objects.filter(id=job.id).update(done_at=timezone.now() - timedelta(hours=3))
    said = "The registry was last read 3 h ago: 1,482 tags, 290 locked."
    assert said in member.open("/acme/").main.text


# First steps.

STEPS = ["Connect a registry", "Choose what to protect", "Push a tag", "See a push refused"]


def test_the_first_steps_are_shown_until_they_are_done(
    acme: Workspace, admin: Browser, protect: Callable[..., Policy], settings: Any
) -> None:
    page = admin.open("/acme/")
    assert steps_of(page) == dict.fromkeys(STEPS, False)
    assert "0 of 4" in page.main.text
    settings.REGISTRY_URL = "http://registry.internal:5000"
    assert steps_of(admin.open("/acme/")) == dict.fromkeys(STEPS, False) | {STEPS[0]: True}
    protect(acme, Protection.SOME, SEMVER)
    assert [*steps_of(admin.open("/acme/")).values()] == [True, True, False, False]
    land(acme)
    assert [*steps_of(admin.open("/acme/")).values()] == [True, True, True, False]
    write_at(timezone.now(), kind="push.refused")
    page = admin.open("/acme/")
    assert page.main.find_all(class_="steps") == []


def test_a_registry_that_asks_by_itself_is_connected(acme: Workspace, admin: Browser) -> None:
    create_access_token(acme, "registry", [Scope.REGISTRY], actor=SYSTEM)
    assert steps_of(admin.open("/acme/"))[STEPS[0]]
    AccessToken.objects.update(revoked_at=timezone.now())
    assert not steps_of(admin.open("/acme/"))[STEPS[0]]
    create_access_token(None, "main", [Scope.REGISTRY], actor=SYSTEM)
    assert steps_of(admin.open("/acme/"))[STEPS[0]]


@pytest.mark.parametrize(
    ("rule", "tag"),
    [(SEMVER, "v1.0.0"), (PolicyRule("Production", "^prod"), "prod"), (None, "v1.0.0")],
)
def test_each_step_has_a_command_to_copy_for_a_tag_that_is_protected(
    acme: Workspace,
    member: Browser,
    protect: Callable[..., Policy],
    rule: PolicyRule | None,
    tag: str,
) -> None:
    if rule:
        protect(acme, Protection.SOME, rule)
    commands = [each.raw_text for each in member.open("/acme/").main.find_all("pre")]
    image = f"127.0.0.1:8000/acme/hello:{tag}"
    assert commands[0] == "REGISTRY_URL=http://registry:5000"
    assert commands[-2] == (
        "docker login 127.0.0.1:8000\ndocker pull alpine:3.22\n"
        f"docker tag alpine:3.22 {image}\ndocker push {image}"
    )
    assert commands[-1] == (
        f"docker pull alpine:3.21\ndocker tag alpine:3.21 {image}\ndocker push {image}"
    )


def test_who_cannot_push_is_shown_no_first_steps(auditor: Browser) -> None:
    assert auditor.open("/acme/").main.find_all(class_="steps") == []


@pytest.mark.parametrize("role", ["admin", "member"])
def test_only_admins_are_led_to_choose_what_to_protect(
    request: pytest.FixtureRequest, role: str
) -> None:
    browser: Browser = request.getfixturevalue(role)
    step = browser.open("/acme/").main.find(class_="steps").find_all("li")[1]
    assert len(step.find_all("a")) == (role == "admin")


# Cost.


@pytest.mark.parametrize("role", ["admin", "auditor", "member"])
def test_the_page_takes_as_many_queries_however_much_there_is(
    request: pytest.FixtureRequest,
    acme: Workspace,
    protect: Callable[..., Policy],
    django_assert_max_num_queries: Callable[..., Any],
    role: str,
) -> None:
    browser: Browser = request.getfixturevalue(role)
    with django_assert_max_num_queries(24):
        browser.open("/acme/")
    protect(acme, Protection.SOME, SEMVER)
    for number in range(30):
        make_lock(acme, f"v1.0.{number}", repository=f"acme/r{number}")
        for kind in ("push.refused", "drift.found", "lock.released"):
            write_at(timezone.now(), kind=kind, tag=f"v1.0.{number}")
    with django_assert_max_num_queries(24):
        browser.open("/acme/")


def test_the_header_names_the_workspace_the_person_and_the_role(admin: Browser) -> None:
    page = admin.open("/acme/")
    assert page.find(class_="workspace-name").text == "Acme"
    here = page.find("nav", aria_label="Workspace").find("a", aria_current="page")
    assert here.text == "Overview"
    assert page.find(class_="who").text == "alice (admin)"


def test_strangers_find_no_page(
    acme: Workspace, mallory: User, sign_in: Callable[[User], Client]
) -> None:
    Browser(sign_in(mallory)).open("/acme/", status=404)


def test_who_is_not_signed_in_is_sent_to_sign_in_and_back(acme: Workspace) -> None:
    response = Client().get("/acme/")
    assert response.status_code == 302
    assert response.headers["Location"] == "/accounts/login/?next=/acme/"
