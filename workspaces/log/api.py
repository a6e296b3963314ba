"""The lock log over the API."""

import logging
from urllib.parse import urlencode

from django.conf import settings
from django.http import Http404, HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from workspaces.access import ActorKind, Permission
from workspaces.caller_access import find_access
from workspaces.log.current import NothingSealedError, current_checkpoint
from workspaces.log.export import (
    RETRY_AFTER_SECONDS,
    ExportForm,
    export_log,
)
from workspaces.log.export_slots import TooManyExportsError
from workspaces.log.keys import KeyFileError, verifier_key
from workspaces.log.kinds import EventKind, KindGroup
from workspaces.log.models import REF_LENGTH, Checkpoint, LockEvent
from workspaces.log.query import (
    EVENTS_PER_PAGE,
    MAX_EVENTS_PER_PAGE,
    LogListForm,
    RefField,
    find_events,
    visible_events,
)
from workspaces.log.rows import ExportFormat
from workspaces.problems import Problem
from workspaces.queries import read_form, read_query
from workspaces.text import find_bad_character

logger = logging.getLogger(__name__)


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
        allow_null=True, help_text="The address of the next page (older events), or null."
    )
    previous = serializers.CharField(
        allow_null=True, help_text="The address of the page of newer events, or null."
    )


class CheckpointSerializer(serializers.ModelSerializer[Checkpoint]):
    """A signed statement of what the log was."""

    note = serializers.CharField(help_text="The signed note. Keep it where Taglock cannot write.")
    verifier_key = serializers.SerializerMethodField(help_text="What the note is verified with.")

    class Meta:
        model = Checkpoint
        fields = ["sequence", "hash", "made_at", "note", "verifier_key"]

    def get_verifier_key(self, checkpoint: Checkpoint) -> str:
        """Return the public half of the key that signed it."""
        return verifier_key()


def _text(name: str, description: str = "") -> OpenApiParameter:
    """Describe a parameter that is a text, with its limit."""
    field = LogListForm.base_fields[name]
    limit = REF_LENGTH if isinstance(field, RefField) else getattr(field, "max_length", None)
    return OpenApiParameter(name, {"type": "string", "maxLength": limit}, description=description)


_MOMENT = "In UTC: a day (2026-05-01) or a time (2026-05-01T14:30, 2026-05-01T14:30:15)."
_FILTERS = [
    _text("q", "Words, each a part of a tag, repository, actor or rule, or a digest's beginning."),
    OpenApiParameter("group", enum=[group.value for group in KindGroup]),
    _text("repository", 'The full name, like "acme/api".'),
    _text("tag"),
    OpenApiParameter("kind", enum=[kind.value for kind in EventKind]),
    _text("actor", "The name of who did it."),
    _text("rule", "The name of a rule."),
    _text("digest", "A digest, or its first characters."),
    _text("ref", "The ref of one event."),
    _text("since", f"From then on. {_MOMENT}"),
    _text("until", f"Up to its end. {_MOMENT}"),
]
_PLACES = [
    _text("before", "The events right before the one with this ref."),
    _text("after", "The events right after the one with this ref."),
    OpenApiParameter("limit", {"type": "integer", "minimum": 1, "maximum": MAX_EVENTS_PER_PAGE}),
]


class LockLogView(APIView):
    """The events of a workspace."""

    @extend_schema(
        operation_id="list_events",
        parameters=[*_FILTERS, *_PLACES],
        responses=EventListSerializer,
    )
    def get(self, request: Request, slug: str) -> Response:
        """List events, newest first."""
        access = find_access(request, slug)
        form = read_form(LogListForm(request.query_params))
        page = find_events(
            access,
            form,
            form.cleaned_data["before"],
            form.cleaned_data["limit"] or EVENTS_PER_PAGE,
            after=form.cleaned_data["after"],
        )
        return Response(
            {
                "results": EventSerializer(page.events, many=True).data,
                "next": _address(request, before=page.older_before),
                "previous": _address(request, after=page.newer_after),
            }
        )


class ExportView(APIView):
    """The sealed events, as a file."""

    @extend_schema(
        operation_id="export_events",
        parameters=[
            OpenApiParameter("format", enum=[each.value for each in ExportFormat], required=True),
            *_FILTERS,
        ],
        responses={
            (200, "application/x-ndjson"): OpenApiTypes.STR,
            (200, "text/csv"): OpenApiTypes.STR,
        },
    )
    def get(self, request: Request, slug: str) -> HttpResponseBase:
        """Export what matches the filters, up to a checkpoint made now. For auditors and admins."""
        access = find_access(request, slug)
        access.require(Permission.VIEW_ALL_EVENTS)
        form = read_form(ExportForm(request.query_params))
        try:
            return export_log(access, form, is_head=request.method == "HEAD")
        except (TooManyExportsError, NothingSealedError, KeyFileError) as error:
            raise _unavailable(error) from error


class CheckpointView(APIView):
    """The latest checkpoint."""

    @extend_schema(operation_id="get_checkpoint", responses=CheckpointSerializer)
    def get(self, request: Request, slug: str) -> Response:
        """Return the checkpoint of the log as it is now. For auditors and admins."""
        access = find_access(request, slug)
        access.require(Permission.VIEW_ALL_EVENTS)
        read_query(request)
        try:
            checkpoint = current_checkpoint(access.workspace.slug)
            return Response(CheckpointSerializer(checkpoint).data)
        except (NothingSealedError, KeyFileError) as error:
            raise _unavailable(error) from error


class LockEventView(APIView):
    """One event."""

    @extend_schema(operation_id="get_event", responses=EventSerializer)
    def get(self, request: Request, slug: str, ref: str) -> Response:
        """Return one event by its ref."""
        events = visible_events(find_access(request, slug))
        read_query(request)
        is_odd = len(ref) != REF_LENGTH or find_bad_character(ref)
        event = None if is_odd else events.filter(ref=ref.upper()).first()
        if event is None:
            raise Http404(f'There is no event "{ref[:16]}" that you may read.')
        return Response(EventSerializer(event).data)


def _unavailable(error: Exception) -> Problem:
    """Return the answer that says: not now. Only the operator may see a file's path."""
    if isinstance(error, KeyFileError):
        logger.error("%s", error)
        detail = "The lock log's key cannot be read, so nothing can be signed. Tell an operator."
        return Problem(503, "cannot_sign", detail)
    code = "too_many_exports" if isinstance(error, TooManyExportsError) else "nothing_sealed"
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
    return Problem(503, code, str(error), headers=headers)


def _address(request: Request, **place: str) -> str | None:
    """Return the address of the page at a place, or None if there is no such place."""
    if not any(place.values()):
        return None
    query = {
        name: value
        for name, value in request.query_params.dict().items()
        if name not in ("before", "after")
    }
    return f"{settings.PUBLIC_URL}{request.path}?{urlencode({**query, **place})}"
