"""Container settings over the API."""

from collections.abc import Iterable, Sequence
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from immutability.actions.save_settings import (
    InvalidDraftError,
    LocksWouldSuspendError,
    StaleSettingsError,
    save_container_settings,
)
from immutability.api.checks import decide_or_refuse
from immutability.policy.advice import AdviceCode
from immutability.policy.drafts import (
    NOT_YET_USEFUL,
    Draft,
    DraftProblem,
    ProblemCode,
    describe_too_many,
    find_advice,
    find_draft_problems,
)
from immutability.policy.preview import Effect, Preview
from immutability.policy.protection import (
    NamedPattern,
    PatternKind,
    Policy,
    PolicyException,
    PolicyRule,
    Protection,
    Why,
)
from immutability.policy.tester import (
    MAX_SAMPLE_TAGS,
    PatternMatch,
    SampleResult,
    find_sample_problem,
    try_samples,
)
from immutability.preview import MAX_EXAMPLES, SettingsPreview, preview_settings
from immutability.reading import read_policy
from workspaces.access import Permission
from workspaces.caller_access import find_access, identify_caller
from workspaces.problems import Problem, StrictSerializer, TextField
from workspaces.queries import read_query
from workspaces.schema import TOO_MANY_CALLS
from workspaces.throttles import PREVIEWS_PER_CALLER, TESTER_PER_CALLER, count_call

_PROTECTIONS = [protection.value for protection in Protection]


class PatternListSerializer(serializers.ListSerializer[Any]):
    """A list of rules or of exceptions. If there are too many, none of them is looked at."""

    def to_internal_value(self, data: Any) -> list[Any]:
        """Return the validated rules or exceptions."""
        kind: PatternKind = self.child.kind  # type: ignore[union-attr]
        if isinstance(data, list) and (message := describe_too_many(kind, len(data))):
            raise ValidationError(message)
        patterns: list[Any] = super().to_internal_value(data)
        return patterns


class RuleSerializer(StrictSerializer):
    """A named RE2 pattern of tags to protect. Neither text is changed."""

    kind = PatternKind.RULE
    name = TextField(allow_blank=True)
    pattern = TextField(allow_blank=True)

    class Meta:
        list_serializer_class = PatternListSerializer


class ExceptionSerializer(RuleSerializer):
    """A named RE2 pattern of tags that stay mutable under "all". Neither text is changed."""

    kind = PatternKind.EXCEPTION


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


class SettingsSerializer(StrictSerializer):
    """Container settings. What a PUT leaves out, other than the protection, stays as it is.

    It takes what a GET returns: `version` and `warnings` are ignored.
    """

    protection = serializers.ChoiceField(_PROTECTIONS)
    rules = RuleSerializer(many=True, required=False)
    exceptions = ExceptionSerializer(many=True, required=False)
    refuse_identical_pushes = serializers.BooleanField(required=False)
    protect_signature_tags = serializers.BooleanField(required=False)
    repair_drift = serializers.BooleanField(
        required=False, help_text="Put back locked tags that were changed past Taglock."
    )
    version = serializers.IntegerField(read_only=True)
    warnings = WarningSerializer(many=True, read_only=True)


class SaveSettingsSerializer(SettingsSerializer):
    """Container settings to save."""

    suspend_locks = serializers.BooleanField(
        default=False, help_text="Save even if that suspends locks."
    )


class SampleTagsField(serializers.ListField):
    """Sample tags. Their number is checked before any of them."""

    def to_internal_value(self, data: Any) -> list[str]:
        """Return the samples."""
        if isinstance(data, list) and len(data) > MAX_SAMPLE_TAGS:
            self.fail("max_length", max_length=MAX_SAMPLE_TAGS)
        samples: list[str] = super().to_internal_value(data)
        if problem := find_sample_problem(samples):
            raise ValidationError({str(problem.number): [problem.message]})
        return samples


class TestSerializer(StrictSerializer):
    """Sample tags, to test with the saved rules and exceptions or with these."""

    tags = SampleTagsField(
        child=TextField(allow_blank=True),
        min_length=1,
        max_length=MAX_SAMPLE_TAGS,
        error_messages={"max_length": f"Try at most {MAX_SAMPLE_TAGS} tags at once."},
    )
    rules = RuleSerializer(many=True, required=False)
    exceptions = ExceptionSerializer(many=True, required=False)
    protection = serializers.ChoiceField(
        _PROTECTIONS,
        required=False,
        help_text='Default: "some" with rules, "all" with only exceptions, otherwise as saved.',
    )
    protect_signature_tags = serializers.BooleanField(required=False)


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


class ContainerSettingsView(APIView):
    """What a workspace protects."""

    @extend_schema(operation_id="get_container_settings", responses=SettingsSerializer)
    def get(self, request: Request, slug: str) -> Response:
        """Return the settings, with their version as ETag."""
        access = find_access(request, slug)
        access.require(Permission.VIEW_SETTINGS)
        read_query(request)
        return _settings_response(read_policy(access.workspace))

    @extend_schema(
        operation_id="save_container_settings",
        parameters=[
            OpenApiParameter(
                "If-Match",
                OpenApiTypes.STR,
                OpenApiParameter.HEADER,
                required=True,
                description="The ETag of the settings that you have read.",
            )
        ],
        request=SaveSettingsSerializer,
        responses=SettingsSerializer,
    )
    def put(self, request: Request, slug: str) -> Response:
        """Save the settings. 428 without If-Match, 412 where someone else saved since.

        Saving what is saved already changes nothing and keeps the version. A rule or an exception
        that no tag can match is refused with the code "matches_no_tag".
        """
        access = find_access(request, slug)
        access.require(Permission.CHANGE_SETTINGS)
        read_query(request)
        before = read_policy(access.workspace)
        expected_version = _expected_version(request, before)
        serializer = SaveSettingsSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        asked = serializer.validated_data
        try:
            policy = save_container_settings(
                access.workspace,
                _to_draft(asked, before),
                expected_version=expected_version,
                may_suspend_locks=asked["suspend_locks"],
                actor=access.actor,
            )
        except InvalidDraftError as error:
            raise _refuse(error.problems) from error
        except StaleSettingsError as error:
            raise _stale(error.current.version) from error
        except LocksWouldSuspendError as error:
            raise Problem(
                409,
                "locks_would_suspend",
                f"{error.summary}: their tags could be overwritten. Send "
                '"suspend_locks": true if that is what you want.',
                members={
                    "count": error.count,
                    "is_exact": error.is_exact,
                    "examples": error.examples,
                },
            ) from error
        return _settings_response(policy)


