"""Adopt: lock what the registry had already under a tag that is newly claimed."""

from collections.abc import Collection

from django.db import transaction

from containers.connection import release_database
from containers.inventory import find_descendants, record_seen
from containers.known_tags import find_known_tags
from containers.reference import Digest, Repository, Tag
from containers.registry.client import RegistryAnswer, RegistryClient, RegistryUnavailableError
from immutability.actions.attempts import (
    find_deletes,
    find_under_way,
    is_in_the_way,
    open_brief,
    require_open,
    turn_away_unsent,
)
from immutability.actions.claims import abandon_claim, confirm_adoption
from immutability.actions.look import look
from immutability.actions.read import UndecidedError, UnderWayError, read_locks, require_version
from immutability.actions.round import PushRound
from immutability.models import Attempt, LockedTag
from immutability.protection import LockState, Policy, Step, cover
from workspaces.access import Actor, ActorKind
from workspaces.log.append import append_events
from workspaces.log.kinds import EventKind
from workspaces.models import Workspace

# A repository with more tags than this is not looked through tag by tag.
MAX_TAGS_LOOKED_AT = 500


def adopt_present(push: PushRound, registry: RegistryClient, mine: Attempt) -> bool:
    """Adopt what the registry has under the claimed tags of `push`; return whether it had any.

    `mine` is the push's attempt. Whoever joins a claim looks too: the one that made it may not have
    looked yet. Where it has, so that its write may be under way, or where the claim replaces an
    older lock, nothing is adopted. Raises UndecidedError where the registry does not say what it
    has, or where something else may still land; MovedError where a claim is gone.
    """
    is_adopted = False
    for tag in push.tags_with(Step.CLAIM, Step.JOIN):
        if push.decisions[tag].step is Step.JOIN and _is_looked_at(push, tag):
            continue
        answer = look(push.workspace, push.repository, tag, registry)
        is_joined = push.decisions[tag].step is Step.JOIN
        if answer is None or (is_joined and answer.digest == push.digest.value):
            continue
        is_adopted = True
        present = Digest(answer.digest)
        media_type = answer.headers.get("Content-Type", "")
        with transaction.atomic():
            push.adopt(push.own_claim(tag), present)
            require_open(mine)
            record_seen(push.workspace, push.repository, present, answer.body, media_type)
            turn_away_unsent(push.workspace, push.repository, tag, mine)
            _require_rest(push.workspace, push.repository, tag, present, mine)
    return is_adopted


def _is_looked_at(push: PushRound, tag: Tag) -> bool:
    """Whether the claim that is joined needs no look any more: its write has been sent."""
    if push.locks[tag].replaced_state:
        return True
    under_way = find_under_way(push.workspace, push.repository, [tag])
    return under_way.filter(attempt__sent_at__isnull=False).exists()


def adopt_known(
    workspace: Workspace,
    repository: Repository,
    policy: Policy,
    target: Tag | Digest,
    *,
    actor: Actor,
) -> bool:
    """Lock the covered tags that are known to exist, where there is no registry to look at.

    A tag is covered the moment the settings are saved, so a delete meets it as locked. `target` is
    a tag, or the digest that the tags point at. Within no transaction of the caller's. Returns
    whether there was any; raises IntegrityError where somebody else was faster.
    """
    known = find_known_tags(workspace, repository, target)
    locked = read_locks(workspace, repository, known)
    rows = [
        _new_lock(workspace, repository, policy, tag, digest, LockState.LOCKED)
        for tag, digest in sorted(known.items())
        if tag not in locked and cover(policy, tag).is_covered
    ]
    if not rows:
        return False
    with transaction.atomic():
        LockedTag.objects.bulk_create(rows)
        append_events(
            [row.to_event(EventKind.TAG_ADOPTED, workspace.slug) for row in rows], actor=actor
        )
        require_version(workspace, policy.version)
    return True


