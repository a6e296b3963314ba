import json
from collections.abc import Callable
from typing import Any

import pytest
from rest_framework.test import APIClient

from immutability.models import LockedTag, Rule
from immutability.policy.drafts import NO_RULES
from immutability.policy.protection import Policy, PolicyRule, Protection
from tests.conftest import LATEST, SEMVER, make_api_client
from tests.immutability.api.conftest import Ask
from tests.problems import nothing_written, read_problem
from workspaces.access import Scope
from workspaces.log.models import LockEvent
from workspaces.models import Workspace

Protect = Callable[..., Policy]

URL = "/api/v1/workspaces/acme/container-settings"


@pytest.fixture(scope="module")
def kept_admin(kept_acme: Workspace) -> APIClient:
    """A program that may save the settings of acme, which protects nothing yet."""
    return make_api_client(kept_acme, Scope.ADMIN)


@pytest.fixture
def admin(db: None, kept_admin: APIClient) -> APIClient:
    return kept_admin


def put(client: APIClient, if_match: str | None = '"0"', **fields: Any) -> Any:
    headers = {} if if_match is None else {"If-Match": if_match}
    return client.put(URL, fields, format="json", headers=headers)


def rule(name: str, pattern: str) -> dict[str, str]:
    return {"name": name, "pattern": pattern}


def test_a_workspace_protects_nothing_until_it_is_told_to(admin: APIClient) -> None:
    response = admin.get(URL)
    assert response.status_code == 200
    assert response.headers["ETag"] == '"0"'
    assert response.json() == {
        "version": 0,
        "protection": "none",
        "rules": [],
        "exceptions": [],
        "refuse_identical_pushes": False,
        "protect_signature_tags": False,
        "repair_drift": False,
        "warnings": [],
    }


def test_what_was_saved_is_what_is_read(admin: APIClient) -> None:
    wanted: dict[str, Any] = {
        "protection": "some",
        "rules": [rule("Release versions", SEMVER.pattern), rule("Production", "^prod$")],
        "exceptions": [rule("Moving latest", "^latest$"), rule("Caches", "^buildcache")],
        "refuse_identical_pushes": True,
        "protect_signature_tags": True,
        "repair_drift": True,
    }
    saved = put(admin, **wanted)
    assert saved.status_code == 200
    assert saved.headers["ETag"] == '"1"'
    assert saved.json() == {"version": 1, "warnings": [], **wanted}
    read = admin.get(URL)
    assert (read.json(), read.headers["ETag"]) == (saved.json(), '"1"')


def test_every_save_raises_the_version(admin: APIClient) -> None:
    for version, protection in enumerate(("all", "none", "all")):
        saved = put(admin, f'"{version}"', protection=protection)
        assert saved.headers["ETag"] == f'"{version + 1}"'


def test_a_save_is_recorded_before_and_after(admin: APIClient) -> None:
    put(admin, protection="some", rules=[rule("Production", "^prod$")])
    event = LockEvent.objects.get(kind="settings.changed")
    assert (event.actor, event.actor_kind) == ("token admin", "token")
    assert event.settings_version == 1
    assert event.details is not None
    assert event.details["before"]["protection"] == "none"
    assert event.details["after"]["protection"] == "some"
    assert event.details["after"]["rules"] == [rule("Production", "^prod$")]


@pytest.mark.parametrize("if_match", ['"1"', "*"])
def test_saving_what_is_saved_already_changes_nothing(admin: APIClient, if_match: str) -> None:
    wanted: dict[str, Any] = {"protection": "some", "rules": [rule("Production", "^prod$")]}
    put(admin, **wanted)
    with nothing_written():
        saved = put(admin, if_match, **wanted)
    assert (saved.status_code, saved.headers["ETag"], saved.json()["version"]) == (200, '"1"', 1)


def test_settings_that_were_never_saved_are_nothing_to_save(admin: APIClient) -> None:
    with nothing_written():
        saved = put(admin, protection="none")
    assert (saved.status_code, saved.headers["ETag"]) == (200, '"0"')


