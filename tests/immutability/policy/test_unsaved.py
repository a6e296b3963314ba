"""What is not saved yet, in a few words."""

from dataclasses import replace

import pytest

from immutability.policy.protection import Policy, PolicyRule, Protection
from immutability.policy.unsaved import RowChange, compare_lists, describe_unsaved

A, B, C, D = (PolicyRule(name, f"^{name.lower()}$") for name in "ABCD")
SAVED = Policy(version=3, protection=Protection.SOME, rules=(A, B, C))


@pytest.mark.parametrize(
    ("draft", "said"),
    [
        (SAVED, ""),
        (replace(SAVED, version=0), ""),
        (replace(SAVED, protection=Protection.ALL), "protection changed"),
        (replace(SAVED, rules=(A, B, C, D)), "1 rule added"),
        (replace(SAVED, rules=(A, PolicyRule("B", "^bb$"), C, D)), "1 rule added, 1 edited"),
        (replace(SAVED, rules=(PolicyRule("Aa", "^a$"), B, C)), "1 rule edited"),
        (replace(SAVED, rules=()), "3 rules removed"),
        (replace(SAVED, rules=(B, A, C)), "order of rules changed"),
        (replace(SAVED, rules=(D, C, B)), "1 rule added, 1 removed, order changed"),
        (replace(SAVED, refuse_identical_pushes=True), "1 option changed"),
        (
            replace(
                SAVED,
                protection=Protection.NONE,
                rules=(A, B),
                refuse_identical_pushes=True,
                protect_signature_tags=True,
            ),
            "protection changed, 1 rule removed, 2 options changed",
        ),
    ],
)
def test_it_is_said_in_a_few_words(draft: Policy, said: str) -> None:
    assert describe_unsaved(SAVED, draft) == said


def test_each_row_is_compared_with_what_it_was() -> None:
    changes = compare_lists([A, B, C], [C, PolicyRule("B", "^x$"), D, PolicyRule("Z", "^a$")])
    assert changes.rows == (RowChange.SAME, RowChange.EDITED, RowChange.NEW, RowChange.EDITED)
    assert (changes.removed, changes.is_moved) == (0, True)


def test_two_rows_of_one_name_are_not_both_what_is_saved() -> None:
    changes = compare_lists([A], [A, A])
    assert changes.rows == (RowChange.SAME, RowChange.NEW)


def test_names_that_two_rules_have_swapped_are_edits() -> None:
    swapped = [PolicyRule("A", B.pattern), PolicyRule("B", A.pattern)]
    changes = compare_lists([A, B], swapped)
    assert changes.rows == (RowChange.EDITED, RowChange.EDITED)
    assert (changes.removed, changes.is_moved) == (0, False)
