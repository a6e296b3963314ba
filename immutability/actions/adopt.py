"""Adopt: lock what the registry had already under a tag that is newly claimed."""

from django.db import transaction

from containers.known_tags import find_known_tags
from containers.reference import Digest, Repository, Tag
from containers.registry.client import RegistryClient
from immutability.actions.attempts import find_under_way, record_seen
from immutability.actions.look import look
from immutability.actions.read import read_locks, require_version
from immutability.actions.round import PushRound
from immutability.models import LockedTag
from immutability.protection import LockState, Policy, Step, cover
from workspaces.access import Actor, ActorKind
from workspaces.log.append import Event, append_events
from workspaces.log.kinds import EventKind
from workspaces.models import Workspace


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
        append_events([_adopted_event(workspace, row) for row in rows], actor=actor)
        require_version(workspace, policy.version)
    return True


def _adopted_event(workspace: Workspace, row: LockedTag) -> Event:
    return Event(
        EventKind.TAG_ADOPTED,
        workspace.slug,
        row.repository,
        row.tag,
        digest=row.digest,
        rule_name=row.rule_name,
        rule_pattern=row.rule_pattern,
        settings_version=row.settings_version,
    )