def test_what_a_get_returns_a_put_takes(admin: APIClient) -> None:
    put(admin, protection="some", rules=[rule("Any", ".*")], protect_signature_tags=True)
    read = admin.get(URL)
    assert read.json()["warnings"]
    with nothing_written():
        saved = put(admin, read.headers["ETag"], **read.json())
    assert (saved.status_code, saved.json()) == (200, read.json())


# What cannot be meant.


def test_a_rule_that_matches_no_tag_is_refused_with_a_code(admin: APIClient) -> None:
    rules = [rule("Fine", "^v"), rule("Production", "^prod$ ")]
    with nothing_written():
        response = put(admin, protection="some", rules=rules)
    assert read_problem(response, 400, "matches_no_tag")["errors"] == [
        {
            "detail": "This pattern matches no tag, so it protects nothing: a tag has no spaces. "
            'Did you mean "^prod$"?',
            "pointer": "#/rules/1/pattern",
            "code": "matches_no_tag",
        }
    ]


def test_beside_another_problem_the_code_stands_with_its_rule(admin: APIClient) -> None:
    response = put(admin, protection="some", rules=[rule("", "^v"), rule("Production", "^prod$ ")])
    errors = read_problem(response, 400, "invalid")["errors"]
    assert [(each["pointer"], each["code"]) for each in errors] == [
        ("#/rules/0/name", "invalid"),
        ("#/rules/1/pattern", "matches_no_tag"),
    ]


def test_a_rule_that_matches_every_tag_is_saved_with_a_warning(admin: APIClient) -> None:
    saved = put(admin, protection="some", rules=[rule("Versions", "v*")])
    assert saved.status_code == 200
    [first, _] = saved.json()["warnings"]
    assert (first["code"], first["rule"], first["position"], first["suggestion"]) == (
        "matches_every_tag",
        "Versions",
        1,
        "^v",
    )
    assert admin.get(URL).json()["warnings"] == saved.json()["warnings"]


def test_a_rule_from_before_it_was_refused_is_warned_about(
    admin: APIClient, acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.SOME, SEMVER)
    Rule.objects.update(pattern="^prod$ ")
    read = admin.get(URL)
    assert [each["code"] for each in read.json()["warnings"]] == ["matches_no_tag"]
    assert put(admin, read.headers["ETag"], **read.json()).status_code == 200


# Nobody's change is overwritten unseen.


def test_without_if_match_nothing_is_saved(admin: APIClient) -> None:
    with nothing_written():
        read_problem(put(admin, None, protection="all"), 428, "if_match_required")


@pytest.mark.parametrize("stale", ['"0"', '"2"', '""', '"one"', "0", '"-1"', '"é"', '"1" "2"'])
def test_a_stale_if_match_saves_nothing_and_tells_the_version(admin: APIClient, stale: str) -> None:
    put(admin, protection="all")
    with nothing_written():
        response = put(admin, stale, protection="none")
    assert read_problem(response, 412, "settings_changed")["version"] == 1
    assert response.headers["ETag"] == '"1"'


@pytest.mark.parametrize("fresh", ['"1"', '"0", "1"', "*", ' "1" '])
def test_a_fresh_if_match_saves(admin: APIClient, fresh: str) -> None:
    put(admin, protection="all")
    assert put(admin, fresh, protection="none").status_code == 200


# What is left out stays.


def test_what_a_save_leaves_out_stays_as_it_is(admin: APIClient) -> None:
    put(
        admin,
        protection="some",
        rules=[rule("Production", "^prod$")],
        exceptions=[rule("Moving latest", "^latest$")],
        refuse_identical_pushes=True,
        protect_signature_tags=True,
        repair_drift=True,
    )
    for version, protection in enumerate(("none", "all", "some"), start=1):
        saved = put(admin, f'"{version}"', protection=protection, suspend_locks=True).json()
        assert saved == {
            "version": version + 1,
            "protection": protection,
            "rules": [rule("Production", "^prod$")],
            "exceptions": [rule("Moving latest", "^latest$")],
            "refuse_identical_pushes": True,
            "protect_signature_tags": True,
            "repair_drift": True,
            "warnings": [],
        }


