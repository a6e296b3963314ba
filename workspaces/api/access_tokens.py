"""Access tokens over the API."""

from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.core.exceptions import ValidationError as DjangoValidationError
from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from workspaces.access import LIMITABLE_SCOPES, Permission, Scope
from workspaces.access_tokens import (
    MAX_TOKENS_PER_PAGE,
    TOKENS_PER_PAGE,
    find_access_tokens,
    tokens_in,
)
from workspaces.actions.access_tokens import (
    create_access_token,
    hash_token,
    revoke_access_token,
)
from workspaces.caller_access import find_access
from workspaces.models import MAX_NAME_LENGTH, AccessToken
from workspaces.problems import (
    BoundedListField,
    MomentField,
    OneOfField,
    PlainTextField,
    StrictSerializer,
    TextField,
)
from workspaces.queries import read_query
from workspaces.repository_globs import MAX_GLOB_LENGTH, MAX_GLOBS_PER_TOKEN

_SCOPES = [scope.value for scope in Scope]


class AccessTokenSerializer(serializers.ModelSerializer[AccessToken]):
    """An access token, without its secret."""

    scopes = serializers.ListField(child=serializers.ChoiceField(_SCOPES))
    repositories = serializers.ListField(
        child=serializers.CharField(),
        help_text="Globs of the repositories that it is limited to; empty for all of them.",
    )
    user_name = serializers.CharField(
        allow_null=True,
        read_only=True,
        help_text="The user name that registry clients send: <workspace>+<name>.",
    )
    every_workspace = serializers.SerializerMethodField(
        help_text="Whether it is for every workspace: the operator manages it."
    )

    class Meta:
        model = AccessToken
        fields = [
            "id",
            "name",
            "scopes",
            "repositories",
            "user_name",
            "every_workspace",
            "created_by",
            "created_at",
            "expires_at",
            "last_used_at",
            "revoked_at",
        ]

    def get_every_workspace(self, token: AccessToken) -> bool:
        """Return whether the token is for every workspace."""
        return token.workspace_id is None

    def to_representation(self, token: AccessToken) -> dict[str, Any]:
        """Return what to say about the token: not when others use one for every workspace."""
        told: dict[str, Any] = super().to_representation(token)
        return told if token.workspace_id else {**told, "last_used_at": None}


class NewAccessTokenSerializer(AccessTokenSerializer):
    """For the schema: what creation answers, and nothing else does."""

    secret = serializers.CharField(help_text="Shown only once, and not stored.")

    class Meta(AccessTokenSerializer.Meta):
        fields = [*AccessTokenSerializer.Meta.fields, "secret"]


class AccessTokenListSerializer(serializers.Serializer[object]):
    """A page of access tokens, newest first."""

    results = AccessTokenSerializer(many=True)
    next = serializers.CharField(
        allow_null=True, help_text="The address of the next page, or null."
    )


class ListQuerySerializer(StrictSerializer):
    """The query of the list."""

    revoked = serializers.BooleanField(default=False, help_text="List revoked tokens, too.")
    before = serializers.IntegerField(
        default=0, min_value=0, help_text="Only tokens with a lower id."
    )
    limit = serializers.IntegerField(
        default=TOKENS_PER_PAGE, min_value=1, max_value=MAX_TOKENS_PER_PAGE
    )


class CreateSerializer(StrictSerializer):
    """A new access token."""

    name = PlainTextField(max_length=MAX_NAME_LENGTH, help_text="Without a colon.")
    scopes = BoundedListField(child=OneOfField(_SCOPES), min_length=1, max_length=len(_SCOPES))
    expires_at = MomentField(
        default=None, allow_null=True, help_text="Left out or null: it is valid until revoked."
    )
    repositories = BoundedListField(
        child=TextField(max_length=MAX_GLOB_LENGTH),
        default=list,
        max_length=MAX_GLOBS_PER_TOKEN,
        help_text="Limit it to these repositories. Write names within the workspace, with * for "
        "any characters except a slash and ** for any characters: api-*, team/**. Only with the "
        f"scopes {', '.join(sorted(LIMITABLE_SCOPES))}.",
    )


class AccessTokenListView(APIView):
    """The access tokens of a workspace."""

    @extend_schema(
        operation_id="list_access_tokens",
        parameters=[ListQuerySerializer],
        responses=AccessTokenListSerializer,
    )
    def get(self, request: Request, slug: str) -> Response:
        """List access tokens, newest first. Those for every workspace are among them."""
        access = find_access(request, slug)
        access.require(Permission.VIEW_ACCESS_TOKENS)
        wanted = read_query(request, ListQuerySerializer)
        page = find_access_tokens(
            access.workspace,
            with_revoked=wanted["revoked"],
            before=wanted["before"],
            limit=wanted["limit"],
        )
        following = {**request.query_params.dict(), "before": page.next_before}
        return Response(
            {
                "results": AccessTokenSerializer(page.tokens, many=True).data,
                "next": (
                    f"{settings.PUBLIC_URL}{request.path}?{urlencode(following)}"
                    if page.next_before
                    else None
                ),
            }
        )

    @extend_schema(
        operation_id="create_access_token",
        request=CreateSerializer,
        responses={201: NewAccessTokenSerializer},
    )
    def post(self, request: Request, slug: str) -> Response:
        """Create an access token. Only this answer has the secret.

        An access token can only give the scopes that it has, and for no longer than it is valid.
        """
        access = find_access(request, slug)
        access.require(Permission.MANAGE_ACCESS_TOKENS)
        read_query(request)
        asked = CreateSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        wanted = asked.validated_data
        try:
            secret = create_access_token(
                access.workspace,
                wanted["name"],
                [Scope(scope) for scope in wanted["scopes"]],
                actor=access.actor,
                expires_at=wanted["expires_at"],
                repositories=wanted["repositories"],
                giver=access.token,
            )
        except DjangoValidationError as error:
            raise ValidationError(error.message_dict) from error
        token = tokens_in(access.workspace).get(token_hash=hash_token(secret))
        return Response(
            {**AccessTokenSerializer(token).data, "secret": secret},
            status=201,
            headers={"Cache-Control": "no-store"},
        )


class AccessTokenView(APIView):
    """One access token."""

    @extend_schema(operation_id="get_access_token", responses=AccessTokenSerializer)
    def get(self, request: Request, slug: str, token_id: int) -> Response:
        """Return one access token, revoked or not."""
        access = find_access(request, slug)
        access.require(Permission.VIEW_ACCESS_TOKENS)
        read_query(request)
        token = tokens_in(access.workspace).filter(id=token_id).first()
        if token is None:
            raise _unknown(token_id)
        return Response(AccessTokenSerializer(token).data)

    @extend_schema(
        operation_id="revoke_access_token", request=None, responses={200: AccessTokenSerializer}
    )
    def delete(self, request: Request, slug: str, token_id: int) -> Response:
        """Revoke an access token. A second time changes nothing.

        Only the operator can revoke one for every workspace; here it is unknown.
        """
        access = find_access(request, slug)
        access.require(Permission.MANAGE_ACCESS_TOKENS)
        read_query(request)
        try:
            token = revoke_access_token(access.workspace, token_id, actor=access.actor)
        except AccessToken.DoesNotExist:
            raise _unknown(token_id) from None
        return Response(AccessTokenSerializer(token).data)


def _unknown(token_id: int) -> Http404:
    return Http404(f"There is no access token {token_id} of this workspace.")
