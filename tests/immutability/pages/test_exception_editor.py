"""Add, remove and save exceptions without JavaScript."""

from collections.abc import Callable

import pytest

from immutability.pages.pattern_list import EXAMPLES, Example
from immutability.policy.protection import (
    PatternKind,
    Policy,
    PolicyException,
    PolicyRule,
    Protection,
)
from immutability.reading import read_policy
from tests.conftest import CACHES, LATEST, SEMVER
from tests.immutability.making import make_lock
from tests.page import Browser, Page, read_errors, read_page
from tests.problems import nothing_written
from workspaces.models import Workspace

SETTINGS = "/acme/settings/packages/containers/"
LATEST_TOO = "Without an exception, latest is locked by its first push too"
SEVEN = {
    "exception_name": [f"Exception {n}" for n in range(1, 8)],
    "exception_pattern": [f"^{n}$" for n in range(1, 8)],
}


def exceptions_of(page: Page) -> list[tuple[str, str]]:
    """Return the rows of the list: name and pattern."""
    names = page.find_all(name="exception_name")
    patterns = page.find_all(name="exception_pattern")
    return [
        (name["value"], pattern["value"]) for name, pattern in zip(names, patterns, strict=True)
    ]


def insert(example: Example) -> str:
    """Return what the button says that adds an example."""
    return f"Insert the exception {example.name} {example.pattern} {example.matches}"


def count_of(page: Page) -> str:
    return page.by_id("exception-count").text


# What the page shows.


@pytest.mark.parametrize("protection", Protection)
def test_saved_exceptions_are_in_the_page_whatever_is_chosen(
    acme: Workspace, admin: Browser, protect: Callable[..., Policy], protection: Protection
) -> None:
    protect(acme, protection, SEMVER, exceptions=(LATEST, CACHES))
    page = admin.open(SETTINGS)
    assert exceptions_of(page) == [(LATEST.name, LATEST.pattern), (CACHES.name, CACHES.pattern)]
    assert count_of(page) == "2 of 7 exceptions"
    assert LATEST_TOO not in page.main.text


def test_without_an_exception_the_page_says_that_latest_is_locked_too(admin: Browser) -> None:
    page = admin.open(SETTINGS)
    assert LATEST_TOO in page.main.text
    assert (exceptions_of(page), count_of(page)) == ([], "0 of 7 exceptions")


@pytest.mark.parametrize("role", ["member", "auditor"])
def test_others_see_them_in_words(
    request: pytest.FixtureRequest, acme: Workspace, protect: Callable[..., Policy], role: str
) -> None:
    protect(acme, Protection.ALL, exceptions=(LATEST, CACHES))
    browser: Browser = request.getfixturevalue(role)
    facts = browser.open(SETTINGS).facts
    assert facts["Exceptions"] == "Moving latest ^latest$ Build caches ^buildcache"


def test_an_exception_that_matches_every_tag_gets_a_hint(
    acme: Workspace, admin: Browser, protect: Callable[..., Policy]
) -> None:
    protect(acme, Protection.ALL, exceptions=(LATEST, PolicyException("Any", "v*")))
    page = admin.open(SETTINGS)
    hint = page.by_id(page.by_id("exception-pattern-2")["aria-describedby"])
    assert "so none would be protected" in hint.text
    assert page.by_id("exception-pattern-1").get("aria-describedby") is None
    page = admin.press("Use ^v for exception 2")
    assert exceptions_of(page)[1] == ("Any", "^v")
    assert page.focused_id == "exception-pattern-2"


# Add and remove.


def test_add_appends_a_blank_row_and_puts_the_focus_there(admin: Browser) -> None:
    admin.open(SETTINGS)
    page = admin.press("Empty exception")
    assert (exceptions_of(page), page.focused_id) == ([("", "")], "exception-name-1")
    # A blank row is no exception.
    assert LATEST_TOO in page.main.text
    admin.press("Save", protection="all")


@pytest.mark.parametrize("example", EXAMPLES[PatternKind.EXCEPTION], ids=lambda each: each.name)
def test_each_example_is_added_at_a_press(admin: Browser, example: Example) -> None:
    admin.open(SETTINGS)
    page = admin.press(insert(example))
    assert exceptions_of(page) == [(example.name, example.pattern)]
    assert page.focused_id == "exception-name-1"
    page = admin.press(insert(example))
    assert exceptions_of(page)[1] == (f"{example.name} 2", example.pattern)


def test_remove_takes_that_row_away(
    acme: Workspace, admin: Browser, protect: Callable[..., Policy]
) -> None:
    protect(acme, Protection.ALL, exceptions=(LATEST, CACHES))
    admin.open(SETTINGS)
    page = admin.press("Remove exception 1")
    assert exceptions_of(page) == [(CACHES.name, CACHES.pattern)]
    assert page.focused_id == "exception-name-1"
    page = admin.press("Remove exception 1")
    assert (exceptions_of(page), page.focused_id) == ([], "exceptions-heading")
    assert page.by_id("exceptions-heading")["tabindex"] == "-1"
    admin.press("Save")
    assert read_policy(acme).exceptions == ()


