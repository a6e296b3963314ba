"""Adopt: lock what the registry had already under a tag that is newly claimed."""

from collections.abc import Mapping

from django.db import transaction

from containers.connection import release_database
from containers.inventory import find_descendants
from containers.known_tags import find_known_tags
from containers.reference import Digest, Repository, Tag
from containers.registry.client import RegistryClient, RegistryUnavailableError
from immutability.actions.attempts import find_deletes, find_under_way, record_seen
from immutability.actions.look import look
from immutability.actions.read import UndecidedError, read_locks, require_version
from immutability.actions.round import PushRound
from immutability.models import LockedTag
from immutability.protection import LockState, Policy, Step, cover
from workspaces.access import Actor, ActorKind
from workspaces.log.append import append_events
from workspaces.log.kinds import EventKind
from workspaces.models import Workspace

# A repository with more tags than this is not looked through tag by tag.
MAX_TAGS_LOOKED_AT = 500


def adopt_present(push: PushRound, registry: RegistryClient) -> bool:
    """Adopt what the registry has under the claimed tags of `push`; return whether it had any.

    Whoever joins a claim looks too: the one that made it may not have looked yet. Where it has, so
    that its write may be under way, or where the claim replaces an older lock, nothing is adopted.
    Raises UndecidedError where the registry does not say what it has, MovedError where a claim is
    gone.
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
            record_seen(push.workspace, push.repository, present, answer.body, media_type)
            needed = find_descendants(push.workspace, push.repository, {present})
            if find_deletes(push.workspace, push.repository, needed).exists():
                raise UndecidedError("a delete of what the image lists is under way")
    return is_adopted


def _is_looked_at(push: PushRound, tag: Tag) -> bool:
    """Whether the claim that is joined needs no look any more: its write has been sent."""
    if push.locks[tag].replaced_state:
        return True
    under_way = find_under_way(push.workspace, push.repository, [tag])
    return under_way.filter(attempt__is_sent=True).exists()


def adopt_known(
    workspace: Workspace,
    repository: Repository,
    policy: Policy,
    target: Tag | Digest,
    *,
    actor: Actor,
) -> bool:
    """Lock the covered tags that are known to exist and that no push has adopted yet.

    A tag is covered the moment the settings are saved, so a delete meets it as locked. `target` is
    a tag, or the digest that the tags point at. Within no transaction of the caller's. Returns
    whether there was any; raises IntegrityError where somebody else was faster.
    """
    known = find_known_tags(workspace, repository, target)
    return _adopt_all(workspace, repository, policy, known, actor)


def adopt_in_registry(
    workspace: Workspace,
    repository: Repository,
    policy: Policy,
    target: Tag | Digest,
    registry: RegistryClient,
    *,
    actor: Actor,
) -> bool:
    """Like adopt_known, by what the registry itself has now.

    For a digest, every covered tag of the repository is adopted: any of them may be an index that
    lists it. Raises UndecidedError where the registry does not say, or has too many tags.
    """
    tags = {target} if isinstance(target, Tag) else _list_tags(repository, registry)
    locked = read_locks(workspace, repository, tags)
    new = [tag for tag in sorted(tags) if tag not in locked and cover(policy, tag).is_covered]
    present = {}
    for tag in new:
        answer = look(workspace, repository, tag, registry)
        if answer is not None:
            present[tag] = Digest(answer.digest)
    return _adopt_all(workspace, repository, policy, present, actor)


def _list_tags(repository: Repository, registry: RegistryClient) -> set[Tag]:
    release_database()
    try:
        names = registry.list_tags(repository, MAX_TAGS_LOOKED_AT)
    except RegistryUnavailableError as error:
        raise UndecidedError(f"the registry gave no answer ({error})") from error
    if names is None:
        raise UndecidedError("the registry does not say which tags it has, or has too many")
    return {Tag(name) for name in names}


def _adopt_all(
    workspace: Workspace,
    repository: Repository,
    policy: Policy,
    known: Mapping[Tag, Digest],
    actor: Actor,
) -> bool:
    locked = read_locks(workspace, repository, known)
    rows = []
    for tag, digest in sorted(known.items()):
        coverage = cover(policy, tag)
        if tag in locked or not coverage.is_covered:
            continue
        rows.append(
            LockedTag(
                workspace=workspace,
                repository=repository.name,
                tag=tag.name,
                state=LockState.LOCKED,
                digest=digest.value,
                rule_name=coverage.rule.name if coverage.rule else "",
                rule_pattern=coverage.rule.pattern if coverage.rule else "",
                settings_version=policy.version,
                pushed_by="",
                pushed_by_kind=ActorKind.SYSTEM,
            )
        )
    if not rows:
        return False
    with transaction.atomic():
        LockedTag.objects.bulk_create(rows)
        append_events(
            [row.to_event(EventKind.TAG_ADOPTED, workspace.slug) for row in rows], actor=actor
        )
        require_version(workspace, policy.version)
    return True
