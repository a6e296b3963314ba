"""The page "Container settings": what each role sees, and saving."""

from collections.abc import Callable

import pytest
from django.test import Client
from rest_framework.test import APIClient

from immutability.policy.protection import MAX_RULES_PER_WORKSPACE, Policy, PolicyRule, Protection
from immutability.reading import read_policy
from tests.conftest import AA, SEMVER
from tests.page import Browser, read_page
from tests.problems import nothing_written
from workspaces.log.models import LockEvent
from workspaces.models import User, Workspace

SETTINGS = "/acme/settings/packages/containers/"

OPTIONS = {
    "none": ("No tags are protected", "All tags stay mutable. This is the default."),
    "all": ("All tags are protected", "Every tag becomes immutable after it’s first pushed."),
    "some": ("Some tags are protected", "Only tags matching custom rules become immutable."),
}

PRODUCTION = PolicyRule("Production", "^prod$")


# What an admin sees.


def test_an_admin_sees_three_native_radios_in_a_fieldset_with_a_legend(admin: Browser) -> None:
    page = admin.open(SETTINGS)
    radios = page.find_all("input", name="protection", type="radio")
    assert [radio["value"] for radio in radios] == list(OPTIONS)
    fieldsets = {
        next(each for each in radio.ancestors if each.tag == "fieldset") for radio in radios
    }
    assert len(fieldsets) == 1
    assert fieldsets.pop().find_all("legend")[0].text == "Which tags are protected?"


@pytest.mark.parametrize("value", OPTIONS)
def test_each_option_has_the_announced_label_and_hint(admin: Browser, value: str) -> None:
    page = admin.open(SETTINGS)
    radio = page.find("input", name="protection", value=value)
    label, hint = OPTIONS[value]
    assert page.find("label", for_=radio["id"]).text == label
    assert page.by_id(radio["aria-describedby"]).text.startswith(hint)


def test_the_page_says_where_it_is_and_what_it_is_about(admin: Browser) -> None:
    page = admin.open(SETTINGS)
    assert page.heading == "Container settings"
    assert page.find("h2", id="immutable-tags").text == "Immutable tags"
    assert "Applies to container images only" in page.main.text
    assert "Start with release and production tags" in page.main.text
    here = page.find("nav", aria_label="Workspace settings").find("a", aria_current="page")
    assert here.text == "Container settings"


def test_the_option_all_says_that_signature_tags_stay_mutable(admin: Browser) -> None:
    page = admin.open(SETTINGS)
    assert "Signature tags" in page.by_id("protection-all-hint").text


def test_a_workspace_that_never_saved_protects_nothing(admin: Browser) -> None:
    page = admin.open(SETTINGS)
    assert [radio["value"] for radio in page.find_all(type="radio", checked=True)] == ["none"]
    assert page.find_all(type="checkbox", checked=True) == []
    assert [each["value"] for each in page.find_all(name="rule_name")] == [""]


@pytest.mark.parametrize("protection", Protection)
def test_the_saved_option_is_checked(
    acme: Workspace, admin: Browser, protect: Callable[..., Policy], protection: Protection
) -> None:
    protect(acme, protection, SEMVER)
    page = admin.open(SETTINGS)
    assert [radio["value"] for radio in page.find_all(type="radio", checked=True)] == [protection]


@pytest.mark.parametrize(
    "switch", ["refuse_identical_pushes", "protect_signature_tags", "repair_drift"]
)
def test_a_saved_switch_is_shown(
    acme: Workspace, admin: Browser, protect: Callable[..., Policy], switch: str
) -> None:
    protect(acme, Protection.ALL, **{switch: True})
    page = admin.open(SETTINGS)
    assert [each["name"] for each in page.find_all(type="checkbox", checked=True)] == [switch]


def test_saved_rules_are_in_the_editor_in_their_order(
    acme: Workspace, admin: Browser, protect: Callable[..., Policy]
) -> None:
    protect(acme, Protection.SOME, SEMVER, PRODUCTION)
    page = admin.open(SETTINGS)
    assert [each["value"] for each in page.find_all(name="rule_name")] == [
        "Release versions",
        "Production",
    ]
    assert [each["value"] for each in page.find_all(name="rule_pattern")] == [
        SEMVER.pattern,
        "^prod$",
    ]


@pytest.mark.parametrize("protection", Protection)
def test_the_rule_editor_is_in_the_page_whatever_is_chosen(
    acme: Workspace, admin: Browser, protect: Callable[..., Policy], protection: Protection
) -> None:
    protect(acme, protection, SEMVER)
    page = admin.open(SETTINGS)
    assert page.find(name="rule_name")["value"] == SEMVER.name


