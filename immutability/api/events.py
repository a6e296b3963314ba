"""What a registry reports: a hint to look at a tag now, which decides nothing."""

from collections.abc import Iterable

from django.core.exceptions import PermissionDenied
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from containers.connection import find_registry
from containers.names import RepositoryName
from containers.owners import find_repository_access
from containers.registry.notifications import (
    MEDIA_TYPES,
    Report,
    TooManyReportsError,
    read_reports,
)
from immutability.reconcile.hints import take_hints
from workspaces.access import Permission
from workspaces.caller_access import UnknownWorkspaceError, identify_caller
from workspaces.models import AccessToken
from workspaces.problems import StrictJSONParser
from workspaces.queries import read_query
from workspaces.schema import TOO_MANY_CALLS
from workspaces.throttles import EVENTS_PER_TOKEN, count_call


class EventsAnswerSerializer(serializers.Serializer[object]):
    """What was understood, and how many tags are looked at because of it."""

    understood = serializers.IntegerField(
        help_text="Events about tags and manifests, of any workspace."
    )
    looks = serializers.IntegerField(
        help_text="Tags that Taglock looks at because of them, within seconds."
    )


def _make_parser(media_type: str) -> type[StrictJSONParser]:
    return type("EventsParser", (StrictJSONParser,), {"media_type": media_type})


class RegistryEventsView(APIView):
    """Report what happened in the registry. Taglock looks at the tags; the report decides nothing.

    Takes the notifications of Distribution, and so of GitLab's registry, and Harbor's webhooks.
    What is about something else, or about a workspace that the token is not for, is answered 200
    too, and ignored.
    """

    parser_classes = [_make_parser(media_type) for media_type in MEDIA_TYPES]

    @extend_schema(
        operation_id="report_events",
        request={"application/json": OpenApiTypes.OBJECT},
        responses={200: EventsAnswerSerializer, 429: TOO_MANY_CALLS},
    )
    def post(self, request: Request) -> Response:
        """Take what a registry reports."""
        token = request.auth
        if not isinstance(token, AccessToken) or Permission.CHECK not in token.permissions:
            raise PermissionDenied('Events need an access token with the scope "registry".')
        count_call(EVENTS_PER_TOKEN, identify_caller(request))
        read_query(request)
        try:
            reports = read_reports(request.data)
        except TooManyReportsError as error:
            raise ValidationError(str(error)) from error
        looks = _take(request, reports)
        return Response({"understood": len(reports), "looks": looks})


def _take(request: Request, reports: Iterable[Report]) -> int:
    """Keep what the caller may report; return how many tags are to be looked at."""
    by_repository: dict[RepositoryName, list[Report]] = {}
    for report in reports:
        by_repository.setdefault(report.repository, []).append(report)
    looks = 0
    for repository, of_repository in by_repository.items():
        try:
            access = find_repository_access(request, repository)
        except UnknownWorkspaceError:
            continue
        if access.is_for(repository.name) and find_registry(access.workspace) is not None:
            looks += take_hints(access.workspace, repository, of_repository)
    return looks
