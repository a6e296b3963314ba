"""The questions of a registry: can this push, or this delete, go ahead?"""

from collections.abc import Callable
from typing import Any, TypeVar

from django.core.exceptions import PermissionDenied
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from containers.api.fields import ReferenceField
from containers.connection import find_registry
from containers.names import RepositoryName, TagName, parse_digest, parse_repository, parse_tag
from containers.owners import find_repository_access
from containers.sql import owner_of
from immutability.answers import DeleteAnswer, DeleteTagAnswer, PushAnswer, Refusal, TagAnswer
from immutability.delete.check import check_delete
from immutability.delete.plan import DeleteQuestion
from immutability.errors import ArchivedError, ConflictError, PermissionRevokedError, TryAgainError
from immutability.models import MAX_IDEMPOTENCY_KEY_LENGTH
from immutability.policy.patterns import PatternError, PatternEvaluationError
from immutability.policy.protection import DeleteOutcome, Outcome
from immutability.push.check import NEW_IMAGE, NOT_TOLD, PushCheck, ask_push, check_push
from immutability.push.plan import PushQuestion
from immutability.reading import require_unarchived
from immutability.refuse import note_refusal, relay_archived
from workspaces.access import Actor, ActorKind, Permission
from workspaces.caller_access import Access, identify_caller, is_admin_name, note_caller
from workspaces.current_request import RequestKind, current_request
from workspaces.models import AccessToken, Workspace
from workspaces.problems import (
    BoundedListField,
    PlainTextField,
    Problem,
    StrictSerializer,
    undecided,
)
from workspaces.queries import read_query
from workspaces.rights import NeededRights
from workspaces.schema import TOO_MANY_CALLS
from workspaces.throttles import ASKING_PER_CALLER, CHECKS_PER_TOKEN, count_call

MAX_TAGS_PER_CHECK = 100
MAX_ACTOR_LENGTH = 255

CHANGED_MEANWHILE = "What you may do here has changed meanwhile."

Answer = TypeVar("Answer")


