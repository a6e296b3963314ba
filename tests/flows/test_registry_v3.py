"""The gate before CNCF Distribution 3, which deletes single tags."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.services.site import ROOT, Site, run_command

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def site(distribution_3: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("v3") / "data", registry_url=distribution_3)
    try:
        yield site
    finally:
        site.stop()


def test_the_whole_life_of_a_locked_tag(site: Site) -> None:
    api = Api(site)
    api.call("PUT", "container-settings", {"protection": "all"}, {"If-Match": '"0"'})
    one, same, other = site.pushes[:3]
    run_command(one)
    run_command(same)
    refused = subprocess.run(["bash", "-c", other], capture_output=True, text=True)
    assert refused.returncode != 0
    assert "cannot be overwritten because the tag is immutable" in refused.stderr
    assert tags_of(site) == ["v1.2.0"]

    (lock,) = api.call("GET", "locked-tags")["results"]
    answer = api.call("DELETE", f"locked-tags/{lock['id']}?name=reserve&reason=mistake")
    assert answer["locked_tag"]["state"] == "reserved"
    assert tags_of(site) == []

    # Only the deleted image may come back.
    refused = subprocess.run(["bash", "-c", other], capture_output=True, text=True)
    assert "its name is reserved" in refused.stderr
    run_command(one)
    assert tags_of(site) == ["v1.2.0"]
    assert api.call("GET", "locked-tags")["results"][0]["state"] == "locked"


class Api:
    """The API, as an admin's access token sees it."""

    def __init__(self, site: Site) -> None:
        self.site = site
        command = [sys.executable, "manage.py", "create_access_token", "acme", "flows"]
        self.token = subprocess.run(
            [*command, "--scope", "admin"],
            cwd=ROOT,
            env={**os.environ, "DATA_DIR": str(site.data_dir)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    def call(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> Any:
        request = urllib.request.Request(
            f"{self.site.url}/api/v1/workspaces/acme/{path}",
            method=method,
            data=json.dumps(body).encode() if body is not None else None,
            headers={
                "Authorization": f"Bearer {self.token}",
                "Content-Type": "application/json",
                **(headers or {}),
            },
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)


def tags_of(site: Site) -> list[str]:
    try:
        with urllib.request.urlopen(f"{site.url}/v2/acme/api/tags/list", timeout=10) as response:
            return sorted(json.load(response)["tags"] or [])
    except urllib.error.HTTPError as error:
        error.close()
        return []
