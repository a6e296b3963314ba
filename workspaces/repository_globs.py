"""Globs that limit an access token to some repositories of its workspace. No Django.

A glob is about names within the workspace: in acme, `api-*` matches acme/api-web. `*` matches any
characters except a slash, `**` any characters; both can match none. Everything else matches itself.
"""

import re
from collections.abc import Collection
from functools import lru_cache

from workspaces.text import quote

MAX_GLOBS_PER_TOKEN = 20
# Every name that a repository can have within its workspace fits.
MAX_GLOB_LENGTH = 255

_GLOB = re.compile(r"[a-z0-9._*-]+(?:/[a-z0-9._*-]+)*", re.ASCII)
_STARS = re.compile(r"(\*+)")


def describe_bad_globs(slug: str, globs: Collection[str]) -> str | None:
    """Return a sentence that says why these cannot limit a token of the workspace `slug`, or None.

    Their number is looked at before any of them.
    """
    if len(globs) > MAX_GLOBS_PER_TOKEN:
        return f"There are {len(globs)} repositories; at most {MAX_GLOBS_PER_TOKEN} are allowed."
    return next(filter(None, (describe_bad_glob(slug, glob) for glob in globs)), None)


def describe_bad_glob(slug: str, glob: str) -> str | None:
    """Return a sentence that says why `glob` matches nothing that is meant, or None."""
    if len(glob) > MAX_GLOB_LENGTH:
        return f"A repository has {len(glob)} characters; at most {MAX_GLOB_LENGTH} are allowed."
    if glob.startswith(f"{slug}/"):
        return (
            f"{quote(glob)} begins with the workspace. Write the name within it: "
            f"{quote(glob.removeprefix(f'{slug}/'))}."
        )
    if not _GLOB.fullmatch(glob):
        return (
            f"{quote(glob)} is not a repository: use lower-case letters, digits, dots, "
            "underscores, hyphens and slashes, with * for any characters except a slash and ** for "
            "any characters."
        )
    if "***" in glob:
        return f"{quote(glob)} has more than two stars in a row: use * or **."
    return None


def is_covered(globs: Collection[str], name: str) -> bool:
    """Whether one of these globs matches `name`, a repository's name within its workspace."""
    return any(matches(glob, name) for glob in globs)


def matches(glob: str, name: str) -> bool:
    """Whether `glob` matches all of `name`.

    Each part of the glob is tried once at each place of the name, so that no glob takes long.
    """
    reached = {0}
    for part in _split(glob):
        if part == "**":
            reached = set(range(min(reached), len(name) + 1))
        elif part == "*":
            reached = _within_component(name, reached)
        else:
            reached = {at + len(part) for at in reached if name.startswith(part, at)}
        if not reached:
            return False
    return len(name) in reached


def _within_component(name: str, places: Collection[int]) -> set[int]:
    """Return the places that any characters except a slash lead to from one of these."""
    reached: set[int] = set()
    for place in places:
        at = place
        while at not in reached:
            reached.add(at)
            if at == len(name) or name[at] == "/":
                break
            at += 1
    return reached


@lru_cache(maxsize=1024)
def _split(glob: str) -> tuple[str, ...]:
    return tuple(part for part in _STARS.split(glob) if part)
