"""Read the log: one set of filters for page and API, and paging that stays fast far back."""

from dataclasses import dataclass
from datetime import UTC, datetime, time

from django import forms
from django.db.models import Q, QuerySet

from workspaces.access import Permission
from workspaces.callers import Access
from workspaces.log.kinds import TAG_EVENT_KINDS, EventKind
from workspaces.log.models import LockEvent
from workspaces.text import find_bad_character

EVENTS_PER_PAGE = 50
MAX_EVENTS_PER_PAGE = 200


class LogFilterForm(forms.Form):
    """What to look for. Every field is optional."""

    repository = forms.CharField(required=False, max_length=255)
    tag = forms.CharField(required=False, max_length=128)
    kind = forms.ChoiceField(
        label="Event",
        required=False,
        choices=[("", "Any event"), *((kind.value, kind.label) for kind in EventKind)],
    )
    actor = forms.CharField(required=False, max_length=255)
    rule = forms.CharField(required=False, max_length=64, strip=False)
    digest = forms.CharField(required=False, max_length=256, help_text="or its beginning")
    since = forms.DateField(
        label="From", required=False, widget=forms.DateInput({"type": "date"}), help_text="UTC"
    )
    until = forms.DateField(
        label="To", required=False, widget=forms.DateInput({"type": "date"}), help_text="UTC"
    )

    def clean(self) -> None:
        """Refuse a period that ends before it begins."""
        cleaned = self.cleaned_data
        if cleaned.get("since") and cleaned.get("until") and cleaned["since"] > cleaned["until"]:
            self.add_error("until", "The period ends before it begins.")


class LogPageForm(LogFilterForm):
    """Filters, and the place in the list: what the API takes."""

    before = forms.CharField(required=False, max_length=12)
    limit = forms.IntegerField(required=False, min_value=1, max_value=MAX_EVENTS_PER_PAGE)


@dataclass(frozen=True)
class LogPage:
    """Some events, newest first; `next_before` is the ref that the next page starts behind."""

    events: list[LockEvent]
    next_before: str


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
    access: Access, form: LogFilterForm, before: str = "", limit: int = EVENTS_PER_PAGE
) -> LogPage:
    """Return one page of the events that match a valid `form`, behind the event `before`."""
    visible = visible_events(access)
    found = visible.filter(_to_condition(form))
    if find_bad_character(before):
        return LogPage([], "")
    if before:
        found = found.filter(id__lt=visible.filter(ref=before).values("id")[:1])
    events = list(found.order_by("-id")[: limit + 1])
    has_more = len(events) > limit
    events = events[:limit]
    return LogPage(events, events[-1].ref if has_more else "")


def _to_condition(form: LogFilterForm) -> Q:
    wanted = {name: value for name, value in form.cleaned_data.items() if value}
    condition = Q()
    for name in ("repository", "tag", "kind", "actor"):
        if name in wanted:
            condition &= Q(**{name: wanted[name]})
    if "rule" in wanted:
        condition &= Q(rule_name=wanted["rule"])
    if "digest" in wanted:
        # Digests are lower case; one database would ignore case and another would not.
        typed = wanted["digest"].lower()
        prefix = typed if ":" in typed else f"sha256:{typed}"
        condition &= Q(digest__startswith=prefix) | Q(other_digest__startswith=prefix)
    if "since" in wanted:
        condition &= Q(at__gte=datetime.combine(wanted["since"], time(), UTC))
    if "until" in wanted:
        condition &= Q(at__lte=datetime.combine(wanted["until"], time.max, UTC))
    return condition
