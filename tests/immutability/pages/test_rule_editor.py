"""Add, remove and insert rules without JavaScript: the form comes back, and nothing is saved."""

from collections.abc import Callable

import pytest

from immutability.pages.pattern_list import EXAMPLES as ALL_EXAMPLES
from immutability.pages.pattern_list import Example
from immutability.policy.protection import PatternKind, Policy, PolicyRule, Protection
from immutability.reading import read_policy
from tests.page import Browser, Page, read_page
from tests.problems import nothing_written
from workspaces.models import Workspace

SETTINGS = "/acme/settings/packages/containers/"
EXAMPLES = ALL_EXAMPLES[PatternKind.RULE]

SEVEN = {
    "rule_name": [f"Rule {n}" for n in range(1, 8)],
    "rule_pattern": [f"^{n}$" for n in range(1, 8)],
}
INSERT = {
    example: f"Insert the rule {example.name} {example.pattern} {example.matches}"
    for example in EXAMPLES
}
PRODUCTION = INSERT[EXAMPLES[0]]


def rules_of(page: Page) -> list[tuple[str, str]]:
    """Return the editor's rows: name and pattern."""
    names, patterns = page.find_all(name="rule_name"), page.find_all(name="rule_pattern")
    return [
        (name["value"], pattern["value"]) for name, pattern in zip(names, patterns, strict=True)
    ]


def test_add_appends_a_blank_row_and_puts_the_focus_there(admin: Browser) -> None:
    admin.open(SETTINGS)
    page = admin.press("Empty rule", rule_name="A", rule_pattern="a")
    assert rules_of(page) == [("A", "a"), ("", "")]
    assert page.focused_id == "rule-name-2"


def test_add_uses_a_blank_row_where_there_is_one(admin: Browser) -> None:
    admin.open(SETTINGS)
    page = admin.press("Empty rule", rule_name=["A", "", "C"], rule_pattern=["a", "", "c"])
    assert rules_of(page) == [("A", "a"), ("", ""), ("C", "c")]
    assert page.focused_id == "rule-name-2"


@pytest.mark.parametrize(
    ("removed", "left", "focused_id"),
    [
        (1, ["B", "C"], "rule-name-1"),
        (2, ["A", "C"], "rule-name-2"),
        (3, ["A", "B"], "rule-name-2"),
    ],
)
def test_remove_takes_that_row_away_and_puts_the_focus_on_the_next(
    acme: Workspace,
    admin: Browser,
    protect: Callable[..., Policy],
    removed: int,
    left: list[str],
    focused_id: str,
) -> None:
    protect(acme, Protection.SOME, *(PolicyRule(name, name.lower()) for name in "ABC"))
    admin.open(SETTINGS)
    page = admin.press(f"Remove rule {removed}")
    assert rules_of(page) == [(name, name.lower()) for name in left]
    assert page.focused_id == focused_id


def test_after_the_last_rule_is_removed_a_blank_row_stands_there_and_the_heading_has_the_focus(
    admin: Browser,
) -> None:
    admin.open(SETTINGS)
    page = admin.press("Remove rule 1", rule_name="A", rule_pattern="a")
    assert rules_of(page) == [("", "")]
    assert page.focused_id == "rules-heading"
    assert page.by_id("rules-heading")["tabindex"] == "-1"
    assert page.by_id("rule-count").text == "0 of 7 rules"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_each_example_is_inserted_into_the_blank_row(admin: Browser, example: Example) -> None:
    admin.open(SETTINGS)
    page = admin.press(INSERT[example])
    assert rules_of(page) == [(example.name, example.pattern)]
    assert page.focused_id == "rule-name-1"


def test_the_examples_are_those_of_the_announcement_and_one_for_helm(admin: Browser) -> None:
    page = admin.open(SETTINGS)
    menu = page.by_id("add-rule")
    assert [code.text for code in menu.find_all("code")] == [
        "^prod$",
        r"^v\d+\.\d+\.\d+$",
        r"^v?\d+\.\d+\.\d+([-_].*)?$",
        "^release-.*$",
        "^(staging|prod)$",
    ]


def test_an_example_is_appended_where_no_row_is_blank(admin: Browser) -> None:
    admin.open(SETTINGS)
    page = admin.press(PRODUCTION, rule_name="A", rule_pattern="a")
    assert rules_of(page) == [("A", "a"), ("Production", "^prod$")]
    assert page.focused_id == "rule-name-2"


