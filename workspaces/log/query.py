"""Read the log: one set of filters for page and API, and paging that stays fast far back."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, time
from typing import Any

from django import forms
from django.db import connection
from django.db.models import CharField, F, Func, Q, QuerySet
from django.db.models.expressions import OrderBy
from django.db.models.functions import Coalesce
from django.db.models.lookups import IContains

from workspaces.access import Permission
from workspaces.caller_access import Access
from workspaces.log.kinds import KIND_GROUPS, TAG_EVENT_KINDS, EventKind, KindGroup
from workspaces.log.models import REF_LENGTH, LockEvent
from workspaces.log.search import MAX_SEARCH_WORDS, Word, parse_search
from workspaces.queries import FilterForm
from workspaces.search import MAX_SEARCH_LENGTH

EVENTS_PER_PAGE = 50
MAX_EVENTS_PER_PAGE = 200
# How many of the newest events a page looks through for what is searched.
MAX_SCANNED = 10_000
# Up to so many events from an index are sorted and shown newest first.
MAX_FOUND = 5_000

# A digest's beginning with this many characters picks few events out of many; with fewer, the next
# page is full after some thousand events of any digest.
_TELLING_CHARACTERS = 3
# A whole digest has at least as many. How many events have it, the database knows, and a base image
# may be in a great many.
_WHOLE_CHARACTERS = 64


# A digest or its beginning, in any case.
_DIGEST = r"\A(?:[A-Za-z0-9+._-]+:)?[A-Za-z0-9=_-]*\Z"
_REF = rf"\A[0-9A-Za-z]{{{REF_LENGTH}}}\Z"
_A_MOMENT = "Enter a day like 2026-05-01, or a time like 2026-05-01T14:30."
_A_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_MAX_MOMENT_LENGTH = len("2026-05-01T14:30:15Z")
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d)(:\d\d)?Z?", re.ASCII)
# What the index of text can find: it has groups of three characters of each word, which two blanks
# before it and one behind it belong to.
_INDEXED_TEXT = re.compile(r"[^\W_]{3}|[^\W_]{2}[\W_]|[\W_][^\W_]")


class RefField(forms.RegexField):
    """The ref of an event; lower case works, too."""

    def __init__(self, **options: Any) -> None:
        message = f"A reference has {REF_LENGTH} letters and digits."
        super().__init__(
            _REF, required=False, strip=True, error_messages={"invalid": message}, **options
        )

    def clean(self, value: Any) -> str:
        """Return the ref as it is kept."""
        ref: str = super().clean(value)
        return ref.upper()


class MomentInput(forms.DateTimeInput):
    """A day and a time of day, in UTC. A whole day is shown by its first or its last minute."""

    input_type = "datetime-local"

    def __init__(self, *, whole_day: str) -> None:
        super().__init__()
        self._whole_day = whole_day

    def format_value(self, value: Any) -> str | None:
        """Return what browsers show of what was typed."""
        if isinstance(value, str):
            return f"{value}T{self._whole_day}" if _A_DAY.fullmatch(value) else value
        return super().format_value(value)


class MomentField(forms.CharField):
    """A day, or a moment of one to the minute or second, in UTC: its beginning or its end.

    What happened within the minute or the second that was typed belongs to the period.
    """

    def __init__(self, *, is_end: bool, **options: Any) -> None:
        self._is_end = is_end
        widget = MomentInput(whole_day="23:59" if is_end else "00:00")
        options |= {"max_length": _MAX_MOMENT_LENGTH, "help_text": "UTC"}
        super().__init__(required=False, widget=widget, **options)
        # Of a text, which this is not in a browser.
        self.widget.attrs.pop("maxlength", None)

    def clean(self, value: Any) -> datetime | None:
        """Return the moment, or None if nothing was typed."""
        text: str = super().clean(value)
        if not text:
            return None
        found = _MOMENT.fullmatch(text)
        try:
            if found is None and not _A_DAY.fullmatch(text):
                raise ValueError
            day = datetime.strptime(text[:10], "%Y-%m-%d").replace(tzinfo=UTC).date()
            at = time.fromisoformat(f"{found[2]}{found[3] or ''}") if found else None
        except ValueError as error:
            raise forms.ValidationError(_A_MOMENT, code="invalid") from error
        if not self._is_end:
            return datetime.combine(day, at or time(), UTC)
        if at is None:
            return datetime.combine(day, time.max, UTC)
        last_second = at.second if found and found[3] else 59
        return datetime.combine(day, at.replace(second=last_second, microsecond=999_999), UTC)


class SearchField(forms.CharField):
    """What people type or paste: parts of names, a digest's beginning, the ref of an event."""

    def __init__(self, **options: Any) -> None:
        super().__init__(required=False, max_length=MAX_SEARCH_LENGTH, **options)

    def clean(self, value: Any) -> str:
        """Refuse more words than one search looks for."""
        text: str = super().clean(value)
        if len(parse_search(text)) > MAX_SEARCH_WORDS:
            raise forms.ValidationError(f"Search for at most {MAX_SEARCH_WORDS} words.")
        return text


