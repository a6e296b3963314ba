import os
from datetime import timedelta
import pytest
from django.utils import timezone
from immutability.models import Job
from immutability.policy.protection import PolicyRule, Protection
from tests.conftest import SEMVER, AA, BB, CC
from tests.immutability.core import Core
from tests.immutability.making import make_lock, land
from tests.immutability.registry_double import RegistryDouble, image
from tests.workspaces.log.tampering import write_at, note
from workspaces.access import Actor, ActorKind
from workspaces.log.append import close_repeats
from workspaces.log.seal import seal_events
from workspaces.log.models import LockEvent, EventRepeat
from containers.models import Tag as TagRecord

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
OUT = "/tmp/story-shots"


def test_shots(acme, alice, bob, olga, protect, signed_in_page):
    os.makedirs(OUT, exist_ok=True)
    now = timezone.now()
    for d in range(1, 7):
        for n in range(d * 2 % 7):
            write_at(
                now - timedelta(days=d, minutes=n),
                kind="push.refused",
                tag=f"v1.{n % 3}.0",
                digest=AA,
                other_digest=BB,
                actor="bob",
                actor_kind="person",
                rule_name="Release versions",
            )
        if d % 2:
            write_at(
                now - timedelta(days=d),
                kind="lock.released",
                tag="v0.9.1",
                digest=AA,
                actor="alice",
                actor_kind="person",
                reason="A rebuild for OPS-17",
            )
    write_at(
        now - timedelta(minutes=40),
        kind="drift.found",
        tag="v0.4.0",
        digest=AA,
        other_digest=BB,
        actor="taglock",
        actor_kind="system",
        reason="locked to aaaaaaaaaaaa, and the registry has bbbbbbbbbbbb",
    )
    core = Core(acme, RegistryDouble(), protect)
    core.protect(Protection.SOME, SEMVER, PolicyRule("Production", "^prod"))
    core.push("v1.2.0", "v1.2.1", "v1.2.2", image=image("one"), actor=Actor("ci", ActorKind.TOKEN))
    core.push("v1.2.0", image=image("two"), actor=Actor("bob", ActorKind.PERSON))
    EventRepeat.objects.update(count=3)
    core.push("prod-" + "x" * 110, image=image("one"))
    core.protect(Protection.NONE, SEMVER, PolicyRule("Production", "^prod"))
    core.push("v1.2.0", image=image("two"), actor=Actor("ci", ActorKind.TOKEN))
    core.push("v1.2.1", image=image("three"))
    core.protect(Protection.SOME, SEMVER, PolicyRule("Production", "^prod"))
    core.push("v3.0.0", image=image("one"))
    core.delete("v3.0.0", is_admin=True)
    rec = TagRecord.objects.get(name="v1.2.2")
    TagRecord.objects.filter(id=rec.id).update(stray_until=now + timedelta(minutes=9))
    Job.objects.create(
        workspace=acme, kind="count", event="0" * 12, expires_at=now - timedelta(hours=3)
    )
    seal_events()
    note()
    refused = LockEvent.objects.filter(kind="push.refused").latest("id")
    saves = list(LockEvent.objects.filter(kind="settings.changed").order_by("id"))
    pages = {
        "log": "/acme/lock-log/",
        "search": "/acme/lock-log/?q=v1.2&since=2026-01-01",
        "overview": "/acme/",
        "event": f"/acme/lock-log/{refused.ref}",
        "save": f"/acme/lock-log/{saves[1].ref}",
        "moved": f"/acme/lock-log/{saves[1].ref}/moved/",
        "checkpoint": "/acme/lock-log/checkpoint/",
        "bad": "/acme/lock-log/?since=x",
    }
    only = os.environ.get("SHOTS", "").split(",") if os.environ.get("SHOTS") else pages
    page = signed_in_page(alice)
    for name in only:
        for width, scheme in ((1280, "light"), (360, "light"), (1280, "dark")):
            page.set_viewport_size({"width": width, "height": 900})
            page.emulate_media(color_scheme=scheme)
            page.goto(pages[name])
            page.wait_for_timeout(400)
            page.screenshot(path=f"{OUT}/{name}-{width}-{scheme}.png", full_page=True)
