"""What an event says happened, as a sentence. Pure: no Django, no database.

A sentence is made of parts, so that a page can link the tag and set off who did it; joined, they
are plain text.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from workspaces.access import ActorKind, describe_actor
from workspaces.log.changes import PatternChange, list_pattern_changes
from workspaces.log.kinds import EventKind
from workspaces.text import to_sentence


class Happened(Protocol):
    """What a sentence needs to know of an event."""

    @property
    def kind(self) -> str: ...
    @property
    def repository(self) -> str: ...
    @property
    def tag(self) -> str: ...
    @property
    def digest(self) -> str: ...
    @property
    def other_digest(self) -> str: ...
    @property
    def actor(self) -> str: ...
    @property
    def actor_kind(self) -> str: ...
    @property
    def rule_name(self) -> str: ...
    @property
    def settings_version(self) -> int | None: ...
    @property
    def reason(self) -> str: ...
    @property
    def details(self) -> Mapping[str, Any] | None: ...


class Style(StrEnum):
    """How a part of a sentence is shown."""

    PLAIN = "plain"
    STRONG = "strong"
    TAG = "tag"
    REPOSITORY = "repository"


@dataclass(frozen=True)
class Part:
    """A piece of a sentence. A part of style TAG or REPOSITORY is the event's own."""

    text: str
    style: Style = Style.PLAIN


@dataclass(frozen=True)
class Sentence:
    """What happened; below it, in Taglock's words, why; and what a person gave as the reason."""

    parts: tuple[Part, ...]
    note: str = ""
    quote: str = ""

    def __str__(self) -> str:
        return "".join(part.text for part in self.parts)


def tell(event: Happened) -> Sentence:
    """Return what `event` says happened. What its details do not have is left out."""
    return _TELLERS[EventKind(event.kind)](event)


def tell_locked_together(event: Happened, count: int) -> Sentence:
    """Return one sentence for `count` tags of a repository that were locked like that of `event`.

    Of kind tag.locked or tag.adopted.
    """
    if event.kind == EventKind.TAG_ADOPTED:
        parts = (_taglock(), Part(f" locked {count} tags that "), _repository(event))
        return Sentence((*parts, Part(" already had")), _by_rule(event))
    pushed = Part(f" pushed and locked {count} tags of ")
    return Sentence((_who(event), pushed, _repository(event)), _by_rule(event))


def find_turn(event: Happened) -> bool | None:
    """Return whether an event turned protection on or off; None if it did neither."""
    if event.kind != EventKind.SETTINGS_CHANGED:
        return None
    was = _settings(event, "before").get("protection")
    is_now = _settings(event, "after").get("protection")
    if was not in _PROTECTIONS or is_now not in _PROTECTIONS or "none" not in (was, is_now):
        return None
    return None if was == is_now else was == "none"


# ---- tags ------------------------------------------------------------------------------------


def _tag_locked(event: Happened) -> Sentence:
    if event.reason:
        return Sentence((_tag(event), Part(f" is locked again: {event.reason}")), _by_rule(event))
    return Sentence((_who(event), Part(" pushed and locked "), _tag(event)), _by_rule(event))


def _tag_adopted(event: Happened) -> Sentence:
    parts = (_taglock(), Part(" locked "), _tag(event), Part(", which the registry already had"))
    return Sentence(parts, _by_rule(event))


def _tag_deleted(event: Happened) -> Sentence:
    parts = (_who(event), Part(" deleted "), _tag(event), Part(", the name stays reserved"))
    return _because(parts, event)


def _push_refused(event: Happened) -> Sentence:
    parts = (_whose(event), Part(" push of "), _tag(event), Part(" was refused"))
    return Sentence(parts, _why_refused(event))


def _why_refused(event: Happened) -> str:
    if event.reason == "the name is reserved":
        return "The tag was deleted and its name is reserved"
    if event.digest and event.digest == event.other_digest:
        return "The same image again: this workspace refuses identical pushes"
    return f"Locked by {event.rule_name}" if event.rule_name else "The tag is locked"