def adopt_in_registry(
    workspace: Workspace,
    repository: Repository,
    policy: Policy,
    target: Tag | Digest,
    registry: RegistryClient,
    *,
    actor: Actor,
) -> int:
    """Like adopt_known, by what the registry itself has now: claimed first, looked at second.

    For a digest, every covered tag of the repository is adopted: any of them may be an index that
    lists it. Raises UndecidedError where the registry does not say, has too many tags, or is about
    to get another image.
    """
    if isinstance(target, Tag):
        tags = {target}
    else:
        tags = _list_tags(repository, registry)
        tags |= set(find_known_tags(workspace, repository, target))
    return adopt_tags(workspace, repository, policy, tags, registry, actor=actor)


def adopt_tags(
    workspace: Workspace,
    repository: Repository,
    policy: Policy,
    tags: Collection[Tag],
    registry: RegistryClient,
    *,
    actor: Actor,
) -> int:
    """Lock those of `tags` that are covered, unlocked and there; return how many were locked.

    Within no transaction of the caller's. Raises UnderWayError where one of them may still change,
    UndecidedError where the registry does not say, and MovedError or IntegrityError where somebody
    else was faster.
    """
    locked = read_locks(workspace, repository, tags)
    new = [tag for tag in sorted(tags) if tag not in locked and cover(policy, tag).is_covered]
    expected = {tag: digest for tag, digest, _ in _look_at(workspace, repository, new, registry)}
    if not expected:
        return 0
    rows = [
        _new_lock(workspace, repository, policy, tag, digest, LockState.CLAIMED)
        for tag, digest in expected.items()
    ]
    with transaction.atomic():
        LockedTag.objects.bulk_create(rows)
        attempt = open_brief(
            Attempt.Kind.ADOPT,
            workspace,
            repository,
            {tag: cover(policy, tag).rule for tag in expected},
            policy.version,
            actor=actor,
        )
    try:
        # Committed first, looked at second: of this and a write that meet, one sees the other.
        found = _look_at(workspace, repository, expected, registry)
        with transaction.atomic():
            confirm_adoption(attempt, {tag: digest for tag, digest, _ in found}, actor=actor)
            for tag, digest, answer in found:
                media_type = answer.headers.get("Content-Type", "")
                record_seen(workspace, repository, digest, answer.body, media_type)
                _require_rest(workspace, repository, tag, digest, attempt)
            require_version(workspace, policy.version)
    except Exception:
        abandon_claim(attempt)
        raise
    return len(found)


def _require_rest(
    workspace: Workspace, repository: Repository, tag: Tag, present: Digest, mine: Attempt
) -> None:
    """Raise UndecidedError where what the registry has under a tag may still change."""
    if is_in_the_way(workspace, repository, {tag: True}, present, mine):
        raise UnderWayError("another write of the same tag is under way")
    needed = find_descendants(workspace, repository, {present})
    if find_deletes(workspace, repository, needed, in_doubt=True).exists():
        raise UnderWayError("a delete of what the image lists may still land")


def _look_at(
    workspace: Workspace, repository: Repository, tags: Collection[Tag], registry: RegistryClient
) -> list[tuple[Tag, Digest, RegistryAnswer]]:
    """Return those of `tags` that the registry has, in order, each with its digest."""
    answers = ((tag, look(workspace, repository, tag, registry)) for tag in sorted(tags))
    return [(tag, Digest(answer.digest), answer) for tag, answer in answers if answer is not None]


def _list_tags(repository: Repository, registry: RegistryClient) -> set[Tag]:
    release_database()
    try:
        names = registry.list_tags(repository, MAX_TAGS_LOOKED_AT)
    except RegistryUnavailableError as error:
        raise UndecidedError(f"the registry gave no answer ({error})") from error
    if names is None:
        raise UndecidedError("the registry does not say which tags it has, or has too many")
    return {Tag(name) for name in names}


def _new_lock(
    workspace: Workspace,
    repository: Repository,
    policy: Policy,
    tag: Tag,
    digest: Digest,
    state: LockState,
) -> LockedTag:
    """Return the lock of a tag that was there before it was protected: nobody knows who pushed."""
    rule = cover(policy, tag).rule
    return LockedTag(
        workspace=workspace,
        repository=repository.name,
        tag=tag.name,
        state=state,
        digest=digest.value,
        rule_name=rule.name if rule else "",
        rule_pattern=rule.pattern if rule else "",
        settings_version=policy.version,
        pushed_by="",
        pushed_by_kind=ActorKind.SYSTEM,
    )