def test_an_empty_list_of_rules_removes_them(admin: APIClient) -> None:
    put(admin, protection="some", rules=[rule("Production", "^prod$")])
    assert put(admin, '"1"', protection="none", rules=[]).json()["rules"] == []


def test_the_protection_cannot_be_left_out(admin: APIClient) -> None:
    with nothing_written():
        problem = read_problem(put(admin, rules=[]), 400)
    assert problem["errors"][0]["pointer"] == "#/protection"


def test_rules_keep_their_order_and_can_swap_names(admin: APIClient) -> None:
    put(admin, protection="some", rules=[rule("One", "1"), rule("Two", "2")])
    swapped = [rule("Two", "1"), rule("One", "2")]
    assert put(admin, '"1"', protection="some", rules=swapped).json()["rules"] == swapped


# Rules are never changed on the way.

UNUSUAL = [
    "  ^a$ |b",
    " *",
    "(\u00a0x\u3000)?",
    r"\d+[\\x]",
    "é*",
    "e\u0301?",
    "[ \\ta]",
    "日本|v",
    "[🐳a]",
    "a" * 100,
    '["<&>v]',
]


@pytest.mark.parametrize("pattern", UNUSUAL)
def test_a_pattern_is_saved_exactly_as_it_was_sent(admin: APIClient, pattern: str) -> None:
    saved = put(admin, protection="some", rules=[rule("Odd", pattern)])
    assert saved.status_code == 200, saved.json()
    assert admin.get(URL).json()["rules"] == [rule("Odd", pattern)]
    assert Rule.objects.get().pattern == pattern


@pytest.mark.parametrize("name", ["  Odd ", "Ödd", "é", "日本", "a" * 64, "🐳" * 64, '"<&>'])
def test_a_name_is_saved_exactly_as_it_was_sent(admin: APIClient, name: str) -> None:
    put(admin, protection="some", rules=[rule(name, "x")])
    assert admin.get(URL).json()["rules"] == [rule(name, "x")]


# Exceptions.


def test_all_without_an_exception_is_saved_with_a_warning(admin: APIClient) -> None:
    [warning] = put(admin, protection="all").json()["warnings"]
    assert warning.pop("message").startswith("There are no exceptions, so latest is locked too")
    assert warning == {
        "code": "no_exceptions",
        "rule": None,
        "exception": None,
        "position": None,
        "suggestion": None,
    }
    latest = [rule("Moving latest", "^latest$")]
    assert put(admin, '"1"', protection="all", exceptions=latest).json()["warnings"] == []


def test_an_exception_that_matches_every_tag_is_saved_with_a_warning(admin: APIClient) -> None:
    exceptions = [rule("Moving latest", "^latest$"), rule("Any", "v*")]
    [warning] = put(admin, protection="all", exceptions=exceptions).json()["warnings"]
    assert warning == {
        "code": "matches_every_tag",
        "rule": None,
        "exception": "Any",
        "position": 2,
        "message": "This pattern matches every tag, so none would be protected. To protect none, "
        "choose No tags are protected.",
        "suggestion": "^v",
    }


def test_exceptions_are_replaced_by_an_empty_list_and_kept_where_they_are_left_out(
    admin: APIClient,
) -> None:
    latest = [rule("Moving latest", "^latest$")]
    put(admin, protection="all", exceptions=latest)
    # A caller from before there were exceptions locks nothing that was left mutable.
    assert put(admin, '"1"', protection="all", rules=[]).json()["exceptions"] == latest
    assert put(admin, '"1"', protection="none").json()["exceptions"] == latest
    assert put(admin, '"2"', protection="all", exceptions=[]).json()["exceptions"] == []