def _push_identical(event: Happened) -> Sentence:
    parts = (_who(event), Part(" pushed "), _tag(event), Part(" again"))
    return Sentence(parts, "The same image: nothing changed")


def _delete_refused(event: Happened) -> Sentence:
    if event.other_digest:
        what = (Part(" delete of an image that "), _tag(event), Part(" lists was refused"))
        return Sentence((_whose(event), *what))
    parts = (_whose(event), Part(" delete of "), _tag(event), Part(" was refused"))
    return Sentence(parts, _sentence(event.reason))


def _lock_ended(event: Happened) -> Sentence:
    because = f" ended: {event.reason}" if event.reason else " ended"
    return Sentence((Part("The lock of "), _tag(event), Part(because)), _by_actor(event))


def _lock_released(event: Happened) -> Sentence:
    after = Part(", its next push can bring another image")
    return _because((_who(event), Part(" released "), _tag(event), after), event)


def _lock_freed(event: Happened) -> Sentence:
    after = Part(", any image can be pushed")
    return _because((_who(event), Part(" freed the name "), _tag(event), after), event)


def _claim_dropped(event: Happened) -> Sentence:
    return _because((_who(event), Part(" dropped the claim of "), _tag(event)), event)


def _drift_found(event: Happened) -> Sentence:
    return Sentence((_tag(event), Part(" differs from the registry")), _sentence(event.reason))


def _drift_repaired(event: Happened) -> Sentence:
    if event.reason:
        return Sentence((_tag(event), Part(" is as it was locked again")), _sentence(event.reason))
    return Sentence((_who(event), Part(" put "), _tag(event), Part(" back to its locked image")))


def _repeats_counted(event: Happened) -> Sentence:
    count = _number(event, "count") or 0
    before, after = _REPEATED.get(_text(event, "kind"), ("", " happened again"))
    times = _plural(count, "more time")
    return Sentence((Part(before), _tag(event), Part(f"{after} {times} within the hour")))


_REPEATED = {
    EventKind.PUSH_REFUSED.value: ("The push of ", " was refused"),
    EventKind.PUSH_IDENTICAL.value: ("The same image of ", " was pushed"),
    EventKind.DELETE_REFUSED.value: ("The delete of ", " was refused"),
    EventKind.DRIFT_FOUND.value: ("", " was found to differ from the registry"),
}


# ---- settings --------------------------------------------------------------------------------


def _settings_changed(event: Happened) -> Sentence:
    before, after = _settings(event, "before"), _settings(event, "after")
    was, is_now = before.get("protection"), after.get("protection")
    if was == is_now or was not in _PROTECTIONS or is_now not in _PROTECTIONS:
        return Sentence((_who(event), Part(_describe_change(event) + _count_moves(event))))
    what = _TURNS[find_turn(event)]
    change = Part(f"{what}: {_PROTECTIONS[was]} → ")
    moves = Part(_count_moves(event))
    note = f"Also{_describe_change(event)}" if _has_pattern_changes(event) else ""
    return Sentence((_who(event), change, Part(_PROTECTIONS[is_now], Style.STRONG), moves), note)


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
    suspended = _number(event, "locks_suspended")
    resumed = _number(event, "locks_resumed")
    said = f", {_plural(suspended, 'lock')} suspended" if suspended else ""
    if resumed:
        said += f", {_plural(resumed, 'lock')} {'holds' if resumed == 1 else 'hold'} again"
    return said


def _settings_counted(event: Happened) -> Sentence:
    version = f" to version {event.settings_version}" if event.settings_version else ""
    suspended = _plural(_number(event, "locks_suspended") or 0, "lock")
    resumed = _number(event, "locks_resumed") or 0
    return Sentence(
        (Part(f"The change{version} suspended {suspended} and brought back {resumed}"),)
    )


# ---- people, tokens and the rest --------------------------------------------------------------


def _workspace_created(event: Happened) -> Sentence:
    return Sentence((_who(event), Part(" created the workspace"), *_named(event, "name")))


def _workspace_archived(event: Happened) -> Sentence:
    after = Part(": it can be read, and nothing in it changes")
    return _because((_who(event), Part(" archived the workspace"), after), event)


