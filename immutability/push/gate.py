"""Carry a push through the gate: read, look, store, claim, point, settle.

`push_manifest` reads from top to bottom. The manifest is stored under its digest first, which moves
no tag; then its tags are claimed, in one transaction; then they are pointed at it, one request for
each; then the registry's answers settle them. No transaction is open while the registry is called
or while a push waits.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

from django.db import transaction

from containers import writes
from containers.connection import release_database
from containers.inventory import record_manifest
from containers.models import Manifest, WriteKind
from containers.reference import Digest, Repository, Tag
from containers.registry.client import RegistryAnswer, RegistryClient, RegistryUnavailableError
from containers.registry.manifest import ManifestFacts
from containers.writes import RecordMovedError, Result, Sent, Write
from immutability.answers import Refusal
from immutability.errors import TryAgainError
from immutability.look import head_manifest, learn_lists, look_at_tag
from immutability.patience import RECONCILE_AGAIN_SECONDS, Patience, WaitSlots
from immutability.policy.decisions import Step
from immutability.push.plan import PushPlan, PushQuestion, TakenLook, hold_plan, read_plan
from immutability.push.settle import settle_push
from immutability.reconcile.tag import reconcile_record
from immutability.reading import read_policy_and_time
from immutability.refuse import relay_missing_manifest, relay_wait
from workspaces.access import Actor
from workspaces.models import Workspace

# What a registry says of a manifest that it will never take, whatever status it says it with.
_NEVER_TAKEN = {
    "MANIFEST_BLOB_UNKNOWN",
    "MANIFEST_INVALID",
    "MANIFEST_UNVERIFIED",
    "DIGEST_INVALID",
}


def _always_allowed() -> None:
    """Confirm for those whose rights do not change while they act."""


@dataclass(frozen=True)
class ManifestPush:
    """A manifest on its way in: its bytes as they came, and the tags that it is to have.

    With `is_by_digest` the reference is the digest, and the tags, if any, stand in the query.
    `facts` is None for a kind of manifest that Taglock cannot read. `confirm` asks, within the
    hold, whether its actor may still push. It raises PermissionRevokedError.
    """

    workspace: Workspace
    repository: Repository
    tags: tuple[Tag, ...]
    digest: Digest
    body: bytes
    media_type: str
    is_by_digest: bool
    facts: ManifestFacts | None = None
    confirm: Callable[[], None] = _always_allowed

    @property
    def question(self) -> PushQuestion:
        children = self.facts.children if self.facts else ()
        return PushQuestion(self.workspace, self.repository, self.tags, self.digest, children)

    @property
    def has_references(self) -> bool:
        """Whether only the registry can say that all of it is there."""
        return self.facts is None or bool(self.facts.children or self.facts.subject)


@dataclass(frozen=True)
class _Stored:
    """The manifest is there under its digest; `revisions` are those from before it was stored."""

    revisions: Mapping[Digest, int]
    answer: RegistryAnswer | None = None

    def still_counts(self, manifests: Mapping[Digest, Manifest]) -> bool:
        """Whether no delete of what the push needs has begun since."""
        return all(
            row.revision == self.revisions.get(digest, 0) for digest, row in manifests.items()
        )


@dataclass(frozen=True)
class _Claimed:
    """The tags are claimed, and the write is in flight on their records: it may be sent."""

    write: Write
    tags: tuple[Tag, ...]


class _AgainError(Exception):
    """Something has to end first, or what was read has changed: read again.

    `refusal` is the answer where the push has waited long enough.
    """

    def __init__(self, refusal: Refusal | None = None) -> None:
        super().__init__("too many changes at once")
        self.refusal = refusal


def push_manifest(
    push: ManifestPush, registry: RegistryClient, slots: WaitSlots, *, actor: Actor
) -> RegistryAnswer | Refusal:
    """Decide a push and carry it out; return the registry's answer, or the refusal.

    A push that meets another write of one of its tags waits for it, some seconds at most.
    Raises TryAgainError, PatternError or PatternEvaluationError where nothing could be decided,
    PermissionRevokedError, and database errors as they come: the client is told to try again.
    """
    question = push.question
    looks: dict[Tag, TakenLook] = {}
    patience = Patience(slots)
    try:
        if not push.tags:
            return _push_by_digest(push, registry, patience)
        while True:
            # 1. Read, to choose the way.
            plan = read_plan(question, looks)
            # 2. Look at the tags of which nothing is known.
            if to_look := plan.tags_with(Step.LOOK):
                looks |= _look(plan, to_look, registry)
                plan = plan.decide_again(looks)
            if plan.must_wait and not plan.is_refused:
                if _reconcile(plan, registry, patience) or patience.is_left():
                    continue
                return plan.relay_wait()
            try:
                # 3. Store the manifest under its digest, before any of its tags is claimed.
                stored = _store(push, plan, registry)
                if isinstance(stored, RegistryAnswer | Refusal):
                    return stored
                # 4. Claim, or answer.
                held = _claim(push, plan, looks, stored, actor)
            except _AgainError as error:
                if patience.is_left():
                    continue
                if error.refusal is not None:
                    return error.refusal
                raise TryAgainError(str(error)) from error
            if not isinstance(held, _Claimed):
                return held
            # 5. Point each tag. 6. Settle by the answers.
            results = _point(push, held, registry)
            is_ours = settle_push(held.write, push.workspace, push.repository, results, actor=actor)
            return _answer(push, results, is_ours=is_ours)
    finally:
        patience.end()


def _look(plan: PushPlan, tags: Collection[Tag], registry: RegistryClient) -> dict[Tag, TakenLook]:
    """Look at these tags. A look counts while the record keeps the revision from before it."""
    looks = {}
    for tag in tags:
        record = plan.records.get(tag)
        look = look_at_tag(plan.question.repository, tag, registry)
        looks[tag] = TakenLook(look, record.revision if record else 0)
    return looks


def _reconcile(plan: PushPlan, registry: RegistryClient, patience: Patience) -> bool:
    """Finish what others left behind on the tags that the push waits for, if that is possible."""
    if time.monotonic() < patience.reconcile_at:
        return False
    patience.reconcile_at = time.monotonic() + RECONCILE_AGAIN_SECONDS
    waiting = [plan.records[tag].id for tag in plan.tags_with(Step.WAIT)]
    return any([reconcile_record(record_id, registry) for record_id in waiting])


def _store(
    push: ManifestPush, plan: PushPlan, registry: RegistryClient
) -> _Stored | RegistryAnswer | Refusal | None:
    """Store the manifest where a tag is to be claimed, or is at it already; None where none is.

    Returns the registry's refusal where it does not take the manifest. Raises TryAgainError where
    it gives no answer. In both cases nothing is recorded.
    """
    if plan.is_refused or not plan.tags_with(Step.CLAIM, Step.POINT, Step.UNCHANGED):
        return None
    if push.facts and push.facts.children:
        learn_lists(push.workspace, push.repository, push.facts.children, registry)
    known = _find_manifests(push)
    _require_no_delete(push, known)
    revisions = {digest: row.revision for digest, row in known.items()}
    missing = _find_missing_below(push, known, registry)
    if missing is not None:
        return relay_missing_manifest(push.repository, push.digest, missing)
    if not push.has_references:
        row = known.get(push.digest)
        is_claimed = bool(plan.tags_with(Step.CLAIM, Step.POINT))
        if is_claimed and row is not None and row.is_there:
            return _Stored(revisions)
        if not is_claimed and head_manifest(push.repository, push.digest, registry).is_success:
            return _Stored(revisions)
    answer = _put_by_digest(push, registry)
    return _Stored(revisions, answer) if answer.is_success else answer


def _find_manifests(push: ManifestPush) -> dict[Digest, Manifest]:
    """Return what is known of the manifest, and of all that it lists."""
    rows = Manifest.objects.filter(
        workspace=push.workspace,
        repository=push.repository.name,
        digest__in=[digest.value for digest in push.question.find_needed()],
    )
    return {Digest(row.digest): row for row in rows}


def _require_no_delete(push: ManifestPush, known: Mapping[Digest, Manifest]) -> None:
    """Raise _AgainError where a delete of what the push needs is in flight, or may still land."""
    if not any(row.delete_id or row.stray_until for row in known.values()):
        return
    _, now = read_policy_and_time(push.workspace)
    ends = [writes.open_delete_ends(row, now) for row in known.values()]
    until = max((each for each in ends if each), default=None)
    if until is not None:
        raise _AgainError(relay_wait(push.repository, None, None, None, now, until=until))


def _find_missing_below(
    push: ManifestPush, known: Mapping[Digest, Manifest], registry: RegistryClient
) -> Digest | None:
    """Return a manifest that is missing below what the pushed index lists, or None.

    What it lists itself, the registry checks when it takes the index.
    """
    children = push.facts.children if push.facts else ()
    below = [digest for digest in known if digest != push.digest and digest not in children]
    for digest in sorted(below):
        if known[digest].is_there:
            continue
        if not head_manifest(push.repository, digest, registry).is_success:
            return digest
    return None


def _put_by_digest(push: ManifestPush, registry: RegistryClient) -> RegistryAnswer:
    """Store the manifest under its digest. Raises TryAgainError where the registry does not say."""
    release_database()
    try:
        answer = registry.put_manifest(push.repository, push.digest, push.body, push.media_type)
    except RegistryUnavailableError as error:
        raise TryAgainError(f"the registry gave no answer ({error})") from error
    if answer.is_success or answer.is_refusal:
        return answer
    if answer.error_codes & _NEVER_TAKEN:
        # Distribution answers 500 to some images that it never takes; nothing was moved.
        return replace(answer, status=400)
    raise TryAgainError(f"the registry answered {answer.status}{_reason(answer)}")


def _claim(
    push: ManifestPush,
    plan: PushPlan,
    looks: Mapping[Tag, TakenLook],
    stored: _Stored | None,
    actor: Actor,
) -> _Claimed | Refusal | RegistryAnswer:
    """Hold the tags, decide, and write what follows: refusals, unchanged tags, or claims.

    Raises _AgainError where what was read, looked at or stored does not count any more.
    """
    write = writes.new_write(WriteKind.PUSH, push.digest)
    with _hold(push, plan, looks) as held:
        push.confirm()
        if held.is_refused:
            held.adopt_present()
            return held.refuse(actor=actor)
        if held.must_wait:
            raise _AgainError(held.relay_wait())
        if held.tags_with(Step.LOOK):
            raise _AgainError
        if held.tags_with(Step.CLAIM, Step.POINT, Step.UNCHANGED):
            if stored is None or not stored.still_counts(held.manifests):
                raise _AgainError
        _record_manifest(push, held.manifests[push.digest], is_there=stored is not None)
        held.adopt_present()
        held.record_unchanged(actor=actor)
        to_send = held.tags_with(Step.SEND, Step.CLAIM, Step.POINT)
        if not to_send:
            return _unchanged(push, stored)
        held.claim(actor=actor)
        writes.begin_write(write, [held.records[tag] for tag in to_send], held.now)
    return _Claimed(write, tuple(to_send))


@contextmanager
def _hold(push: ManifestPush, plan: PushPlan, looks: Mapping[Tag, TakenLook]) -> Iterator[PushPlan]:
    try:
        with hold_plan(push.question, looks, plan.records) as held:
            yield held
    except RecordMovedError as error:
        raise _AgainError from error


def _record_manifest(push: ManifestPush, row: Manifest, *, is_there: bool) -> None:
    """Keep what the manifest lists before its tag is written, and that it is there if it is."""
    if push.facts is not None and not row.is_read:
        record_manifest(push.workspace, push.repository, push.digest, push.facts)
    if is_there and not row.is_there:
        Manifest.objects.filter(pk=row.pk).update(is_there=True)


def _point(push: ManifestPush, claimed: _Claimed, registry: RegistryClient) -> dict[Tag, Sent]:
    """Send the manifest under each tag, once; after one that fails, no other is sent."""
    results: dict[Tag, Sent] = {}
    for tag in claimed.tags:
        if any(sent.result is not Result.LANDED for sent in results.values()):
            results[tag] = Sent(Result.NOT_SENT, why="another tag of the push failed")
            continue
        results[tag] = writes.send(
            claimed.write,
            partial(registry.put_manifest, push.repository, tag, push.body, push.media_type),
        )
    return results


def _answer(
    push: ManifestPush, results: Mapping[Tag, Sent], *, is_ours: bool
) -> RegistryAnswer | Refusal:
    """Return what the client is told: 201 only if all tags landed and nobody else settled them."""
    if not is_ours:
        raise TryAgainError("Taglock was delayed, and others have decided on the tag since")
    for result in (Result.NO_ANSWER, Result.REFUSED, Result.NOT_SENT):
        for sent in results.values():
            if sent.result is not result:
                continue
            if sent.answer is not None and result is Result.REFUSED:
                return sent.answer
            raise TryAgainError(sent.why + (_reason(sent.answer) if sent.answer else ""))
    answer = next(iter(results.values())).answer
    return _name_tags(push, answer or RegistryAnswer(201))


def _unchanged(push: ManifestPush, stored: _Stored | None) -> RegistryAnswer:
    """Return 201 for a push that changed nothing, with what the registry said when it stored it."""
    answer = stored.answer if stored and stored.answer else RegistryAnswer(201)
    return _name_tags(push, answer)


def _name_tags(push: ManifestPush, answer: RegistryAnswer) -> RegistryAnswer:
    """Name the digest, and the tags of a push by digest, which Taglock has pointed one by one."""
    headers = dict(answer.headers) | {"Docker-Content-Digest": push.digest.value}
    headers.pop("OCI-Tag", None)
    if push.is_by_digest and push.tags:
        headers["OCI-Tag"] = ", ".join(tag.name for tag in push.tags)
    return replace(answer, status=201, headers=headers)


def _push_by_digest(
    push: ManifestPush, registry: RegistryClient, patience: Patience
) -> RegistryAnswer | Refusal:
    """Store a manifest under no tag; it waits for deletes of what it needs."""
    while True:
        known = _find_manifests(push)
        try:
            _require_no_delete(push, known)
            break
        except _AgainError as error:
            if error.refusal is not None and not patience.is_left():
                return error.refusal
    stored = _Stored({digest: row.revision for digest, row in known.items()})
    push.confirm()
    answer = _put_by_digest(push, registry)
    if answer.is_success:
        needed = push.question.find_needed()
        with transaction.atomic():
            writes.insert_missing(push.workspace, push.repository, (), needed)
            manifests = writes.lock_manifests(push.workspace, push.repository, needed)
            is_there = stored.still_counts(manifests)
            _record_manifest(push, manifests[push.digest], is_there=is_there)
    return answer


def _reason(answer: RegistryAnswer) -> str:
    """Return the registry's own words, where it gave any."""
    return f": {answer.reason}" if answer.reason else ""
