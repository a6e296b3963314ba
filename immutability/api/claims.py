"""Confirm or abandon the claim of a two-phase push."""

from collections.abc import Callable
from typing import TypeVar
from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from immutability.api.checks import CHANGED_MEANWHILE, count_check
from immutability.errors import ConflictError, PermissionRevokedError
from immutability.models import Claim
from immutability.push.claims import abandon_claim, confirm_claim
from workspaces.access import Actor, Permission
from workspaces.caller_access import Access, UnknownWorkspaceError, find_access
from workspaces.problems import Problem
from workspaces.queries import read_query
from workspaces.rights import NeededRights
from workspaces.schema import TOO_MANY_CALLS
from workspaces.sql import has_slug

Ended = TypeVar("Ended")


class ClaimStateSerializer(serializers.Serializer[object]):
    """How a claim ended, and the tags that it locked."""

    id = serializers.UUIDField()
    state = serializers.ChoiceField(["confirmed", "abandoned"])
    locked_tags = serializers.ListField(child=serializers.CharField())


class ConfirmClaimView(APIView):
    """The push landed."""

    @extend_schema(
        operation_id="confirm_claim",
        request=None,
        responses={200: ClaimStateSerializer, 429: TOO_MANY_CALLS},
    )
    def post(self, request: Request, claim_id: UUID) -> Response:
        """Lock what the push wrote. Saying it again changes nothing."""
        count_check(request)
        claim, actor, rights = _find_claim(request, claim_id)
        locked = _end(lambda: confirm_claim(claim, actor=actor, rights=rights))
        return Response({"id": claim_id, "state": "confirmed", "locked_tags": locked})


class AbandonClaimView(APIView):
    """The push failed."""

    @extend_schema(
        operation_id="abandon_claim",
        request=None,
        responses={200: ClaimStateSerializer, 429: TOO_MANY_CALLS},
    )
    def post(self, request: Request, claim_id: UUID) -> Response:
        """Put the tags back to what they were. Saying it again changes nothing."""
        count_check(request)
        claim, actor, rights = _find_claim(request, claim_id)
        _end(lambda: abandon_claim(claim, actor=actor, rights=rights))
        return Response({"id": claim_id, "state": "abandoned", "locked_tags": []})


def _find_claim(request: Request, claim_id: UUID) -> tuple[Claim, Actor, NeededRights | None]:
    """Return the claim, who ends it, and what that caller must still be allowed then.

    Other callers' claims are as unknown as claims that never existed.
    """
    unknown = Http404(f'There is no claim "{claim_id}".')
    claim = Claim.objects.select_related("workspace").filter(id=claim_id).first()
    if claim is None:
        raise unknown
    try:
        access = find_access(request, claim.workspace.slug)
    except UnknownWorkspaceError:
        raise unknown from None
    access.require(Permission.CHECK)
    if not access.is_for(claim.repository):
        raise unknown
    read_query(request)
    return claim, access.actor, _needed_rights(access, claim)


def _needed_rights(access: Access, claim: Claim) -> NeededRights | None:
    """Return what the access token must still be allowed where the claim ends."""
    if access.token is None:
        return None
    # A repository that another workspace owns since is the claim's still.
    return NeededRights(
        frozenset({Permission.CHECK}),
        claim.workspace,
        claim.repository,
        has_slug(claim.workspace.slug),
        token_id=access.token.pk,
    )


def _end(end: Callable[[], Ended]) -> Ended:
    try:
        return end()
    except ConflictError as error:
        raise Problem(409, "claim_ended", str(error)) from error
    except PermissionRevokedError as error:
        raise PermissionDenied(CHANGED_MEANWHILE) from error
