"""Container settings that cannot be saved: what is said, where, and that nothing typed is lost."""

from collections.abc import Callable

import pytest

from immutability.policy.drafts import NO_RULES
from immutability.policy.protection import Policy, Protection
from tests.conftest import SEMVER
from tests.page import Browser, Element, Page, read_errors
from tests.problems import nothing_written
from workspaces.models import Workspace

SETTINGS = "/acme/settings/packages/containers/"
NO_NAME = "Enter a name for the rule."
NO_PATTERN = "Enter a pattern."


def fail_to_save(browser: Browser, **typed: str | list[str] | None) -> Page:
    """Save what cannot be saved, and return the page that says so."""
    browser.open(SETTINGS)
    with nothing_written():
        page = browser.press("Save", 422, **typed)
    assert page.redirects == []
    return page


def test_some_tags_without_a_rule(admin: Browser) -> None:
    page = fail_to_save(admin, protection="some")
    assert read_errors(page) == {"rule-name-1": "Add a rule, or choose No tags are protected."}
    assert page.find(type="radio", checked=True)["value"] == "some"


def test_some_tags_with_blank_rows_alone(admin: Browser) -> None:
    page = fail_to_save(admin, protection="some", rule_name=["", ""], rule_pattern=["", ""])
    assert read_errors(page) == {"rule-name-1": NO_RULES}


def test_some_tags_without_any_row(admin: Browser) -> None:
    page = fail_to_save(admin, protection="some", rule_name=None, rule_pattern=None)
    assert read_errors(page) == {"rule-name-1": NO_RULES}


@pytest.mark.parametrize("chosen", [None, "", "everything", "NONE", "\x00"])
def test_no_option_chosen(admin: Browser, chosen: str | None) -> None:
    page = fail_to_save(admin, protection=chosen, rule_name="A", rule_pattern="a")
    assert read_errors(page) == {"protection-none": "Choose one of the three options."}
    assert page.find_all(type="radio", checked=True) == []
    assert page.by_id("rule-name-1")["value"] == "A"


def test_a_rule_without_a_name(admin: Browser) -> None:
    page = fail_to_save(admin, protection="some", rule_name="", rule_pattern="^v")
    assert read_errors(page) == {"rule-name-1": f"Rule 1, name: {NO_NAME}"}


def test_a_rule_whose_name_is_blank_space(admin: Browser) -> None:
    page = fail_to_save(admin, protection="some", rule_name="  ", rule_pattern="^v")
    assert read_errors(page) == {"rule-name-1": f"Rule 1, name: {NO_NAME}"}
    assert page.by_id("rule-name-1")["value"] == "  "


def test_a_rule_without_a_pattern(admin: Browser) -> None:
    page = fail_to_save(admin, protection="some", rule_name="A", rule_pattern="")
    assert read_errors(page) == {"rule-pattern-1": f"Rule 1, pattern: {NO_PATTERN}"}


@pytest.mark.parametrize("other", ["Release", "release", "RELEASE"])
def test_two_rules_of_one_name(admin: Browser, other: str) -> None:
    page = fail_to_save(
        admin, protection="some", rule_name=["Release", other], rule_pattern=["a", "b"]
    )
    said = 'Two rules are named "{}". Give each a name of its own.'
    assert read_errors(page) == {
        "rule-name-1": "Rule 1, name: " + said.format("Release"),
        "rule-name-2": "Rule 2, name: " + said.format(other),
    }


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(?=v)", 'RE2 has no lookahead or lookbehind, so "(?=" cannot be used.'),
        (r"(a)\1", r'RE2 has no backreferences, so "\1" cannot be used.'),
        ("[a-z", 'The bracket opened in "[a-z" is not closed. Add a ].'),
        ("^prod$ ", "This pattern matches no tag, so it protects nothing: a tag has no spaces."),
        ("(v", 'A parenthesis in "(v" is not closed.'),
        ("*", '"*" has nothing before it to repeat.'),
        ("v\n", "Remove the character U+000A"),
        ("v\x00", "Remove the character U+0000"),
    ],
)
def test_a_pattern_that_does_not_compile(admin: Browser, pattern: str, reason: str) -> None:
    page = fail_to_save(admin, protection="some", rule_name="A", rule_pattern=pattern)
    errors = read_errors(page)
    assert list(errors) == ["rule-pattern-1"]
    assert errors["rule-pattern-1"].startswith(f"Rule 1, pattern: {reason}")
    assert page.by_id("rule-pattern-1")["value"] == pattern


