"""Why RE2 refuses a pattern, in plain words, and what to write instead. Pure: no Django, no RE2.

RE2 gives a reason as "kind: fragment". docs/rules.md shows what a person reads.
"""

_LOOKAROUND = ("(?=", "(?!", "(?<=", "(?<!")
# Escapes that stand for several characters: known, but not as the end of a range.
_CLASSES = "dDsSwW"


def explain(text: str, reason: str) -> str:
    """Return what a person reads where RE2 refuses `text` for `reason`."""
    kind, _, fragment = reason.partition(": ")
    if fragment.startswith(_LOOKAROUND):
        start = f'RE2 has no lookahead or lookbehind, so "{fragment}" cannot be used.'
        return f"{start} {_NEGATIVE if fragment.endswith('!') else _POSITIVE}"
    if backreference := _find_backreference(text, kind, fragment):
        return (
            f'RE2 has no backreferences, so "{backreference}" cannot be used. Write the repeated '
            "part out."
        )
    match kind:
        case "invalid escape sequence":
            return _explain_escape(fragment)
        case "invalid perl operator":
            return _explain_operator(fragment)
        case "bad repetition operator":
            return _explain_repetition(fragment)
        case "invalid character class range":
            return _explain_class(fragment)
    explanation = _EXPLANATIONS.get(kind)
    if explanation is None:
        return f"RE2 cannot use this pattern: {reason}."
    return explanation.format(fragment=fragment)


def _find_backreference(text: str, kind: str, fragment: str) -> str:
    """Return the backreference that RE2 stopped at, or nothing: \\1, \\k<n>, \\g{1}, (?P=n)."""
    if kind == "invalid escape sequence" and (fragment[1:2].isdigit() or fragment[1:2] in "kg"):
        return fragment
    if kind == "invalid named capture group" or fragment.startswith("(?P"):
        start = text.find("(?P=")
        return text[start : text.find(")", start) + 1] if start >= 0 else ""
    return ""


def _explain_escape(fragment: str) -> str:
    letter = fragment[1:2]
    if letter in _CLASSES:
        return (
            f'"{fragment}" cannot be the end of a range. Write the range with single characters, '
            "as in [a-z], and the class beside it."
        )
    if explanation := _ESCAPES.get(letter):
        return f'RE2 has no "{fragment}". {explanation}'
    if letter in _MISPLACED_ESCAPES:
        return f'"{fragment}" cannot stand here. {_MISPLACED_ESCAPES[letter]}'
    return (
        f'RE2 has no "{fragment}". If you mean the character itself, leave out the backslash; if '
        "you mean something else, look it up in the RE2 syntax."
    )


_CHARACTER = "Write the character itself."
_ANY_CHARACTER = "Write . for any character."
_ESCAPES = {
    "Z": "Write $ or \\z for the end of the tag.",
    "G": "Write ^ for the beginning of the tag.",
    "h": "Write [0-9a-f] for a hexadecimal digit. A tag has no spaces.",
    "H": _ANY_CHARACTER,
    "N": _ANY_CHARACTER,
    "X": _ANY_CHARACTER,
    "V": _ANY_CHARACTER,
    "R": "Leave it out: a tag has no line breaks.",
    "K": "Leave it out: all that counts is whether a tag matches.",
    "u": _CHARACTER,
    "U": _CHARACTER,
    "o": _CHARACTER,
    "c": _CHARACTER,
    "e": _CHARACTER,
    "x": "Write the character itself, or two hexadecimal digits, as in \\x2d.",
    "l": "Write [a-z] for a lower-case letter.",
    "L": _ANY_CHARACTER,
    "i": "Write [a-zA-Z_] for the characters of a name.",
    "m": "Write \\b for the edge of a word.",
    "M": "Write \\b for the edge of a word.",
    "y": "Write \\b for the edge of a word.",
    "Y": "Write \\B for a place inside a word.",
}
_MISPLACED_ESCAPES = {
    "b": "Inside [ ] it has no meaning: write \\b outside of the brackets.",
    "B": "Inside [ ] it has no meaning: write \\B outside of the brackets.",
    "A": "Inside [ ] it has no meaning: write ^ at the beginning of the pattern.",
    "z": "Inside [ ] it has no meaning: write $ at the end of the pattern.",
    "Q": "Inside [ ] every character stands for itself; leave out \\Q and \\E.",
    "E": "It ends what \\Q begins. Leave it out, or write \\Q in front.",
    "C": "Inside [ ] it has no meaning: write . for any character.",
}