@pytest.mark.parametrize("count", [0, 1, 3, 7])
def test_the_page_counts_the_rules(
    acme: Workspace, admin: Browser, protect: Callable[..., Policy], count: int
) -> None:
    protect(acme, Protection.ALL, *(PolicyRule(f"Rule {n}", f"^{n}$") for n in range(count)))
    page = admin.open(SETTINGS)
    assert page.by_id("rule-count").text == f"{count} of {MAX_RULES_PER_WORKSPACE} rules"


def test_blank_rows_do_not_count(admin: Browser) -> None:
    admin.open(SETTINGS)
    page = admin.press("Try", rule_name=["", "A", ""], rule_pattern=["", "a", ""])
    assert page.by_id("rule-count").text == "1 of 7 rules"


def test_save_is_never_greyed_out_and_nothing_else_is(admin: Browser) -> None:
    page = admin.open(SETTINGS)
    assert page.find_with_text("button", "Save")
    assert page.find_all(disabled=True) == []


def test_enter_in_a_field_of_the_form_saves(admin: Browser) -> None:
    page = admin.open(SETTINGS)
    form = page.by_id("settings-form")
    buttons = [button for button in page.main.find_all("button") if page.form_of(button) is form]
    assert (buttons[0]["name"], buttons[0]["value"]) == ("action", "save")


def test_a_rule_that_matches_signature_tags_gets_a_hint(
    acme: Workspace, admin: Browser, protect: Callable[..., Policy]
) -> None:
    protect(acme, Protection.SOME, PolicyRule("Everything", ".*"), SEMVER)
    page = admin.open(SETTINGS)
    hint = page.by_id(page.by_id("rule-pattern-1")["aria-describedby"])
    assert "also matches signature tags" in hint.text
    assert page.by_id("rule-pattern-2").get("aria-describedby") is None


def test_a_suggestion_stands_beside_its_rule(
    acme: Workspace, admin: Browser, protect: Callable[..., Policy]
) -> None:
    protect(acme, Protection.SOME, PolicyRule("Globs", "release-*"))
    hint = admin.open(SETTINGS).by_id("rule-pattern-1-hint")
    assert hint.find("code").text == "^release-"


def test_saving_without_a_change_says_that_there_was_nothing_to_save(
    acme: Workspace, admin: Browser, protect: Callable[..., Policy]
) -> None:
    protect(acme, Protection.SOME, SEMVER)
    admin.open(SETTINGS)
    with nothing_written():
        page = admin.press("Save")
    assert page.banners == ["Nothing to save: these settings are already in force."]
    assert read_policy(acme).version == 1


# What members and auditors see.


@pytest.mark.parametrize("role", ["member", "auditor"])
def test_others_see_the_values_and_no_form_control(
    request: pytest.FixtureRequest, acme: Workspace, protect: Callable[..., Policy], role: str
) -> None:
    protect(acme, Protection.SOME, SEMVER, PRODUCTION, refuse_identical_pushes=True)
    browser: Browser = request.getfixturevalue(role)
    page = browser.open(SETTINGS)
    for tag in ("form", "input", "select", "textarea", "button"):
        assert page.main.find_all(tag) == []
    assert page.facts == {
        "Protection": "Some tags are protected",
        "Rules": r"Release versions ^v\d+\.\d+\.\d+$ Production ^prod$",
        "Exceptions": "none",
        "Identical pushes": "refused",
        "Signature tags": "stay mutable where all tags are protected",
        "Locked tags changed past Taglock": "reported, and left as they are",
    }
    assert "Only admins of Acme can change this." in page.main.text


@pytest.mark.parametrize("role", ["member", "auditor"])
def test_others_see_the_defaults_in_words(request: pytest.FixtureRequest, role: str) -> None:
    browser: Browser = request.getfixturevalue(role)
    assert browser.open(SETTINGS).facts == {
        "Protection": "No tags are protected",
        "Rules": "none",
        "Exceptions": "none",
        "Identical pushes": "accepted; they change nothing",
        "Signature tags": "stay mutable where all tags are protected",
        "Locked tags changed past Taglock": "reported, and left as they are",
    }


@pytest.mark.parametrize("role", ["member", "auditor"])
@pytest.mark.parametrize("action", ["save", "save_and_suspend", "add_rule", "test", ""])
def test_others_cannot_post(request: pytest.FixtureRequest, role: str, action: str) -> None:
    browser: Browser = request.getfixturevalue(role)
    with nothing_written():
        response = browser.client.post(
            SETTINGS, {"action": action, "protection": "all", "version": "0"}
        )
    assert response.status_code == 403
    assert "Only admins of the workspace can change its settings." in response.content.decode()


