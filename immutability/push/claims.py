"""End the write of a two-phase check as its caller reports it: it landed, or it was never sent."""

from django.db import transaction

from containers.models import WriteKind
from containers.names import Digest, RepositoryName, TagName
from containers.writes import Result, Sent, Write
from immutability.errors import ConflictError, PermissionRevokedError
from immutability.models import Claim, LockedTag
from immutability.policy.protection import LockState
from immutability.settle import settle_push
from workspaces.access import Actor
from workspaces.rights import NeededRights


@transaction.atomic
def confirm_claim(claim: Claim, *, actor: Actor, rights: NeededRights | None = None) -> list[str]:
    """The caller's write has landed: lock its tags, and return those that are locked to its image.

    Saying it again changes nothing. `rights` are what the caller must still be allowed. Raises
    ConflictError if the claim ended another way, and PermissionRevokedError.
    """
    _settle(claim, Result.LANDED, Claim.Outcome.CONFIRMED, actor, rights)
    locked = LockedTag.objects.filter(
        workspace=claim.workspace,
        repository=claim.repository,
        tag__in=list(claim.tags),
        digest=claim.digest,
        state=LockState.LOCKED,
    )
    return list(locked.order_by("tag").values_list("tag", flat=True))


@transaction.atomic
def abandon_claim(claim: Claim, *, actor: Actor, rights: NeededRights | None = None) -> None:
    """The caller definitely did not write: its tags go back to what they were.

    It is given up, as if the registry had refused it, so that nothing sends it again. Saying it
    again changes nothing. `rights` are what the caller must still be allowed. Raises ConflictError
    if the claim ended another way, and PermissionRevokedError.
    """
    _settle(claim, Result.REFUSED, Claim.Outcome.ABANDONED, actor, rights)


def _settle(
    claim: Claim,
    result: Result,
    outcome: Claim.Outcome,
    actor: Actor,
    rights: NeededRights | None,
) -> None:
    """Settle the write, and end the claim. Only the first end of a claim counts.

    The rights are read once the records are held: what was taken away while this waited counts.
    """
    write = Write(claim.id, WriteKind.PUSH, Digest(claim.digest), sent_by=0.0)
    results = {TagName(name): Sent(result) for name in claim.tags}
    settle_push(write, claim.workspace, RepositoryName(claim.repository), results, actor=actor)
    if rights is not None and not rights.are_there():
        raise PermissionRevokedError
    still_open = Claim.objects.filter(
        workspace=claim.workspace, id=claim.id, outcome=Claim.Outcome.OPEN
    )
    if not still_open.update(outcome=outcome):
        claim.refresh_from_db(fields=["outcome"])
        if claim.outcome != outcome:
            raise ConflictError(f"This claim has already ended: it was {claim.outcome}.")
