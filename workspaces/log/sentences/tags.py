"""What is said of tags: pushes, locks, deletes and drift."""

from workspaces.log.kinds import EventKind
from workspaces.log.sentences.pieces import (
    TAGLOCK,
    Happened,
    Part,
    Sentence,
    Tellers,
    because,
    by_actor,
    count_of,
    read_number,
    read_text,
    repository_of,
    tag_of,
    to_note,
    who,
    whose,
)


def tell_locked_together(event: Happened, count: int) -> Sentence:
    """Return one sentence for `count` tags of a repository that were locked like that of `event`.

    Of kind tag.locked or tag.adopted.
    """
    if event.kind == EventKind.TAG_ADOPTED:
        parts = (TAGLOCK, Part(f" locked {count} tags that "), repository_of(event))
        return Sentence((*parts, Part(" already had")), _by_rule(event))
    pushed = Part(f" pushed and locked {count} tags of ")
    return Sentence((who(event), pushed, repository_of(event)), _by_rule(event))


def _tag_locked(event: Happened) -> Sentence:
    if event.reason:
        return Sentence((tag_of(event), Part(f" is locked again: {event.reason}")), _by_rule(event))
    return Sentence((who(event), Part(" pushed and locked "), tag_of(event)), _by_rule(event))


def _tag_adopted(event: Happened) -> Sentence:
    parts = (TAGLOCK, Part(" locked "), tag_of(event), Part(", which the registry already had"))
    return Sentence(parts, _by_rule(event))


def _tag_deleted(event: Happened) -> Sentence:
    parts = (who(event), Part(" deleted "), tag_of(event), Part(", the name stays reserved"))
    return because(parts, event)


def _push_refused(event: Happened) -> Sentence:
    parts = (whose(event), Part(" push of "), tag_of(event), Part(" was refused"))
    return Sentence(parts, _why_refused(event))


def _why_refused(event: Happened) -> str:
    if event.reason == "the name is reserved":
        return "The tag was deleted and its name is reserved"
    if event.digest and event.digest == event.other_digest:
        return "The same image again: this workspace refuses identical pushes"
    return f"Locked by {event.rule_name}" if event.rule_name else "The tag is locked"


def _push_identical(event: Happened) -> Sentence:
    parts = (who(event), Part(" pushed "), tag_of(event), Part(" again"))
    return Sentence(parts, "The same image: nothing changed")


def _delete_refused(event: Happened) -> Sentence:
    if event.other_digest:
        what = (Part(" delete of an image that "), tag_of(event), Part(" lists was refused"))
        return Sentence((whose(event), *what))
    parts = (whose(event), Part(" delete of "), tag_of(event), Part(" was refused"))
    return Sentence(parts, to_note(event.reason))


def _lock_ended(event: Happened) -> Sentence:
    how = f" ended: {event.reason}" if event.reason else " ended"
    return Sentence((Part("The lock of "), tag_of(event), Part(how)), by_actor(event))


def _lock_released(event: Happened) -> Sentence:
    after = Part(", its next push can bring another image")
    return because((who(event), Part(" released "), tag_of(event), after), event)


def _lock_freed(event: Happened) -> Sentence:
    after = Part(", any image can be pushed")
    return because((who(event), Part(" freed the name "), tag_of(event), after), event)


def _claim_dropped(event: Happened) -> Sentence:
    return because((who(event), Part(" dropped the claim of "), tag_of(event)), event)


def _drift_found(event: Happened) -> Sentence:
    return Sentence((tag_of(event), Part(" differs from the registry")), to_note(event.reason))


def _drift_repaired(event: Happened) -> Sentence:
    if event.reason:
        return Sentence((tag_of(event), Part(" is as it was locked again")), to_note(event.reason))
    return Sentence((who(event), Part(" put "), tag_of(event), Part(" back to its locked image")))


def _repeats_counted(event: Happened) -> Sentence:
    count = read_number(event, "count") or 0
    before, after = _REPEATED.get(read_text(event, "kind"), ("", " happened again"))
    times = count_of(count, "more time")
    return Sentence((Part(before), tag_of(event), Part(f"{after} {times} within the hour")))


_REPEATED = {
    EventKind.PUSH_REFUSED.value: ("The push of ", " was refused"),
    EventKind.PUSH_IDENTICAL.value: ("The same image of ", " was pushed"),
    EventKind.DELETE_REFUSED.value: ("The delete of ", " was refused"),
    EventKind.DRIFT_FOUND.value: ("", " was found to differ from the registry"),
}


def _by_rule(event: Happened) -> str:
    return f"By rule {event.rule_name}" if event.rule_name else ""


TAG_TELLERS: Tellers = {
    EventKind.TAG_LOCKED: _tag_locked,
    EventKind.TAG_ADOPTED: _tag_adopted,
    EventKind.TAG_DELETED: _tag_deleted,
    EventKind.PUSH_REFUSED: _push_refused,
    EventKind.PUSH_IDENTICAL: _push_identical,
    EventKind.DELETE_REFUSED: _delete_refused,
    EventKind.LOCK_ENDED: _lock_ended,
    EventKind.LOCK_RELEASED: _lock_released,
    EventKind.LOCK_FREED: _lock_freed,
    EventKind.CLAIM_DROPPED: _claim_dropped,
    EventKind.DRIFT_FOUND: _drift_found,
    EventKind.DRIFT_REPAIRED: _drift_repaired,
    EventKind.REPEATS_COUNTED: _repeats_counted,
}