class LogFilterForm(FilterForm):
    """What to look for. Every field is optional."""

    q = SearchField(label="Tag, repository, person, rule or digest")
    group = forms.ChoiceField(
        label="Events",
        required=False,
        choices=[("", "Everything"), *((group.value, group.label) for group in KindGroup)],
        error_messages={"invalid_choice": f"Must be one of: {', '.join(KindGroup)}."},
    )
    repository = forms.RegexField(
        "/",
        required=False,
        strip=True,
        max_length=255,
        error_messages={"invalid": "Write the full name, like acme/api."},
    )
    tag = forms.CharField(required=False, max_length=128)
    kind = forms.ChoiceField(
        label="Event",
        required=False,
        choices=[("", "Any event"), *((kind.value, kind.label) for kind in EventKind)],
        error_messages={"invalid_choice": f"Must be one of: {', '.join(EventKind)}."},
    )
    actor = forms.CharField(required=False, max_length=255)
    rule = forms.CharField(required=False, max_length=64, strip=False)
    digest = forms.RegexField(
        _DIGEST,
        required=False,
        strip=True,
        max_length=256,
        help_text="or its beginning",
        error_messages={"invalid": "Write a digest, like sha256:ab12…, or its first characters."},
    )
    ref = RefField(label="Reference")
    since = MomentField(label="Since", is_end=False)
    until = MomentField(label="Until", is_end=True)

    @classmethod
    def for_access(cls, access: Access, data: Any) -> "LogFilterForm":
        """Return the form with the kinds of events that the caller may read."""
        form = cls(data)
        if not access.may(Permission.VIEW_ALL_EVENTS):
            form.fields["kind"].choices = [  # type: ignore[attr-defined]
                ("", "Any event"),
                *((kind.value, kind.label) for kind in EventKind if kind in TAG_EVENT_KINDS),
            ]
            form.fields["group"].choices = [  # type: ignore[attr-defined]
                ("", "Everything"),
                *((group.value, group.label) for group in visible_groups(access)),
            ]
        return form

    def clean(self) -> None:
        """Refuse a period that ends before it begins."""
        cleaned = self.cleaned_data
        if cleaned.get("since") and cleaned.get("until") and cleaned["since"] > cleaned["until"]:
            self.add_error("until", "The period ends before it begins.")

    @property
    def is_narrowing(self) -> bool:
        """Whether a valid form leaves any event out."""
        return any(self.cleaned_data.get(name) for name in LogFilterForm.base_fields)

    def to_condition(self) -> Q:
        """Return the condition on events of a valid form."""
        wanted = {name: value for name, value in self.cleaned_data.items() if value}
        condition = Q()
        for name in ("repository", "tag", "kind", "actor"):
            if name in wanted:
                condition &= Q(**{name: wanted[name]})
        if "group" in wanted:
            condition &= Q(kind__in=KIND_GROUPS[KindGroup(wanted["group"])])
        # An index that leaves out the events without a value is used only where they are ruled out.
        if "tag" in wanted:
            condition &= ~Q(tag="")
        if "rule" in wanted:
            condition &= Q(rule_name=wanted["rule"]) & ~Q(rule_name="")
        if "digest" in wanted:
            begin = _normalize_digest(wanted["digest"])
            condition &= _begins("digest", begin) | _begins("other_digest", begin)
        for name, column in (("ref", "ref"), ("since", "at__gte"), ("until", "at__lte")):
            if name in wanted:
                condition &= Q(**{column: wanted[name]})
        return condition

    def to_whole_condition(self, slug: str) -> Q:
        """Return the condition on events of the workspace `slug`, with what is searched for."""
        words = (to_condition(word) for word in self.to_words(slug))
        return Q(self.to_condition(), *words)

    def to_words(self, slug: str) -> tuple[Word, ...]:
        """Return what is searched for in a valid form, word by word."""
        return parse_search(self.cleaned_data.get("q", ""), slug)

    @property
    def has_telling_beginning(self) -> bool:
        """Whether so much of a digest was typed that few events have it, and not all of it."""
        typed = _normalize_digest(self.cleaned_data.get("digest", "")).partition(":")[2]
        return _TELLING_CHARACTERS <= len(typed) < _WHOLE_CHARACTERS


