"""The lock log over the API."""

from urllib.parse import urlencode

from django.conf import settings
from django.http import Http404
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from workspaces.access import ActorKind
from workspaces.callers import find_access
from workspaces.log.kinds import EventKind
from workspaces.log.models import LockEvent
from workspaces.log.query import (
    EVENTS_PER_PAGE,
    MAX_EVENTS_PER_PAGE,
    LogPageForm,
    find_events,
    visible_events,
)
from workspaces.text import find_bad_character


class EventSerializer(serializers.ModelSerializer[LockEvent]):
    """An event. Empty text means: does not apply."""

    kind = serializers.ChoiceField([kind.value for kind in EventKind])
    actor_kind = serializers.ChoiceField([kind.value for kind in ActorKind])
    url = serializers.SerializerMethodField()

    class Meta:
        model = LockEvent
        fields = [
            "ref",
            "at",
            "kind",
            "repository",
            "tag",
            "digest",
            "other_digest",
            "actor",
            "actor_kind",
            "rule_name",
            "rule_pattern",
            "settings_version",
            "reason",
            "details",
            "url",
        ]

    def get_url(self, event: LockEvent) -> str:
        """Return the address of the event's page."""
        return f"{settings.PUBLIC_URL}/{event.workspace}/lock-log/{event.ref}"


class EventListSerializer(serializers.Serializer[object]):
    """A page of events, newest first."""

    results = EventSerializer(many=True)
    next = serializers.CharField(
        allow_null=True, help_text="The address of the next page, or null."
    )


_FILTERS = [
    OpenApiParameter("repository", description='The full name, like "acme/api".'),
    OpenApiParameter("tag"),
    OpenApiParameter("kind", enum=[kind.value for kind in EventKind]),
    OpenApiParameter("actor"),
    OpenApiParameter("rule", description="The name of a rule."),
    OpenApiParameter("digest", description="A digest, or its first characters."),
    OpenApiParameter("since", description="The first day, in UTC: 2026-05-01."),
    OpenApiParameter("until", description="The last day, in UTC."),
    OpenApiParameter("before", description="Only events before the one with this ref."),
    OpenApiParameter("limit", int, description=f"At most {MAX_EVENTS_PER_PAGE} events."),
]


class LockLogView(APIView):
    """The events of a workspace."""

    @extend_schema(operation_id="list_events", parameters=_FILTERS, responses=EventListSerializer)
    def get(self, request: Request, slug: str) -> Response:
        """List events, newest first."""
        access = find_access(request, slug)
        form = LogPageForm(request.query_params)
        if not form.is_valid():
            raise ValidationError(
                {name: [str(each) for each in errors] for name, errors in form.errors.items()}
            )
        limit = form.cleaned_data["limit"] or EVENTS_PER_PAGE
        page = find_events(access, form, form.cleaned_data["before"], limit)
        return Response(
            {
                "results": EventSerializer(page.events, many=True).data,
                "next": _next_address(request, page.next_before),
            }
        )


class LockEventView(APIView):
    """One event."""

    @extend_schema(operation_id="get_event", responses=EventSerializer)
    def get(self, request: Request, slug: str, ref: str) -> Response:
        """Return one event by its ref."""
        events = visible_events(find_access(request, slug))
        event = None if find_bad_character(ref) else events.filter(ref=ref.upper()).first()
        if event is None:
            raise Http404(f'There is no event "{ref[:16]}" that you may read.')
        return Response(EventSerializer(event).data)


def _next_address(request: Request, before: str) -> str | None:
    if not before:
        return None
    query = {**request.query_params.dict(), "before": before}
    return f"{settings.PUBLIC_URL}{request.path}?{urlencode(query)}"
