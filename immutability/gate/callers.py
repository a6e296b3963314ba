"""Who stands at the gate: verified before anything is claimed, read or told."""

from django.http import HttpRequest, HttpResponse

from containers.reference import Repository
from containers.tokens.callers import PERMISSION_OF, find_access_now
from containers.tokens.challenge import challenge
from containers.tokens.grants import repository_access
from containers.tokens.key_folder import token_keys
from containers.tokens.tokens import InvalidTokenError, read_token
from immutability.gate.answers import error_answer
from workspaces.callers import Access, read_origin


def authorize(
    request: HttpRequest, repository: Repository, actions: tuple[str, ...]
) -> Access | HttpResponse:
    """Return what the caller may do in the repository's workspace, or the answer that says no.

    The token has to grant `actions`, and the database has to allow them still: what a token was
    given for may have been taken away since. Raises KeyFileError, and database errors.
    """
    wanted = repository_access(repository.name, *actions)
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    if not text or scheme.lower() != "bearer":
        return challenge(wanted)
    try:
        claims = read_token(text.strip(), token_keys())
    except InvalidTokenError:
        return challenge(wanted, "invalid_token")
    if not claims.may(wanted):
        return challenge(wanted, "insufficient_scope")
    access = find_access_now(claims.caller, repository.workspace, read_origin(request))
    if access is None or not all(access.may(PERMISSION_OF[action]) for action in actions):
        return error_answer(403, "DENIED", "requested access to the resource is denied")
    return access