class LogPageForm(LogFilterForm):
    """Filters, and the place in the list."""

    before = RefField(widget=forms.HiddenInput)
    after = RefField(widget=forms.HiddenInput)

    def __init__(self, data: Any = None, **options: Any) -> None:
        super().__init__(data, **options)
        # The groups of kinds are links.
        self.fields["group"].widget = forms.HiddenInput()

    def clean(self) -> None:
        """Refuse two places at once."""
        super().clean()
        if self.cleaned_data.get("before") and self.cleaned_data.get("after"):
            self.add_error("after", "Send before or after, not both.")


class LogListForm(LogPageForm):
    """Filters, the place, and how many events: what the API takes."""

    limit = forms.IntegerField(required=False, min_value=1, max_value=MAX_EVENTS_PER_PAGE)


@dataclass(frozen=True)
class LogPage:
    """Some events, newest first.

    `older_before` is the ref that the page of older events comes before, and `newer_after` the one
    that the page of newer events comes after. Each is empty if there is no such page. With
    `is_whole` false, the page might have more: the next page does.
    """

    events: list[LockEvent]
    older_before: str = ""
    newer_after: str = ""
    is_whole: bool = True


def visible_events(access: Access) -> QuerySet[LockEvent]:
    """Return the events of the workspace that the caller may read.

    Admins and auditors read all of them, others what happened to tags. Raises PermissionDenied.
    """
    access.require(Permission.VIEW_TAG_EVENTS)
    events = LockEvent.objects.filter(workspace=access.workspace.slug)
    if access.may(Permission.VIEW_ALL_EVENTS):
        return events
    return events.filter(kind__in=TAG_EVENT_KINDS)


def visible_groups(access: Access) -> list[KindGroup]:
    """Return the groups of kinds of which the caller may read events."""
    if access.may(Permission.VIEW_ALL_EVENTS):
        return list(KindGroup)
    return [group for group in KindGroup if KIND_GROUPS[group] <= TAG_EVENT_KINDS]


def find_events(
    access: Access,
    form: LogFilterForm,
    before: str = "",
    limit: int = EVENTS_PER_PAGE,
    *,
    after: str = "",
) -> LogPage:
    """Return one page of the events that match a valid `form`, newest first.

    It comes right before the event `before`, or right after the event `after`: refs.
    """
    visible = visible_events(access)
    found = visible.filter(form.to_condition())
    is_newer = bool(after and not before)
    if before or after:
        found = _beyond(found, visible.filter(ref=before or after), is_newer=is_newer)
    order = _order(is_fenced=form.has_telling_beginning, newest_first=not is_newer)
    words = form.to_words(access.workspace.slug)
    if words:
        rows, last = _search(visible, found, words, limit, is_newer=is_newer)
    else:
        rows, last = list(found.order_by(*order)[: limit + 1]), ""
    following = rows[limit - 1].ref if len(rows) > limit else last
    events = rows[:limit][::-1] if is_newer else rows[:limit]
    is_whole = following != last or not last
    if is_newer:
        return LogPage(events, events[-1].ref if events else "", following, is_whole)
    return LogPage(events, following, events[0].ref if before and events else "", is_whole)


