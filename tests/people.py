"""People and workspaces as the actions write them, without what the actions ask first.

Nearly every test begins with some: `tests/test_people.py` holds that the rows are the same.
"""

import secrets
from collections.abc import Sequence

from django.db import transaction
from django.db.models.functions import Now

from containers.connection import find_registry
from immutability.models import ContainerSettings, Rule, TagException
from immutability.policy.details import to_details
from immutability.policy.drafts import Draft, find_draft_problems
from immutability.policy.protection import Policy, Protection
from immutability.reconcile.jobs import ask_for_inventory
from workspaces.access import SYSTEM, Role, Scope
from workspaces.actions.access_tokens import TOKEN_PREFIX, hash_token
from workspaces.log.append import Event, append_event
from workspaces.log.kinds import EventKind
from workspaces.models import AccessToken, Membership, User, Workspace


@transaction.atomic(savepoint=False)
def write_workspace(slug: str, name: str) -> Workspace:
    """Do what `create_workspace` does."""
    workspace = Workspace.objects.create(slug=slug, name=name)
    append_event(Event(EventKind.WORKSPACE_CREATED, slug, details={"name": name}), actor=SYSTEM)
    return workspace


@transaction.atomic(savepoint=False)
def write_member(workspace: Workspace, user: User, role: Role) -> Membership:
    """Do what `add_member` does with someone who is not in the workspace."""
    membership = Membership.objects.create(workspace=workspace, user=user, role=role.value)
    details = {"member": user.username, "before": None, "after": role.value}
    append_event(Event(EventKind.MEMBER_ADDED, workspace.slug, details=details), actor=SYSTEM)
    return membership


@transaction.atomic(savepoint=False)
def write_access_token(workspace: Workspace, name: str, scopes: Sequence[Scope]) -> str:
    """Do what `create_access_token` does; return the secret."""
    secret = TOKEN_PREFIX + secrets.token_urlsafe(32)
    token = AccessToken.objects.create(
        workspace=workspace,
        name=name,
        token_hash=hash_token(secret),
        scopes=[scope.value for scope in scopes],
        repositories=[],
        created_by=SYSTEM.name,
    )
    details = {
        "token": name,
        "token_id": token.id,
        "scopes": token.scopes,
        "expires_at": None,
    }
    append_event(Event(EventKind.TOKEN_CREATED, workspace.slug, details=details), actor=SYSTEM)
    return secret


@transaction.atomic(savepoint=False)
def write_first_settings(workspace: Workspace, draft: Draft) -> Policy:
    """Do what `save_container_settings` does where nothing is saved, and nothing is locked."""
    assert not find_draft_problems(draft)
    before, after = Policy(), draft.to_policy(version=1)
    settings = ContainerSettings.objects.create(
        workspace=workspace,
        version=after.version,
        protection=after.protection,
        refuse_identical_pushes=after.refuse_identical_pushes,
        protect_signature_tags=after.protect_signature_tags,
        repair_drift=after.repair_drift,
        saved_by=SYSTEM.shown_name,
        saved_at=Now(),
    )
    for model, patterns in ((Rule, after.rules), (TagException, after.exceptions)):
        for position, each in enumerate(patterns, start=1):
            model.objects.create(
                settings=settings, position=position, name=each.name, pattern=each.pattern
            )
    details = {
        "before": to_details(before),
        "after": to_details(after),
        "locks_suspended": 0,
        "locks_resumed": 0,
    }
    event = Event(
        EventKind.SETTINGS_CHANGED,
        workspace.slug,
        settings_version=after.version,
        details=details,
    )
    append_event(event, actor=SYSTEM)
    if after.protection is not Protection.NONE and find_registry(workspace) is not None:
        ask_for_inventory(workspace)
    return after
