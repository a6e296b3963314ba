"""What the calls about container settings answer: settings, tests of patterns, previews, and why a
draft is refused.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.response import Response

from immutability.policy.advice import AdviceCode
from immutability.policy.drafts import DraftProblem, ProblemCode, find_advice
from immutability.policy.preview import Effect, Preview
from immutability.policy.protection import (
    NamedPattern,
    PatternKind,
    Policy,
    PolicyException,
    PolicyRule,
    Why,
)
from immutability.policy.tester import PatternMatch, SampleResult
from immutability.preview import MAX_EXAMPLES, SettingsPreview
from workspaces.problems import Problem


class WarningSerializer(serializers.Serializer[object]):
    """Something to know about settings that can still be used.

    It is about one rule or one exception, or about neither.
    """

    code = serializers.ChoiceField([code.value for code in AdviceCode])
    rule = serializers.CharField(allow_null=True, help_text="The rule's name.")
    exception = serializers.CharField(allow_null=True, help_text="The exception's name.")
    position = serializers.IntegerField(allow_null=True, help_text="Its place in the list, from 1.")
    message = serializers.CharField()
    suggestion = serializers.CharField(
        allow_null=True, help_text="The pattern that was probably meant."
    )


def settings_response(policy: Policy) -> Response:
    """Return the settings, with their version as ETag."""
    return Response(
        {
            "version": policy.version,
            "protection": policy.protection.value,
            "rules": _render_patterns(policy.rules),
            "exceptions": _render_patterns(policy.exceptions),
            "refuse_identical_pushes": policy.refuse_identical_pushes,
            "protect_signature_tags": policy.protect_signature_tags,
            "repair_drift": policy.repair_drift,
            "warnings": _render_warnings(policy),
        },
        headers={"ETag": f'"{policy.version}"'},
    )


def _render_patterns(patterns: Sequence[NamedPattern]) -> list[dict[str, str]]:
    return [{"name": each.name, "pattern": each.pattern} for each in patterns]


def _render_warnings(policy: Policy) -> list[dict[str, Any]]:
    return [
        {
            "code": each.advice.code.value,
            **{
                kind.value: each.named.name if each.named and each.kind is kind else None
                for kind in PatternKind
            },
            "position": each.position,
            "message": each.advice.message,
            "suggestion": each.advice.suggestion or None,
        }
        for each in find_advice(policy)
    ]


class MatchSerializer(serializers.Serializer[object]):
    """The part of a tag that a pattern matches, in characters."""

    pattern = serializers.CharField()
    start = serializers.IntegerField()
    end = serializers.IntegerField()
    whole = serializers.BooleanField(help_text="Whether the pattern matches all of the tag.")


class RuleMatchSerializer(MatchSerializer):
    """A rule that matches, and the part of the tag that it matches, in characters."""

    rule = serializers.CharField(help_text="The rule's name.")


class ExceptionMatchSerializer(MatchSerializer):
    """An exception that matches, and the part of the tag that it matches, in characters."""

    exception = serializers.CharField(help_text="The exception's name.")


class SampleResultSerializer(serializers.Serializer[object]):
    """What would become of a sample tag."""

    tag = serializers.CharField()
    would_be_locked = serializers.BooleanField()
    why = serializers.ChoiceField([why.value for why in Why], allow_null=True)
    exception = serializers.CharField(
        allow_null=True, help_text="The exception that leaves the tag mutable."
    )
    problem = serializers.CharField(allow_null=True, help_text="Why it is not a valid tag.")
    matches = RuleMatchSerializer(many=True)
    exception_matches = ExceptionMatchSerializer(many=True)


class TestResultSerializer(serializers.Serializer[object]):
    """One result a sample tag, in order, and what there is to know about what was tried."""

    results = SampleResultSerializer(many=True)
    warnings = WarningSerializer(many=True)


def render_test(results: Iterable[SampleResult], policy: Policy) -> dict[str, Any]:
    """Return what became of the samples under `policy`, and what there is to know about it."""
    return {
        "results": [_render_result(result) for result in results],
        "warnings": _render_warnings(policy),
    }


def _render_result(result: SampleResult) -> dict[str, Any]:
    coverage = result.coverage
    return {
        "tag": result.sample,
        "would_be_locked": result.would_be_locked,
        "why": coverage.why.value if coverage else None,
        "exception": coverage.exception.name if coverage and coverage.exception else None,
        "problem": result.problem or None,
        "matches": _render_matches(PatternKind.RULE, result.rules),
        "exception_matches": _render_matches(PatternKind.EXCEPTION, result.exceptions),
    }


def _render_matches(kind: PatternKind, matches: Sequence[PatternMatch]) -> list[dict[str, Any]]:
    return [
        {
            kind.value: each.named.name,
            "pattern": each.named.pattern,
            "start": each.match.start,
            "end": each.match.end,
            "whole": not each.is_partial,
        }
        for each in matches
    ]


class EffectGroupSerializer(serializers.Serializer[object]):
    """The tags of one effect by one rule."""

    rule = serializers.CharField(
        allow_null=True,
        help_text="The rule that covers the tags; of suspended locks, the saved rule that covers "
        "them now. Null where the reason is not a rule.",
    )
    exception = serializers.CharField(
        allow_null=True,
        help_text="The exception that leaves the tags mutable; of tags that become covered, the "
        "saved one that does so now. Null where the reason is not an exception.",
    )
    pattern = serializers.CharField(allow_null=True, help_text="That of the rule or exception.")
    count = serializers.IntegerField()
    examples = serializers.ListField(
        child=serializers.CharField(), help_text='Some of the tags, such as "acme/web:v1.2.0".'
    )


class EffectSerializer(serializers.Serializer[object]):
    """How many tags saving would have this effect on, in all and by rule."""

    count = serializers.IntegerField()
    by_rule = EffectGroupSerializer(many=True)


class RuleCountSerializer(serializers.Serializer[object]):
    """How many of the workspace's tags a rule of the draft matches."""

    rule = serializers.CharField()
    pattern = serializers.CharField()
    position = serializers.IntegerField(help_text="The rule's place in the list, from 1.")
    tags = serializers.IntegerField()


