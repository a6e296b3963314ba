"""The page "Repositories", and the one that says who may pull."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from containers.models import Push
from containers.models import Repository as KnownRepository
from containers.names import RepositoryName
from containers.repositories import REPOSITORIES_PER_PAGE
from containers.visibility import set_public
from tests.immutability.making import land
from tests.page import Browser, Page, read_errors
from tests.problems import nothing_written
from tests.public import find_public
from workspaces.access import SYSTEM
from workspaces.log.models import LockEvent
from workspaces.models import User, Workspace

REPOSITORIES = "/acme/repositories/"
VISIBILITY = "/acme/repositories/acme/api/-/visibility/"


def make(workspace: Workspace, *names: str, is_public: bool = False) -> None:
    KnownRepository.objects.bulk_create(
        KnownRepository(workspace=workspace, name=name, is_public=is_public) for name in names
    )


def push(workspace: Workspace, name: str) -> Push:
    return land(workspace, repository=name)


def names_of(page: Page) -> list[str]:
    return [row[0] for row in page.rows]


@pytest.fixture
def stranger(mallory: User, sign_in: Callable[[User], Client]) -> Browser:
    """Mallory's browser."""
    return Browser(sign_in(mallory))


# The table.


def test_a_repository_is_shown_with_its_visibility_and_last_push(
    acme: Workspace, member: Browser
) -> None:
    make(acme, "acme/web", is_public=True)
    make(acme, "acme/api")
    last = push(acme, "acme/api")
    page = member.open(REPOSITORIES)
    assert page.heading == "Repositories"
    assert page.find("caption").text == "2 repositories, by name"
    assert page.rows == [
        ["acme/api", "Private", f"{last.at:%Y-%m-%d %H:%M} UTC", "Lock log of acme/api"],
        ["acme/web", "Public", "–", "Lock log of acme/web"],
    ]


def test_a_repository_leads_to_its_tags_and_its_events(acme: Workspace, admin: Browser) -> None:
    make(acme, "acme/web")
    set_public(acme, RepositoryName("acme/api"), is_public=True, actor=SYSTEM)
    admin.open(REPOSITORIES)
    page = admin.follow("acme/api")
    assert page.heading == "acme/api"
    admin.open(REPOSITORIES)
    page = admin.follow("Lock log of acme/api")
    said = [each.text for each in page.main.find_all(class_="story-said")]
    assert said == ["Taglock made acme/api public: anyone can pull from it"]


def test_the_event_says_what_was_and_what_is(acme: Workspace, admin: Browser) -> None:
    set_public(acme, RepositoryName("acme/api"), is_public=True, actor=SYSTEM)
    admin.open(f"/acme/lock-log/{LockEvent.objects.get(repository='acme/api').ref}")
    assert admin.page.heading == "Taglock made acme/api public: anyone can pull from it"
    assert admin.page.facts["Repository"] == "acme/api"
    assert admin.page.rows == [["Is public", "no", "yes"]]


def test_the_navigation_leads_there_and_says_that_one_is_there(
    acme: Workspace, member: Browser
) -> None:
    member.open("/acme/")
    page = member.follow("Repositories")
    assert page.path == REPOSITORIES
    here = page.find("nav", aria_label="Workspace").find("a", aria_current="page")
    assert here.text == "Repositories"


def test_others_repositories_are_not_listed(
    acme: Workspace, globex: Workspace, member: Browser
) -> None:
    make(globex, "globex/api", "acme/api", is_public=True)
    assert member.open(REPOSITORIES).find_all("table") == []


@pytest.mark.parametrize("role", ["member", "auditor"])
def test_others_than_admins_are_offered_nothing(
    request: pytest.FixtureRequest, acme: Workspace, role: str
) -> None:
    make(acme, "acme/api")
    browser: Browser = request.getfixturevalue(role)
    page = browser.open(REPOSITORIES)
    assert "Actions" not in [heading.text for heading in page.find_all("th", scope="col")]
    assert [link for link in page.main.find_all("a") if "/-/visibility/" in link["href"]] == []
    browser.open(VISIBILITY, status=403)


def test_strangers_find_no_page(acme: Workspace, stranger: Browser) -> None:
    make(acme, "acme/api")
    stranger.open(REPOSITORIES, status=404)
    stranger.open(VISIBILITY, status=404)


@pytest.mark.parametrize("count", [1, 40])
def test_the_page_takes_as_many_queries_whatever_it_lists(
    acme: Workspace,
    alice: User,
    sign_in: Callable[[User], Client],
    django_assert_num_queries: Callable[..., Any],
    count: int,
) -> None:
    names = [f"acme/n{number}" for number in range(count)]
    make(acme, *names)
    for name in names:
        push(acme, name)
    client = sign_in(alice)
    # The session, the user, the membership, the repositories, their last pushes.
    with django_assert_num_queries(5):
        assert client.get(REPOSITORIES).status_code == 200


# Filters and paging.


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ({"q": "AP"}, ["acme/api"]),
        ({"q": " web "}, ["acme/web"]),
        ({"visibility": "public"}, ["acme/web"]),
        ({"visibility": "private"}, ["acme/api"]),
    ],
)
def test_search_narrows_the_list_and_can_be_cleared(
    acme: Workspace, member: Browser, typed: dict[str, str], found: list[str]
) -> None:
    make(acme, "acme/api")
    make(acme, "acme/web", is_public=True)
    member.open(REPOSITORIES)
    assert names_of(member.press("Search", **typed)) == found
    assert names_of(member.follow("Clear")) == ["acme/api", "acme/web"]


def test_a_search_that_finds_nothing_says_so(acme: Workspace, member: Browser) -> None:
    make(acme, "acme/api")
    page = member.open(f"{REPOSITORIES}?q=nothing")
    assert page.find(class_="empty").text == "No repository matches."


