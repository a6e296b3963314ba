"""What anyone may pull."""

from collections.abc import Iterable

from containers.names import parse_repository
from containers.tokens.clients import NO_LOGIN, grant
from containers.tokens.grants import PULL


def find_public(names: Iterable[str]) -> set[str]:
    """Return those of the repositories that the token service lets anyone pull from."""
    asked = {parse_repository(name): frozenset({PULL}) for name in names}
    return {access.name for access in grant(NO_LOGIN, asked)}