def test_rules_and_exceptions_are_changed_apart(admin: Browser) -> None:
    admin.open(SETTINGS)
    admin.press("Empty rule", rule_name="R", rule_pattern="^r")
    page = admin.press(insert(EXAMPLES[PatternKind.EXCEPTION][0]))
    assert len(page.find_all(name="rule_name")) == 2
    page = admin.press("Remove rule 1")
    assert exceptions_of(page) == [(LATEST.name, LATEST.pattern)]
    assert page.by_id("rule-name-1")["value"] == ""


@pytest.mark.parametrize("action", ["add_exception", "insert_exception_example:1"])
def test_an_eighth_exception_is_not_added_and_the_page_says_why(
    admin: Browser, action: str
) -> None:
    response = admin.client.post(SETTINGS, {"action": action, "version": "0", **SEVEN})
    page = read_page(response)
    said = "There are already 7 exceptions. Remove one to add another."
    assert exceptions_of(page) == list(zip(*SEVEN.values(), strict=True))
    assert page.by_id("exceptions-error").text == said
    assert page.focused_id == "exceptions-heading"
    assert "Add an exception" not in page.text


@pytest.mark.parametrize(
    "action",
    [
        *("remove_exception:0", "remove_exception:3", "remove_exception:", "remove_exceptions:1"),
        *("insert_exception_example:0", "insert_exception_example:4"),
        *("use_exception_suggestion:0", "use_exception_suggestion:3"),
    ],
)
def test_a_number_that_names_nothing_changes_nothing(admin: Browser, action: str) -> None:
    rows = {"exception_name": ["A", "B"], "exception_pattern": ["v*", "b"]}
    response = admin.client.post(SETTINGS, {"action": action, "version": "0", **rows})
    assert exceptions_of(read_page(response)) == [("A", "v*"), ("B", "b")]


# Save.


@pytest.mark.parametrize("protection", [Protection.NONE, Protection.ALL])
def test_what_was_typed_is_saved_as_it_is(
    acme: Workspace, admin: Browser, protection: Protection
) -> None:
    admin.open(SETTINGS)
    admin.press("Empty exception")
    admin.press("Save", protection=protection, exception_name=" A ", exception_pattern=" |^a")
    assert read_policy(acme) == Policy(1, protection, exceptions=(PolicyException(" A ", " |^a"),))


def test_all_without_an_exception_can_be_saved(acme: Workspace, admin: Browser) -> None:
    admin.open(SETTINGS)
    admin.press("Save", protection="all")
    assert read_policy(acme) == Policy(1, Protection.ALL)


def test_what_is_wrong_stands_beside_its_field(admin: Browser) -> None:
    admin.open(SETTINGS)
    with nothing_written():
        page = admin.press(
            "Save",
            422,
            protection="all",
            rule_name=["R"],
            rule_pattern=["("],
            exception_name=["Same", "", "same", ""],
            exception_pattern=["^a", "", "^b ", "^c"],
        )
    errors = read_errors(page)
    assert list(errors) == [
        "rule-pattern-1",
        "exception-name-1",
        "exception-name-3",
        "exception-pattern-3",
        "exception-name-4",
    ]
    said = 'Two exceptions are named "Same". Give each a name of its own.'
    assert errors["exception-name-1"] == f"Exception 1, name: {said}"
    assert errors["exception-name-4"] == "Exception 4, name: Enter a name for the exception."


def test_eight_exceptions_are_refused_as_a_whole(admin: Browser) -> None:
    admin.open(SETTINGS)
    names = [f"Exception {n}" for n in range(8)]
    page = admin.press(
        "Save", 422, protection="all", exception_name=names, exception_pattern=["^a"] * 8
    )
    said = "A workspace has at most 7 exceptions; remove 1."
    assert read_errors(page) == {"exception-name-1": said}
    assert page.by_id("exceptions-error").text == said


def test_an_exception_that_suspends_a_lock_asks_first(
    acme: Workspace, admin: Browser, protect: Callable[..., Policy]
) -> None:
    protect(acme, Protection.ALL)
    make_lock(acme, "latest")
    admin.open(SETTINGS)
    admin.press(insert(EXAMPLES[PatternKind.EXCEPTION][0]))
    with nothing_written():
        page = admin.press("Save", 409)
    assert "acme/api:latest" in page.main.find(role="alert").text
    admin.press("Suspend 1 lock and save")
    assert read_policy(acme).exceptions == (LATEST,)


def test_rules_and_exceptions_are_saved_together(acme: Workspace, admin: Browser) -> None:
    admin.open(SETTINGS)
    admin.press(insert(EXAMPLES[PatternKind.EXCEPTION][0]), rule_name="R", rule_pattern="^r")
    admin.press("Save", protection="some")
    assert read_policy(acme) == Policy(
        1, Protection.SOME, (PolicyRule("R", "^r"),), exceptions=(LATEST,)
    )
