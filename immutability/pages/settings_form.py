"""The container settings as a form: what was typed, kept as it was typed, and what is wrong."""

from dataclasses import dataclass, field

from django.http import QueryDict

from immutability.pages.pattern_list import PatternList
from immutability.policy.advice import Advice
from immutability.policy.drafts import Draft, find_draft_problems
from immutability.policy.protection import (
    PatternKind,
    Policy,
    PolicyException,
    PolicyRule,
    Protection,
)
from immutability.policy.unsaved import describe_unsaved
from workspaces.text import read_number


@dataclass
class SettingsForm:
    """Everything on the page that can be typed or chosen."""

    version: int
    protection: str
    rules: PatternList
    exceptions: PatternList
    refuse_identical_pushes: bool = False
    protect_signature_tags: bool = False
    repair_drift: bool = False
    sample_tags: str = ""
    protection_error: str = ""
    focus_tester: bool = False
    focus_preview: bool = False
    unsaved: str = ""
    summary: list[tuple[str, str]] = field(default_factory=list)

    @classmethod
    def from_policy(cls, policy: Policy) -> "SettingsForm":
        """Return the form that shows saved settings."""
        return cls(
            version=policy.version,
            protection=policy.protection.value,
            rules=PatternList.from_patterns(PatternKind.RULE, policy.rules),
            exceptions=PatternList.from_patterns(PatternKind.EXCEPTION, policy.exceptions),
            refuse_identical_pushes=policy.refuse_identical_pushes,
            protect_signature_tags=policy.protect_signature_tags,
            repair_drift=policy.repair_drift,
        )

    @classmethod
    def from_post(cls, data: QueryDict) -> "SettingsForm":
        """Return the form as it was sent, whatever was typed."""
        return cls(
            version=read_number(data.get("version", ""), -1),
            protection=data.get("protection", ""),
            rules=PatternList.from_post(PatternKind.RULE, data),
            exceptions=PatternList.from_post(PatternKind.EXCEPTION, data),
            refuse_identical_pushes="refuse_identical_pushes" in data,
            protect_signature_tags="protect_signature_tags" in data,
            repair_drift="repair_drift" in data,
            sample_tags=data.get("sample_tags", ""),
        )

    @property
    def lists(self) -> tuple[PatternList, PatternList]:
        return self.rules, self.exceptions

    def compare(self, saved: Policy) -> None:
        """Note what differs from what is saved, in each row and in all."""
        for each in self.lists:
            each.compare(saved.list_patterns(each.kind))
        try:
            typed = self.to_draft().to_policy(saved.version)
        except ValueError:
            self.unsaved = "no option chosen"
        else:
            self.unsaved = describe_unsaved(saved, typed)

    def note_covers(self, covers: list[tuple[str, int, int]]) -> None:
        """Note of each row how many tags it matches: list, number of the row, and tags."""
        for kind, number, tags in covers:
            place = self.rules if kind == PatternKind.RULE else self.exceptions
            place.rows[number - 1].covers = tags

    def to_draft(self) -> Draft:
        """Return the settings as typed. Raises ValueError if no option was chosen."""
        return Draft(
            protection=Protection(self.protection),
            rules=tuple(PolicyRule(row.name, row.pattern) for row in self.rules.filled_rows),
            refuse_identical_pushes=self.refuse_identical_pushes,
            protect_signature_tags=self.protect_signature_tags,
            repair_drift=self.repair_drift,
            exceptions=tuple(
                PolicyException(row.name, row.pattern) for row in self.exceptions.filled_rows
            ),
        )

    def check(self) -> bool:
        """Note every problem beside its field and in the summary; return whether there is none."""
        try:
            problems = find_draft_problems(self.to_draft())
        except ValueError:
            self.protection_error = "Choose one of the three options."
            self.summary.append(("protection-none", self.protection_error))
            return False
        for problem in problems:
            place = self.rules if problem.kind is PatternKind.RULE else self.exceptions
            self.summary.append(place.note(problem))
        return not problems

    def find_pattern_problem(self) -> str:
        """Return what is wrong with the first pattern that cannot be tried, or nothing."""
        return next(filter(None, (each.find_pattern_problem() for each in self.lists)), "")

    def find_advice(self) -> list[tuple[str, Advice]]:
        """Return what there is to know about the patterns, each with the label of its row."""
        return [advice for each in self.lists for advice in each.find_advice()]
