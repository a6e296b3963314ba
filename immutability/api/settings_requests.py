"""What the calls about container settings take in."""

from typing import Any

from rest_framework import serializers
from rest_framework.exceptions import ValidationError

from immutability.api.settings_answers import WarningSerializer
from immutability.policy.drafts import Draft, describe_too_many
from immutability.policy.protection import (
    PatternKind,
    Policy,
    PolicyException,
    PolicyRule,
    Protection,
)
from immutability.policy.tester import MAX_SAMPLE_TAGS, find_sample_problem
from workspaces.problems import StrictSerializer, TextField

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


def to_draft(asked: dict[str, Any], saved: Policy) -> Draft:
    """Return the draft that is asked for: what is left out stays as it is saved."""
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


def guess_protection(asked: dict[str, Any], saved: Policy) -> Protection:
    """Return what a test means that does not say which protection."""
    if "rules" in asked:
        return Protection.SOME
    return Protection.ALL if "exceptions" in asked else saved.protection