def _search(
    visible: QuerySet[LockEvent],
    found: QuerySet[LockEvent],
    words: tuple[Word, ...],
    limit: int,
    *,
    is_newer: bool,
) -> tuple[list[LockEvent], str]:
    """Return the first of `found` that match, one more than `limit`, and where the search ended.

    It looks through the next MAX_SCANNED events, and only then at all that an index finds. Ended
    is the ref of the last event that was looked at, or nothing if all were.
    """
    order = _order(is_fenced=False, newest_first=not is_newer)
    wanted = found.filter(*(to_condition(word) for word in words))
    ends = list(found.order_by(*order).values_list("ref", flat=True)[MAX_SCANNED - 1 :][:2])
    if len(ends) < 2:
        return list(wanted.order_by(*order)[: limit + 1]), ""
    end = visible.filter(ref=ends[0])
    near = _beyond(wanted, end, is_newer=not is_newer, is_inclusive=True)
    rows = list(near.order_by(*order)[: limit + 1])
    if len(rows) <= limit and any(_is_indexed(word) for word in words):
        ids = list(wanted.values_list("id", flat=True)[: MAX_FOUND + 1])
        if len(ids) <= MAX_FOUND:
            all_rows = LockEvent.objects.filter(id__in=ids).order_by(*order)
            return list(all_rows[: limit + 1]), ""
    return rows, ends[0]


class EventText(Func):
    """What an event names: tag, actor and rule. The index of text has it in upper case."""

    template = "(%(expressions)s)"
    arg_joiner = " || ' ' || "
    output_field = CharField()

    def __init__(self) -> None:
        super().__init__(_EventTag(), "actor", "rule_name")


class _EventTag(Func):
    template = "(%(expressions)s)"
    arg_joiner = " || ':' || "
    output_field = CharField()

    def __init__(self) -> None:
        super().__init__("repository", "tag")


def to_condition(word: Word) -> Q:
    """Return the condition on the events that a word matches."""
    condition = Q(IContains(EventText(), word.text)) if word.text else Q()
    if word.digest:
        condition |= _begins("digest", word.digest) | _begins("other_digest", word.digest)
    if word.ref:
        condition |= Q(ref=word.ref)
    return condition


def _is_indexed(word: Word) -> bool:
    """Whether an index finds what a word matches."""
    if not word.text:
        return True
    return connection.vendor == "postgresql" and bool(_INDEXED_TEXT.search(word.text))


def _beyond(
    found: QuerySet[LockEvent],
    place: QuerySet[LockEvent],
    *,
    is_newer: bool,
    is_inclusive: bool = False,
) -> QuerySet[LockEvent]:
    """Return those of `found` that are newer, or older, than the one event of `place`.

    The time is compared within the database: one of them keeps less of it than Python does. Written
    so that the first condition is enough to find the place in an index.
    """
    at, identifier = place.values("at")[:1], place.values("id")[:1]
    way = "gt" if is_newer else "lt"
    id_way = f"{way}e" if is_inclusive else way
    later = Q(**{f"at__{way}": at}) | Q(**{f"id__{id_way}": identifier})
    return found.filter(Q(**{f"at__{way}e": at}) & later)


def _order(*, is_fenced: bool, newest_first: bool) -> list[OrderBy]:
    """Return the order of a page, by time.

    Fenced, it is one that no index has. A database that expects many matches goes through the
    events by time until it has met enough of them: through all of them, where it is wrong.
    """
    at = Coalesce("at", "at") if is_fenced else F("at")
    return [OrderBy(each, descending=newest_first) for each in (at, F("id"))]


def _normalize_digest(typed: str) -> str:
    # Digests are lower case; one database would ignore case and another would not.
    lower = typed.lower()
    return lower if ":" in lower else f"sha256:{lower}"


def _begins(column: str, text: str) -> Q:
    """Return the condition that a digest begins with `text`, as each database finds it in an index.

    SQLite's LIKE ignores case, and so the index; PostgreSQL's order of text may not be that of its
    bytes. A digest has no character from "~" on.
    """
    if connection.vendor == "sqlite":
        begins = Q(**{f"{column}__gte": text}) & Q(**{f"{column}__lt": f"{text}~"})
    else:
        begins = Q(**{f"{column}__startswith": text})
    return begins & ~Q(**{column: ""})
