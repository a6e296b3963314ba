"""What a browser sends along by itself is not enough to write."""

import json
import re

from django.db import transaction
from django.test import Client

from tests.access.matrix import (
    API,
    BODIES,
    GATE,
    IN_WORKSPACE,
    MATRIX,
    WORKSPACE_ADDRESSES,
)
from tests.access.site import Site
from tests.problems import Complaints, nothing_written, read_problem
from workspaces.access import SYSTEM, Scope
from workspaces.actions.access_tokens import create_access_token
from workspaces.models import User, Workspace


def list_writing_requests() -> list[tuple[str, str]]:
    return [
        (address, method)
        for address, by_method in MATRIX.items()
        for method in by_method
        if method in ("POST", "PUT", "DELETE")
        and address not in (GATE, "accounts/logout/", "auth/token")
        # A token proves that it comes from the provider.
        and address != "accounts/single-sign-on/logout/"
    ]


def test_a_session_alone_writes_nothing(site: Site, alice: User) -> None:
    careful = Client(enforce_csrf_checks=True, raise_request_exception=False)
    careful.force_login(alice)
    guarded = Site(site.acme, site.globex, {"alice": careful})
    complaints = Complaints()
    with nothing_written():
        for address, method in list_writing_requests():
            with complaints.about((method, address)):
                response = guarded.call("alice", method, address, site.acme.fill(address))
                assert response.status_code == 403
                if address.startswith(API):
                    assert "CSRF" in read_problem(response, 403)["detail"]
    assert not complaints


def test_a_session_with_the_csrf_token_writes(site: Site, alice: User) -> None:
    careful = Client(enforce_csrf_checks=True)
    careful.force_login(alice)
    careful.get("/accounts/login/")
    page = careful.get("/acme/settings/")
    found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.content.decode())
    assert found
    complaints = Complaints()
    for method, address in BODIES:
        if not address.startswith(IN_WORKSPACE):
            continue
        with complaints.about((method, address)), transaction.atomic():
            response = getattr(careful, method.lower())(
                site.acme.fill(address),
                data=json.dumps(BODIES[method, address]),
                content_type="application/json",
                headers={"X-CSRFToken": found[1], "If-Match": "*"},
            )
            assert response.status_code == MATRIX[address][method]["alice"]
            transaction.set_rollback(True)
    assert not complaints


def test_an_access_token_needs_no_csrf_token(site: Site, acme: Workspace) -> None:
    secret = create_access_token(acme, "pipeline", [Scope.REGISTRY], actor=SYSTEM)
    response = Client(enforce_csrf_checks=True).post(
        "/api/v1/check-push",
        json.dumps(BODIES["POST", f"{API}check-push"]),
        content_type="application/json",
        headers={"Authorization": f"Bearer {secret}"},
    )
    assert response.status_code == 200


def test_a_deactivated_persons_session_is_over(site: Site, alice: User) -> None:
    alice.is_active = False
    alice.save()
    for address in WORKSPACE_ADDRESSES:
        for method in MATRIX[address]:
            response = site.call("alice", method, address, site.acme.fill(address))
            assert response.status_code == (401 if address.startswith(API) else 302)
