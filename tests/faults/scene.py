"""A repository before a cluster: what a test does there, and the promise that must hold."""

import http.client
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

from django.db.models import DateTimeField, F

from containers.models import Manifest
from containers.models import Tag as TagRecord
from containers.registry.client import RegistryClient
from immutability.actions.save_settings import save_container_settings
from immutability.models import LockedTag
from immutability.policy.drafts import Draft
from immutability.policy.protection import PolicyRule, Protection
from immutability.reading import read_policy
from immutability.reconcile.due import reconcile_due
from tests.services.accounts import Account, taglocks_own
from tests.services.cluster import Cluster
from tests.services.meetings import Meeting, new_meeting
from tests.services.registry_user import Answer, Repository, digest_of, send
from workspaces.access import SYSTEM
from workspaces.models import Workspace

# Longer than any sender's lease, and longer than any stray lives.
LEASE = timedelta(minutes=2)
STRAY = timedelta(minutes=20)
# As gates have them: see tests/services/short_timeouts.py.
LEASE_SECONDS = 3.0
# What is left behind is finished within these, on a busy machine.
AT_ONCE_SECONDS = 4.0
SOON_SECONDS = 12.0
VERSIONS = PolicyRule("Versions", "^v")
NO_ANSWER = Answer(0, {}, b"")