def test_a_filter_that_makes_no_sense_is_an_error(acme: Workspace, member: Browser) -> None:
    make(acme, "acme/api")
    page = member.open(f"{REPOSITORIES}?visibility=secret")
    assert list(read_errors(page)) == ["id_visibility"]
    assert page.find_all("table") == []
    assert page.find_all(class_="empty") == []


def test_a_long_list_has_pages_that_keep_the_search(acme: Workspace, member: Browser) -> None:
    names = [f"acme/n{number:03}" for number in range(REPOSITORIES_PER_PAGE + 1)]
    make(acme, *names, "acme/other")
    page = member.open(f"{REPOSITORIES}?q=n")
    assert names_of(page) == names[:-1]
    assert page.find("caption").text.endswith("with more on the next page")
    page = member.follow("More repositories")
    assert names_of(page) == names[-1:]
    assert page.find("caption").text == "1 repository, by name"
    assert page.main.find(name="q")["value"] == "n"
    assert page.find_all("a", rel="next") == []


@pytest.mark.parametrize("query", ["after=%00", "after=%FF", "after=Z", "after=acme/Z", "nme=x"])
def test_a_query_that_cannot_be_read_is_said_to_be_so(
    acme: Workspace, member: Browser, query: str
) -> None:
    make(acme, "acme/api")
    page = member.open(f"{REPOSITORIES}?{query}")
    assert page.find(class_="summary").find("li") is not None
    assert page.main.find_all("table") == page.find_all(class_="empty") == []


# Nothing yet.


def test_an_empty_list_says_how_to_push(acme: Workspace, member: Browser, settings: Any) -> None:
    settings.REGISTRY_URL = "http://127.0.0.1:1"
    empty = member.open(REPOSITORIES).find(class_="empty")
    commands = [command.text for command in empty.find_all("code")]
    assert commands[0] == "docker login testserver docker push testserver/acme/api:v1.0.0"
    assert commands[1].startswith("skopeo copy docker://")
    assert commands[1].endswith("docker://testserver/acme/alpine:3.22")


def test_without_a_registry_an_empty_list_says_what_is_missing(
    acme: Workspace, member: Browser
) -> None:
    assert "REGISTRY_URL" in member.open(REPOSITORIES).find(class_="empty").text


# Who may pull.


def test_the_page_says_what_public_means_and_shows_what_is(acme: Workspace, admin: Browser) -> None:
    make(acme, "acme/api")
    admin.open(REPOSITORIES)
    page = admin.follow("Change visibility acme/api")
    assert page.heading == "Visibility of acme/api"
    said = page.main.text
    assert "Anyone who can reach the registry can pull all of its tags without signing in" in said
    assert "Who can push and delete doesn't change" in said
    assert "Its tag names and digests become visible." in said
    assert page.find("input", type="radio", checked=True)["value"] == "private"
    assert find_public(["acme/api"]) == set()


def test_an_admin_makes_a_repository_public_and_private_again(
    acme: Workspace, admin: Browser
) -> None:
    make(acme, "acme/api")
    admin.open(VISIBILITY)
    page = admin.press("Save", visibility="public")
    assert page.redirects == [(REPOSITORIES, 302)]
    assert page.banners == ["acme/api is public: anyone can pull from it without signing in."]
    assert page.rows[0][1] == "Public"
    assert find_public(["acme/api"]) == {"acme/api"}
    page = admin.open(VISIBILITY)
    assert page.find("input", type="radio", checked=True)["value"] == "public"
    page = admin.press("Save", visibility="private")
    assert page.banners == [
        "acme/api is private: only people and access tokens of the workspace can pull from it."
    ]
    assert find_public(["acme/api"]) == set()
    events = LockEvent.objects.filter(repository="acme/api").order_by("id")
    assert [(each.kind, each.actor) for each in events] == [
        ("repository.published", "alice"),
        ("repository.closed", "alice"),
    ]


def test_saving_what_is_says_that_nothing_was_changed(acme: Workspace, admin: Browser) -> None:
    make(acme, "acme/api")
    admin.open(VISIBILITY)
    with nothing_written():
        page = admin.press("Save")
    assert page.banners == ["acme/api is already private. Nothing was changed."]


@pytest.mark.parametrize("choice", [None, "", "secret"])
def test_without_a_choice_nothing_is_saved(
    acme: Workspace, admin: Browser, choice: str | None
) -> None:
    make(acme, "acme/api", is_public=True)
    admin.open(VISIBILITY)
    with nothing_written():
        page = admin.press("Save", 422, visibility=choice)
    assert read_errors(page) == {"id_visibility_0": "Who may pull: Choose private or public."}


@pytest.mark.parametrize(
    "name",
    ["globex/api", "acme/unknown", "acme2/api", "acme", "acme/Api", "acme/%00", "acme/api/x"],
)
def test_what_is_no_repository_of_the_workspace_has_no_page(
    acme: Workspace, globex: Workspace, admin: Browser, name: str
) -> None:
    make(acme, "acme/api")
    make(globex, "globex/api", "acme/unknown")
    address = f"/acme/repositories/{name}/-/visibility/"
    with nothing_written():
        admin.open(address, status=404)
        answer = admin.client.post(address, {"visibility": "public"})
    assert answer.status_code == 404


def test_a_repository_named_like_an_address_has_its_page(acme: Workspace, admin: Browser) -> None:
    make(acme, "acme/visibility", "acme/repositories/x/visibility")
    for name in ("acme/visibility", "acme/repositories/x/visibility"):
        page = admin.open(f"/acme/repositories/{name}/-/visibility/")
        assert page.heading == f"Visibility of {name}"
