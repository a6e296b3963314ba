"""Read a registry's challenge: how it wants to be told who is calling (RFC 9110, section 11)."""

import re
from dataclasses import dataclass, field

MAX_CHALLENGES_LENGTH = 8 * 1024
BASIC, BEARER = "basic", "bearer"
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105  (a word of HTTP's grammar)
_PART = re.compile(rf'[\s,]*({_TOKEN})(?:\s*=\s*("(?:[^"\\]|\\.)*"|[^\s,"]*))?')


@dataclass(frozen=True)
class Challenge:
    """A scheme, in lower case, and its parameters, with names in lower case."""

    scheme: str
    parameters: dict[str, str] = field(default_factory=dict)

    def get(self, name: str) -> str:
        """Return a parameter; empty if there is none."""
        return self.parameters.get(name, "")


def parse_challenges(header: str) -> list[Challenge]:
    """Return the challenges of a header `WWW-Authenticate`, as far as it can be read."""
    found: list[Challenge] = []
    if len(header) > MAX_CHALLENGES_LENGTH:
        return found
    position = 0
    while part := _PART.match(header, position):
        position = part.end()
        name, value = part[1].lower(), part[2]
        if value is None:
            found.append(Challenge(name))
        elif found:
            found[-1].parameters.setdefault(name, _unquote(value))
    return found


def find_challenge(header: str) -> Challenge | None:
    """Return the challenge to answer: Bearer if there is one, else Basic; None for neither."""
    by_scheme = {each.scheme: each for each in reversed(parse_challenges(header))}
    return by_scheme.get(BEARER) or by_scheme.get(BASIC)


def add_actions(header: str, repository: str, *actions: str) -> str:
    """Return a challenge that asks for these actions on a repository as well.

    It stays as it is where it asks for none of that repository (RFC 6750, section 3: `scope`).
    """

    def add(found: re.Match[str]) -> str:
        asked = found[0].split(",")
        return ",".join([*asked, *(each for each in actions if each not in asked)])

    return re.sub(rf'(?<=[" ]repository:{re.escape(repository)}:)[^\s"]+', add, header)


def _unquote(value: str) -> str:
    if not value.startswith('"'):
        return value
    return re.sub(r"\\(.)", r"\1", value[1:-1])
