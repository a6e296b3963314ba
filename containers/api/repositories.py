"""A workspace's repositories over the API."""

from urllib.parse import urlencode

from django.conf import settings
from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from containers.api.fields import ReferenceField
from containers.names import (
    MAX_REPOSITORY_LENGTH,
    InvalidReferenceError,
    RepositoryName,
    parse_repository,
)
from containers.owners import is_owner
from containers.repositories import (
    MAX_REPOSITORIES_PER_PAGE,
    REPOSITORIES_PER_PAGE,
    RepositoryQuery,
    find_repositories,
    find_repository,
)
from containers.visibility import set_public
from workspaces.access import Permission
from workspaces.caller_access import Access, find_access
from workspaces.problems import StrictSerializer, TextField, TruthField
from workspaces.queries import read_query
from workspaces.text import quote


class RepositorySerializer(serializers.Serializer[object]):
    """A repository. `created_at` is when Taglock first knew of it."""

    name = serializers.CharField(help_text='The full name, like "acme/api".')
    is_public = serializers.BooleanField(
        help_text="Whether anyone can pull from it without signing in."
    )
    created_at = serializers.DateTimeField()
    last_pushed_at = serializers.DateTimeField(allow_null=True)


class RepositoryListSerializer(serializers.Serializer[object]):
    """A page of repositories, by name."""

    results = RepositorySerializer(many=True)
    next = serializers.CharField(
        allow_null=True, help_text="The address of the next page, or null."
    )


class ListQuerySerializer(StrictSerializer):
    """The query of the list."""

    q = TextField(
        default="",
        allow_blank=True,
        max_length=MAX_REPOSITORY_LENGTH,
        help_text="Text in the name.",
    )
    is_public = serializers.BooleanField(
        default=None, help_text="Only public or only private repositories."
    )
    after = ReferenceField(
        parse_repository,
        default=None,
        allow_blank=True,
        help_text="Only repositories after this name.",
    )
    limit = serializers.IntegerField(
        default=REPOSITORIES_PER_PAGE,
        min_value=1,
        max_value=MAX_REPOSITORIES_PER_PAGE,
    )


class VisibilitySerializer(StrictSerializer):
    """Who may pull."""

    is_public = TruthField()


class RepositoryListView(APIView):
    """The repositories of a workspace."""

    @extend_schema(
        operation_id="list_repositories",
        parameters=[ListQuerySerializer],
        responses=RepositoryListSerializer,
    )
    def get(self, request: Request, slug: str) -> Response:
        """List repositories, by name."""
        access = find_access(request, slug)
        access.require(Permission.VIEW_REPOSITORIES)
        wanted = read_query(request, ListQuerySerializer)
        page = find_repositories(
            access.workspace,
            RepositoryQuery(wanted["q"], wanted["is_public"]),
            after=wanted["after"].name if wanted["after"] else "",
            limit=wanted["limit"],
        )
        following = {**request.query_params.dict(), "after": page.next_after}
        return Response(
            {
                "results": RepositorySerializer(page.repositories, many=True).data,
                "next": (
                    f"{settings.PUBLIC_URL}{request.path}?{urlencode(following)}"
                    if page.next_after
                    else None
                ),
            }
        )


class RepositoryView(APIView):
    """One repository."""

    @extend_schema(operation_id="get_repository", responses=RepositorySerializer)
    def get(self, request: Request, slug: str, repository: str) -> Response:
        """Return one repository by its full name."""
        access = find_access(request, slug)
        access.require(Permission.VIEW_REPOSITORIES)
        read_query(request)
        return _render(access, _parse(access, repository))

    @extend_schema(
        operation_id="save_repository",
        request=VisibilitySerializer,
        responses=RepositorySerializer,
    )
    def put(self, request: Request, slug: str, repository: str) -> Response:
        """Make a repository public or private.

        A name can be made public before its first push. Otherwise a repository that nothing was
        pushed to is unknown.
        """
        access = find_access(request, slug)
        access.require(Permission.MANAGE_REPOSITORIES)
        read_query(request)
        name = _parse(access, repository)
        asked = VisibilitySerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        set_public(
            access.workspace,
            name,
            is_public=asked.validated_data["is_public"],
            actor=access.actor,
        )
        return _render(access, name)


def _parse(access: Access, name: str) -> RepositoryName:
    """Return the repository, of the caller's workspace, that an address names."""
    try:
        repository = parse_repository(name)
    except InvalidReferenceError as error:
        raise Http404(error.message) from error
    if not is_owner(access.workspace, repository):
        raise _unknown(name)
    return repository


def _render(access: Access, repository: RepositoryName) -> Response:
    found = find_repository(access.workspace, repository)
    if found is None:
        raise _unknown(repository.name)
    return Response(RepositorySerializer(found).data)


def _unknown(name: str) -> Http404:
    return Http404(f"There is no repository {quote(name)} in this workspace.")
