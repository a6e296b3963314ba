"""Confirm or abandon the claim of a two-phase push."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from immutability.actions.claims import ClaimEndedError, abandon_claim, confirm_claim
from immutability.api.checks import count_check
from immutability.models import Attempt
from workspaces.access import Actor, Permission
from workspaces.callers import UnknownWorkspaceError, find_access
from workspaces.problems import Problem
from workspaces.queries import read_query
from workspaces.schema import TOO_MANY_CALLS


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
        attempt, actor = _find_attempt(request, claim_id)
        locks = _end(lambda: confirm_claim(attempt, actor=actor))
        return Response(
            {"id": claim_id, "state": "confirmed", "locked_tags": [row.tag for row in locks]}
        )


class AbandonClaimView(APIView):
    """The push came to nothing."""

    @extend_schema(
        operation_id="abandon_claim",
        request=None,
        responses={200: ClaimStateSerializer, 429: TOO_MANY_CALLS},
    )
    def post(self, request: Request, claim_id: UUID) -> Response:
        """Put the tags back to what they were. Saying it again changes nothing."""
        count_check(request)
        attempt, _ = _find_attempt(request, claim_id)
        _end(lambda: abandon_claim(attempt))
        return Response({"id": claim_id, "state": "abandoned", "locked_tags": []})


def _find_attempt(request: Request, claim_id: UUID) -> tuple[Attempt, Actor]:
    """Return the attempt. Another workspace's claim is as unknown as one that never was."""
    unknown = Http404(f'There is no claim "{claim_id}".')
    attempt = (
        Attempt.objects.select_related("workspace")
        .filter(id=claim_id, kind=Attempt.Kind.ANNOUNCED)
        .first()
    )
    if attempt is None:
        raise unknown
    try:
        access = find_access(request, attempt.workspace.slug)
    except UnknownWorkspaceError:
        raise unknown from None
    access.require(Permission.CHECK)
    read_query(request)
    return attempt, access.actor


def _end(end: Callable[[], Any]) -> Any:
    try:
        return end()
    except ClaimEndedError as error:
        raise Problem(409, "claim_ended", str(error)) from error
