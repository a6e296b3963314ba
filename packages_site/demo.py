"""Demo data, only for a site on this machine: two workspaces, four people, one registry token."""

import os
from pathlib import Path

from django.db import transaction

from containers.prefixes import create_workspace
from workspaces.access import SYSTEM, Role, Scope
from workspaces.actions.access_tokens import create_access_token
from workspaces.actions.members import add_member
from workspaces.models import AccessToken, Membership, User, Workspace

PASSWORD = "demo"  # noqa: S105  (that is the point of it)
TOKEN_NAME = "demo registry"  # noqa: S105  (a name)

_WORKSPACES = {"acme": "Acme", "globex": "Globex"}
_MEMBERS = {
    "alice": ("acme", Role.ADMIN),
    "bob": ("acme", Role.MEMBER),
    "olga": ("acme", Role.AUDITOR),
    "mallory": ("globex", Role.ADMIN),
}


def make_demo_data(data_dir: Path) -> Path:
    """Make what is missing of the demo data; return the file that holds the registry token.

    What is there already stays as it is, so that a second start keeps everything.
    """
    for slug, name in _WORKSPACES.items():
        if not Workspace.objects.filter(slug=slug).exists():
            create_workspace(slug, name, actor=SYSTEM)
    for username, (slug, role) in _MEMBERS.items():
        workspace = Workspace.objects.get(slug=slug)
        user = User.objects.filter(username=username).first()
        if user is None:
            user = User.objects.create_user(username, password=PASSWORD)
        if not Membership.objects.filter(workspace=workspace, user=user).exists():
            add_member(workspace, user, role, actor=SYSTEM)
    token_file = data_dir / "demo-registry-token"
    acme = Workspace.objects.get(slug="acme")
    if not token_file.exists():
        with transaction.atomic():
            AccessToken.objects.filter(workspace=acme, name=TOKEN_NAME).delete()
            secret = create_access_token(acme, TOKEN_NAME, [Scope.REGISTRY], actor=SYSTEM)
            _write_private(token_file, secret)
    return token_file


def _write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    draft.rename(path)
