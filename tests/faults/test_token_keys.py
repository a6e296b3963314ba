"""The keys of registry tokens are changed under way: what `token_keys` says, step by step."""

import subprocess
import sys

import pytest

from tests.faults.scene import Scene, assert_refused, assert_undecided, locked_to
from tests.services.registry_user import Repository, digest_of, send
from tests.services.site import ROOT

pytestmark = pytest.mark.cluster


def _take_step(scene: Scene, step: str) -> None:
    """Run `token_keys` beside the cluster's processes, none of which is started again for it."""
    done = subprocess.run(
        [sys.executable, "manage.py", "token_keys", step],
        cwd=ROOT,
        env=scene.cluster.whole_env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def _restart_registry(scene: Scene) -> None:
    scene.cluster.registry.stop()
    scene.cluster.registry.start()


def _assert_everything_works(scene: Scene, tag: str) -> None:
    """Upload, push, refuse, pull and delete, with tokens that are signed now, at every gate."""
    one, two = scene.make_image(f"{tag} one"), scene.make_image(f"{tag} two")
    assert scene.push(tag, one).status == 201
    for number, _ in enumerate(scene.gates):
        assert scene.push(tag, one, gate=number).status == 201
        assert_refused(scene.push(tag, two, gate=number), one)
        assert scene.push("latest", two, gate=number).status == 201
        assert scene.delete(digest_of(two), gate=number).status == 202
    assert scene.edge.read(tag) == digest_of(one)
    assert scene.locks[tag] == locked_to(one)


def _try_with(scene: Scene, token: str, image: bytes) -> tuple[set[int], set[int]]:
    """Return what gates and registry answer to whoever has only this token."""
    login = f"Authorization: Bearer {token}\r\n"
    gates = {
        Repository(port, scene.name).put("latest", image, headers=login).status
        for port in scene.cluster.gate_ports
    }
    tags = f"/v2/{scene.name}/tags/list"
    ports = (scene.cluster.ports.registry, scene.cluster.ports.edge)
    return gates, {send(port, "GET", tags, headers=login).status for port in ports}


def test_keys_are_changed_while_everything_goes_on(scene: Scene) -> None:
    account = scene.edge.account
    assert account is not None
    image = scene.make_image("image")
    first_key = account.keys.read_signing_key().id
    _assert_everything_works(scene, "v1")

    _take_step(scene, "prepare")
    _assert_everything_works(scene, "v2")
    _restart_registry(scene)
    _assert_everything_works(scene, "v3")
    assert account.keys.read_signing_key().id == first_key
    old = account.sign(scene.name)

    _take_step(scene, "use")
    assert account.keys.read_signing_key().id != first_key
    _assert_everything_works(scene, "v4")
    assert _try_with(scene, old, image) == ({201}, {200})

    _take_step(scene, "retire")
    # Gates read the file again. The registry reads it once, when it starts.
    assert _try_with(scene, old, image) == ({401}, {200})
    _assert_everything_works(scene, "v5")
    _restart_registry(scene)
    assert _try_with(scene, old, image) == ({401}, {401})
    _assert_everything_works(scene, "v6")
    scene.assert_sound()


def test_a_registry_that_was_not_restarted_takes_nothing_and_no_name_is_held(scene: Scene) -> None:
    one, two = scene.make_image("one"), scene.make_image("two")
    assert scene.push("v1", one).status == 201
    _take_step(scene, "prepare")
    _take_step(scene, "use")
    # The gate believes the new key, and with it signs what the registry does not believe.
    assert_undecided(scene.push("v2", two))
    assert_refused(scene.push("v1", two), one)
    assert scene.locks == {"v1": locked_to(one)}
    assert scene.open_writes == {}
    _restart_registry(scene)
    assert scene.push("v2", two).status == 201
    _take_step(scene, "retire")
    _restart_registry(scene)
    scene.assert_sound()
