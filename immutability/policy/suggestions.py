"""What was probably meant by a pattern that RE2 refuses or that cannot do its job. No Django.

A suggestion is a pattern that can be saved, matches some tags but not all, and has no part that
cannot match. It is only ever shown, never used instead of what was typed.
"""

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache

from immutability.policy.pattern_tree import Choice, Leaf, Node, Repeat, Sequence, walk
from immutability.policy.patterns import MAX_PATTERN_LENGTH, PatternError, compile_pattern
from immutability.policy.reach import Analysis, Reach, analyse
from workspaces.text import find_bad_character

# Spaces, and the marks without width that a copied text may have at its ends.
_BLANKS = " \t\u00a0\u200b\u200c\u200d\u2060\ufeff"
_LOOKALIKES = str.maketrans(
    "АВЕКМНОРСТХаеорсухіјѕԁһΑΒΕΖΗΙΚΜΝΟΡΤΥΧνο‐‑‒–—−․",
    "ABEKMHOPCTXaeopcyxijsdhABEZHIKMNOPTYXvo------.",
)


def suggest_correction(text: str) -> str:
    """Return what was probably meant by a pattern that does not compile or matches no tag.

    Returns "" if there is nothing to suggest. Corrections are added up until one is enough.
    """
    current = text
    for correct in _CORRECTIONS:
        changed = correct(current)
        if changed != current and _is_sound(changed):
            return changed
        current = changed
    return ""


def suggest_narrower(text: str) -> str:
    """Return what was probably meant by a pattern that matches every tag, or ""."""
    for narrow in (_read_as_prefix, _drop_empty_alternatives, _require_something):
        candidate = narrow(text)
        if candidate != text and _is_sound(candidate):
            return candidate
    return ""


def has_variable(text: str) -> bool:
    """Whether `text` has something like $VERSION or ${VERSION}."""
    return re.search(r"\$(?:\{|[A-Z_]{2})", text) is not None


def suggest_glob(text: str) -> str:
    """Return what a pattern that looks like a shell wildcard would be in RE2, or ""."""
    if not re.fullmatch(r"\^?[A-Za-z0-9._*-]*[A-Za-z0-9_-]\*[A-Za-z0-9._*-]*\$?", text):
        return ""
    candidate = _read_as_glob(text)
    return candidate if _is_sound(candidate) else ""


def suggest_escaped_dots(text: str, analysis: Analysis) -> str:
    """Return `text` with a backslash before each dot between digits, or "" if there is none."""
    if analysis.tree is None:
        return ""
    dots = [dot for node in walk(analysis.tree) for dot in _find_dots_between_digits(text, node)]
    escaped = text
    for dot in sorted(dots, key=lambda leaf: leaf.start, reverse=True):
        escaped = f"{escaped[: dot.start]}\\{escaped[dot.start :]}"
    return escaped if escaped != text and _is_sound(escaped) else ""


@lru_cache(maxsize=256)
def _is_sound(candidate: str) -> bool:
    if not candidate or len(candidate) > MAX_PATTERN_LENGTH or find_bad_character(candidate):
        return False
    try:
        compile_pattern(candidate)
    except PatternError:
        return False
    analysis = analyse(candidate)
    return analysis.reach is Reach.SOME_TAGS and not analysis.dead_parts


# Corrections, in the order in which they are tried.


def _trim(text: str) -> str:
    text = re.sub(rf"[{_BLANKS}]*\|[{_BLANKS}]*", "|", text.strip(_BLANKS))
    return re.sub(rf"^\^[{_BLANKS}]+", "^", re.sub(rf"[{_BLANKS}]+\$$", "$", text))


def _unquote(text: str) -> str:
    for first, last in ("''", '""', "``", "“”", "‘’", "„“", "«»"):
        if len(text) > 2 and text.startswith(first) and text.endswith(last):
            return text[1:-1].strip(_BLANKS)
    return text


def _drop_slashes(text: str) -> str:
    found = re.fullmatch(r"[m~]?/(.+)/([a-z]*)", text)
    if not found:
        return text
    return f"(?i){found[1]}" if "i" in found[2] else found[1]


def _replace_lookalikes(text: str) -> str:
    return unicodedata.normalize("NFKC", text.translate(_LOOKALIKES))


def _split_list(text: str) -> str:
    """Turn a list into alternatives. An item that is no pattern is read as a glob."""
    if not re.search(r"[,;\s]", text):
        return text
    items = [item.strip(_BLANKS + "\"'`") for item in re.split(r"[,;\s]+(?:or\s+)?", text)]
    items = [item.removeprefix("^").removesuffix("$") for item in items]
    items = [item for item in items if item]
    if not items:
        return text
    items = [item if _is_sound(item) else _read_as_glob(item) for item in items]
    return f"^{items[0]}$" if len(items) == 1 else f"^({'|'.join(items)})$"