def _workspace_unarchived(event: Happened) -> Sentence:
    return _because((_who(event), Part(" unarchived the workspace")), event)


def _workspace_handed_over(event: Happened) -> Sentence:
    parts = (_who(event), Part(" handed the workspace over to "), _member(event))
    return _because((*parts, Part(", as admin")), event)


def _person_deactivated(event: Happened) -> Sentence:
    after = Part(", who can’t use Taglock any more")
    return _because((_who(event), Part(" deactivated "), _member(event), after), event)


def _person_reactivated(event: Happened) -> Sentence:
    return _because((_who(event), Part(" reactivated "), _member(event)), event)


def _site_admin_added(event: Happened) -> Sentence:
    return Sentence((_who(event), Part(" made "), _member(event), Part(" a site administrator")))


def _site_admin_removed(event: Happened) -> Sentence:
    after = Part(" is no longer a site administrator")
    return Sentence((_member(event), after), _by_actor(event))


def _group_role_set(event: Happened) -> Sentence:
    return _group_gives(event, "gives")


def _group_role_removed(event: Happened) -> Sentence:
    return _group_gives(event, "no longer gives")


def _group_gives(event: Happened, gives: str) -> Sentence:
    role = _text(event, "role")
    what = f"the role {role}" if role else "the administration of the site"
    does = Part(f" at the identity provider {gives} {what}")
    return Sentence((Part("The group"), *_named(event, "group"), does), _by_actor(event))


def _member_added(event: Happened) -> Sentence:
    role = _as_role(_text(event, "after"))
    if _is_about_actor(event):
        inviter = _text(event, "invited_by")
        note = f"Invited by {inviter}" if inviter else ""
        return Sentence((_who(event), Part(f" joined{role}")), note)
    return Sentence((_who(event), Part(" added "), _member(event), Part(role)), _by_group(event))


def _member_changed(event: Happened) -> Sentence:
    was, is_now = _text(event, "before"), _text(event, "after")
    what = Part(f" from {was} to {is_now}" if was and is_now else "")
    parts = (_who(event), Part(" changed the role of "), _member(event), what)
    return Sentence(parts, _by_group(event))


def _member_removed(event: Happened) -> Sentence:
    if _is_about_actor(event):
        return Sentence((_who(event), Part(" left the workspace")))
    was = _text(event, "before")
    what = Part(f", who was {_article(was)} {was}" if was else "")
    note = "No group at the identity provider gives them a role" if _left_groups(event) else ""
    return Sentence((_who(event), Part(" removed "), _member(event), what), note)


def _invitation_made(event: Happened) -> Sentence:
    invitee = Part(_text(event, "invitee") or "someone", Style.STRONG)
    role = Part(_as_role(_text(event, "role")))
    return Sentence((_who(event), Part(" invited "), invitee, role))


def _invitation_withdrawn(event: Happened) -> Sentence:
    invitee = Part(_text(event, "invitee") or "someone", Style.STRONG)
    return Sentence((_who(event), Part(" withdrew the invitation of "), invitee))


def _password_changed(event: Happened) -> Sentence:
    if _is_about_actor(event):
        return Sentence((_who(event), Part(" changed their password")))
    return Sentence((_who(event), Part(" set the password of "), _member(event)))


def _password_link_made(event: Happened) -> Sentence:
    return Sentence((_who(event), Part(" made a password link for "), _member(event)))


def _email_changed(event: Happened) -> Sentence:
    if _is_about_actor(event):
        return Sentence((_who(event), Part(" changed their e-mail address")))
    return Sentence((_who(event), Part(" changed the e-mail address of "), _member(event)))


def _account_linked(event: Happened) -> Sentence:
    account = _named(event, "account")
    parts = (_who(event), Part(" linked the registry account"), *account, Part(" to "))
    return Sentence((*parts, _member(event)))


def _account_unlinked(event: Happened) -> Sentence:
    account = _named(event, "account")
    parts = (_who(event), Part(" unlinked the registry account"), *account, Part(" from "))
    return Sentence((*parts, _member(event)))


