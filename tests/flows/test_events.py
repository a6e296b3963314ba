"""What registries report for real: a tag that is changed past the gate is found, and put back."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from packages_site.local import find_free_ports
from tests.flows.asking import Api
from tests.services.distribution import build_distribution_3
from tests.services.parts import Part, is_answering, wait_until
from tests.services.registry_user import Repository, digest_of
from tests.services.site import Site

pytestmark = pytest.mark.process

# The worker looks every five seconds, a second after the report.
FOUND_SECONDS = 60


@pytest.fixture
def side_door(site: Site, api: Api, registry_kind: str, tmp_path: Path) -> Iterator[int]:
    """The port of a second registry process on the same storage, which reports to the site."""
    secret = site.manage("create_access_token", "acme", tmp_path.name, "--scope", "registry")
    is_old = registry_kind == "docker-registry"
    made = site.data_dir / "registry.yml" if is_old else site.data_dir.parent / "config.yml"
    config: dict[str, Any] = json.loads(made.read_text())
    (port,) = find_free_ports(1)
    config["http"]["addr"] = f"127.0.0.1:{port}"
    config["notifications"] = {
        "endpoints": [
            {
                "name": "taglock",
                "url": f"{site.url}/api/v1/registry-events",
                "headers": {"Authorization": [f"Bearer {secret}"]},
                "timeout": "5s",
                "threshold": 5,
                "backoff": "1s",
                "ignore": {
                    "mediatypes": ["application/octet-stream"],
                    "actions": ["pull", "mount"],
                },
            }
        ]
    }
    file = tmp_path / "registry.yml"
    file.write_text(json.dumps(config))
    program = shutil.which("docker-registry") if is_old else build_distribution_3()
    part = Part(
        f"exec env -u REGISTRY_AUTH_FILE OTEL_TRACES_EXPORTER=none {program} serve {file}",
        tmp_path / "registry.out",
        is_ready=lambda: is_answering(f"http://127.0.0.1:{port}/v2/"),
    )
    try:
        part.start()
        yield port
    finally:
        part.stop()


def switch(api: Api, *, is_on: bool) -> None:
    """Switch on or off that locked tags are put back."""
    saved = api.call("GET", "container-settings")
    body = {"protection": saved["protection"], "repair_drift": is_on}
    api.call("PUT", "container-settings", body, If_Match="*")


def events_of(api: Api, repository: Repository) -> list[tuple[str, str]]:
    """Return tag and kind of what happened to a repository's tags past the gate, in order."""
    found = api.call("GET", f"lock-log?repository={repository.name}&limit=100")
    rows = found["results"] if isinstance(found, dict) else found
    return [(row["tag"], row["kind"]) for row in reversed(rows) if row["kind"].startswith("drift")]


def test_a_tag_that_is_changed_past_the_gate_is_found_and_put_back(
    api: Api, repository: Repository, side_door: int, site: Site
) -> None:
    behind = repository.at(side_door)
    one, two = repository.make_image("one"), repository.make_image("two")
    for tag in ("v1", "v2"):
        assert repository.put(tag, one).status == 201

    assert behind.put("v1", two).status == 201
    found = [("v1", "drift.found")]
    wait_until(lambda: events_of(api, repository) == found, FOUND_SECONDS)
    assert repository.read("v1") == digest_of(two)
    assert repository.put("v1", two).status == 403

    switch(api, is_on=True)
    try:
        found.append(("v1", "drift.repaired"))
        wait_until(lambda: events_of(api, repository) == found, FOUND_SECONDS)
        assert repository.read("v1") == digest_of(one)

        # Both tags go with it, where a registry deletes no single tag; and so does the image.
        is_gone = behind.delete("manifests/v2").status != 202
        if is_gone:
            assert behind.delete(f"manifests/{digest_of(one)}").status == 202
            lost = [("v1", "drift.found"), ("v2", "drift.found")]
        else:
            lost = [("v2", "drift.found"), ("v2", "drift.repaired")]
        wait_until(lambda: sorted(events_of(api, repository)[2:]) == lost, FOUND_SECONDS)
        assert repository.read("v2") == (None if is_gone else digest_of(one))
        # No one else can have the name, and the same image comes back by a push.
        assert repository.put("v2", two).status == 403
        assert repository.put("v2", one).status == 201
        assert repository.read("v2") == digest_of(one)
    finally:
        switch(api, is_on=False)