def test_exceptions_that_are_kept_suspend_no_lock_without_consent(
    admin: APIClient, acme: Workspace, protect: Protect, lock: Callable[..., LockedTag]
) -> None:
    rules = (PolicyRule("Latest", "^latest$"),)
    protect(acme, Protection.SOME, *rules, exceptions=(LATEST,))
    lock("latest")
    with nothing_written():
        response = put(admin, '"1"', protection="all")
    problem = read_problem(response, 409, "locks_would_suspend")
    assert problem["examples"] == ["acme/api:latest"]


def test_an_exception_that_matches_no_tag_is_refused_with_a_code(admin: APIClient) -> None:
    exceptions = [rule("Fine", "^v"), rule("Latest", "^latest$ ")]
    with nothing_written():
        response = put(admin, protection="all", exceptions=exceptions)
    assert read_problem(response, 400, "matches_no_tag")["errors"] == [
        {
            "detail": "This pattern matches no tag, so it has no effect: a tag has no spaces. "
            'Did you mean "^latest$"?',
            "pointer": "#/exceptions/1/pattern",
            "code": "matches_no_tag",
        }
    ]


@pytest.mark.parametrize("protection", ["none", "all", "some"])
@pytest.mark.parametrize(
    ("bad", "pointer", "words"),
    [
        (rule("Two", "("), "#/exceptions/1/pattern", "parenthesis"),
        (rule("Two", "a" * 101), "#/exceptions/1/pattern", "101 characters; at most 100"),
        (rule("n" * 65, "x"), "#/exceptions/1/name", "65 characters; at most 64"),
        (rule("", "x"), "#/exceptions/1/name", "Enter a name for the exception."),
        (rule("ONE", "x"), "#/exceptions/1/name", "Two exceptions are named"),
    ],
)
def test_a_bad_exception_is_refused_with_a_pointer_to_its_field(
    admin: APIClient, protection: str, bad: dict[str, str], pointer: str, words: str
) -> None:
    rules = [rule("One", "^v")]
    with nothing_written():
        response = put(
            admin, protection=protection, rules=rules, exceptions=[rule("One", "1"), bad]
        )
    errors = read_problem(response, 400, "invalid")["errors"]
    found = {error["pointer"]: error["detail"] for error in errors}
    assert words in found[pointer]


def test_what_is_wrong_with_rules_and_exceptions_is_told_at_once(admin: APIClient) -> None:
    response = put(admin, protection="some", exceptions=[rule("", "^v"), rule("A", "(")])
    errors = read_problem(response, 400, "invalid")["errors"]
    assert {(each["pointer"], each["code"]) for each in errors} == {
        ("#/rules", "no_rules"),
        ("#/exceptions/0/name", "invalid"),
        ("#/exceptions/1/pattern", "invalid"),
    }


def test_seven_exceptions_are_the_most(admin: APIClient) -> None:
    exceptions = [rule(f"Exception {number}", "x") for number in range(8)]
    with nothing_written():
        problem = read_problem(put(admin, protection="all", exceptions=exceptions), 400, "invalid")
    assert problem["errors"][0]["pointer"] == "#/exceptions"
    assert "at most 7 exceptions; remove 1" in problem["detail"]
    assert put(admin, protection="all", exceptions=exceptions[:7]).status_code == 200


def test_a_save_records_exceptions_before_and_after(admin: APIClient) -> None:
    latest, caches = rule("Moving latest", "^latest$"), rule("Build caches", "^buildcache")
    put(admin, protection="all", exceptions=[latest])
    put(admin, '"1"', protection="all", exceptions=[latest, caches])
    details = LockEvent.objects.filter(kind="settings.changed").latest("id").details
    assert details is not None
    assert details["before"]["exceptions"] == [latest]
    assert details["after"]["exceptions"] == [latest, caches]


# Limits, and what is wrong where.


def test_seven_rules_are_the_most(admin: APIClient) -> None:
    rules = [rule(f"Rule {number}", "x") for number in range(8)]
    with nothing_written():
        problem = read_problem(put(admin, protection="some", rules=rules), 400, "invalid")
    assert problem["errors"][0]["pointer"] == "#/rules"
    assert "at most 7 rules; remove 1" in problem["detail"]
    assert put(admin, protection="some", rules=rules[:7]).status_code == 200