def _account_paused(event: Happened) -> Sentence:
    parts = (_who(event), Part(" paused the account of "), _member(event))
    return Sentence(parts, "The identity provider no longer vouches for them")


def _account_resumed(event: Happened) -> Sentence:
    parts = (_who(event), Part(" resumed the account of "), _member(event))
    return Sentence(parts, "They signed in at the identity provider again")


def _sign_on_linked(event: Happened) -> Sentence:
    if _is_about_actor(event):
        return Sentence((_who(event), Part(" linked their account to single sign-on")))
    parts = (_who(event), Part(" linked the account of "), _member(event))
    return Sentence((*parts, Part(" to single sign-on")))


def _sign_on_unlinked(event: Happened) -> Sentence:
    parts = (_who(event), Part(" unlinked the account of "), _member(event))
    return Sentence((*parts, Part(" from single sign-on")))


def _personal_token_created(event: Happened) -> Sentence:
    return Sentence(
        (_who(event), Part(" created the personal access token"), *_named(event, "token"))
    )


def _personal_token_revoked(event: Happened) -> Sentence:
    return Sentence(
        (_who(event), Part(" revoked the personal access token"), *_named(event, "token"))
    )


def _token_created(event: Happened) -> Sentence:
    scopes = (event.details or {}).get("scopes")
    note = f"Scopes: {', '.join(map(str, scopes))}" if isinstance(scopes, list) and scopes else ""
    parts = (_who(event), Part(" created the access token"), *_named(event, "token"))
    return Sentence(parts, note)


def _token_revoked(event: Happened) -> Sentence:
    return Sentence((_who(event), Part(" revoked the access token"), *_named(event, "token")))


def _repository_published(event: Happened) -> Sentence:
    after = Part(" public: anyone can pull from it")
    return Sentence((_who(event), Part(" made "), _repository(event), after))


def _repository_closed(event: Happened) -> Sentence:
    return Sentence((_who(event), Part(" made "), _repository(event), Part(" private")))


def _prefix_added(event: Happened) -> Sentence:
    parts = (_who(event), Part(" gave this workspace the repositories under"))
    return Sentence((*parts, *_named(event, "prefix")))


def _prefix_removed(event: Happened) -> Sentence:
    parts = (_who(event), Part(" took from this workspace the prefix"), *_named(event, "prefix"))
    return Sentence(parts, "Repositories that are known stay")


def _registry_chosen(event: Happened) -> Sentence:
    name = _named(event, "registry") or (Part(" of REGISTRY_URL"),)
    return Sentence((_who(event), Part(" chose for this workspace the registry"), *name))


_TELLERS: Mapping[EventKind, Callable[[Happened], Sentence]] = {
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
    EventKind.SETTINGS_CHANGED: _settings_changed,
    EventKind.SETTINGS_COUNTED: _settings_counted,
    EventKind.WORKSPACE_CREATED: _workspace_created,
    EventKind.WORKSPACE_ARCHIVED: _workspace_archived,
    EventKind.WORKSPACE_UNARCHIVED: _workspace_unarchived,
    EventKind.WORKSPACE_HANDED_OVER: _workspace_handed_over,
    EventKind.PERSON_DEACTIVATED: _person_deactivated,
    EventKind.PERSON_REACTIVATED: _person_reactivated,
    EventKind.SITE_ADMIN_ADDED: _site_admin_added,
    EventKind.SITE_ADMIN_REMOVED: _site_admin_removed,
    EventKind.GROUP_ROLE_SET: _group_role_set,
    EventKind.GROUP_ROLE_REMOVED: _group_role_removed,
    EventKind.MEMBER_ADDED: _member_added,
    EventKind.MEMBER_CHANGED: _member_changed,
    EventKind.MEMBER_REMOVED: _member_removed,
    EventKind.INVITATION_MADE: _invitation_made,
    EventKind.INVITATION_WITHDRAWN: _invitation_withdrawn,
    EventKind.PASSWORD_CHANGED: _password_changed,
    EventKind.PASSWORD_LINK_MADE: _password_link_made,
    EventKind.EMAIL_CHANGED: _email_changed,
    EventKind.ACCOUNT_LINKED: _account_linked,
    EventKind.ACCOUNT_UNLINKED: _account_unlinked,
    EventKind.ACCOUNT_PAUSED: _account_paused,
    EventKind.ACCOUNT_RESUMED: _account_resumed,
    EventKind.SIGN_ON_LINKED: _sign_on_linked,
    EventKind.SIGN_ON_UNLINKED: _sign_on_unlinked,
    EventKind.TOKEN_CREATED: _token_created,
    EventKind.TOKEN_REVOKED: _token_revoked,
    EventKind.PERSONAL_TOKEN_CREATED: _personal_token_created,
    EventKind.PERSONAL_TOKEN_REVOKED: _personal_token_revoked,
    EventKind.REPOSITORY_PUBLISHED: _repository_published,
    EventKind.REPOSITORY_CLOSED: _repository_closed,
    EventKind.PREFIX_ADDED: _prefix_added,
    EventKind.PREFIX_REMOVED: _prefix_removed,
    EventKind.REGISTRY_CHOSEN: _registry_chosen,
}


