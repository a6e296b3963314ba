"""The panel "What saving changes", live and without JavaScript, and its whole lists."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from containers.models import Tag as TagRecord
from immutability import preview
from immutability.policy.patterns import PatternEvaluationError
from immutability.policy.protection import Policy, PolicyException, PolicyRule, Protection
from tests.conftest import AA, BB, SEMVER
from tests.immutability.making import land, make_lock
from tests.page import Browser, Page, parse, read_page
from tests.problems import nothing_written
from workspaces.models import Workspace
from workspaces.throttles import PREVIEWS_PER_CALLER

SETTINGS = "/acme/settings/packages/containers/"
PREVIEW = f"{SETTINGS}preview/"
LIST = f"{PREVIEW}list/"
PROD = PolicyRule("Production", "^prod")

Typed = str | list[str]


def send(browser: Browser, protection: str = "some", /, path: str = PREVIEW, **typed: Typed) -> Any:
    sent = {"version": "0", "protection": protection, **typed}
    with nothing_written():
        return browser.client.post(path, sent, headers={"HX-Request": "true"})


def ask(browser: Browser, protection: str = "some", /, **typed: Any) -> Page:
    """Send what the page's script sends, and return the fragment that comes back."""
    response = send(browser, protection, **typed)
    assert response.status_code == 200
    return parse(response.content.decode())


def effects_of(fragment: Page) -> list[str]:
    """Return the lines of the preview, without the examples."""
    lines = []
    for words in fragment.find_all(class_="effect-words"):
        number = next(
            each
            for each in words.parent.find_all("b")  # type: ignore[union-attr]
        )
        example = "".join(each.text for each in words.find_all(class_="effect-example"))
        lines.append(f"{number.text} {words.text.removesuffix(example)}".strip())
    return lines


@pytest.fixture
def tags(acme: Workspace) -> Workspace:
    """Two tags without a lock, of which one was overwritten, and a lock."""
    for digest in (AA, BB):
        land(acme, digest, "v1.0.0", timezone.now() - timedelta(days=1))
    for tag in ("v1.0.0", "main"):
        TagRecord.objects.create(
            workspace=acme, repository="acme/api", name=tag, digest=BB, pushed_at=timezone.now()
        )
    make_lock(acme, "prod")
    return acme


def test_it_says_what_becomes_of_tags_locks_and_pushes(
    tags: Workspace, admin: Browser, protect: Callable[..., Policy]
) -> None:
    protect(tags, Protection.SOME, PROD)
    fragment = ask(
        admin, rule_name=["Versions", "Hotfixes"], rule_pattern=[SEMVER.pattern, "^hotfix"]
    )
    assert effects_of(fragment) == [
        "1 tag becomes locked by Versions",
        "1 lock is suspended, no longer covered by Production",
        "1 push of the last 30 days would have been refused",
        "1 rule matches no tag yet: Hotfixes",
    ]
    assert [each.text for each in fragment.find_all(class_="effect-example")] == [
        "acme/api:v1.0.0",
        "acme/api:prod",
        "acme/api:v1.0.0 by dana",
    ]
    assert fragment.by_id("preview-checked").text == "All 3 tags checked"
    assert [fragment.by_id(f"rule-covers-{number}").text for number in (1, 2)] == [
        "1 tag",
        "No tags",
    ]


def test_exceptions_are_named_where_they_are_the_reason(
    tags: Workspace, admin: Browser, protect: Callable[..., Policy]
) -> None:
    protect(tags, Protection.ALL)
    latest = {"exception_name": "Production", "exception_pattern": "^prod$"}
    assert effects_of(ask(admin, "all", **latest)) == ["1 lock is suspended by Production"]
    protect(tags, Protection.ALL, exceptions=(PolicyException("Production", "^prod$"),))
    assert effects_of(ask(admin, "all")) == ["1 lock holds again, no longer left out by Production"]