def test_an_example_that_is_inserted_twice_gets_a_name_of_its_own(admin: Browser) -> None:
    admin.open(SETTINGS)
    admin.press(PRODUCTION)
    admin.press(PRODUCTION)
    page = admin.press(PRODUCTION)
    assert [name for name, _ in rules_of(page)] == ["Production", "Production 2", "Production 3"]


def test_all_four_examples_can_be_inserted_and_saved(acme: Workspace, admin: Browser) -> None:
    admin.open(SETTINGS)
    for button in INSERT.values():
        admin.press(button)
    page = admin.press("Save", protection="some")
    assert page.banners[0].startswith("Saved: Some tags are protected.")
    assert rules_of(page) == [(example.name, example.pattern) for example in EXAMPLES]


@pytest.mark.parametrize("button", ["Empty rule", "Remove rule 1", *INSERT.values(), "Try"])
def test_whatever_else_was_typed_comes_back_and_nothing_is_saved(
    acme: Workspace, admin: Browser, button: str
) -> None:
    admin.open(SETTINGS)
    with nothing_written():
        page = admin.press(
            button,
            protection="some",
            rule_name=["First", " Kept as it is "],
            rule_pattern=["[not valid", "  ^v "],
            protect_signature_tags="on",
            sample_tags="\nv1\n  v2  ",
        )
    form = page.read_form(page.by_id("settings-form"))
    assert form["protection"] == ["some"]
    assert form["protect_signature_tags"] == ["on"]
    assert "refuse_identical_pushes" not in form
    assert form["sample_tags"] == ["\nv1\n  v2  "]
    assert form["version"] == ["0"]
    assert (" Kept as it is ", "  ^v ") in rules_of(page)
    assert page.title.startswith("Container settings")
    assert page.banners == []


def test_at_seven_rules_there_is_no_button_to_add_but_a_sentence(admin: Browser) -> None:
    admin.open(SETTINGS)
    page = admin.press("Try", **SEVEN)
    assert "Add a rule" not in [button.text for button in page.find_all("button")]
    assert "Remove one to add another." in page.main.text
    assert page.by_id("rule-count").text == "7 of 7 rules"


@pytest.mark.parametrize("action", ["add_rule", "insert_rule_example:1"])
def test_an_eighth_rule_is_not_added_and_the_page_says_why(admin: Browser, action: str) -> None:
    admin.open(SETTINGS)
    response = admin.client.post(SETTINGS, {"action": action, "version": "0", **SEVEN})
    assert response.status_code == 200
    page = admin.press(PRODUCTION, **SEVEN)
    assert rules_of(page) == list(zip(*SEVEN.values(), strict=True))
    assert page.by_id("rules-error").text == "There are already 7 rules. Remove one to add another."
    assert page.focused_id == "rules-heading"


def test_after_one_of_seven_is_removed_another_can_be_added(admin: Browser) -> None:
    admin.open(SETTINGS)
    admin.press("Try", **SEVEN)
    admin.press("Remove rule 4")
    page = admin.press("Empty rule")
    assert rules_of(page)[3:] == [("Rule 5", "^5$"), ("Rule 6", "^6$"), ("Rule 7", "^7$"), ("", "")]


@pytest.mark.parametrize(
    "action",
    [
        "remove_rule:0",
        "remove_rule:3",
        "remove_rule:",
        "insert_rule_example:0",
        "insert_rule_example:6",
        "use_rule_suggestion:0",
        "use_rule_suggestion:3",
        "use_rule_suggestion:1",
    ],
)
def test_a_number_that_names_nothing_changes_nothing(admin: Browser, action: str) -> None:
    admin.open(SETTINGS)
    rows = {"rule_name": ["A", "B"], "rule_pattern": ["a", "b"]}
    response = admin.client.post(SETTINGS, {"action": action, "version": "0", **rows})
    assert rules_of(read_page(response)) == [("A", "a"), ("B", "b")]


@pytest.mark.parametrize(
    ("typed", "suggested"), [("release-*", "^release-"), ("^prod$ ", "^prod$"), (r"^v\Z", "^v$")]
)
def test_a_suggestion_is_used_at_a_press(admin: Browser, typed: str, suggested: str) -> None:
    admin.open(SETTINGS)
    admin.press("Try", rule_name=["A", "B"], rule_pattern=["^x", typed])
    page = admin.press(f"Use {suggested} for rule 2")
    assert rules_of(page) == [("A", "^x"), ("B", suggested)]
    assert page.focused_id == "rule-pattern-2"
    assert page.find_all(class_="rule-advice") == []


