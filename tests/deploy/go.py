"""What is fetched or built with Go."""

import shutil
import subprocess
from pathlib import Path

from packages_site.local import ROOT
from tests.conftest import skip_or_fail


def fetch(name: str) -> Path:
    """Return the path that the script `requirements/<name>` prints last. Skips without Go."""
    if shutil.which("go") is None:
        skip_or_fail(f"Go, to fetch {name} with")
    done = subprocess.run(
        [ROOT / "requirements" / name, ROOT / ".venv/go"], capture_output=True, text=True
    )
    if done.returncode != 0:
        skip_or_fail(f"{name}, which Go cannot fetch: {done.stderr}")
    return Path(done.stdout.splitlines()[-1])
