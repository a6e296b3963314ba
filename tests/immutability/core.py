"""A tag under the new core, driven step by step: pushes, deletes, settings, time, reconciling."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F, Model
from django.test.utils import CaptureQueriesContext

from containers import writes
from containers.models import Manifest
from containers.models import Tag as TagRecord
from containers.names import Digest, RepositoryName, TagName
from containers.registry.client import RegistryAnswer
from containers.registry.manifest import read_manifest
from immutability.actions.free import free_name
from immutability.actions.hold import LockChange
from immutability.actions.release import release_locked_tag
from immutability.answers import Refusal
from immutability.delete.gate import ManifestDelete, delete_manifest
from immutability.errors import TryAgainError
from immutability.models import LockedTag
from immutability.patience import WaitSlots
from immutability.policy.protection import Policy, Protection
from immutability.push.gate import ManifestPush, push_manifest
from immutability.reconcile.tag import reconcile_record
from tests.conftest import is_postgresql
from tests.immutability.registry_double import (
    IMAGE_TYPE,
    INDEX_TYPE,
    REPOSITORY,
    RegistryDouble,
    digest_of,
)
from workspaces.access import Actor, ActorKind
from workspaces.log.models import LockEvent
from workspaces.models import Workspace

DANA = Actor("dana", ActorKind.PERSON)
ALICE = Actor("alice", ActorKind.PERSON)


@dataclass
class Core:
    """One repository of acme. Nothing waits: what would have to is answered at once."""

    workspace: Workspace
    registry: RegistryDouble
    save: Callable[..., Policy]
    repository: RepositoryName = REPOSITORY
    slots: WaitSlots = field(default_factory=lambda: WaitSlots(4))

    def protect(self, protection: Protection = Protection.ALL, *rules: Any, **others: Any) -> None:
        """Save the settings."""
        self.save(self.workspace, protection, *rules, **others)

    def push(self, *tags: str, image: bytes, actor: Actor = DANA, **options: Any) -> str:
        """Push an image through the gate; return what the client is told, in a word or two."""
        push = self.make_push(*tags, image=image, **options)
        return self.say(lambda: push_manifest(push, self._registry, self.slots, actor=actor))

    def make_push(self, *tags: str, image: bytes, **options: Any) -> ManifestPush:
        """Return a push as the gate's view makes it."""
        media_type = INDEX_TYPE if b'"manifests"' in image else IMAGE_TYPE
        options = {"is_by_digest": len(tags) != 1, **options}
        return ManifestPush(
            self.workspace,
            self.repository,
            tuple(sorted(TagName(tag) for tag in tags)),
            Digest(digest_of(image)),
            image,
            media_type,
            facts=read_manifest(image, media_type),
            **options,
        )

    def delete(self, target: str | bytes, *, is_admin: bool = False, **options: Any) -> str:
        """Delete a tag, or an image by digest; return what the client is told."""
        place = TagName(target) if isinstance(target, str) else Digest(digest_of(target))
        delete = ManifestDelete(self.workspace, self.repository, place, is_admin, **options)
        actor = ALICE if is_admin else DANA
        return self.say(lambda: delete_manifest(delete, self._registry, self.slots, actor=actor))

    @staticmethod
    def say(call: Callable[[], RegistryAnswer | Refusal]) -> str:
        """Return the status, and the reason of a refusal."""
        try:
            given = call()
        except TryAgainError:
            return "503"
        if isinstance(given, RegistryAnswer):
            return str(given.status)
        detail = given.body["errors"][0]["detail"]
        state = detail.get("state") or detail.get("reason")
        return f"{given.status} {state}"

    def release(self, tag: str = "v1") -> None:
        """Release a locked tag, as Alice."""
        release_locked_tag(self._change(tag), self._registry)

    def free(self, tag: str = "v1") -> None:
        """Free a reserved name, as Alice."""
        free_name(self._change(tag), self._registry)

    def _change(self, tag: str) -> LockChange:
        return LockChange(self.workspace, self.record(tag).lock.id, "because", ALICE)

    def reconcile(self, tag: str = "v1") -> bool:
        """Do for one tag what the scheduler does."""
        return reconcile_record(self.record(tag).id, self._registry)

    def let_pass(self, **time: float) -> None:
        """Let this much time pass for every write and stray."""
        passed = timedelta(**time)
        of_tags = ("write_begun_at", "write_expires_at", "stray_until", "changed_at")
        _put_back(TagRecord, passed, *of_tags, "unreadable_since", "unreadable_at")
        _put_back(Manifest, passed, "delete_expires_at", "stray_until")

    def record(self, tag: str = "v1") -> TagRecord:
        return TagRecord.objects.get(repository=self.repository.name, name=tag)

    def lock(self, tag: str = "v1") -> str:
        """Return the lock's state and the image, like "locked one", or "none"."""
        row = LockedTag.objects.filter(repository=self.repository.name, tag=tag).first()
        return f"{row.state} {self.name_of(row.digest)}" if row else "none"

    def shown(self, tag: str = "v1") -> str:
        """Return the image that the registry has under the tag, or "nothing"."""
        digest = self.registry.tags.get(tag)
        return self.name_of(digest) if digest else "nothing"

    def stray(self, tag: str = "v1") -> str:
        """Return the image of the open stray, "delete or several", or "none"."""
        record = self.record(tag)
        if record.stray_until is None:
            return "none"
        return self.name_of(record.stray_digest) if record.stray_digest else "delete or several"

    def name_of(self, digest: str) -> str:
        return self.names.get(digest, digest)

    def events(self) -> list[str]:
        """Return the kinds of the events of tags, in order."""
        rows = LockEvent.objects.exclude(repository="").order_by("id")
        return list(rows.values_list("kind", flat=True))

    @property
    def names(self) -> dict[str, str]:
        return NAMED

    @property
    def _registry(self) -> Any:
        return self.registry


def _put_back(model: type[Model], passed: timedelta, *names: str) -> None:
    model._default_manager.update(**{name: F(name) - passed for name in names})


# By digest: modules give the same name to images of their own.
NAMED: dict[str, str] = {}


def named(name: str, body: bytes) -> bytes:
    """Give an image a name by which assertions can call it."""
    NAMED[digest_of(body)] = name
    return body


def let_time_pass_before_sending(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a minute pass on the sender's clock between the hold that begins a write and the send."""
    begin, clock = writes.begin_write, writes.read_clock()

    def begin_and_be_late(*args: Any, **options: Any) -> None:
        begin(*args, **options)
        monkeypatch.setattr(writes, "read_clock", lambda: clock + 60)

    monkeypatch.setattr(writes, "begin_write", begin_and_be_late)


def assert_policy_is_read_after_locks(queries: CaptureQueriesContext) -> None:
    """Assert that the hold of a first claim reads policy and locks once every record is held."""
    statements = [each["sql"] for each in queries]
    claimed = next(i for i, sql in enumerate(statements) if "INSERT" in sql and "lockedtag" in sql)
    hold = statements[:claimed]
    of_tags = [
        i
        for i, sql in enumerate(hold)
        if sql.startswith("INSERT INTO containers_tag ")
        or (sql.startswith("SELECT containers_tag.") and "lockedtag" not in sql)
    ]
    assert len(of_tags) == 2
    if is_postgresql():
        assert "FOR NO KEY UPDATE" in hold[of_tags[-1]]
    after = hold[of_tags[-1] + 1 :]
    assert any("containersettings" in sql for sql in after)
    assert any("immutability_lockedtag" in sql for sql in after)
