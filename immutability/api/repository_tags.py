"""The tags of a repository over the API."""

from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from containers.names import InvalidReferenceError, parse_repository
from containers.repositories import find_repository
from immutability.api.checks import decide_or_refuse
from immutability.reading import read_policy
from immutability.repository_tags import (
    MAX_TAGS_PER_PAGE,
    TAG_STATUSES,
    TAGS_PER_PAGE,
    ListedTag,
    Place,
    TagQuery,
    TagSort,
    find_tags,
    parse_place,
)
from workspaces.access import Permission, describe_actor
from workspaces.caller_access import find_access
from workspaces.problems import OneOfField, StrictSerializer, TextField
from workspaces.queries import read_query
from workspaces.search import MAX_SEARCH_LENGTH, parse_search
from workspaces.text import quote


class TagSerializer(serializers.Serializer[object]):
    """A tag. What is not known, or does not apply, is null."""

    tag = serializers.CharField()
    state = serializers.ChoiceField(
        TAG_STATUSES,
        help_text='The status of its lock. Without a lock, "mutable": any image can be pushed; or '
        '"covered": the settings cover it, and its next push locks it.',
    )
    digest = serializers.CharField(
        allow_null=True, help_text="What the registry has under it, or its lock's image."
    )
    image_size = serializers.IntegerField(
        allow_null=True,
        help_text="The bytes of its manifest, config and layers. Null for an index, and for an "
        "image that Taglock has not read.",
    )
    last_pushed_at = serializers.DateTimeField(allow_null=True)
    last_pushed_by = serializers.CharField(allow_null=True)
    locked_tag_id = serializers.IntegerField(allow_null=True)
    locked_at = serializers.DateTimeField(allow_null=True)
    rule_name = serializers.CharField(
        allow_null=True, help_text="The rule that locked it; empty if all tags are protected."
    )


class TagListSerializer(serializers.Serializer[object]):
    """A page of tags."""

    results = TagSerializer(many=True)
    next = serializers.CharField(
        allow_null=True,
        help_text="The address of the next page, or null. If there are many tags, a page can be "
        "short or even empty: continue with the next one.",
    )


class ListQuerySerializer(StrictSerializer):
    """The query of the list."""

    q = TextField(
        default="",
        allow_blank=True,
        max_length=MAX_SEARCH_LENGTH,
        help_text="What a search box takes: a part of a tag, in any case, a digest or its "
        "beginning, a reference, or a refusal.",
    )
    state = OneOfField(TAG_STATUSES, default="", allow_blank=True)
    sort = OneOfField(
        [each.value for each in TagSort],
        default=TagSort.PUSHED.value,
        help_text="Latest push first, or by name.",
    )
    after = TextField(
        default="", allow_blank=True, max_length=128, help_text="A position, taken from `next`."
    )
    limit = serializers.IntegerField(
        default=TAGS_PER_PAGE, min_value=1, max_value=MAX_TAGS_PER_PAGE
    )


class RepositoryTagsView(APIView):
    """The tags of a repository."""

    @extend_schema(
        operation_id="list_tags", parameters=[ListQuerySerializer], responses=TagListSerializer
    )
    def get(self, request: Request, slug: str, repository: str) -> Response:
        """List the tags that the registry has, and those whose names a lock holds."""
        access = find_access(request, slug)
        access.require(Permission.VIEW_REPOSITORIES)
        wanted = read_query(request, ListQuerySerializer)
        sort = TagSort(wanted["sort"])
        after = _parse_after(wanted["after"], sort)
        try:
            name = parse_repository(repository)
        except InvalidReferenceError as error:
            raise Http404(error.message) from error
        if find_repository(access.workspace, name) is None:
            raise Http404(f"There is no repository {quote(repository)} in this workspace.")
        policy = read_policy(access.workspace)
        query = TagQuery(parse_search(wanted["q"]), wanted["state"], sort)
        page = decide_or_refuse(
            lambda: find_tags(
                access.workspace, name, policy, query, after=after, limit=wanted["limit"]
            )
        )
        following = None
        if page.next_place is not None:
            parameters = {**request.query_params.dict(), "after": page.next_place.to_text(sort)}
            following = f"{settings.PUBLIC_URL}{request.path}?{urlencode(parameters)}"
        return Response({"results": [_render(tag) for tag in page.tags], "next": following})


def _parse_after(text: str, sort: TagSort) -> Place | None:
    try:
        return parse_place(text, sort)
    except ValueError as error:
        raise ValidationError({"after": ["Must be a position taken from `next`."]}) from error


def _render(tag: ListedTag) -> dict[str, Any]:
    lock, push = tag.lock, tag.last_push
    return dict(
        TagSerializer(
            {
                "tag": tag.record.name,
                "state": tag.status,
                "digest": tag.digest or None,
                "image_size": tag.image_size,
                "last_pushed_at": tag.pushed_at,
                "last_pushed_by": describe_actor(push.actor, push.actor_kind) if push else None,
                "locked_tag_id": lock.id if lock else None,
                "locked_at": lock.locked_at if lock else None,
                "rule_name": lock.rule_name if lock else None,
            }
        ).data
    )
