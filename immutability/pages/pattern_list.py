"""A list of named patterns as the form has it: its rows as typed, and what is done to them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.http import QueryDict

from immutability.policy.advice import Advice
from immutability.policy.drafts import (
    DraftProblem,
    advise_typed,
    describe_bad_pattern,
    describe_too_many,
    suggest_pattern,
)
from immutability.policy.protection import MAX_RULE_NAME_LENGTH, NamedPattern, PatternKind
from immutability.policy.unsaved import RowChange, compare_lists


@dataclass(frozen=True)
class Example:
    """A rule or an exception to begin with."""

    goal: str
    name: str
    pattern: str
    matches: str


EXAMPLES = {
    PatternKind.RULE: (
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
    ),
    PatternKind.EXCEPTION: (
        Example("Leave latest mutable", "Moving latest", "^latest$", "Only the tag latest"),
        Example(
            "Leave build caches mutable",
            "Build caches",
            "^buildcache",
            "Tags like buildcache or buildcache-arm64",
        ),
        Example(
            "Leave branch tags mutable", "Branches", "^(main|develop)$", "Only main and develop"
        ),
    ),
}


@dataclass(eq=False)
class Row:
    """A rule's or an exception's line in the editor."""

    name: str = ""
    pattern: str = ""
    name_error: str = ""
    pattern_error: str = ""
    takes_focus: bool = False
    pattern_takes_focus: bool = False
    # "up" or "down": the button that has the focus.
    focused_move: str = ""
    change: RowChange = RowChange.SAME
    covers: int | None = None

    @property
    def is_blank(self) -> bool:
        return not self.name and not self.pattern


@dataclass
class PatternList:
    """The rules, or the exceptions, as typed. `number` counts rows from 1."""

    kind: PatternKind
    rows: list[Row]
    error: str = ""
    takes_focus: bool = False

    @classmethod
    def from_patterns(cls, kind: PatternKind, patterns: Iterable[NamedPattern]) -> "PatternList":
        """Return the list that shows what is saved."""
        return cls(kind, [Row(each.name, each.pattern) for each in patterns])

    @classmethod
    def from_post(cls, kind: PatternKind, data: QueryDict) -> "PatternList":
        """Return the list as it was sent, whatever was typed."""
        names, patterns = data.getlist(f"{kind}_name"), data.getlist(f"{kind}_pattern")
        return cls(kind, [Row(*typed) for typed in zip(names, patterns, strict=False)])

    @property
    def examples(self) -> tuple[Example, ...]:
        return EXAMPLES[self.kind]

    @property
    def filled_rows(self) -> list[Row]:
        """The rows in which something is typed: a blank one counts for nothing."""
        return [row for row in self.rows if not row.is_blank]

    @property
    def filled_numbers(self) -> list[int]:
        """The numbers of the rows in which something is typed."""
        return [number for number, row in enumerate(self.rows, start=1) if not row.is_blank]

    def compare(self, saved: Sequence[NamedPattern]) -> None:
        """Note of each row what it is beside the saved list."""
        typed = [NamedPattern(row.name, row.pattern) for row in self.filled_rows]
        changes = compare_lists([NamedPattern(each.name, each.pattern) for each in saved], typed)
        for row, change in zip(self.filled_rows, changes.rows, strict=True):
            row.change = change

    @property
    def shown_rows(self) -> list[Row]:
        """The rows of the editor: of rules a blank one at least, since "some" needs one."""
        return self.rows or ([Row()] if self.kind is PatternKind.RULE else [])

    @property
    def advised_rows(self) -> list[tuple[Row, tuple[Advice, ...], str]]:
        """The rows of the editor, with what there is to know about each pattern, and what to use.

        An error says already what is wrong. If there are too many, nothing is said.
        """
        if self._find_too_many():
            return [(row, (), "") for row in self.shown_rows]
        return [
            (
                row,
                () if row.pattern_error else advise_typed(row.pattern, self.kind),
                suggest_pattern(row.pattern, self.kind),
            )
            for row in self.shown_rows
        ]

    @property
    def can_add(self) -> bool:
        return len(self.rows) < self.kind.max_count

    def find_pattern_problem(self) -> str:
        """Return what is wrong with the first pattern that cannot be tried, or nothing.

        If there are too many, none of them is looked at.
        """
        if too_many := self._find_too_many():
            return too_many
        for number, row in enumerate(self.rows, start=1):
            if not row.is_blank and (message := describe_bad_pattern(row.pattern)):
                return f"{self._label(number)}: {message}"
        return ""

    def find_advice(self) -> list[tuple[str, Advice]]:
        """Return what there is to know about the patterns, each with the label of its row."""
        if self._find_too_many():
            return []
        return [
            (self._label(number), advice)
            for number, row in enumerate(self.rows, start=1)
            for advice in advise_typed(row.pattern, self.kind)
        ]

    def note(self, problem: DraftProblem) -> tuple[str, str]:
        """Keep a problem beside its field; return the field's id, and a line for the summary."""
        if problem.number is None:
            self.error = problem.message
            return f"{self.kind}-name-1", problem.message
        row = self.filled_rows[problem.number]
        number = self.rows.index(row) + 1
        setattr(row, f"{problem.field}_error", problem.message)
        line = f"{self._label(number)}, {problem.field}: {problem.message}"
        return f"{self.kind}-{problem.field}-{number}", line

    def change(self, verb: str, number: int) -> None:
        """Do what a button of the list says. What names another list, or no row, does nothing."""
        if verb == f"add_{self.kind}":
            self._add("", "")
        elif verb == f"insert_{self.kind}_example" and 1 <= number <= len(self.examples):
            self._add(self.examples[number - 1].name, self.examples[number - 1].pattern)
        elif verb == f"remove_{self.kind}" and 1 <= number <= len(self.rows):
            self._remove(number)
        elif verb == f"move_{self.kind}_up" and 2 <= number <= len(self.rows):
            self._move(number, number - 1, "up")
        elif verb == f"move_{self.kind}_down" and 1 <= number < len(self.rows):
            self._move(number, number + 1, "down")
        elif verb == f"use_{self.kind}_suggestion" and 1 <= number <= len(self.rows):
            self._use_suggestion(number)

    def _add(self, name: str, pattern: str) -> None:
        """Add a pattern, in a blank row if there is one, and put the focus there."""
        row = next((row for row in self.rows if row.is_blank), None)
        if row is None:
            if not self.can_add:
                self.error = (
                    f"There are already {self.kind.max_count} {self.kind.plural}. Remove one to "
                    "add another."
                )
                self.takes_focus = True
                return
            row = Row()
            self.rows.append(row)
        row.name, row.pattern = self._free_name(name), pattern
        row.takes_focus = True

    def _remove(self, number: int) -> None:
        """Remove a row; the focus goes to the one that follows."""
        del self.rows[number - 1]
        if self.rows:
            self.rows[min(number, len(self.rows)) - 1].takes_focus = True
        else:
            self.takes_focus = True

    def _move(self, number: int, place: int, way: str) -> None:
        """Move a row; its button keeps the focus or, if it is gone, the other one gets it."""
        row = self.rows.pop(number - 1)
        self.rows.insert(place - 1, row)
        if place == 1:
            way = "down"
        elif place == len(self.rows):
            way = "up"
        row.focused_move = way

    def _use_suggestion(self, number: int) -> None:
        """Put what was probably meant into a row."""
        if self._find_too_many():
            return
        row = self.rows[number - 1]
        row.pattern = suggest_pattern(row.pattern, self.kind) or row.pattern
        row.pattern_takes_focus = True

    def _free_name(self, name: str) -> str:
        """Return `name`, with a number where another row has it already."""
        taken = {row.name.casefold() for row in self.rows}
        candidates = [name, *(f"{name} {number}" for number in range(2, len(taken) + 3))]
        free = next(each for each in candidates if not each or each.casefold() not in taken)
        return free[:MAX_RULE_NAME_LENGTH]

    def _find_too_many(self) -> str | None:
        return describe_too_many(self.kind, len(self.filled_rows))

    def _label(self, number: int) -> str:
        return f"{self.kind.capitalize()} {number}"
