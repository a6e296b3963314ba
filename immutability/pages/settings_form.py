"""The container settings as a form: what was typed, kept as it was typed, and what is wrong."""

from dataclasses import dataclass, field

from django.http import QueryDict

from immutability.policy.advice import Advice
from immutability.policy.drafts import (
    Draft,
    DraftProblem,
    advise_typed,
    describe_bad_pattern,
    describe_too_many_rules,
    find_draft_problems,
    suggest_pattern,
)
from immutability.policy.protection import (
    MAX_RULE_NAME_LENGTH,
    MAX_RULES_PER_WORKSPACE,
    Policy,
    PolicyRule,
    Protection,
)
from workspaces.text import read_number


@dataclass(frozen=True)
class Example:
    """A rule to begin with."""

    goal: str
    name: str
    pattern: str
    matches: str


EXAMPLES = (
    Example("Protect a production tag", "Production", "^prod$", "Only the tag prod"),
    Example(
        "Protect semantic version tags",
        "Release versions",
        r"^v\d+\.\d+\.\d+$",
        "Tags like v1.0.0 or v2.14.3, not 1.0.0",
    ),
    Example(
        "Protect Helm chart versions",
        "Chart versions",
        r"^v?\d+\.\d+\.\d+([-_].*)?$",
        "Tags like 1.0.0, v1.0.0, 1.0.0-rc.1 or 1.0.0_5: Helm writes + as _",
    ),
    Example("Protect release tags", "Releases", "^release-.*$", "Tags like release-2026-04"),
    Example(
        "Protect staging and production tags",
        "Staging and production",
        "^(staging|prod)$",
        "Only staging and prod",
    ),
)


@dataclass(eq=False)
class Row:
    """A rule's line in the editor."""

    name: str = ""
    pattern: str = ""
    name_error: str = ""
    pattern_error: str = ""
    takes_focus: bool = False
    pattern_takes_focus: bool = False

    @property
    def is_blank(self) -> bool:
        return not self.name and not self.pattern

    @property
    def advice(self) -> tuple[Advice, ...]:
        return advise_typed(self.pattern)


