"""A registry whose writes may land late, and a process that may be interrupted or killed.

What a registry does after it was asked is not what its client hears: the answer may be lost, the
write may be lost, or be carried out long after the connection was closed.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic, TypeVar

from django.db import connection

from containers.reference import Digest, Repository, Tag
from containers.registry.client import RegistryAnswer
from containers.registry.manifest import UnreadableManifestError, read_manifest
from tests.immutability.gate.upstream import ABSENT, IMAGE_TYPE, TIMEOUT, answer, digest_of

Answered = TypeVar("Answered")
Operation = TypeVar("Operation")


class End(StrEnum):
    """What becomes of a write."""

    CARRIED_OUT = "carried out and answered"
    ANSWER_LOST = "carried out, the answer lost"
    LOST = "lost on its way"
    LATE = "timed out, carried out later"
    FAILED = "answered 503, not carried out"
    FAILED_CARRIED_OUT = "answered 500, carried out"
    FAILED_LATE = "answered 504, carried out later"
    REFUSED = "refused for good"
    UNSUPPORTED = "refused as a write that this registry does not support"


_LANDS = {End.CARRIED_OUT, End.ANSWER_LOST, End.FAILED_CARRIED_OUT}
_LANDS_LATE = {End.LATE, End.FAILED_LATE}
_STATUSES = {
    End.FAILED: 503,
    End.FAILED_CARRIED_OUT: 500,
    End.FAILED_LATE: 504,
    End.REFUSED: 409,
    End.UNSUPPORTED: 405,
}


class Where(StrEnum):
    """What a process was about to do, or had just done, when it was interrupted."""

    DATABASE = "before a statement"
    BEFORE_CALL = "before a call of the registry"
    AFTER_CALL = "after a call of the registry"


@dataclass(frozen=True)
class Interruption(Generic[Operation]):
    """Something that happens in the middle of an operation: another one, or None for its death."""

    where: Where
    count: int
    operation: Operation | None


class KilledError(BaseException):
    """The process was killed: nothing in the application may catch this."""


class Process(Generic[Operation]):
    """A process at work. From its death on every statement and every call of it fails."""

    def __init__(
        self,
        interruption: Interruption[Operation] | None,
        carry_out: Callable[[Operation], None],
        watch: Callable[[str], None],
    ) -> None:
        """`carry_out` does what interrupts it; `watch` is told of every statement afterwards."""
        self.is_interrupted = False
        self._interruption = interruption
        self._carry_out = carry_out
        self._watch = watch
        self._left = interruption.count if interruption else 0
        self._is_dead = False
        self._is_paused = False

    def reach(self, where: Where) -> None:
        """Be interrupted, if this is the place. What interrupts waits for open transactions."""
        if self._is_dead:
            raise KilledError
        due = self._interruption
        if due is None or due.where is not where or self.is_interrupted or self._is_paused:
            return
        self._left -= 1
        if self._left > 0:
            return
        if due.operation is None:
            self.is_interrupted = self._is_dead = True
            raise KilledError
        if not connection.in_atomic_block:
            self.is_interrupted = True
            with self.paused():
                self._carry_out(due.operation)

    @property
    def is_disturbed(self) -> bool:
        """Whether something came between; what came between is not itself disturbed."""
        return self.is_interrupted and not self._is_paused

    @contextmanager
    def paused(self) -> Iterator[None]:
        """While somebody else uses the connection, nothing is counted."""
        was_paused, self._is_paused = self._is_paused, True
        try:
            yield
        finally:
            self._is_paused = was_paused

    def execute(self, execute: Callable[..., Any], sql: str, *args: Any) -> Any:
        """Let a statement through, as a wrapper of the connection."""
        self.reach(Where.DATABASE)
        result = execute(sql, *args)
        with self.paused():
            self._watch(sql)
        return result


@dataclass(frozen=True)
class Write:
    """What the registry was asked to change."""

    method: str
    reference: str
    tags: tuple[str, ...] = ()
    body: bytes = field(default=b"", repr=False)
    media_type: str = ""

    @property
    def digest(self) -> str:
        """The digest of what is written; of a delete, what is deleted if it is no tag."""
        if self.method == "PUT":
            return digest_of(self.body)
        return self.reference if ":" in self.reference else ""

    @property
    def written(self) -> tuple[str, ...]:
        """The tags that it names."""
        return self.tags if ":" in self.reference else (self.reference,)


@dataclass
class LateWrite:
    """A write whose sender gave up, and which the registry may still carry out."""

    write: Write
    excuse: Any
    seconds_left: int


@dataclass
class LateRegistry:
    """The registry. It has one repository, and looks only at a manifest's children, as others do.

    `reach` is called around every call; `excuse` before a write, and what it returns is handed to
    `on_tag` with every tag that moves (write, excuse, tag, old digest or "", new digest or "")
    and to `on_gone` with every manifest that goes (write, excuse, digest).
    """

    reach: Callable[[Where], None]
    excuse: Callable[[Write], Any]
    on_tag: Callable[[Write, Any, str, str, str], None]
    on_gone: Callable[[Write, Any, str], None]
    longest_delay_seconds: int
    manifests: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    late: list[LateWrite] = field(default_factory=list)
    ends: list[End] = field(default_factory=list)
    reads_lost: list[bool] = field(default_factory=list)

    def get_manifest(self, repository: Repository, reference: Tag | Digest) -> RegistryAnswer:
        """Answer as the registry client does."""
        return self._read(lambda: self._get(str(reference)))

    def ask_manifest(self, repository: Repository, reference: Tag | Digest) -> RegistryAnswer:
        """Answer as the registry client does."""
        return self._read(lambda: self._get(str(reference)))

    def list_tags(self, repository: Repository, at_most: int) -> list[str] | None:
        """Answer as the registry client does."""
        return self._read(lambda: sorted(self.tags))

    def put_manifest(
        self,
        repository: Repository,
        reference: Tag | Digest,
        body: bytes,
        media_type: str,
        tags: tuple[Tag, ...] = (),
    ) -> RegistryAnswer:
        """Answer as the registry client does."""
        names = tuple(tag.name for tag in tags)
        return self._take(Write("PUT", str(reference), names, body, media_type))

    def delete_manifest(self, repository: Repository, reference: Tag | Digest) -> RegistryAnswer:
        """Answer as the registry client does."""
        return self._take(Write("DELETE", str(reference)))

    def land(self, late: LateWrite) -> None:
        """Carry out a write whose sender gave up."""
        self.late.remove(late)
        self._carry_out(late.write, late.excuse)

    def _read(self, read: Callable[[], Answered]) -> Answered:
        assert not connection.in_atomic_block, "the registry is called within a transaction"
        self.reach(Where.BEFORE_CALL)
        if self.reads_lost and self.reads_lost.pop(0):
            raise TIMEOUT
        answered = read()
        self.reach(Where.AFTER_CALL)
        return answered

    def _take(self, write: Write) -> RegistryAnswer:
        assert not connection.in_atomic_block, "the registry is called within a transaction"
        self.reach(Where.BEFORE_CALL)
        end = self.ends.pop(0) if self.ends else End.CARRIED_OUT
        excuse = self.excuse(write)
        answered = answer(_STATUSES.get(end, 0), "UNSUPPORTED")
        if end in _LANDS:
            carried_out = self._carry_out(write, excuse)
            answered = carried_out if end is End.CARRIED_OUT else answered
        elif end in _LANDS_LATE:
            self.late.append(LateWrite(write, excuse, self.longest_delay_seconds))
        self.reach(Where.AFTER_CALL)
        if not answered.status:
            raise TIMEOUT
        return answered

    def _get(self, reference: str) -> RegistryAnswer:
        digest = self.tags.get(reference, reference)
        if digest not in self.manifests:
            return ABSENT
        body, media_type = self.manifests[digest]
        headers = {"Content-Type": media_type, "Docker-Content-Digest": digest}
        return answer(200, headers=headers, body=body)

    def _carry_out(self, write: Write, excuse: Any) -> RegistryAnswer:
        return (self._put if write.method == "PUT" else self._delete)(write, excuse)

    def _put(self, write: Write, excuse: Any) -> RegistryAnswer:
        if any(child not in self.manifests for child in children_of(write.body, write.media_type)):
            return answer(400, "MANIFEST_BLOB_UNKNOWN")
        self.manifests[write.digest] = (write.body, write.media_type)
        for tag in write.written:
            self._move(write, excuse, tag, write.digest)
        headers = {"Location": f"/v2/x/manifests/{write.digest}"}
        headers["Docker-Content-Digest"] = write.digest
        if write.tags:
            headers["OCI-Tag"] = ", ".join(write.tags)
        return answer(201, headers=headers)

    def _delete(self, write: Write, excuse: Any) -> RegistryAnswer:
        if not write.digest:
            if write.reference not in self.tags:
                return ABSENT
            self._move(write, excuse, write.reference, "")
            return answer(202)
        if self.manifests.pop(write.digest, None) is None:
            return ABSENT
        for tag in [tag for tag, digest in self.tags.items() if digest == write.digest]:
            self._move(write, excuse, tag, "")
        self.on_gone(write, excuse, write.digest)
        return answer(202)

    def _move(self, write: Write, excuse: Any, tag: str, digest: str) -> None:
        old = self.tags.pop(tag, "")
        if digest:
            self.tags[tag] = digest
        self.on_tag(write, excuse, tag, old, digest)


def children_of(body: bytes, media_type: str = IMAGE_TYPE) -> set[str]:
    """Return the digests of the manifests that a manifest lists."""
    try:
        return {child.value for child in read_manifest(body, media_type).children}
    except UnreadableManifestError:
        return set()