def test_where_nothing_changes_it_says_so(
    tags: Workspace, admin: Browser, protect: Callable[..., Policy]
) -> None:
    protect(tags, Protection.SOME, PROD)
    fragment = ask(admin, rule_name="Production", rule_pattern="^prod")
    assert effects_of(fragment) == ["0 No tag and no lock changes"]


def test_of_too_many_tags_it_says_at_least(
    tags: Workspace, admin: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview, "MAX_NAMES", 1)
    fragment = ask(admin, "all")
    assert "or more" in fragment.text
    assert fragment.by_id("preview-checked").text == "1 tag checked, of more"


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], "No tags yet"),
        (["v1.0.0"], "1 tag checked"),
        (["main", "v1.0.0"], "All 2 tags checked"),
    ],
)
def test_it_says_how_many_tags_were_checked(
    acme: Workspace, admin: Browser, names: list[str], said: str
) -> None:
    for name in names:
        TagRecord.objects.create(
            workspace=acme, repository="acme/api", name=name, digest=BB, pushed_at=timezone.now()
        )
    assert ask(admin, "all").by_id("preview-checked").text == said


@pytest.mark.parametrize(
    ("protection", "typed", "said"),
    [
        ("some", {"rule_name": "A", "rule_pattern": "["}, "Rule 1: The bracket opened"),
        ("some", {"rule_name": ["R"] * 60, "rule_pattern": ["^v"] * 60}, "A workspace has at most"),
        ("all", {"exception_name": "A", "exception_pattern": ""}, "Exception 1: Enter a pattern."),
        ("", {}, "Choose one of the three options first."),
    ],
)
def test_what_is_wrong_is_an_answer_too(
    acme: Workspace, admin: Browser, protection: str, typed: dict[str, Typed], said: str
) -> None:
    fragment = ask(admin, protection, **typed)
    assert fragment.find(class_="error").text.startswith(said)


def test_a_rule_without_a_name_is_previewed_already(tags: Workspace, admin: Browser) -> None:
    fragment = ask(admin, rule_name="", rule_pattern="^main$")
    assert effects_of(fragment) == ["1 tag becomes locked by"]


