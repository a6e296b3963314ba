"""What is asked for and what is granted: actions on repositories. No Django."""

from collections.abc import Iterable
from dataclasses import dataclass

from containers.names import InvalidReferenceError, RepositoryName, parse_repository

PULL, PUSH, DELETE = "pull", "push", "delete"
ACTIONS = (PULL, PUSH, DELETE)
# A push with many mounts asks for each repository that it mounts from.
MAX_SCOPES = 100


class TooManyScopesError(Exception):
    """The request is for more than any push needs. The message says how much may be."""


@dataclass(frozen=True)
class ResourceAccess:
    """Actions on one resource, as the claim `access` of a token lists them."""

    type: str
    name: str
    actions: tuple[str, ...]

    def to_claim(self) -> dict[str, str | list[str]]:
        """Return the entry of the claim."""
        return {"type": self.type, "name": self.name, "actions": list(self.actions)}


def repository_access(name: str, *actions: str) -> ResourceAccess:
    """Return access to one repository."""
    return ResourceAccess("repository", name, actions)


CATALOG_ACCESS = ResourceAccess("registry", "catalog", ("*",))


def parse_scopes(texts: Iterable[str]) -> dict[RepositoryName, frozenset[str]]:
    """Parse what a client asks for: `repository:<name>:<actions>`, several with spaces between.

    A name may hold colons in other registries, so a scope is split at its first and its last one.
    `*` asks for every action. Anything that is not the scope of a possible repository is left out:
    nothing is granted for it. Raises TooManyScopesError.
    """
    scopes = [scope for text in texts for scope in text.split(" ") if scope]
    if len(scopes) > MAX_SCOPES:
        raise TooManyScopesError(f"Ask for {MAX_SCOPES} or fewer scopes, not {len(scopes)}.")
    asked: dict[RepositoryName, frozenset[str]] = {}
    for scope in scopes:
        kind, _, rest = scope.partition(":")
        name, _, actions = rest.rpartition(":")
        if kind != "repository":
            continue
        try:
            repository = parse_repository(name)
        except InvalidReferenceError:
            continue
        wanted = frozenset(actions.split(","))
        wanted = frozenset(ACTIONS) if "*" in wanted else wanted & frozenset(ACTIONS)
        asked[repository] = asked.get(repository, frozenset()) | wanted
    return asked