def test_strangers_find_no_page(
    acme: Workspace, mallory: User, sign_in: Callable[[User], Client]
) -> None:
    Browser(sign_in(mallory)).open(SETTINGS, status=404)


# Saving.


@pytest.mark.parametrize("protection", Protection)
def test_each_option_is_saved(acme: Workspace, admin: Browser, protection: Protection) -> None:
    admin.open(SETTINGS)
    admin.press("Save", protection=protection, rule_name="Production", rule_pattern="^prod$")
    assert read_policy(acme) == Policy(1, protection, (PRODUCTION,))


def test_an_option_without_rules_is_saved(acme: Workspace, admin: Browser) -> None:
    admin.open(SETTINGS)
    admin.press("Save", protection="all")
    assert read_policy(acme) == Policy(1, Protection.ALL)


def test_after_saving_the_browser_is_sent_to_the_page_with_a_banner(admin: Browser) -> None:
    admin.open(SETTINGS)
    page = admin.press("Save", protection="all")
    assert page.redirects == [(SETTINGS, 302)]
    assert page.banners == [
        "Saved: All tags are protected. Protection changed. In force for the next push."
    ]
    assert page.find(class_="banner")["role"] == "status"
    assert page.find(type="radio", checked=True)["value"] == "all"
    assert admin.open(SETTINGS).banners == []


def test_a_saved_change_is_in_force_for_the_next_push(admin: Browser, registry: APIClient) -> None:
    def push(tag: str) -> str:
        asked = {"repository": "acme/api", "tag": tag, "digest": AA}
        outcome: str = registry.post("/api/v1/check-push", asked, format="json").json()["outcome"]
        return outcome

    assert push("v1") == "unprotected"
    admin.open(SETTINGS)
    admin.press("Save", protection="all")
    assert push("v2") == "locked_now"


def test_rules_are_saved_exactly_as_typed(acme: Workspace, admin: Browser) -> None:
    names = ["  Spaces around  ", "Ünïcode – „Regel“", "tab-less\u00a0name"]
    patterns = ["  ^v 1$ |a", r"^\w+[\\x]$", " |b"]
    admin.open(SETTINGS)
    page = admin.press("Save", protection="some", rule_name=names, rule_pattern=patterns)
    assert [(rule.name, rule.pattern) for rule in read_policy(acme).rules] == list(
        zip(names, patterns, strict=True)
    )
    assert [each["value"] for each in page.find_all(name="rule_name")] == names
    assert [each["value"] for each in page.find_all(name="rule_pattern")] == patterns


def test_blank_rows_are_no_rules(acme: Workspace, admin: Browser) -> None:
    admin.open(SETTINGS)
    admin.press(
        "Save",
        protection="some",
        rule_name=["", "Production", ""],
        rule_pattern=["", "^prod$", ""],
    )
    assert read_policy(acme).rules == (PRODUCTION,)


def test_the_longest_rules_and_the_most_of_them_are_saved(acme: Workspace, admin: Browser) -> None:
    names = [f"{n}" + "n" * 63 for n in range(7)]
    patterns = [f"{n}" + "p" * 99 for n in range(7)]
    admin.open(SETTINGS)
    admin.press("Save", protection="some", rule_name=names, rule_pattern=patterns)
    assert [(rule.name, rule.pattern) for rule in read_policy(acme).rules] == list(
        zip(names, patterns, strict=True)
    )


@pytest.mark.parametrize(
    "switch", ["refuse_identical_pushes", "protect_signature_tags", "repair_drift"]
)
def test_each_switch_is_saved_in_both_positions(
    acme: Workspace, admin: Browser, switch: str
) -> None:
    admin.open(SETTINGS)
    admin.press("Save", protection="all", **{switch: "on"})
    assert getattr(read_policy(acme), switch) is True
    admin.press("Save", **{switch: None})
    assert getattr(read_policy(acme), switch) is False


def test_switching_to_none_keeps_the_rules(
    acme: Workspace, admin: Browser, protect: Callable[..., Policy]
) -> None:
    protect(acme, Protection.SOME, SEMVER, PRODUCTION)
    admin.open(SETTINGS)
    page = admin.press("Save", protection="none")
    assert read_policy(acme) == Policy(2, Protection.NONE, (SEMVER, PRODUCTION))
    assert [each["value"] for each in page.find_all(name="rule_name")] == [
        SEMVER.name,
        PRODUCTION.name,
    ]


