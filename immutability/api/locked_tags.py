"""Locked tags over the API."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.http import Http404
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from containers.api.fields import ReferenceField
from containers.connection import find_registry
from containers.names import parse_repository, parse_tag
from immutability.actions.delete_tag import NameAfter, delete_locked_tag
from immutability.actions.hold import LockChange
from immutability.actions.release import release_locked_tag
from immutability.api.checks import decide_or_refuse
from immutability.errors import ConflictError, PermissionRevokedError, TryAgainError
from immutability.locked_tags import (
    LOCK_STATUSES,
    LOCKED_TAGS_PER_PAGE,
    MAX_LOCKED_TAGS_PER_PAGE,
    LockedTagQuery,
    LockSort,
    find_locked_tags,
    get_lock_status,
)
from immutability.models import LockedTag
from immutability.reading import read_policy
from workspaces.access import Permission
from workspaces.caller_access import Access, find_access
from workspaces.log.models import MAX_REASON_LENGTH
from workspaces.models import Workspace
from workspaces.problems import OneOfField, PlainTextField, Problem, StrictSerializer, TextField
from workspaces.queries import read_query, require_known_parameters
from workspaces.search import MAX_SEARCH_LENGTH, parse_search
from workspaces.text import to_sentence


class LockedTagSerializer(serializers.ModelSerializer[LockedTag]):
    """A lock. `state` is "suspended" where the settings do not cover its tag."""

    deleted_by = serializers.CharField(source="shown_deleter", read_only=True)

    class Meta:
        model = LockedTag
        fields = [
            "id",
            "repository",
            "tag",
            "digest",
            "rule_name",
            "rule_pattern",
            "settings_version",
            "pushed_by",
            "pushed_by_kind",
            "locked_at",
            "deleted_by",
            "deleted_at",
        ]


class LockedTagWithStateSerializer(LockedTagSerializer):
    """For the schema: what _render returns."""

    state = serializers.ChoiceField(LOCK_STATUSES)

    class Meta(LockedTagSerializer.Meta):
        fields = [*LockedTagSerializer.Meta.fields, "state"]


class LockedTagListSerializer(serializers.Serializer[object]):
    """A page of locks."""

    results = LockedTagWithStateSerializer(many=True)
    next = serializers.CharField(
        allow_null=True,
        help_text="The address of the next page, or null. If there are many locks, a page can be "
        "short or even empty: continue with the next one.",
    )


class ListQuerySerializer(StrictSerializer):
    """The query of the list."""

    q = TextField(
        default="",
        allow_blank=True,
        max_length=MAX_SEARCH_LENGTH,
        help_text='What a search box takes: a part of "<repository>:<tag>", in any case, a digest '
        "or its beginning, a reference with the registry's address, or a refusal.",
    )
    repository = ReferenceField(
        parse_repository,
        default=None,
        allow_blank=True,
        help_text='The full name, like "acme/api".',
    )
    tag = ReferenceField(
        parse_tag, default=None, allow_blank=True, help_text="The whole tag, in its case."
    )
    state = OneOfField(LOCK_STATUSES, default="", allow_blank=True)
    sort = OneOfField([each.value for each in LockSort], default=LockSort.NEWEST.value)
    before = serializers.IntegerField(
        default=0,
        min_value=0,
        help_text="Only locks after this id: lower ids, or higher ids if sorted oldest first.",
    )
    limit = serializers.IntegerField(
        default=LOCKED_TAGS_PER_PAGE,
        min_value=1,
        max_value=MAX_LOCKED_TAGS_PER_PAGE,
    )


class ReasonField(PlainTextField):
    """Why an admin does this, for the lock log."""

    def __init__(self, **options: Any) -> None:
        super().__init__(max_length=MAX_REASON_LENGTH, **options)

    def to_internal_value(self, data: Any) -> str:
        """Return the reason. Raises ValidationError for a blank one."""
        reason = super().to_internal_value(data).strip()
        if not reason:
            raise ValidationError("Enter a reason.")
        return reason


class DeleteSerializer(StrictSerializer):
    """What happens to the name, and why."""

    name = OneOfField(
        [each.value for each in NameAfter],
        help_text="Keep the name for the same image, or give it up.",
    )
    reason = ReasonField(help_text="Kept in the lock log.")


class ReleaseSerializer(StrictSerializer):
    """Why the tag may be pushed once more."""

    reason = ReasonField()


class DeletedSerializer(serializers.Serializer[object]):
    """What is left of the lock: null where the name is free."""

    locked_tag = LockedTagWithStateSerializer(allow_null=True)


class LockedTagListView(APIView):
    """The locks of a workspace."""

    @extend_schema(
        operation_id="list_locked_tags",
        parameters=[ListQuerySerializer],
        responses=LockedTagListSerializer,
    )
    def get(self, request: Request, slug: str) -> Response:
        """List locks, newest first unless asked otherwise."""
        access = find_access(request, slug)
        access.require(Permission.VIEW_LOCKED_TAGS)
        wanted = read_query(request, ListQuerySerializer)
        policy = read_policy(access.workspace)
        query = LockedTagQuery(
            parse_search(wanted["q"]),
            wanted["repository"],
            wanted["tag"],
            wanted["state"],
            LockSort(wanted["sort"]),
        )
        page = decide_or_refuse(
            lambda: find_locked_tags(
                access.workspace, policy, query, before=wanted["before"], limit=wanted["limit"]
            )
        )
        following = {**request.query_params.dict(), "before": page.next_before}
        return Response(
            {
                "results": [_render(row, status) for row, status in page.locks],
                "next": (
                    f"{settings.PUBLIC_URL}{request.path}?{urlencode(following)}"
                    if page.next_before
                    else None
                ),
            }
        )


class LockedTagView(APIView):
    """One lock."""

    @extend_schema(operation_id="get_locked_tag", responses=LockedTagWithStateSerializer)
    def get(self, request: Request, slug: str, lock_id: int) -> Response:
        """Return one lock."""
        access = find_access(request, slug)
        access.require(Permission.VIEW_LOCKED_TAGS)
        read_query(request)
        row = LockedTag.objects.filter(workspace=access.workspace, id=lock_id).first()
        if row is None:
            raise Http404("This workspace has no such locked tag.")
        return Response(_render_now(access.workspace, row))

    @extend_schema(
        operation_id="delete_locked_tag",
        parameters=[DeleteSerializer],
        responses={200: DeletedSerializer},
    )
    def delete(self, request: Request, slug: str, lock_id: int) -> Response:
        """Delete a locked tag, free a reserved name, or drop a claim.

        Both parameters may be in the query or in a JSON body.
        """
        access = find_access(request, slug)
        access.require(Permission.MANAGE_LOCKED_TAGS)
        if not isinstance(request.data, dict):
            raise ValidationError("Send a JSON object or no body.")
        require_known_parameters(request, DeleteSerializer().fields)
        asked = DeleteSerializer(data={**request.query_params.dict(), **request.data})
        asked.is_valid(raise_exception=True)
        change = _to_change(access, lock_id, asked)
        name_after = NameAfter(asked.validated_data["name"])
        left = _change(
            lambda: delete_locked_tag(change, name_after, find_registry(access.workspace))
        )
        return Response({"locked_tag": _render_now(access.workspace, left) if left else None})


class ReleaseView(APIView):
    """Let a locked tag be pushed once more."""

    @extend_schema(
        operation_id="release_locked_tag",
        request=ReleaseSerializer,
        responses={
            200: LockedTagWithStateSerializer,
            204: OpenApiResponse(description="The registry does not have the tag: it is free."),
        },
    )
    def post(self, request: Request, slug: str, lock_id: int) -> Response:
        """Release a lock: the next push of the tag can bring any image, and locks it again."""
        access = find_access(request, slug)
        access.require(Permission.MANAGE_LOCKED_TAGS)
        read_query(request)
        asked = ReleaseSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        change = _to_change(access, lock_id, asked)
        left = _change(lambda: release_locked_tag(change, find_registry(access.workspace)))
        return Response(_render_now(access.workspace, left)) if left else Response(status=204)


def _to_change(access: Access, lock_id: int, asked: StrictSerializer) -> LockChange:
    return LockChange(access.workspace, lock_id, asked.validated_data["reason"], access.actor)


def _change(change: Callable[[], LockedTag | None]) -> LockedTag | None:
    """Change a lock; return what is left of it. Raises Problem, or Http404."""
    try:
        return change()
    except LockedTag.DoesNotExist:
        raise Http404("This workspace has no such locked tag.") from None
    except ConflictError as error:
        raise Problem(409, "wrong_state", to_sentence(str(error))) from error
    except PermissionRevokedError as error:
        raise Problem(403, "forbidden", to_sentence(str(error))) from error
    except TryAgainError as error:
        retry_after = {"Retry-After": str(error.seconds)}
        raise Problem(503, "undecided", to_sentence(str(error)), headers=retry_after) from error


def _render_now(workspace: Workspace, row: LockedTag) -> dict[str, Any]:
    policy = read_policy(workspace)
    return _render(row, decide_or_refuse(lambda: get_lock_status(row, policy)))


def _render(row: LockedTag, status: str) -> dict[str, Any]:
    return {**LockedTagSerializer(row).data, "state": status}
