"""The registry of CNCF Distribution 3, built with Go where Go is at hand."""

import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator

import pytest

from packages_site.local import find_free_ports
from tests.services.site import ROOT

READY_SECONDS = 20


@pytest.fixture(scope="module")
def distribution_3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running registry."""
    if shutil.which("go") is None:
        pytest.skip("MISSING: Go, to build the registry of Distribution 3 with")
    folder = tmp_path_factory.mktemp("distribution-3")
    program = subprocess.run(
        [ROOT / "requirements" / "registry-v3", ROOT / ".venv" / "go"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    (port,) = find_free_ports(1)
    config = folder / "config.yml"
    config.write_text(
        json.dumps(
            {
                "version": 0.1,
                "log": {"level": "error", "accesslog": {"disabled": True}},
                "storage": {
                    "filesystem": {"rootdirectory": str(folder / "data")},
                    "delete": {"enabled": True},
                },
                "http": {"addr": f"127.0.0.1:{port}", "relativeurls": True},
            }
        )
    )
    with subprocess.Popen(
        [program, "serve", config],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OTEL_TRACES_EXPORTER": "none"},
    ) as process:
        try:
            _wait_for(f"http://127.0.0.1:{port}/v2/")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _wait_for(address: str) -> None:
    for _ in range(READY_SECONDS * 10):
        try:
            with urllib.request.urlopen(address, timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(address)
