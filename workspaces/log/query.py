"""Read the log: one set of filters for page and API, and paging that stays fast far back."""

from dataclasses import dataclass
from datetime import UTC, datetime, time
from typing import Any

from django import forms
from django.db import connection
from django.db.models import F, Q, QuerySet
from django.db.models.expressions import OrderBy
from django.db.models.functions import Coalesce

from workspaces.access import Permission
from workspaces.callers import Access
from workspaces.log.kinds import TAG_EVENT_KINDS, EventKind
from workspaces.log.models import REF_LENGTH, LockEvent
from workspaces.queries import FilterForm

EVENTS_PER_PAGE = 50
MAX_EVENTS_PER_PAGE = 200

# A digest's beginning with this many characters picks few events out of many; with fewer, the next
# page is full after some thousand events of any digest.
_TELLING_CHARACTERS = 3
# A whole digest has at least as many. How many events have it, the database knows, and a base image
# may be in a great many.
_WHOLE_CHARACTERS = 64


# A digest or its beginning, and whoever types it need not know that it is lower case.
_DIGEST = r"\A(?:[A-Za-z0-9+._-]+:)?[A-Za-z0-9=_-]*\Z"
_REF = rf"\A[0-9A-Za-z]{{{REF_LENGTH}}}\Z"
_A_DAY = "Write a day like 2026-05-01."


class RefField(forms.RegexField):
    """The ref of an event; small letters will do."""

    def __init__(self, **options: Any) -> None:
        message = f"A reference has {REF_LENGTH} letters and digits."
        super().__init__(
            _REF, required=False, strip=True, error_messages={"invalid": message}, **options
        )

    def clean(self, value: Any) -> str:
        """Return the ref as it is kept."""
        ref: str = super().clean(value)
        return ref.upper()


class DayField(forms.DateField):
    """A day in UTC."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            required=False,
            input_formats=["%Y-%m-%d"],
            widget=forms.DateInput({"type": "date"}),
            help_text="UTC",
            error_messages={"invalid": _A_DAY},
            **options,
        )


class LogFilterForm(FilterForm):
    """What to look for. Every field is optional."""

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
    since = DayField(label="From")
    until = DayField(label="To")

    @classmethod
    def for_access(cls, access: Access, data: Any) -> "LogFilterForm":
        """Return the form with the kinds of events that the caller may read."""
        form = cls(data)
        if not access.may(Permission.VIEW_ALL_EVENTS):
            form.fields["kind"].choices = [  # type: ignore[attr-defined]
                ("", "Any event"),
                *((kind.value, kind.label) for kind in EventKind if kind in TAG_EVENT_KINDS),
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
        # An index that leaves out the events without a value is used only where they are ruled out.
        if "tag" in wanted:
            condition &= ~Q(tag="")
        if "rule" in wanted:
            condition &= Q(rule_name=wanted["rule"]) & ~Q(rule_name="")
        if "digest" in wanted:
            begin = _normalize_digest(wanted["digest"])
            condition &= _begins("digest", begin) | _begins("other_digest", begin)
        if "ref" in wanted:
            condition &= Q(ref=wanted["ref"])
        if "since" in wanted:
            condition &= Q(at__gte=datetime.combine(wanted["since"], time(), UTC))
        if "until" in wanted:
            condition &= Q(at__lte=datetime.combine(wanted["until"], time.max, UTC))
        return condition

    @property
    def has_telling_beginning(self) -> bool:
        """Whether so much of a digest was typed that few events have it, and not all of it."""
        typed = _normalize_digest(self.cleaned_data.get("digest", "")).partition(":")[2]
        return _TELLING_CHARACTERS <= len(typed) < _WHOLE_CHARACTERS


class LogPageForm(LogFilterForm):
    """Filters, and the place in the list."""

    before = RefField(widget=forms.HiddenInput)
    after = RefField(widget=forms.HiddenInput)

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
    that the page of newer events comes after. Each is empty where there is no such page.
    """

    events: list[LockEvent]
    older_before: str = ""
    newer_after: str = ""


def visible_events(access: Access) -> QuerySet[LockEvent]:
    """Return the events of the workspace that the caller may read.

    Admins and auditors read all of them, others what happened to tags. Raises PermissionDenied.
    """
    access.require(Permission.VIEW_TAG_EVENTS)
    events = LockEvent.objects.filter(workspace=access.workspace.slug)
    if access.may(Permission.VIEW_ALL_EVENTS):
        return events
    return events.filter(kind__in=TAG_EVENT_KINDS)


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
    is_fenced = form.has_telling_beginning
    if after and not before:
        newer = _beyond(found, visible.filter(ref=after), is_newer=True)
        rows = list(newer.order_by(*_order(is_fenced=is_fenced, newest_first=False))[: limit + 1])
        events = rows[:limit][::-1]
        if not events:
            return LogPage([])
        return LogPage(events, events[-1].ref, events[0].ref if len(rows) > limit else "")
    if before:
        found = _beyond(found, visible.filter(ref=before), is_newer=False)
    rows = list(found.order_by(*_order(is_fenced=is_fenced, newest_first=True))[: limit + 1])
    events = rows[:limit]
    return LogPage(
        events,
        events[-1].ref if len(rows) > limit else "",
        events[0].ref if before and events else "",
    )


def _beyond(
    found: QuerySet[LockEvent], place: QuerySet[LockEvent], *, is_newer: bool
) -> QuerySet[LockEvent]:
    """Return those of `found` that are newer, or older, than the one event of `place`.

    The time is compared within the database: one of them keeps less of it than Python does. Written
    so that the first condition alone finds the place in an index.
    """
    at, identifier = place.values("at")[:1], place.values("id")[:1]
    if is_newer:
        return found.filter(Q(at__gte=at) & (Q(at__gt=at) | Q(id__gt=identifier)))
    return found.filter(Q(at__lte=at) & (Q(at__lt=at) | Q(id__lt=identifier)))


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
