"""Error pages for people; problem details under /api/."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client, RequestFactory

from tests.page import Browser, Page, read_page
from tests.problems import nothing_written, read_problem
from workspaces.models import User, Workspace
from workspaces.pages.errors import csrf_failure, permission_denied

SETTINGS = "/acme/settings/packages/containers/"


def break_down(*_: object, **__: object) -> None:
    raise RuntimeError("secret detail")


def nav_of(page: Page) -> list[str]:
    """Return the links of the workspace's navigation, or nothing where there is none."""
    found = page.find_all("nav", aria_label="Workspace")
    return [link["href"] for nav in found for link in nav.find_all("a")]


def steps_of(page: Page) -> list[str]:
    return [link.text for link in page.main.find(class_="next-steps").find_all("a")]


@pytest.mark.parametrize(
    "path",
    [
        "/acme/nowhere/",
        "/acme/lock-log/000000000000",
        "/acme/locked-tags/1/delete/",
        "/acme/settings/packages/npm/",
    ],
)
def test_an_address_that_is_not_there_keeps_the_workspace(admin: Browser, path: str) -> None:
    page = admin.open(path, 404)
    assert page.heading == "Page not found"
    assert page.title.startswith("Page not found")
    assert "or you are not in its workspace" in page.main.text
    assert "/acme/repositories/" in nav_of(page)
    assert steps_of(page) == [
        "Find a repository",
        "Find a locked tag",
        "Go to the overview of Acme",
    ]
    assert admin.follow("Go to the overview of Acme").heading == "Acme"


@pytest.mark.parametrize("path", ["/nowhere/", "/Acme/", "/%3Cscript%3E/", "/accounts/nowhere/"])
def test_an_address_of_no_workspace(admin: Browser, path: str) -> None:
    page = admin.open(path, 404)
    assert page.heading == "Page not found"
    assert nav_of(page) == []
    assert "alice" in page.text
    assert admin.follow("Go to the start page").heading == "Acme"


def test_who_is_not_signed_in_is_led_to_the_start(acme: Workspace) -> None:
    page = Browser(Client()).open("/acme/nowhere/", 404)
    assert nav_of(page) == []
    assert steps_of(page) == ["Go to the start page"]


@pytest.mark.parametrize("slug", ["acme%00", "%00", "a" * 300, "%FF%FE", "%E2%80%AE"])
@pytest.mark.parametrize("rest", ["", "lock-log/", "settings/packages/containers/"])
def test_a_workspace_that_cannot_be_is_not_there(admin: Browser, slug: str, rest: str) -> None:
    admin.client.raise_request_exception = False
    assert admin.open(f"/{slug}/{rest}", 404).heading == "Page not found"


@pytest.mark.parametrize("ref", ["%00", "x" * 300, "%C3%9F", "..", "%FF"])
def test_an_event_that_cannot_be_is_not_there(admin: Browser, ref: str) -> None:
    admin.client.raise_request_exception = False
    assert admin.client.get(f"/acme/lock-log/{ref}").status_code == 404


def test_strangers_cannot_tell_whether_a_workspace_exists(
    admin: Browser, globex: Workspace
) -> None:
    exists, is_none = (admin.open(path, 404) for path in ("/globex/", "/initech/"))
    assert exists.main.text == is_none.main.text


def test_what_one_may_not_do(member: Browser) -> None:
    page = read_page(member.client.post(SETTINGS, {"protection": "all"}), 403)
    assert page.heading == "Not allowed"
    assert page.main.find_all("p")[0].text == (
        "Only admins of the workspace can change its settings. Ask an admin of the workspace."
    )
    assert "/acme/repositories/" in nav_of(page)
    assert steps_of(page) == ["See who is an admin of Acme", "Go to the overview of Acme"]