def test_a_refused_pattern_comes_with_its_suggestion(admin: Browser) -> None:
    admin.open(SETTINGS)
    admin.press("Save", 422, protection="some", rule_name="A", rule_pattern="^prod$ ")
    page = admin.press("Use ^prod$ for rule 1")
    assert rules_of(page) == [("A", "^prod$")]


def test_htmx_swaps_what_a_button_changes(admin: Browser) -> None:
    page = admin.open(SETTINGS)
    swapped: dict[str, set[str]] = {}
    for button in page.find_all("button", hx_post=True):
        assert button["hx-post"] == SETTINGS
        assert button["hx-target"] == button["hx-select"]
        assert page.by_id(button["hx-target"].removeprefix("#"))
        swapped.setdefault(button["hx-target"], set()).add(button["value"].partition(":")[0])
    assert swapped == {
        "#settings": {"save"},
        "#choices": {
            "remove_rule",
            *(f"add_{kind}" for kind in PatternKind),
            *(f"insert_{kind}_example" for kind in PatternKind),
        },
        "#try-tags": {"use_newest_tags"},
    }
    for button in page.find_all("button", hx_select_oob=True):
        for name in button["hx-select-oob"].split(","):
            assert page.by_id(name.removeprefix("#"))


# Moving.


@pytest.mark.parametrize(
    ("button", "order", "focused"),
    [
        ("Move rule 1 down", "BAC", "Move rule 2 down"),
        ("Move rule 2 down", "ACB", "Move rule 3 up"),
        ("Move rule 2 up", "BAC", "Move rule 1 down"),
        ("Move rule 3 up", "ACB", "Move rule 2 up"),
    ],
)
def test_a_rule_is_moved_and_its_button_keeps_the_focus(
    acme: Workspace,
    admin: Browser,
    protect: Callable[..., Policy],
    button: str,
    order: str,
    focused: str,
) -> None:
    protect(acme, Protection.SOME, *(PolicyRule(name, name.lower()) for name in "ABC"))
    admin.open(SETTINGS)
    page = admin.press(button)
    assert [name for name, _ in rules_of(page)] == list(order)
    [holder] = page.find_all(autofocus=True)
    assert holder.text == focused
    assert page.by_id("unsaved").text == "Unsaved changes order of rules changed"
    admin.press("Save")
    assert [rule.name for rule in read_policy(acme).rules] == list(order)


def test_the_first_cannot_go_up_and_the_last_cannot_go_down(
    acme: Workspace, admin: Browser, protect: Callable[..., Policy]
) -> None:
    protect(acme, Protection.SOME, *(PolicyRule(name, name.lower()) for name in "AB"))
    page = admin.open(SETTINGS)
    moves = [button.text for button in page.find_all("button") if button.text.startswith("Move")]
    assert moves == ["Move rule 1 down", "Move rule 2 up"]
    for action in ("move_rule_up:1", "move_rule_down:2", "move_rule_up:0", "move_rule_down:9"):
        response = admin.client.post(
            SETTINGS,
            {"action": action, "version": "1", "rule_name": ["A", "B"], "rule_pattern": ["a", "b"]},
        )
        assert rules_of(read_page(response)) == [("A", "a"), ("B", "b")]


# What is not saved.


def test_each_row_says_what_it_is_beside_what_is_saved(
    acme: Workspace, admin: Browser, protect: Callable[..., Policy]
) -> None:
    protect(acme, Protection.SOME, *(PolicyRule(name, name.lower()) for name in "ABC"))
    page = admin.open(SETTINGS)
    assert page.by_id("unsaved").text.startswith("All changes saved")
    assert page.find_all(class_="unsaved-dot") == []
    page = admin.press("Try", rule_name=["A", "B", "D"], rule_pattern=["a", "bb", "d"])
    assert [page.by_id(f"rule-change-{n}").text for n in (1, 2, 3)] == ["", "Edited", "New"]
    assert page.by_id("unsaved").text == "Unsaved changes 1 rule added, 1 edited, 1 removed"
