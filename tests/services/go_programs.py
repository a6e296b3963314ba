"""What is built or fetched with Go, where Go is at hand."""

import shutil
import subprocess
from pathlib import Path

from tests.conftest import ROOT, skip_or_fail


def build_with_go(name: str) -> list[Path]:
    """Return the paths that the script `requirements/<name>` prints.

    It builds what is not there yet. Without Go the test skips, or fails in CI.
    """
    if shutil.which("go") is None:
        skip_or_fail(f"Go, to build or fetch {name} with")
    done = subprocess.run(
        [ROOT / "requirements" / name, ROOT / ".venv" / "go"], capture_output=True, text=True
    )
    if done.returncode != 0:
        skip_or_fail(f"{name}, which Go cannot build or fetch: {done.stderr}")
    return [Path(line) for line in done.stdout.splitlines()]
