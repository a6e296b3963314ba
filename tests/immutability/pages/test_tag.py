"""A tag's page: its lock now, what it pointed at on a day, and its history."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from immutability.history import ENTRIES_PER_PAGE
from immutability.policy.protection import Policy, PolicyRule, Protection
from tests.conftest import AA, BB, LATEST, SEMVER
from tests.immutability.making import land, make_lock
from tests.page import Browser, read_errors
from tests.workspaces.log.tampering import write_at
from workspaces.models import User, Workspace

TAG = "/acme/repositories/acme/api:v1/"
OTHERS = PolicyRule("Others", "^other$")

Protect = Callable[..., Policy]


@pytest.fixture
def protected(acme: Workspace, protect: Protect) -> Workspace:
    protect(acme, Protection.ALL)
    return acme


# Now.


def test_a_locked_tag_says_what_holds_it(protected: Workspace, member: Browser) -> None:
    make_lock(protected, "v1")
    page = member.open(TAG)
    assert page.heading == "acme/api:v1"
    assert "It points to one image, and a push of any other is refused." in page.main.text
    assert page.facts["Digest"] == f"{AA} Copy the digest"
    assert page.facts["Pushed by"] == "dana"


@pytest.mark.parametrize(
    ("state", "rules", "said"),
    [
        ("locked", [OTHERS], "The settings do not cover it, so its lock is not in force."),
        ("released", [], "An admin released it: its next push can bring any image,"),
        ("reserved", [], "It was deleted by alice,"),
        ("claimed", [], "A push is in flight."),
        ("deleting", [], "It is being deleted."),
        ("", [], "It is not locked. All tags are protected: its next push locks it."),
        ("", [OTHERS], "anyone who can push can point it at another image."),
    ],
)
def test_each_status_is_said_in_words(
    protected: Workspace,
    member: Browser,
    protect: Protect,
    state: str,
    rules: list[PolicyRule],
    said: str,
) -> None:
    if state:
        make_lock(protected, "v1", state)
    if rules:
        protect(protected, Protection.SOME, *rules)
    assert said in member.open(TAG).main.text


@pytest.mark.parametrize(
    ("pusher", "said"),
    [("dana", "dana"), ("", "not known: the registry already had it")],
)
def test_who_pushed_what_was_there_is_told_where_it_is_known(
    protected: Workspace, member: Browser, pusher: str, said: str
) -> None:
    make_lock(protected, "v1", pushed_by=pusher)
    assert member.open(TAG).facts["Pushed by"] == said


def test_a_rule_that_covers_a_tag_is_named(
    acme: Workspace, member: Browser, protect: Protect
) -> None:
    protect(acme, Protection.SOME, SEMVER)
    text = member.open(TAG.replace("v1", "v1.0.0")).main.text
    assert f"The rule {SEMVER.name} {SEMVER.pattern} covers it: its next push locks it." in text


def test_an_exception_that_leaves_a_tag_mutable_is_named(
    acme: Workspace, member: Browser, protect: Protect
) -> None:
    protect(acme, Protection.ALL, exceptions=(LATEST,))
    address = TAG.replace("v1", "latest")
    said = "exception Moving latest ^latest$ leaves it mutable"
    text = member.open(address).main.text
    assert f"It is not locked, and the {said}: anyone who can push" in text
    make_lock(acme, "latest")
    assert f"The {said}, so its lock is not in force." in member.open(address).main.text


# On a day.


@pytest.fixture
def story(acme: Workspace) -> Workspace:
    """Pushed on the 1st and the 5th of March, adopted on the 10th, deleted on the 20th."""
    land(acme, at=datetime(2020, 3, 1, 12, 30, 10, tzinfo=UTC))
    land(acme, BB, at=datetime(2020, 3, 5, 23, 59, 59, 500_000, tzinfo=UTC))
    write_at(datetime(2020, 3, 10, tzinfo=UTC), kind="tag.adopted", digest=BB)
    write_at(datetime(2020, 3, 20, tzinfo=UTC), kind="tag.deleted", digest=BB)
    return acme


@pytest.mark.parametrize(
    ("on", "time", "said", "digest"),
    [
        ("2020-02-28", "", "not known. The first record of the tag is from 2020-03-01 12:30", ""),
        ("2020-03-01", "", "was the last one pushed, 2020-03-01 12:30 UTC", AA),
        ("2020-03-01", "12:29", "not known.", ""),
        # The page shows minutes: someone who types one means all of it.
        ("2020-03-01", "12:30", "was the last one pushed", AA),
        ("2020-03-01", "12:30:09", "not known.", ""),
        ("2020-03-01", "12:30:10", "was the last one pushed", AA),
        ("2020-03-04", "", "was the last one pushed", AA),
        ("2020-03-05", "", "was the last one pushed", BB),
        ("2020-03-09", "", "was the last one pushed", BB),
        ("2020-03-10", "", "The registry had it when it was adopted, 2020-03-10 00:00", BB),
        ("2020-03-19", "", "The registry had it when it was adopted", BB),
        ("2020-03-20", "", "the tag did not exist. It was deleted, and", ""),
        ("0001-01-01", "", "not known.", ""),
    ],
)
def test_what_it_pointed_at_on_a_day_is_said_in_words(
    story: Workspace, member: Browser, on: str, time: str, said: str, digest: str
) -> None:
    member.open(TAG)
    page = member.press("Show", on=on, time=time)
    answer = page.by_id("pointed")
    assert said in answer.text
    assert [code.text for code in answer.find_all("code")] == ([digest] if digest else [])
    assert f"on={on}" in page.path


def test_of_today_the_answer_is_about_this_moment(acme: Workspace, member: Browser) -> None:
    now = timezone.now()
    land(acme, at=now)
    page = member.open(f"{TAG}?on={now:%Y-%m-%d}")
    moment = page.by_id("pointed").find_all("time")[0]["datetime"]
    assert now.replace(microsecond=0) <= datetime.fromisoformat(moment) <= timezone.now()


def test_an_answer_leads_to_the_event_that_says_so(story: Workspace, member: Browser) -> None:
    member.open(f"{TAG}?on=2020-03-20")
    assert member.follow("See the event").facts["Event"] == "Tag deleted"


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("on=yesterday", ["id_on"]),
        ("on=2020-02-30", ["id_on"]),
        ("time=12:00", ["id_on"]),
        ("on=2020-03-01&time=25:00", ["id_time"]),
        ("on=9999-12-31", ["id_on"]),
    ],
)
def test_what_is_no_day_is_an_error_and_the_history_is_there_all_the_same(
    story: Workspace, member: Browser, query: str, fields: list[str]
) -> None:
    page = member.open(f"{TAG}?{query}")
    assert list(read_errors(page)) == fields
    assert len(page.rows) == 4


# History.


def test_events_and_pushes_are_told_newest_first(story: Workspace, member: Browser) -> None:
    rows = [row[:2] for row in member.open(TAG).rows]
    assert rows == [
        ["2020-03-20 00:00 UTC", "Tag deleted"],
        ["2020-03-10 00:00 UTC", "Tag adopted"],
        ["2020-03-05 23:59 UTC", "Push landed"],
        ["2020-03-01 12:30 UTC", "Push landed"],
    ]


def test_a_long_history_comes_in_pages_that_miss_none(acme: Workspace, member: Browser) -> None:
    first = datetime(2020, 3, 1, tzinfo=UTC)
    for number in range(ENTRIES_PER_PAGE):
        land(acme, at=first + timedelta(minutes=2 * number))
        write_at(first + timedelta(minutes=2 * number + 1))
    seen = [row[0] for row in member.open(TAG).rows]
    assert len(seen) == ENTRIES_PER_PAGE
    seen += [row[0] for row in member.follow("Older entries").rows]
    assert len(set(seen)) == 2 * ENTRIES_PER_PAGE
    assert seen == sorted(seen, reverse=True)
    assert member.page.find_all("a", rel="next") == []


@pytest.mark.parametrize("place", ["before=nothing", "before=%00", "push=x", "push=-1", "push=٣"])
def test_a_place_that_is_none_breaks_nothing(story: Workspace, member: Browser, place: str) -> None:
    assert member.open(f"{TAG}?{place}").heading == "acme/api:v1"


def test_a_page_costs_the_same_number_of_queries_however_long_the_history(
    story: Workspace, member: Browser, django_assert_num_queries: Any
) -> None:
    member.open(TAG)
    # Session, person, membership, lock, settings, and one each for events and pushes.
    with django_assert_num_queries(7):
        member.client.get(TAG)
    for number in range(60):
        land(story, at=datetime(2020, 4, 1, 0, number, tzinfo=UTC))
    with django_assert_num_queries(7):
        member.client.get(TAG)
    with django_assert_num_queries(9):
        member.client.get(f"{TAG}?on=2020-04-01")


# Addresses.


def test_a_tag_of_which_nothing_is_known_has_a_page_that_says_so(
    acme: Workspace, member: Browser
) -> None:
    page = member.open(TAG)
    assert page.find(class_="empty").text.startswith("Nothing has been recorded for this tag.")


@pytest.mark.parametrize("name", ["visibility", "tags", "v1.2.0_x-y", "A"])
@pytest.mark.parametrize("repository", ["acme/api", "acme/a/tags/b", "acme/a/visibility"])
def test_every_repository_and_every_tag_has_an_address(
    protected: Workspace, member: Browser, repository: str, name: str
) -> None:
    page = member.open(f"/acme/repositories/{repository}:{name}/")
    assert page.heading == f"{repository}:{name}"


@pytest.mark.parametrize(
    "path", ["globex/api:v1", "acmes:v1", "acme/api:-x", "acme/API:v1", "acme/api:v%00", "api:v1"]
)
def test_what_is_no_tag_of_the_workspace_is_not_found(
    acme: Workspace, globex: Workspace, member: Browser, path: str
) -> None:
    member.open(f"/acme/repositories/{path}/", 404)


def test_locked_tags_events_and_the_overview_lead_there(
    protected: Workspace, member: Browser
) -> None:
    make_lock(protected, "v1")
    event = write_at(timezone.now())
    for start in ("/acme/", "/acme/locked-tags/", "/acme/lock-log/"):
        member.open(start)
        assert member.follow("acme/api:v1").path == TAG
    member.open("/acme/lock-log/")
    member.follow(f"Details of event {event.ref}")
    assert member.follow("acme/api:v1").path == TAG


def test_strangers_find_no_page(
    acme: Workspace, mallory: User, sign_in: Callable[[User], Client]
) -> None:
    Browser(sign_in(mallory)).open(TAG, 404)
