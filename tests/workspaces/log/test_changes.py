"""What an event changed, in words."""

from typing import Any

import pytest

from workspaces.log.changes import Change, RuleChange, list_changes, list_rule_changes


def rules(*pairs: tuple[str, str]) -> dict[str, Any]:
    return {"rules": [{"name": name, "pattern": pattern} for name, pattern in pairs]}


def changed(before: dict[str, Any], after: dict[str, Any]) -> list[RuleChange]:
    return list_rule_changes({"before": before, "after": after})


A, B, C = ("A", "^a"), ("B", "^b"), ("C", "^c")


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([], [A], [RuleChange("+", "added", "A", "^a")]),
        ([A], [], [RuleChange("−", "removed", "A", "^a")]),
        ([A], [("A", "^x")], [RuleChange("", "changed", "A", "^x", "^a")]),
        ([A], [("X", "^a")], [RuleChange("", "renamed", "X", "^a", "A")]),
        ([A, B], [B, A], [RuleChange("", "in another order", "B, A", "")]),
        ([A, B], [A, B], []),
        (
            [A, B],
            [C, ("B", "^x")],
            [
                RuleChange("+", "added", "C", "^c"),
                RuleChange("", "changed", "B", "^x", "^b"),
                RuleChange("−", "removed", "A", "^a"),
            ],
        ),
        # Another rule with the pattern of one that stays is a new one.
        ([A], [A, ("X", "^a")], [RuleChange("+", "added", "X", "^a")]),
    ],
)
def test_each_rule_that_differs_has_a_line(
    before: list[tuple[str, str]], after: list[tuple[str, str]], expected: list[RuleChange]
) -> None:
    assert changed(rules(*before), rules(*after)) == expected


def test_switches_are_said_in_words_and_rules_are_not_among_them() -> None:
    before = {"version": 1, "protection": "none", "refuse_identical_pushes": False, **rules()}
    after = {"version": 2, "protection": "some", "refuse_identical_pushes": True, **rules(A)}
    assert list_changes({"before": before, "after": after}) == [
        Change("Settings version", "1", "2"),
        Change("Protection", "No tags are protected", "Some tags are protected"),
        Change("Refuse identical pushes", "no", "yes"),
    ]


def test_what_one_side_alone_has_is_shown_too() -> None:
    details = {"before": {"gone": "x"}, "after": {"role": "admin"}}
    assert list_changes(details) == [Change("Role", "none", "admin"), Change("Gone", "x", "none")]


@pytest.mark.parametrize(
    "details",
    [None, {}, {"before": {}}, {"before": "a", "after": "b"}, {"before": [], "after": {}}],
)
def test_an_event_without_both_sides_changed_nothing(details: dict[str, Any] | None) -> None:
    assert list_changes(details) == []
    assert list_rule_changes(details) == []


@pytest.mark.parametrize("odd", [None, "x", [1], [{"name": "A"}], {"a": 1}])
def test_rules_of_an_unknown_form_break_nothing(odd: object) -> None:
    changed({"rules": odd}, rules(A))
    changed(rules(A), {"rules": odd})
