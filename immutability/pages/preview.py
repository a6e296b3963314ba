"""What saving the form as typed would do, live beside it; and the whole list of one effect."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from django.contrib.humanize.templatetags.humanize import intcomma
from django.http import HttpResponse
from django.shortcuts import render

from immutability.pages.settings_form import SettingsForm
from immutability.policy.patterns import PatternError, PatternEvaluationError
from immutability.policy.preview import Effect, Group
from immutability.policy.protection import PatternKind, PolicyException, Protection
from immutability.preview import SettingsPreview, TagPlace, preview_settings
from workspaces.access import Permission
from workspaces.caller_access import Access, identify_caller
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
    def rest(self) -> int:
        """How many there are beside the first."""
        return self.more + len(self.places) - 1

    @property
    def examples(self) -> list[tuple[TagPlace, str]]:
        """The tags, each with what there is to add."""
        notes = self.notes or ("",) * len(self.places)
        return list(zip(self.places, notes, strict=True))


@dataclass(frozen=True)
class ShownPreview:
    """What the page shows of a preview, or why there is none."""

    preview: SettingsPreview | None = None
    problem: str = ""
    effects: list[ShownEffect] = field(default_factory=list)
    numbers: dict[PatternKind, list[int]] = field(default_factory=dict)

    @property
    def moves(self) -> list[ShownEffect]:
        """What happens to tags, locks and pushes."""
        return [each for each in self.effects if each.list_name]

    @property
    def said(self) -> str:
        """The preview in a sentence, for those who can't see it change."""
        said = [f"{each.number} {each.what} {each.rule}".strip() for each in self.effects]
        return "; ".join(said) or ("Saving changes no tag and no lock" if self.preview else "")

    @property
    def covers(self) -> list[tuple[str, int, int]]:
        """Of each row of the form that is filled: its list, its number, and how many tags match."""
        if self.preview is None:
            return []
        return [
            (kind.value, number, count.tags)
            for kind, numbers in self.numbers.items()
            for number, count in zip(numbers, self.preview.change.list_counts(kind), strict=True)
        ]

    @property
    def checked(self) -> str:
        """How many tags were looked at."""
        if self.preview is None:
            return ""
        change = self.preview.change
        tags = f"{intcomma(change.tags)} tag{'' if change.tags == 1 else 's'}"
        if not change.is_exact:
            return f"{tags} checked, of more"
        if change.tags == 0:
            return "No tags yet"
        return f"{tags} checked" if change.tags == 1 else f"All {tags} checked"


@workspace_page(Permission.CHANGE_SETTINGS, "POST")
def preview_page(request: HtmxRequest, access: Access) -> HttpResponse:
    """Answer the live preview. An error is an answer, too, with status 200."""
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

    Counts as a call of `caller`, and says so if there were too many.
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
    return ShownPreview(
        preview,
        effects=list(_list_effects(preview, max_examples)),
        numbers={each.kind: each.filled_numbers for each in form.lists},
    )


def list_suspended(preview: SettingsPreview) -> list[ShownEffect]:
    """Return the locks that saving suspends, by the reason."""
    return [_show_group(preview, group) for group in preview.change.of(Effect.SUSPENDED)]


def _list_effects(preview: SettingsPreview, max_examples: int) -> Iterator[ShownEffect]:
    change = preview.change
    for effect in Effect:
        for group in change.of(effect):
            yield _show_group(preview, group)
    if preview.refused:
        yield _show_refused(preview, max_examples)
    kind = _IN_FORCE.get(preview.after.protection)
    if kind and change.is_exact:
        nothing = [each.named.name for each in change.list_counts(kind) if not each.tags]
        if nothing:
            what = (
                f"{kind} matches no tag yet:"
                if len(nothing) == 1
                else f"{kind.plural} match no tag yet:"
            )
            yield ShownEffect("quiet", str(len(nothing)), what, ", ".join(nothing))


_IN_FORCE = {Protection.SOME: PatternKind.RULE, Protection.ALL: PatternKind.EXCEPTION}
_LOOKS = {Effect.LOCKED: "plus", Effect.SUSPENDED: "warning", Effect.RESUMED: "plus"}


def _show_group(preview: SettingsPreview, group: Group) -> ShownEffect:
    places = preview.examples.get(group, ())
    return ShownEffect(
        _LOOKS[group.effect],
        _say_number(group.count, is_exact=preview.change.is_exact),
        _say_effect(group),
        group.reason.name if group.reason else "",
        places,
        more=group.count - len(places),
        list_name=group.effect.value,
    )


_WORDS = {
    Effect.LOCKED: ("tag becomes locked", "tags become locked"),
    Effect.RESUMED: ("lock holds again", "locks hold again"),
    Effect.SUSPENDED: ("lock is suspended", "locks are suspended"),
}


def _say_effect(group: Group) -> str:
    """Return what happens to the tags of a group; the name of its reason follows."""
    words = _WORDS[group.effect][group.count != 1]
    is_suspended = group.effect is Effect.SUSPENDED
    match group.reason:
        case None:
            return words
        case PolicyException():
            return f"{words} by" if is_suspended else f"{words}, no longer left out by"
        case _:
            return f"{words}, no longer covered by" if is_suspended else f"{words} by"


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