@dataclass
class SettingsForm:
    """Everything on the page that can be typed or chosen."""

    version: int
    protection: str
    rows: list[Row]
    refuse_identical_pushes: bool = False
    protect_signature_tags: bool = False
    sample_tags: str = ""
    protection_error: str = ""
    rules_error: str = ""
    focus_rules: bool = False
    focus_tester: bool = False
    summary: list[tuple[str, str]] = field(default_factory=list)

    @classmethod
    def from_policy(cls, policy: Policy) -> "SettingsForm":
        """Return the form that shows saved settings."""
        return cls(
            version=policy.version,
            protection=policy.protection.value,
            rows=[Row(rule.name, rule.pattern) for rule in policy.rules],
            refuse_identical_pushes=policy.refuse_identical_pushes,
            protect_signature_tags=policy.protect_signature_tags,
            sample_tags="",
        )

    @classmethod
    def from_post(cls, data: QueryDict) -> "SettingsForm":
        """Return the form as it was sent, whatever was typed."""
        names, patterns = data.getlist("rule_name"), data.getlist("rule_pattern")
        return cls(
            version=read_number(data.get("version", ""), -1),
            protection=data.get("protection", ""),
            rows=[Row(name, pattern) for name, pattern in zip(names, patterns, strict=False)],
            refuse_identical_pushes="refuse_identical_pushes" in data,
            protect_signature_tags="protect_signature_tags" in data,
            sample_tags=data.get("sample_tags", ""),
        )

    @property
    def filled_rows(self) -> list[Row]:
        """The rows in which something is typed: a blank one is no rule."""
        return [row for row in self.rows if not row.is_blank]

    @property
    def shown_rows(self) -> list[Row]:
        """The rows of the editor: at least a blank one, so that somebody can begin to type."""
        return self.rows or [Row()]

    @property
    def advised_rows(self) -> list[tuple[Row, tuple[Advice, ...], str]]:
        """The rows of the editor, with what there is to know about each pattern, and what to use.

        An error says already what is wrong. Where there are too many rules, nothing is said.
        """
        if describe_too_many_rules(len(self.filled_rows)):
            return [(row, (), "") for row in self.shown_rows]
        return [
            (row, () if row.pattern_error else row.advice, suggest_pattern(row.pattern))
            for row in self.shown_rows
        ]

    @property
    def can_add(self) -> bool:
        return len(self.rows) < MAX_RULES_PER_WORKSPACE

    def to_draft(self) -> Draft:
        """Return the settings as typed. Raises ValueError where no option was chosen."""
        return Draft(
            protection=Protection(self.protection),
            rules=tuple(PolicyRule(row.name, row.pattern) for row in self.filled_rows),
            refuse_identical_pushes=self.refuse_identical_pushes,
            protect_signature_tags=self.protect_signature_tags,
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
            self._note(problem)
        return not problems

    def find_pattern_problem(self) -> str:
        """Return what is wrong with the first pattern that cannot be tried, or nothing.

        Where there are too many rules, none of them is looked at.
        """
        if too_many := describe_too_many_rules(len(self.filled_rows)):
            return too_many
        for number, row in enumerate(self.rows, start=1):
            if not row.is_blank and (message := describe_bad_pattern(row.pattern)):
                return f"Rule {number}: {message}"
        return ""

    def find_advice(self) -> list[tuple[int, Advice]]:
        """Return what there is to know about the rules, each with the number of its row."""
        if describe_too_many_rules(len(self.filled_rows)):
            return []
        return [
            (number, advice)
            for number, row in enumerate(self.rows, start=1)
            for advice in row.advice
        ]

    def _note(self, problem: DraftProblem) -> None:
        if problem.rule is None:
            self.rules_error = problem.message
            self.summary.append(("rule-name-1", problem.message))
            return
        row = self.filled_rows[problem.rule]
        number = self.rows.index(row) + 1
        setattr(row, f"{problem.field}_error", problem.message)
        what = f"Rule {number}, {problem.field}"
        self.summary.append((f"rule-{problem.field}-{number}", f"{what}: {problem.message}"))

    def add_row(self, name: str = "", pattern: str = "") -> None:
        """Add a rule, in a blank row where there is one, and put the focus there."""
        row = next((row for row in self.rows if row.is_blank), None)
        if row is None:
            if not self.can_add:
                self.rules_error = (
                    f"There are {MAX_RULES_PER_WORKSPACE} rules already. Remove one to add another."
                )
                self.focus_rules = True
                return
            row = Row()
            self.rows.append(row)
        row.name, row.pattern = self._free_name(name), pattern
        row.takes_focus = True

    def remove_row(self, number: int) -> None:
        """Remove the row `number`, counted from 1; the focus goes to the one that follows."""
        if not 1 <= number <= len(self.rows):
            return
        del self.rows[number - 1]
        if self.rows:
            self.rows[min(number, len(self.rows)) - 1].takes_focus = True
        else:
            self.focus_rules = True

    def use_suggestion(self, number: int) -> None:
        """Put what was probably meant into the row `number`, counted from 1."""
        if describe_too_many_rules(len(self.filled_rows)) or not 1 <= number <= len(self.rows):
            return
        row = self.rows[number - 1]
        row.pattern = suggest_pattern(row.pattern) or row.pattern
        row.pattern_takes_focus = True

    def _free_name(self, name: str) -> str:
        """Return `name`, with a number where a rule has it already."""
        taken = {row.name.casefold() for row in self.rows}
        candidates = [name, *(f"{name} {number}" for number in range(2, len(taken) + 3))]
        free = next(each for each in candidates if not each or each.casefold() not in taken)
        return free[:MAX_RULE_NAME_LENGTH]