@pytest.mark.parametrize("protection", ["none", "all", "some"])
@pytest.mark.parametrize(
    ("bad", "pointer", "words"),
    [
        (rule("Two", "a" * 101), "#/rules/1/pattern", "101 characters; at most 100"),
        (rule("Two", ""), "#/rules/1/pattern", "Enter a pattern"),
        (rule("Two", "("), "#/rules/1/pattern", "parenthesis"),
        (rule("Two", "(?=a)"), "#/rules/1/pattern", "no lookahead"),
        (rule("Two", r"(a)\1"), "#/rules/1/pattern", "no backreferences"),
        (rule("Two", "a\nb"), "#/rules/1/pattern", "U+000A"),
        (rule("Two", "a\u202eb"), "#/rules/1/pattern", "U+202E"),
        (rule("n" * 65, "x"), "#/rules/1/name", "65 characters; at most 64"),
        (rule("", "x"), "#/rules/1/name", "Enter a name"),
        (rule("   ", "x"), "#/rules/1/name", "Enter a name"),
        (rule("a\tb", "x"), "#/rules/1/name", "U+0009"),
        (rule("ONE", "x"), "#/rules/1/name", "Two rules are named"),
        (rule("one", "x"), "#/rules/1/name", "Two rules are named"),
    ],
)
def test_a_bad_rule_is_refused_with_a_pointer_to_its_field(
    admin: APIClient, protection: str, bad: dict[str, str], pointer: str, words: str
) -> None:
    with nothing_written():
        response = put(admin, protection=protection, rules=[rule("One", "1"), bad])
    errors = read_problem(response, 400, "invalid")["errors"]
    found = {error["pointer"]: error["detail"] for error in errors}
    assert words in found[pointer]


def test_every_problem_is_told_at_once(admin: APIClient) -> None:
    rules = [rule("", "("), rule("Fine", "x"), rule("Long", "a" * 101)]
    problem = read_problem(put(admin, protection="some", rules=rules), 400, "invalid")
    assert {error["pointer"] for error in problem["errors"]} == {
        "#/rules/0/name",
        "#/rules/0/pattern",
        "#/rules/2/pattern",
    }


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Production", "production"),
        ("Straße", "STRASSE"),
        ("Ärger", "ärger"),
        ("Σ", "ς"),
        ("\u212a", "k"),
    ],
)
def test_a_rules_name_is_unique_whatever_its_case(
    admin: APIClient, first: str, second: str
) -> None:
    with nothing_written():
        response = put(admin, protection="some", rules=[rule(first, "x"), rule(second, "y")])
    pointers = {error["pointer"] for error in read_problem(response, 400)["errors"]}
    assert pointers == {"#/rules/0/name", "#/rules/1/name"}


@pytest.mark.parametrize(("first", "second"), [("\u0130", "i"), ("\u0130", "i\u0307"), ("ǅ", "ǆ")])
def test_names_on_whose_case_nobody_agrees_are_saved_or_refused_but_never_fail(
    admin: APIClient, first: str, second: str
) -> None:
    response = put(admin, protection="some", rules=[rule(first, "x"), rule(second, "y")])
    assert response.status_code in (200, 400)


