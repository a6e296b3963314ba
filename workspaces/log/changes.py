"""What an event changed, in words: rules and exceptions line by line, switches before and after."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Change:
    """A value before and after."""

    name: str
    before: str
    after: str


@dataclass(frozen=True)
class PatternChange:
    """What happened to one rule or exception. `sign` is a plus, a minus, or "" for a change."""

    sign: str
    what: str
    name: str
    pattern: str
    before: str = ""


# Lists of named patterns.
_LISTS = ("rules", "exceptions")
_NAMES = {
    "protection": "Protection",
    "refuse_identical_pushes": "Refuse identical pushes",
    "protect_signature_tags": "Protect signature tags",
    "repair_drift": "Put locked tags back",
    "version": "Settings version",
}
_WORDS = {
    ("protection", "none"): "No tags are protected",
    ("protection", "all"): "All tags are protected",
    ("protection", "some"): "Some tags are protected",
}


def list_changes(details: Mapping[str, Any] | None) -> list[Change]:
    """Return each value that differs between `before` and `after` of an event, but for the lists.

    What an event of another kind, or of another version of Taglock, has in them is shown as it is.
    """
    before, after = _before_and_after(details)
    return [
        Change(_name(key), _say(key, before.get(key)), _say(key, after.get(key)))
        for key in [*after, *(key for key in before if key not in after)]
        if key not in _LISTS and before.get(key) != after.get(key)
    ]


def list_pattern_changes(details: Mapping[str, Any] | None, key: str) -> list[PatternChange]:
    """Return each pattern that was added, removed or changed, in the order of the new ones.

    `key` is "rules" or "exceptions". A pattern is the same one where its name is; or, renamed,
    where its text is.
    """
    before, after = (_read_patterns(each.get(key)) for each in _before_and_after(details))
    changes = []
    for name, pattern in after.items():
        former = next((each for each in before if before[each] == pattern), None)
        if name in before:
            if before[name] != pattern:
                changes.append(PatternChange("", "changed", name, pattern, before[name]))
        elif former is not None and former not in after:
            changes.append(PatternChange("", "renamed", name, pattern, former))
            before = {each: before[each] for each in before if each != former}
        else:
            changes.append(PatternChange("+", "added", name, pattern))
    changes += [
        PatternChange("−", "removed", name, pattern)
        for name, pattern in before.items()
        if name not in after
    ]
    kept = [name for name in before if name in after]
    if kept != [name for name in after if name in before]:
        changes.append(PatternChange("", "in another order", ", ".join(after), ""))
    return changes


def _before_and_after(
    details: Mapping[str, Any] | None,
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    before, after = ((details or {}).get(key) for key in ("before", "after"))
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        return before, after
    return {}, {}


def _read_patterns(listed: object) -> dict[str, str]:
    if not isinstance(listed, list):
        return {}
    return {
        str(each.get("name")): str(each.get("pattern"))
        for each in listed
        if isinstance(each, Mapping)
    }


def _name(key: str) -> str:
    return _NAMES.get(key, key.replace("_", " ").capitalize())


def _say(key: str, value: Any) -> str:
    if isinstance(value, str) and (key, value) in _WORDS:
        return _WORDS[key, value]
    return describe_value(value)


def describe_value(value: Any) -> str:
    """Return a value of an event's details as a person reads it."""
    match value:
        case bool():
            return "yes" if value else "no"
        case None | [] | "":
            return "none"
        case list():
            return ", ".join(str(each) for each in value)
        case _:
            return str(value)
