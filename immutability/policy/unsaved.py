"""What differs between saved settings and a draft of them, in a few words. No Django."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from immutability.policy.protection import NamedPattern, PatternKind, Policy


class RowChange(StrEnum):
    """What a row of a draft is beside what is saved."""

    SAME = ""
    EDITED = "edited"
    NEW = "new"


@dataclass(frozen=True)
class ListChanges:
    """What differs in a list: each row of the draft, how many are gone, and whether any moved."""

    rows: tuple[RowChange, ...]
    removed: int
    is_moved: bool


def compare_lists(saved: Sequence[NamedPattern], typed: Sequence[NamedPattern]) -> ListChanges:
    """Compare a list with the saved one. A row is the same where its name or its pattern is."""
    pairs: dict[int, int] = {}
    for is_same in _SAMENESS:
        for number, row in enumerate(typed):
            if number in pairs:
                continue
            free = (place for place in range(len(saved)) if place not in pairs.values())
            place = next((place for place in free if is_same(saved[place], row)), None)
            if place is not None:
                pairs[number] = place
    places = [pairs[number] for number in sorted(pairs)]
    return ListChanges(
        tuple(_name_change(saved, row, pairs.get(number)) for number, row in enumerate(typed)),
        len(saved) - len(pairs),
        places != sorted(places),
    )


_SAMENESS: tuple[Callable[[NamedPattern, NamedPattern], bool], ...] = (
    lambda one, other: one == other,
    lambda one, other: one.name == other.name,
    lambda one, other: one.pattern == other.pattern,
)


def _name_change(saved: Sequence[NamedPattern], row: NamedPattern, place: int | None) -> RowChange:
    if place is None:
        return RowChange.NEW
    return RowChange.SAME if saved[place] == row else RowChange.EDITED


def describe_unsaved(saved: Policy, draft: Policy) -> str:
    """Return what is not saved yet, such as "1 rule added, 1 edited", or "" if all is."""
    parts: list[str] = []
    if draft.protection is not saved.protection:
        parts.append("protection changed")
    for kind in PatternKind:
        changes = compare_lists(saved.list_patterns(kind), draft.list_patterns(kind))
        parts += _describe_list(kind, changes)
    options = sum(getattr(draft, name) != getattr(saved, name) for name in _OPTIONS)
    if options:
        parts.append(f"{_count(options, 'option')} changed")
    return ", ".join(parts)


_OPTIONS = ("refuse_identical_pushes", "protect_signature_tags", "repair_drift")


def _describe_list(kind: PatternKind, changes: ListChanges) -> list[str]:
    numbers = {
        "added": changes.rows.count(RowChange.NEW),
        "edited": changes.rows.count(RowChange.EDITED),
        "removed": changes.removed,
    }
    parts: list[str] = []
    for what, number in numbers.items():
        if number:
            # "1 rule added, 1 edited": what is counted is said once.
            parts.append(f"{number} {what}" if parts else f"{_count(number, kind)} {what}")
    if changes.is_moved:
        parts.append("order changed" if parts else f"order of {kind.plural} changed")
    return parts


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