def test_a_matcher_that_fails_is_never_no_match(
    tags: Workspace, admin: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise PatternEvaluationError('The pattern "x" failed: out of memory')

    monkeypatch.setattr("immutability.policy.patterns.PatternSet.find", fail)
    fragment = ask(admin, rule_name="A", rule_pattern="x")
    assert fragment.find(class_="error").text == 'The pattern "x" failed: out of memory'


def test_too_many_previews_are_told(
    tags: Workspace, admin: Browser, monkeypatch: pytest.MonkeyPatch, within_one_window: None
) -> None:
    limit = replace(PREVIEWS_PER_CALLER, calls=1, seconds=3600)
    monkeypatch.setattr("immutability.pages.preview.PREVIEWS_PER_CALLER", limit)
    assert ask(admin, "all").find_all(class_="error") == []
    assert ask(admin, "all").find(class_="error").text.startswith("Too many previews.")


def test_hostile_names_are_shown_as_text(tags: Workspace, admin: Browser) -> None:
    fragment = ask(admin, rule_name="<img src=x onerror=alert(1)>", rule_pattern="^main$")
    assert fragment.find_all("img") == []
    assert effects_of(fragment) == ["1 tag becomes locked by <img src=x onerror=alert(1)>"]


# The whole list.


def test_a_whole_list_has_every_tag_by_rule(tags: Workspace, admin: Browser) -> None:
    for number in range(30):
        TagRecord.objects.create(
            workspace=tags, repository="acme/web", name=f"v2.{number}.0", digest=AA
        )
    typed = {"rule_name": ["Versions", "Main"], "rule_pattern": ["^v", "^main$"]}
    response = send(admin, path=LIST, list="locked", **typed)
    page = read_page(response, 200)
    assert [each.text for each in page.main.find_all("h2")] == [
        "31 tags become locked by Versions",
        "1 tag becomes locked by Main",
    ]
    assert len(page.main.find_all("li")) >= 32
    assert page.main.find_all("a", href="/acme/repositories/acme/web:v2.7.0/")


@pytest.mark.parametrize("name", ["", "everything"])
def test_a_list_of_nothing_says_so(tags: Workspace, admin: Browser, name: str) -> None:
    page = read_page(send(admin, "all", path=LIST, list=name), 200)
    assert "Nothing to list" in page.main.text


# Who may ask.


@pytest.mark.parametrize("path", [PREVIEW, LIST])
@pytest.mark.parametrize("role", ["member", "auditor"])
def test_members_and_auditors_may_not_ask(
    request: pytest.FixtureRequest, role: str, path: str
) -> None:
    browser: Browser = request.getfixturevalue(role)
    assert browser.client.post(path, {"protection": "all"}).status_code == 403


# Without JavaScript.


def test_without_javascript_each_answer_has_a_preview(tags: Workspace, admin: Browser) -> None:
    page = admin.open(SETTINGS)
    assert "Taglock checks all tags of Acme" in page.by_id("preview").text
    with nothing_written():
        page = admin.press("Check what saving changes", protection="all")
    assert "2 tags become locked" in page.by_id("preview").text
    assert page.by_id("preview-checked").text == "All 3 tags checked"
    assert page.focused_id == "preview-heading"
    page = admin.press("Empty rule", rule_name="Main", rule_pattern="^main$")
    assert page.by_id("rule-covers-1").text == "1 tag"


# Signed out while typing.


@pytest.mark.parametrize("is_htmx", [False, True])
def test_what_is_typed_survives_sign_in(acme: Workspace, admin: Browser, *, is_htmx: bool) -> None:
    admin.open(SETTINGS)
    client, stranger = admin.client, Client()
    typed = {
        "version": "0",
        "action": "save",
        "protection": "some",
        "rule_name": ["A", " B "],
        "rule_pattern": ["^a$", " ^b"],
        "exception_name": "Moving",
        "exception_pattern": "^latest$",
        "protect_signature_tags": "on",
    }
    headers = {"HX-Request": "true"} if is_htmx else {}
    with nothing_written():
        response = stranger.post(SETTINGS, typed, headers=headers)
    address = response.headers["HX-Redirect" if is_htmx else "Location"]
    assert address.startswith("/accounts/login/?next=")
    stranger.post(address, {"username": "alice", "password": "demo"})
    admin.client = client
    back = stranger.post(address, {"username": "alice", "password": "demo"}).headers["Location"]
    page = admin.open(back)
    form = page.read_form(page.by_id("settings-form"))
    assert (form["rule_name"], form["rule_pattern"]) == (["A", " B "], ["^a$", " ^b"])
    assert form["exception_pattern"] == ["^latest$"]
    assert form["protection"] == ["some"]
    assert form["protect_signature_tags"] == ["on"]
    assert "What you typed is still here" in page.banners[0]
    assert page.by_id("unsaved").find_all(class_="unsaved-dot")


@pytest.mark.parametrize("kept", ["", "nonsense", "a:b:c"])
def test_what_nobody_signed_is_not_filled_in(acme: Workspace, admin: Browser, kept: str) -> None:
    page = admin.open(f"{SETTINGS}?typed={kept}")
    assert page.by_id("rule-name-1")["value"] == ""
    assert page.banners == []


def test_what_was_typed_for_another_workspace_is_not_filled_in(
    acme: Workspace, globex: Workspace, admin: Browser
) -> None:
    other = SETTINGS.replace("acme", "globex")
    response = Client().post(other, {"rule_name": "A", "rule_pattern": "^a$"})
    kept = response.headers["Location"].partition("typed%3D")[2]
    assert kept
    page = admin.open(f"{SETTINGS}?typed={kept}")
    assert page.by_id("rule-name-1")["value"] == ""


def test_what_is_too_long_for_an_address_is_not_kept(acme: Workspace) -> None:
    names = [sha256(str(number).encode()).hexdigest() for number in range(90)]
    patterns = names[::-1]
    response = Client().post(SETTINGS, {"rule_name": names, "rule_pattern": patterns})
    assert len(response.headers["Location"]) < 8000