def _explain_operator(fragment: str) -> str:
    character = "R" if fragment[2:3].isdigit() else fragment[2:3]
    if explanation := _OPERATORS.get(character) or _OPERATORS.get(fragment[-1]):
        return explanation
    if not fragment[-1:].isalpha() or fragment[-1:] in "imsU":
        return (
            f'"{fragment}" is not a complete group. Write (…) or (?:…) for a group, and (?i) to '
            "ignore case."
        )
    return (
        f'RE2 has no flag "{fragment[-1]}". Leave it out. The flags are i, m, s and U, as in (?i) '
        "to ignore case."
    )


# A second rule is what people try next to leave tags out.
_NEGATIVE = (
    "Write which tags to match instead, such as ^v\\d. A second rule cannot take tags away: rules "
    "only add. To protect all tags but some, choose All tags are protected and add an exception."
)
_POSITIVE = (
    "Write what the tag looks like from left to right. Two rules, or two exceptions, do not narrow "
    "each other: either is enough."
)
_OPERATORS = {
    ">": "RE2 has no atomic groups, and needs none: it never backtracks. Write (?:…).",
    "'": "RE2 has no groups like (?'name'…). Write (…).",
    "P": "RE2 has no groups like this. Write (…).",
    "R": "RE2 has no recursion. Write the part out.",
    "&": "RE2 has no recursion. Write the part out.",
    "+": "RE2 has no recursion. Write the part out.",
    "(": "RE2 has no conditions. Write both cases as alternatives: (…|…).",
    "#": "RE2 has no comments. Leave it out; the name can say what it is for.",
    "|": "RE2 has no branch reset. Write (?:…|…).",
    "x": "RE2 has no mode that ignores spaces. Leave out (?x) and the spaces.",
    "^": "RE2 has no (?^). Leave it out.",
    "{": "RE2 runs no code in a pattern. Leave it out.",
    "?": "RE2 runs no code in a pattern. Leave it out.",
}


def _explain_repetition(fragment: str) -> str:
    if fragment.endswith("+") and len(fragment) > 1:
        return (
            f'RE2 has no possessive repetition such as "{fragment}", and needs none: it never '
            "backtracks. Leave out the last +."
        )
    if set(fragment) == {"*"}:
        return (
            f'"{fragment}" repeats a repetition. Write .* for any text: in RE2, * alone repeats '
            "what stands before it."
        )
    return (
        f'"{fragment}" repeats a repetition. Use one operator, or put the inner part in '
        "parentheses."
    )


def _explain_class(fragment: str) -> str:
    if fragment.startswith((r"\p", r"\P", "[:")):
        return (
            f'RE2 does not know the class "{fragment}". Write its characters, such as [a-z] or '
            "[0-9]."
        )
    return (
        f'The range "{fragment}" is not valid. Write the lower end first, as in [a-z], and a '
        "hyphen that means itself last, as in [a-z-]."
    )


_BAD_TEXT = "The pattern has a character that is not valid Unicode."
_EXPLANATIONS = {
    "invalid character class": 'The class "{fragment}" is not valid. Write it like [a-z0-9].',
    "missing ]": 'The bracket opened in "{fragment}" is not closed. Add a ].',
    "missing )": 'A parenthesis in "{fragment}" is not closed. Add a ), or write \\( to match one.',
    "unexpected )": (
        'There is one ) too many in "{fragment}". Remove it, or write \\) to match one.'
    ),
    "trailing \\": "The pattern ends with a single backslash. Remove it.",
    "no argument for repetition operator": (
        '"{fragment}" has nothing before it to repeat. Write .* for any text; '
        "otherwise put a character or a group in front."
    ),
    "invalid repetition size": (
        'The repetition "{fragment}" is too large or runs backwards. Use at most 1000 in all, the '
        "smaller number first; groups inside groups multiply."
    ),
    "invalid named capture group": (
        'The group name in "{fragment}" is not valid. Use a plain group, (…): names have no use '
        "here."
    ),
    "invalid UTF-8": _BAD_TEXT,
    "pattern too large - compile failed": (
        "The pattern is too large once its repetitions are written out. Use smaller numbers, or + "
        "and *, and [a-zA-Z] instead of \\pL: tags have no other letters."
    ),
}