def test_some_without_a_rule_is_refused(admin: APIClient) -> None:
    with nothing_written():
        problem = read_problem(put(admin, protection="some"), 400)
    assert problem["errors"] == [{"detail": NO_RULES, "pointer": "#/rules", "code": "no_rules"}]


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"protection": "everything"}, "#/protection"),
        ({"protection": "all", "rule": []}, "#/rule"),
        ({"protection": "all", "a/b~c": 3}, "#/a~1b~0c"),
        ({"protection": "all", "rules": [{"name": "x"}]}, "#/rules/0/pattern"),
        ({"protection": "all", "rules": [{**rule("x", "y"), "id": 3}]}, "#/rules/0/id"),
        ({"protection": "all", "rules": [rule("x", "y"), 3]}, "#/rules/1"),
        ({"protection": "all", "rules": "x"}, "#/rules"),
        ({"protection": "all", "exceptions": [{"name": "x"}]}, "#/exceptions/0/pattern"),
        ({"protection": "all", "exceptions": "x"}, "#/exceptions"),
        ({"protection": "all", "suspend_locks": "perhaps"}, "#/suspend_locks"),
    ],
)
def test_what_is_no_setting_is_refused_with_a_json_pointer(
    admin: APIClient, fields: dict[str, Any], pointer: str
) -> None:
    with nothing_written():
        problem = read_problem(put(admin, **fields), 400)
    assert [error["pointer"] for error in problem["errors"]] == [pointer]


# Locks that would be suspended.


@pytest.fixture
def two_locks(acme: Workspace, protect: Protect, lock: Callable[..., LockedTag]) -> None:
    protect(acme, Protection.SOME, SEMVER)
    lock("v1.0.0")
    lock("v2.0.0")


def moved_locks() -> tuple[int, int]:
    """Return how many locks the last save suspended and resumed, as it was recorded."""
    details = LockEvent.objects.filter(kind="settings.changed").latest("id").details
    assert details is not None
    return details["locks_suspended"], details["locks_resumed"]


@pytest.mark.parametrize(
    "narrower",
    [
        {"protection": "none"},
        {"protection": "some", "rules": [rule("Production", "^prod$")]},
    ],
)
def test_a_save_that_would_suspend_locks_says_how_many_and_saves_nothing(
    admin: APIClient, two_locks: None, narrower: dict[str, Any]
) -> None:
    with nothing_written():
        problem = read_problem(put(admin, '"1"', **narrower), 409, "locks_would_suspend")
    assert (problem["count"], problem["is_exact"]) == (2, True)
    assert problem["examples"] == ["acme/api:v1.0.0", "acme/api:v2.0.0"]
    assert "suspend_locks" in problem["detail"]


def test_told_so_it_suspends_them_and_records_how_many(admin: APIClient, two_locks: None) -> None:
    saved = put(admin, '"1"', protection="none", suspend_locks=True)
    assert saved.status_code == 200
    assert "suspend_locks" not in saved.json()
    assert moved_locks() == (2, 0)
    assert LockedTag.objects.filter(state="locked").count() == 2


def test_locks_hold_again_when_the_protection_comes_back(
    admin: APIClient, two_locks: None, check_push: Ask
) -> None:
    put(admin, '"1"', protection="none", suspend_locks=True)
    put(admin, '"2"', protection="some")
    assert moved_locks() == (0, 2)
    assert check_push("v1.0.0", "sha256:" + "b" * 64)["outcome"] == "locked"


def test_the_etag_of_a_compressed_answer_is_taken_as_it_comes(admin: APIClient) -> None:
    saved = put(admin, protection="all")
    assert put(admin, f"W/{saved['ETag']}", protection="none").json()["version"] == 2


def test_a_wider_protection_needs_no_consent(admin: APIClient, two_locks: None) -> None:
    assert put(admin, '"1"', protection="all").status_code == 200


def test_other_workspaces_locks_do_not_count(
    admin: APIClient, two_locks: None, globex: Workspace, api_as: Callable[..., APIClient]
) -> None:
    response = api_as(globex, Scope.ADMIN).put(
        "/api/v1/workspaces/globex/container-settings",
        {"protection": "none"},
        format="json",
        headers={"If-Match": "*"},
    )
    assert response.status_code == 200


def test_the_body_may_be_any_json_object_in_utf_8(admin: APIClient) -> None:
    body = json.dumps({"protection": "some", "rules": [rule("日本", "é?")]}, ensure_ascii=False)
    response = admin.put(
        URL, body.encode(), content_type="application/json", headers={"If-Match": "*"}
    )
    assert response.json()["rules"] == [rule("日本", "é?")]