def test_saving_is_recorded_with_who_did_it(acme: Workspace, admin: Browser) -> None:
    admin.open(SETTINGS)
    admin.press("Save", protection="all")
    event = LockEvent.objects.get(workspace="acme", kind="settings.changed")
    assert (event.actor, event.actor_kind, event.settings_version) == ("alice", "person", 1)


def test_a_post_that_names_no_action_saves(acme: Workspace, admin: Browser) -> None:
    response = admin.client.post(SETTINGS, {"version": "0", "protection": "all"})
    assert (response.status_code, response.headers["Location"]) == (302, SETTINGS)
    assert read_policy(acme).protection is Protection.ALL


# Hostile and broken input.

HOSTILE = [
    PolicyRule("<script>alert(1)</script>", "<b>&amp;|\"'>|a"),
    PolicyRule("\"quoted\" & 'single'", "^v1(&lt;)?$"),
    PolicyRule("{{ 7|add:7 }}{% now %}", r"[<>&\"'v]+"),
]


def test_hostile_rules_are_shown_as_text_and_saved_as_they_are(
    acme: Workspace, admin: Browser
) -> None:
    names, patterns = [[rule.name for rule in HOSTILE], [rule.pattern for rule in HOSTILE]]
    admin.open(SETTINGS)
    page = admin.press("Save", protection="some", rule_name=names, rule_pattern=patterns)
    assert list(read_policy(acme).rules) == HOSTILE
    assert [each["value"] for each in page.find_all(name="rule_name")] == names
    assert [each["value"] for each in page.find_all(name="rule_pattern")] == patterns
    assert page.find_all("script", src=False) == []


def test_hostile_rules_are_shown_as_text_to_members(
    acme: Workspace, member: Browser, protect: Callable[..., Policy]
) -> None:
    protect(acme, Protection.SOME, *HOSTILE)
    page = member.open(SETTINGS)
    for rule in HOSTILE:
        assert f"{rule.name} {rule.pattern}" in page.facts["Rules"]
    assert page.main.find_all("script") == []


def test_a_hostile_workspace_name_is_shown_as_text(acme: Workspace, admin: Browser) -> None:
    acme.name = "<img src=x onerror=alert(1)> & Sons"
    acme.save()
    page = admin.open(SETTINGS)
    assert page.find(class_="workspace-name").text == acme.name
    assert page.find_all(onerror=True) == []


GARBAGE = ["", "abc", "-1", "1.5", "1e3", "٣", "²", "\x00", "9" * 30, "9" * 5000, "<b>"]
GARBAGE_NAMES = [ascii(text[:31]) for text in GARBAGE]


@pytest.mark.parametrize("version", GARBAGE, ids=GARBAGE_NAMES)
def test_a_version_that_is_none_saves_nothing_and_breaks_nothing(
    admin: Browser, version: str
) -> None:
    admin.client.raise_request_exception = False
    with nothing_written():
        response = admin.client.post(SETTINGS, {"version": version, "protection": "all"})
    assert response.status_code == 409


@pytest.mark.parametrize("verb", ["remove_rule:", "insert_rule_example:"])
@pytest.mark.parametrize("number", GARBAGE, ids=GARBAGE_NAMES)
def test_a_number_that_is_none_changes_nothing_and_breaks_nothing(
    admin: Browser, verb: str, number: str
) -> None:
    act(admin, verb + number)


@pytest.mark.parametrize("action", ["", ":", "nonsense", "nonsense:1", "SAVE", "save ", "\x00"])
def test_an_action_that_nobody_knows_changes_nothing(admin: Browser, action: str) -> None:
    act(admin, action)


def act(browser: Browser, action: str) -> None:
    """Send a form with one rule and an odd action; the form has to come back as it was."""
    browser.client.raise_request_exception = False
    sent = {"version": "0", "protection": "all", "rule_name": "A", "rule_pattern": "a"}
    with nothing_written():
        response = browser.client.post(SETTINGS, {**sent, "action": action})
    page = read_page(response)
    assert page.by_id("rule-name-1")["value"] == "A"
    assert page.find(type="radio", checked=True)["value"] == "all"


def test_names_without_patterns_break_nothing(admin: Browser) -> None:
    with nothing_written():
        response = admin.client.post(
            SETTINGS, {"action": "test", "rule_name": ["A", "B"], "rule_pattern": ["a"]}
        )
    assert response.status_code == 200


def test_more_fields_than_any_page_has_are_refused(admin: Browser) -> None:
    with nothing_written():
        response = admin.client.post(SETTINGS, {"rule_name": ["A"] * 300})
    assert response.status_code == 400