class TestPatternsView(APIView):
    """The pattern tester."""

    @extend_schema(
        operation_id="test_patterns",
        request=TestSerializer,
        responses={200: TestResultSerializer, 429: TOO_MANY_CALLS},
    )
    def post(self, request: Request, slug: str) -> Response:
        """Say which sample tags would be locked, by what is saved or by what is not yet."""
        count_call(TESTER_PER_CALLER, identify_caller(request))
        access = find_access(request, slug)
        access.require(Permission.VIEW_SETTINGS)
        read_query(request)
        serializer = TestSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        asked = serializer.validated_data
        saved = read_policy(access.workspace)
        if "protection" not in asked:
            asked["protection"] = _guess_protection(asked, saved)
        draft = _to_draft(asked, saved)
        problems = [each for each in find_draft_problems(draft) if each.code not in NOT_YET_USEFUL]
        if problems:
            raise ValidationError(_to_errors(problems))
        policy = draft.to_policy()
        results = decide_or_refuse(lambda: try_samples(policy, asked["tags"]))
        return Response(
            {
                "results": [_render_result(result) for result in results],
                "warnings": _render_warnings(policy),
            }
        )


class PreviewView(APIView):
    """The preview of a change of settings."""

    @extend_schema(
        operation_id="preview_container_settings",
        request=SaveSettingsSerializer,
        responses={200: PreviewSerializer, 429: TOO_MANY_CALLS},
    )
    def post(self, request: Request, slug: str) -> Response:
        """Say what saving these settings would do: to tags, to locks, and to pushes like those of
        the last 30 days. Nothing changes.
        """
        count_call(PREVIEWS_PER_CALLER, identify_caller(request))
        access = find_access(request, slug)
        access.require(Permission.CHANGE_SETTINGS)
        read_query(request)
        serializer = SaveSettingsSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        draft = _to_draft(serializer.validated_data, read_policy(access.workspace))
        if problems := find_draft_problems(draft):
            raise _refuse(problems)
        return Response(
            _render_preview(decide_or_refuse(lambda: preview_settings(access.workspace, draft)))
        )


def _guess_protection(asked: dict[str, Any], saved: Policy) -> Protection:
    """Return what a test means that does not say which protection."""
    if "rules" in asked:
        return Protection.SOME
    return Protection.ALL if "exceptions" in asked else saved.protection


def _to_draft(asked: dict[str, Any], saved: Policy) -> Draft:
    rules, exceptions = saved.rules, saved.exceptions
    if "rules" in asked:
        rules = tuple(PolicyRule(each["name"], each["pattern"]) for each in asked["rules"])
    if "exceptions" in asked:
        exceptions = tuple(
            PolicyException(each["name"], each["pattern"]) for each in asked["exceptions"]
        )
    return Draft(
        protection=Protection(asked["protection"]),
        rules=rules,
        refuse_identical_pushes=asked.get("refuse_identical_pushes", saved.refuse_identical_pushes),
        protect_signature_tags=asked.get("protect_signature_tags", saved.protect_signature_tags),
        exceptions=exceptions,
        repair_drift=asked.get("repair_drift", saved.repair_drift),
    )


def _refuse(problems: list[DraftProblem]) -> Problem | ValidationError:
    """Return the answer to a draft that cannot be saved: one kind of problem, with its code."""
    if any(problem.code is not ProblemCode.MATCHES_NO_TAG for problem in problems):
        return ValidationError(_to_errors(problems))
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


def _to_errors(problems: Iterable[DraftProblem]) -> dict[str, Any]:
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


def _expected_version(request: Request, saved: Policy) -> int:
    header = request.headers.get("If-Match")
    if header is None:
        raise Problem(
            428,
            "if_match_required",
            "Send the ETag of the settings that you have read as If-Match, so that you don't "
            "overwrite someone else's change.",
        )
    if header.strip() == "*":
        return saved.version
    tags = {tag.strip().removeprefix("W/").strip('"') for tag in header.split(",")}
    if str(saved.version) not in tags:
        raise _stale(saved.version)
    return saved.version


def _stale(version: int) -> Problem:
    return Problem(
        412,
        "settings_changed",
        f"Someone else has saved these settings: they are now at version {version}. Read them "
        "again, then send your change.",
        members={"version": version},
        headers={"ETag": f'"{version}"'},
    )


def _settings_response(policy: Policy) -> Response:
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


def _render_preview(preview: SettingsPreview) -> dict[str, Any]:
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


def _name_reason(reason: NamedPattern | None) -> dict[str, str | None]:
    return {
        "rule": reason.name if isinstance(reason, PolicyRule) else None,
        "exception": reason.name if isinstance(reason, PolicyException) else None,
        "pattern": reason.pattern if reason else None,
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