def test_a_form_that_did_not_come_from_this_site(alice: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    with nothing_written():
        page = read_page(client.post(SETTINGS, {"protection": "all", "version": "0"}), 403)
    assert page.heading == "Form expired"
    assert "Nothing was changed." in page.main.text
    assert "/acme/repositories/" in nav_of(page)


def test_a_form_of_another_site_is_refused(alice: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    browser = Browser(client)
    token = browser.open(SETTINGS).by_id("settings-form").find(name="csrfmiddlewaretoken")["value"]
    with nothing_written():
        response = client.post(
            SETTINGS,
            {"protection": "all", "version": "0", "csrfmiddlewaretoken": token},
            headers={"Origin": "https://evil.example"},
        )
    assert response.status_code == 403


def test_a_host_that_is_not_ours(admin: Browser) -> None:
    response = admin.client.get("/acme/", headers={"Host": "evil.example"})
    page = read_page(response, 400)
    assert page.heading == "Bad request"
    assert "evil.example" not in response.content.decode()


def test_a_form_of_too_many_fields(admin: Browser) -> None:
    page = read_page(admin.client.post(SETTINGS, {"x": ["y"] * 500}), 400)
    assert page.heading == "Bad request"


def test_a_form_that_is_too_large(admin: Browser) -> None:
    page = read_page(admin.client.post(SETTINGS, {"sample_tags": "x" * 2_000_000}), 413)
    assert page.heading == "Too large"
    assert page.main.text.startswith("Too large The body is larger than 65536 bytes.")


def test_a_bug(admin: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("immutability.pages.overview.read_policy", break_down)
    admin.client.raise_request_exception = False
    page = admin.open("/acme/", 500)
    assert page.heading == "Something went wrong"
    assert "tell your operator" in page.main.text
    assert "/acme/repositories/" in nav_of(page)
    assert steps_of(page) == ["Try again", "Go to the overview of Acme"]
    assert "secret detail" not in page.raw_text


def test_a_form_that_met_a_bug_is_not_opened_as_a_page(
    admin: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("immutability.pages.container_settings.save_container_settings", break_down)
    admin.client.raise_request_exception = False
    page = read_page(admin.client.post(SETTINGS, {"protection": "all", "version": "0"}), 500)
    assert steps_of(page) == ["Go to the overview of Acme"]


def test_a_page_for_a_bug_needs_no_database(
    admin: Browser, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    monkeypatch.setattr("immutability.pages.overview.read_policy", break_down)
    admin.client.raise_request_exception = False
    # Session, user and membership are read before the bug; the page itself reads nothing.
    with django_assert_num_queries(3):
        admin.client.get("/acme/")


# Programs get problem details.


def test_an_api_address_that_is_not_there(db: None) -> None:
    body = read_problem(Client().get("/api/v1/nowhere"), 404, "not_found")
    assert body["title"] == "Not found"


def test_an_api_host_that_is_not_ours(db: None) -> None:
    response = Client().get("/api/v1/schema", headers={"Host": "evil.example"})
    read_problem(response, 400, "bad_request")


def test_a_bug_in_the_api(admin: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("immutability.api.settings.read_policy", break_down)
    admin.client.raise_request_exception = False
    response = admin.client.get("/api/v1/workspaces/acme/container-settings")
    body = read_problem(response, 500, "error")
    assert "secret detail" not in str(body)


def test_a_form_check_that_fails_in_the_api(rf: RequestFactory) -> None:
    read_problem(csrf_failure(rf.post("/api/v1/check-push")), 403, "csrf_failed")


def test_a_denial_in_the_api(rf: RequestFactory) -> None:
    answer = permission_denied(rf.get("/api/v1/x"), PermissionError("You may not look."))
    body = read_problem(answer, 403, "forbidden")
    assert body["detail"].startswith("You may not look.")


def test_a_database_that_cannot_be_used_is_told_apart_from_a_bug(
    alice: User, sign_in: Callable[[User], Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OperationalError("the connection is lost")

    client = sign_in(alice)
    client.raise_request_exception = False
    monkeypatch.setattr("immutability.pages.locked_tags.find_locked_tags", fail)
    response = client.get("/acme/locked-tags/")
    page = read_page(response, 503)
    assert response["Retry-After"] == "10"
    assert page.heading == "Not available now"
    assert "check whether your change was saved" in page.main.text
    assert "/acme/repositories/" in nav_of(page)


@pytest.mark.parametrize("place", ["workspaces.sql.fetch", "django.contrib.auth.get_user"])
def test_before_the_workspace_is_known_the_frame_is_bare(
    alice: User,
    sign_in: Callable[[User], Client],
    monkeypatch: pytest.MonkeyPatch,
    django_assert_num_queries: Any,
    place: str,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OperationalError("the connection is lost")

    client = sign_in(alice)
    client.raise_request_exception = False
    monkeypatch.setattr(place, fail)
    with django_assert_num_queries(2 if place == "workspaces.sql.fetch" else 0):
        page = read_page(client.get("/acme/locked-tags/"), 503)
    assert nav_of(page) == []
    assert steps_of(page) == ["Try again", "Go to the start page"]
