"""What is said of container settings."""

from collections.abc import Sequence

from workspaces.log.changes import PatternChange, list_pattern_changes
from workspaces.log.kinds import EventKind
from workspaces.log.sentences.pieces import (
    Happened,
    Part,
    Sentence,
    Style,
    Tellers,
    count_of,
    read_number,
    read_settings,
    who,
)


def find_turn(event: Happened) -> bool | None:
    """Return whether an event turned protection on or off; None if it did neither."""
    if event.kind != EventKind.SETTINGS_CHANGED:
        return None
    was = read_settings(event, "before").get("protection")
    is_now = read_settings(event, "after").get("protection")
    if was not in _PROTECTIONS or is_now not in _PROTECTIONS or "none" not in (was, is_now):
        return None
    return None if was == is_now else was == "none"


def _settings_changed(event: Happened) -> Sentence:
    before, after = read_settings(event, "before"), read_settings(event, "after")
    was, is_now = before.get("protection"), after.get("protection")
    if was == is_now or was not in _PROTECTIONS or is_now not in _PROTECTIONS:
        return Sentence((who(event), Part(_describe_change(event) + _count_moves(event))))
    what = _TURNS[find_turn(event)]
    change = Part(f"{what}: {_PROTECTIONS[was]} → ")
    moves = Part(_count_moves(event))
    note = f"Also{_describe_change(event)}" if _has_pattern_changes(event) else ""
    return Sentence((who(event), change, Part(_PROTECTIONS[is_now], Style.STRONG), moves), note)


_PROTECTIONS = {"none": "No tags", "all": "All tags", "some": "Some tags"}
_TURNS = {
    True: " turned protection on",
    False: " turned protection off",
    None: " changed what is protected",
}


def _describe_change(event: Happened) -> str:
    """Return what happened to rules and exceptions, or else that the settings were changed."""
    said = [
        _describe_list(changes, noun)
        for key, noun in (("rules", "rule"), ("exceptions", "exception"))
        if (changes := list_pattern_changes(event.details, key))
    ]
    return " and".join(said) if said else " changed the container settings"


def _has_pattern_changes(event: Happened) -> bool:
    return any(list_pattern_changes(event.details, key) for key in ("rules", "exceptions"))


def _describe_list(changes: Sequence[PatternChange], noun: str) -> str:
    """Return what happened to the rules or exceptions: how many, or the name of one."""
    if len(changes) == 1 and changes[0].what in _VERBS:
        return f" {changes[0].what} the {noun} {changes[0].name}"
    counts = [
        f"{number} {verb}"
        for verb in _VERBS
        if (number := sum(each.what == verb for each in changes))
    ]
    if not counts:
        return f" reordered the {noun}s"
    return f" changed the {noun}s ({', '.join(counts)})"


_VERBS = ("added", "changed", "renamed", "removed")


def _count_moves(event: Happened) -> str:
    """Return how many locks a change of settings suspended and brought back, after a comma."""
    suspended = read_number(event, "locks_suspended")
    resumed = read_number(event, "locks_resumed")
    said = f", {count_of(suspended, 'lock')} suspended" if suspended else ""
    if resumed:
        said += f", {count_of(resumed, 'lock')} {'holds' if resumed == 1 else 'hold'} again"
    return said


def _settings_counted(event: Happened) -> Sentence:
    version = f" to version {event.settings_version}" if event.settings_version else ""
    suspended = count_of(read_number(event, "locks_suspended") or 0, "lock")
    resumed = read_number(event, "locks_resumed") or 0
    return Sentence(
        (Part(f"The change{version} suspended {suspended} and brought back {resumed}"),)
    )


SETTINGS_TELLERS: Tellers = {
    EventKind.SETTINGS_CHANGED: _settings_changed,
    EventKind.SETTINGS_COUNTED: _settings_counted,
}
