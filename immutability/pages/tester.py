"""The live pattern tester: the rules as typed, unsaved, on sample tags as typed."""

from dataclasses import dataclass, field

from django.http import HttpResponse
from django.shortcuts import render

from immutability.pages.settings_form import SettingsForm
from immutability.policy.advice import Advice
from immutability.policy.patterns import PatternError, PatternEvaluationError
from immutability.policy.protection import Why
from immutability.policy.tester import PatternMatch, SampleResult, find_sample_problem, try_samples
from workspaces.access import Permission
from workspaces.callers import Access, identify_caller
from workspaces.pages.access import HtmxRequest, workspace_page
from workspaces.throttles import TESTER_PER_CALLER, TooManyCallsError, count_call


@dataclass(frozen=True)
class ShownSample:
    """A sample tag as the page shows it: the matched part marked, the answer in words."""

    before: str
    matched: str
    after: str
    answer: str
    is_locked: bool
    explanation: str


@dataclass(frozen=True)
class Tester:
    """What the tester shows: samples, or why there are none, and advice with its row's label."""

    samples: list[ShownSample] = field(default_factory=list)
    problem: str = ""
    advice: list[tuple[str, Advice]] = field(default_factory=list)


@workspace_page(Permission.CHANGE_SETTINGS, "POST")
def try_patterns(request: HtmxRequest, access: Access) -> HttpResponse:
    """Answer the live tester. An invalid pattern is an answer too, with status 200.

    So is "too many tests": the page's script shows nothing that has another status.
    """
    tester = run_tester(SettingsForm.from_post(request.POST), identify_caller(request))
    return render(request, "immutability/tester_result.html", {"tester": tester})


def run_tester(form: SettingsForm, caller: str) -> Tester:
    """Try the form's sample tags, if there are any, on its rules, whatever is saved.

    Counts as a call of `caller`, and says so where there were too many.
    """
    samples = [line.strip() for line in form.sample_tags.splitlines() if line.strip()]
    if bad_sample := find_sample_problem(samples):
        return Tester(problem=bad_sample.message)
    try:
        if samples:
            count_call(TESTER_PER_CALLER, caller)
        if problem := form.find_pattern_problem():
            return Tester(problem=problem)
        results = try_samples(form.to_draft().to_policy(), samples)
    except (PatternError, PatternEvaluationError, TooManyCallsError) as error:
        return Tester(problem=str(error))
    except ValueError:
        return Tester(problem="Choose one of the three options first.")
    return Tester([_show(result) for result in results], advice=form.find_advice())


def _show(result: SampleResult) -> ShownSample:
    if result.coverage is None:
        return ShownSample(
            result.sample, "", "", "Not a tag", is_locked=False, explanation=result.problem
        )
    start = end = 0
    if matches := _matches_that_count(result):
        start, end = matches[0].match.start, matches[0].match.end
    return ShownSample(
        before=result.sample[:start],
        matched=result.sample[start:end],
        after=result.sample[end:],
        answer=_ANSWERS.get(result.coverage.why, "Would be locked"),
        is_locked=result.would_be_locked,
        explanation=_explain(result),
    )


_ANSWERS = {
    Why.NO_PROTECTION: "Not protected",
    Why.NO_RULE: "Not protected",
    Why.SIGNATURE_TAG: "Not protected: signature tag",
    Why.EXCEPTION: "Not protected: exception",
}
_WHY_UNDER_ALL = (Why.ALL_TAGS, Why.SIGNATURE_TAG, Why.EXCEPTION)


def _matches_that_count(result: SampleResult) -> tuple[PatternMatch, ...]:
    """Return the exceptions that match, where all tags are protected, or else the rules."""
    is_under_all = result.coverage is not None and result.coverage.why in _WHY_UNDER_ALL
    return result.exceptions if is_under_all else result.rules


def _explain(result: SampleResult) -> str:
    why = result.coverage.why if result.coverage else Why.NO_RULE
    matches = _matches_that_count(result)
    names = " and ".join(f"“{each.named.name or each.named.pattern}”" for each in matches)
    match why:
        case Why.ALL_TAGS:
            sentence = "All tags are protected."
        case Why.SIGNATURE_TAG:
            sentence = "Signing tools must be able to rewrite it."
        case Why.NO_RULE:
            return "No rule matches."
        case Why.NO_PROTECTION if not names:
            return "No tags are protected, and no rule matches."
        case Why.NO_PROTECTION:
            sentence = f"No tags are protected; among some tags, {names} would match."
        case Why.RULE:
            sentence = f"Matched by {names}."
        case Why.EXCEPTION:
            sentence = f"Left mutable by {names}."
    partial = [each for each in matches if each.is_partial]
    if partial and why in (Why.RULE, Why.NO_PROTECTION, Why.EXCEPTION):
        match = partial[0].match
        sentence += f" {_explain_part(result.sample[match.start : match.end])}"
    return sentence


def _explain_part(part: str) -> str:
    """Return the hint for a pattern that matches only this part of a sample.

    For an empty part it doesn't advise ^ and $: `^x*$` in place of `x*` would match almost no tag.
    """
    if part:
        return (
            f"The pattern matches only the part “{part}”: write ^ and $ around it to match whole "
            "tags."
        )
    return "The pattern can match an empty text, which is in every tag."
