"""Two versions of the settings side by side: what someone else saved, and what is typed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from immutability.policy.protection import NamedPattern, PatternKind, Policy

_NOTHING = "none"


@dataclass(frozen=True)
class Line:
    """One setting in both versions. A pattern is written as code."""

    what: str
    saved: str
    typed: str
    is_pattern: bool = False

    @property
    def differs(self) -> bool:
        return self.saved != self.typed


def compare_versions(saved: Policy, typed: Policy) -> list[Line]:
    """Return every setting of both versions, those that agree included."""
    lines = [Line("Protection", saved.protection.label, typed.protection.label)]
    for kind in PatternKind:
        lines += _compare_patterns(kind, saved.list_patterns(kind), typed.list_patterns(kind))
    lines += [
        Line(what, _say(getattr(saved, name)), _say(getattr(typed, name)))
        for what, name in (
            ("Refuse identical pushes", "refuse_identical_pushes"),
            ("Protect signature tags", "protect_signature_tags"),
            ("Put locked tags back", "repair_drift"),
        )
    ]
    return lines


def _compare_patterns(
    kind: PatternKind, saved: Sequence[NamedPattern], typed: Sequence[NamedPattern]
) -> Iterator[Line]:
    """Yield a line for each name, in the order of what is typed."""
    ours, theirs = ({each.name: each.pattern for each in each_list} for each_list in (typed, saved))
    for name in [*ours, *(name for name in theirs if name not in ours)]:
        yield Line(
            f"{kind.capitalize()} “{name}”",
            theirs.get(name, _NOTHING),
            ours.get(name, _NOTHING),
            is_pattern=True,
        )
    order = [[name for name in each if name in ours and name in theirs] for each in (theirs, ours)]
    if order[0] != order[1]:
        yield Line(f"Order of {kind.plural}", ", ".join(order[0]), ", ".join(order[1]))


def _say(switch: object) -> str:
    return "yes" if switch else "no"
