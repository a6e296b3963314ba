"""A program that may do everything in acme, where a tag is locked."""

import json

import pytest
from django.test import Client

from containers.prefixes import create_workspace
from immutability.policy.protection import PolicyRule, Protection
from tests.bad_input.requests import JSON, V1, client_of
from tests.conftest import AA, protect_workspace
from workspaces.access import SYSTEM, Scope
from workspaces.actions.access_tokens import create_access_token
from workspaces.models import Workspace


@pytest.fixture(scope="module")
def kept_secret(kept_rows: None) -> str:
    """An access token for everything in acme, where tag v1 is locked."""
    acme = create_workspace("acme", "Acme", actor=SYSTEM)
    protect_workspace(acme, Protection.SOME, PolicyRule("Versions", "^v"))
    secret = create_access_token(acme, "everything", list(Scope), actor=SYSTEM)
    push = {"repository": "acme/api", "tag": "v1", "digest": AA}
    answer = client_of(secret).post(f"{V1}/check-push", json.dumps(push), content_type=JSON)
    assert answer.status_code == 200
    return secret


@pytest.fixture
def acme(db: None, kept_secret: str) -> Workspace:
    return Workspace.objects.get(slug="acme")


@pytest.fixture
def caller(acme: Workspace, kept_secret: str) -> Client:
    """A program that has that token."""
    return client_of(kept_secret)
