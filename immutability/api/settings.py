"""Container settings over the API."""

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from immutability.actions.save_settings import (
    InvalidDraftError,
    LocksWouldSuspendError,
    StaleSettingsError,
    save_container_settings,
)
from immutability.api.checks import decide_or_refuse
from immutability.api.settings_answers import (
    PreviewSerializer,
    TestResultSerializer,
    refuse_draft,
    render_preview,
    render_test,
    settings_response,
    to_errors,
)
from immutability.api.settings_requests import (
    SaveSettingsSerializer,
    SettingsSerializer,
    TestSerializer,
    guess_protection,
    to_draft,
)
from immutability.policy.drafts import NOT_YET_USEFUL, find_draft_problems
from immutability.policy.protection import Policy
from immutability.policy.tester import try_samples
from immutability.preview import preview_settings
from immutability.reading import read_policy
from workspaces.access import Permission
from workspaces.caller_access import find_access, identify_caller
from workspaces.problems import Problem
from workspaces.queries import read_query
from workspaces.schema import TOO_MANY_CALLS
from workspaces.throttles import PREVIEWS_PER_CALLER, TESTER_PER_CALLER, count_call


class ContainerSettingsView(APIView):
    """What a workspace protects."""

    @extend_schema(operation_id="get_container_settings", responses=SettingsSerializer)
    def get(self, request: Request, slug: str) -> Response:
        """Return the settings, with their version as ETag."""
        access = find_access(request, slug)
        access.require(Permission.VIEW_SETTINGS)
        read_query(request)
        return settings_response(read_policy(access.workspace))

    @extend_schema(
        operation_id="save_container_settings",
        parameters=[
            OpenApiParameter(
                "If-Match",
                OpenApiTypes.STR,
                OpenApiParameter.HEADER,
                required=True,
                description="The ETag of the settings that you have read.",
            )
        ],
        request=SaveSettingsSerializer,
        responses=SettingsSerializer,
    )
    def put(self, request: Request, slug: str) -> Response:
        """Save the settings. 428 without If-Match, 412 where someone else saved since.

        Saving what is saved already changes nothing and keeps the version. A rule or an exception
        that no tag can match is refused with the code "matches_no_tag".
        """
        access = find_access(request, slug)
        access.require(Permission.CHANGE_SETTINGS)
        read_query(request)
        before = read_policy(access.workspace)
        expected_version = _expected_version(request, before)
        serializer = SaveSettingsSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        asked = serializer.validated_data
        try:
            policy = save_container_settings(
                access.workspace,
                to_draft(asked, before),
                expected_version=expected_version,
                may_suspend_locks=asked["suspend_locks"],
                actor=access.actor,
            )
        except InvalidDraftError as error:
            raise refuse_draft(error.problems) from error
        except StaleSettingsError as error:
            raise _stale(error.current.version) from error
        except LocksWouldSuspendError as error:
            raise Problem(
                409,
                "locks_would_suspend",
                f"{error.summary}: their tags could be overwritten. Send "
                '"suspend_locks": true if that is what you want.',
                members={
                    "count": error.count,
                    "is_exact": error.is_exact,
                    "examples": error.examples,
                },
            ) from error
        return settings_response(policy)


class TestPatternsView(APIView):
    """The pattern tester."""

    @extend_schema(
        operation_id="test_patterns",
        request=TestSerializer,
        responses={200: TestResultSerializer, 429: TOO_MANY_CALLS},
    )
    def post(self, request: Request, slug: str) -> Response:
        """Say which sample tags would be locked, by what is saved or by what is not yet."""
        count_call(TESTER_PER_CALLER, identify_caller(request))
        access = find_access(request, slug)
        access.require(Permission.VIEW_SETTINGS)
        read_query(request)
        serializer = TestSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        asked = serializer.validated_data
        saved = read_policy(access.workspace)
        if "protection" not in asked:
            asked["protection"] = guess_protection(asked, saved)
        draft = to_draft(asked, saved)
        problems = [each for each in find_draft_problems(draft) if each.code not in NOT_YET_USEFUL]
        if problems:
            raise ValidationError(to_errors(problems))
        policy = draft.to_policy()
        results = decide_or_refuse(lambda: try_samples(policy, asked["tags"]))
        return Response(render_test(results, policy))


class PreviewView(APIView):
    """The preview of a change of settings."""

    @extend_schema(
        operation_id="preview_container_settings",
        request=SaveSettingsSerializer,
        responses={200: PreviewSerializer, 429: TOO_MANY_CALLS},
    )
    def post(self, request: Request, slug: str) -> Response:
        """Say what saving these settings would do: to tags, to locks, and to pushes like those of
        the last 30 days. Nothing changes.
        """
        count_call(PREVIEWS_PER_CALLER, identify_caller(request))
        access = find_access(request, slug)
        access.require(Permission.CHANGE_SETTINGS)
        read_query(request)
        serializer = SaveSettingsSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        draft = to_draft(serializer.validated_data, read_policy(access.workspace))
        if problems := find_draft_problems(draft):
            raise refuse_draft(problems)
        return Response(
            render_preview(decide_or_refuse(lambda: preview_settings(access.workspace, draft)))
        )


def _expected_version(request: Request, saved: Policy) -> int:
    header = request.headers.get("If-Match")
    if header is None:
        raise Problem(
            428,
            "if_match_required",
            "Send the ETag of the settings that you have read as If-Match, so that you don't "
            "overwrite someone else's change.",
        )
    if header.strip() == "*":
        return saved.version
    tags = {tag.strip().removeprefix("W/").strip('"') for tag in header.split(",")}
    if str(saved.version) not in tags:
        raise _stale(saved.version)
    return saved.version


def _stale(version: int) -> Problem:
    return Problem(
        412,
        "settings_changed",
        f"Someone else has saved these settings: they are now at version {version}. Read them "
        "again, then send your change.",
        members={"version": version},
        headers={"ETag": f'"{version}"'},
    )
