"""What an event changed, in words."""

from typing import Any

import pytest

from workspaces.log.changes import Change, PatternChange, list_changes, list_pattern_changes


def rules(*pairs: tuple[str, str], key: str = "rules") -> dict[str, Any]:
    return {key: [{"name": name, "pattern": pattern} for name, pattern in pairs]}


def changed(
    before: dict[str, Any], after: dict[str, Any], key: str = "rules"
) -> list[PatternChange]:
    return list_pattern_changes({"before": before, "after": after}, key)


A, B, C = ("A", "^a"), ("B", "^b"), ("C", "^c")


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([], [A], [PatternChange("+", "added", "A", "^a")]),
        ([A], [], [PatternChange("−", "removed", "A", "^a")]),
        ([A], [("A", "^x")], [PatternChange("", "changed", "A", "^x", "^a")]),
        ([A], [("X", "^a")], [PatternChange("", "renamed", "X", "^a", "A")]),
        ([A, B], [B, A], [PatternChange("", "in another order", "B, A", "")]),
        ([A, B], [A, B], []),
        (
            [A, B],
            [C, ("B", "^x")],
            [
                PatternChange("+", "added", "C", "^c"),
                PatternChange("", "changed", "B", "^x", "^b"),
                PatternChange("−", "removed", "A", "^a"),
            ],
        ),
        # Another one with the pattern of one that stays is a new one.
        ([A], [A, ("X", "^a")], [PatternChange("+", "added", "X", "^a")]),
    ],
)
@pytest.mark.parametrize("key", ["rules", "exceptions"])
def test_each_rule_and_exception_that_differs_has_a_line(
    key: str,
    before: list[tuple[str, str]],
    after: list[tuple[str, str]],
    expected: list[PatternChange],
) -> None:
    assert changed(rules(*before, key=key), rules(*after, key=key), key) == expected


def test_an_event_from_before_there_were_exceptions_had_none() -> None:
    before, after = rules(A), {**rules(A), **rules(B, key="exceptions")}
    assert changed(before, after, "exceptions") == [PatternChange("+", "added", "B", "^b")]


def test_switches_are_said_in_words_and_rules_and_exceptions_are_not_among_them() -> None:
    before = {"version": 1, "protection": "none", "refuse_identical_pushes": False, **rules()}
    after = {"version": 2, "protection": "some", "refuse_identical_pushes": True, **rules(A)}
    after |= rules(B, key="exceptions")
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
    assert list_pattern_changes(details, "rules") == []


@pytest.mark.parametrize("odd", [None, "x", [1], [{"name": "A"}], {"a": 1}])
def test_rules_of_an_unknown_form_break_nothing(odd: object) -> None:
    changed({"rules": odd}, rules(A))
    changed(rules(A), {"rules": odd})