class Scene:
    """A repository of acme, in which every tag that begins with v is protected."""

    def __init__(
        self,
        cluster: Cluster,
        workspace: Workspace,
        name: str,
        account: Account,
        admins: Account,
        token: str,
        pool: ThreadPoolExecutor,
    ) -> None:
        """`account` is the pusher's, `admins` an admin's; `token` is another's, for the API."""
        self.cluster = cluster
        self.workspace = workspace
        self.name = name
        self.edge = Repository(cluster.ports.edge, name, account)
        self.behind = self.edge.at(cluster.ports.registry)
        self.gates = [self.edge.at(port) for port in cluster.gate_ports]
        self.as_admin = Repository(cluster.ports.edge, name, admins)
        self.pool = pool
        self._token = token
        self._promised: dict[str, str] = {}

    # What people do.

    def make_image(self, text: str) -> bytes:
        """Upload what an image needs; return its manifest."""
        return self.behind.make_image(text)

    def push(self, tag: str, image: bytes, fault: str = "", gate: int | None = None) -> Answer:
        """Push through the edge, or to one gate; NO_ANSWER where there was none."""
        where = self.edge if gate is None else self.gates[gate]
        try:
            return where.put(tag, image, headers=_header(fault))
        except (OSError, http.client.HTTPException):
            return NO_ANSWER

    def push_until_decided(
        self, tag: str, image: bytes, seconds: float = SOON_SECONDS, gate: int | None = None
    ) -> Answer:
        """Push, and push again as long as the answer is to try again. Raises TimeoutError."""
        ends_at = time.monotonic() + seconds
        while True:
            answer = self.push(tag, image, gate=gate)
            if answer.status != 503:
                return answer
            assert_undecided(answer)
            if time.monotonic() > ends_at:
                raise TimeoutError(f"still undecided: {answer}")

    def delete(self, reference: str, fault: str = "", gate: int | None = None) -> Answer:
        """Delete a tag or a manifest through the edge, or at one gate."""
        where = self.edge if gate is None else self.gates[gate]
        try:
            return where.delete(f"manifests/{reference}", _header(fault))
        except (OSError, http.client.HTTPException):
            return NO_ANSWER

    def delete_at_gate_as_admin(self, reference: str, fault: str = "") -> Answer:
        """Delete a locked tag, or an image and its tags, through the edge and one of the gates."""
        self._promised.clear()
        return self.as_admin.delete(f"manifests/{reference}", _header(fault))

    def delete_as_admin(self, tag: str, name_after: str = "reserve", fault: str = "") -> Answer:
        """Delete a locked tag, free a reserved name or drop a claim over the API."""
        self._promised.pop(tag, None)
        target = f"{self._address_of(tag)}?name={name_after}&reason=tests"
        return self._call("DELETE", target, b"", fault)

    def release_as_admin(self, tag: str) -> Answer:
        """Let a locked tag be pushed once more."""
        self._promised.pop(tag, None)
        return self._call("POST", f"{self._address_of(tag)}/release", b'{"reason": "tests"}')

    def protect(self, protection: Protection, *rules: PolicyRule) -> None:
        """Save the settings, whatever they are now."""
        save_container_settings(
            self.workspace,
            Draft(protection, rules),
            expected_version=read_policy(self.workspace).version,
            may_suspend_locks=True,
            actor=SYSTEM,
        )

    def waiting_at(self, point: str) -> AbstractContextManager[Meeting]:
        """Return the meeting with the one request that is sent with the fault "wait" there."""
        return new_meeting(self.cluster.folder, point)

    def _address_of(self, tag: str) -> str:
        row = LockedTag.objects.get(workspace=self.workspace, repository=self.name, tag=tag)
        return f"/api/v1/workspaces/{self.workspace.slug}/locked-tags/{row.id}"

    def _call(self, method: str, target: str, body: bytes, fault: str = "") -> Answer:
        headers = f"Authorization: Bearer {self._token}\r\n{_header(fault)}"
        return send(self.edge.port, method, target, body, "application/json", headers)

    # What there is.

    @property
    def locks(self) -> dict[str, tuple[str, str]]:
        """State and digest of every lock, by tag."""
        rows = LockedTag.objects.filter(workspace=self.workspace, repository=self.name)
        return {row.tag: (row.state, row.digest) for row in rows}

    @property
    def open_writes(self) -> dict[str, str]:
        """The tags with a write in flight, or a stray, and which."""
        rows = TagRecord.objects.filter(workspace=self.workspace, repository=self.name)
        in_flight = {row.name: "in flight" for row in rows if row.write_id}
        return in_flight | {row.name: "stray" for row in rows if row.stray_until}

    def forget_promises(self) -> None:
        """Say that nothing protects the tags for a while, so that they may move."""
        self._promised.clear()

    def assert_kept(self) -> None:
        """No violation: what was locked once points there still, in the registry too."""
        for tag, (state, digest) in self.locks.items():
            if state == "locked":
                assert self._promised.setdefault(tag, digest) == digest, tag
        for tag, digest in self._promised.items():
            assert self.behind.read(tag) == digest, tag

    def assert_sound(self) -> None:
        """No violation, and nothing burned once the dust has settled."""
        self.assert_kept()
        for passed in (LEASE, STRAY):
            let_time_pass(passed)
            self.reconcile()
        # Twice: what was refused while a stray was open is tried once more.
        self.reconcile()
        self.assert_kept()
        assert self.open_writes == {}
        for tag, (state, digest) in self.locks.items():
            assert state in ("locked", "reserved", "released"), (tag, state)
            # A deleted image may be back: its name is kept for it.
            may_be = {digest, None} if state == "reserved" else {digest}
            assert self.behind.read(tag) in may_be, (tag, state)

    def reconcile(self) -> int:
        """Finish what is due, as the worker does; return on how many tags something has changed."""
        registry = RegistryClient(
            self.cluster.registry_url, 5.0, authorize=taglocks_own(self.cluster.keys)
        )
        return reconcile_due(registry)


def let_time_pass(passed: timedelta) -> None:
    """Let what is written down of writes, strays and locks be so much older."""
    for model in (TagRecord, Manifest, LockedTag):
        fields = [each.name for each in model._meta.fields if isinstance(each, DateTimeField)]
        changes: dict[str, Any] = {name: F(name) - passed for name in fields}
        model._default_manager.update(**changes)


def assert_undecided(answer: Answer) -> None:
    """The client is told to try again, in the registry's words."""
    assert answer.status == 503, answer
    assert answer.code == "UNAVAILABLE"
    assert answer.headers["retry-after"].isdigit()


def assert_refused(answer: Answer, locked: bytes) -> None:
    """The client is told which image the tag is locked to."""
    assert answer.status == 403, answer
    error = answer.error
    assert error["code"] == "DENIED"
    assert error["detail"]["locked_digest"] == digest_of(locked)
    assert digest_of(locked)[:19] in error["message"]


def locked_to(image: bytes) -> tuple[str, str]:
    """State and digest of a lock on this image."""
    return "locked", digest_of(image)


def _header(fault: str) -> str:
    return f"X-Fault: {fault}\r\n" if fault else ""
