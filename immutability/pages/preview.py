"""What saving the form as typed would do, live beside it; and the whole list of one effect."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from django.contrib.humanize.templatetags.humanize import intcomma
from django.http import HttpResponse
from django.shortcuts import render

from immutability.pages.settings_form import SettingsForm
from immutability.policy.patterns import PatternError, PatternEvaluationError
from immutability.policy.preview import Effect, Group
from immutability.preview import SettingsPreview, TagPlace, preview_settings
from workspaces.access import Permission
from workspaces.callers import Access, identify_caller
from workspaces.pages.access import HtmxRequest, workspace_page
from workspaces.throttles import PREVIEWS_PER_CALLER, TooManyCallsError, count_call

# Of a whole list. Longer ones are cut, and say so.
MAX_LISTED = 1000
_SHOWN_PUSHES = 10
_REFUSED = "refused"


@dataclass(frozen=True)
class ShownEffect:
    """A line of the preview: a number, what it counts, by which rule, and some of them."""

    look: str
    number: str
    what: str
    rule: str = ""
    places: tuple[TagPlace, ...] = ()
    notes: tuple[str, ...] = ()
    more: int = 0
    list_name: str = ""

    @property
    def examples(self) -> list[tuple[TagPlace, str]]:
        """The tags, each with what there is to add."""
        notes = self.notes or ("",) * len(self.places)
        return list(zip(self.places, notes, strict=True))


@dataclass(frozen=True)
class ShownPreview:
    """What the page shows of a preview, or why there is none.

    `covers` says of each filled row how many tags it matches, in order.
    """

    preview: SettingsPreview | None = None
    problem: str = ""
    effects: list[ShownEffect] = field(default_factory=list)

    @property
    def checked(self) -> str:
        """How many tags were looked at."""
        if self.preview is None:
            return ""
        change = self.preview.change
        tags = f"{intcomma(change.tags)} tag{'' if change.tags == 1 else 's'}"
        return f"All {tags} checked" if change.is_exact else f"{tags} checked, of more"


@workspace_page(Permission.CHANGE_SETTINGS, "POST")
def preview_page(request: HtmxRequest, access: Access) -> HttpResponse:
    """Answer the live preview. What is wrong is an answer too, with status 200."""
    form = SettingsForm.from_post(request.POST)
    shown = run_preview(form, access, identify_caller(request))
    context = {"access": access, "form": form, "shown": shown, "is_live": True}
    return render(request, "immutability/preview.html", context)


@workspace_page(Permission.CHANGE_SETTINGS, "POST")
def preview_list(request: HtmxRequest, access: Access) -> HttpResponse:
    """Show all tags, or all pushes, that an effect of the typed settings concerns."""
    form = SettingsForm.from_post(request.POST)
    shown = run_preview(form, access, identify_caller(request), max_examples=MAX_LISTED)
    name = request.POST.get("list", "")
    context = {
        "access": access,
        "here": "containers",
        "shown": shown,
        "effects": [each for each in shown.effects if each.list_name == name],
        "max_listed": MAX_LISTED,
    }
    return render(request, "immutability/preview_list.html", context)


def run_preview(
    form: SettingsForm, access: Access, caller: str, *, max_examples: int = _SHOWN_PUSHES
) -> ShownPreview:
    """Say what saving the form would do, whether or not it could be saved as it is.

    Counts as a call of `caller`, and says so where there were too many.
    """
    if problem := form.find_pattern_problem():
        return ShownPreview(problem=problem)
    try:
        count_call(PREVIEWS_PER_CALLER, caller)
        preview = preview_settings(access.workspace, form.to_draft(), max_examples=max_examples)
    except (PatternError, PatternEvaluationError, TooManyCallsError) as error:
        return ShownPreview(problem=str(error))
    except ValueError:
        return ShownPreview(problem="Choose one of the three options first.")
    return ShownPreview(preview, effects=list(_list_effects(preview, max_examples)))


def _list_effects(preview: SettingsPreview, max_examples: int) -> Iterator[ShownEffect]:
    for effect in Effect:
        for group in preview.change.of(effect):
            yield _show_group(preview, group)
    if preview.refused:
        yield _show_refused(preview, max_examples)
    if preview.change.is_exact:
        nothing = [each.rule.name for each in preview.change.rules if not each.tags]
        if nothing:
            is_one = len(nothing) == 1
            what = "rule covers no tags yet:" if is_one else "rules cover no tags yet:"
            yield ShownEffect("quiet", str(len(nothing)), what, ", ".join(nothing))


_LOOKS = {Effect.LOCKED: "plus", Effect.SUSPENDED: "warning", Effect.RESUMED: "plus"}


def _show_group(preview: SettingsPreview, group: Group) -> ShownEffect:
    places = preview.examples.get(group, ())
    return ShownEffect(
        _LOOKS[group.effect],
        _say_number(group.count, is_exact=preview.change.is_exact),
        _say_effect(group),
        group.rule.name if group.rule else "",
        places,
        more=group.count - len(places),
        list_name=group.effect.value,
    )


def _say_effect(group: Group) -> str:
    """Return what becomes of the tags of a group; the name of its rule follows."""
    is_one = group.count == 1
    match group.effect:
        case Effect.LOCKED:
            words = "tag becomes locked" if is_one else "tags become locked"
        case Effect.RESUMED:
            words = "lock holds again" if is_one else "locks hold again"
        case Effect.SUSPENDED:
            words = "lock is suspended" if is_one else "locks are suspended"
            return f"{words}, no longer covered by" if group.rule else words
    return f"{words}, by" if group.rule else words


def _show_refused(preview: SettingsPreview, max_examples: int) -> ShownEffect:
    shown = preview.refused[:max_examples]
    what = "push of the last 30 days would have been refused"
    if preview.refused_count > 1:
        what = "pushes of the last 30 days would have been refused"
    return ShownEffect(
        "danger",
        _say_number(preview.refused_count, is_exact=preview.are_pushes_exact),
        what,
        "",
        tuple(each.place for each in shown),
        tuple(
            each.shown_actor if each.count == 1 else f"{each.shown_actor}, {each.count} times"
            for each in shown
        ),
        len(preview.refused) - len(shown),
        _REFUSED,
    )


def _say_number(count: int, *, is_exact: bool) -> str:
    return intcomma(count) if is_exact else f"{intcomma(count)} or more"
