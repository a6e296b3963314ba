"""Try tags: the settings as typed, unsaved, on tags as typed, live beside the form."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from django.http import HttpResponse
from django.shortcuts import render

from containers.names import TagName
from immutability.pages.settings_form import SettingsForm
from immutability.policy.advice import Advice
from immutability.policy.patterns import PatternError, PatternEvaluationError
from immutability.policy.protection import (
    Coverage,
    NamedPattern,
    PatternKind,
    Policy,
    Why,
    cover,
)
from immutability.policy.tester import PatternMatch, SampleResult, find_sample_problem, try_samples
from immutability.reading import read_policy
from workspaces.access import Permission
from workspaces.caller_access import Access, identify_caller
from workspaces.pages.access import HtmxRequest, workspace_page
from workspaces.throttles import TESTER_PER_CALLER, TooManyCallsError, count_call


@dataclass(frozen=True)
class ShownSample:
    """A sample tag as the page shows it: the matched part marked, and what decides.

    `by` names the rows that match, `names` says what they are called, and `was` what the saved
    settings say, where that is something else. `problem` says why it is not a tag.
    """

    before: str
    matched: str
    after: str
    is_locked: bool
    by: str = ""
    names: str = ""
    was: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Tester:
    """What the tester shows: samples, or why there are none, and advice with its row's label.

    `is_saved` says that the settings that were tried are those that are saved.
    """

    samples: list[ShownSample] = field(default_factory=list)
    problem: str = ""
    advice: list[tuple[str, Advice]] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)
    is_saved: bool = False

    @property
    def locked(self) -> list[ShownSample]:
        """The samples that would be locked."""
        return [each for each in self.samples if each.is_locked]

    @property
    def mutable(self) -> list[ShownSample]:
        """The samples that are tags and would not be locked."""
        return [each for each in self.samples if not each.is_locked and not each.problem]

    @property
    def invalid(self) -> list[ShownSample]:
        """The samples that are not tags."""
        return [each for each in self.samples if each.problem]

    @property
    def summary(self) -> str:
        """How many of the samples that are tags would be locked."""
        return f"{len(self.locked)} of {len(self.locked) + len(self.mutable)} would be locked"


@workspace_page(Permission.CHANGE_SETTINGS, "POST")
def try_patterns(request: HtmxRequest, access: Access) -> HttpResponse:
    """Answer the live tester. An invalid pattern is an answer, too, with status 200.

    So is "too many tests". The answer also says what of the form is not saved.
    """
    form = SettingsForm.from_post(request.POST)
    saved = read_policy(access.workspace)
    form.compare(saved)
    tester = run_tester(form, saved, identify_caller(request))
    context = {"tester": tester, "form": form, "is_live": True}
    return render(request, "immutability/tester_result.html", context)


def run_tester(form: SettingsForm, saved: Policy, caller: str) -> Tester:
    """Try the form's sample tags, if there are any, and compare with what is saved.

    Counts as a call of `caller`, and says so if there were too many.
    """
    samples = [line.strip() for line in form.sample_tags.splitlines() if line.strip()]
    if bad_sample := find_sample_problem(samples):
        return Tester(problem=bad_sample.message)
    try:
        if samples:
            count_call(TESTER_PER_CALLER, caller)
        if problem := form.find_pattern_problem():
            return Tester(problem=problem)
        typed = form.to_draft().to_policy(saved.version)
        results = try_samples(typed, samples)
        shown = _Showing(form, typed, saved)
        return Tester(
            [shown.show(result) for result in results],
            advice=form.find_advice(),
            hints=list(shown.find_hints(results)),
            is_saved=typed == saved,
        )
    except (PatternError, PatternEvaluationError, TooManyCallsError) as error:
        return Tester(problem=str(error))
    except ValueError:
        return Tester(problem="Choose one of the three options first.")


_WHY_UNDER_ALL = (Why.ALL_TAGS, Why.SIGNATURE_TAG, Why.EXCEPTION)


class _Showing:
    """Turns results into what the page shows: rows are named by their places in the form."""

    def __init__(self, form: SettingsForm, typed: Policy, saved: Policy) -> None:
        self._saved = saved
        self._numbers = {
            id(named): number
            for each in form.lists
            for number, named in zip(
                each.filled_numbers, typed.list_patterns(each.kind), strict=True
            )
        }

    def show(self, result: SampleResult) -> ShownSample:
        """Return one sample. Raises PatternError or PatternEvaluationError."""
        if result.coverage is None:
            return ShownSample(result.sample, "", "", is_locked=False, problem=result.problem)
        matches = _matches_that_count(result)
        start = end = 0
        if matches:
            start, end = matches[0].match.start, matches[0].match.end
        return ShownSample(
            before=result.sample[:start],
            matched=result.sample[start:end],
            after=result.sample[end:],
            is_locked=result.would_be_locked,
            by=self._name_reason(result.coverage.why, matches),
            names=", ".join(each.named.name for each in matches),
            was=self._name_saved(result),
        )

    def find_hints(self, results: list[SampleResult]) -> Iterator[str]:
        """Yield one hint for each pattern that matches only a part of a sample."""
        told: set[int] = set()
        for result in results:
            for each in _matches_that_count(result):
                if each.is_partial and id(each.named) not in told:
                    told.add(id(each.named))
                    yield self._explain_part(each, result.sample)

    def _name_reason(self, why: Why, matches: tuple[PatternMatch, ...]) -> str:
        match why:
            case Why.SIGNATURE_TAG:
                return "Signature tag"
            case Why.NO_PROTECTION if matches:
                return f"matches {self._name_rows(matches)}"
            case Why.RULE | Why.EXCEPTION:
                return self._name_rows(matches)
        return ""

    def _name_rows(self, matches: tuple[PatternMatch, ...]) -> str:
        kind = PatternKind.of(matches[0].named)
        numbers = [str(self._numbers[id(each.named)]) for each in matches]
        if len(numbers) == 1:
            return f"{kind.capitalize()} {numbers[0]}"
        return f"{kind.plural.capitalize()} {', '.join(numbers[:-1])} and {numbers[-1]}"

    def _name_saved(self, result: SampleResult) -> str:
        """Return what decides by what is saved, where the answer is another one."""
        saved = cover(self._saved, TagName(result.sample))
        if saved.is_covered == result.would_be_locked:
            return ""
        return _name_place(self._saved, saved)

    def _explain_part(self, each: PatternMatch, sample: str) -> str:
        """Return the hint for a pattern that matches only a part of a sample.

        For an empty part it doesn't advise ^ and $: `^x*$` instead of `x*` would match almost no
        tag.
        """
        row = self._name_rows((each,))
        part = sample[each.match.start : each.match.end]
        if not part:
            return f"{row} can match an empty text, which is in every tag."
        return (
            f"{row} matches only the part “{part}” of {sample}: write ^ and $ around the pattern "
            "to match whole tags."
        )


def _matches_that_count(result: SampleResult) -> tuple[PatternMatch, ...]:
    """Return the exceptions that match, where all tags are protected, or else the rules."""
    is_under_all = result.coverage is not None and result.coverage.why in _WHY_UNDER_ALL
    return result.exceptions if is_under_all else result.rules


def _name_place(policy: Policy, coverage: Coverage) -> str:
    """Return what decided on a tag: a rule or an exception by its place, or all tags.

    Nothing where no pattern matched: that is where everyone begins.
    """
    reason: NamedPattern | None = coverage.rule or coverage.exception
    if reason is None:
        return "was locked" if coverage.is_covered else ""
    kind = PatternKind.of(reason)
    return f"was {kind.capitalize()} {policy.list_patterns(kind).index(reason) + 1}"
