"""What an event changed, in words: rules line by line, switches before and after."""

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
class RuleChange:
    """What became of one rule. `sign` is a plus, a minus, or nothing where it was changed."""

    sign: str
    what: str
    name: str
    pattern: str
    before: str = ""


_NAMES = {
    "protection": "Protection",
    "refuse_identical_pushes": "Refuse identical pushes",
    "protect_signature_tags": "Protect signature tags",
    "version": "Settings version",
}
_WORDS = {
    ("protection", "none"): "No tags are protected",
    ("protection", "all"): "All tags are protected",
    ("protection", "some"): "Some tags are protected",
}


def list_changes(details: Mapping[str, Any] | None) -> list[Change]:
    """Return each value that differs between `before` and `after` of an event, but for the rules.

    What an event of another kind, or of another version of Taglock, has in them is shown as it is.
    """
    before, after = _before_and_after(details)
    return [
        Change(_name(key), _say(key, before.get(key)), _say(key, after.get(key)))
        for key in [*after, *(key for key in before if key not in after)]
        if key != "rules" and before.get(key) != after.get(key)
    ]


def list_rule_changes(details: Mapping[str, Any] | None) -> list[RuleChange]:
    """Return each rule that was added, removed or changed, in the order of the new rules.

    A rule is the same one where its name is; or, renamed, where its pattern is.
    """
    before, after = (_read_rules(each) for each in _before_and_after(details))
    changes = []
    for name, pattern in after.items():
        former = next((each for each in before if before[each] == pattern), None)
        if name in before:
            if before[name] != pattern:
                changes.append(RuleChange("", "changed", name, pattern, before[name]))
        elif former is not None and former not in after:
            changes.append(RuleChange("", "renamed", name, pattern, former))
            before = {each: before[each] for each in before if each != former}
        else:
            changes.append(RuleChange("+", "added", name, pattern))
    changes += [
        RuleChange("−", "removed", name, pattern)
        for name, pattern in before.items()
        if name not in after
    ]
    kept = [name for name in before if name in after]
    if kept != [name for name in after if name in before]:
        changes.append(RuleChange("", "in another order", ", ".join(after), ""))
    return changes


def _before_and_after(
    details: Mapping[str, Any] | None,
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    before, after = ((details or {}).get(key) for key in ("before", "after"))
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        return before, after
    return {}, {}


def _read_rules(settings: Mapping[str, Any]) -> dict[str, str]:
    rules = settings.get("rules")
    if not isinstance(rules, list):
        return {}
    return {
        str(rule.get("name")): str(rule.get("pattern"))
        for rule in rules
        if isinstance(rule, Mapping)
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