def _replace_braces(text: str) -> str:
    return re.sub(
        r"\{(?!\d*,\d*\})([^{}]*,[^{}]*)\}", lambda found: f"({found[1].replace(',', '|')})", text
    )


def _replace_plus(text: str) -> str:
    return re.sub(r"\\\+|\[\+\]", "_", text)


def _replace_escapes(text: str) -> str:
    for escape, ours in ((r"\Z", "$"), (r"\G", "^"), (r"\<", r"\b"), (r"\>", r"\b"), (r"\K", "")):
        text = text.replace(escape, ours)
    return text


def _halve_backslashes(text: str) -> str:
    return re.sub(r"\\\\(?=[dDwWbB.])", r"\\", text)


def _replace_groups(text: str) -> str:
    """Replace what other dialects have and RE2 lacks, where that changes no match."""
    if "(?x)" in text:
        text = re.sub(r"\s+", "", text.replace("(?x)", ""))
    text = re.sub(r"\(\?[auL]+\)|\(\?#[^)]*\)", "", text)
    text = re.sub(r"\(\?(?:>|\|)", "(?:", text)
    text = re.sub(r"\(\?'[^']*'", "(", text)
    return re.sub(r"([*+?}])\+", r"\1", text)


def _drop_repository(text: str) -> str:
    """Keep what stands after the last slash or colon, which no tag has."""
    place = max(text.rfind("/"), text.rfind(":"))
    return f"^{text[place + 1 :].removeprefix('^')}" if place > 0 else text


def _move_anchors(text: str) -> str:
    """Put ^ first and $ last. A $ that begins the name of a variable stays."""
    if has_variable(text):
        return text
    begins = "^" if re.search(r"(?<!\\)(?<!\[)\^", text) else ""
    ends = "$" if re.search(r"(?<!\\)\$", text) else ""
    return begins + re.sub(r"(?<!\\)(?<!\[)[\^$]", "", text) + ends


def _read_as_glob(text: str) -> str:
    """Read shell wildcards, where the text has nothing else."""
    if not re.fullmatch(r"(?=.*[A-Za-z0-9])\^?[A-Za-z0-9._*?-]*[*?][A-Za-z0-9._*?-]*\$?", text):
        return text
    inner = re.sub(r"\*+", "*", text.removeprefix("^").removesuffix("$"))
    inner = inner.replace(".", r"\.").replace("*", ".*").replace("?", ".")
    return f"^{inner}$".removeprefix("^.*").removesuffix(".*$")


_CORRECTIONS: tuple[Callable[[str], str], ...] = (
    _trim,
    _unquote,
    _drop_slashes,
    _replace_lookalikes,
    _replace_escapes,
    _halve_backslashes,
    _replace_groups,
    _replace_plus,
    _replace_braces,
    _split_list,
    _drop_repository,
    _move_anchors,
    _read_as_glob,
)


# Narrower patterns.


def _read_as_prefix(text: str) -> str:
    """Read "v*" as shells do: what begins with v."""
    found = re.fullmatch(r"\^?([A-Za-z0-9_][A-Za-z0-9_.-]*)[*?][A-Za-z0-9_.*?-]*\$?", text)
    return "^" + found[1].replace(".", r"\.") if found else text


def _drop_empty_alternatives(text: str) -> str:
    text = re.sub(r"\|{2,}", "|", text)
    return re.sub(r"(?<=\()\||\|(?=\))|^\||\|$", "", text)


def _require_something(text: str) -> str:
    text = re.sub(r"(?<=[\w\])])\?\$?$", "", text.removeprefix("^"))
    return "^" + re.sub(r"(?<!\\)\*", "+", text)


# Dots.


def _find_dots_between_digits(text: str, node: Node) -> list[Leaf]:
    if not isinstance(node, Sequence):
        return []
    around = zip(node.items, node.items[1:], node.items[2:], strict=False)
    return [
        dot
        for left, dot, right in around
        if isinstance(dot, Leaf)
        and text[dot.start : dot.end] == "."
        and _is_of_digits(left)
        and _is_of_digits(right)
    ]


def _is_of_digits(node: Node) -> bool:
    match node:
        case Leaf(characters=characters):
            return bool(characters) and characters <= frozenset("0123456789")
        case Repeat(item):
            return _is_of_digits(item)
        case Choice(items) | Sequence(items):
            return bool(items) and all(_is_of_digits(item) for item in items)
    return False