# ---- pieces ----------------------------------------------------------------------------------


def _who(event: Happened) -> Part:
    return Part(describe_actor(event.actor, event.actor_kind) or "Someone", Style.STRONG)


def _whose(event: Happened) -> Part:
    return Part(f"{_who(event).text}’s", Style.STRONG)


def _taglock() -> Part:
    return Part("Taglock", Style.STRONG)


def _tag(event: Happened) -> Part:
    if not event.repository or not event.tag:
        return _repository(event)
    return Part(f"{event.repository}:{event.tag}", Style.TAG)


def _repository(event: Happened) -> Part:
    return Part(event.repository or "a tag", Style.REPOSITORY if event.repository else Style.PLAIN)


def _member(event: Happened) -> Part:
    return Part(_text(event, "member") or "a member", Style.STRONG)


def _named(event: Happened, name: str) -> Sequence[Part]:
    text = _text(event, name)
    return (Part(" "), Part(text, Style.STRONG)) if text else ()


def _by_group(event: Happened) -> str:
    group = _text(event, "group")
    return f"By the group {group} at the identity provider" if group else ""


def _left_groups(event: Happened) -> bool:
    return (event.details or {}).get("left_groups") is True


def _is_about_actor(event: Happened) -> bool:
    return event.actor_kind == ActorKind.PERSON and event.actor == _text(event, "member")


def _because(parts: tuple[Part, ...], event: Happened) -> Sentence:
    """Return a sentence with the reason: quoted, where a person or a token gave it."""
    if event.actor_kind in (ActorKind.PERSON, ActorKind.TOKEN) and event.reason not in _OWN_REASONS:
        return Sentence(parts, quote=event.reason)
    return Sentence(parts, _sentence(event.reason))


# What Taglock writes as the reason where no one gives one.
_OWN_REASONS = frozenset({"deleted through the registry"})


def _by_rule(event: Happened) -> str:
    return f"By rule {event.rule_name}" if event.rule_name else ""


def _by_actor(event: Happened) -> str:
    if not event.actor or event.actor_kind == ActorKind.SYSTEM:
        return ""
    return f"By {_who(event).text}"


def _sentence(text: str) -> str:
    """Return a reason with a capital letter and, like every note, without a full stop."""
    return to_sentence(text).removesuffix(".") if text else ""


def _as_role(role: str) -> str:
    return f" as {role}" if role else ""


def _article(noun: str) -> str:
    return "an" if noun[:1] in "aeiou" else "a"


def _plural(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _text(event: Happened, name: str) -> str:
    value = (event.details or {}).get(name)
    return value if isinstance(value, str) else ""


def _number(event: Happened, name: str) -> int | None:
    value = (event.details or {}).get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _settings(event: Happened, name: str) -> Mapping[str, Any]:
    value = (event.details or {}).get(name)
    return value if isinstance(value, Mapping) else {}
