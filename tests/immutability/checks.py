"""The checks of a registry that writes by itself, on the tags of a `Core`."""

from dataclasses import dataclass
from typing import Any

from django.apps import apps

from containers.names import Digest, TagName
from containers.registry.client import RegistryClient
from immutability.answers import DeleteAnswer, PushAnswer
from immutability.delete.check import check_delete
from immutability.delete.plan import DeleteQuestion
from immutability.errors import ConflictError, TryAgainError
from immutability.models import Claim
from immutability.push.check import NEW_IMAGE, NOT_TOLD, NotTold, PushCheck, ask_push, check_push
from immutability.push.claims import abandon_claim, confirm_claim
from immutability.push.plan import PushQuestion
from immutability.reconcile.tag import reconcile_record
from tests.immutability.core import ALICE, DANA, Core
from tests.immutability.registry_double import digest_of
from workspaces.access import Actor, ActorKind

MIRROR = Actor("mirror", ActorKind.TOKEN)


@dataclass
class Checks:
    """What a registry asks of one repository. With `is_connected`, Taglock looks at it too."""

    core: Core
    is_connected: bool = True

    @property
    def registry(self) -> Any:
        registry: RegistryClient | None = self.core._registry if self.is_connected else None
        return registry

    def push(self, *tags: str, image: bytes, **options: Any) -> str:
        """Check a push in one call; return the outcome, or "503"."""
        return self._say(lambda: self.answer(*tags, image=image, **options))

    def ask(self, *tags: str, image: bytes | None, **options: Any) -> str:
        """Check a push in a dry run; return the outcome, or "503"."""
        question = self._question(tags, image, **options)
        return self._say(lambda: ask_push(question, registry=self.registry))

    def answer(
        self, *tags: str, image: bytes, actor: Actor = DANA, caller: Actor = MIRROR, **options: Any
    ) -> PushAnswer:
        """Check a push; return the whole answer."""
        question = self._question(tags, image, **options)
        return check_push(question, actor=actor, caller=caller, registry=self.registry)

    def begin(self, *tags: str, image: bytes, key: str = "", **options: Any) -> Claim:
        """Begin a push in two phases; return its claim."""
        answer = self.answer(*tags, image=image, two_phase=True, key=key, **options)
        assert answer.claim is not None, answer
        return Claim.objects.select_related("workspace").get(id=answer.claim.id)

    def confirm(self, claim: Claim) -> str:
        """Report that the write landed; return the tags that are locked, or "409"."""
        try:
            return " ".join(confirm_claim(claim, actor=MIRROR))
        except ConflictError:
            return "409"

    def abandon(self, claim: Claim) -> str:
        """Report that nothing was written; return "" or "409"."""
        try:
            abandon_claim(claim, actor=MIRROR)
        except ConflictError:
            return "409"
        return ""

    def delete(self, target: str | bytes, *, is_admin: bool = False, is_dry: bool = False) -> str:
        """Check a delete of a tag, or of an image; return what becomes of each tag."""
        return self._say_delete(
            lambda: self.answer_delete(target, is_admin=is_admin, is_dry=is_dry)
        )

    def answer_delete(
        self, target: str | bytes, *, is_admin: bool = False, is_dry: bool = False
    ) -> DeleteAnswer:
        """Check a delete; return the whole answer."""
        place = TagName(target) if isinstance(target, str) else Digest(digest_of(target))
        question = DeleteQuestion(self.core.workspace, self.core.repository, place, is_admin)
        actor = ALICE if is_admin else DANA
        return check_delete(question, actor=actor, registry=self.registry, is_dry_run=is_dry)

    def write(self, *tags: str, image: bytes) -> None:
        """Let the caller's write land."""
        self.core.registry.store(image, *tags)

    def reconcile(self, tag: str = "v1") -> bool:
        """Do for one tag what the scheduler does, with or without a registry."""
        return reconcile_record(self.core.record(tag).id, self.registry)

    def _question(
        self,
        tags: tuple[str, ...],
        image: bytes | None,
        current: bytes | NotTold | None = NOT_TOLD,
        *,
        two_phase: bool = False,
        key: str = "",
    ) -> PushCheck:
        push = PushQuestion(
            self.core.workspace,
            self.core.repository,
            tuple(sorted(TagName(tag) for tag in tags)),
            Digest(digest_of(image)) if image else NEW_IMAGE,
            is_check=True,
        )
        told = Digest(digest_of(current)) if isinstance(current, bytes) else current
        return PushCheck(push, told, two_phase, key)

    @staticmethod
    def _say(call: Any) -> str:
        try:
            answer: PushAnswer = call()
        except TryAgainError:
            return "503"
        assert answer.is_allowed == answer.outcome.is_allowed
        return answer.outcome.value

    @staticmethod
    def _say_delete(call: Any) -> str:
        try:
            answer: DeleteAnswer = call()
        except TryAgainError:
            return "503"
        assert answer.is_allowed == all(each.outcome.is_allowed for each in answer.tags)
        return " ".join(each.outcome.value for each in answer.tags)


def every_row() -> dict[str, list[dict[str, Any]]]:
    """Return the contents of every table of the three apps."""
    return {
        model._meta.db_table: list(model._default_manager.order_by("pk").values())
        for label in ("workspaces", "containers", "immutability")
        for model in apps.get_app_config(label).get_models()
    }