@pytest.mark.parametrize("protection", ["none", "all"])
def test_a_bad_pattern_is_refused_even_where_rules_are_not_used(
    admin: Browser, protection: str
) -> None:
    page = fail_to_save(admin, protection=protection, rule_name="A", rule_pattern="[")
    assert list(read_errors(page)) == ["rule-pattern-1"]


def test_a_name_and_a_pattern_that_are_too_long(admin: Browser) -> None:
    page = fail_to_save(admin, protection="some", rule_name="n" * 65, rule_pattern="p" * 101)
    assert read_errors(page) == {
        "rule-name-1": "Rule 1, name: The name has 65 characters; at most 64 are allowed.",
        "rule-pattern-1": "Rule 1, pattern: The pattern has 101 characters; at most 100 are "
        "allowed.",
    }
    assert page.by_id("rule-name-1")["value"] == "n" * 65
    assert page.by_id("rule-pattern-1")["value"] == "p" * 101


def test_eight_rules(admin: Browser) -> None:
    names, patterns = [f"Rule {n}" for n in range(8)], [f"^{n}$" for n in range(8)]
    page = fail_to_save(admin, protection="some", rule_name=names, rule_pattern=patterns)
    assert read_errors(page) == {"rule-name-1": "A workspace has at most 7 rules; remove 1."}
    assert [each["value"] for each in page.find_all(name="rule_name")] == names
    assert page.by_id("rule-count").text == "8 of 7 rules"


def test_each_error_leads_to_its_own_row_with_blank_rows_between(admin: Browser) -> None:
    page = fail_to_save(
        admin,
        protection="some",
        rule_name=["", "Good", "", "Bad"],
        rule_pattern=["", "^v", "^w", "["],
    )
    assert list(read_errors(page)) == ["rule-name-3", "rule-pattern-4"]
    assert page.by_id("rule-name-2").get("aria-invalid") is None


def test_the_summary_comes_before_every_field(admin: Browser) -> None:
    page = fail_to_save(admin, protection="some")
    order = [each for each in page.main.walk() if each.get("role") == "alert" or _is_seen(each)]
    assert order[0].get("role") == "alert"
    assert page.focused_id == ""


def test_without_errors_there_is_no_summary(admin: Browser) -> None:
    page = admin.open(SETTINGS)
    assert page.find_all(role="alert") == []
    assert page.find_all(aria_invalid=True) == []
    assert not page.title.startswith("Error")


def test_everything_typed_is_still_there(admin: Browser) -> None:
    page = fail_to_save(
        admin,
        protection="some",
        rule_name=[" Spaces ", "<b>"],
        rule_pattern=["[", '"&'],
        refuse_identical_pushes="on",
        sample_tags="v1\nv2",
    )
    form = page.read_form(page.by_id("settings-form"))
    del form["csrfmiddlewaretoken"]
    assert form == {
        "version": ["0"],
        "protection": ["some"],
        "rule_name": [" Spaces ", "<b>"],
        "rule_pattern": ["[", '"&'],
        "refuse_identical_pushes": ["on"],
        "sample_tags": ["v1\nv2"],
    }


def test_a_mistake_can_be_mended_and_saved(acme: Workspace, admin: Browser) -> None:
    fail_to_save(admin, protection="some", rule_name=SEMVER.name, rule_pattern="[")
    page = admin.press("Save", rule_pattern=SEMVER.pattern)
    assert page.banners[0].startswith("Saved")


def test_an_error_in_new_rules_leaves_the_saved_ones_in_force(
    acme: Workspace, admin: Browser, protect: Callable[..., Policy]
) -> None:
    protect(acme, Protection.SOME, SEMVER)
    fail_to_save(admin, rule_pattern="[")
    assert admin.open(SETTINGS).by_id("rule-pattern-1")["value"] == SEMVER.pattern


def test_a_hostile_pattern_is_shown_as_text_in_the_error(admin: Browser) -> None:
    hostile = "(<script>alert(1)</script>"
    page = fail_to_save(admin, protection="some", rule_name="A", rule_pattern=hostile)
    assert "<script>" in read_errors(page)["rule-pattern-1"]
    assert page.main.find_all("script") == []


def _is_seen(element: Element) -> bool:
    """Whether an element is a control that a person uses."""
    is_hidden = element.get("type") == "hidden" or element.get("aria-hidden") is not None
    return element.tag in ("input", "textarea", "select", "button") and not is_hidden
