"""Carry a push through the gate: read, look, store, claim, point, settle.

`push_manifest` reads from top to bottom. The manifest is stored under its digest first, which moves
no tag; then its tags are claimed, in one transaction; then they are pointed at it, one request for
each; then the registry's answers settle them. No transaction is open while the registry is called
or while a push waits.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial

from django.db import transaction

from containers import sql, writes
from containers.inventory import describe, record_facts
from containers.models import Manifest, WriteKind
from containers.names import Digest, RepositoryName, TagName
from containers.registry.client import RegistryAnswer, RegistryClient
from containers.registry.manifest import ManifestFacts
from containers.writes import RecordMovedError, Result, Sent, Write
from immutability.answers import Refusal
from immutability.errors import TryAgainError
from immutability.look import (
    TakenLook,
    asking_registry,
    head_manifest,
    is_unreadable,
    learn_lists,
    look_at_each,
    look_at_tag,
)
from immutability.patience import NotYet, WaitSlots, wait_for
from immutability.policy.decisions import Step
from immutability.push.plan import PushPlan, PushQuestion, hold_plan, read_plan
from immutability.reading import read_policy_and_time, require_still_allowed
from immutability.refuse import relay_missing_manifest, relay_wait
from immutability.settle import Begun, settle_push
from workspaces.access import Actor
from workspaces.database import together
from workspaces.models import Workspace
from workspaces.rights import NeededRights

# What a registry says of a manifest that it will never take, whatever status it says it with.
_NEVER_TAKEN = {
    "MANIFEST_BLOB_UNKNOWN",
    "MANIFEST_INVALID",
    "MANIFEST_UNVERIFIED",
    "DIGEST_INVALID",
}


@dataclass(frozen=True)
class ManifestPush:
    """A manifest on its way in: its bytes as they came, and the tags that it is to have.

    With `is_by_digest` the reference is the digest, and any tags are in the query.
    `facts` is None for a kind of manifest that Taglock cannot read. `rights` are what its actor
    must still be allowed where the push is decided; None if that does not change. `as_caller` is
    the registry for the caller's own credentials, where it keeps accounts.
    """

    workspace: Workspace
    repository: RepositoryName
    tags: tuple[TagName, ...]
    digest: Digest
    body: bytes
    media_type: str
    is_by_digest: bool
    facts: ManifestFacts | None = None
    rights: NeededRights | None = None
    as_caller: RegistryClient | None = None

    @property
    def question(self) -> PushQuestion:
        children = self.facts.children if self.facts else None
        return PushQuestion(
            self.workspace,
            self.repository,
            self.tags,
            self.digest,
            children,
            is_placeholder=self.facts is not None and self.facts.is_placeholder,
            rights=self.rights,
        )

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
    tags: Mapping[TagName, Begun]


def push_manifest(
    push: ManifestPush, registry: RegistryClient, slots: WaitSlots, *, actor: Actor
) -> RegistryAnswer | Refusal:
    """Decide a push and carry it out; return the registry's answer, or the refusal.

    A push that meets another write of one of its tags waits for it, a few seconds at most. Raises
    TryAgainError, PatternError or PatternEvaluationError where nothing could be decided,
    PermissionRevokedError, and database errors as they come: the client is told to try again; and
    CallerRefusedError.
    """
    looks: dict[TagName, TakenLook] = {}
    return wait_for(lambda: _push(push, looks, registry, actor), registry, slots)


def _push(
    push: ManifestPush, looks: dict[TagName, TakenLook], registry: RegistryClient, actor: Actor
) -> RegistryAnswer | Refusal | NotYet:
    sender = push.as_caller or registry
    if not push.tags:
        return _push_by_digest(push, sender)
    # 1. Read, to choose the way.
    plan = read_plan(push.question, looks)
    # 2. Look at the unknown tags.
    if to_look := plan.tags_with(Step.LOOK):
        looks |= _look(plan, to_look, sender, registry)
        plan = plan.decide_again(looks)
    # A refusal changes nothing: what was read in one statement is enough for it.
    if plan.is_refused and not plan.has_news:
        return plan.refuse(actor=actor)
    if plan.must_wait and not plan.is_refused:
        return plan.not_yet()
    # 3. Store the manifest under its digest, before any of its tags is claimed.
    stored = _store(push, plan, sender)
    if isinstance(stored, RegistryAnswer | Refusal | NotYet):
        return stored
    if stored is not None and plan.changes_nothing:
        unchanged = _answer_unchanged(push, looks, stored, actor)
        if unchanged is not None:
            return unchanged
    # 4. Claim, or answer.
    claimed = _claim(push, plan, looks, stored, actor)
    if not isinstance(claimed, _Claimed):
        return claimed
    # 5. Point each tag.
    results = _point(push, claimed, sender)
    # 6. Settle by the answers.
    is_ours = settle_push(
        claimed.write,
        push.workspace,
        push.repository,
        results,
        actor=actor,
        begun=claimed.tags,
        is_known_there=stored is not None,
    )
    return _answer(push, results, is_ours=is_ours, is_stored=stored is not None)


def _look(
    plan: PushPlan, tags: Collection[TagName], sender: RegistryClient, registry: RegistryClient
) -> dict[TagName, TakenLook]:
    """Look at these tags. A look counts while the record keeps the revision from before it."""
    place = plan.question.workspace, plan.question.repository
    looks = look_at_each(tags, lambda tag: look_at_tag(*place, tag, sender, own=registry))
    return {tag: TakenLook(look, plan.read_revision(tag)) for tag, look in looks.items()}


def _store(
    push: ManifestPush, plan: PushPlan, registry: RegistryClient
) -> _Stored | RegistryAnswer | Refusal | NotYet | None:
    """Store the manifest where a tag is to be claimed, or is at it already; None if none is.

    Returns the registry's refusal where it does not take the manifest. Raises TryAgainError if
    it gives no answer. In both cases nothing is recorded.
    """
    if plan.is_refused or not plan.tags_with(Step.CLAIM, Step.POINT, Step.UNCHANGED):
        return None
    known = _find_manifests(push, plan)
    if (not_yet := _find_open_delete(push, known)) is not None:
        return not_yet
    revisions = {digest: row.revision for digest, row in known.items()}
    if not push.has_references:
        row = known.get(push.digest)
        is_claimed = bool(plan.tags_with(Step.CLAIM, Step.POINT))
        # Where it cannot read a tag, storing shows that it is not the whole registry that fails.
        if is_claimed and row is not None and row.is_there and not plan.has_unreadable:
            return _Stored(revisions)
        if not is_claimed and _is_there(push, registry):
            return _Stored(revisions)
    answer = _put_by_digest(push, registry)
    if not answer.is_success:
        return answer
    # Only of an index that the registry takes: others list what no one has.
    if (missing := _find_missing_below(push, registry)) is not None:
        return relay_missing_manifest(push.repository, push.digest, missing)
    return _Stored(revisions, answer)


def _is_there(push: ManifestPush, registry: RegistryClient) -> bool:
    """Whether the registry has the manifest; one that it cannot read is to be stored again.

    Raises TryAgainError if it does not say.
    """
    try:
        return head_manifest(push.repository, push.digest, registry) is not None
    except TryAgainError as error:
        if is_unreadable(error):
            return False
        raise


def _find_manifests(push: ManifestPush, plan: PushPlan | None = None) -> dict[Digest, Manifest]:
    """Return what is known of the manifest, and of all that it lists."""
    if plan is not None and push.facts is not None and not push.facts.children:
        return {push.digest: plan.manifest} if plan.manifest else {}
    names = [digest.value for digest in push.question.find_needed()]
    rows = sql.find_manifests(push.workspace.pk, push.repository.name, names)
    return {Digest(row.digest): row for row in rows}


def _find_open_delete(push: ManifestPush, known: Mapping[Digest, Manifest]) -> NotYet | None:
    """Return what to wait for where a delete of what the push needs may still land."""
    if not any(row.delete_id or row.stray_until for row in known.values()):
        return None
    _, now = read_policy_and_time(push.workspace)
    ends = [writes.open_delete_ends(row, now) for row in known.values()]
    until = max((each for each in ends if each), default=None)
    if until is None:
        return None
    return NotYet(relay_wait(push.repository, None, None, None, now, until=until))


def _find_missing_below(push: ManifestPush, registry: RegistryClient) -> Digest | None:
    """Return a manifest that is missing below what the pushed index lists, or None.

    What it lists itself, the registry has checked when it took the index.
    """
    children = push.facts.children if push.facts else ()
    if not children:
        return None
    learn_lists(push.workspace, push.repository, children, registry)
    known = _find_manifests(push)
    # An index may list tens of thousands.
    for digest in sorted(known.keys() - {push.digest, *children}):
        if known[digest].is_there:
            continue
        if head_manifest(push.repository, digest, registry) is None:
            return digest
    return None


def _put_by_digest(push: ManifestPush, registry: RegistryClient) -> RegistryAnswer:
    return store_manifest(push.repository, push.digest, push.body, push.media_type, registry)


def store_manifest(
    repository: RepositoryName,
    digest: Digest,
    body: bytes,
    media_type: str,
    registry: RegistryClient,
) -> RegistryAnswer:
    """Store a manifest under its digest, which moves no tag; return the registry's answer.

    Raises TryAgainError if the registry does not say.
    """
    with asking_registry():
        answer = registry.put_manifest(repository, digest, body, media_type)
    if answer.is_success:
        return answer
    if (refusal := _find_refusal(answer)) is not None:
        return refusal
    raise TryAgainError(answer.reason)


def _find_refusal(answer: RegistryAnswer) -> RegistryAnswer | None:
    """Return what a client is told where the registry will never take the manifest.

    Distribution answers 500 to some.
    """
    if answer.is_refusal:
        return answer
    return replace(answer, status=400) if answer.error_codes & _NEVER_TAKEN else None


def _answer_unchanged(
    push: ManifestPush, looks: Mapping[TagName, TakenLook], stored: _Stored, actor: Actor
) -> RegistryAnswer | None:
    """Answer a push of what is there already, by one more read; None where it may not be now."""
    plan = read_plan(push.question, looks)
    row = plan.manifest
    if row is None or not plan.changes_nothing or not stored.still_counts({push.digest: row}):
        return None
    plan.record_unchanged(actor=actor)
    return _unchanged(push, stored)


def _claim(
    push: ManifestPush,
    plan: PushPlan,
    looks: Mapping[TagName, TakenLook],
    stored: _Stored | None,
    actor: Actor,
) -> _Claimed | Refusal | RegistryAnswer | NotYet:
    """Hold the tags, decide, and write what follows: refusals, unchanged tags, or claims."""
    write = writes.new_write(WriteKind.PUSH, push.digest)
    hold = hold_plan(
        plan,
        looks,
        known_manifests=_find_known(plan, stored),
        described=_describe(push, is_there=stored is not None),
        to_refuse=plan.is_refused,
    )
    try:
        with hold as held:
            if held.is_refused:
                held.adopt_present()
                return held.refuse(actor=actor)
            if plan.is_refused or held.must_wait or held.tags_with(Step.LOOK):
                return held.not_yet()
            needs_store = held.tags_with(Step.CLAIM, Step.POINT, Step.UNCHANGED)
            if needs_store and not (stored and stored.still_counts(held.manifests)):
                return NotYet()
            _record_manifest(push, held.manifests[push.digest], is_there=stored is not None)
            held.adopt_present()
            held.record_unchanged(actor=actor)
            to_send = held.tags_with(Step.SEND, Step.CLAIM, Step.POINT)
            if not to_send:
                return _unchanged(push, stored)
            with together():
                held.claim(actor=actor)
                writes.begin_write(write, [held.records[tag] for tag in to_send], held.now)
    except RecordMovedError:
        return NotYet()
    begun = {tag: Begun(held.records[tag].revision, held.locks.get(tag)) for tag in to_send}
    return _Claimed(write, begun)


def _find_known(plan: PushPlan, stored: _Stored | None) -> Collection[Digest]:
    """Return the manifests that have a row, as far as they were read."""
    if stored is not None:
        return stored.revisions.keys()
    return [plan.question.digest] if plan.manifest is not None else ()


def _describe(push: ManifestPush, *, is_there: bool) -> Manifest | None:
    """Return the row of a new manifest; None if it lists others, which have rows of their own.

    It is there if it was just stored: until it has a row, no delete of it can begin.
    """
    if push.facts is None or push.facts.children:
        return None
    row = describe(push.workspace, push.repository, push.digest, push.facts)
    row.is_there = is_there
    return row


def _record_manifest(push: ManifestPush, row: Manifest, *, is_there: bool) -> None:
    """Keep what the manifest lists before its tag is written, and that it is there if it is."""
    is_new = push.facts is not None and not row.is_read
    if is_new and push.facts is not None:
        record_facts(row, push.facts)
    if is_new or (is_there and not row.is_there):
        row.is_there = row.is_there or is_there
        sql.update_manifest(row)


def _point(push: ManifestPush, claimed: _Claimed, registry: RegistryClient) -> dict[TagName, Sent]:
    """Send the manifest under each tag, once; after one that fails, no other is sent."""
    results: dict[TagName, Sent] = {}
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
    push: ManifestPush, results: Mapping[TagName, Sent], *, is_ours: bool, is_stored: bool
) -> RegistryAnswer | Refusal:
    """Return what the client is told: 201 only if all tags landed and no one else settled them.

    A manifest that was stored has been taken, whatever the registry says of it later.
    """
    if not is_ours:
        raise TryAgainError("Taglock was delayed, and others have decided on the tag since")
    for result in (Result.NO_ANSWER, Result.REFUSED, Result.NOT_SENT):
        for sent in results.values():
            if sent.result is not result:
                continue
            refusal = _find_refusal(sent.answer) if sent.answer is not None else None
            if refusal is not None and (result is Result.REFUSED or not is_stored):
                return refusal
            raise TryAgainError(sent.why)
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
    push: ManifestPush, registry: RegistryClient
) -> RegistryAnswer | Refusal | NotYet:
    """Store a manifest under no tag, which makes its repository known too.

    It waits for deletes of what it needs.
    """
    known = _find_manifests(push)
    if (not_yet := _find_open_delete(push, known)) is not None:
        return not_yet
    stored = _Stored({digest: row.revision for digest, row in known.items()})
    require_still_allowed(push.workspace, push.rights)
    answer = _put_by_digest(push, registry)
    if answer.is_success:
        try:
            _record_stored(push, stored, known.get(push.digest))
        except RecordMovedError:
            return NotYet()
    return answer


@transaction.atomic
def _record_stored(push: ManifestPush, stored: _Stored, known: Manifest | None) -> None:
    """Record a manifest that was stored under no tag; `known` is its row from before that.

    The row of one that was not there may be of a push that came to nothing. Raises RecordMovedError
    if the repository does not belong to the workspace at this moment.
    """
    needed = push.question.find_needed()
    inserted = writes.insert_missing(push.workspace, push.repository, (), needed)
    if known is None or not known.is_there:
        writes.make_known(push.workspace, push.repository)
    manifests = writes.lock_manifests(push.workspace, push.repository, needed, inserted)
    is_there = stored.still_counts(manifests)
    _record_manifest(push, manifests[push.digest], is_there=is_there)