class CheckPushSerializer(StrictSerializer):
    """The question of check-push: one tag, or several that are pushed together."""

    repository = ReferenceField(parse_repository, help_text='The full name, like "acme/api".')
    tag = ReferenceField(parse_tag, required=False)
    tags = BoundedListField(
        child=ReferenceField(parse_tag),
        required=False,
        min_length=1,
        max_length=MAX_TAGS_PER_CHECK,
        help_text="Instead of tag: either all of them are allowed, or none.",
    )
    digest = ReferenceField(parse_digest, required=False, help_text="May be left out in a dry run.")
    current_digest = ReferenceField(
        parse_digest,
        required=False,
        allow_null=True,
        help_text="What your registry has under the tag, read within the last minute; null if it "
        "has nothing. If you omit it, Taglock asks the connected registry or, without one, "
        "assumes what the last allowed check set.",
    )
    actor = PlainTextField(
        required=False,
        max_length=MAX_ACTOR_LENGTH,
        help_text="Who is pushing, for the message and the log.",
    )
    dry_run = serializers.BooleanField(default=False, help_text="Change nothing, log nothing.")
    two_phase = serializers.BooleanField(
        default=False, help_text="Claim now; confirm or abandon the claim when you know more."
    )
    idempotency_key = PlainTextField(
        required=False,
        max_length=MAX_IDEMPOTENCY_KEY_LENGTH,
        help_text="Your own name for a two-phase push. The same key returns the same claim.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse what a single field cannot."""
        if ("tag" in attrs) == ("tags" in attrs):
            raise ValidationError({"tag": ["Send either tag or tags."]})
        if "digest" not in attrs and not attrs["dry_run"]:
            raise ValidationError({"digest": ["Send the digest. Only a dry run can omit it."]})
        if attrs.get("current_digest") is not None and len(attrs.get("tags", ())) > 1:
            raise ValidationError(
                {"current_digest": ["With several tags, check those that exist one by one."]}
            )
        if "idempotency_key" in attrs and (not attrs["two_phase"] or attrs["dry_run"]):
            raise ValidationError(
                {"idempotency_key": ["Send a key only with two_phase, and not in a dry run."]}
            )
        return attrs


class CheckDeleteSerializer(StrictSerializer):
    """The question of check-delete: a tag, or a digest and with it every tag that points at it."""

    repository = ReferenceField(parse_repository, help_text='The full name, like "acme/api".')
    tag = ReferenceField(parse_tag, required=False)
    digest = ReferenceField(parse_digest, required=False)
    actor = PlainTextField(
        required=False,
        max_length=MAX_ACTOR_LENGTH,
        help_text="The user name of the person who is deleting. Without a name, or with one that "
        "is not in the workspace, the delete is not an admin's.",
    )
    dry_run = serializers.BooleanField(default=False, help_text="Change nothing, log nothing.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Require exactly one of tag and digest."""
        if ("tag" in attrs) == ("digest" in attrs):
            raise ValidationError({"tag": ["Send either tag or digest."]})
        return attrs


class TagAnswerSerializer(serializers.Serializer[object]):
    """What happens to one tag."""

    tag = serializers.CharField()
    outcome = serializers.ChoiceField([outcome.value for outcome in Outcome])
    rule = serializers.CharField(allow_null=True, help_text="The rule that covers the tag.")
    exception = serializers.CharField(
        allow_null=True, help_text="The exception that leaves the tag mutable."
    )
    locked_digest = serializers.CharField(allow_null=True)


class RelayedErrorSerializer(serializers.Serializer[object]):
    """What to answer to the client, as it stands."""

    status = serializers.IntegerField()
    headers = serializers.DictField(child=serializers.CharField(), required=False)
    body = serializers.JSONField()


class ClaimSerializer(serializers.Serializer[object]):
    """A claim to confirm or abandon."""

    id = serializers.UUIDField()
    expires_at = serializers.DateTimeField()


class CheckPushAnswerSerializer(serializers.Serializer[object]):
    """The answer of check-push. Relay `error` to the client where it is not null."""

    allowed = serializers.BooleanField()
    outcome = serializers.ChoiceField([outcome.value for outcome in Outcome])
    tags = TagAnswerSerializer(many=True)
    claim = ClaimSerializer(allow_null=True)
    error = RelayedErrorSerializer(allow_null=True)


class DeleteTagAnswerSerializer(serializers.Serializer[object]):
    """What happens to one tag of a delete."""

    tag = serializers.CharField()
    outcome = serializers.ChoiceField([outcome.value for outcome in DeleteOutcome])
    locked_digest = serializers.CharField(allow_null=True)


class CheckDeleteAnswerSerializer(serializers.Serializer[object]):
    """The answer of check-delete. Relay `error` to the client where it is not null."""

    allowed = serializers.BooleanField()
    tags = DeleteTagAnswerSerializer(many=True)
    error = RelayedErrorSerializer(allow_null=True)


class CheckPushView(APIView):
    """Can this push go ahead? Any status other than 200 means undecided: refuse the push."""

    @extend_schema(
        operation_id="check_push",
        request=CheckPushSerializer,
        responses={200: CheckPushAnswerSerializer, 429: TOO_MANY_CALLS},
    )
    def post(self, request: Request) -> Response:
        """Decide a push. The first allowed check of a covered tag locks it."""
        asked, access = _admit(request, RequestKind.CHECK_PUSH, _CHECK_PUSH)
        check = PushCheck(
            PushQuestion(
                access.workspace,
                asked["repository"],
                tuple(sorted(set(asked.get("tags") or [asked["tag"]]))),
                asked.get("digest", NEW_IMAGE),
                is_check=True,
                rights=None if asked["dry_run"] else _needed_rights(access, asked["repository"]),
            ),
            asked.get("current_digest", NOT_TOLD),
            is_two_phase=asked["two_phase"],
            idempotency_key=asked.get("idempotency_key", ""),
        )
        if asked["dry_run"]:
            answer = _unless_archived(
                access.workspace,
                lambda: ask_push(check, registry=find_registry(access.workspace)),
                _to_archived_push(check),
            )
        else:
            actor = _named_actor(access, asked.get("actor", ""))
            answer = _unless_archived(
                access.workspace,
                lambda: check_push(
                    check,
                    actor=actor,
                    caller=access.actor,
                    registry=find_registry(access.workspace),
                ),
                _to_archived_push(check),
            )
        return Response(_render_push(answer))


class CheckDeleteView(APIView):
    """Can this delete go ahead? Any status other than 200 means undecided: refuse the delete."""

    @extend_schema(
        operation_id="check_delete",
        request=CheckDeleteSerializer,
        responses={200: CheckDeleteAnswerSerializer, 429: TOO_MANY_CALLS},
    )
    def post(self, request: Request) -> Response:
        """Decide a delete. An admin's delete of a locked tag leaves the name reserved."""
        asked, access = _admit(request, RequestKind.CHECK_DELETE, _CHECK_DELETE)
        name = asked.get("actor", "")
        is_admin = bool(name) and is_admin_name(access.workspace, name)
        question = DeleteQuestion(
            access.workspace,
            asked["repository"],
            asked.get("tag") or asked["digest"],
            is_admin=is_admin,
            rights=None if asked["dry_run"] else _needed_rights(access, asked["repository"]),
        )
        actor = _named_actor(access, name)

        def confirm() -> None:
            if is_admin and not is_admin_name(access.workspace, name):
                raise PermissionRevokedError

        answer = _unless_archived(
            access.workspace,
            lambda: check_delete(
                question,
                actor=actor,
                registry=find_registry(access.workspace),
                is_dry_run=asked["dry_run"],
                confirm=confirm,
            ),
            _to_archived_delete(question),
        )
        return Response(_render_delete(answer))


def count_check(request: Request) -> None:
    """Count a check, whatever comes of it. Raises TooManyCallsError if there were too many."""
    token = request.auth
    is_registry = isinstance(token, AccessToken) and (Permission.CHECK in token.permissions)
    count_call(CHECKS_PER_TOKEN if is_registry else ASKING_PER_CALLER, identify_caller(request))


def decide_or_refuse(decide: Callable[[], Answer]) -> Answer:
    """Return the decision. Raises Problem 503 if there is none: never a guess.

    And 409 if an idempotency key was used for something else.
    """
    try:
        return decide()
    except (PatternError, PatternEvaluationError) as error:
        raise undecided(
            f"A rule or an exception could not be evaluated, so nothing was decided. {error}"
        ) from error
    except TryAgainError as error:
        problem = undecided(f"Nothing was decided: {error}. Try again.")
        problem.headers["Retry-After"] = str(error.seconds)
        raise problem from error
    except ConflictError as error:
        raise Problem(409, "idempotency_key_used", str(error)) from error
    except PermissionRevokedError as error:
        raise PermissionDenied(CHANGED_MEANWHILE) from error


def _unless_archived(
    workspace: Workspace, decide: Callable[[], Answer], refuse: Callable[[Refusal], Answer]
) -> Answer:
    """Return the decision: that is a refusal, too, where the workspace is archived."""

    def decide_or_relay() -> Answer:
        try:
            # Where that is known already, the registry need not be there.
            require_unarchived(workspace, is_archived=workspace.is_archived)
            return decide()
        except ArchivedError:
            return refuse(relay_archived(workspace))

    return decide_or_refuse(decide_or_relay)


def _to_archived_push(check: PushCheck) -> Callable[[Refusal], PushAnswer]:
    tags = (TagAnswer(tag, Outcome.ARCHIVED, None, None, None) for tag in check.push.tags)
    return lambda refusal: PushAnswer(tuple(tags), refusal)


def _to_archived_delete(question: DeleteQuestion) -> Callable[[Refusal], DeleteAnswer]:
    target = question.target
    tags = (
        (DeleteTagAnswer(target, DeleteOutcome.ARCHIVED, None),)
        if isinstance(target, TagName)
        else ()
    )
    return lambda refusal: DeleteAnswer(tags, refusal)


# One for all requests: each new one copies its fields, which takes longer than to use them.
_CHECK_PUSH, _CHECK_DELETE = CheckPushSerializer(), CheckDeleteSerializer()


def _admit(
    request: Request, kind: RequestKind, serializer: StrictSerializer
) -> tuple[dict[str, Any], Access]:
    """Count and read a check; return what is asked, and what the caller may do."""
    noted = current_request()
    noted.kind = kind
    count_check(request)
    read_query(request)
    asked: dict[str, Any] = serializer.run_validation(request.data)
    if asked["dry_run"]:
        noted.kind = RequestKind.DRY_RUN
    noted.repository, noted.tag = asked["repository"].name, _name_tags(asked)
    access = find_repository_access(request, asked["repository"])
    note_caller(access)
    access.require(Permission.ASK if asked["dry_run"] else Permission.CHECK)
    access.require_repository(asked["repository"].name)
    return asked, access


def _needed_rights(access: Access, repository: RepositoryName) -> NeededRights | None:
    """Return what the access token must still be allowed where a check is decided."""
    if access.token is None:
        return None
    return NeededRights(
        frozenset({Permission.CHECK}),
        access.workspace,
        repository.name,
        owner_of(repository),
        token_id=access.token.pk,
    )


def _name_tags(asked: dict[str, Any]) -> str:
    """Return the tags of a check, or the digest of one that has none, as text."""
    tags = asked.get("tags") or ([asked["tag"]] if "tag" in asked else [])
    return ",".join(tag.name for tag in tags) or asked["digest"].value


def _named_actor(access: Access, name: str) -> Actor:
    """Return who the registry says is acting; where it does not say, its own token."""
    if not name:
        return access.actor
    current_request().actor = name
    return Actor(name, ActorKind.REGISTRY, access.actor.origin)


def _render_push(answer: PushAnswer) -> dict[str, Any]:
    return {
        "allowed": answer.is_allowed,
        "outcome": answer.outcome.value,
        "tags": [
            {
                "tag": each.tag.name,
                "outcome": each.outcome.value,
                "rule": each.rule.name if each.rule else None,
                "exception": each.exception.name if each.exception else None,
                "locked_digest": each.locked_digest.value if each.locked_digest else None,
            }
            for each in answer.tags
        ],
        "claim": (
            {"id": str(answer.claim.id), "expires_at": answer.claim.expires_at}
            if answer.claim
            else None
        ),
        "error": _render_refusal(answer.refusal),
    }


def _render_delete(answer: DeleteAnswer) -> dict[str, Any]:
    return {
        "allowed": answer.is_allowed,
        "tags": [
            {
                "tag": each.tag.name,
                "outcome": each.outcome.value,
                "locked_digest": each.locked_digest.value if each.locked_digest else None,
            }
            for each in answer.tags
        ],
        "error": _render_refusal(answer.refusal),
    }


def _render_refusal(refusal: Refusal | None) -> dict[str, Any] | None:
    if refusal is None:
        return None
    note_refusal(refusal)
    headers = {"headers": refusal.headers} if refusal.headers else {}
    return {"status": refusal.status, **headers, "body": refusal.body}
