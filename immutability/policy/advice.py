"""What there is to know about a pattern that RE2 compiles. Pure: no Django.

Pages, forms and API show the same words. docs/rules.md lists them with examples.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from containers.names import MAX_TAG_LENGTH
from immutability.policy.pattern_tree import Assertion, Leaf, walk
from immutability.policy.patterns import PatternError, compile_pattern
from immutability.policy.protection import PatternKind
from immutability.policy.reach import (
    MAX_STATES,
    Analysis,
    Automaton,
    Grammar,
    Reach,
    TooComplexError,
    analyse,
    can_match_shape,
    find_matching_tag,
)
from immutability.policy.suggestions import (
    has_variable,
    suggest_correction,
    suggest_escaped_dots,
    suggest_glob,
    suggest_narrower,
)


class AdviceCode(StrEnum):
    """What an advice is about. Programs may rely on these."""

    MATCHES_NO_TAG = "matches_no_tag"
    PART_MATCHES_NO_TAG = "part_matches_no_tag"
    MATCHES_EVERY_TAG = "matches_every_tag"
    LOOKS_LIKE_GLOB = "looks_like_glob"
    UNESCAPED_DOT = "unescaped_dot"
    MATCHES_SIGNATURE_TAGS = "matches_signature_tags"
    NO_EXCEPTIONS = "no_exceptions"


@dataclass(frozen=True)
class Advice:
    """Something to know about a pattern; `suggestion` is the pattern that was probably meant."""

    code: AdviceCode
    message: str
    suggestion: str = ""

    def __str__(self) -> str:
        return add_suggestion(self.message, self.suggestion)


def add_suggestion(message: str, suggestion: str) -> str:
    """Return `message`, followed by the pattern that was probably meant, if there is one."""
    return f'{message} Did you mean "{suggestion}"?' if suggestion else message


NO_EXCEPTIONS = Advice(
    AdviceCode.NO_EXCEPTIONS,
    "There are no exceptions, so latest is locked too, and no later push can move it. To leave it "
    "mutable, add an exception with the pattern ^latest$.",
)


@lru_cache(maxsize=256)
def advise(pattern: str, kind: PatternKind = PatternKind.RULE) -> tuple[Advice, ...]:
    """Return what there is to know about the pattern of a rule, or of an exception.

    Nothing where it does not compile.
    """
    try:
        compile_pattern(pattern)
    except PatternError:
        return ()
    analysis = analyse(pattern)
    if analysis.reach is Reach.NO_TAG:
        return (_explain_no_tag(pattern, analysis, kind),)
    found = (
        _explain_dead_part(pattern, analysis, kind),
        _explain_every_tag(pattern, analysis, kind)
        or _explain_glob(pattern)
        or _explain_dots(pattern, analysis),
        _explain_signature_tags(analysis, kind),
    )
    return tuple(advice for advice in found if advice is not None)


def find_no_tag(pattern: str, kind: PatternKind = PatternKind.RULE) -> Advice | None:
    """Return why `pattern` provably matches no tag, or None."""
    found = advise(pattern, kind)
    return next((each for each in found if each.code is AdviceCode.MATCHES_NO_TAG), None)


# No tag.


_NO_EFFECT = {
    PatternKind.RULE: "so it protects nothing",
    PatternKind.EXCEPTION: "so it has no effect",
}


def _explain_no_tag(pattern: str, analysis: Analysis, kind: PatternKind) -> Advice:
    cause = _find_cause(pattern, analysis, kind)
    return Advice(
        AdviceCode.MATCHES_NO_TAG,
        f"This pattern matches no tag, {_NO_EFFECT[kind]}{cause and ': '}{cause or '.'}",
        suggest_correction(pattern),
    )


_NO_FIRST = "a tag begins with a letter, a digit or _."
_TOO_LONG = f"a tag has at most {MAX_TAG_LENGTH} characters."
_EMPTY = "a tag has at least one character."
_MISPLACED = "^ is where the tag begins, and $ is where it ends."
_VARIABLE = "variables are not filled in, and $ is where the tag ends."
# What is left out, and what to say where the pattern then matches.
_CAUSES = (
    (Grammar(allows_any_first=True), _NO_FIRST),
    (Grammar(max_length=MAX_STATES), _TOO_LONG),
    (Grammar(allows_empty=True), _EMPTY),
    (Grammar(has_anchors=False), _MISPLACED),
)


def _find_cause(pattern: str, analysis: Analysis, kind: PatternKind) -> str:
    """Return why no tag matches, or "" if there is more than one reason."""
    if analysis.automaton is None or analysis.tree is None:
        return ""
    if has_variable(pattern):
        return _VARIABLE
    foreign = [part for part in walk(analysis.tree) if _is_foreign(part)]
    if foreign and _would_match(analysis.automaton, Grammar(allows_any_character=True)):
        return _explain_foreign(pattern, foreign, kind)
    for grammar, cause in _CAUSES:
        if _would_match(analysis.automaton, grammar):
            return cause
    return _explain_foreign(pattern, foreign, kind)


def _would_match(automaton: Automaton, grammar: Grammar) -> bool:
    try:
        return find_matching_tag(automaton, grammar) is not None
    except TooComplexError:
        return False


# Characters that no tag has.


def _is_foreign(part: object) -> bool:
    return isinstance(part, Leaf) and not part.characters


def _explain_foreign(pattern: str, parts: Iterable[object], kind: PatternKind) -> str:
    """Return what a person should know about the parts that no character of a tag matches."""
    leaves = [part for part in parts if isinstance(part, Leaf)]
    literals = [literal for leaf in leaves if (literal := _read_literal(pattern, leaf))]
    if literals[:1] == ["/"] and pattern.startswith("/"):
        return "leave out the slashes around it."
    if "!" in literals and kind is PatternKind.EXCEPTION:
        return "a pattern cannot say which tags it does not match."
    for characters, explanation in _FOREIGN:
        if found := next((literal for literal in literals if literal in characters), ""):
            return explanation.format(found)
    if literals:
        return _explain_character(literals[0])
    if leaves:
        return f"no tag has a character that {pattern[leaves[0].start : leaves[0].end]} matches."
    return ""


_FOREIGN = (
    ("\"'`“”‘’„«»", "a tag has no quotes. Leave them out."),
    (",;", 'a tag has no "{}". Write alternatives with |.'),
    (" \u00a0", "a tag has no spaces."),
    ("+", "a tag has no +. Helm writes it as _."),
    (
        "/:",
        "a tag has no / or :. Write the tag alone, without the repository.",
    ),
    (
        "!",
        "a rule cannot leave tags out. For that, choose All tags are protected and add an "
        "exception.",
    ),
    ("\\", "a tag has no backslash. In a pattern, one is enough: \\d."),
)


def _read_literal(pattern: str, leaf: Leaf) -> str:
    """Return the character that `leaf` stands for, also in brackets, or ""."""
    in_brackets = re.fullmatch(r"\[([^\\])\]", pattern[leaf.start : leaf.end])
    return in_brackets[1] if in_brackets else leaf.literal


def _explain_character(character: str) -> str:
    if character.isascii():
        return f'a tag has no {character}, only letters, digits, "_", "." and "-".'
    name = unicodedata.name(character, "an unnamed character").lower()
    if character.isalpha():
        name = name.capitalize()
    return (
        f'"{character}" is U+{ord(character):04X}, {name}. A tag has only ASCII letters and '
        'digits, "_", "." and "-".'
    )


# The other advices.


def _explain_dead_part(pattern: str, analysis: Analysis, kind: PatternKind) -> Advice | None:
    if not analysis.dead_parts:
        return None
    foreign: Iterable[object] = [part for part in analysis.dead_parts if _is_foreign(part)]
    if foreign:
        message = (
            f"A part of this pattern never matches: {_explain_foreign(pattern, foreign, kind)}"
        )
    elif any(isinstance(part, Assertion) for part in analysis.dead_parts):
        message = f"A part of this pattern never matches: {_MISPLACED}"
    else:
        message = "A part of this pattern never matches a tag."
    return Advice(AdviceCode.PART_MATCHES_NO_TAG, message, suggest_correction(pattern))


_EVERY_TAG = {
    PatternKind.RULE: (
        "This pattern matches every tag. To protect them all, choose All tags are protected"
    ),
    PatternKind.EXCEPTION: (
        "This pattern matches every tag, so none would be protected. To protect none, choose No "
        "tags are protected"
    ),
}


def _explain_every_tag(pattern: str, analysis: Analysis, kind: PatternKind) -> Advice | None:
    if analysis.reach is not Reach.EVERY_TAG:
        return None
    suggestion = suggest_narrower(pattern)
    example = "." if suggestion else "; for tags that begin with v, write ^v."
    return Advice(AdviceCode.MATCHES_EVERY_TAG, _EVERY_TAG[kind] + example, suggestion)


def _explain_glob(pattern: str) -> Advice | None:
    suggestion = suggest_glob(pattern)
    if not suggestion:
        return None
    message = "In RE2, * repeats the character before it. Write .* for any text."
    return Advice(AdviceCode.LOOKS_LIKE_GLOB, message, suggestion)


def _explain_dots(pattern: str, analysis: Analysis) -> Advice | None:
    suggestion = suggest_escaped_dots(pattern, analysis)
    if not suggestion:
        return None
    message = "A dot matches any character, so 1.2 also matches 1x2. Write \\. for a dot."
    return Advice(AdviceCode.UNESCAPED_DOT, message, suggestion)


_HEX = frozenset("0123456789abcdef")
_SIGNATURE_SHAPES = tuple(
    [*map(frozenset, f"{algorithm}-"), *[_HEX] * 64, *map(frozenset, suffix)]
    for algorithm, suffix in (
        *(("sha256", suffix) for suffix in ("", ".sig", ".att", ".sbom")),
        *((algorithm, "") for algorithm in ("sha384", "sha512", "blake3")),
    )
)


@lru_cache(maxsize=256)
def may_match_signature_tags(pattern: str) -> bool:
    """Whether `pattern`, which RE2 compiles, matches signature tags; True where that is unknown."""
    return _matches_signature_tags(analyse(pattern)) is not False


def _matches_signature_tags(analysis: Analysis) -> bool | None:
    automaton = analysis.automaton
    if automaton is None:
        return None
    try:
        return any(can_match_shape(automaton, shape) for shape in _SIGNATURE_SHAPES)
    except TooComplexError:
        return None


def _explain_signature_tags(analysis: Analysis, kind: PatternKind) -> Advice | None:
    # Signature tags are meant to stay mutable, so an exception does no harm to them.
    if kind is PatternKind.EXCEPTION or not _matches_signature_tags(analysis):
        return None
    return Advice(
        AdviceCode.MATCHES_SIGNATURE_TAGS,
        "This pattern also matches signature tags (sha256-….sig and the like). Once they are "
        "locked, an image cannot be signed again.",
    )