class ExceptionCountSerializer(serializers.Serializer[object]):
    """How many of the workspace's tags an exception of the draft matches."""

    exception = serializers.CharField()
    pattern = serializers.CharField()
    position = serializers.IntegerField(help_text="Its place in the list, from 1.")
    tags = serializers.IntegerField()


class PastPushSerializer(serializers.Serializer[object]):
    """Pushes of one tag by one actor that would have been refused."""

    repository = serializers.CharField()
    tag = serializers.CharField()
    actor = serializers.CharField()
    actor_kind = serializers.CharField()
    count = serializers.IntegerField()
    last_at = serializers.DateTimeField()


class RefusedPushesSerializer(serializers.Serializer[object]):
    """Pushes of newly covered tags that would have been refused."""

    count = serializers.IntegerField()
    is_exact = serializers.BooleanField(help_text="False: there are at least this many.")
    since = serializers.DateTimeField()
    examples = PastPushSerializer(many=True)


class PreviewSerializer(serializers.Serializer[object]):
    """What saving would do at this moment."""

    version = serializers.IntegerField(help_text="The version of the saved settings.")
    is_exact = serializers.BooleanField(
        help_text="Whether every tag was checked. False: each count is a lower bound."
    )
    checked_tags = serializers.IntegerField()
    locked = EffectSerializer(help_text="Tags that have an image and no lock, and become locked.")
    suspended = EffectSerializer(help_text="Locks that no longer hold.")
    resumed = EffectSerializer(help_text="Suspended locks that hold again.")
    rules = RuleCountSerializer(many=True)
    exceptions = ExceptionCountSerializer(many=True)
    refused_pushes = RefusedPushesSerializer()
    warnings = WarningSerializer(many=True)


def render_preview(preview: SettingsPreview) -> dict[str, Any]:
    """Return what saving would do, as a PreviewSerializer has it."""
    change = preview.change
    return {
        "version": preview.before.version,
        "is_exact": change.is_exact,
        "checked_tags": change.tags,
        **{effect.value: _render_effect(preview, effect) for effect in Effect},
        **{kind.plural: _render_counts(change, kind) for kind in PatternKind},
        "refused_pushes": {
            "count": preview.refused_count,
            "is_exact": preview.are_pushes_exact,
            "since": preview.since,
            "examples": [
                {
                    "repository": each.place.repository,
                    "tag": each.place.tag,
                    "actor": each.actor,
                    "actor_kind": each.actor_kind,
                    "count": each.count,
                    "last_at": each.at,
                }
                for each in preview.refused[:MAX_EXAMPLES]
            ],
        },
        "warnings": _render_warnings(preview.after),
    }


def _render_effect(preview: SettingsPreview, effect: Effect) -> dict[str, Any]:
    return {
        "count": preview.change.count(effect),
        "by_rule": [
            {
                **_name_reason(group.reason),
                "count": group.count,
                "examples": [str(place) for place in preview.examples[group]],
            }
            for group in preview.change.of(effect)
        ],
    }


def _name_reason(reason: NamedPattern | None) -> dict[str, str | None]:
    return {
        "rule": reason.name if isinstance(reason, PolicyRule) else None,
        "exception": reason.name if isinstance(reason, PolicyException) else None,
        "pattern": reason.pattern if reason else None,
    }


def _render_counts(change: Preview, kind: PatternKind) -> list[dict[str, Any]]:
    return [
        {
            kind.value: each.named.name,
            "pattern": each.named.pattern,
            "position": position,
            "tags": each.tags,
        }
        for position, each in enumerate(change.list_counts(kind), start=1)
    ]


def refuse_draft(problems: list[DraftProblem]) -> Problem | ValidationError:
    """Return the answer to a draft that cannot be saved: one kind of problem, with its code."""
    if any(problem.code is not ProblemCode.MATCHES_NO_TAG for problem in problems):
        return ValidationError(to_errors(problems))
    errors = [
        {
            "detail": problem.message,
            "pointer": f"#/{problem.kind.plural}/{problem.number}/{problem.field}",
            "code": problem.code.value,
        }
        for problem in problems
    ]
    detail = " ".join(dict.fromkeys(problem.message for problem in problems))
    return Problem(400, ProblemCode.MATCHES_NO_TAG.value, detail, members={"errors": errors})


def to_errors(problems: Iterable[DraftProblem]) -> dict[str, Any]:
    """Arrange problems as nested errors, so that each gets the JSON pointer of its field."""
    whole: dict[str, Any] = {}
    lists: dict[str, Any] = {}
    for problem in problems:
        place = whole
        if problem.number is not None:
            by_number = lists.setdefault(problem.kind.plural, {})
            place = by_number.setdefault(str(problem.number), {})
        detail = ErrorDetail(problem.message, problem.code.value)
        place.setdefault(problem.field, []).append(detail)
    # What is wrong with a list as a whole goes before what is wrong with each of it.
    return lists | whole
